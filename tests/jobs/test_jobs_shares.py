"""What belongs to all parts of a job is divided among them: never more than all of it, and none of it lies idle."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from llm_executor_nb.jobs.shares import fair_share, rate_taken, slots_taken, usd_taken

SEEDS = range(40)


@dataclass
class Part:
    """A part of a job: what it has been given, and what the others know of that."""

    rows: int
    slots: int = 0
    rate: float = 0.0
    usd: float = 0.0
    spent: float = 0.0
    told_slots: int = 0
    told_rate: float = 0.0
    told_usd: float = 0.0
    is_poor: bool = False
    """It found no room for one request, and nobody can give it any."""


class Job:
    """Parts that meet in any order; what one gives back counts as held until its next meeting.

    Args:
        slots, rate, usd: what is divided.
        unit: what one request costs at most.
    """

    def __init__(self, *, slots: int = 16, rate: float = 10.0, usd: float = 1.0, unit: float = 0.001) -> None:
        self.slots, self.rate, self.usd, self.unit = slots, rate, usd, unit
        self.parts: list[Part] = []
        self.gone_usd = 0.0

    def join(self, rows: int) -> Part:
        part = Part(rows)
        self.parts.append(part)
        self.meet(part)
        return part

    def meet(self, part: Part) -> None:
        others = [other for other in self.parts if other is not part]
        slots = slots_taken(self.slots, part.rows, [(other.rows, other.told_slots) for other in others])
        senders = [other for other in others if other.rows]
        rate = rate_taken(self.rate, [other.told_rate for other in others], parts=1 + len(senders))
        held = self.gone_usd + sum(other.told_usd for other in others)
        requests = 4 * min(slots, part.rows)
        usd = usd_taken(self.usd, part.spent, self.unit, requests=requests, held=held, others=len(senders))
        part.told_slots, part.told_rate = max(slots, part.slots), max(rate, part.rate)
        part.told_usd = max(usd, part.usd)
        part.slots, part.rate, part.usd = slots, rate, usd
        unspent = sum(other.told_usd - other.spent for other in others)
        part.is_poor = usd - part.spent < self.unit and unspent <= 0
        self.check()

    def buy(self, part: Part) -> None:
        """Send as many requests as slots and dollars allow."""
        for _ in range(min(part.slots, part.rows)):
            if part.spent + self.unit > part.usd:
                return
            part.rows -= 1
            part.spent += self.unit

    def end(self, part: Part) -> None:
        self.parts.remove(part)
        self.gone_usd += part.spent

    def die(self, part: Part) -> None:
        """What it may have spent is not known any more."""
        self.parts.remove(part)
        self.gone_usd += part.told_usd

    def check(self) -> None:
        assert sum(part.told_slots for part in self.parts) <= self.slots
        assert all(part.slots <= part.told_slots for part in self.parts)
        assert sum(part.told_rate for part in self.parts) <= self.rate * (1 + 0.001 * len(self.parts)) + 1e-9
        assert self.gone_usd + sum(part.told_usd for part in self.parts) <= self.usd + 1e-9
        assert all(part.spent <= part.told_usd + 1e-9 for part in self.parts)

    def meet_all(self, times: int = 3) -> None:
        for _ in range(times):
            for part in self.parts:
                self.meet(part)


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_that_come_go_and_die_never_hold_more_than_there_is(seed):
    chance = random.Random(seed)
    job = Job(slots=chance.randint(1, 40), usd=chance.uniform(0.01, 2.0))
    for _ in range(400):
        part = chance.choice(job.parts) if job.parts else None
        move = chance.random()
        if part is None or (move < 0.1 and len(job.parts) < 12):
            job.join(chance.randint(1, 300))
        elif move < 0.13:
            job.die(part)
        elif move < 0.5:
            job.buy(part)
            job.check()
        elif not part.rows:
            job.end(part)
        else:
            job.meet(part)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_row_is_asked_however_few_slots_there_are(seed):
    chance = random.Random(seed)
    job = Job(slots=chance.randint(1, 5), usd=1_000.0)
    for _ in range(9):
        job.join(chance.randint(0, 40))
    for _ in range(1_000):
        for part in chance.sample(job.parts, len(job.parts)):
            job.buy(part)
            if part.rows:
                job.meet(part)
            else:
                job.end(part)
    assert not job.parts


@pytest.mark.parametrize("seed", SEEDS)
def test_a_budget_is_spent_but_for_what_no_request_fits_into(seed):
    chance = random.Random(seed)
    job = Job(slots=chance.randint(4, 40), usd=chance.uniform(0.01, 0.3), unit=0.001)
    for _ in range(chance.randint(1, 8)):
        job.join(10_000)
    for _ in range(3_000):
        part = chance.choice(job.parts)
        job.meet(part)
        job.buy(part)
    left = job.usd - sum(part.spent for part in job.parts)
    assert -1e-9 <= left < job.unit
    job.meet_all()
    assert all(part.is_poor for part in job.parts), "a part would wait for dollars for ever"


def test_a_part_that_comes_later_has_its_share_after_one_meeting_of_each_other():
    job = Job(slots=16, rate=10.0)
    first = job.join(1_000)
    assert (first.slots, first.rate) == (16, 10.0)
    second = job.join(1_000)
    assert second.slots == 0
    job.meet_all()
    assert (first.slots, second.slots) == (8, 8)
    assert (first.rate, second.rate) == (5.0, 5.0)


def test_what_a_part_does_not_need_the_others_have():
    job = Job(slots=16)
    few, many = job.join(3), job.join(1_000)
    job.meet_all()
    assert (few.slots, many.slots) == (3, 13)
    few.rows = 0
    job.end(few)
    job.meet_all()
    assert (many.slots, many.rate) == (16, 10.0)


def test_a_part_that_died_leaves_its_slots_at_once_and_its_dollars_never():
    job = Job(slots=16, usd=1.0)
    dying, other = job.join(1_000), job.join(1_000)
    job.meet_all()
    job.buy(dying)
    granted = dying.told_usd
    job.die(dying)
    job.meet_all()
    assert other.slots == 16
    assert job.gone_usd == granted > dying.spent


def test_more_parts_than_slots_wait_for_their_turn():
    job = Job(slots=2)
    parts = [job.join(5) for _ in range(3)]
    job.meet_all()
    assert sorted(part.slots for part in parts) == [0, 1, 1]


@pytest.mark.parametrize(
    ("wanted", "others", "share"), [(100, [100], 5), (2, [100], 2), (100, [2], 8), (100, [1, 1, 100], 4), (9, [], 9)]
)
def test_a_fair_share_is_no_more_than_what_is_wanted(wanted, others, share):
    assert fair_share(10, wanted, others) == share
