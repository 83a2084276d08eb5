"""Holds: the only memory across calls and rows. Which routes must not be asked, until when, and why (design 3.2).

Pure: the time is an argument, and nothing waits here. One `Health` serves every run of a configuration.
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

    from llm_executor_nb.core.records import Route, Scope, Verdict

PROBE_PAUSE_S = 10.0
"""By hand, a streak's hold is probed at most this often; in a job, a row that has failed waits so long for others."""
_STREAK_S, _UNTIMED_S, _LONGEST_S = 5.0, 1.0, 60.0
"""A streak's hold lasts min(5 s * 2^strikes, 60 s), a rate limit without a time min(1 s * 2^strikes, 60 s)."""
_SHORTEST_TOLD_S, _GROWN_TOLD_S = 0.05, 5.0
"""A told time that failed probes show to be too short lasts at least min(0.05 s * 2^strikes, 5 s)."""
_FORGET_S = 60.0
CONDEMNED_KEY_S = 600.0


class HoldKind(StrEnum):
    """What set a hold: a verdict that stands, a time that the provider named, or a streak of failures."""

    CONDEMNED = auto()
    TOLD = auto()
    STREAK = auto()


class RouteStatus(StrEnum):
    """Whether a route can be asked now: FREE, DUE (for a probe), PROBING (one is in flight) or HELD."""

    FREE = auto()
    DUE = auto()
    PROBING = auto()
    HELD = auto()


