"""What tests of the ledger share: records to keep, look-ups to claim, a ledger in a folder, another process."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from llm_executor_nb.core.attempt import Attempt
from llm_executor_nb.core.outcomes import Decision, Outcome
from llm_executor_nb.store.ledger_store import LedgerStore
from llm_executor_nb.store.records import USUAL_LIMITS, Answer, JobStart, Limits, Lookup
from llm_executor_nb.store.schema import APPLICATION_ID, MIGRATIONS

NOON = datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=UTC)
_numbers = itertools.count()
_HERE = Path(__file__).parent


def key(text: str) -> bytes:
    """Return 16 bytes that stand for a request."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def attempt(**changed: Any) -> Attempt:
    """Return an attempt of a job."""
    number = next(_numbers)
    usual = {
        "run_id": f"{number:016x}",
        "job_id": "job",
        "row": str(number),
        "position": number,
        "column": "review",
        "attempt": 1,
        "route": "openrouter ..a1b2",
        "backend": "openrouter",
        "key": "key 1 ..a1b2",
        "provider": None,
        "request_model": "google/gemma-3-27b-it",
        "response_model": "google/gemma-3-27b-it",
        "started_utc": NOON,
        "wait_s": 0.0,
        "duration_s": 0.25,
        "outcome": Outcome.OK,
        "http_status": 200,
        "error_code": None,
        "message": None,
        "retry_after_s": None,
        "decision": Decision.ACCEPT,
        "finish_reason": "stop",
        "input_tokens": 12,
        "output_tokens": 34,
        "cost_usd": 0.0001,
    }
    return Attempt(**{**usual, **changed})


def answer(request: str = "question", text: str = "answer", **changed: Any) -> Answer:
    """Return an answer to the request that a text stands for."""
    usual = {
        "key": key(request),
        "text": text,
        "run_id": f"{next(_numbers):016x}",
        "job_id": "job",
        "route": "openrouter ..a1b2",
        "finish_reason": "stop",
        "input_tokens": 12,
        "output_tokens": 34,
        "cost_usd": 0.0001,
        "answered_utc": datetime.now(UTC),
    }
    return Answer(**{**usual, **changed})


def lookup(*requests: str, copy: int | None = None) -> Lookup:
    """Return a look-up whose request keys, in chain order, are those of some texts."""
    return Lookup(digest=key(f"{requests} {copy}"), keys=tuple(key(request) for request in requests), copy=copy)


def begun(ledger: LedgerStore, job_id: str = "job") -> LedgerStore:
    """Begin a job."""
    ledger.begin_job(
        JobStart(job_id=job_id, model="gemma", column="review", rows=3, requests=2, started_utc=datetime.now(UTC))
    )
    return ledger


def texts(found: list[Any]) -> list[Any]:
    """Return the texts of answers, and what else was found as it is."""
    return [item.text if isinstance(item, Answer) else item for item in found]


@contextmanager
def ledger_at(path: Path | None, limits: Limits = USUAL_LIMITS):
    """Give a ledger with a job in it, and close it."""
    ledger = LedgerStore(lambda: path, limits)
    try:
        yield begun(ledger)
    finally:
        ledger.close()


def make_older(path: Path, version: int) -> None:
    """Make a ledger one of an older version: the tables that it had, with the rows of today."""
    old = path.with_name("older.sqlite")
    with closing(sqlite3.connect(old, isolation_level=None)) as file:
        for script in MIGRATIONS[:version]:
            file.executescript(script)
        file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        file.execute(f"PRAGMA user_version = {version}")
        file.execute("ATTACH ? AS today", (str(path),))
        tables = file.execute("SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        for (table,) in tables.fetchall():
            names = ", ".join(f'"{row[1]}"' for row in file.execute(f"PRAGMA main.table_info({table})"))
            file.execute(f"DELETE FROM main.{table}")  # noqa: S608 - our own names
            file.execute(f"INSERT INTO main.{table}({names}) SELECT {names} FROM today.{table}")  # noqa: S608 - the same
    old.replace(path)


class Child:
    """Another Python process; it runs a script that speaks by lines, and is killed at the end."""

    def __init__(self, script: str, *args: object, before: list[str] | None = None) -> None:
        paths = f"import sys; sys.path[:0] = [{str(_HERE)!r}, {str(_HERE.parents[1])!r}]\n"
        command = [*(before or []), sys.executable, "-W", "error", "-c", paths + script, *map(str, args)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        """Wait for its next line."""
        return self.process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        """Send it a line."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def stop(self, path: Path) -> None:
        """Stop it where it is, at a moment at which it has not locked the ledger at `path`."""
        while True:
            self.process.send_signal(signal.SIGSTOP)
            assert os.WIFSTOPPED(os.waitpid(self.process.pid, os.WUNTRACED)[1])
            try:
                with closing(sqlite3.connect(path, timeout=0.1, isolation_level=None)) as file:
                    file.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                self.go_on()
            else:
                return

    def go_on(self) -> None:
        """Let it go on after `stop`."""
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        """Close its input and wait for its end."""
        self.process.stdin.close()
        return self.process.wait(90)  # a busy machine imports slowly

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            stream.close()
