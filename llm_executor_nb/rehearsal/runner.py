"""Which fault meets which request: the counts, draws and rates of one rehearsal's script.

Used by the server's own thread only. Draws are a function of seed, rule, effect and the request's number, so that a
rehearsal can be repeated. Rates run on the clock in force, so that they agree with a client whose time is scaled or
frozen; latency is the server's and passes in real seconds.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.rehearsal.catalogue import AT_ONCE, CHOKES, CONDITIONS, LATENCY, PACE, RATE, entry_of
from llm_executor_nb.rehearsal.entry import AS_429, TELLS, UNTIMED, read_rate
from llm_executor_nb.rehearsal.faults_status import plain_refusal
from llm_executor_nb.rehearsal.replies import (
    answer,
    left_headers,
    stage_refusal,
    too_many,
    too_many_at_once,
    too_many_untimed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect
    from llm_executor_nb.rehearsal.script import Script

_Place = tuple[int, int]
"""Where an effect stands: number of its rule, number in the rule."""


class Bucket:
    """What one key may still ask: filled steadily, emptied by one for each request that is let through."""

    def __init__(self, per_s: float, size: int) -> None:
        self._per_s = per_s
        self.size = size
        self._left = float(size)
        self._seen_s = clock.current().now()

    def wait_s(self) -> float:
        """Take one request out and return 0, or return the seconds until there is room for one."""
        now = clock.current().now()
        self._left = min(self.size, self._left + max(0.0, now - self._seen_s) * self._per_s)
        self._seen_s = now
        if self._left < 1 - 1e-9:
            return (1 - self._left) / self._per_s
        self._left -= 1
        return 0.0

    def tell(self) -> tuple[float, float]:
        """Return how many requests are left, and the seconds until it is full, as of the last request."""
        return self._left, (self.size - self._left) / self._per_s


@dataclass(frozen=True, slots=True)
class _Turn:
    """An effect that may meet the request in hand."""

    place: _Place
    number: int
    effect: Effect


class ScriptRunner:
    """A script being played: tells for each request how long it waits and what it gets."""

    def __init__(self, script: Script, *, seed: int = 0) -> None:
        self._script = script
        self._seed = seed
        self._met: Counter[int] = Counter()
        self._applied: Counter[_Place] = Counter()
        self._buckets: dict[tuple[_Place, str, int], Bucket] = {}
        self._inside: defaultdict[tuple[_Place, str], set[int]] = defaultdict(set)
        self._conditions = {RATE: self._limit, AT_ONCE: self._admit, CHOKES: self._choke}

    def stage(self, asked: ChatRequest) -> tuple[float, Response]:
        """Return the seconds of latency a request has, and the reply it gets; `leave` tells when it has got it."""
        turns = list(self._turns(asked))
        latency_s, pace_s = self._sum(LATENCY, turns), self._sum(PACE, turns)
        applied = (self._apply(turn, asked) for turn in turns)
        staged = next((staged for staged in applied if staged is not None), None)
        if staged is None:
            staged = answer(asked)
            staged = replace(staged, headers={**staged.headers, **self._told_of_rates(turns, asked)})
        if staged.fault == AT_ONCE:
            latency_s = 0.0
        return latency_s, replace(staged, pace_s=pace_s) if pace_s else staged

    def leave(self, asked: ChatRequest) -> None:
        """Free the places that a request took where only so many are taken at once."""
        for inside in self._inside.values():
            inside.discard(id(asked))

    def upcoming(self, asked: ChatRequest) -> Effect | None:
        """Return what would decide about this key's, or this provider's, next request; counts nothing.

        Rules that speak of a provider count only when one was asked, and then only they do.
        """
        for rule_number, rule in enumerate(self._script.rules):
            if rule.target.provider != asked.provider or not rule.target.is_met_by(asked):
                continue
            for effect_number, effect in enumerate(rule.effects):
                turn = _Turn((rule_number, effect_number), self._met[rule_number] + 1, effect)
                if effect.fault not in CONDITIONS and self._may_apply(turn):
                    return effect
        return None

    def _turns(self, asked: ChatRequest) -> Iterator[_Turn]:
        """Count the request in every rule that speaks of it, and yield the effects in their order."""
        for rule_number, rule in enumerate(self._script.rules):
            if rule.target.is_met_by(asked):
                self._met[rule_number] += 1
                for effect_number, effect in enumerate(rule.effects):
                    yield _Turn((rule_number, effect_number), self._met[rule_number], effect)

    def _sum(self, condition: str, turns: list[_Turn]) -> float:
        """Return the seconds of all effects of a condition that are due."""
        told = [turn for turn in turns if turn.effect.fault == condition]
        return sum(float(turn.effect.value or 0) for turn in told if self._is_due(turn))

    def _apply(self, turn: _Turn, asked: ChatRequest) -> Response | None:
        effect = turn.effect
        entry = entry_of(effect.fault)
        if entry is None or not entry.can_meet(asked) or effect.fault in {LATENCY, PACE} or not self._may_apply(turn):
            return None
        staged = self._conditions[effect.fault](turn, asked) if entry.stage is None else entry.stage(asked, effect)
        self._applied[turn.place] += staged is not None
        return staged

    def _is_due(self, turn: _Turn) -> bool:
        due = self._may_apply(turn)
        self._applied[turn.place] += due
        return due

    def _may_apply(self, turn: _Turn) -> bool:
        effect = turn.effect
        return (
            effect.first <= turn.number
            and (effect.last is None or turn.number <= effect.last)
            and (effect.times is None or self._applied[turn.place] < effect.times)
            and (effect.share is None or self._draw(turn) * 100 < effect.share)
        )

    def _draw(self, turn: _Turn) -> float:
        """Return a number from 0 to 1 that belongs to this seed, effect and request number."""
        told = f"{self._seed}:{turn.place}:{turn.number}".encode()
        return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest()) / 2**64

    def _limit(self, turn: _Turn, asked: ChatRequest) -> Response | None:
        count, unit_s = read_rate(turn.effect.value or "")
        size = int(turn.effect.option("burst") or math.ceil(count))
        key = (turn.place, asked.backend, asked.key_number)
        bucket = self._buckets.get(key) or self._buckets.setdefault(key, Bucket(count / unit_s, size))
        wait_s = bucket.wait_s()
        if not wait_s:
            return None
        if turn.effect.option(UNTIMED) is not None:
            return too_many_untimed(asked, turn.effect)
        return too_many(asked, turn.effect, wait_s, limit=size, epoch_s=clock.current().utc().timestamp())

    def _admit(self, turn: _Turn, asked: ChatRequest) -> Response | None:
        inside = self._inside[turn.place, asked.backend]
        if len(inside) >= int(turn.effect.value or 0):
            return too_many_at_once(asked, turn.effect, 503 if turn.effect.option(AS_429) is None else 429)
        inside.add(id(asked))
        return None

    def _choke(self, turn: _Turn, asked: ChatRequest) -> Response | None:
        is_choking = (turn.effect.value or "") in asked.last_text
        return stage_refusal(asked, turn.effect, plain_refusal(asked, 500)) if is_choking else None

    def _told_of_rates(self, turns: list[_Turn], asked: ChatRequest) -> dict[str, str]:
        """Return the headers of an answer that tell what the rates that let it through have left for its key."""
        told: dict[str, str] = {}
        for turn in turns:
            bucket = self._buckets.get((turn.place, asked.backend, asked.key_number))
            if bucket is not None and turn.effect.option(TELLS) is not None:
                left, full_s = bucket.tell()
                epoch_s = clock.current().utc().timestamp()
                told |= left_headers(asked, left, full_s, limit=bucket.size, epoch_s=epoch_s)
        return told
