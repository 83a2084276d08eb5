"""What a run does next: the rules of the chain, asked without sending anything."""

import asyncio

import pytest
from tenacity import stop_after_attempt, wait_fixed

from llm_executor_nb.core.backoff import AttemptFailedError, Backoff
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.holds import Health
from llm_executor_nb.core.moves import Go, Join, RunMemory, Stop, StopReason, Wait, next_move
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import Key, Route, Verdict
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.core.user_functions import Bounds

NOW = 1000.0


def _route(number, provider=None, tier=1):
    backend = "huggingface" if provider else "openrouter"
    key = Key(backend=backend, secret=Secret(f"sk-policy-000{number}"), label=f"key {number}")
    return Route(backend=backend, key=key, provider=provider, model="m", request_model="m", tier=tier)


K1, K2 = _route(1), _route(2)
A, B = _route(1, "a", 2), _route(1, "b", 2)
TIERS = (((K1,), (K2,)), ((A, B),))


@pytest.fixture
def health():
    return Health()


def _run(*, is_by_hand=True, **more):
    return RunMemory(tiers=TIERS, is_by_hand=is_by_hand, ceiling_s=30, **more)


def _strike(health, *routes, now=NOW, **more):
    for route in routes:
        health.strike(route.scope(ScopeLevel.ROUTE), Verdict(outcome=Outcome.OVERLOADED), now, **more)


def _tell(health, route, seconds, now=NOW, **more):
    verdict = Verdict(outcome=Outcome.RATE_LIMITED, retry_after_s=seconds)
    health.tell(route.scope(ScopeLevel.KEY), verdict, now, **more)


def _condemn(health, *routes):
    for route in routes:
        health.condemn(route.scope(ScopeLevel.KEY), Verdict(outcome=Outcome.AUTH), NOW)


# --- by hand ------------------------------------------------------------------------------------------------------


def test_a_run_goes_through_the_chain_in_order(health):
    run, walked = _run(), []
    while isinstance(move := next_move(run, health, NOW), Go):
        walked.append(move.route)
        run.leave(move.route)
    assert walked == [K1, K2, A, B]
    assert move == Stop(StopReason.EXHAUSTED)


def test_a_run_enters_at_the_free_key_with_the_fewest_requests_in_flight_and_wraps(health):
    health.traffic.sent(K1, NOW, None)
    run = _run()
    assert next_move(run, health, NOW) == Go(K2)
    run.leave(K2)
    assert next_move(run, health, NOW) == Go(K1)


def test_a_run_skips_held_routes_and_probes_an_ended_hold_on_the_way(health):
    _strike(health, K1)
    assert next_move(_run(), health, NOW + 1) == Go(K2)
    assert next_move(_run(), health, NOW + 5) == Go(K1, is_probe=True)


def test_a_run_does_not_probe_a_hold_that_it_set_itself(health):
    _strike(health, K1)
    run = _run(own_holds={K1.scope(ScopeLevel.ROUTE)})
    assert next_move(run, health, NOW + 5) == Go(K2)


def test_a_streaks_hold_does_not_take_begun_retries_from_a_run(health):
    run = _run(current=K1, ready_at={K1: NOW})
    _strike(health, K1)
    assert next_move(run, health, NOW) == Go(K1)


def test_a_condemnation_does_take_begun_retries_from_a_run(health):
    run = _run(current=K1, ready_at={K1: NOW + 3})
    _condemn(health, K1)
    assert next_move(run, health, NOW) == Go(K2)


def test_a_told_hold_beyond_the_ceiling_takes_begun_retries_and_a_short_one_makes_them_wait(health):
    run = _run(current=K1, ready_at={K1: NOW + 3})
    _tell(health, K1, 20)
    assert next_move(run, health, NOW) == Wait(NOW + 20, K1, is_told=True)
    _tell(health, K1, 31)
    assert next_move(run, health, NOW) == Go(K2)


def test_of_several_that_wait_for_one_retry_after_the_first_is_the_probe_and_the_others_join(health):
    runs = [_run(current=K1, ready_at={K1: NOW + 5}) for _ in range(3)]
    _tell(health, K1, 5)
    assert next_move(runs[0], health, NOW + 5) == Go(K1, is_probe=True)
    health.begin_probe(K1, NOW + 5)
    assert next_move(runs[1], health, NOW + 5) == next_move(runs[2], health, NOW + 5) == Join(K1)


def test_with_only_streaks_left_a_run_probes_each_in_order_and_each_once(health):
    _strike(health, K1, K2, A, B)
    run, probed = _run(), []
    while isinstance(move := next_move(run, health, NOW + 1), Go):
        assert move.is_probe
        probed.append(move.route)
        run.probed.update(health.begin_probe(move.route, NOW + 1))
        _strike(health, move.route, now=NOW + 1, is_probe=True)
        run.leave(move.route)
    assert probed == [K1, K2, A, B]
    assert move == Stop(StopReason.EXHAUSTED)


def test_a_streak_probed_less_than_ten_seconds_ago_is_waited_for_until_then(health):
    _strike(health, K1, K2, A, B)
    for route in (K1, K2, A, B):
        health.end_probe(health.begin_probe(route, NOW), NOW, is_lifted=False)
        health.begin_probe(route, NOW)
        _strike(health, route, is_probe=True)
    run = _run()
    assert next_move(run, health, NOW + 4) == Wait(NOW + 10)
    run.has_waited = True
    assert next_move(run, health, NOW + 9) == Stop(StopReason.EXHAUSTED)
    assert next_move(run, health, NOW + 10) == Go(K1, is_probe=True)


def test_a_told_hold_within_the_ceiling_is_waited_for_before_anything_is_probed(health):
    _tell(health, K1, 20)
    _strike(health, K2, A, B)
    assert next_move(_run(), health, NOW) == Wait(NOW + 20, is_told=True)


