"""Our column and our calls against other clients: one server, one machine, one interleaved run.

    python tests/benchmarks/peers.py                      all scenarios, three rounds: over an hour
    python tests/benchmarks/peers.py --quick              a quarter of the rows, one round
    python tests/benchmarks/peers.py --only hangs knee --ours             without the peers
    python tests/benchmarks/peers.py --only column --ours --base ../before    beside another checkout of this package

The first use installs the peers into an environment of their own, in the user's cache; `--renew` installs their newest
versions. The server and each client have a process of their own. Each answer is compared with its prompt, and the
server counts the requests. Run it alone, and read the ratios. `--readme` writes its table into the README.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

import peers_environment
import peers_first
from peers_clients import Endpoint, Run
from peers_scenarios import BARE, PEERS, SCENARIOS, Figure, Scenario, Variant
from peers_server import HOST, Counts, Faults

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROUNDS = 3
LONGEST, SPARE_S, SLOWEST = 20, 60.0, 50
"""A run is given up after so many times the best possible, these seconds more, and one more for so many rows."""
WARM_ROWS = 20
TABLE_BEGINS, TABLE_ENDS = "<!-- written by tests/benchmarks/peers.py -->", "<!-- until here -->"
OURS = {"column", "calls"}


class Server:
    """The provider, in a process of its own."""

    def __enter__(self) -> Self:
        command = [sys.executable, str(HERE / "peers_server.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.root = f"http://{HOST}:{self._process.stdout.readline().strip()}"
        return self

    def next_run(self, faults: Faults) -> Counts:
        """Begin a run; return what the one before it sent."""
        print(json.dumps(asdict(faults)), file=self._process.stdin, flush=True)
        return Counts(**json.loads(self._process.stdout.readline()))

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(10)


class Client:
    """One client, in a process of its own that lives until the end, or until a run took too long.

    Args:
        name: in `peers_clients.py`.
        python: the interpreter of its environment.
        package: the folder that `llm_executor_nb` is imported from.
        folder: where it works; the ledger and what the libraries print are there.
    """

    def __init__(self, name: str, *, python: Path | str, package: Path, folder: Path) -> None:
        folder.mkdir()
        with (folder / "stderr").open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), str(HERE / "peers_clients.py"), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(package), "HOME": str(folder)},
            )
        self.errors = folder / "stderr"

    def measure(self, run: Run, longest_s: float) -> dict[str, float] | None:
        """Return what it found; None: it took too long, or failed, and its process has ended."""
        ending = threading.Timer(longest_s, self._process.kill)
        ending.start()
        try:
            print(json.dumps(asdict(run)), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        ending.cancel()
        if not line:
            self.end()
        return json.loads(line) if line else None

    @property
    def is_running(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one run of a client came to.

    Attributes:
        figure: of the scenario's kind; None: it was given up.
        counts: what the server saw.
        rows, lost, wrong: how many rows were asked, came without an answer, and came with another row's.
        cpu_s: the CPU of the client's process; much of a wall beside other work is a wait for a core.
        logged: the attempts in our log; 0: there is none.
        searches: whether the client looks for its concurrency.
    """

    figure: float | None
    counts: Counts
    rows: int
    lost: int = 0
    wrong: int = 0
    cpu_s: float = 0.0
    logged: int = 0
    searches: bool = False

    def __str__(self) -> str:
        counts = self.counts
        more = counts.requests - self.rows - counts.hung
        told = [f"{self.lost} lost, {self.wrong} wrong", f"{self.cpu_s / self.rows * 1000:.2f} ms CPU a row"]
        told.append(f"{counts.requests} requests, {counts.peak} in flight at most")
        if counts.hung:
            told.append(f"{counts.hung / self.rows:.1%} hung")
        if more:
            told.append(f"{more / self.rows:+.1%} beside the rows{' and the hangs' if counts.hung else ''}")
        if counts.refused:
            told.append(f"{counts.refused} refused")
        if counts.late and self.searches:
            told.append(
                f"after 5 s {counts.late_peak} in flight at most, {counts.late_refused / counts.late:.1%} refused"
            )
        if self.logged not in {0, counts.requests}:
            told.append(f"BUT {self.logged} IN THE LOG")
        return ", ".join(told)


