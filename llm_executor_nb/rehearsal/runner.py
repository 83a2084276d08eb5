"""Which fault meets which request: the counts, draws and rates of one rehearsal's script.

Used by the server's own thread only. Draws are a function of seed, rule, effect and the request's number, so that a
rehearsal can be repeated. Rates use the clock in force, so that they agree with a client whose time is scaled or
frozen; latency is the server's and passes in real seconds.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.rehearsal.catalogue import (
    AT_ONCE,
    CHOKES,
    CONDITIONS,
    EXPIRES,
    KNEE,
    LATENCY,
    PACE,
    RATE,
    find_fault,
)
from llm_executor_nb.rehearsal.faults import status_error
from llm_executor_nb.rehearsal.replies import answer, error_of, limit_headers, refuse, refuse_rate
from llm_executor_nb.rehearsal.rules import AS_429, SHOWS_LIMIT, UNTIMED, Effect, read_latency, read_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import FaultSpec, Target
    from llm_executor_nb.rehearsal.script import Script

_Place = tuple[int, int]
"""The place of an effect: number of its rule, number in the rule."""
_SERVER_IS_FULL = "server busy, please try again.  maximum pending requests exceeded"
"""The words of Ollama."""


class _TokenBucket:
    """What one key may still send: filled steadily, emptied by one for each request that is let through."""

    def __init__(self, per_s: float, size: int) -> None:
        self._per_s = per_s
        self.size = size
        self.left = float(size)
        self._updated_s = clock.current().now()

    def wait_s(self) -> float:
        """Take one request out and return 0, or return the seconds until there is room for one."""
        now = clock.current().now()
        self.left = min(self.size, self.left + max(0.0, now - self._updated_s) * self._per_s)
        self._updated_s = now
        if self.left < 1 - 1e-9:  # many small refills do not add up to 1 exactly
            return (1 - self.left) / self._per_s
        self.left -= 1
        return 0.0

    @property
    def full_s(self) -> float:
        """Seconds until it is full, as of the last request."""
        return (self.size - self.left) / self._per_s


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An effect that may meet the current request, which is its rule's request `number`."""

    place: _Place
    number: int
    effect: Effect


