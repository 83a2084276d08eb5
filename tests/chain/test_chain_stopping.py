"""`llm.last`, and what a call that is stopped says of it."""

from __future__ import annotations

import inspect

import pytest

import llm_executor_nb as llm
from llm_executor_nb.chain.stopping import keep, stoppable


@stoppable
def _stopped(*given: object) -> None:
    for one in given:
        keep(one)
    raise KeyboardInterrupt


def test_a_result_that_came_at_the_moment_of_the_stop_is_kept_and_told():
    with pytest.raises(llm.JobInterrupted, match=r"llm\.last") as stopped:
        _stopped("an answer")
    assert stopped.value.result == llm.last == "an answer"
    with pytest.raises(llm.JobInterrupted, match="before anything had come") as stopped:
        _stopped()
    assert stopped.value.result is None
    assert llm.last == "an answer"


def test_a_stop_has_one_line_of_this_package_in_its_traceback():
    with pytest.raises(llm.JobInterrupted) as stopped:
        stoppable(_stopped)()
    assert len([line for line in stopped.traceback if "llm_executor_nb" in str(line.path)]) <= 3
    assert stopped.value.__suppress_context__


def test_a_wrong_call_of_an_async_function_is_refused_at_the_call():
    for function in (llm.arun_llm, llm.astream_llm):
        with pytest.raises(TypeError):
            function("gemma")
    assert inspect.iscoroutinefunction(llm.arun_llm)
