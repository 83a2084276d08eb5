"""Columns in processes of their own, which may be killed; and what the provider and the ledger have of them.

The practice provider is in the test's process, so that its lines outlast the columns.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pandas as pd
from columns import assert_own_answers, prompts, statuses
from rehearsing import settle, wait_until

from llm_executor_nb.rehearsal.requests import read_request
from llm_executor_nb.store.ledger_store import LedgerStore

if TYPE_CHECKING:
    from collections.abc import Collection

    from llm_executor_nb.rehearsal.lines import ServerLine
    from llm_executor_nb.rehearsal.server import RehearsalServer

PACKAGE = Path(__file__).parents[2]
FAULTS = "openrouter: 3%503, 2%429 retry-after=0.1, 1%reset"
USUAL_S, LONGEST_S = 0.1, 0.5
"""How long after its answer came a row is committed: on the whole, and on a machine that is busy."""
NURSERY = """
import os, sys
import aiohttp
import pandas as pd
import llm_executor_nb as llm
from llm_executor_nb.providers.payload import make_payload
from columns import prompts
make_payload("warm up", {})
llm.configure(retries=20)

def column(url, home, start, count, copies, concurrency, temperature, into):
    os.environ.update(OPENROUTER_BASE_URL=url, LLM_EXECUTOR_HOME=home)
    os.dup2(os.open(into + ".said", os.O_CREAT | os.O_WRONLY), 2)
    params = {"temperature": float(temperature)} if temperature != "-" else {}
    frame = pd.concat([prompts(int(count), int(start))] * int(copies), ignore_index=True)
    out = frame.llm.run("gemma", "q", progress=False, concurrency=int(concurrency), **params)
    out.to_pickle(into)

for line in sys.stdin:
    told, *args = line.split()
    if told == "wait":
        print(os.waitpid(int(args[0]), 0)[1], flush=True)
        continue
    child = os.fork()
    if not child:
        sys.stdin.close()
        column(*args)
        sys.exit()
    print(child, flush=True)
