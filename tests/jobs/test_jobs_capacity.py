"""A server that takes a few requests at once is kept full, however it refuses the rest, and no row is lost."""

from __future__ import annotations

import math
import warnings

import pytest
from rehearsing import fresh
from simulating import Practice, run_column

from llm_executor_nb.core.capacity import Capacity
from llm_executor_nb.core.outcomes import Outcome

ROWS = 300
REFUSALS = [
    (Outcome.OVERLOADED, None),
    (Outcome.OVERLOADED, 1.0),
    (Outcome.RATE_LIMITED, None),
    (Outcome.RATE_LIMITED, 1.0),
    (Outcome.CONNECTION, None),
]
AT_ONCE, ANSWERS_IN_S = [3, 6, 12], [0.1, 1.0, 5.0]
SERVERS = [
    pytest.param(busy, busy_s, at_once, ANSWERS_IN_S[(number + place) % 3])
    for number, (busy, busy_s) in enumerate(REFUSALS)
    for place, at_once in enumerate(AT_ONCE)
]
"""Every pair of a refusal, a number at once and a time to answer; all three together would take three times as long."""


@pytest.fixture(autouse=True)
def _settings():
    with fresh(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(("busy", "busy_s", "at_once", "answers_in_s"), SERVERS)
def test_a_server_that_takes_few_at_once_is_kept_full(busy, busy_s, at_once, answers_in_s, monkeypatch):
    own = Practice(
        answers_in=lambda dice: answers_in_s * dice.uniform(0.9, 1.1), at_once=at_once, busy=busy, busy_s=busy_s
    )
    came = run_column(monkeypatch, {"own": own}, [f"row {row}" for row in range(ROWS)])
    assert came.counts == {"ok": ROWS}
    assert came.seconds <= 2 * math.ceil(ROWS / at_once) * answers_in_s


@pytest.mark.parametrize("busy", [Outcome.OVERLOADED, Outcome.RATE_LIMITED])
def test_one_that_takes_many_loses_no_row_either(busy, monkeypatch):
    own = Practice(at_once=40, busy=busy)
    came = run_column(monkeypatch, {"own": own}, [f"row {row}" for row in range(ROWS)], concurrency=100)
    assert came.counts == {"ok": ROWS}


@pytest.mark.parametrize("busy", [Outcome.OVERLOADED, Outcome.RATE_LIMITED])
def test_two_keys_share_what_the_server_takes(busy, monkeypatch):
    own = Practice(answers_in=lambda dice: dice.uniform(0.9, 1.1), at_once=6, busy=busy)
    came = run_column(monkeypatch, {"own": own}, [f"row {row}" for row in range(ROWS)], keys=2)
    assert came.counts == {"ok": ROWS}
    assert came.seconds <= 2 * ROWS / 6


@pytest.mark.parametrize(("share", "most_failed"), [(0.05, 0), (0.2, 3)])
def test_refusals_by_chance_bound_nothing_for_long(share, most_failed, monkeypatch):
    """A row that is refused in all its four tries fails: one of 625 at 20 %."""
    dice = iter(int(1e9 * (n * 0.61803398875 % 1)) / 1e9 for n in range(10**6))
    own = Practice(says=lambda *_: Outcome.OVERLOADED if next(dice) < share else Outcome.OK)
    came = run_column(monkeypatch, {"own": own}, [f"row {row}" for row in range(ROWS)])
    assert came.counts["ok"] >= ROWS - most_failed
    assert came.seconds <= 60


# --- the rule -----------------------------------------------------------------------------------------------------


def test_no_bound_is_known_at_first():
    assert Capacity().has_room(10**6)


def test_the_smallest_number_that_was_refused_is_too_many():
    capacity = Capacity()
    for in_flight in (8, 7, 5, 6):
        assert capacity.refused(in_flight, 0.0)
    assert capacity.limit == 4
    assert not capacity.has_room(4)
    assert capacity.has_room(3)


def test_a_number_that_was_answered_more_often_is_not():
    capacity = Capacity()
    for _ in range(9):
        capacity.answered(8, 0.0)
    assert not capacity.refused(8, 0.0)
    assert capacity.limit is None


def test_one_in_flight_is_never_too_many():
    assert not Capacity().refused(1, 0.0)


def test_a_bound_is_tried_again_after_a_while_and_later_each_time():
    capacity, now = Capacity(), 0.0
    capacity.refused(4, now)
    waits = []
    for _ in range(3):
        began = now
        while capacity.limit == 3:
            now += 0.1
            capacity.answered(3, now)
        waits.append(now - began)
        capacity.refused(4, now)
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]


def test_after_a_hold_requests_return_one_by_one():
    capacity = Capacity()
    capacity.return_slowly()
    assert (capacity.has_room(0), capacity.has_room(1)) == (True, False)
    capacity.answered(1, 1.0)
    assert (capacity.has_room(1), capacity.has_room(2)) == (True, False)
