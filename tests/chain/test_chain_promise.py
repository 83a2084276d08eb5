"""The promise, attempt by attempt, against the lines of the server that was asked."""

import asyncio
import math

import pytest
from rehearsing import (
    MODEL,
    ROUTES,
    assert_log_is_what_the_server_saw,
    fresh,
    seen_by,
    waits,
    words,
)

import llm_executor_nb as llm
from llm_executor_nb.core import clock


@pytest.fixture(autouse=True)
def frozen():
    with fresh(), clock.use(clock.FrozenClock()) as time:
        yield time


def _fails(error=llm.AllRoutesFailedError, **options):
    with pytest.raises(error) as raised:
        llm.run_llm(MODEL, "hi", **options)
    return raised.value


# --- everything is down -----------------------------------------------------------------------------------------


def test_all_503_is_4_and_4_and_3_times_4_requests_in_order_with_waits_of_3_5_6(frozen):
    with llm.rehearse("*: 503") as server:
        error = _fails()
        expected = [route for route in ROUTES for _ in range(4)]
        assert words("route") == expected
        assert [attempt.route for attempt in error.attempts] == expected
        assert waits() == [0, 3, 5, 6] * 5
        assert words("decision") == (["retry"] * 3 + ["fall_back"]) * 4 + ["retry"] * 3 + ["stop"]
        assert set(words("outcome")) == {"overloaded"}
        assert frozen.elapsed_s == 70
        assert_log_is_what_the_server_saw(server)
        for route in ROUTES:
            assert route in str(error)
        assert str(error).splitlines()[0] == f"No route to {MODEL} gave an answer (20 requests)."
        assert str(error).splitlines()[-1].strip().startswith("Next: ")


def test_a_second_call_right_after_sends_one_probe_per_hold(frozen):
    with llm.rehearse("*: 503") as server:
        _fails()
        server.clear()
        began = frozen.now()
        error = _fails()
        assert [attempt.route for attempt in error.attempts] == ROUTES
        assert [line[:3] for line in seen_by(server)] == [(a.backend, a.key[-6:], a.provider) for a in error.attempts]
        assert frozen.now() == began
        assert set(llm.health()["strikes"]) == {1}
        assert set(llm.health()["seconds_left"]) == {10.0}


def test_a_third_call_right_after_waits_ten_seconds_and_its_first_failed_probe_is_its_last(frozen):
    with llm.rehearse("*: 503") as server:
        _fails()
        _fails()
        server.clear()
        began = frozen.now()
        error = _fails()
        assert len(server.lines) == len(error.attempts) == 1
        assert error.attempts[0].wait_s == pytest.approx(10)
        assert frozen.now() - began == pytest.approx(10)


def test_a_second_call_is_answered_by_the_first_route_that_is_well_again():
    with llm.rehearse("openrouter: 503; huggingface/a: 503; huggingface/b: 503*4; huggingface/c: 503") as server:
        _fails()
        server.clear()
        message = llm.run_llm(MODEL, "hi")
        assert llm.attempts(message)["route"].tolist() == ROUTES[:4]
        assert llm.attempts(message)["decision"].tolist() == ["fall_back"] * 3 + ["accept"]
        assert "huggingface/b" not in "".join(llm.health()["scope"])


def test_a_call_more_than_a_minute_after_the_holds_ended_walks_the_whole_chain_again(frozen):
    with llm.rehearse("*: 503") as server:
        _fails()
        frozen.advance(5 + 60 + 1)
        server.clear()
        _fails()
        assert len(server.lines) == 20
        assert set(llm.health()["strikes"]) == {0}


def test_reset_health_makes_the_next_call_walk_the_whole_chain():
    with llm.rehearse("*: 503") as server:
        _fails()
        llm.reset_health()
        server.clear()
        _fails()
        assert len(server.lines) == 20


def test_success_on_the_third_attempt_is_returned_with_three_lines():
    with llm.rehearse("openrouter: 503*2") as server:
        message = llm.run_llm(MODEL, "What is the capital of France?")
        assert "You asked: 'What is the capital of France?'" in message.content
        log = llm.attempts(message)
        assert log["outcome"].tolist() == ["overloaded", "overloaded", "ok"]
        assert log["decision"].tolist() == ["retry", "retry", "accept"]
        assert log["wait_s"].tolist() == [0, 3, 5]
        assert set(log["run_id"]) == {message.response_metadata["llm_run_id"]}
        assert_log_is_what_the_server_saw(server)


