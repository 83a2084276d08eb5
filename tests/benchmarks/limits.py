"""Three limited keys over real HTTP: rows lost, requests refused, and the share of the limits' throughput.

    python tests/benchmarks/limits.py [rows]

The goals: no row lost; refused at most 5 % of the rows and one wave; 70 % of the throughput, 90 % where the limits
were told with `rpm=`. Run it alone: a limit with a burst of 1 also refuses what a busy machine lets arrive too close
together.
"""

from __future__ import annotations

import sys
import time
from itertools import product

import pandas as pd

import llm_executor_nb as llm

MODEL = "my/model"
LATENCY_S = 0.05
WAVE = 64
LIMITS = ((50, 7, 200), (50, 50, 50), (7, 7, 7), (200, 200, 200))


def _measure(limits: tuple[int, ...], burst: int, rows: int, *, is_told: bool) -> tuple[int, int, float]:
    """Return rows lost, requests refused and the share of the throughput that the limits allow."""
    frame = pd.DataFrame({"q": [f"question {number}." for number in range(rows)]})
    script = "; ".join(f"openrouter[{n}]: rate={limit}/s burst={burst}" for n, limit in enumerate(limits, start=1))
    with llm.rehearse(script, latency_s=LATENCY_S, openrouter_keys=len(limits), huggingface_tokens=0) as rehearsal:
        if is_told:
            for key, limit in zip(rehearsal.openrouter_keys, limits, strict=True):
                llm.keys.add("openrouter", key, rpm=60 * limit)
        began = time.perf_counter()
        out = frame.llm.run(MODEL, "q", progress=False)
        per_s = rows / (time.perf_counter() - began)
        refused = sum(line.status == 429 for line in rehearsal.lines)
    return int((out["q_llm_status"] != "ok").sum()), refused, per_s / sum(limits)


def main() -> None:
    """Measure each case once, after a warm-up."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    llm.models.add(MODEL, providers=["one"])
    with llm.rehearse():
        pd.DataFrame({"q": ["warm"] * 20}).llm.run(MODEL, "q", progress=False)
    for limits, burst, is_told in product(LIMITS, (1, 20), (False, True)):
        lost, refused, share = _measure(limits, burst, rows, is_told=is_told)
        told = "told" if is_told else "untold"
        print(
            f"{limits}/s, burst {burst}, {told}: {lost} lost, {refused} refused "
            f"({0.05 * rows + WAVE:.0f} allowed), {share:.0%} of the throughput",
            flush=True,
        )


if __name__ == "__main__":
    main()
