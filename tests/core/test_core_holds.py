"""Holds by themselves: how long, doubled by what, shortened by nothing, and who may probe."""

import math

import pytest

from llm_executor_nb.core.holds import Health, HoldKind, RouteStatus
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import Key, Route, Verdict
from llm_executor_nb.core.secret import Secret

NOW = 1000.0


def make_route(key="sk-key-0001", provider=None, backend="openrouter", model="m"):
    made = Key(backend=backend, secret=Secret(key), label="key 1")
    return Route(backend=backend, key=made, provider=provider, model=model, request_model=model, tier=1)


@pytest.fixture
def health():
    return Health()


@pytest.fixture
def route():
    return make_route()


def _strike(health, route, now=NOW, **more):
    return health.strike(route.scope(ScopeLevel.ROUTE), Verdict(outcome=Outcome.OVERLOADED), now, **more)


def _tell(health, route, seconds, now=NOW, reach=ScopeLevel.KEY, **more):
    verdict = Verdict(outcome=Outcome.RATE_LIMITED, retry_after_s=seconds)
    return health.tell(route.scope(reach), verdict, now, **more)


def _condemn(health, route, now=NOW, *, reach=ScopeLevel.KEY, why=Outcome.AUTH, reset_s=None, **more):
    return health.condemn(route.scope(reach), Verdict(outcome=why, retry_after_s=reset_s), now, **more)


def _probe(health, route, now):
    return health.begin_probe(route, now)


# --- how long -----------------------------------------------------------------------------------------------------


def test_a_streak_holds_five_seconds(health, route):
    assert _strike(health, route).length_s == 5


def test_a_streaks_hold_doubles_with_each_failed_probe_up_to_sixty_seconds(health, route):
    hold = _strike(health, route)
    lengths = [hold.length_s]
    for _ in range(5):
        now = hold.until
        probed = _probe(health, route, now)
        hold = _strike(health, route, now, is_probe=True)
        lengths.append(hold.length_s)
        health.end_probe(probed, now, is_lifted=True)
    assert lengths == [5, 10, 20, 40, 60, 60]


def test_a_hold_tells_how_long_it_still_lasts(health, route):
    hold = _strike(health, route)
    assert [hold.left_s(NOW + 2), hold.left(NOW + 2), hold.left_s(NOW + 9)] == [3, "3 s left", 0]
    lasting = _condemn(health, route, reach=ScopeLevel.PROVIDER)
    assert (lasting.left_s(NOW), lasting.left(NOW)) == (math.inf, "until the model's row changes")


@pytest.mark.parametrize(("after_s", "length"), [(1, 10), (59, 10), (61, 5)])
def test_a_new_streak_doubles_within_sixty_seconds_of_the_last_holds_end_only(health, route, after_s, length):
    _strike(health, route)
    assert _strike(health, route, NOW + 5 + after_s).length_s == length


def test_a_new_streak_soon_after_a_probe_lifted_the_hold_doubles_too(health, route):
    _strike(health, route)
    health.end_probe(_probe(health, route, NOW + 6), NOW + 6, is_lifted=True)
    assert health.status(route, NOW + 6)[0] is RouteStatus.FREE
    assert _strike(health, route, NOW + 20).length_s == 10


def test_failures_that_arrive_while_a_route_is_held_change_nothing(health, route):
    first = _strike(health, route)
    assert _strike(health, route, NOW + 4) is first
    assert not health.count_failure(route, NOW + 4, limit=1, is_last=False)
    assert health.holds(NOW + 4) == [first]


@pytest.mark.parametrize("reset_s", [None, 3.0, 3600.0])
def test_a_condemned_key_is_held_until_its_reset_else_ten_minutes(health, route, reset_s):
    assert _condemn(health, route, reset_s=reset_s).length_s == (600 if reset_s is None else reset_s)


@pytest.mark.parametrize("why", [Outcome.NOT_FOUND, Outcome.UNSUPPORTED])
@pytest.mark.parametrize("reach", [ScopeLevel.PROVIDER, ScopeLevel.BACKEND])
def test_a_provider_without_the_model_is_held_until_a_change(health, route, why, reach):
    assert math.isinf(_condemn(health, route, reach=reach, why=why).until)


