"""Parts of one job in processes of their own, which may be killed; the practice provider is in the test's process."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from killing import Column, Nursery, questions_of

from llm_executor_nb.frames.partition import Place, make_partition_plan
from llm_executor_nb.jobs.whole import WholeJob

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from llm_executor_nb.frames.partition import PartitionPlan
    from llm_executor_nb.rehearsal.lines import ServerLine

_BEGIN = """
import os, pickle, sys, time
import aiohttp, cloudpickle
import pandas as pd
import llm_executor_nb as llm
from llm_executor_nb.frames.partition import Place, make_partition_plan, run_partition
from llm_executor_nb.jobs.whole import WholeJob
from llm_executor_nb.providers.payload import make_payload
from columns import prompts
make_payload("warm up", {})

def part(into):
    with open(into + ".told", "rb") as file:
        told = pickle.load(file)
    with open(into, "wb") as file:
        pickle.dump((*run_partition(*told), time.monotonic()), file)

def client(url, home, into, rows, concurrency):
    os.environ.update(OPENROUTER_BASE_URL=url, LLM_EXECUTOR_HOME=home)
    plan, options, ledger = make_partition_plan(
        prompts(0).astype("str"), "gemma", "q", {"concurrency": int(concurrency)}, is_local=False
    )
    WholeJob(plan.job_id, options, ledger, rows=int(rows), asked=int(rows), at_once=2).enter()
    with open(into + ".new", "wb") as file:
        pickle.dump(plan, file)
    os.rename(into + ".new", into)
    time.sleep(600)

for line in sys.stdin:
    told, *args = line.split()
    if told == "wait":
        print(os.waitpid(int(args[0]), 0)[1], flush=True)
        continue
    child = os.fork()
    if not child:
        sys.stdin.close()
        os.dup2(os.open(args[-1] + ".said" if told == "part" else args[2] + ".said", os.O_CREAT | os.O_WRONLY), 2)
        {"part": part, "client": client}[told](*args)
        sys.exit()
    print(child, flush=True)
"""
MEETINGS_S = 1.0
"""Within that time all processes know what one has met."""


def part_nursery(folder: Path) -> Nursery:
    """Return where parts are begun, and whole jobs without a part."""
    return Nursery(folder, _BEGIN)


def begin_part(nursery: Nursery, folder: Path, plan: PartitionPlan, frame: pd.DataFrame, offset: int = 0) -> Column:
    """Begin one part in a process of its own; its result is the frame, the attempts and when it ended."""
    into = folder / f"{time.monotonic_ns()}.pickle"
    into.with_name(f"{into.name}.told").write_bytes(pickle.dumps((frame, plan, Place(offset=offset))))
    return Column(nursery, nursery.tell("part", into), into)


@contextmanager
def whole_job(frame: pd.DataFrame, *, at_once: int = 2, **options: Any) -> Iterator[tuple[PartitionPlan, WholeJob]]:
    """Enter the job of the column `q` of a frame; this process is the one that began it."""
    plan, own, ledger = make_partition_plan(frame.iloc[:0], "gemma", "q", options, is_local=False)
    whole = WholeJob(plan.job_id, own, ledger, rows=len(frame), asked=len(frame), at_once=at_once)
    whole.enter()
    try:
        yield plan, whole
    finally:
        whole.end("done")


def asked_by(lines: list[ServerLine], frames: list[pd.DataFrame]) -> list[int]:
    """Return for each line which frame has its question."""
    whose = {question: number for number, frame in enumerate(frames) for question in frame["q"]}
    return [whose[question] for question in questions_of(lines)]


def busiest_second(times: list[float]) -> int:
    """Return how many of some moments lie within one second, at most."""
    moments = sorted(times)
    return max(sum(at <= moment < at + 1 for moment in moments) for at in moments)


def bought(lines: list[ServerLine]) -> Counter[str]:
    """Return how often each question was answered."""
    return Counter(q for q, line in zip(questions_of(lines), lines, strict=True) if line.status == 200)
