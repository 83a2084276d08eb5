"""How each route of the provider table stands, in the order they are asked, without a request."""

import math

import pandas as pd
import pytest
from rehearsing import MODEL, PROVIDERS, ROUTES, fresh

import llm_executor_nb as llm
from llm_executor_nb.chain.inspection import route_states
from llm_executor_nb.core import clock


@pytest.fixture(autouse=True)
def frozen():
    with fresh(), clock.use(clock.FrozenClock()) as time:
        llm.MODEL_INFERENCE_PROVIDERS = {MODEL: list(PROVIDERS)}
        yield time


def _states():
    return {state.route: (state.standing.value, state.why, state.seconds_left) for state in route_states()}


def test_every_route_stands_in_the_order_of_the_chain_and_nothing_is_sent():
    with llm.rehearse() as server:
        assert [state.route for state in route_states()] == ROUTES
        assert [state.tier for state in route_states()] == [1, 1, 2, 2, 2]
        assert server.lines == ()


def test_a_hold_is_told_with_its_reason_and_its_end(frozen):
    with llm.rehearse("openrouter[1]: 429 retry-after=40; openrouter[2]: 401; huggingface/a: 404"):
        llm.run_llm(MODEL, "x")
        states = _states()
        assert states["openrouter ..0001"] == ("held", "rate_limited", 40)
        assert states["openrouter ..0002"] == ("held", "auth", 600)
        assert states["huggingface/a ..0001"] == ("held", "not_found", math.inf)
        assert states["huggingface/b ..0001"] == ("free", "", None)
        frozen.advance(41)
        assert _states()["openrouter ..0001"] == ("due", "rate_limited", 0)


def test_what_came_back_is_counted_as_the_attempt_log_has_it():
    with llm.rehearse("openrouter[1]: 503*2; openrouter[2]: 20%503; huggingface/a: 429*1"):
        llm.run_llm(MODEL, "x")
        pd.DataFrame({"q": [f"q{number}" for number in range(30)]}).llm.run(MODEL, "q", progress=False)
        logged = llm.attempts().groupby(["route", "outcome"], observed=True).size().to_dict()
        counted = {
            (state.route, outcome.value): count for state in route_states() for outcome, count in state.outcomes.items()
        }
        assert counted == logged
        assert sum(counted.values()) > 30


def test_a_model_without_a_key_or_with_a_broken_row_has_no_line():
    llm.OPENROUTER_KEYS, llm.HUGGINGFACE_TOKENS = [], []
    assert list(route_states()) == []
    llm.OPENROUTER_KEYS = ["sk-or-v1-routes-0001"]
    llm.MODEL_INFERENCE_PROVIDERS["broken/model"] = "scaleway"
    assert [state.route for state in route_states()] == ["openrouter ..0001"]
