"""Three limited keys over real HTTP: rows lost, requests refused, and the share of the limits' throughput.

    python tests/benchmarks/limits.py [rows]

The goals: no row lost; refused at most 5 % of the rows and one wave; 70 % of the throughput, 90 % where the limits
were told with `rpm=`. The practice providers have a process of their own, as real ones do. Run it alone: a limit with
a burst of 1 also refuses what a busy machine lets arrive too close together.

`tests/test_core_simulation.py` has the numbers of the simulation, and says why a burst of 1 cannot do better.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import product

import pandas as pd

import llm_executor_nb as llm
from llm_executor_nb.rehearsal.server import RehearsalServer

MODEL = "my/model"
LATENCY_S = 0.05
WAVE = 64
LIMITS = ((50, 7, 200), (50, 50, 50), (7, 7, 7), (200, 200, 200))
SLOW_ROWS = 600
KEYS = [f"sk-or-v1-practice-{number:04d}" for number in (1, 2, 3)]


def _serve(script: str) -> None:
    """Be the practice provider: print the address; then, when a line comes, the statuses; until there are no more."""
    with RehearsalServer(script, latency_s=LATENCY_S, openrouter_keys=KEYS) as server:
        print(server.openrouter_url, flush=True)
        for _ in sys.stdin:
            print(json.dumps([line.status for line in server.lines]), flush=True)


def _script(limits: tuple[int, ...], burst: int, *, is_timed: bool) -> str:
    option = "" if is_timed else " untimed"
    return "; ".join(f"openrouter[{n}]: rate={limit}/s burst={burst}{option}" for n, limit in enumerate(limits, 1))


def _measure(
    limits: tuple[int, ...], burst: int, rows: int, *, is_told: bool, is_timed: bool
) -> tuple[int, int, float]:
    """Return rows lost, requests refused and the share of the throughput that the limits allow."""
    frame = pd.DataFrame({"q": [f"question {number}." for number in range(rows)]})
    command = [sys.executable, __file__, "--serve", _script(limits, burst, is_timed=is_timed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        llm.configure(openrouter_keys=[], huggingface_tokens=[], openrouter_base_url=server.stdout.readline().strip())
        for key, limit in zip(KEYS, limits, strict=True):
            llm.keys.add("openrouter", key, rpm=60 * limit if is_told else None)
        llm.reset_health()
        began = time.perf_counter()
        out = frame.llm.run(MODEL, "q", progress=False, reuse=False)
        per_s = rows / (time.perf_counter() - began)
        print(file=server.stdin, flush=True)
        refused = json.loads(server.stdout.readline()).count(429)
        server.stdin.close()
    return int((out["q_llm_status"] != "ok").sum()), refused, per_s / sum(limits)


def main() -> None:
    """Measure each case once, after a warm-up."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    llm.models.add(MODEL, providers=["one"])
    llm.configure(ledger=None)
    with llm.rehearse():
        pd.DataFrame({"q": ["warm"] * 20}).llm.run(MODEL, "q", progress=False)
    for limits, burst, (is_told, is_timed) in product(LIMITS, (1, 20), ((False, True), (False, False), (True, True))):
        asked = min(rows, SLOW_ROWS) if max(limits) < 10 else rows
        lost, refused, share = _measure(limits, burst, asked, is_told=is_told, is_timed=is_timed)
        what = "told" if is_told else "untold" if is_timed else "untold, without Retry-After"
        print(
            f"{limits}/s, burst {burst}, {what}: {lost} lost, {refused} refused "
            f"({0.05 * asked + WAVE:.0f} allowed), {share:.0%} of the throughput",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve(sys.argv[2])
    else:
        main()
