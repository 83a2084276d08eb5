"""A late call by hand gets a twin: the first accepted answer wins, both requests are in the log, nothing stays open."""

from __future__ import annotations

import asyncio

import pytest
from rehearsing import (
    MODEL,
    TOOL,
    assert_log_is_what_the_server_saw,
    assert_nothing_is_in_flight,
    fresh,
    settle,
    wait_until,
)
from tenacity import wait_none

import llm_executor_nb as llm
from llm_executor_nb.core.errors import ConfigError, DeadlineError, RequestError

SOON_S = 0.05
"""Seconds after which a request is late; what must come after its twin takes ten times as long."""
PATIENT_S = 0.3
"""The same where a later request must not be late, on a busy machine either."""
SLOW = "latency=0.5"
HANG = "latency=30"


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.configure(retry_wait_strategy=wait_none())
        yield
        assert_nothing_is_in_flight()


def _ask(server, *, hedge_s=SOON_S, **options):
    """Ask once with a twin soon; return the answer's key, and the log as (key, outcome, decision)."""
    message = llm.run_llm(MODEL, "Which way?", hedge_s=hedge_s, **options)
    settle(server)
    return llm.attempts(message), _log()


def _log():
    """Return the attempts in the order in which they ended."""
    ended = llm.attempts().sort_values("attempt")
    keys = [key.split()[-1][-1] for key in ended["key"]]
    return list(zip(keys, ended["outcome"], ended["decision"], strict=True))


LOST = ("cancelled", "hedge")
WON = ("ok", "accept")


@pytest.mark.parametrize(
    ("script", "came"),
    [
        (f"openrouter[1]: {HANG}", [("1", *LOST), ("2", *WON)]),
        (f"openrouter[1]: {SLOW}; openrouter[2]: {HANG}", [("2", *LOST), ("1", *WON)]),
    ],
)
def test_the_first_answer_wins_and_the_other_request_is_cancelled(script, came):
    with llm.rehearse(script) as server:
        attempts, log = _ask(server)
        assert log == came
        assert sorted(attempts["attempt"]) == list(range(1, len(came) + 1))
        assert attempts["run_id"].nunique() == 1
        assert_log_is_what_the_server_saw(server)


def test_the_only_route_of_its_tier_gets_the_twin_itself():
    with llm.rehearse(f"openrouter: {HANG}@1", openrouter_keys=1) as server:
        assert _ask(server)[1] == [("1", *LOST), ("1", *WON)]
        assert_log_is_what_the_server_saw(server)


@pytest.mark.parametrize("key_2", ["401", "429 retry-after=9", "content_filter"])
def test_a_twin_that_fails_leaves_the_first_request_in_the_race(key_2):
    with llm.rehearse(f"openrouter[1]: {SLOW}; openrouter[2]: {key_2}") as server:
        log = _ask(server)[1]
        assert [one[0] for one in log] == ["2", "1"]
        assert log[0][2] == "hedge"
        assert log[1][1:] == WON
        assert_log_is_what_the_server_saw(server)


def test_a_request_that_fails_leaves_its_twin_in_the_race():
    with llm.rehearse(f"openrouter[1]: {SLOW}, 500; openrouter[2]: {SLOW}, latency=0.2") as server:
        assert _ask(server)[1] == [("1", "server_error", "hedge"), ("2", *WON)]
        assert_log_is_what_the_server_saw(server)


def test_after_both_have_failed_the_run_goes_on():
    with llm.rehearse(f"openrouter[1]: {SLOW}*1, 500*1; openrouter[2]: {SLOW}*1, 503*1") as server:
        log = _ask(server, hedge_s=PATIENT_S)[1]
        assert log == [("1", "server_error", "hedge"), ("2", "overloaded", "fall_back"), ("1", *WON)]
        assert_log_is_what_the_server_saw(server)


