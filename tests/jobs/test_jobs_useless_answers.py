"""Rows that no answer can satisfy end a job: 20 of them are paid for, and not all (design 3.3)."""

from __future__ import annotations

import pandas as pd
import pytest
from columns import MODEL, prompts, run, statuses
from rehearsing import fresh
from tenacity import wait_none

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Fault, FaultKind
from llm_executor_nb.core.verdicts.classify import classify

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
    "a schema, and routes that are down": ("openrouter: wrong_schema; huggingface: 503", {"schema": {"a": int}}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_job_without_one_useful_answer_ends_early(case):
    script, options = CASES[case]
    with llm.rehearse(script) as server:
        is_useless(server, **options)
        assert len(llm.attempts()) == len(server.lines)


def test_cells_that_are_no_requests_do_not_hide_it():
    cells = [{"messages": 3} if row % 7 == 0 else f"question {row}." for row in range(ROWS)]
    frame = pd.DataFrame({"q": pd.Series(cells, dtype=object)})
    with llm.rehearse() as server:
        is_useless(server, frame, accept=lambda _: False)


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