def test_two_tokens_are_asked_one_after_the_other_with_every_provider_in_order():
    llm.configure(retries=0)
    with llm.rehearse("*: 503", openrouter_keys=0, huggingface_tokens=2) as server:
        _fails()
    expected = [("huggingface", key, provider) for key in ("..0001", "..0002") for provider in "abc"]
    assert [line[:3] for line in seen_by(server)] == expected


# --- dead keys, absent models -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [("401", "auth"), ("quota", "quota"), ("403", "forbidden"), ("429 source=openrouter_key_limit", "quota")],
)
def test_a_condemned_key_costs_one_attempt_and_is_not_asked_again(fault, outcome, frozen):
    with llm.rehearse(f"openrouter[1]: {fault}") as server:
        for question in "xyz":
            llm.run_llm(MODEL, question)
        assert words("route") == [ROUTES[0], ROUTES[1], ROUTES[1], ROUTES[1]]
        assert words("outcome") == [outcome, "ok", "ok", "ok"]
        assert words("decision")[0] == "fall_back"
        assert frozen.elapsed_s == 0
        assert_log_is_what_the_server_saw(server)
        hold = llm.health().iloc[0]
        assert (hold["kind"], hold["why"], hold["seconds_left"]) == ("condemned", outcome, 600.0)


def test_a_condemned_token_takes_all_its_providers_with_it():
    with llm.rehearse("openrouter: 401; huggingface: 401") as server:
        _fails()
        assert words("route") == ROUTES[:3]
        assert words("decision") == ["fall_back", "fall_back", "stop"]
        assert_log_is_what_the_server_saw(server)


def test_with_every_key_condemned_the_next_call_fails_at_once_and_says_why():
    with llm.rehearse("*: 401") as server:
        _fails()
        server.clear()
        error = _fails()
        assert (server.lines, error.attempts) == ((), ())
        assert str(error).count("on hold for auth, 600 s left") == 5
        assert "replace it" in str(error)


def test_a_condemned_key_is_probed_after_ten_minutes_and_condemned_again_when_the_probe_fails(frozen):
    with llm.rehearse("openrouter[1]: 401") as server:
        llm.run_llm(MODEL, "x")
        frozen.advance(601)
        llm.run_llm(MODEL, "y")
        llm.run_llm(MODEL, "z")
        assert words("outcome") == ["auth", "ok", "auth", "ok", "ok"]
        assert llm.health()["seconds_left"].tolist() == [600.0]
        assert_log_is_what_the_server_saw(server)


def test_a_replaced_key_is_asked_at_once():
    with llm.rehearse("openrouter[1]: 401; openrouter[2]: 401") as server:
        llm.run_llm(MODEL, "x")
        llm.OPENROUTER_KEYS[0] = "sk-or-v1-practice-0009"
        server.clear()
        llm.run_llm(MODEL, "y")
        assert [line[:2] for line in seen_by(server)] == [("openrouter", "..0009")]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [("404", "not_found"), ("405", "unsupported"), ("model_not_supported", "unsupported")],
)
def test_a_provider_that_does_not_serve_the_model_is_held_for_all_tokens(fault, outcome):
    script = f"huggingface/a: {fault}"
    with llm.rehearse(script, openrouter_keys=0, huggingface_tokens=2) as server:
        llm.run_llm(MODEL, "x")
        llm.HUGGINGFACE_TOKENS.reverse()
        llm.run_llm(MODEL, "y")
        assert words("provider") == ["a", "b", "b"]
        assert words("outcome") == [outcome, "ok", "ok"]
        assert llm.health()["seconds_left"].tolist() == [math.inf]
        assert_log_is_what_the_server_saw(server)


def test_a_change_of_the_models_row_ends_the_hold_of_a_provider():
    with llm.rehearse("huggingface/a: 404*1", openrouter_keys=0) as server:
        llm.run_llm(MODEL, "x")
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["a"]
        llm.run_llm(MODEL, "y")
        assert words("provider") == ["a", "b", "a"]
        assert_log_is_what_the_server_saw(server)


def test_a_model_openrouter_does_not_have_is_not_asked_of_another_key():
    with llm.rehearse("openrouter: 404") as server:
        llm.run_llm(MODEL, "x")
        assert words("route") == [ROUTES[0], ROUTES[2]]
        assert words("outcome") == ["not_found", "ok"]
        assert_log_is_what_the_server_saw(server)


