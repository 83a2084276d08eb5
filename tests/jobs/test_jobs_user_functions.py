"""Users' functions on stored answers and in jobs: as on a fresh answer, within the job's bounds, off its loop."""

from __future__ import annotations

import threading

import pydantic
import pytest
from columns import MODEL, prompts, run, statuses
from rehearsing import assert_nothing_is_in_flight, fresh

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.user_functions import Bounds
from llm_executor_nb.engine.loop import main_loop

LONG_S = 30
SOON_S = 0.2
OVER = "its 0.2 s are over"


@pytest.fixture
def server():
    with fresh(), llm.rehearse() as rehearsal:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = []
        yield rehearsal
        assert_nothing_is_in_flight()


@pytest.fixture
def release():
    event = threading.Event()
    yield event
    event.set()


def schema_of(function):
    """Return a class whose validator calls a function; every answer to it is stored under one request key."""

    class Checked(pydantic.BaseModel):
        colour: str

        @pydantic.field_validator("colour")
        @classmethod
        def check(cls, value):
            function(value)
            return value

    return Checked


GIVEN = {"accept": lambda function: {"accept": function}, "schema": lambda function: {"schema": schema_of(function)}}


def stored(given, count=5):
    """Buy answers that the next run finds stored."""
    run(prompts(count), **GIVEN[given](lambda _: True))


def raising(error):
    """Return a function that raises."""

    def function(_):
        raise error

    return function


@pytest.mark.parametrize("error", [StopIteration(), KeyError("boom"), ValueError("odd")], ids=repr)
@pytest.mark.parametrize("is_stored", [True, False])
def test_a_predicate_that_raises_ends_the_job_on_stored_answers_as_on_fresh_ones(server, is_stored, error):
    if is_stored:
        stored("accept")
    before = len(server.lines)
    with pytest.raises(llm.ConfigError, match=f"Your accept= function raised {type(error).__name__}") as raised:
        run(prompts(5), accept=raising(error), concurrency=1)
    assert len(server.lines) - before == (0 if is_stored else 1)
    assert len(raised.value.result) == 5


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_validator_that_raises_ends_the_job_on_stored_answers_as_on_fresh_ones(server, is_stored):
    if is_stored:
        stored("schema")
    before = len(server.lines)
    with pytest.raises(llm.ConfigError, match="A validator of your schema= raised KeyError: 'boom'"):
        run(prompts(5), schema=schema_of(raising(KeyError("boom"))), concurrency=1)
    assert len(server.lines) - before == (0 if is_stored else 1)


@pytest.mark.parametrize("given", GIVEN)
def test_a_function_may_ask_a_model_and_what_is_stored_is_not_bought_again(server, given):
    judge = GIVEN[given](lambda _: llm.run_llm(MODEL, "judge").content)
    assert statuses(run(prompts(5), **judge)) == {"ok": 5}
    assert statuses(run(prompts(5), **judge)) == {"cached": 5}
    assert len(server.lines) == 5 + 2 * 5  # each check asks, and each row was bought once


@pytest.mark.parametrize("given", GIVEN)
def test_stored_answers_are_checked_several_at_once_and_never_on_the_loop(server, given):
    stored(given, 4)
    all_here = threading.Barrier(4)

    def check(_):
        assert not main_loop().is_current
        return all_here.wait(LONG_S) is not None

    assert statuses(run(prompts(4), **GIVEN[given](check), concurrency=4)) == {"cached": 4}
    assert len(server.lines) == 4


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("given", GIVEN)
def test_a_function_that_hangs_does_not_outlast_the_jobs_budget(given, is_stored, release):
    if is_stored:
        stored(given)
    with pytest.warns(llm.LLMExecutorWarning, match=OVER):
        out = run(prompts(5), **GIVEN[given](lambda _: release.wait(LONG_S)), budget_s=SOON_S, timeout=LONG_S)
    assert statuses(out) == {"cancelled": 5}


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("given", GIVEN)
def test_a_function_that_hangs_on_every_answer_fails_rows_at_the_timeout_and_soon_ends_the_job(
    given, is_stored, release, monkeypatch
):
    monkeypatch.setattr(Bounds, "shortest", lambda _: (0.01, "timeout"))  # of the function alone
    if is_stored:
        with monkeypatch.context() as patch:
            patch.setattr(Bounds, "shortest", lambda _: (LONG_S, "timeout"))
            stored(given, 60)
    with pytest.warns(llm.LLMExecutorWarning, match="20 rows in a row failed for the same reason"):
        out = run(prompts(60), **GIVEN[given](lambda _: release.wait(LONG_S)), concurrency=4)
    counts = statuses(out)
    assert 20 <= counts["failed"] < 40
    assert set(counts) == {"failed", "cancelled"}
    assert out["q_llm_error"].dropna().str.contains("did not return within").all()


@pytest.mark.usefixtures("server")
def test_a_ledger_that_does_not_answer_does_not_outlast_the_jobs_budget(release, monkeypatch):
    monkeypatch.setattr(session().ledger, "claim", lambda *_, **__: release.wait(LONG_S))
    with pytest.warns(llm.LLMExecutorWarning, match=OVER):
        assert statuses(run(prompts(3), budget_s=SOON_S)) == {"cancelled": 3}


@pytest.mark.usefixtures("server")
def test_a_stored_answer_tells_a_predicate_what_it_cost_in_tokens():
    run(prompts(2))
    seen = []
    run(prompts(2), accept=lambda message: seen.append(message.usage_metadata["output_tokens"]) or True)
    assert len(seen) == 2