def test_after_its_round_a_run_waits_for_a_newly_told_hold_but_not_for_one_whose_probe_failed(health):
    _condemn(health, K2, A)
    run = _run(has_waited=True)
    _tell(health, K1, 5)
    assert next_move(run, health, NOW) == Wait(NOW + 5, is_told=True)
    probe = health.begin_probe(K1, NOW + 5)
    assert next_move(run, health, NOW + 5) == Join(K1)
    health.end_probe(probe, NOW + 5, is_lifted=True)
    _tell(health, K1, 3, now=NOW + 6)
    assert next_move(run, health, NOW + 6) == Wait(NOW + 9, is_told=True)
    probe = health.begin_probe(K1, NOW + 9)
    _tell(health, K1, 3, now=NOW + 9, is_probe=True)
    health.end_probe(probe, NOW + 9, is_lifted=True)
    assert next_move(run, health, NOW + 9) == Stop(StopReason.EXHAUSTED)


def test_a_probe_in_flight_is_joined(health):
    _strike(health, K1, K2, A, B)
    health.begin_probe(K2, NOW)
    assert next_move(_run(), health, NOW) == Join(K2)


def test_condemned_and_far_told_holds_are_not_waited_for(health):
    _condemn(health, K1, A)
    _tell(health, K2, 31)
    assert next_move(_run(), health, NOW) == Stop(StopReason.EXHAUSTED)


def test_after_its_round_of_waiting_a_failed_probe_is_a_runs_last(health):
    assert next_move(_run(is_over=True), health, NOW) == Stop(StopReason.EXHAUSTED)


# --- deadlines ----------------------------------------------------------------------------------------------------


def test_a_run_past_its_deadline_stops(health):
    assert next_move(_run(deadline=NOW), health, NOW) == Stop(StopReason.DEADLINE)


def test_a_wait_beyond_the_deadline_is_left_out_and_named_at_the_end(health):
    run = _run(deadline=NOW + 2, current=K1, ready_at={K1: NOW + 3})
    for route in (K2, A, B):
        assert next_move(run, health, NOW) == Go(route)
        run.leave(route)
    assert next_move(run, health, NOW) == Stop(StopReason.DEADLINE)


# --- in a job -----------------------------------------------------------------------------------------------------


def test_a_row_takes_another_free_route_of_its_tier_instead_of_waiting(health):
    row = _run(is_by_hand=False, ready_at={K1: NOW + 3})
    assert next_move(row, health, NOW) == Go(K2)


def test_a_row_waits_in_its_tier_for_a_short_told_hold_and_goes_down_past_a_long_one(health):
    _tell(health, K1, 20)
    _tell(health, K2, 10)
    assert next_move(_run(is_by_hand=False), health, NOW) == Wait(NOW + 10, K2, is_told=True)
    _tell(health, K1, 40)
    _tell(health, K2, 40)
    assert next_move(_run(is_by_hand=False), health, NOW + 39) == Go(A), "by the length it was set for"


def test_a_row_goes_down_a_tier_past_streaks_and_condemned_keys(health):
    _strike(health, K1)
    _condemn(health, K2)
    assert next_move(_run(is_by_hand=False), health, NOW) == Go(A)


def test_a_row_waits_for_the_soonest_streak_and_fails_when_all_is_condemned(health):
    _condemn(health, K1, K2)
    _strike(health, A, B)
    assert next_move(_run(is_by_hand=False), health, NOW) == Wait(NOW + 5)
    _condemn(health, A)
    assert next_move(_run(is_by_hand=False), health, NOW) == Stop(StopReason.EXHAUSTED)


# --- waits before retries -----------------------------------------------------------------------------------------

FAILED = Verdict(outcome=Outcome.OVERLOADED, http_status=503, message="busy")


def _backoff(wait=None, retries=3, before_sleep=None):
    return Backoff(K1, wait=wait or wait_fixed(2), retries=retries, before_sleep=before_sleep, now=NOW)


def _waits(backoff, *told, now=NOW):
    """Return the waits after some failures, each with the time that the provider named."""

    async def ask(told_s):
        backoff.failed(FAILED, now)
        return await backoff.next_wait_s(Bounds(5), retry_after_s=told_s)

    return [asyncio.run(ask(told_s)) for told_s in told]


def test_a_route_gets_as_many_retries_as_said_then_none():
    assert _waits(_backoff(), *[None] * 5) == [2, 2, 2, None, None]


def test_a_told_time_takes_the_strategys_place_and_counts_as_a_retry():
    assert _waits(_backoff(retries=2), 9, None, 9) == [9, 2, None]


def test_a_stop_object_of_tenacitys_counts_attempts():
    assert _waits(_backoff(retries=stop_after_attempt(2)), None, None) == [2, None]


def test_strategies_and_hooks_see_the_attempt_the_failure_and_the_sleep():
    seen = []

    def wait(state):
        seen.append((state.attempt_number, state.outcome.exception(), state.seconds_since_start))
        return 1

    def hook(state):
        seen.append((state.next_action.sleep, state.fn.__name__))

    _waits(_backoff(wait, before_sleep=hook), None, now=NOW + 4)
    number, error, seconds = seen[0]
    assert (number, seconds) == (1, 4)
    assert isinstance(error, AttemptFailedError)
    assert (error.outcome, error.status, str(error)) == ("overloaded", 503, "busy")
    assert seen[1] == (1, "openrouter ..0001")


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "3", None, True])
def test_a_strategy_must_return_seconds(bad):
    with pytest.raises(ConfigError, match="must return seconds"):
        _waits(_backoff(lambda _: bad), None)