# --- rate limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1, 12, 30])
def test_a_retry_after_within_the_ceiling_takes_the_waits_place(seconds, frozen):
    with llm.rehearse(f"openrouter[1]: 429*1 retry-after={seconds}") as server:
        llm.run_llm(MODEL, "x")
        assert words("route") == [ROUTES[0]] * 2
        assert waits() == [0, seconds]
        assert words("decision") == ["wait", "accept"]
        assert llm.attempts()["retry_after_s"].tolist()[0] == seconds
        assert frozen.elapsed_s == seconds
        assert llm.health().empty
        assert_log_is_what_the_server_saw(server)


def test_a_retry_after_of_a_503_takes_the_waits_place_too(frozen):
    with llm.rehearse("openrouter[1]: 503*1 retry-after=7"):
        llm.run_llm(MODEL, "x")
        assert waits() == [0, 7]
        assert frozen.elapsed_s == 7


def test_a_retry_after_above_the_ceiling_moves_on_and_is_not_asked_before(frozen):
    with llm.rehearse("openrouter[1]: 429*1 retry-after=31") as server:
        llm.run_llm(MODEL, "x")
        llm.run_llm(MODEL, "y")
        frozen.advance(32)
        llm.run_llm(MODEL, "z")
        assert words("route") == [ROUTES[0], ROUTES[1], ROUTES[1], ROUTES[0]]
        assert words("decision") == ["fall_back", "accept", "accept", "accept"]
        assert_log_is_what_the_server_saw(server)


def test_the_ceiling_is_a_setting_and_none_means_no_bound(frozen):
    with llm.rehearse("openrouter[1]: 429*1@1 retry-after=200, 429*1@3 retry-after=100"):
        llm.configure(retry_after_ceiling_s=None)
        llm.run_llm(MODEL, "x")
        assert frozen.elapsed_s == 200
        llm.configure(retry_after_ceiling_s=5)
        llm.run_llm(MODEL, "y")
        assert words("route")[-2:] == ROUTES[:2]


def test_a_429_that_names_no_time_is_retried_like_any_passing_failure(frozen):
    with llm.rehearse("openrouter[1]: 429*2"):
        llm.run_llm(MODEL, "x")
        assert waits() == [0, 3, 5]
        assert words("outcome") == ["rate_limited", "rate_limited", "ok"]
        assert frozen.elapsed_s == 8


def test_with_every_key_told_to_wait_a_call_waits_for_the_soonest(frozen):
    with llm.rehearse("openrouter[1]: 429*1 retry-after=25; openrouter[2]: 429*1 retry-after=20", huggingface_tokens=0):
        _fails(llm.DeadlineError, deadline=10)
        assert words("route") == ROUTES[:2]
        llm.run_llm(MODEL, "y")
        assert words("route")[2:] == [ROUTES[1]]
        assert frozen.elapsed_s == waits()[-1] == 20


def test_a_hold_told_beyond_the_ceiling_is_not_waited_for_when_nothing_else_is_left(frozen):
    with llm.rehearse("*: 429 retry-after=500") as server:
        _fails()
        assert frozen.elapsed_s == 0
        server.clear()
        error = _fails()
        assert (frozen.elapsed_s, len(server.lines)) == (0, 0)
        assert "on hold for rate_limited, 500 s left" in str(error)


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["content_filter", "truncated"])
def test_a_request_refused_on_its_merits_ends_the_run_at_once(fault):
    with llm.rehearse(f"openrouter: {fault}") as server:
        error = _fails(llm.RequestError)
        assert (error.outcome, len(error.attempts), words("decision")) == (fault, 1, ["stop"])
        assert "Next: " in str(error)
        assert llm.health().empty
        assert_log_is_what_the_server_saw(server)


@pytest.mark.parametrize("fault", ["400", "422"])
def test_a_request_that_one_provider_refuses_is_answered_by_the_next_and_holds_nothing(fault, frozen):
    with llm.rehearse(f"openrouter: {fault}") as server:
        assert llm.run_llm(MODEL, "hi").content.startswith("[practice answer")
        assert words("route") == [ROUTES[0], ROUTES[2]]
        assert words("outcome") == ["bad_request", "ok"]
        assert words("decision") == ["fall_back", "accept"]
        assert llm.health().empty
        assert frozen.elapsed_s == 0
        assert_log_is_what_the_server_saw(server)


