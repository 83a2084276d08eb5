"""Jobs and calls through outages and limits, on an injected clock: nothing is lost, and nobody fails blind."""

from __future__ import annotations

import asyncio

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rehearsing import assert_log_is_what_the_server_saw

import llm_executor_nb as llm
from llm_executor_nb.core import clock

MODEL = "my/model"
ONLY_ROUTE = {"openrouter_keys": 1, "huggingface_tokens": 0}


@pytest.fixture(autouse=True)
def _model(monkeypatch):
    monkeypatch.setitem(llm.MODEL_INFERENCE_PROVIDERS, MODEL, ["one", "two"])


def prompts(count):
    return pd.DataFrame({"q": [f"question {number}." for number in range(count)]})


def run(frame, **options):
    return frame.llm.run(MODEL, "q", **{"progress": False, **options})


def outcome_of(call):
    """Return an answer's text, or the error itself."""
    try:
        return call()
    except llm.LLMExecutorError as error:
        return error


@pytest.mark.parametrize("script", ["*: 503@1..4", "*: retry-after=1@1..4"], ids=["outage", "limit"])
def test_20_calls_in_a_loop_come_through_an_outage_of_the_only_route(script):
    with llm.rehearse(script, **ONLY_ROUTE) as rehearsal, clock.use(clock.FrozenClock()):
        found = [outcome_of(lambda n=n: llm.run_llm(MODEL, f"question {n}.").content) for n in range(20)]
        assert_log_is_what_the_server_saw(rehearsal, in_order=False)
    failed = [f for f in found if isinstance(f, llm.LLMExecutorError)]
    assert len(failed) <= 1
    assert all(error.attempts for error in failed)


@pytest.mark.parametrize("script", ["*: 503@1..60", "*: rate=2/s", "*: rate=20/min burst=2"])
def test_20_calls_at_once_come_through_an_outage_of_the_only_route(script):
    async def gather():
        calls = (llm.arun_llm(MODEL, f"question {n}.") for n in range(20))
        return await asyncio.gather(*calls, return_exceptions=True)

    with llm.rehearse(script, **ONLY_ROUTE) as rehearsal, clock.use(clock.FrozenClock()):
        found = asyncio.run(gather())
        assert_log_is_what_the_server_saw(rehearsal, in_order=False)
    assert not [f for f in found if isinstance(f, BaseException)]


def test_a_column_through_an_outage_of_the_only_route_loses_no_row():
    with llm.rehearse("*: 503@1..20", **ONLY_ROUTE) as rehearsal, clock.use(clock.FrozenClock()):
        out = run(prompts(100))
        assert_log_is_what_the_server_saw(rehearsal, in_order=False)
    assert (out["q_llm_status"] == "ok").all()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("*: 401", "same reason, auth"),
        ("*: 503", "no answer for 10 minutes"),
        ("*: retry-after=3600", "every route is on hold, the soonest for"),
    ],
)
def test_a_hopeless_job_ends_by_itself_with_one_message(script, words):
    with llm.rehearse(script) as rehearsal, clock.use(clock.FrozenClock()) as frozen:
        with pytest.warns(llm.LLMExecutorWarning, match=words) as told:
            out = run(prompts(100))
        assert len(llm.attempts()) == len(rehearsal.lines)  # what was cancelled has no status in the log
    assert len(told) == 1
    assert not (out["q_llm_status"] == "ok").any()
    assert frozen.elapsed_s <= 700


def test_limited_keys_are_waited_for_instead_of_going_down_a_tier():
    with llm.rehearse("openrouter: rate=50/s", latency_s=0.02, openrouter_keys=3) as rehearsal:
        out = run(prompts(300))
        assert_log_is_what_the_server_saw(rehearsal, in_order=False)
    assert (out["q_llm_status"] == "ok").all()
    assert out["q_llm_route"].str.startswith("huggingface").sum() <= 0.02 * 300


FAULTS = [
    "503",
    "500",
    "429",
    "retry-after=2",
    "401",
    "402",
    "404",
    "empty",
    "blank",
    "html",
    "down",
    "cut",
    "not-json",
]
TARGETS = ["openrouter", "openrouter[1]", "openrouter[2]", "huggingface", "huggingface/one", "huggingface/two", "*"]
EFFECTS = st.builds(
    "{}{}".format, st.sampled_from(FAULTS), st.sampled_from(["", "*1", "*3", "*10", "@3..9", "@5.."])
) | st.builds("{}%{}".format, st.integers(5, 95), st.sampled_from(FAULTS))
SCRIPTS = st.lists(st.builds("{}: {}".format, st.sampled_from(TARGETS), EFFECTS), max_size=5).map("; ".join)


def check_attempts(attempts, *, is_job):
    """Check what must hold for every run: no more requests on one route than 1 + 3, waits within the ceiling."""
    before = attempts.shift()
    is_same = (attempts["run_id"] == before["run_id"]) & (attempts["route"] == before["route"])
    is_resent = is_same.fillna(value=False) & (attempts["wait_s"] == 0)  # at once, on a connection that had died unseen
    counted = attempts[~is_resent & ~((attempts["outcome"] == "rate_limited") & is_job)]
    per_route = counted.groupby(["run_id", "route"]).size()
    assert per_route.empty or per_route.max() <= (4 if not is_job else 4 + 20)
    retries = attempts[attempts["attempt"] > 1]
    if not is_job:
        assert (retries["wait_s"] <= 30.001).all()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=SCRIPTS)
def test_no_script_makes_a_call_hang_lie_or_ask_too_often(script):
    with llm.rehearse(script) as rehearsal, clock.use(clock.FrozenClock()):
        for number in range(3):
            found = outcome_of(lambda n=number: llm.run_llm(MODEL, f"question {n}."))
            if isinstance(found, llm.LLMExecutorError):
                assert isinstance(found, llm.AllRoutesFailedError | llm.RequestError | llm.DeadlineError)
            else:
                assert f"'question {number}.'" in found.content
        attempts = llm.attempts()
        assert_log_is_what_the_server_saw(rehearsal, in_order=False)
        check_attempts(attempts, is_job=False)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=SCRIPTS, concurrency=st.sampled_from([1, 3, 16, None]))
@pytest.mark.filterwarnings("ignore::llm_executor_nb.LLMExecutorWarning")  # hopeless scripts end early, and say so
def test_no_script_makes_a_job_hang_lie_or_lose_a_row(script, concurrency):
    with llm.rehearse(script) as rehearsal, clock.use(clock.FrozenClock()):
        out = run(prompts(12), concurrency=concurrency)
        assert len(llm.attempts()) == len(rehearsal.lines)
    assert len(out) == 12
    answered = out[out["q_llm_status"] == "ok"]
    assert all(f"'{asked}'" in answer for asked, answer in zip(answered["q"], answered["q_llm"], strict=True))
    assert out.loc[out["q_llm_status"] != "ok", "q_llm"].isna().all()
    assert out.loc[out["q_llm_status"] == "failed", "q_llm_error"].notna().all()
