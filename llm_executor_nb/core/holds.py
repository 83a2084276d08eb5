"""Holds: the only memory across calls and rows. Who is not to be asked, until when, and why.

Pure: the time comes in as an argument, nothing waits here. One `Health` serves every run of a configuration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum, auto
from typing import TYPE_CHECKING

from llm_executor_nb.core.evidence import Evidence
from llm_executor_nb.core.needs import NO_NEEDS
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llm_executor_nb.core.records import Route, Scope

STREAK_S = 5.0
UNTIMED_LIMIT_S = 1.0
LONGEST_S = 60.0
SHORTEST_TOLD_S, GROWN_TOLD_S = 0.05, 5.0
FORGET_S = 60.0
CONDEMNED_KEY_S = 600.0
PROBE_PAUSE_S = 10.0


class HoldKind(StrEnum):
    """Why a hold is: a verdict that stands, a time the provider named, or a streak of failures."""

    CONDEMNED = auto()
    TOLD = auto()
    STREAK = auto()


class RouteStatus(StrEnum):
    """How a route stands for one that would ask it now."""

    FREE = auto()
    DUE = auto()
    PROBING = auto()
    HELD = auto()


class Support(IntEnum):
    """What is known of a place and something we add to requests; the stronger evidence stays.

    MISSED: a request failed without a word, and was answered without it. TAKEN: one with it was answered.
    REFUSED: it was refused in words, or ignored.
    """

    MISSED = 1
    TAKEN = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One scope that is not to be asked.

    Attributes:
        scope: what is held.
        kind: which of the three kinds.
        since, until: seconds of the clock; `until` is infinite when only a change ends it.
        unbroken_since: when it was first set; failed probes set it anew from then on.
        why: the outcome that set it.
        message: the provider's words, scrubbed.
        strikes: how often it was set again by a failed probe or a new streak.
        probed_at: when a probe was last sent; None: never.
        is_probing: a probe is in flight.
        is_lifted: a probe's reply ended it; it is remembered for its strikes.
    """

    scope: Scope
    kind: HoldKind
    since: float
    until: float
    why: Outcome
    message: str = ""
    unbroken_since: float | None = None
    strikes: int = 0
    probed_at: float | None = None
    is_probing: bool = False
    is_lifted: bool = False

    @property
    def length_s(self) -> float:
        """Seconds it was set for."""
        return self.until - self.since

    @property
    def unbroken_s(self) -> float:
        """Seconds from when it was first set to its end, if failed probes have set it anew from then on."""
        return self.until - (self.since if self.unbroken_since is None else self.unbroken_since)

    def is_active(self, now: float) -> bool:
        """Say whether it still runs."""
        return not self.is_lifted and now < self.until

    def is_forgotten(self, now: float) -> bool:
        """Say whether it ended so long ago that it counts no more."""
        return not self.is_probing and now - self.until > FORGET_S