def test_a_hold_is_never_shortened(health, route):
    _tell(health, route, 50)
    for shorter in (_tell(health, route, 1), _condemn(health, route, reset_s=2), _tell(health, route, None)):
        assert (shorter.until, shorter.kind) == (NOW + 50, HoldKind.TOLD)
    assert _condemn(health, route).until == NOW + 600
    assert _tell(health, route, 5).kind is HoldKind.CONDEMNED


def test_a_limit_without_a_time_holds_a_second_and_doubles_only_when_a_probe_fails(health, route):
    lengths, now = [_tell(health, route, None).length_s], NOW
    assert _tell(health, route, None, NOW + 0.5).until == NOW + 1
    for _ in range(7):
        now = health.holds(now)[0].until + 0.1
        probed = _probe(health, route, now)
        lengths.append(_tell(health, route, None, now, is_probe=True).length_s)
        health.end_probe(probed, now, is_lifted=True)
    assert lengths == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])


def test_a_hold_that_ended_a_minute_ago_is_forgotten(health, route):
    _strike(health, route)
    assert health.status(route, NOW + 5 + 60)[0] is RouteStatus.DUE
    assert health.status(route, NOW + 5 + 60.1)[0] is RouteStatus.FREE
    assert health.holds(NOW + 5 + 60.1) == []


# --- how far ------------------------------------------------------------------------------------------------------


def test_each_reach_holds_the_routes_it_speaks_of(health):
    a, b = make_route(provider="a"), make_route(provider="b")
    other_key, other_model = make_route("sk-key-0002", provider="a"), make_route(provider="a", model="n")
    every = (a, b, other_key, other_model)
    expected = {
        ScopeLevel.ROUTE: [True, False, False, False],
        ScopeLevel.KEY: [True, True, False, True],
        ScopeLevel.PROVIDER: [True, False, True, False],
        ScopeLevel.BACKEND: [True, True, True, False],
    }
    for reach, held in expected.items():
        health.reset()
        _tell(health, a, 5, reach=reach)
        assert [health.status(route, NOW)[0] is RouteStatus.HELD for route in every] == held, reach


def test_the_same_key_found_again_is_the_same_scope(health, route):
    _condemn(health, route)
    assert health.status(make_route(), NOW)[0] is RouteStatus.HELD


def test_release_drops_what_a_change_made_stale(health, route):
    _condemn(health, route, reach=ScopeLevel.PROVIDER, why=Outcome.NOT_FOUND)
    _condemn(health, route)
    health.release(lambda scope: scope.reach is ScopeLevel.PROVIDER)
    assert [hold.scope.reach for hold in health.holds(NOW)] == [ScopeLevel.KEY]


# --- probes -------------------------------------------------------------------------------------------------------


def test_a_hold_that_has_ended_wants_a_probe_and_is_held_for_others_meanwhile(health, route):
    _strike(health, route)
    assert health.status(route, NOW + 4.9)[0] is RouteStatus.HELD
    assert health.status(route, NOW + 5)[0] is RouteStatus.DUE
    _probe(health, route, NOW + 5)
    assert health.status(route, NOW + 5)[0] is RouteStatus.PROBING


@pytest.mark.parametrize("set_by", [_strike, lambda h, r: _tell(h, r, 3), _condemn])
def test_a_probes_reply_that_is_no_reason_for_a_hold_lifts_it_and_wakes_who_waits(health, route, set_by):
    hold = set_by(health, route)
    woken = []
    health.watch(lambda: woken.append(True))
    health.end_probe(_probe(health, route, hold.until), hold.until, is_lifted=True)
    assert (health.status(route, hold.until)[0], len(woken)) == (RouteStatus.FREE, 1)


def test_a_cancelled_probe_passes_to_the_next_run_and_costs_no_strike(health, route):
    _strike(health, route)
    woken = []
    health.watch(lambda: woken.append(True))
    health.end_probe(_probe(health, route, NOW + 6), NOW + 7, is_lifted=False)
    standing, hold = health.status(route, NOW + 7)
    assert (standing, hold.strikes, len(woken)) == (RouteStatus.DUE, 0, 1)


