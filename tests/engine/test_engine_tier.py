"""A service tier is sent to OpenRouter alone; a full one is retried, and left out only where the user allows it."""

from __future__ import annotations

import pytest
from rehearsing import MODEL, fresh, settle

import llm_executor_nb as llm
from llm_executor_nb.testing import frozen_clock

FULL = ["flex-full", "flex-unavailable", "flex-498"]


@pytest.fixture(autouse=True)
def _frozen():
    with fresh(), frozen_clock():
        yield


def _tiers(server):
    settle(server)
    return [(line.backend, line.service_tier) for line in server.lines]


def test_it_is_sent_to_openrouter_and_the_tier_served_is_in_the_log():
    with llm.rehearse() as server:
        log = llm.attempts(llm.run_llm(MODEL, "x", service_tier="flex"))
        assert log["service_tier"].tolist() == ["flex"]
        model = llm.chat_model(MODEL, service_tier="priority")
        assert llm.attempts(model.invoke("x"))["service_tier"].tolist() == ["priority"]
        llm.run_llm(MODEL, {"messages": [("user", "x")], "service_tier": "fast"})
        assert _tiers(server) == [("openrouter", "flex"), ("openrouter", "priority"), ("openrouter", "fast")]
        with pytest.raises(llm.ConfigError, match="service_tier='felx': it must be one of flex"):
            llm.run_llm(MODEL, "x", service_tier="felx")
        with pytest.raises(llm.ConfigError, match="service_tier_fallback='yes' must be True or False"):
            llm.run_llm(MODEL, "x", service_tier="flex", service_tier_fallback="yes")


@pytest.mark.parametrize("fault", FULL)
def test_a_full_tier_is_retried_and_other_backends_stay_in_and_are_not_sent_it(fault):
    with llm.rehearse(f"openrouter: {fault}", openrouter_keys=1) as server:
        log = llm.attempts(llm.run_llm(MODEL, "x", service_tier="flex"))
        assert _tiers(server) == [*[("openrouter", "flex")] * 4, ("huggingface", None)]
        assert log["outcome"].tolist() == [*["overloaded"] * 4, "ok"]
        # a request without the tier is not held by that
        assert llm.attempts(llm.run_llm(MODEL, "y"))["backend"].tolist() == ["openrouter"]


@pytest.mark.parametrize("ask", [llm.run_llm, lambda *a, **o: list(llm.stream_llm(*a, **o))[-1]])
@pytest.mark.parametrize("fault", FULL)
def test_a_full_tier_may_be_left_out_after_a_retry(fault, ask):
    with llm.rehearse(f"openrouter: {fault}", openrouter_keys=1) as server:
        log = llm.attempts(ask(MODEL, "x", service_tier="flex", service_tier_fallback=True))
        assert _tiers(server) == [("openrouter", "flex")] * 2 + [("openrouter", None)]
        assert log["decision"].tolist() == ["retry", "retry", "accept"]
        assert log["wait_s"].tolist() == [0.0, 3.0, 0.0]
        assert llm.health().empty


@pytest.mark.parametrize("fault", ["no-flex", "flex-full"])
def test_without_retries_or_where_the_model_has_no_such_tier_it_is_left_out_at_once(fault):
    llm.configure(retries=0)
    with llm.rehearse(f"openrouter: {fault}", openrouter_keys=1) as server:
        llm.chat_model(MODEL, service_tier="flex", service_tier_fallback=True).invoke("x")
        assert _tiers(server) == [("openrouter", "flex"), ("openrouter", None)]
        assert llm.health().empty
