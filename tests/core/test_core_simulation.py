"""A job against providers that limit it, simulated: the real policy, learning, holds and rates, and no waiting.

Every rule is the package's own: `next_move` decides, `Learning` learns. Written here are only time (a queue of events),
the providers, and a job's concurrency limit.

What the rate must do: keep near a limit nobody told, with few refusals; not crawl when refusals have nothing to do
with speed. A request is on its way for 0.4 to 3 ms (median 1 ms), as measured over real HTTP to a server in a process
of its own; "stalls" are what a busy machine adds (3 of 100 requests late by 3 ms on average, 5 of 1,000 by 5 to 25 ms).

Three keys, 0.05 s, 3,000 rows (at 7/s 1,000), seeds 31 to 33, in % of the limits together; every refusal holds its key
for a second. "Best" is the best fixed rate of eleven, which no learner knows, and without a search:

    burst 1          untold   told     told, stalls   best        burst 20     untold    told
    50 + 7 + 200/s   51-55    56-63                               mix          79-88     97-100
    50/s             71-72    81-83    45-56          86          50/s         88-93     100
    7/s              81-82    95                                  7/s          104       100
    200/s            41-43    52-54    17-21          58          200/s        75-82     99

Without a time in the refusals (the key is held for 1 s all the same): within 3 points of these.

Two requests sent 5 ms apart arrive less than that apart half the time, and a burst of 1 refuses the second: at 200/s a
fixed rate of 95, 80, 70, 60 and 50 % gets 5, 17, 44, 58 and 49 % through, at 50/s one of 100, 95, 90, 87 and 80 % 8,
35, 84, 86 and 79 %. So a told rate that was refused keeps 3 ms more; before that rule it got 69-75 % at 50/s, 18-31 %
at 200/s. Nobody reaches 90 % there, or 70 % at 200/s, unless requests arrive as evenly as they were sent; a bare client
over real HTTP does not either (`tests/benchmarks/bound.py`).

How the rule was chosen: of 49 scenarios all goals were reached in 40 on the choosing seed, of some 19 rules. The rule
before (half the rate at each burst, 1 % a second) had 45 % at 50/s and 14 % at 200/s with a burst of 1, 82 and 57 %
with 20, and 3 to 26 % of what the forced holds leave when 5 % of requests are refused by chance; this one 48 to 99 %.

A first burst of refusals is taken for "too many at once" until a second one shows otherwise, which costs a held second:
servers that take 3, 6 or 12 requests at once are kept full that way (`tests/jobs/test_jobs_capacity.py`), and a job of
5 s at 200/s with a burst of 20 gets 57 % (75 % before).

Short of the goals (`SHORT` keeps them from getting worse): a burst of 1 at 200/s, or told, or with a latency of 0.5 s
and more; at 7/s with burst 20 up to 126 refusals of 350 rows, 82 allowed; 20 % by chance beside a true limit, 35 to
55 % of the bound. By chance, one short job says little (20 %, 400 rows, ten seeds: 28 to 67 % of its bound, 51 % on
average), so three are taken together.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from llm_executor_nb.core import traffic
from llm_executor_nb.core.holds import Health
from llm_executor_nb.core.learning import Learning
from llm_executor_nb.core.moves import Go, RunMemory, Wait, next_move
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import OPENROUTER, Allowance, Key, Route, Verdict
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.jobs.growth import Growth
from llm_executor_nb.jobs.slots import AHEAD

LATE_S = 0.0003
WAKING_S = 0.001
WAVE = 128
BEGIN = 1000.0
LONGEST_S = 600.0
CEILING_S = 30.0


@dataclass
class Limit:
    """What one key may ask: a token bucket, refusals by chance, or both."""

    per_s: float | None = None
    burst: int = 1
    chance: float = 0.0
    later: tuple[float, float] | None = None
    is_told: bool = False
    is_telling: bool = False
    seen: float = BEGIN
    left: float = field(init=False)
    dice: random.Random = field(default_factory=lambda: random.Random(7))

    def __post_init__(self):
        self.left = self.burst

    def wait_s(self, now):
        """Return 0 for a request that is let through, or the seconds until there is room."""
        if self.chance and self.dice.random() < self.chance:
            return 0.5
        if self.per_s is None:
            return 0.0
        per_s = self.later[1] if self.later and now >= BEGIN + self.later[0] else self.per_s
        self.left = min(self.burst, self.left + max(0.0, now - self.seen) * per_s)
        self.seen = now
        if self.left < 1 - 1e-9:
            return (1 - self.left) / per_s
        self.left -= 1
        return 0.0

    def allowance(self):
        """Return what an answer tells: what is left, and the seconds until all of it is there again."""
        return Allowance(remaining=int(self.left), reset_s=(self.burst - self.left) / self.per_s)


class NoRate:
    """Nothing but the holds."""

    per_s = told_per_s = None

    def __init__(self, told=None):
        pass

    def next_slot_at(self, now, _ahead=0):
        return now

    def sent(self, now):
        pass

    def pause(self):
        pass

    def answered(self, now, sent_at):
        pass

    refused = answered


@dataclass(eq=False)
class Row:
    memory: RunMemory
    learning: Learning
    is_sent: bool = False
    wait: Wait | None = None
    looks: int = 0


class Job:
    """A job's rows, each a run with its own memory, and the slots that they share, on a queue of events."""

    def __init__(self, limits, rows, *, latency_s=0.05, is_timed=True, slots=None, has_stalls=False, seed=11):
        self.health = Health()
        self.keys = {self._route(number, limit): limit for number, limit in enumerate(limits)}
        self.rows, self.latency_s, self.is_timed = rows, latency_s, is_timed
        self.growth = None if slots else Growth(BEGIN)
        self.slots = slots or self.growth.limit
        self.dice, self.has_stalls = random.Random(seed), has_stalls
        self.now = BEGIN
        self.events, self.ties = [], itertools.count()
        self.begun = self.under_way = self.taken = self.refused = 0
        self.for_a_slot, self.asleep = deque(), {}
        self.is_waking = False
        self.answers = []
        self.health.watch(self._changed)

    @staticmethod
    def _route(number, limit):
        rpm = limit.per_s * 60 if limit.is_told else None
        key = Key(backend=OPENROUTER, secret=Secret(f"sk-or-v1-fake-{number:04d}"), label=f"key {number}", rpm=rpm)
        return Route(backend=OPENROUTER, key=key, provider=None, model="m", request_model="m", tier=1)

    def run(self):
        self._at(self.now, self._feed)
        while self.events and len(self.answers) < self.rows:
            time, _, act, args = heapq.heappop(self.events)
            if time > BEGIN + LONGEST_S:
                break
            self.now = max(self.now, time)
            act(*args)
        return self

    def rate(self, since=0.0):
        """Return the answers per second from `since` on."""
        counted = [answer for answer in self.answers if answer >= since]
        return len(counted) / (counted[-1] - since) if len(counted) > 1 else 0.0

    def _at(self, time, act, *args):
        heapq.heappush(self.events, (time, next(self.ties), act, args))

    def _feed(self):
        has_room = self.taken + len(self.for_a_slot) < self.slots and self.under_way < 2 * self.slots
        has_room = has_room and sum(not row.is_sent for row in self.asleep) < AHEAD
        if self.begun < self.rows and has_room:
            self.begun += 1
            self.under_way += 1
            tier = tuple((route,) for route in self.keys)
            self._step(self._row(RunMemory(tiers=(tier,), is_by_hand=False, ceiling_s=CEILING_S)))
            self._at(self.now, self._feed)

    def _row(self, memory):
        left = lambda: self.rows - len(self.answers)  # noqa: E731 - what the rows share
        return Row(memory, Learning(memory, self.health, make_backoff=None, retries=3, rows_left=left))

    # --- one row ------------------------------------------------------------------------------------------------

    def _step(self, row):
        row.looks += 1
        if row.wait is not None:
            row.learning.end_wait(row.wait, self.now)
        move = next_move(row.memory, self.health, self.now)
        row.wait = move if isinstance(move, Wait) else None
        if row.wait is not None:
            row.learning.begin_wait(row.wait)
            self.asleep[row] = None
            self._at(max(self.now, move.until) + self.dice.random() * LATE_S, self._wake, row, row.looks)
            return
        assert isinstance(move, Go)
        if self.taken < self.slots and not self.for_a_slot:
            self.taken += 1
            self._go(row)
        else:
            self.for_a_slot.append(row)

    def _wake(self, row, looks):
        if row.looks == looks and row in self.asleep:
            del self.asleep[row]
            self._step(row)

    def _changed(self):
        if not self.is_waking:
            self.is_waking = True
            self._at(self.now + WAKING_S, self._wake_all)

    def _wake_all(self):
        self.is_waking = False
        asleep, self.asleep = self.asleep, {}
        for row in asleep:
            self._step(row)

    def _go(self, row):
        row.memory.reorder()
        move = next_move(row.memory, self.health, self.now)
        if not isinstance(move, Go):
            self._release()
            self._step(row)
            return
        row.is_sent = True
        self._at(self.now, self._feed)
        probe = row.learning.begin(move, self.now)
        sent = row.learning.sent(move.route, self.now)
        self._at(self.now + self._on_the_way_s(), self._arrive, row, move, probe, sent)

    def _on_the_way_s(self):
        """Return the seconds a request takes; with stalls, as measured on a busy machine over real HTTP."""
        seconds = 0.0004 + self.dice.gammavariate(2, 0.00033)
        chance = self.dice.random() if self.has_stalls else 1.0
        if chance < 0.03:
            return seconds + self.dice.expovariate(1 / 0.003)
        return seconds + (0.005 + self.dice.random() * 0.02 if chance < 0.035 else 0.0)

    def _arrive(self, row, move, probe, sent):
        limit = self.keys[move.route]
        wait_s = limit.wait_s(self.now)
        allowance = limit.allowance() if limit.is_telling else None
        latency_s = self.latency_s * (0.95 + 0.1 * self.dice.random())
        self._at(self.now + latency_s, self._reply, row, move, probe, sent, (wait_s, allowance))

    def _reply(self, row, move, probe, sent, reply):
        now, (wait_s, allowance) = self.now, reply
        self.health.returned(move.route)
        seconds = max(1, math.ceil(wait_s)) if wait_s and self.is_timed else None
        outcome = Outcome.RATE_LIMITED if wait_s else Outcome.OK
        reach = ScopeLevel.KEY if wait_s else None
        verdict = Verdict(outcome=outcome, reach=reach, retry_after_s=seconds, allowance=allowance)
        row.learning.learn(move, probe, verdict, sent, now)
        if self.growth is not None:
            self.growth.replied(self.taken, outcome, now - sent.at, now)
            self.slots = self.growth.limit
        if not wait_s:
            row.learning.end()
            self.answers.append(now - BEGIN)
            self.under_way -= 1
            self._release()
            return
        self.refused += 1
        self._release()
        self._step(row)

    def _release(self):
        self.taken -= 1
        while self.taken < self.slots and self.for_a_slot:
            self.taken += 1
            self._at(self.now, self._go, self.for_a_slot.popleft())
        self._at(self.now, self._feed)


