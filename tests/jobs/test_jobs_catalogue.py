"""Faults of every kind in a column: the right status for each row, and no error ever stands where an answer should."""

from __future__ import annotations

import pandas as pd
import pytest
from rehearsing import MODEL, assert_log_is_what_the_server_saw, fresh, logged

import llm_executor_nb as llm
from llm_executor_nb.core import clock

QUESTIONS = ["one?", "two?", "three?"]
TIMEOUT_S = 0.5


@pytest.fixture(autouse=True)
def frozen():
    with fresh(), clock.use(clock.FrozenClock()) as time:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["a", "b"]
        yield time


@pytest.fixture(scope="module", autouse=True)
def answers():
    """Return the practice answers; both backends are asked, so that all is loaded before anything is timed."""
    with fresh(), llm.rehearse("openrouter: 404@2"):
        return [llm.run_llm(MODEL, question).content for question in QUESTIONS]


def _column(outcome="", **options):
    frame = pd.DataFrame({"q": QUESTIONS}, index=["x", "y", "z"])
    timeout = TIMEOUT_S if outcome == "timeout" else None
    return frame.llm.run(MODEL, "q", progress=False, timeout=timeout, **options)


PASSED_OVER = {
    "401": "auth",
    "quota": "quota",
    "openrouter_free_tier_daily": "quota",
    "key-limit-exceeded": "quota",
    "403": "forbidden",
    "html-403": "forbidden",
    "404": "not_found",
    "model_not_found": "not_found",
    "region_restricted": "unsupported",
    "400": "bad_request",
    "422": "bad_request",
    "context_length_exceeded": "context_length",
    "413": "context_length",
    "410": "not_found",
    "gated-403": "forbidden",
    "can-only-afford": "quota",
    "too-long-nested": "context_length",
    "retry-after=120": "rate_limited",
    "retry-after-date=2": "rate_limited",
    "upstream_provider_shared_pool": "rate_limited",
    "408": "timeout",
    "hang": "timeout",
    "endless-blanks": "timeout",
    "503": "overloaded",
    "temporarily_unavailable": "overloaded",
    "500": "server_error",
    "200-error": "server_error",
    "200-error-beside-text": "server_error",
    "finish_error": "server_error",
    "html": "malformed",
    "null-choices": "malformed",
    "deep-json": "malformed",
    "empty": "empty",
    "blank": "empty",
    "down": "connection",
    "cut": "connection",
}
"""Faults of OpenRouter that cost no row its answer, and what each is taken for."""


@pytest.mark.parametrize("fault", PASSED_OVER)
def test_a_fault_of_one_backend_costs_no_row_its_answer(fault, answers):
    with llm.rehearse(f"openrouter: {fault}") as server:
        out = _column(PASSED_OVER[fault])
        assert_log_is_what_the_server_saw(server, in_order=False)
        log = out.llm.attempts()
    assert out["q_llm"].tolist() == answers
    assert set(out["q_llm_status"]) == {"ok"}
    assert out["q_llm_error"].isna().all()
    assert out["q_llm_route"].str.startswith("huggingface/").all()
    assert set(log["outcome"]) == {PASSED_OVER[fault], "ok"}
    assert [path.split(", ")[-1] for path in out["q_llm_attempts"]] == ["ok"] * 3
    assert {run: ", ".join(rows["outcome"]) for run, rows in log.groupby("run_id")} == dict(
        zip(out["q_llm_run"], out["q_llm_attempts"], strict=True)
    )


REFUSED = {
    "moderation": "content_filter",
    "content_filter-midway": "content_filter",
    "message-refusal": "content_filter",
    "truncated": "truncated",
}
"""Faults that end a row at once."""


@pytest.mark.parametrize("fault", REFUSED)
def test_a_refusal_on_its_merits_is_one_request_a_row_and_fails_it(fault):
    with llm.rehearse(f"openrouter: {fault}") as server:
        out = _column()
        assert_log_is_what_the_server_saw(server, in_order=False)
        assert len(server.lines) == 3
    _assert_all_failed(out, REFUSED[fault], ["openrouter"])


EVERYWHERE = {
    "400": "bad_request",
    "422": "bad_request",
    "401": "auth",
    "quota": "quota",
    "404": "not_found",
    "context-window": "context_length",
    "503": "overloaded",
    "200-error": "server_error",
    "empty": "empty",
    "html": "malformed",
    "down": "connection",
    "hang": "timeout",
}
"""Faults that leave no route, and what each is taken for."""


@pytest.mark.parametrize("fault", EVERYWHERE)
def test_a_fault_of_every_route_fails_every_row_and_says_why(fault):
    with llm.rehearse(f"*: {fault}") as server:
        out = _column(EVERYWHERE[fault], deadline=60)
        assert_log_is_what_the_server_saw(server, in_order=False)
        assert server.lines
    _assert_all_failed(out, EVERYWHERE[fault], ["openrouter", "huggingface"])


def test_a_limit_of_an_hour_on_every_route_ends_the_job_with_one_message_and_without_a_wait(frozen):
    with llm.rehearse("*: retry-after=3600") as server:
        with pytest.warns(llm.LLMExecutorWarning, match="every route is on hold") as warned:
            out = _column()
        assert_log_is_what_the_server_saw(server, in_order=False)
        assert len(warned) == 1
        assert len(server.lines) <= 3 * 4
    assert frozen.elapsed_s <= 10
    assert out["q_llm"].isna().all()
    assert set(out["q_llm_status"]) <= {"failed", "cancelled"}
    assert set(out.llm.attempts()["outcome"]) == {"rate_limited"}


def _assert_all_failed(out, outcome, backends):
    assert out["q_llm"].isna().all()
    assert set(out["q_llm_status"]) == {"failed"}
    assert out["q_llm_route"].isna().all()
    assert out["q_llm_error"].str.contains(outcome).all()
    assert set(out.llm.attempts()["outcome"]) == {outcome}
    assert {line[0] for line in logged(out.llm.attempts())} == set(backends)
    assert out["q"].tolist() == QUESTIONS
    assert out.index.tolist() == ["x", "y", "z"]


@pytest.mark.parametrize("oddity", ["length", "keep-alive", "gzip"])
def test_what_only_looks_odd_is_an_answer(oddity, answers):
    with llm.rehearse(f"*: {oddity}") as server:
        out = _column()
        assert_log_is_what_the_server_saw(server, in_order=False)
        assert len(server.lines) == 3
    assert out["q_llm"].tolist() == answers
    assert set(out["q_llm_status"]) == {"ok"}