class Health:
    """All holds and streaks of one configuration.

    Attributes:
        traffic: what is in flight, the pace of each key, and what each route bears at once.
        evidence: what answers and failures so far say of whose fault a failure is.
        changes: how often the holds have changed; tells a waiter that it missed one.
        extras: who takes what we add to a request, and who does not; no hold, for it can be left out.
        on_hold: called with each hold that is set.
    """

    def __init__(self) -> None:
        self._holds: dict[Scope, Hold] = {}
        self.traffic = Traffic()
        self.evidence = Evidence()
        self._watchers: dict[Callable[[], object], None] = {}  # in the order in which they came
        self.changes = 0
        self.extras: dict[tuple[Scope, str], Support] = {}
        self.on_hold: Callable[[Hold], None] = _ignore

    def forget_flights(self) -> None:
        """In a forked child: drop what only the parent will see the end of, its requests and probes."""
        self.traffic.forget()
        self._watchers.clear()
        self.end_probe(tuple(self._holds), 0.0, is_lifted=False)

    # --- asking -------------------------------------------------------------------------------------------------

    def holds(self, now: float) -> list[Hold]:
        """Return the holds that still count, those with a probe due included, oldest first."""
        self._forget(now)
        return sorted((h for h in tuple(self._holds.values()) if not h.is_lifted), key=lambda h: h.since)

    def of(self, route: Route, now: float, needs: frozenset[str] = NO_NEEDS) -> list[Hold]:
        """Return the holds that bear on a route for requests with these needs: running ones, and those due a probe."""
        if not self._holds:
            return []
        scopes = [*route.scopes.values()]
        for need in needs & {scope.need for scope in self._holds} if needs else ():
            scopes += [scope.for_need(need) for scope in route.scopes.values()]
        found = (self._holds.get(scope) for scope in scopes)
        return [h for h in found if h is not None and not h.is_lifted and not h.is_forgotten(now)]

    def standing(self, route: Route, now: float, needs: frozenset[str] = NO_NEEDS) -> tuple[RouteStatus, Hold | None]:
        """Return how a route stands for requests with these needs, and the gravest hold; None when it is free."""
        holds = self.of(route, now, needs)
        if not holds:
            return RouteStatus.FREE, None
        gravest = max(holds, key=lambda h: (h.is_active(now), h.kind is HoldKind.CONDEMNED, h.until))
        if any(h.is_probing for h in holds):
            return RouteStatus.PROBING, gravest
        return (RouteStatus.HELD if gravest.is_active(now) else RouteStatus.DUE), gravest

    # --- holding ------------------------------------------------------------------------------------------------

    def condemn(
        self,
        scope: Scope,
        now: float,
        *,
        why: Outcome,
        message: str,
        reset_s: float | None,
        is_probe: bool = False,
    ) -> Hold:
        """Hold a scope on a verdict that stands: of a key until its reset or for 10 minutes, else until a change."""
        is_lasting = scope.reach in (ScopeLevel.PROVIDER, ScopeLevel.BACKEND)
        length = math.inf if is_lasting else reset_s if reset_s is not None else CONDEMNED_KEY_S
        return self._set(
            Hold(scope=scope, kind=HoldKind.CONDEMNED, since=now, until=now + length, why=why, message=message),
            is_probe=is_probe,
        )

    def tell(
        self,
        scope: Scope,
        now: float,
        *,
        why: Outcome,
        message: str,
        seconds: float | None,
        is_probe: bool = False,
    ) -> Hold:
        """Hold a scope for the time a provider named; without one for 1 s, doubling when a probe fails.

        A named time that failed probes show to be too short, again and again, grows to some seconds.
        """
        old = self._remembered(scope, now)
        strikes = old.strikes + 1 if old is not None and is_probe else 0
        if seconds is None:
            if old is not None and not is_probe and (old.is_active(now) or old.is_probing):
                return old
            seconds = min(UNTIMED_LIMIT_S * 2**strikes, LONGEST_S)
        elif strikes:
            seconds = max(seconds, min(SHORTEST_TOLD_S * 2**strikes, GROWN_TOLD_S))
        return self._set(
            Hold(
                scope=scope,
                kind=HoldKind.TOLD,
                since=now,
                until=now + seconds,
                why=why,
                message=message,
                unbroken_since=old.unbroken_since or old.since if old is not None and is_probe else now,
                strikes=strikes,
                probed_at=now if is_probe else None,
            ),
            is_probe=is_probe,
        )

    def strike(self, scope: Scope, now: float, *, why: Outcome, message: str, is_probe: bool = False) -> Hold:
        """Hold a route after a streak: 5 s, doubled by a failed probe or a new streak within 60 s, up to 60 s."""
        self.evidence.end_streak(scope)
        old = self._remembered(scope, now)
        if old is not None and not is_probe and (old.is_active(now) or old.is_probing):
            return old
        strikes = old.strikes + 1 if old is not None and old.kind is HoldKind.STREAK else 0
        return self._set(
            Hold(
                scope=scope,
                kind=HoldKind.STREAK,
                since=now,
                until=now + min(STREAK_S * 2**strikes, LONGEST_S),
                why=why,
                message=message,
                strikes=strikes,
                probed_at=now if is_probe else None,
            ),
            is_probe=is_probe,
        )

    def count_failure(self, route: Route, now: float, *, limit: int) -> bool:
        """Count one transient failure of a job; say whether the streak is now long enough for a hold.

        Args:
            route: where it happened.
            now: when.
            limit: how many failures make a hold, if this one begins the streak.
        """
        if self.standing(route, now)[0] is RouteStatus.HELD:
            return False
        return self.evidence.failed(route, now, limit=limit)

    # --- probing ------------------------------------------------------------------------------------------------

    def begin_probe(self, route: Route, now: float, needs: frozenset[str] = NO_NEEDS) -> tuple[Scope, ...]:
        """Mark the holds that bear on such a request as being probed; return their scopes, for `end_probe`."""
        probed = [h for h in self.of(route, now, needs) if h.kind is not HoldKind.CONDEMNED or not h.is_active(now)]
        for hold in probed:
            self._holds[hold.scope] = replace(hold, is_probing=True, probed_at=now)
        return tuple(h.scope for h in probed)

    def end_probe(self, scopes: Iterable[Scope], now: float, *, is_lifted: bool, has_failed: bool = False) -> None:
        """Take the marks off: lift what the probe's reply did not set anew, or leave all for the next probe.

        Args:
            scopes: what `begin_probe` returned.
            now: when the probe ended.
            is_lifted: a reply came; otherwise the probe was cancelled or cut by a deadline.
            has_failed: the reply was one more transient failure, which ends no streak's hold.
        """
        ended = [h for scope in scopes if (h := self._holds.get(scope)) is not None and h.is_probing]
        for hold in ended:
            if is_lifted and has_failed and hold.kind is HoldKind.STREAK:
                self._holds[hold.scope] = replace(hold, is_probing=False)
            elif is_lifted:
                self._holds[hold.scope] = replace(hold, is_probing=False, is_lifted=True, until=min(hold.until, now))
            else:
                self._holds[hold.scope] = replace(hold, is_probing=False, probed_at=None)
        if ended:
            self._notify()

    def lift(self, scopes: Iterable[Scope], now: float) -> None:
        """End streak holds early, because an answer came from what they hold."""
        for scope in scopes:
            hold = self._holds.get(scope)
            if hold is not None and hold.kind is HoldKind.STREAK and not hold.is_lifted:
                self._holds[scope] = replace(hold, is_lifted=True, is_probing=False, until=min(hold.until, now))
        self._notify()

    # --- changing -----------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Drop every hold and streak, all that was learnt of pace and capacity, and who takes what we add."""
        self.traffic.reset()
        self.evidence = Evidence()
        self._holds.clear()
        self.extras.clear()
        self._notify()

    def release(self, is_stale: Callable[[Scope], bool]) -> None:
        """Drop the holds of scopes that a change of settings made stale."""
        for scope in [s for s in tuple(self._holds) if is_stale(s)]:
            self._holds.pop(scope, None)
            self.evidence.end_streak(scope)
        for entry in [entry for entry in tuple(self.extras) if is_stale(entry[0])]:
            self.extras.pop(entry, None)
        self._notify()

    def returned(self, route: Route) -> None:
        """Note that a request is over, and wake who waits for room on its route."""
        if self.traffic.returned(route):
            self._notify()

    def watch(self, wake: Callable[[], object]) -> Callable[[], None]:
        """Call `wake` at every change of the holds, first come, first called; return what ends that."""
        self._watchers[wake] = None

        def unwatch() -> None:
            self._watchers.pop(wake, None)

        return unwatch

    def _set(self, hold: Hold, *, is_probe: bool = False) -> Hold:
        """Put a hold in place: never shortened, and a probe in flight stays one until its own reply."""
        old = self._holds.get(hold.scope)
        is_new = old is None or old.kind is not hold.kind or not old.is_active(hold.since)
        if old is not None and not old.is_lifted:
            kept = old if old.until > hold.until else hold
            hold = replace(kept, is_probing=old.is_probing and not is_probe)
        self._holds[hold.scope] = hold
        self._notify()
        if is_new:
            self.on_hold(hold)
        return hold

    def _remembered(self, scope: Scope, now: float) -> Hold | None:
        hold = self._holds.get(scope)
        return None if hold is None or hold.is_forgotten(now) else hold

    def _forget(self, now: float) -> None:
        for scope in [s for s, hold in tuple(self._holds.items()) if hold.is_forgotten(now)]:
            self._holds.pop(scope, None)

    def _notify(self) -> None:
        self.changes += 1
        for wake in tuple(self._watchers):
            wake()


def describe(scope: Scope) -> str:
    """Return a scope in words, `key ..a1b2 of openrouter`."""
    ending = f"key {scope.secret.ending}" if scope.secret else "no key"
    match scope.reach:
        case ScopeLevel.KEY:
            words = f"{ending} of {scope.backend}"
        case ScopeLevel.MODEL:
            words = f"{scope.backend} with {ending} for {scope.model}"
        case ScopeLevel.ROUTE | ScopeLevel.REQUEST:
            place = f"{scope.backend}/{scope.provider}" if scope.provider else scope.backend
            words = f"{place} with {ending} for {scope.model}"
        case ScopeLevel.PROVIDER if scope.provider:
            words = f"provider {scope.provider} of {scope.backend} for {scope.model}"
        case ScopeLevel.PROVIDER | ScopeLevel.BACKEND:
            words = f"{scope.backend} for {scope.model}"
    return words if scope.need is None else f"{words}, for requests with {scope.need}"


def _ignore(_: Hold) -> None:
    """Tell nobody of a hold."""