def keys(*rates, **options):
    return lambda seed=7: [Limit(per_s, dice=random.Random(10 * seed + n), **options) for n, per_s in enumerate(rates)]


def assert_goals(job, allowed, at_least, *, most_refused=None):
    assert len(job.answers) == job.rows
    assert job.rate() >= at_least * allowed
    assert job.refused <= (0.05 * job.rows + WAVE if most_refused is None else most_refused)


LIMITS = [
    ("20/min, burst 20", keys(1 / 3, 1 / 3, burst=20), 60, {}, 0.7),
    ("50/s, burst 1", keys(50, 50), 2000, {}, 0.7),
    ("50/s, burst 20, no time named", keys(50, 50, burst=20), 2000, {"is_timed": False}, 0.7),
    ("200/s, as many at once", keys(200, 200, burst=200), 2000, {}, 0.7),
    ("20/s, burst 20, half a second", keys(20, 20, burst=20), 1200, {"latency_s": 0.5}, 0.7),
    ("7/s, burst 20, two seconds", keys(7, 7, burst=20), 400, {"latency_s": 2.0}, 0.7),
    ("three keys of 50/s, burst 20", keys(50, 50, 50, burst=20), 2000, {}, 0.7),
    ("three keys of 50/s, burst 1", keys(50, 50, 50), 3000, {}, 0.7),
    ("three keys of 7/s, burst 20, told", keys(7, 7, 7, burst=20, is_told=True), 800, {}, 0.9),
    ("three keys, burst 20", keys(50, 7, 200, burst=20), 2400, {}, 0.7),
    ("three keys, burst 20, told", keys(50, 7, 200, burst=20, is_told=True), 1500, {}, 0.9),
]