class Bench:
    """Runs the scenarios and keeps what was found, by the scenario's name and the client's label.

    Args:
        server: the provider.
        folder: where the clients work.
        checkouts: the package that is ours, and perhaps a base beside it.
        peers_python: the interpreter of the peers.
    """

    def __init__(self, server: Server, folder: Path, *, checkouts: Sequence[Path], peers_python: Path | str) -> None:
        self._server = server
        self._folder = folder
        self._checkouts = checkouts
        self._peers_python = peers_python
        self._clients: dict[tuple[str, bool], Client] = {}
        self._number = 0
        self.found: defaultdict[tuple[str, str], list[Found]] = defaultdict(list)

    def run(self, scenario: Scenario, variants: Sequence[Variant], rounds: int) -> None:
        """Measure a scenario: in each round, one client after the other, each time another one first."""
        both = [(variant, False) for variant in variants]
        if len(self._checkouts) > 1:
            both += [(variant, True) for variant in variants if variant.client in OURS]
        print(f"\n{scenario.name}: {scenario.title} ({scenario.rows} rows, wanted {scenario.wanted})", flush=True)
        for number in range(rounds):
            at = number % len(both)
            for variant, is_base in both[at:] + both[:at]:
                label = f"base {variant.label}" if is_base else variant.label
                found = self._measure(scenario, variant, is_base=is_base)
                self.found[scenario.name, label].append(found)
                if found.figure is not None:
                    print(f"  {label:32} {_shown(found.figure, scenario.figure):>18}   {found}", flush=True)
        for label in [label for name, label in self.found if name == scenario.name and rounds > 1]:
            print(f"  median of {label:22} {_shown(self.median(scenario, label), scenario.figure):>18}", flush=True)

    def _measure(self, scenario: Scenario, variant: Variant, *, is_base: bool) -> Found:
        client = self._client(variant.client, is_base=is_base)
        self._server.next_run(replace(scenario.faults, rows=scenario.rows))
        run = self._asked(scenario, variant)
        told = client.measure(run, LONGEST * scenario.best_s + SPARE_S + scenario.rows / SLOWEST)
        counts = self._server.next_run(Faults())
        if told is None:
            tail = client.errors.read_text().splitlines()[-1:]
            print(f"  {variant.label:32} given up: {''.join(tail)[:160]}", flush=True)
            return Found(figure=None, counts=counts, rows=scenario.rows)
        lost, wrong, logged = int(told["lost"]), int(told["wrong"]), int(told["logged"])
        return Found(
            figure=_figure(scenario, told),
            counts=counts,
            rows=scenario.rows,
            lost=lost,
            wrong=wrong,
            cpu_s=told["cpu_s"],
            logged=logged,
            searches="concurrency" in variant.options,
        )

    def _client(self, name: str, *, is_base: bool) -> Client:
        """Return a client that has been used before: its imports are no part of a run."""
        client = self._clients.get((name, is_base))
        if client is None or not client.is_running:
            self._number += 1
            client = self._clients[name, is_base] = Client(
                name,
                python=sys.executable if name in OURS else self._peers_python,
                package=self._checkouts[is_base],
                folder=self._folder / f"{name}-{self._number}",
            )
            self._server.next_run(Faults(rows=WARM_ROWS))
            warm = Scenario(name="warm", title="", faults=Faults(), rows=WARM_ROWS, concurrency=4, wanted="")
            client.measure(self._asked(warm, Variant(label=name, client=name)), SPARE_S)
        return client

    def _asked(self, scenario: Scenario, variant: Variant) -> Run:
        self._number += 1
        openrouter, huggingface = f"{self._server.root}/openrouter/api/v1", f"{self._server.root}/huggingface/v1"
        token = f"hf_practice-{self._number}-0001"
        return Run(
            number=self._number,
            rows=scenario.rows,
            concurrency=scenario.concurrency,
            timeout_s=scenario.timeout_s,
            keys=tuple(
                Endpoint(url=openrouter, key=f"sk-or-v1-practice-{self._number}-{number:04d}")
                for number in range(1, scenario.keys + 1)
            ),
            others=tuple(Endpoint(url=huggingface, key=token, provider=name) for name in scenario.providers),
            rate=scenario.faults.rate,
            options=variant.options,
        )

    def median(self, scenario: Scenario, label: str) -> float | None:
        """Return the median of a client's figures; None: a run was given up, or there is none."""
        figures = [one.figure for one in self.found.get((scenario.name, label), ())]
        return statistics.median(figures) if figures and None not in figures else None

    def lost(self, scenario: Scenario, label: str) -> int:
        """Return the most rows that a client lost or mixed up in a run."""
        return max((one.lost + one.wrong for one in self.found.get((scenario.name, label), ())), default=0)

    def end(self) -> None:
        """End the clients."""
        for client in self._clients.values():
            client.end()


