"""A run leaves nothing to the garbage collector, which stops all runs to look for circles of references."""

from __future__ import annotations

import gc

import pandas as pd
import pytest
from rehearsing import fresh

import llm_executor_nb as llm

RUNS = 20


@pytest.fixture(autouse=True)
def _fresh():
    with fresh(), llm.rehearse():
        llm.run_llm("gemma", "warm up")
        yield


def left_behind(work):
    """Return the classes of ours of which at least one object per run was kept by a circle of references."""
    gc.collect()
    gc.disable()
    try:
        work()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
    finally:
        gc.set_debug(0)
        gc.enable()
    names = [type(one).__qualname__ for one in gc.garbage if type(one).__module__.startswith("llm_executor_nb")]
    gc.garbage.clear()
    return {name for name in names if names.count(name) >= RUNS}


def test_calls_leave_nothing_to_the_collector():
    assert not left_behind(lambda: [llm.run_llm("gemma", f"question {number}") for number in range(RUNS)])


def test_rows_leave_nothing_to_the_collector():
    frame = pd.DataFrame({"q": [f"question {number}" for number in range(RUNS)]})
    assert not left_behind(lambda: frame.llm.run("gemma", "q", progress=False))