@pytest.mark.parametrize(("limits", "rows", "options", "at_least"), [c[1:] for c in LIMITS], ids=[c[0] for c in LIMITS])
def test_a_limit_is_nearly_used_up_and_seldom_met(limits, rows, options, at_least):
    job = Job(limits(), rows, **options).run()
    assert_goals(job, sum(limit.per_s for limit in limits()), at_least)


SHORT = [
    ("7/s, as many at once", keys(7, 7, burst=7), 350, {}, 0.7, 100),
    ("three keys of 200/s, burst 20", keys(200, 200, 200, burst=20), 3000, {}, 0.5, None),
    ("7/s, burst 1", keys(7, 7), 350, {}, 0.6, None),
    ("7/s, burst 20", keys(7, 7, burst=20), 350, {}, 0.7, 150),
    ("200/s, burst 1", keys(200, 200), 1500, {}, 0.35, None),
    ("50/s, burst 1, told", keys(50, is_told=True), 1200, {}, 0.75, None),
    ("7/s, burst 1, two seconds", keys(7, 7), 300, {"latency_s": 2.0}, 0.33, None),
    ("three keys, burst 1", keys(50, 7, 200), 3000, {}, 0.45, None),
    ("three keys, burst 1, told", keys(50, 7, 200, is_told=True), 3000, {}, 0.53, None),
    ("50/s, burst 1, stalls", keys(50, 50, 50), 2000, {"has_stalls": True}, 0.42, 45),
    ("50/s, burst 1, told, stalls", keys(50, 50, 50, is_told=True), 2000, {"has_stalls": True}, 0.42, 45),
]


