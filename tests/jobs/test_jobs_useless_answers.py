"""Rows that no answer can satisfy end a job: 20 of them are paid for, and not all (design 3.3)."""

from __future__ import annotations

import pandas as pd
import pytest
from columns import MODEL, prompts, run, statuses
from rehearsing import fresh
from tenacity import wait_fixed, wait_none

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Fault, FaultKind
from llm_executor_nb.core.verdicts.classify import classify
from llm_executor_nb.testing import frozen_clock

ROWS, ENOUGH, TRIES = 300, 20, 4
"""Rows of a job, those that show that it is hopeless, and the answers that each of them may buy."""


@pytest.fixture(autouse=True)
def _settings():
    with fresh():
        llm.retry_wait_strategy = wait_none()
        yield


def is_useless(server, frame=None, **options):
    """Run a job that ends early; return its frame."""
    with pytest.warns(llm.LLMExecutorWarning, match=f"ended early: {ENOUGH} rows in a row") as told:
        out = run(prompts(ROWS) if frame is None else frame, **options)
    assert len(told) == 1
    assert len(server.lines) <= (ENOUGH + 8) * TRIES
    assert set(statuses(out)) == {"failed", "cancelled"}
    return out


CASES = {
    "a schema": ("*: wrong_schema", {"schema": {"a": int}}),
    "JSON that is cut": ("*: cut-json", {"schema": {"a": int}}),
    "accept=": ("", {"accept": lambda _: False}),
    "broken tool calls": ("*: tool-call-broken", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_job_without_one_useful_answer_ends_early(case):
    script, options = CASES[case]
    with llm.rehearse(script) as server:
        is_useless(server, **options)
        assert len(llm.attempts()) == len(server.lines)


def test_no_more_rows_begin_while_twenty_wait_to_repeat_what_was_useless():
    llm.retry_wait_strategy = wait_fixed(3)
    with frozen_clock(), llm.rehearse() as server:
        is_useless(server, accept=lambda _: False, concurrency=4)


def test_what_fails_after_useless_answers_does_not_hide_them():
    with llm.rehearse("openrouter: wrong_schema; huggingface: 400", openrouter_keys=1) as server:
        is_useless(server, schema={"a": int})


def test_a_useful_answer_now_and_then_keeps_a_job_going():
    with llm.rehearse() as server:
        out = run(
            prompts(100),
            accept=lambda message: int(message.text.split("question ")[1].split(".")[0]) % 2,
            concurrency=1,
        )
        assert len(server.lines) == 50 + 50 * TRIES
    assert statuses(out) == {"ok": 50, "failed": 50}


@pytest.fixture
def small_cap(monkeypatch, _settings):
    monkeypatch.setattr(session().transport(), "_body_cap", 200)


@pytest.mark.usefixtures("small_cap")
def test_an_answer_over_the_cap_is_bought_as_often_as_any_useless_one():
    with llm.rehearse() as server:
        with pytest.raises(llm.AllRoutesFailedError, match=r"larger than 200 bytes.*\n.*max_tokens="):
            llm.run_llm(MODEL, "x")
        assert len(server.lines) == TRIES
        assert not session().health.holds(clock.current().now())


@pytest.mark.usefixtures("small_cap")
def test_a_job_of_answers_over_the_cap_ends_early():
    with llm.rehearse() as server:
        is_useless(server)


@pytest.mark.parametrize(("status", "outcome"), [(400, "bad_request"), (429, "rate_limited"), (503, "overloaded")])
def test_an_error_over_the_cap_is_what_its_status_says(status, outcome):
    fault = Fault(kind=FaultKind.TOO_LARGE, detail="the body is larger than 9 bytes", status=status)
    told = classify(fault, backend="openrouter", now_utc=pd.Timestamp("2026-01-01", tz="UTC").to_pydatetime())
    assert told.outcome is Outcome(outcome)