@pytest.mark.parametrize("fault", ["400", "422"])
def test_a_request_that_two_providers_refuse_ends_the_run(fault, frozen):
    with llm.rehearse(f"*: {fault}") as server:
        error = _fails(llm.RequestError)
        assert [attempt.route for attempt in error.attempts] == words("route") == [ROUTES[0], ROUTES[2]]
        assert (error.outcome, words("decision")) == ("bad_request", ["fall_back", "stop"])
        assert "Next: " in str(error)
        assert llm.health().empty
        assert frozen.elapsed_s == 0
        assert_log_is_what_the_server_saw(server)


@pytest.mark.parametrize("fault", ["400", "422"])
def test_a_request_that_the_only_provider_refuses_is_one_request_and_ends_the_run(fault):
    with llm.rehearse(f"*: {fault}", huggingface_tokens=0) as server:
        error = _fails(llm.RequestError)
        assert (error.outcome, words("decision")) == ("bad_request", ["stop"])
        assert (words("route"), len(server.lines)) == (ROUTES[:1], 1)
        assert_log_is_what_the_server_saw(server)


def test_a_refusal_is_told_when_no_other_provider_answers():
    with llm.rehearse("openrouter: 400; huggingface: 503") as server:
        error = _fails(llm.RequestError)
        assert words("outcome") == ["bad_request", *["overloaded"] * 12]
        assert (error.outcome, len(error.attempts)) == ("bad_request", 13)
        assert error.attempts[0].route in str(error)
        assert_log_is_what_the_server_saw(server)


# --- what is no answer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("empty", "empty"),
        ("blank", "empty"),
        ("html", "malformed"),
        ("cut", "connection"),
        ("down", "connection"),
        ("200-error", "server_error"),
        ("200-error=503", "overloaded"),
        ("finish_error", "server_error"),
        ("500", "server_error"),
        ("502", "server_error"),
        ("529", "overloaded"),
    ],
)
def test_what_is_no_answer_is_never_a_result(fault, outcome):
    with llm.rehearse(f"*: {fault}@1..3") as server:
        message = llm.run_llm(MODEL, "x")
        assert message.content.startswith("[practice answer")
        assert set(words("outcome")[:-1]) == {outcome}
        assert set(words("route")) == {ROUTES[0]}
        assert_log_is_what_the_server_saw(server)


@pytest.mark.parametrize("fault", ["empty", "html", "cut", "down", "200-error", "finish_error"])
def test_what_is_no_answer_anywhere_ends_in_an_error(fault):
    with llm.rehearse(f"*: {fault}") as server:
        error = _fails()
        assert len(error.attempts) == len(server.lines) == 20
        assert_log_is_what_the_server_saw(server)


def test_an_error_with_a_code_inside_a_200_is_judged_by_that_code():
    with llm.rehearse("openrouter[1]: 200-error=401") as server:
        llm.run_llm(MODEL, "x")
        assert words("outcome") == ["auth", "ok"]
        assert_log_is_what_the_server_saw(server)


# --- accept= ------------------------------------------------------------------------------------------------------


def test_an_answer_that_accept_refuses_is_asked_again_once_then_elsewhere_and_holds_nothing():
    said = iter([False, None, "yes"])
    with llm.rehearse() as server:
        message = llm.run_llm(MODEL, "x", accept=lambda _: next(said))
        assert llm.attempts(message)["outcome"].tolist() == ["rejected", "rejected", "ok"]
        assert words("route") == [ROUTES[0], ROUTES[0], ROUTES[1]]
        assert words("decision") == ["retry", "fall_back", "accept"]
        assert waits() == [0, 3, 0]
        assert llm.health().empty
        assert_log_is_what_the_server_saw(server)


@pytest.mark.parametrize("retries", [0, 1, 3, 9])
def test_accept_that_refuses_everything_pays_for_one_answer_and_the_retries_and_holds_nothing(retries):
    llm.configure(retries=retries)
    with llm.rehearse() as server:
        error = _fails(accept=lambda message: "never" in message.content)
        asked = [route for route in ROUTES for _ in range(2)][: 1 + retries]
        assert [attempt.route for attempt in error.attempts] == words("route") == asked
        assert words("decision")[-1] == "stop"
        assert "accept=" in str(error)
        assert llm.health().empty
        assert_log_is_what_the_server_saw(server)