def _figure(scenario: Scenario, told: dict[str, float]) -> float:
    match scenario.figure:
        case Figure.CPU:
            return told["cpu_s"] / scenario.rows * 1000
        case Figure.RATE:
            return scenario.rows / told["wall_s"]
        case Figure.RATIO:
            return told["wall_s"] / scenario.best_s


def _shown(figure: float | None, kind: Figure) -> str:
    if figure is None:
        return "-"
    return f"{figure:,.0f} {kind}" if kind is Figure.RATE else f"{figure:.2f} {kind}"


def table(bench: Bench, scenarios: Iterable[Scenario]) -> str:
    """Return the table of the README, without the scenarios in which ours is alone."""
    lines = ["| scenario | this package | best of the others | bare aiohttp |", "| --- | --- | --- | --- |"]
    for scenario in scenarios:
        if scenario.with_peers:
            peer = min(PEERS, key=lambda one: _rank(bench, scenario, one.label)).label
            ours, others, bare = (_cell(bench, scenario, one) for one in (scenario.ours[-1].label, peer, BARE.label))
            lines.append(f"| {_title(scenario)} | {ours} | {others}, {peer} | {bare} |")
    return "\n".join(lines)


def _title(scenario: Scenario) -> str:
    options = ", ".join(f"`{name}={value}`" for name, value in scenario.ours[-1].options.items())
    return f"{scenario.title}; ours with {options}" if options else scenario.title


def _cell(bench: Bench, scenario: Scenario, label: str) -> str:
    """Return a client's median, and how many rows it lost or mixed up."""
    lost = bench.lost(scenario, label)
    shown = _shown(bench.median(scenario, label), scenario.figure)
    return f"{shown} ({lost:,} rows lost)" if lost else shown


def _rank(bench: Bench, scenario: Scenario, label: str) -> tuple[int, float]:
    """Return what the best peer has least of: rows lost, then time."""
    figure = bench.median(scenario, label)
    if figure is None:
        return scenario.rows, math.inf
    return bench.lost(scenario, label), -figure if scenario.figure is Figure.RATE else figure


def write_table(text: str) -> None:
    """Put a table into the README in place of the one that is there."""
    readme = ROOT / "README.md"
    before, begins, rest = readme.read_text("utf-8").partition(TABLE_BEGINS)
    _, ends, after = rest.partition(TABLE_ENDS)
    if not begins or not ends:
        raise SystemExit(f"{readme} must have the lines {TABLE_BEGINS} and {TABLE_ENDS}; the table goes between them.")
    readme.write_text(f"{before}{begins}\n\n{text}\n\n{ends}{after}", "utf-8")


def _asked_for() -> argparse.Namespace:
    names = [*(one.name for one in SCENARIOS), peers_first.NAME]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the rows, one round")
    parser.add_argument("--rounds", type=int, help=f"rounds; else {ROUNDS}, with --quick 1")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these scenarios")
    parser.add_argument("--ours", action="store_true", help="without the peers")
    parser.add_argument("--bare", action="store_true", help="without the peers, but with bare aiohttp")
    parser.add_argument(
        "--package", type=Path, default=ROOT, help="the checkout that is ours; else the one of this file"
    )
    parser.add_argument("--base", type=Path, help="a second checkout of this package, measured beside this one")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    parser.add_argument("--renew", action="store_true", help="install the newest versions of the peers")
    return parser.parse_args()


def main() -> None:
    """Measure what was asked for."""
    asked = _asked_for()
    has_peers = not (asked.ours or asked.bare)
    python = sys.executable if asked.ours or asked.bare else peers_environment.python(renew=asked.renew)
    alone = OURS | ({BARE.client} if asked.bare else set())
    rounds = asked.rounds or (1 if asked.quick else ROUNDS)
    checkouts = [one.resolve() for one in (asked.package, asked.base) if one]
    scenarios = [one.quick() if asked.quick else one for one in SCENARIOS if one.name in asked.only]
    with ExitStack() as ended:
        folder = Path(ended.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        server = ended.enter_context(Server())
        bench = Bench(server, folder, checkouts=checkouts, peers_python=python)
        ended.callback(bench.end)
        for scenario in scenarios:
            bench.run(scenario, [one for one in scenario.variants if has_peers or one.client in alone], rounds)
        if peers_first.NAME in asked.only:
            peers_first.measure(server.root, folder, rounds, checkouts, peers_python=python if has_peers else None)
        if has_peers:
            when = f"Medians of {rounds}, {datetime.now(UTC):%Y-%m-%d}, {peers_environment.versions(python)}:"
            text = f"{when}\n\n{table(bench, scenarios)}"
            print(f"\n{text}")
            if asked.readme:
                write_table(text)


if __name__ == "__main__":
    main()