@pytest.mark.parametrize(
    "set_again",
    [
        lambda h, r, now: _condemn(h, r, now, is_probe=True),
        lambda h, r, now: _tell(h, r, 40, now, is_probe=True),
        lambda h, r, now: _tell(h, r, None, now, is_probe=True),
    ],
)
def test_what_a_failed_probe_sets_is_not_lifted_by_its_own_end(health, route, set_again):
    _tell(health, route, 3)
    probed = _probe(health, route, NOW + 4)
    hold = set_again(health, route, NOW + 5)
    health.end_probe(probed, NOW + 5, is_lifted=True)
    assert (health.status(route, NOW + 5), hold.is_active(NOW + 5)) == ((RouteStatus.HELD, hold), True)


def test_a_probe_in_flight_stays_one_when_a_late_reply_of_another_run_sets_a_hold(health, route):
    _tell(health, route, 3)
    _probe(health, route, NOW + 4)
    _tell(health, route, 8, NOW + 4.5)
    assert health.status(route, NOW + 5)[0] is RouteStatus.PROBING


def test_a_probe_does_not_touch_a_condemnation_that_still_runs(health, route):
    _condemn(health, route)
    _strike(health, route)
    assert _probe(health, route, NOW + 6) == (route.scope(ScopeLevel.ROUTE),)


def test_an_answer_lifts_a_streaks_hold_and_no_other(health, route):
    _strike(health, route)
    _tell(health, route, 9)
    health.lift([route.scope(ScopeLevel.ROUTE), route.scope(ScopeLevel.KEY)], NOW + 1)
    assert [hold.kind for hold in health.holds(NOW + 1)] == [HoldKind.TOLD]


def test_nobody_is_woken_by_an_attempt_that_was_no_probe(health):
    woken = []
    health.watch(lambda: woken.append(True))
    health.end_probe((), NOW, is_lifted=True)
    assert (woken, health.changes) == ([], 0)


# --- streaks of a job ---------------------------------------------------------------------------------------------


def test_a_streak_is_long_enough_at_the_limit_it_began_with(health, route):
    limits = [8, *[3] * 7]
    assert [health.count_failure(route, NOW, limit=limit, is_last=False) for limit in limits] == [False] * 7 + [True]


@pytest.mark.parametrize("excused", [1, 20])
def test_refusals_that_no_answer_explained_count_when_the_last_request_is_back(health, route, excused):
    for _ in range(excused):
        health.evidence.excuse(route)
    assert not health.count_failure(route, NOW, limit=excused + 2, is_last=False)
    assert health.count_failure(route, NOW, limit=excused + 2, is_last=True)


def test_refusals_that_an_answer_explained_do_not(health, route):
    for _ in range(20):
        health.evidence.excuse(route)
    health.evidence.answered(route, NOW - 1, NOW)
    assert not health.count_failure(route, NOW, limit=8, is_last=True)


def test_when_the_last_request_is_back_a_streak_does_not_wait_for_those_that_were_answered(health, route):
    assert not health.count_failure(route, NOW, limit=60, is_last=False)
    assert [health.count_failure(route, NOW, limit=8, is_last=True) for _ in range(7)] == [False] * 6 + [True]


@pytest.mark.parametrize(("sent_at", "is_ended"), [(NOW - 1, False), (NOW, False), (NOW + 1, True)])
def test_only_an_answer_to_a_request_sent_after_the_first_failure_ends_a_streak(health, route, sent_at, is_ended):
    health.count_failure(route, NOW, limit=2, is_last=False)
    health.evidence.answered(route, sent_at, NOW + 2)
    assert health.count_failure(route, NOW + 3, limit=2, is_last=False) is not is_ended


# --- in flight ----------------------------------------------------------------------------------------------------


def test_requests_in_flight_are_counted_for_the_key_and_for_the_route(health):
    a, b = make_route(provider="a"), make_route(provider="b")
    for route in (a, a, b):
        health.traffic.sent(route, NOW, None)
    health.traffic.returned(a)
    assert [health.traffic.in_flight(a), health.traffic.in_flight(b)] == [2, 2]
    assert [health.traffic.in_flight(a, ScopeLevel.ROUTE), health.traffic.in_flight(b, ScopeLevel.ROUTE)] == [1, 1]