class ScriptRunner:
    """Runs a script: says of each request how long it waits and which reply it gets.

    Args:
        script: the rules.
        seed: what draws depend on.
        latency_s: seconds every reply takes, before what the script adds.
    """

    def __init__(self, script: Script, *, seed: int = 0, latency_s: float = 0.0) -> None:
        self.latency_s = latency_s
        self._script = script
        self._seed = seed
        self._requests: Counter[int] = Counter()
        self._applied: Counter[_Place] = Counter()
        self._buckets: dict[tuple[_Place, str, int], _TokenBucket] = {}
        self._inside: defaultdict[tuple[_Place, str], set[int]] = defaultdict(set)
        self._conditions = {RATE: self._limit_rate, AT_ONCE: self._limit_inside, CHOKES: self._choke}

    def respond(self, request: ChatRequest) -> tuple[float, Response]:
        """Return the latency of a request in seconds, and its reply. Call `leave` when the reply is sent."""
        candidates = list(self._candidates(request))
        latency_s = (self.latency_s + self._sum(LATENCY, candidates)) * self._slowness(candidates, request)
        pace_s = self._sum(PACE, candidates)
        replies = (self._apply(candidate, request) for candidate in candidates)
        response = next((reply for reply in replies if reply is not None), None)
        if response is None:
            response = _refuse_by_preferences(request) or answer(request)
            response = replace(response, headers={**response.headers, **self._rate_headers(candidates, request)})
        if response.fault == AT_ONCE:  # a full server does not make its clients wait
            latency_s = 0.0
        return latency_s, replace(response, pace_s=pace_s) if pace_s else response

    def leave(self, request: ChatRequest) -> None:
        """Free the places of a request under `at-once` and `knee`."""
        for inside in self._inside.values():
            inside.discard(id(request))

    def upcoming(self, request: ChatRequest) -> tuple[Effect, FaultSpec] | None:
        """Return the effect that the next request of this key or provider would meet, and its fault; counts nothing.

        With a provider in the request, only rules about a provider count; without one, only the others do.
        """
        for target, candidate in self._next(request):
            fault = find_fault(candidate.effect.fault)
            # a condition says nothing about the state of a key
            is_state = target.provider == request.provider and candidate.effect.fault not in CONDITIONS
            if is_state and fault is not None and fault.can_meet(request) and self._may_apply(candidate):
                return candidate.effect, fault
        return None

    def told(self, condition: str, request: ChatRequest) -> float:
        """Return the sum of a condition that the next request like this one would meet; counts nothing."""
        upcoming = (one for _, one in self._next(request) if one.effect.fault == condition and self._may_apply(one))
        return sum(read_latency(one.effect.value or "0", lambda: 0.5) for one in upcoming)  # 0.5 draws the median

    def _next(self, request: ChatRequest) -> Iterator[tuple[Target, _Candidate]]:
        """Yield the effects of every rule that the next request like this one is about, with the rule's target."""
        for rule_number, rule in enumerate(self._script.rules):
            if rule.target.matches(request):
                for effect_number, effect in enumerate(rule.effects):
                    number = self._requests[rule_number] + 1
                    yield rule.target, _Candidate((rule_number, effect_number), number, effect)

    def _candidates(self, request: ChatRequest) -> Iterator[_Candidate]:
        """Count the request in every rule that is about it, and yield the effects in their order."""
        for rule_number, rule in enumerate(self._script.rules):
            if rule.target.matches(request):
                self._requests[rule_number] += 1
                for effect_number, effect in enumerate(rule.effects):
                    yield _Candidate((rule_number, effect_number), self._requests[rule_number], effect)

    def _sum(self, condition: str, candidates: list[_Candidate]) -> float:
        """Return the seconds of all effects of a condition that apply, and count them."""
        seconds = 0.0
        for candidate in candidates:
            if candidate.effect.fault == condition and self._may_apply(candidate):
                self._applied[candidate.place] += 1
                seconds += read_latency(candidate.effect.value or "0", partial(self._draw, candidate, "seconds"))
        return seconds

    def _slowness(self, candidates: list[_Candidate], request: ChatRequest) -> float:
        """Return by what the latency is multiplied because so many requests are in the backend."""
        slowness = 1.0
        for candidate in candidates:
            if candidate.effect.fault == KNEE and self._may_apply(candidate):
                inside = self._inside[candidate.place, request.backend]
                inside.add(id(request))
                self._applied[candidate.place] += 1
                slowness = max(slowness, len(inside) / int(candidate.effect.value or 1))
        return slowness

    def _apply(self, candidate: _Candidate, request: ChatRequest) -> Response | None:
        effect = candidate.effect
        fault = find_fault(effect.fault)
        if fault is None or not fault.can_meet(request) or effect.fault in {LATENCY, PACE, KNEE, EXPIRES}:
            return None
        if not self._may_apply(candidate):
            return None
        condition = self._conditions.get(effect.fault)
        response = condition(candidate, request) if condition else fault.respond and fault.respond(request, effect)
        self._applied[candidate.place] += response is not None
        return response

    def _may_apply(self, candidate: _Candidate) -> bool:
        effect = candidate.effect
        return (
            effect.first <= candidate.number
            and (effect.last is None or candidate.number <= effect.last)
            and (effect.times is None or self._applied[candidate.place] < effect.times)
            and (effect.share is None or self._draw(candidate) * 100 < effect.share)
        )

    def _draw(self, candidate: _Candidate, what: str = "") -> float:
        """Return a number between 0 and 1 of this seed, effect and request number, and of what it is for."""
        text = f"{self._seed}:{candidate.place}:{candidate.number}{what}".encode()
        drawn = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
        return ((drawn >> 12) + 0.5) / 2**52  # never 0 or 1, for which a lognormal latency would have no value

    def _limit_rate(self, candidate: _Candidate, request: ChatRequest) -> Response | None:
        effect = candidate.effect
        count, unit_s = read_rate(effect.value or "")
        size = int(effect.option("burst") or math.ceil(count))
        key = (candidate.place, request.backend, request.key_number)  # real limits are per key
        bucket = self._buckets.get(key) or self._buckets.setdefault(key, _TokenBucket(count / unit_s, size))
        wait_s = bucket.wait_s()
        if not wait_s:
            return None
        if effect.option(UNTIMED) is not None:
            return refuse(request, effect, 429, error_of(request, 429))
        return refuse_rate(request, effect, wait_s, limit=size, epoch_s=clock.current().utc().timestamp())

    def _limit_inside(self, candidate: _Candidate, request: ChatRequest) -> Response | None:
        effect = candidate.effect
        inside = self._inside[candidate.place, request.backend]
        if len(inside) >= int(effect.value or 0):
            status = 503 if effect.option(AS_429) is None else 429
            return refuse(request, effect, status, error_of(request, status, _SERVER_IS_FULL))
        inside.add(id(request))
        return None

    def _choke(self, candidate: _Candidate, request: ChatRequest) -> Response | None:
        if (candidate.effect.value or "") not in request.last_text:
            return None
        return refuse(request, candidate.effect, 500, status_error(request, 500))

    def _rate_headers(self, candidates: list[_Candidate], request: ChatRequest) -> dict[str, str]:
        """Return the headers of an answer that say what is left of the rates that let it through."""
        headers: dict[str, str] = {}
        epoch_s = clock.current().utc().timestamp()
        for candidate in candidates:
            bucket = self._buckets.get((candidate.place, request.backend, request.key_number))
            if bucket is not None and candidate.effect.option(SHOWS_LIMIT) is not None:
                headers |= limit_headers(request, bucket.left, bucket.full_s, limit=bucket.size, epoch_s=epoch_s)
        return headers


def _refuse_by_preferences(request: ChatRequest) -> Response | None:
    """Return the refusal that a request meets whose preferences leave no provider; None: one is left."""
    fault = find_fault(request.barred_by) if request.barred_by else None
    return fault.respond(request, Effect(fault=request.barred_by or "")) if fault and fault.respond else None
