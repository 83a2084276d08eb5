"""Wall time of a column against rows x latency / concurrency, and what a rate limit leaves of it.

    python tests/benchmarks/columns.py

Prints ratios; 1.0 is what the latency alone allows.
"""

from __future__ import annotations

import time

import pandas as pd

import llm_executor_nb as llm
from llm_executor_nb.core import clock

MODEL = "my/model"


def _frame(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"q": [f"question {number}." for number in range(rows)]})


def _timed(rows: int, **options: object) -> tuple[float, pd.DataFrame]:
    began = time.perf_counter()
    out = _frame(rows).llm.run(MODEL, "q", progress=False, **options)
    return time.perf_counter() - began, out


def main() -> None:
    """Measure each case once, after a warm-up."""
    llm.models.add(MODEL, providers=["one", "two"])
    with llm.rehearse():
        _timed(10)
    with llm.rehearse("*: 5%503", latency_s=0.1) as rehearsal, clock.use(clock.ScaledClock(100)):
        took, out = _timed(400, concurrency=32)
        ideal = 400 * 0.1 / 32
        print(
            f"400 rows, 5 % 503, concurrency 32: {took:.2f} s, {took / ideal:.2f} x ideal, "
            f"{rehearsal.in_flight_peak} in flight, {int((out['q_llm_status'] == 'ok').sum())} ok"
        )
    for script, allowed in (
        ("openrouter: rate=50/s burst=1; huggingface: down", 100),
        ("openrouter: 5%429; huggingface: down", None),
    ):
        with llm.rehearse(script, latency_s=0.05):
            took, out = _timed(600)
            refused = int((llm.attempts()["outcome"] == "rate_limited").sum())
            bound = f", {600 / took / allowed:.2f} x allowed" if allowed else ""
            print(f"{script}: {took:.1f} s, {600 / took:.0f} rows/s{bound}, {refused} refused")


if __name__ == "__main__":
    main()