"""
"""Imports once, and forks a process for each column, which takes no second to begin."""


_Answers = list[tuple[str, str]]


class Place:
    """A practice provider, and a folder with the ledger that all columns here share."""

    def __init__(self, server: RehearsalServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.path = folder / "ledger" / "ledger.sqlite"

    def answers(self) -> list[tuple[str, str]]:
        """Return the run and the text of each committed answer."""
        if not self.path.exists():
            return []
        with closing(sqlite3.connect(self.path, timeout=30)) as file:
            try:
                return file.execute("SELECT run_id, text FROM answer").fetchall()
            except sqlite3.OperationalError:  # it was killed before it had made the tables
                return []

    def attempts(self) -> pd.DataFrame:
        """Return the committed attempts of all columns."""
        ledger = LedgerStore(lambda: self.path)
        try:
            return ledger.attempts_frame()
        finally:
            ledger.close()


class Nursery:
    """Where columns are begun, each in a process of its own.

    Args:
        folder: the home of those processes.
        code: what it runs.
    """

    def __init__(self, folder: Path, code: str = NURSERY) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENROUTER", "HF_"))}
        told = {
            "PYTHONPATH": os.pathsep.join([str(PACKAGE), str(PACKAGE / "tests" / "support")]),
            "HOME": str(folder),
            "OPENROUTER_KEY_1": "sk-or-v1-practice-0001",
            "OPENROUTER_KEY_2": "sk-or-v1-practice-0002",
        }
        command = [sys.executable, "-W", "error", "-c", code]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env={**kept, **told}, cwd=folder, **pipes)

    def tell(self, *words: object) -> int:
        """Tell it something and return the number it says."""
        print(*words, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def begin(
        self,
        place: Place,
        start: int,
        count: int,
        *,
        copies: int = 1,
        concurrency: int = 16,
        temperature: float | None = None,
    ) -> Column:
        """Begin a column.

        Args:
            place: where it asks and keeps.
            start: the number of the first prompt.
            count: how many prompts.
            copies: how often each.
            concurrency: requests in flight.
            temperature: above 0, equal prompts are separate draws; None: not sent.
        """
        into = place.folder / f"{time.monotonic_ns()}.pickle"
        where, drawn = (place.server.openrouter_url, place.path.parent), "-" if temperature is None else temperature
        pid = self.tell("run", *where, start, count, copies, concurrency, drawn, into)
        return Column(self, pid, into)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            stream.close()


class Column:
    """The column `q` of some prompts, in a process of its own."""

    def __init__(self, nursery: Nursery, pid: int, into: Path) -> None:
        self._nursery, self.pid, self._into = nursery, pid, into

    def kill(self) -> float:
        """Kill it and return when."""
        at = time.monotonic()
        os.kill(self.pid, signal.SIGKILL)
        self._nursery.tell("wait", self.pid)
        return at

    def result(self) -> pd.DataFrame:
        """Wait for its end and return its frame."""
        status = self._nursery.tell("wait", self.pid)
        said = Path(f"{self._into}.said").read_text()
        assert (status, said) == (0, ""), f"it ended with {status}: {said}"
        return pd.read_pickle(self._into)  # noqa: S301 - our own


def question_of(text: str) -> str:
    """Return the question that a practice answer answers."""
    return text.split("'")[1]


def is_paid(line: ServerLine) -> bool:
    """Say whether a provider would send a bill: it answered, or whoever asked was gone before it could."""
    return line.status == 200 or line.fault in {None, "client left"}


@dataclass
class Killed:
    """What many kills of one column came to.

    Attributes:
        lost: per kill, how many paid answers were not committed.
        usual: per kill, how many may be lost: those in flight, and those of the last 0.1 s.
        largest: the same on a machine that is busy.
        again: requests for what was committed before.
        requests: that the provider saw.
        unlogged: per kill, requests of which the ledger has no attempt.
        final: how many rows the last run found, and how many it asked for.
    """

    lost: list[int] = field(default_factory=list)
    usual: list[int] = field(default_factory=list)
    largest: list[int] = field(default_factory=list)
    again: int = 0
    requests: int = 0
    unlogged: list[int] = field(default_factory=list)
    final: dict[str, int] = field(default_factory=dict)

    def check(self, rows: int) -> None:
        """Check what is promised of kills."""
        assert self.again == 0, "what was committed was asked for again"
        assert sum(self.lost) <= sum(self.usual), self
        assert all(lost <= largest for lost, largest in zip(self.lost, self.largest, strict=True)), self
        assert sum(self.final.values()) == rows
        assert set(self.final) <= {"ok", "cached"}
        assert self.final["cached"], "the kills came before anything was stored"


def kill_many(
    nursery: Nursery, place: Place, *, kills: int, rows: int, concurrency: int, longest_s: float, seed: int
) -> Killed:
    """Kill a column at random moments, then let it come to its end; check every run as it goes.

    Args:
        nursery: where it is begun.
        place: where it asks and keeps.
        kills: how often.
        rows: of the column.
        concurrency: requests in flight.
        longest_s: a run is killed at a random moment up to so long after its first request; one in five before that.
        seed: what the moments are drawn with.
    """
    chance, found = random.Random(seed), Killed()
    for number in range(kills):
        before, seen = place.answers(), len(place.server.lines)
        jobs = set(place.attempts()["job_id"])
        column = nursery.begin(place, 0, rows, concurrency=concurrency)
        if number % 5 < 4:
            wait_until(lambda seen=seen: len(place.server.lines) > seen, 30)
        time.sleep(chance.random() * longest_s)
        killed_at = column.kill()
        lines = lines_since(place.server, seen)
        _check_run(found, lines, concurrency, killed_at, (before, place.answers()))
        found.unlogged.append(unlogged(place, lines, jobs))
    _finish(found, nursery, place, rows, concurrency)
    return found


def _check_run(
    found: Killed, lines: list[ServerLine], concurrency: int, killed_at: float, answers: tuple[_Answers, _Answers]
) -> None:
    before, after = answers
    assert set(before) <= set(after), "a committed answer is gone"
    asked = questions_of(lines)
    found.again += sum(question in {question_of(text) for _, text in before} for question in asked)
    paid = {question for line, question in zip(lines, asked, strict=True) if is_paid(line)}
    late = [killed_at - line.replied_s for line in lines if is_paid(line) and line.replied_s <= killed_at]
    found.lost.append(len(paid - {question_of(text) for _, text in after}))
    found.usual.append(concurrency + sum(ago_s <= USUAL_S for ago_s in late))
    found.largest.append(concurrency + sum(ago_s <= LONGEST_S for ago_s in late))


def unlogged(place: Place, lines: list[ServerLine], jobs: Collection[str] = ()) -> int:
    """Check that each attempt is a request that the provider saw; return how many it saw besides.

    Args:
        place: where the ledger is.
        lines: what the provider saw.
        jobs: whose attempts do not count.
    """
    attempts = place.attempts()
    logged = attempts[~attempts["job_id"].isin(jobs)]
    seen = Counter((question, line.key) for question, line in zip(questions_of(lines), lines, strict=True))
    told = Counter((_question(a.position), a.key.split()[-1]) for a in logged.itertuples())
    assert not told - seen, "the ledger has attempts that the provider never saw"
    return (seen - told).total()


def _finish(found: Killed, nursery: Nursery, place: Place, rows: int, concurrency: int) -> None:
    seen, jobs = len(place.server.lines), set(place.attempts()["job_id"])
    stored = {question_of(text) for _, text in place.answers()}
    out = nursery.begin(place, 0, rows, concurrency=concurrency).result()
    lines = lines_since(place.server, seen)
    found.again += sum(question in stored for question in questions_of(lines))
    found.requests, found.final = len(place.server.lines), statuses(out)
    assert unlogged(place, lines, jobs) == 0, "a run that came to its end has a record of every request"
    assert len(out) == rows
    assert out["q_llm"].notna().all()
    assert_own_answers(out)
    assert {question_of(text) for _, text in place.answers()} == set(out["q"])


def lines_since(server: RehearsalServer, seen: int = 0) -> list[ServerLine]:
    """Return the provider's lines after the first so many, once all of them have ended."""
    settle(server)
    return list(server.lines[seen:])


def _question(position: int) -> str:
    return f"question {position}."


_known: dict[str, str] = {}


def questions_of(lines: list[ServerLine]) -> list[str]:
    """Return the question of each line."""
    if lines and lines[0].prompt not in _known:
        for params in ({}, {"temperature": 0.0}, {"temperature": 0.7}):
            _known.update({_digest(question, lines[0].model, params): question for question in prompts(5_000)["q"]})
    return [_known[line.prompt] for line in lines]


def _digest(question: str, model: str, params: dict[str, float]) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": question}], **params}
    return read_request(body, backend="openrouter", key=None, key_number=0).prompt
