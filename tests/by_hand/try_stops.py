"""Press ■ at random moments of first and later calls in real kernels, and look at all that is left of them.

    PYTHONPATH=.:tests/support python tests/by_hand/try_stops.py [--first N] [--later N] [CALL ...]

A first call needs a new kernel, so 40 of each take half an hour. Prints each fault, and then for each call what ended
the cells, the longest traceback, and the faults. Faults are: a traceback over the bound, another end than
JobInterrupted, a message that says something else than `llm.last` has, a kernel that is not busy to the end, and a next
cell that fails. A cell that ended before the press is counted as `ok`.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from shells import Kernel, Ran, kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = {
    "run_llm": "llm.run_llm('gemma', 'x')",
    "df.llm.run": "df.llm.run('gemma', 'q', concurrency=2, reuse=False)",
    "arun_llm": "await llm.arun_llm('gemma', 'x')",
    "df.llm.arun": "await df.llm.arun('gemma', 'q', concurrency=2, reuse=False)",
    "stream_llm": "for chunk in llm.stream_llm('gemma', 'x'):\n    pass",
    "cell": "%%llm gemma -o kept\nx",
    "result": "df.llm.start('gemma', 'q', concurrency=2, reuse=False).result()",
    "series": "df['q'].llm.run('gemma', concurrency=2, reuse=False)",
    "loop": "for number in range(9):\n    llm.run_llm('gemma', 'x')",
    "awaits": "for number in range(9):\n    await llm.arun_llm('gemma', 'x')",
    "astream_llm": "async for chunk in llm.astream_llm('gemma', 'x'):\n    pass",
    "doctor": "%llm doctor",
}
MAKE = """
import pandas as pd
df = pd.DataFrame({'q': [f'question {number}.' for number in range(2000)]})
practice = llm.rehearse('*: latency=0.1, pace=0.02').start()
"""
BEFORE = "before = kept = llm.last"
FACTS = """
counted = llm.last.notna() if isinstance(llm.last, pd.Series) else getattr(llm.last, 'q_llm', pd.Series()).notna()
print(llm.last is before, kept is llm.last, type(llm.last).__name__, len(counted), counted.sum())
"""
REPEATED = ("loop", "awaits")
"""Calls of which an earlier one may have set `llm.last`."""
FIRST_S, LATER_S = 3.0, 0.6
"""How long after its beginning a first, and a later, cell is stopped at the latest."""
LONGEST = 1500


def faults_of(ran: Ran, facts: str, call: str) -> Iterator[str]:
    """Yield what is wrong with the end of a cell that was stopped, and with what it left."""
    told, evalue = "\n".join(ran.reply["traceback"]), ran.reply["evalue"]
    if "line 1" not in told and "llm_executor_nb" not in told and len(told) <= LONGEST and "JobI" not in told:
        return  # IPython was stopped before the cell began
    if len(told) > LONGEST or "CancelledError" in told or ran.reply["ename"] != "JobInterrupted":
        yield f"{len(told):,} characters: {told}"
    last = re.search(r"^(True|False) (True|False) (\w+) (\d+) (\d+)$", facts, re.MULTILINE)
    if last is None or last[0] != facts.strip():
        yield f"the next cell shows {facts!r}"
    if last is None:
        return
    is_before, is_kept, kind, rows, answered = last.groups()
    says_last = "llm.last" in evalue
    if ran.reply["ename"] == "JobInterrupted" and says_last == (is_before == "True") and call not in REPEATED:
        yield f"{evalue!r}, but llm.last is {facts}"
    if call == "cell" and "kept" in evalue and is_kept != "True":
        yield f"-o is not llm.last: {evalue}"
    counted = re.match(r"Stopped: ([\d,]+) of ([\d,]+) rows", evalue)
    if counted and [counted[1].replace(",", ""), counted[2].replace(",", "")] != [answered, rows]:
        yield f"{evalue!r}, but the {kind} has {answered} of {rows}"
    if [status["execution_state"] for status in ran.of("status")] != ["busy", "idle"]:
        yield "not busy to the end"


class Trial:
    """The stops of one call: how they ended, and what was wrong."""

    def __init__(self, call: str, which: str) -> None:
        self.call, self.which = call, which
        self.ends: Counter[str] = Counter()
        self.longest = self.faults = 0

    def stop(self, running: Kernel, after_s: float) -> None:
        """Run the call, stop it after some seconds, and note its end."""
        running.run(BEFORE)
        try:
            ran = running.run(CALLS[self.call], stop_after_s=after_s)
        except TimeoutError:  # a stop in the moment before it begins the cell makes ipykernel forget its reply
            self.ends["no reply"] += 1
            return
        facts = running.run(FACTS)
        self.ends[ran.reply.get("ename", "ok")] += 1
        found = [f"the next cell failed: {facts.reply}"] if facts.reply["status"] != "ok" else []
        if ran.reply["status"] != "ok" and not found:
            self.longest = max(self.longest, len("\n".join(ran.reply["traceback"])))
            found = list(faults_of(ran, facts.text, self.call))
        for fault in found:
            self.faults += 1
            print(f"--- {self.which} {self.call} after {after_s:.4f} s: {fault}", flush=True)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {name}" for name, count in self.ends.items())
        return f"{self.which:5} {self.call:12} longest {self.longest:5,} faults {self.faults:2} | {ends}"


def main(arguments: list[str]) -> int:
    """Stop each call, first in new kernels and then again and again; return how many ended badly."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=40)
    parser.add_argument("--later", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("calls", nargs="*", default=list(CALLS))
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}")
    chance, trials = random.Random(options.seed), []
    for call in options.calls:
        first, later = Trial(call, "first"), Trial(call, "later")
        trials += [first, later]
        for number in range(max(options.first, 1)):
            with tempfile.TemporaryDirectory() as folder, kernel(Path(folder)) as running:
                running.run(MAKE)
                if number < options.first:
                    first.stop(running, chance.uniform(0, FIRST_S))
                if number == 0:
                    running.run("llm.run_llm('gemma', 'x')")
                    for _ in range(options.later):
                        later.stop(running, chance.choice((0.02, LATER_S)) * chance.random())
        print(first, later, sep="\n", flush=True)
    return sum(trial.faults for trial in trials)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
