"""A job that sets no concurrency finds how many at once bring the most answers per second, at servers of any kind.

Simulated: the real `Growth`, and what it decides about; time is an argument. What a server does is a function of how
many are in flight, of the dice and of the time. Each row costs the client 0.3 ms of its own, one after the other.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random

import pytest

from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.jobs.growth import FIRST, LARGEST, Growth

OWN_S = 0.0003
OK, TIMEOUT = Outcome.OK, Outcome.TIMEOUT


class Job:
    """So many rows, asked of a server with as many at once as `Growth` says, or as the user does."""

    def __init__(self, server, rows, *, concurrency=None, seed=1):
        self.dice, self.growth = random.Random(seed), Growth(0.0) if concurrency is None else None
        self.sent, self.limits = [], []
        self.seconds = self._run(server, rows, concurrency)

    def _run(self, server, rows, concurrency):
        replies, ties = [], itertools.count()
        now = in_flight = answered = 0
        while answered < rows:
            limit = self.growth.limit if self.growth else concurrency
            while in_flight < min(limit, rows - answered):
                in_flight, now = in_flight + 1, now + OWN_S / 2
                seconds, outcome = server(in_flight, self.dice, now)
                self.sent.append((now, in_flight))
                heapq.heappush(replies, (now + seconds, next(ties), now, outcome))
            at, _, sent_at, outcome = heapq.heappop(replies)
            now = max(now, at) + OWN_S / 2
            if self.growth:
                self.growth.replied(in_flight, outcome, now - sent_at, now)
                self.limits.append((now, self.growth.limit))
            in_flight, answered = in_flight - 1, answered + (outcome is OK)
        return now

    def most(self, since=0.0):
        return max(in_flight for at, in_flight in self.sent if at >= since)


def steady(seconds, spread=0.0):
    return lambda _, dice, __: (seconds * dice.uniform(1 - spread, 1 + spread), OK)


def lognormal(median, sigma=1.0):
    return lambda _, dice, __: (dice.lognormvariate(math.log(median), sigma), OK)


def two_keys(quick, slow):
    return lambda _, dice, __: (dice.choice((quick, slow)) * dice.uniform(0.9, 1.1), OK)


def with_a_knee(seconds, most, sigma=0.05):
    return lambda in_flight, dice, _: (seconds * max(1, in_flight / most) * dice.lognormvariate(0, sigma), OK)


def with_failures(server, share, seconds, outcome=TIMEOUT):
    return lambda in_flight, dice, at: (seconds, outcome) if dice.random() < share else server(in_flight, dice, at)


def changing(before, after, at):
    return lambda in_flight, dice, now: (before if now < at else after)(in_flight, dice, now)


def test_growth_to_the_bound_costs_a_few_rounds():
    for rows in (5000, 7000, 10_000):
        assert Job(steady(1.0), rows).seconds <= 6 * rows / 1000


WIDE = [
    steady(0.02, 0.5),
    steady(0.2),
    steady(5.0, 0.2),
    lognormal(0.2),
    lognormal(2.0),
    lognormal(0.2, 0.5),
    with_failures(steady(0.2, 0.2), 0.1, 0.2, Outcome.SERVER_ERROR),
    with_failures(steady(0.2, 0.2), 0.05, 3.0),
    two_keys(0.1, 2.0),
    two_keys(0.5, 1.0),
]


@pytest.mark.parametrize("server", WIDE)
def test_a_server_without_a_limit_is_not_mistaken_for_one_with_a_knee(server):
    ours, best = (
        sum(Job(server, 5000, concurrency=concurrency, seed=seed).seconds for seed in range(4))
        for concurrency in (None, LARGEST)
    )
    assert ours <= 1.6 * best


@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.2])
@pytest.mark.parametrize(("seconds", "most"), [(0.02, 32), (0.1, 32), (0.2, 24), (0.4, 32)])
def test_at_a_knee_more_are_not_kept_in_flight_and_no_answers_lost(seconds, most, sigma):
    server = with_a_knee(seconds, most, sigma)
    for seed in range(3):
        ours = Job(server, 3000, seed=seed)
        assert ours.seconds <= Job(server, 3000, concurrency=most, seed=seed).seconds / 0.95
        assert ours.most(since=min(5.0, 30 * seconds)) <= 80
        assert "more brings no more answers" in ours.growth.reason or ours.growth.limit <= 80


@pytest.mark.parametrize("most", [50, 70, 100, 180])
def test_a_higher_knee_is_found_too(most):
    server = with_a_knee(0.2, most)
    ours = Job(server, 12_000)
    assert ours.seconds <= Job(server, 12_000, concurrency=most).seconds / 0.93
    assert ours.growth.limit <= 2 * most


def test_it_does_not_swing():
    """Tries get rarer: the number leaves its place for a short while, and less and less often."""
    limits = Job(with_a_knee(0.2, 32), 30_000).limits
    assert sum(a != b for (_, a), (_, b) in itertools.pairwise(limits)) <= 24
    late = [limit for at, limit in limits if at >= limits[-1][0] / 2]
    assert max(set(late), key=late.count) * 1.6 >= max(late)
    assert late.count(max(set(late), key=late.count)) >= 0.85 * len(late)


def test_failures_beyond_a_number_make_it_step_back():
    def server(in_flight, dice, _):
        return (3.0, TIMEOUT) if in_flight > 60 else (0.2 * dice.uniform(0.9, 1.1), OK)

    ours = Job(server, 6000)
    assert ours.growth.limit <= 90
    assert ours.seconds <= 3.5 * 6000 * 0.2 / 60, "each try in vain costs some requests of 3 s"


@pytest.mark.parametrize(("before", "after"), [(200, 30), (30, 200)])
def test_a_server_that_changes_is_followed(before, after):
    server = changing(with_a_knee(0.2, before), with_a_knee(0.2, after), at=15)
    ours = Job(server, 15 * 5 * before + 60 * 5 * after)
    assert after / 1.5 <= ours.growth.limit <= 2.5 * after


def test_a_server_that_becomes_slower_is_asked_as_much_as_before():
    server = changing(steady(0.2, 0.2), steady(1.0, 0.2), at=10)
    ours = Job(server, 20_000)
    assert ours.growth.limit == LARGEST
    assert ours.seconds <= 1.3 * Job(server, 20_000, concurrency=LARGEST).seconds


def test_a_client_that_is_the_limit_itself_loses_nothing():
    ours = Job(steady(0.0001), 5000)
    assert ours.seconds <= 1.03 * Job(steady(0.0001), 5000, concurrency=FIRST).seconds


def test_few_in_flight_say_nothing():
    growth = Growth(0.0)
    for second in range(1000):
        growth.replied(1, OK, 0.2, float(second))
    assert growth.limit == FIRST


def test_without_an_answer_it_does_not_grow():
    growth = Growth(0.0)
    for second in range(1000):
        growth.replied(FIRST, Outcome.SERVER_ERROR, 0.2, float(second))
    assert growth.limit == FIRST


def test_refusals_say_nothing():
    growth = Growth(0.0)
    for second in range(1000):
        growth.replied(FIRST, Outcome.RATE_LIMITED, 0.2, float(second))
    assert growth.limit == FIRST


def test_a_frozen_clock_does_not_stop_the_growth():
    growth = Growth(0.0)
    for _ in range(1000):
        growth.replied(growth.limit, OK, 0.0, 0.0)
    assert growth.limit == LARGEST
