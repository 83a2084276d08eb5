"""A column under limits that the providers tell with every answer, over real HTTP: it keeps within them."""

from __future__ import annotations

import pandas as pd
import pytest
from rehearsing import MODEL, assert_log_is_what_the_server_saw, fresh

import llm_executor_nb as llm
from llm_executor_nb.core import clock

KEYS = {
    "openrouter": {"openrouter_keys": 2, "huggingface_tokens": 0},
    "huggingface": {"openrouter_keys": 0, "huggingface_tokens": 2},
}


@pytest.fixture(autouse=True)
def _fresh():
    with fresh(), clock.use(clock.FrozenClock()):
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["a"]  # a rehearsal counts by token, and what is told counts by route
        yield


def refusals(script, backend, rows):
    """Run a column; return how many of its requests were refused, and the seconds it took."""
    frame = pd.DataFrame({"q": [f"question {number}." for number in range(rows)]})
    with llm.rehearse(script, **KEYS[backend]) as server:
        began = clock.current().now()
        out = frame.llm.run(MODEL, "q", progress=False)
        took_s = clock.current().now() - began
        assert_log_is_what_the_server_saw(server, in_order=False)
        refused = sum(line.status == 429 for line in server.lines)
    assert (out["q_llm_status"] == "ok").all()
    return refused, took_s


@pytest.mark.parametrize("backend", KEYS)
def test_a_column_that_is_told_what_is_left_is_hardly_ever_refused_and_takes_hardly_longer(backend):
    silent, silent_s = refusals("*: rate=300/min burst=20", backend, 120)
    telling, telling_s = refusals("*: rate=300/min burst=20 headers", backend, 120)
    assert silent >= 16
    assert telling <= 3
    assert telling_s <= 1.35 * silent_s  # what is told is told in whole seconds


def test_calls_by_hand_do_not_wait_for_what_is_left():
    with llm.rehearse("openrouter: rate=2/min headers", openrouter_keys=1, huggingface_tokens=0):
        for number in range(2):
            llm.run_llm(MODEL, f"question {number}.")
        assert llm.attempts()["wait_s"].tolist() == [0, 0]
