"""A column that sets no concurrency: requests in flight follow its growth, and the live view says how many and why."""

from __future__ import annotations

import time
import warnings

import pandas as pd
import pytest
from rehearsing import fresh
from simulating import Practice, run_column

import llm_executor_nb as llm
from llm_executor_nb.core.capacity import Capacity
from llm_executor_nb.core.outcomes import Outcome

LONGEST_S = 20.0


@pytest.fixture(autouse=True)
def _settings():
    with fresh(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _prompts(rows):
    return [f"row {row}" for row in range(rows)]


class Counting(Practice):
    """A provider that remembers how many requests were in flight at each."""

    async def whole(self, ask, route, *, timeout_s):
        self.inside = [*getattr(self, "inside", []), self.in_flight + 1]
        return await super().whole(ask, route, timeout_s=timeout_s)


def test_more_are_in_flight_where_more_bring_more(monkeypatch):
    own = Counting(answers_in=lambda _: 1.0)
    came = run_column(monkeypatch, {"own": own}, _prompts(380))
    assert came.counts == {"ok": 380}
    assert own.inside[:9] == [1, 2, 3, 4, 5, 6, 7, 8, own.inside[8]]
    assert max(own.inside) > 100
    assert came.seconds <= 8


def test_no_more_are_in_flight_where_more_bring_no_more(monkeypatch):
    own = Counting()
    own.answers_in = lambda dice: 0.2 * max(1, own.in_flight / 32) * dice.uniform(0.95, 1.05)
    came = run_column(monkeypatch, {"own": own}, _prompts(600))
    assert came.counts == {"ok": 600}
    assert max(own.inside) <= 64
    assert came.seconds <= 600 * 0.2 / 32 / 0.8, "a fifth is the start from 8, and the last row"


@pytest.mark.parametrize("busy", [Outcome.OVERLOADED, Outcome.RATE_LIMITED])
def test_a_server_that_refuses_above_a_number_seldom_has_to(busy, monkeypatch):
    own = Practice(answers_in=lambda dice: dice.uniform(0.9, 1.1), at_once=20, busy=busy)
    came = run_column(monkeypatch, {"own": own}, _prompts(400))
    assert came.counts == {"ok": 400}
    begin = own.requests[0][0]
    late = [prompt for at, _, prompt in own.requests if at > begin + 5]
    assert len(late) <= 1.03 * len(set(late))


def test_the_users_own_number_is_left_alone(monkeypatch):
    own = Counting(answers_in=lambda _: 1.0)
    assert run_column(monkeypatch, {"own": own}, _prompts(60), concurrency=5).counts == {"ok": 60}
    assert max(own.inside) == 5


@pytest.mark.parametrize(
    ("concurrency", "says"), [(None, "8 in flight: growing while more bring more answers"), (3, "")]
)
def test_the_live_view_says_how_many_are_in_flight_and_why(concurrency, says):
    with llm.rehearse("*: latency=60") as server:
        job = pd.DataFrame({"q": _prompts(20)}).llm.start("gemma", "q", concurrency=concurrency, progress=False)
        until = time.monotonic() + LONGEST_S
        while server.in_flight_peak < (concurrency or 8) and time.monotonic() < until:
            time.sleep(0.01)
        now = job.snapshot()
        job.stop()
        then = job.snapshot()
    assert now.in_flight == says
    assert says in now.line()
    assert says in now.text()
    assert then.in_flight == ""


# --- a bound ends step by step ------------------------------------------------------------------------------------


def _used_up(capacity, now):
    for _ in range(capacity.limit):
        capacity.answered(capacity.limit, now)


def test_a_bound_that_is_not_met_again_rises_faster_each_time_and_ends():
    capacity, bounds = Capacity(), []
    capacity.refused(8, 0.0)
    while capacity.limit is not None:
        bounds.append(capacity.limit)
        _used_up(capacity, 100.0)
    assert bounds == [7, 8, 10, 14, 22, 38, 70, 134, 262]


@pytest.mark.parametrize("most", [6, 40, 100, 300])
def test_a_real_bound_is_never_rushed(most):
    """For 10 minutes, at a server that refuses above it and answers in 0.2 s; all that have room are sent."""
    capacity, refused = Capacity(), 0
    capacity.refused(most + 1, 0.0)
    for now in (0.2 * turn for turn in range(1, 3000)):
        over = [in_flight + 1 for in_flight in range(most, 3 * most) if capacity.has_room(in_flight)]
        for in_flight in over:
            capacity.refused(in_flight, now)
        for _ in range(0 if over else most):
            capacity.answered(most, now)
        refused += len(over)
    assert refused <= 25