def test_accept_that_raises_ends_the_run_and_the_request_has_its_record():
    def accept(_):
        raise KeyError("what")

    with llm.rehearse() as server:
        error = _fails(llm.ConfigError, accept=accept)
        assert "Your accept= function raised KeyError" in str(error)
        assert_log_is_what_the_server_saw(server)


def test_a_wait_strategy_that_raises_ends_the_run_and_the_request_has_its_record():
    def strategy(_):
        raise ZeroDivisionError

    llm.retry_wait_strategy = strategy
    with llm.rehearse("*: 503") as server:
        error = _fails(llm.ConfigError)
        assert "Your retry_wait_strategy raised ZeroDivisionError" in str(error)
        assert words("decision") == ["stop"]
        assert_log_is_what_the_server_saw(server)


# --- bounds -------------------------------------------------------------------------------------------------------


def test_timeout_bounds_each_attempt_and_the_next_route_is_asked_at_once(frozen):
    with llm.rehearse("openrouter: hang") as server:
        llm.run_llm(MODEL, "x", timeout=0.2)
        assert words("outcome") == ["timeout", "timeout", "ok"]
        assert words("decision") == ["fall_back", "fall_back", "accept"]
        assert [line.fault for line in server.lines] == ["client left", "client left", None]
        assert frozen.elapsed_s == 0
        assert_log_is_what_the_server_saw(server)


def test_timeouts_on_the_last_route_are_retried_after_the_strategys_waits(frozen):
    llm.configure(timeout=0.1)
    with llm.rehearse("*: hang", openrouter_keys=1, huggingface_tokens=0) as server:
        error = _fails()
        assert [attempt.outcome for attempt in error.attempts] == ["timeout"] * 4
        assert waits() == [0, 3, 5, 6]
        assert frozen.elapsed_s == 14
        assert_log_is_what_the_server_saw(server)


def test_the_deadline_ends_a_request_in_flight_with_the_attempts_so_far():
    with llm.rehearse("openrouter[1]: 401; openrouter[2]: hang") as server:
        error = _fails(llm.DeadlineError, deadline=0.3)
        assert isinstance(error, TimeoutError)
        assert [attempt.outcome for attempt in error.attempts] == ["auth", "timeout"]
        assert words("decision") == ["fall_back", "stop"]
        assert llm.attempts(error)["route"].tolist() == ROUTES[:2]
        assert "deadline of 0.3 s" in str(error)
        assert_log_is_what_the_server_saw(server)


def test_a_wait_that_would_outlast_the_deadline_is_not_begun_and_the_run_moves_on(frozen):
    with llm.rehearse("*: 503") as server:
        error = _fails(llm.DeadlineError, deadline=7)
        assert words("route") == [ROUTES[0], ROUTES[0], *ROUTES[1:2] * 2, *ROUTES[2:]]
        assert waits()[:4] == [0, 3, 0, 3]
        assert frozen.elapsed_s == 6
        assert len(error.attempts) == 7
        assert_log_is_what_the_server_saw(server)


def test_a_deadline_shorter_than_a_retry_after_moves_on_at_once(frozen):
    with llm.rehearse("openrouter[1]: 429 retry-after=20"):
        llm.run_llm(MODEL, "x", deadline=10)
        assert words("route") == ROUTES[:2]
        assert frozen.elapsed_s == 0


# --- spread -------------------------------------------------------------------------------------------------------


def test_single_calls_start_at_the_first_key():
    with llm.rehearse() as server:
        for _ in range(4):
            llm.run_llm(MODEL, "x")
        assert {line.key for line in server.lines} == {"..0001"}


def test_64_parallel_calls_use_both_keys_alike():
    async def ask_all():
        return await asyncio.gather(*(llm.arun_llm(MODEL, f"question {n}") for n in range(64)))

    with llm.rehearse(latency_s=0.5) as server:
        messages = asyncio.run(ask_all())
        assert all(f"'question {n}'" in message.content for n, message in enumerate(messages))
        first = sum(line.key == "..0001" for line in server.lines)
        assert 0.45 * 64 <= first <= 0.55 * 64
        assert server.in_flight_peak >= 56
        assert_log_is_what_the_server_saw(server, in_order=False)
