"""A Dask frame on a cluster of two workers against one process; a limit that both share; and kills.

    python tests/benchmarks/past_one_machine.py [rows] [requests a second]

The practice providers have a process of their own, as real ones do. Three parts, each with a ledger of its own on disk:

- pace: the rows in one process, then on two workers, with the same requests in flight together. The goals: at most
  1.15 x the time of one process, and as many requests as rows and scripted failures.
- limit: one key of so many requests a second (1,000), told with `rpm=`, over two workers. The goals: 95 to 100 % of
  it, and no refusal after the first second.
- kills: `kill -9` of a worker, then of the client, amid the rows; then the same call again with 8, 5 and 3 partitions.
  The goals: bought again at most what was in flight and one commit; after that nothing.

Of rates above some 500 a second, two cores are the limit for workers, scheduler and server together.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
import distributed
import pandas as pd
from peers import Server
from peers_server import Faults

import llm_executor_nb as llm
from llm_executor_nb.rehearsal.server import RehearsalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODEL = "google/gemma-3-27b-it"
KEY, VARIABLE = "sk-or-v1-practice-0001", "OPENROUTER_API_KEY"
ROWS, LIMIT = 20_000, 1_000
IN_FLIGHT, LATENCY_S = 128, 0.5
WAIT_S = 120.0


def _serve(script: str, latency_s: str) -> None:
    """Be the practice provider: print the address; then, for each line that comes, what it saw."""
    with RehearsalServer(script, latency_s=float(latency_s), openrouter_keys=[KEY]) as server:
        print(server.openrouter_url, flush=True)
        for _ in sys.stdin:
            seen = [[line.prompt, line.status, line.received_s] for line in server.lines]
            print(json.dumps(seen), flush=True)


@contextmanager
def serving(script: str, latency_s: float) -> Iterator[tuple[str, Callable[[], list[list[Any]]]]]:
    """Run a practice provider in a process of its own; give its address, and what returns its lines so far."""
    command = [sys.executable, __file__, "--serve", script, str(latency_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:

        def lines() -> list[list[Any]]:
            print(file=server.stdin, flush=True)
            return json.loads(server.stdout.readline())

        yield server.stdout.readline().strip(), lines
        server.stdin.close()


@contextmanager
def cluster() -> Iterator[distributed.Client]:
    """Run two workers that have loaded what they need."""
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, host="127.0.0.1", dashboard_address=":0") as made,
        distributed.Client(made) as client,
    ):
        with llm.rehearse():
            parted(questions(40)).llm.run(MODEL, "q", progress=False)
        yield client


def questions(rows: int) -> pd.DataFrame:
    """Return a frame with different prompts."""
    return pd.DataFrame({"q": [f"question {number}." for number in range(rows)]})


def parted(frame: pd.DataFrame, count: int = 8) -> Any:
    """Return it as a Dask frame."""
    return dd.from_pandas(frame, npartitions=count, sort=False)


def settings(url: str, folder: str, name: str) -> None:
    """Ask the practice provider, and keep what it says in a file of its own."""
    llm.configure(openrouter_base_url=url, huggingface_tokens=[], ledger=Path(folder) / f"{name}.sqlite")
    llm.reset_health()


def pace(rows: int, folder: str) -> None:
    """Compare one process and two workers."""
    took: dict[str, float] = {}
    with serving("openrouter: 2%503", LATENCY_S) as (url, lines), cluster():
        for name, frame in (("one process", questions(rows)), ("two workers", parted(questions(rows)))):
            settings(url, folder, name.replace(" ", "-"))
            before, began = len(lines()), time.perf_counter()
            out = frame.llm.run(MODEL, "q", progress=False, concurrency=IN_FLIGHT)
            took[name] = time.perf_counter() - began
            seen, log = lines()[before:], out.llm.attempts()
            expected = rows + sum(status != 200 for _, status, _ in seen)
            print(f"{name}: {took[name]:.1f} s, {len(seen):,} requests of {expected:,} expected, {len(log):,} logged")
    print(f"two workers take {took['two workers'] / took['one process']:.2f} x the time of one process", flush=True)


def limit(most: int, folder: str) -> None:
    """Measure a told limit that two workers share. The server is the one of `peers.py`: this one costs it more CPU."""
    rows = 15 * most
    with Server() as server, cluster():
        settings(f"{server.root}/openrouter/api/v1", folder, "limit")
        llm.keys.add("openrouter", os.environ[VARIABLE], rpm=60 * most)
        server.next_run(Faults(rows=rows, rate=most, burst=most // 20, latency_s=0.05))
        out = parted(questions(rows)).llm.run(MODEL, "q", progress=False, concurrency=256)
        log = out.llm.attempts()
    at = (log["started_utc"] - log["started_utc"].min()).dt.total_seconds()
    steady = at[(log["outcome"] == "ok") & at.between(1, at.max() - 1)]
    late = int(((log["http_status"] == 429) & (at > 1)).sum())
    reached = len(steady) / (steady.max() - steady.min())
    print(f"limit of {most:,}/s: {reached:,.0f}/s, {late} refused after 1 s", flush=True)


def kills(rows: int, folder: str) -> None:
    """Kill a worker, then the client, then ask again with other partitions."""
    with serving("", LATENCY_S) as (url, lines):
        with cluster() as client:
            settings(url, folder, "worker")
            job = parted(questions(rows)).llm.start(MODEL, "q", progress=False, concurrency=IN_FLIGHT)
            _wait_for(lines, rows // 3)
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
            out = job.result().compute()
            _tell("a worker is killed", lines(), rows, out)
        before = len(lines())
        command = [sys.executable, __file__, "--client", url, folder, str(rows)]
        with subprocess.Popen(
            command, env={**os.environ, "PYTHONWARNINGS": "ignore"}, start_new_session=True
        ) as killed:
            _wait_for(lambda: lines()[before:], rows // 3)
            killed.kill()
            killed.wait()
        with cluster():
            settings(url, folder, "client")
            out = parted(questions(rows)).llm.run(MODEL, "q", progress=False, concurrency=IN_FLIGHT).compute()
            _tell("the client is killed", lines()[before:], rows, out)
            for count in (8, 5, 3):
                seen = len(lines())
                parted(questions(rows), count).llm.run(MODEL, "q", progress=False, concurrency=IN_FLIGHT)
                print(f"again with {count} partitions: {len(lines()) - seen} bought again", flush=True)


def _client(url: str, folder: str, rows: str) -> None:
    """Be the client that is killed."""
    with cluster():
        settings(url, folder, "client")
        parted(questions(int(rows))).llm.run(MODEL, "q", progress=False, concurrency=IN_FLIGHT)


def _wait_for(lines: Callable[[], list[list[Any]]], count: int) -> None:
    end = time.monotonic() + WAIT_S
    while len(lines()) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"fewer than {count} requests came in {WAIT_S:.0f} s")
        time.sleep(0.2)


def _tell(what: str, seen: list[list[Any]], rows: int, out: pd.DataFrame) -> None:
    again = sum(Counter(prompt for prompt, *_ in seen).values()) - rows
    answered = int(out["q_llm"].notna().sum())
    print(f"{what}: {answered:,} of {rows:,} rows answered, {again} requests again ({IN_FLIGHT} in flight)", flush=True)


def main() -> None:
    """Measure the three parts."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    os.environ[VARIABLE] = KEY
    llm.configure(ledger=None)
    with tempfile.TemporaryDirectory() as folder:
        pace(rows, folder)
        limit(int(sys.argv[2]) if len(sys.argv) > 2 else LIMIT, folder)
        kills(int(0.8 * rows), folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve(*sys.argv[2:])
    elif sys.argv[1:2] == ["--client"]:
        _client(*sys.argv[2:])
    else:
        main()