@pytest.mark.parametrize(
    ("limits", "rows", "options", "at_least", "most_refused"), [c[1:] for c in SHORT], ids=[c[0] for c in SHORT]
)
def test_where_the_goals_are_not_reached_it_does_not_get_worse(limits, rows, options, at_least, most_refused):
    """The goals are 70 % (told: 90 %) and refusals of 5 % and a wave; see the table above."""
    job = Job(limits(), rows, **options).run()
    assert_goals(job, sum(limit.per_s for limit in limits()), at_least, most_refused=most_refused)


CHANCE = [
    ("1 %", keys(None, None, chance=0.01), 500, {}, 0.5),
    ("5 %", keys(None, None, chance=0.05), 300, {}, 0.5),
    ("5 %, two seconds", keys(None, None, chance=0.05), 300, {"latency_s": 2.0}, 0.5),
    ("20 %", keys(None, None, chance=0.2), 300, {}, 0.35),
    ("20 %, half a second", keys(None, None, chance=0.2), 300, {"latency_s": 0.5}, 0.33),
    ("5 %, two at once", keys(None, chance=0.05), 100, {"slots": 2}, 0.5),
    ("5 % and 50/s", keys(50, 50, burst=20, chance=0.05), 200, {}, 0.35),
]


@pytest.mark.parametrize(("limits", "rows", "options", "at_least"), [c[1:] for c in CHANCE], ids=[c[0] for c in CHANCE])
def test_refusals_that_are_not_about_speed_cost_little_more_than_their_holds(
    limits, rows, options, at_least, monkeypatch
):
    def seconds():
        jobs = [Job(limits(seed), rows, seed=seed, **options).run() for seed in (1, 2, 3)]
        assert all(len(job.answers) == rows for job in jobs)
        return sum(job.answers[-1] for job in jobs)

    took = seconds()
    monkeypatch.setattr(traffic, "AdaptiveRate", NoRate)
    assert seconds() >= at_least * took


@pytest.mark.parametrize("burst", [1, 20])
@pytest.mark.parametrize(("before", "after", "within_s"), [(50, 12.5, 10), (12.5, 50, 30)])
def test_a_limit_that_changes_is_found_again(before, after, within_s, burst):
    rows = int(20 * before + (within_s + 10) * after)
    job = Job([Limit(before, burst=burst, later=(20.0, after))], rows).run()
    assert_goals(job, 0.0, 0.0)
    assert job.rate(since=20.0 + within_s) >= 0.65 * after
