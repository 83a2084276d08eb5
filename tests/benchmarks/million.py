"""A column of a million rows: time per row against a column of ten thousand, and memory above the frame and its result.

    python tests/benchmarks/million.py [ROWS]

The engine and the ledger (on disk, in a folder of its own) are real; the provider is in this process and answers at
once, so that what is measured is ours. Prints ratios and bytes per row.
"""

from __future__ import annotations

import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pandas as pd
from langchain_core.messages import AIMessage

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Verdict
from llm_executor_nb.engine.sender import SendResult

if TYPE_CHECKING:
    from llm_executor_nb.engine.request import RunRequest

MODEL = "my/model"
SMALL = 10_000
SMALL_RUNS = 3
REVIEW = "What does this review say about us, and is it right? " * 6
ANSWER = "An answer of a usual length, three hundred characters or so. " * 5


class Instant:
    """A provider that answers at once."""

    takes_extras = True

    def paid_at(self, *_: object) -> str | None:
        """Return nowhere: it costs nothing."""
        return None

    async def whole(self, ask: RunRequest, *_: object, **__: object) -> SendResult:
        """Answer."""
        text = f"{ask.row.position} {ANSWER}"
        verdict = Verdict(outcome=Outcome.OK, http_status=200, finish_reason="stop", input_tokens=9, output_tokens=80)
        return SendResult(verdict, AIMessage(text))


def resident() -> int:
    """Return the bytes this process has in memory."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """Watches the memory of this process while a block runs."""

    def __enter__(self) -> Self:
        self.before = self.bytes = resident()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._is_over.wait(0.02):
            self.bytes = max(self.bytes, resident())

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


def measure(rows: int) -> tuple[float, float, float]:
    """Return microseconds per row, bytes per row above the frame and its result, and bytes per row of the ledger."""
    frame = pd.DataFrame({"q": [f"question {number}. {REVIEW}" for number in range(rows)]})
    run(frame.head(200))
    gc.collect()
    with Peak() as peak:
        began = time.perf_counter()
        out = run(frame)
        took = time.perf_counter() - began
    assert (out["q_llm_status"].isin(["ok", "cached"])).all()
    assert all(out["q_llm"].iloc[at].startswith(f"{at} ") for at in range(200, rows, max(1, rows // 97)))
    result = int(out.drop(columns="q").memory_usage(index=False, deep=True).sum())
    return took / rows * 1e6, (peak.bytes - peak.before - result) / rows, llm.ledger.size / rows


def run(frame: pd.DataFrame) -> pd.DataFrame:
    """Run the column."""
    return frame.llm.run(MODEL, "q", progress=False, concurrency=64)


def child(rows: int) -> None:
    """Measure one size in a process of its own."""
    llm.MODEL_INFERENCE_PROVIDERS[MODEL] = []
    llm.OPENROUTER_KEYS[:] = ["sk-or-v1-practice-0001", "sk-or-v1-practice-0002"]
    session().senders = lambda: {"openrouter": Instant()}  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        llm.configure(ledger=Path(folder) / "ledger.sqlite")
        each, above, stored = measure(rows)
        session().ledger.close()
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows} {each:.2f} {above:.0f} {stored:.0f} {largest:.0f}")


def main(rows: int) -> None:
    """Measure both sizes, each in a process of its own, and compare them; the small one, which is over soon, often."""
    small = [_measured(SMALL) for _ in range(SMALL_RUNS)]
    large = _measured(rows)
    small += [_measured(SMALL) for _ in range(SMALL_RUNS)]
    ratio = large / statistics.median(small)
    print(f"time per row at {rows}: {ratio:.2f} x the median at {SMALL} ({min(small):.0f} to {max(small):.0f} us)")


def _measured(rows: int) -> float:
    """Measure one size in a process of its own; print what was found and return the microseconds per row."""
    command = [sys.executable, __file__, "--child", str(rows)]
    line = subprocess.run(command, check=True, capture_output=True, text=True)
    _, each, above, stored, largest = map(float, line.stdout.split())
    print(
        f"{rows:>9} rows: {each:.1f} us a row ({1e6 / each:.0f} rows/s), {above:.0f} bytes a row above the frame "
        f"and its result, {stored:.0f} bytes a row on disk, {largest:.0f} MB at most",
        flush=True,
    )
    return each


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