def test_a_refusal_is_the_error_of_the_run_when_the_other_request_fails_too():
    script = f"openrouter[1]: {SLOW}, content_filter; openrouter[2]: {SLOW}, 500"
    with llm.rehearse(script) as server:
        with pytest.raises(RequestError) as told:
            _ask(server)
        assert told.value.outcome == "content_filter"
        assert [one.outcome for one in told.value.attempts] == ["content_filter", "server_error"]
        assert_log_is_what_the_server_saw(server)


def test_an_answer_that_is_rejected_leaves_the_other_request_in_the_race():
    said = iter([False, True])
    with llm.rehearse(f"openrouter[1]: {SLOW}") as server:
        log = _ask(server, accept=lambda _: next(said))[1]
        assert [one[1:] for one in log] == [("rejected", "hedge"), WON]
        assert {one[0] for one in log} == {"1", "2"}
        assert_log_is_what_the_server_saw(server)


def test_an_error_of_the_users_function_ends_both_requests():
    with llm.rehearse(f"openrouter[1]: {HANG}") as server:
        with pytest.raises(ConfigError, match="division"):
            _ask(server, accept=lambda _: 1 / 0)
        settle(server)
        assert _log() == [("1", "cancelled", "stop"), ("2", "rejected", "stop")]
        assert_log_is_what_the_server_saw(server)


def test_a_schema_is_asked_of_both_requests():
    with llm.rehearse(f"openrouter[1]: {HANG}") as server:
        attempts, log = _ask(server, schema={"name": str})
        assert log == [("1", *LOST), ("2", *WON)]
        assert len(attempts) == 2


def test_the_deadline_cuts_both_requests():
    with llm.rehearse(f"openrouter: {HANG}") as server:
        with pytest.raises(DeadlineError) as told:
            _ask(server, deadline=0.5)
        assert len(told.value.attempts) == 2
        settle(server)
        assert_log_is_what_the_server_saw(server)


def test_the_timeout_cuts_each_request_by_itself():
    with llm.rehearse(f"openrouter: {HANG}@1..2", openrouter_keys=1, huggingface_tokens=0) as server:
        log = _ask(server, hedge_s=PATIENT_S, timeout=0.5)[1]
        assert log == [("1", "timeout", "hedge"), ("1", "timeout", "retry"), ("1", *WON)]


def test_cancelling_the_call_cancels_both_requests():
    async def leave(server):
        asking = asyncio.ensure_future(llm.arun_llm(MODEL, "Which way?", hedge_s=SOON_S))
        await asyncio.to_thread(wait_until, lambda: len(server.lines) == 2)
        asking.cancel()
        await asyncio.wait({asking})

    with llm.rehearse(f"openrouter: {HANG}") as server:
        asyncio.run(leave(server))
        settle(server)
        assert _log() == [("1", "cancelled", "stop"), ("2", "cancelled", "stop")]
        assert_log_is_what_the_server_saw(server)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: list(llm.stream_llm(MODEL, "x", hedge_s=SOON_S)),
        lambda: llm.run_llm(MODEL, "x", hedge_s=SOON_S, tools=[TOOL]),
    ],
    ids=["stream", "tools"],
)
def test_a_stream_and_a_request_with_tools_get_no_twin(ask):
    with llm.rehearse("openrouter: latency=0.2") as server:
        ask()
        assert len(server.lines) == 1


def test_a_probe_gets_no_twin():
    with llm.rehearse("openrouter: 500*4, latency=0.2", openrouter_keys=1, huggingface_tokens=0) as server:
        llm.configure(retries=3)
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "x")
        server.clear()
        llm.run_llm(MODEL, "x", hedge_s=SOON_S)
        assert len(server.lines) == 1


@pytest.mark.parametrize("hedge_s", [0, "soon", True, float("nan")])
def test_a_time_that_is_none_is_refused(hedge_s):
    with llm.rehearse() as server:
        with pytest.raises(ConfigError, match="hedge_s="):
            llm.run_llm(MODEL, "x", hedge_s=hedge_s)
        assert not server.lines
