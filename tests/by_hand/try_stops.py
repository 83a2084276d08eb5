"""Press ■ at random moments of first and later calls in real kernels; takes minutes.

    PYTHONPATH=.:tests/support python tests/by_hand/try_stops.py [KERNELS]

Prints a line for each stop that did not end in one line; a cell that ended before the press is left out.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from shells import Ran, kernel

CALLS = {
    "run_llm": "llm.run_llm('gemma', 'x')",
    "arun_llm": "await llm.arun_llm('gemma', 'x')",
    "cell": "%%llm gemma -o kept\nx",
    "stream": "for chunk in llm.stream_llm('gemma', 'x'):\n    pass",
    "astream": "async for chunk in llm.astream_llm('gemma', 'x'):\n    pass",
    "column": "df.llm.run('gemma', 'q', concurrency=2, reuse=False)",
    "awaited column": "await df.llm.arun('gemma', 'q', concurrency=2, reuse=False)",
}
MAKE = """
import pandas as pd
df = pd.DataFrame({'q': [f'question {number}.' for number in range(2000)]})
practice = llm.rehearse('*: latency=0.2, pace=0.05').start()
"""
LATEST_S = 3.0
LONGEST = 1500


def fault(ran: Ran) -> str:
    """Return what is wrong with the end of a cell that was stopped; "": nothing."""
    if ran.reply["status"] == "ok":
        return ""
    told = "\n".join(ran.reply["traceback"])
    is_short = len(told) <= LONGEST and "CancelledError" not in told
    return "" if is_short and ran.reply["ename"] == "JobInterrupted" else f"{len(told)} characters: {told[-3000:]}"


def main(kernels: int, seed: int) -> int:
    """Stop each call in turn, first in a new kernel and then again; return how many ended badly."""
    chance, faults, stopped = random.Random(seed), 0, 0
    for number in range(kernels):
        with tempfile.TemporaryDirectory() as folder, kernel(Path(folder)) as running:
            running.run(MAKE)
            for which in ("first", "later", "later"):
                name = list(CALLS)[number % len(CALLS)]
                after_s = chance.uniform(0, LATEST_S if which == "first" else 1.0)
                ran = running.run(CALLS[name], stop_after_s=after_s)
                stopped += ran.reply["status"] != "ok"
                if words := fault(ran):
                    faults += 1
                    print(f"--- {which} {name} after {after_s:.3f} s: {words}", flush=True)
    print(f"{stopped} stops, {faults} did not end in one line")
    return faults


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]) if sys.argv[1:] else 40, seed=1)))
