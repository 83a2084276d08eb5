"""Cost is what was spent, whoever's key paid; what is not told stays unknown."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
from columns import MODEL
from hypothesis import given
from hypothesis import strategies as st
from loopback import DONE, JSON, STREAM, served_by
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.core.verdicts.answers import cost_usd

TOLD = {
    "the gateway's own key": ({"cost": 0.25}, 0.25),
    "a free model": ({"cost": 0, "is_byok": False, "cost_details": {"upstream_inference_cost": 0}}, 0.0),
    "the same cost told twice": (
        {"cost": 0.25, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.24}},
        0.25,
    ),
    "a gateway that paid for a gift": (
        {"cost": 0, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.24}},
        0.0,
    ),
    "the user's key": ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.5}}, 0.5),
    "the user's key and a fee": (
        {"cost": 0.025, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.5}},
        0.525,
    ),
    "nobody says whose key, and it cost nothing here": (
        {"cost": 0, "cost_details": {"upstream_inference_cost": 0.5}},
        0.5,
    ),
    "only what it cost upstream": ({"cost_details": {"upstream_inference_cost": "0.5"}}, 0.5),
    "nobody says whose key, and both are told": (
        {"cost": 0.3, "cost_details": {"upstream_inference_cost": 0.25}},
        0.3,
    ),
    "in two parts": (
        {
            "cost": 0,
            "is_byok": True,
            "cost_details": {
                "upstream_inference_cost": None,
                "upstream_inference_prompt_cost": 0.25,
                "upstream_inference_completions_cost": 0.5,
            },
        },
        0.75,
    ),
    "the user's key, and nobody says what it asked": ({"cost": 0, "is_byok": True}, None),
    "the user's key, and half of what it asked": (
        {"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_prompt_cost": 0.25}},
        None,
    ),
    "nothing": ({"prompt_tokens": 3}, None),
    "less than nothing": ({"cost": -1, "cost_details": {"upstream_inference_cost": -2}}, None),
    "no numbers": ({"cost": True, "cost_details": {"upstream_inference_cost": "much"}}, None),
    "another shape": ({"cost_details": [0.5]}, None),
    "no usage": (None, None),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_was_spent_is_read_from_what_was_told(case):
    usage, spent = TOLD[case]
    assert cost_usd(usage) == (None if spent is None else pytest.approx(spent))


ANY = st.one_of(st.none(), st.booleans(), st.floats(), st.integers(-3, 3), st.text(max_size=4))


@given(ANY, ANY, st.one_of(ANY, st.fixed_dictionaries({"upstream_inference_cost": ANY})))
def test_a_cost_is_a_finite_sum_or_unknown_whatever_was_told(cost, is_own_key, details):
    spent = cost_usd({"cost": cost, "is_byok": is_own_key, "cost_details": details})
    assert spent is None or (math.isfinite(spent) and spent >= 0)


USAGE = json.dumps({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.03}})
WHOLE = (
    '{"id": "r", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", '
    f'"message": {{"role": "assistant", "content": "yes"}}}}], "usage": {USAGE}}}'
).encode()
PIECES = (
    'data: {"choices": [{"index": 0, "delta": {"content": "yes"}, "finish_reason": "stop"}]}\n\n'
    f'data: {{"choices": [], "usage": {USAGE}}}\n\n'
).encode()


@pytest.mark.parametrize("is_streamed", [False, True])
def test_the_log_has_what_was_spent(is_streamed):
    answer = STREAM + PIECES + DONE if is_streamed else JSON + WHOLE
    with fresh(), served_by(lambda connection: connection.sendall(answer)):
        if is_streamed:
            list(llm.stream_llm(MODEL, "Hello"))
        else:
            llm.run_llm(MODEL, "Hello")
        assert llm.attempts()["cost_usd"].tolist() == [pytest.approx(0.03)]


@pytest.mark.filterwarnings("ignore:The job ended early. its budget")
@pytest.mark.parametrize(("budget", "most"), [(0.05, 2), (0.2, 7), (10, 20)])
def test_a_budget_counts_what_the_users_own_key_paid(budget, most):
    asked = []
    with fresh(), served_by(lambda connection: (asked.append(1), connection.sendall(JSON + WHOLE))):
        frame = pd.DataFrame({"q": [f"row {at}" for at in range(20)]})
        out = frame.llm.run(MODEL, "q", budget_usd=budget, price=(1, 1), progress=False)
    assert 1 <= len(asked) <= most
    assert out.llm.attempts()["cost_usd"].sum() == pytest.approx(0.03 * len(asked))


def test_a_rehearsed_bill_of_the_users_own_key_is_what_the_same_answer_costs_elsewhere():
    with fresh(), llm.rehearse("openrouter: own-provider-key*1"):
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = []
        for _ in range(2):
            llm.run_llm(MODEL, "What is red?")
        first, second = llm.attempts()["cost_usd"]
    assert first == pytest.approx(second)
    assert first > 0
