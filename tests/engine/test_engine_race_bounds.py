"""What is not late: a reply that is being checked, a request in its second form; and what never gets a twin."""

from __future__ import annotations

import time

import pytest
from rehearsing import MODEL, TOOL, assert_log_is_what_the_server_saw, fresh, words
from tenacity import wait_none

import llm_executor_nb as llm

SOON_S = 0.1
PATIENT_S = 0.3
"""Seconds after which a request is late where it must not be: a reply may take a while on a busy machine."""


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.configure(retry_wait_strategy=wait_none())
        yield


@pytest.mark.parametrize("said", [[True], [False, True]])
def test_a_reply_that_is_being_checked_is_not_late(said):
    answers = iter(said)

    def accept(_):
        time.sleep(2 * PATIENT_S)
        return next(answers)

    with llm.rehearse() as server:
        llm.run_llm(MODEL, "x", hedge_s=PATIENT_S, accept=accept)
        assert "hedge" not in words("decision")
        assert len(server.lines) == len(said)


@pytest.mark.parametrize("field", [{"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": "auto"}])
def test_tools_that_only_one_backend_is_sent_get_no_twin_either(field):
    with llm.rehearse("openrouter: latency=0.3") as server:
        llm.run_llm(MODEL, "x", hedge_s=SOON_S, extra_body={"openrouter": field})
        assert len(server.lines) == 1


def test_a_request_is_late_by_the_time_since_it_went_out_last():
    # the first form is refused after 0.3 s; the second one takes 0.3 s and is on time
    script = "openrouter: latency=0.3, refused-response_format"
    with llm.rehearse(script) as server:
        llm.run_llm(MODEL, "x", hedge_s=0.55, schema={"name": str})
        assert words("decision") == ["retry", "accept"]
        assert_log_is_what_the_server_saw(server)


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        ("refused-response_format", {"schema": {"name": str}}),
        ("refused-schema", {"schema": {"name": str}}),
        ("no-flex", {"service_tier": "flex", "service_tier_fallback": True}),
    ],
)
def test_each_request_is_judged_by_what_it_was_sent_itself(fault, asked):
    # both requests are refused in their first form, the first one in its second form fails as anything may
    script = f"openrouter: latency=0.3@1..2, latency=0.15@3, latency=0.3@4, 500@3..4, {fault}"
    with llm.rehearse(script, openrouter_keys=1, huggingface_tokens=0) as server:
        llm.run_llm(MODEL, "x", hedge_s=SOON_S, **asked)
        outcomes = llm.attempts().sort_values("attempt")["outcome"].tolist()
        assert outcomes[:2] == ["unsupported"] * 2
        assert outcomes[-1] == "ok"
        assert_log_is_what_the_server_saw(server)