class Support(IntEnum):
    """Whether a route takes something that we add to requests; stronger evidence replaces weaker.

    MISSED: a request failed without a reason, and was answered without the addition. TAKEN: a request with it was
    answered. REFUSED: it was refused in words, or ignored.
    """

    MISSED = 1
    TAKEN = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One scope that must not be asked.

    Attributes:
        scope: what is held.
        kind: which of the three kinds.
        since, until: seconds of the clock; `until` is infinite when only a change ends the hold.
        unbroken_since: when the hold was first set, if failed probes have renewed it since then.
        why: the outcome that set it.
        http_status: of the reply that set it; None: there was none.
        message: the provider's words, scrubbed.
        strikes: how often a failed probe or a new streak has set it again.
        probed_at: when a probe was last sent; None: never.
        is_probing: a probe is in flight.
        is_lifted: a reply ended the hold early; it is remembered for its strikes.
    """

    scope: Scope
    kind: HoldKind
    since: float
    until: float
    why: Outcome
    http_status: int | None = None
    message: str = ""
    unbroken_since: float | None = None
    strikes: int = 0
    probed_at: float | None = None
    is_probing: bool = False
    is_lifted: bool = False

    @property
    def length_s(self) -> float:
        """Seconds that the hold was set for."""
        return self.until - self.since

    @property
    def unbroken_s(self) -> float:
        """Seconds from when the hold was first set to its end, renewals by failed probes included."""
        return self.until - (self.since if self.unbroken_since is None else self.unbroken_since)

    def is_active(self, now: float) -> bool:
        """Whether the hold still runs."""
        return not self.is_lifted and now < self.until

    def is_forgotten(self, now: float) -> bool:
        """Whether the hold ended so long ago that it no longer counts."""
        return not self.is_probing and now - self.until > _FORGET_S

    def left_s(self, now: float) -> float:
        """Return the seconds until the hold ends: infinite if only a change ends it, 0 once it has ended."""
        return max(0.0, self.until - now)

    def left(self, now: float) -> str:
        """Return how long the hold still lasts, as `12 s left`."""
        return "until the model's row changes" if math.isinf(self.until) else f"{self.left_s(now):.0f} s left"

    def lifted(self, now: float) -> Hold:
        """Return the hold as ended by a reply."""
        return replace(self, is_probing=False, is_lifted=True, until=min(self.until, now))


class Health:
    """All holds and streaks of one configuration.

    Attributes:
        traffic: requests in flight, the rate of each key, and how many requests each route takes at once.
        evidence: what replies so far say about whose fault a failure is.
        changes: how often the holds have changed, so that a waiter notices a change that it missed.
        extras: which routes take what we add to requests. It is not a hold: the addition can be left out.
        on_hold: called with each hold that is set.
        resets_told: job of several processes -> how often the one that began it has reset the health.
    """

    def __init__(self) -> None:
        self._holds: dict[Scope, Hold] = {}
        self.traffic = Traffic()
        self.evidence = Evidence()
        self._watchers: dict[Callable[[], object], None] = {}  # woken in the order in which they began to wait
        self.changes = 0
        self.extras: dict[tuple[Scope, str], Support] = {}
        self.on_hold: Callable[[Hold], None] = _ignore
        self.resets_told: dict[str, int] = {}

    def forget_flights(self) -> None:
        """In a forked child: drop the parent's requests and probes, whose ends only the parent will see."""
        self.traffic.forget()
        self._watchers.clear()
        self.end_probe(tuple(self._holds), 0.0, is_lifted=False)

    # --- asking -------------------------------------------------------------------------------------------------

    def holds(self, now: float) -> list[Hold]:
        """Return the holds that still count, oldest first; those with a probe due are among them."""
        self._forget(now)
        return sorted((h for h in tuple(self._holds.values()) if not h.is_lifted), key=lambda h: h.since)

    def of(self, route: Route, now: float, needs: frozenset[str] = NO_NEEDS) -> list[Hold]:
        """Return the holds on a route for requests with these needs: those that run, and those due for a probe."""
        if not self._holds:
            return []
        held_needs = needs & {scope.need for scope in self._holds} if needs else ()
        scopes = [scope.for_need(need) for need in (None, *held_needs) for scope in route.scopes.values()]
        holds = (self._holds.get(scope) for scope in scopes)
        return [h for h in holds if h is not None and not h.is_lifted and not h.is_forgotten(now)]

    def has_streak(self, routes: Iterable[Route], now: float) -> bool:
        """Whether one of the routes is on hold for a streak of failures."""
        return bool(self._holds) and any(h.kind is HoldKind.STREAK for route in routes for h in self.of(route, now))

    def status(self, route: Route, now: float, needs: frozenset[str] = NO_NEEDS) -> tuple[RouteStatus, Hold | None]:
        """Return a route's status for requests with these needs, and the gravest hold; None when it is free."""
        holds = self.of(route, now, needs)
        if not holds:
            return RouteStatus.FREE, None
        gravest = max(holds, key=lambda h: (h.is_active(now), h.kind is HoldKind.CONDEMNED, h.until))
        if any(h.is_probing for h in holds):
            return RouteStatus.PROBING, gravest
        return (RouteStatus.HELD if gravest.is_active(now) else RouteStatus.DUE), gravest

    # --- holding ------------------------------------------------------------------------------------------------

    def condemn(self, scope: Scope, verdict: Verdict, now: float, *, is_probe: bool = False) -> Hold:
        """Hold a scope on a verdict that stands: a key until its reset or for 10 minutes, else until a change."""
        # a provider that does not serve a model will not serve it in ten minutes; a key may be topped up any time
        is_lasting = scope.reach in (ScopeLevel.PROVIDER, ScopeLevel.BACKEND)
        reset_s = CONDEMNED_KEY_S if verdict.retry_after_s is None else verdict.retry_after_s
        seconds = math.inf if is_lasting else reset_s
        return self._set(scope, HoldKind.CONDEMNED, verdict, now, seconds, is_probe=is_probe)

    def tell(self, scope: Scope, verdict: Verdict, now: float, *, is_probe: bool = False) -> Hold:
        """Hold a scope for the time that a provider named; without one for 1 s, doubled by each failed probe.

        A named time that failed probes show to be too short grows to 5 s.
        """
        old, seconds = self._remembered(scope, now), verdict.retry_after_s
        renewed = old if is_probe else None
        strikes = 0 if renewed is None else renewed.strikes + 1
        if seconds is None:
            # many requests in flight meet one limit together: only a probe shows that the hold was too short
            if old is not None and not is_probe and (old.is_active(now) or old.is_probing):
                return old
            seconds = min(_UNTIMED_S * 2**strikes, _LONGEST_S)
        elif strikes:
            seconds = max(seconds, min(_SHORTEST_TOLD_S * 2**strikes, _GROWN_TOLD_S))
        since = now if renewed is None else renewed.unbroken_since or renewed.since
        return self._set(
            scope, HoldKind.TOLD, verdict, now, seconds, is_probe=is_probe, strikes=strikes, unbroken_since=since
        )

    def strike(self, scope: Scope, verdict: Verdict, now: float, *, is_probe: bool = False) -> Hold:
        """Hold a route after a streak: 5 s, doubled by a failed probe or a new streak within 60 s, up to 60 s."""
        self.evidence.end_streak(scope)
        old = self._remembered(scope, now)
        if old is not None and not is_probe and (old.is_active(now) or old.is_probing):
            return old
        strikes = old.strikes + 1 if old is not None and old.kind is HoldKind.STREAK else 0
        seconds = min(_STREAK_S * 2**strikes, _LONGEST_S)
        return self._set(scope, HoldKind.STREAK, verdict, now, seconds, is_probe=is_probe, strikes=strikes)

    def adopt(self, hold: Hold) -> None:
        """Set a hold that another process has met; it shortens none, and a probe in flight stays marked."""
        old = self._holds.get(hold.scope)
        if old is not None and not old.is_lifted and old.until >= hold.until:
            return
        self._holds[hold.scope] = replace(hold, is_probing=old is not None and old.is_probing)
        self._notify()
        self.on_hold(hold)

    def share_rate(self, route: Route, per_s: float) -> None:
        """Let this process send no more than its share of a told rate."""
        self.traffic.share_rate(route, per_s)
        self._notify()

    def count_failure(self, route: Route, now: float, *, limit: int, is_last: bool) -> bool:
        """Count one transient failure in a job; return whether the streak is now long enough for a hold.

        Args:
            route: the route that failed.
            now: when it failed.
            limit: how many failures make a hold.
            is_last: nothing else is in flight on the route.
        """
        if self.status(route, now)[0] is RouteStatus.HELD:
            return False
        return self.evidence.failed(route, now, limit=limit, is_last=is_last)

    # --- probing ------------------------------------------------------------------------------------------------

    def begin_probe(self, route: Route, now: float, needs: frozenset[str] = NO_NEEDS) -> tuple[Scope, ...]:
        """Mark the holds on a route as being probed by a request with these needs; return their scopes."""
        # a condemnation that still runs is certain: its probe would be one more refused request
        probed = [h for h in self.of(route, now, needs) if h.kind is not HoldKind.CONDEMNED or not h.is_active(now)]
        for hold in probed:
            self._holds[hold.scope] = replace(hold, is_probing=True, probed_at=now)
        return tuple(h.scope for h in probed)

    def end_probe(self, scopes: Iterable[Scope], now: float, *, is_lifted: bool, has_failed: bool = False) -> None:
        """Take the marks off: lift the holds that the probe's reply did not set again, or leave them to the next probe.

        Args:
            scopes: what `begin_probe` returned.
            now: when the probe ended.
            is_lifted: a reply came; otherwise the probe was cancelled or cut by a deadline.
            has_failed: the reply was one more transient failure, which does not end a streak's hold.
        """
        ended = [h for scope in scopes if (h := self._holds.get(scope)) is not None and h.is_probing]
        for hold in ended:
            if is_lifted and has_failed and hold.kind is HoldKind.STREAK:
                self._holds[hold.scope] = replace(hold, is_probing=False)
            elif is_lifted:
                self._holds[hold.scope] = hold.lifted(now)
            else:  # design 3.2: a cancelled or cut probe passes to the next run
                self._holds[hold.scope] = replace(hold, is_probing=False, probed_at=None)
        if ended:
            self._notify()

    def lift(self, scopes: Iterable[Scope], now: float) -> None:
        """End streaks' holds early, because an answer came from what they hold."""
        for scope in scopes:
            hold = self._holds.get(scope)
            if hold is not None and hold.kind is HoldKind.STREAK and not hold.is_lifted:
                self._holds[scope] = hold.lifted(now)
        self._notify()

    # --- changing -----------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Drop everything that was learnt: holds, streaks, rates, capacities, and who takes what we add."""
        self.traffic.reset()
        self.evidence = Evidence()
        self._holds.clear()
        self.extras.clear()
        self._notify()

    def release(self, is_stale: Callable[[Scope], bool]) -> None:
        """Drop the holds on scopes that a change of settings made stale."""
        for scope in [s for s in tuple(self._holds) if is_stale(s)]:
            self._holds.pop(scope, None)
            self.evidence.end_streak(scope)
        for entry in [entry for entry in tuple(self.extras) if is_stale(entry[0])]:
            self.extras.pop(entry, None)
        self._notify()

    def returned(self, route: Route) -> None:
        """Note that a request is over, and wake runs that wait for room on its route."""
        if self.traffic.returned(route):
            self._notify()

    def watch(self, wake: Callable[[], object]) -> Callable[[], None]:
        """Call `wake` at every change of the holds, first come, first called; return a function that ends it."""
        self._watchers[wake] = None

        def unwatch() -> None:
            self._watchers.pop(wake, None)

        return unwatch

    def _set(
        self,
        scope: Scope,
        kind: HoldKind,
        verdict: Verdict,
        now: float,
        seconds: float,
        *,
        is_probe: bool,
        strikes: int = 0,
        unbroken_since: float | None = None,
    ) -> Hold:
        """Set a hold. It never shortens another one, and a probe in flight stays marked until its own reply."""
        hold = Hold(
            scope=scope,
            kind=kind,
            since=now,
            until=now + seconds,
            why=verdict.outcome,
            http_status=verdict.http_status,
            message=verdict.message or "",
            unbroken_since=unbroken_since,
            strikes=strikes,
            # a run that joined the probe of a condemned hold has failed with nothing: it goes on elsewhere
            probed_at=now if is_probe and kind is not HoldKind.CONDEMNED else None,
        )
        old = self._holds.get(hold.scope)
        is_new = old is None or old.kind is not hold.kind or not old.is_active(hold.since)
        if old is not None and not old.is_lifted:
            longer = old if old.until > hold.until else hold  # design 3.2: a later outcome never shortens a hold
            hold = replace(longer, is_probing=old.is_probing and not is_probe)
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
    """Return a scope in words, as `key ..a1b2 of openrouter`."""
    ending = f"key {scope.secret.ending}" if scope.secret else "no key"
    match scope.reach:
        case ScopeLevel.KEY:
            words = f"{ending} of {scope.backend}"
        case ScopeLevel.MODEL:
            words = f"{scope.backend} with {ending} for {scope.model}"
        case ScopeLevel.ROUTE | ScopeLevel.REQUEST:
            words = f"{scope.place} with {ending} for {scope.model}"
        case ScopeLevel.PROVIDER if scope.provider:
            words = f"provider {scope.provider} of {scope.backend} for {scope.model}"
        case ScopeLevel.PROVIDER | ScopeLevel.BACKEND:
            words = f"{scope.backend} for {scope.model}"
    return words if scope.need is None else f"{words}, for requests with {scope.need}"


def _ignore(_: Hold) -> None:
    """Do nothing: no one listens."""
