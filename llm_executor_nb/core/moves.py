"""What a run does next: pure rules over a run's own memory and the holds (design 3.2, 3.3).

`next_move` decides for a call by hand and for a row of a job. The engine carries the move out, lets `learning` take in
what came of it, and asks again. Nothing is sent, waited for or recorded here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TYPE_CHECKING

from llm_executor_nb.core.holds import PROBE_PAUSE_S, Health, Hold, HoldKind, RouteStatus
from llm_executor_nb.core.needs import NO_NEEDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from llm_executor_nb.core.backoff import Backoff
    from llm_executor_nb.core.records import Route, Scope, Verdict

_YIELD_S = 0.001
"""Seconds by which a row wakes later for each of its failures: who has failed least is the next probe."""
_CAN_BE_ASKED = (RouteStatus.FREE, RouteStatus.DUE)
KeyRoutes = tuple["Route", ...]
"""The routes of one key in the order they are asked."""


class StopReason(StrEnum):
    """Why a run stops without an answer."""

    EXHAUSTED = auto()
    DEADLINE = auto()


@dataclass(frozen=True, slots=True)
class Go:
    """Ask this route now, as the probe of its holds or as one request of many."""

    route: Route
    is_probe: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until a time or a change of the holds.

    Attributes:
        until: the time.
        route: the route to be asked then; None: the wait is for a hold's end.
        is_told: a provider, or the key's rate, named the time.
        is_for_slot: the wait is for a slot of the key's rate.
    """

    until: float
    route: Route | None = None
    is_told: bool = False
    is_for_slot: bool = False


@dataclass(frozen=True, slots=True)
class Join:
    """Wait for the reply of a probe that another run has sent."""

    route: Route


@dataclass(frozen=True, slots=True)
class Stop:
    """Give up."""

    why: StopReason


Move = Go | Wait | Join | Stop


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """A retry whose wait the strategies still have to say.

    Attributes:
        route: the route that is asked again.
        retry_after_s: the seconds that the provider asks to wait; None: it named no time.
        held_at_end: the verdict that puts the route on hold when its retries are used up; None: nothing does.
    """

    route: Route
    retry_after_s: float | None
    held_at_end: Verdict | None


@dataclass(slots=True, kw_only=True, eq=False)
class RunMemory:
    """What one run remembers; `moves` reads it, `learning` writes it.

    Attributes:
        tiers: the chain: per tier the keys in listed order, per key its routes.
        is_by_hand: a call by hand; else a row of a job.
        ceiling_s: the longest Retry-After that is waited for.
        deadline: when the run must be over, on the clock; None: no bound.
        needs: what the request needs beyond a text answer.
        has_fresh: in a job, returns whether a row that has not failed yet waits to be asked; it probes first.
        used_up: routes that this run does not ask again.
        ready_at: routes in the middle of their retries, and when the next retry may go out.
        current: by hand, the route whose retries are running.
        own_holds: scopes that this run put on hold.
        keeps_rate: by hand, the run was asked to wait or joined a probe, so it keeps to the key's rate from then on.
        probed: scopes whose probe this run has sent or joined.
        has_waited: by hand, the run has had its one round of waiting for holds.
        lacks_time: a wait was left out because the deadline was too near.
        failures: how many requests of the run have failed.
        is_over: the run has had all the tries it may have.
        is_refused: the request was refused on its merits.
        backoffs: the retries on each route where something has failed.
        plan: the retry that is planned now; None: there is none.
        first_failed_at: when the first request that failed on a route was sent.
        uncharged: how many refusals on a route used up no retry.
        unusable: how many answers of a route were paid for and of no use.
        refused_by: which providers refused the request.
        too_long_for: the backends for which the request is too long.
        queued_for: the route in whose queue for a slot the run waits.
    """

    tiers: tuple[tuple[KeyRoutes, ...], ...]
    is_by_hand: bool
    ceiling_s: float
    deadline: float | None = None
    needs: frozenset[str] = NO_NEEDS
    has_fresh: Callable[[], bool] = _never
    used_up: set[Route] = field(default_factory=set)
    ready_at: dict[Route, float] = field(default_factory=dict)
    current: Route | None = None
    own_holds: set[Scope] = field(default_factory=set)
    keeps_rate: bool = False
    probed: set[Scope] = field(default_factory=set)
    has_waited: bool = False
    lacks_time: bool = False
    failures: int = 0
    is_over: bool = False
    is_refused: bool = False
    backoffs: dict[Route, Backoff] = field(default_factory=dict)
    plan: RetryPlan | None = None
    first_failed_at: dict[Route, float] = field(default_factory=dict)
    uncharged: defaultdict[Route, int] = field(default_factory=lambda: defaultdict(int))
    unusable: defaultdict[Route, int] = field(default_factory=lambda: defaultdict(int))
    refused_by: set[tuple[str, str | None]] = field(default_factory=set)
    too_long_for: set[str] = field(default_factory=set)
    queued_for: Route | None = None
    _orders: dict[int, tuple[Route, ...]] = field(default_factory=dict)

    def order(self, tier: int, health: Health, now: float) -> tuple[Route, ...]:
        """Return a tier's routes in this run's order, which is fixed when the run first enters the tier."""
        if tier not in self._orders:
            self._orders[tier] = _spread(self.tiers[tier], health, now, self.needs)
        return self._orders[tier]

    def reorder(self) -> None:
        """Choose again where to enter tiers, if nothing has failed yet: other keys may have become free meanwhile."""
        if not self.failures:
            self._orders.clear()

    def routes(self) -> Iterator[Route]:
        """Yield every route of the chain in listed order."""
        for tier in self.tiers:
            for key_routes in tier:
                yield from key_routes

    def leave(self, route: Route) -> None:
        """Do not ask a route again."""
        self.used_up.add(route)
        self.ready_at.pop(route, None)
        if self.current == route:
            self.current = None

    def within(self, moment: float) -> float:
        """Return a time, or the deadline if that comes first: a wait with an unknown end is begun (design 3.3)."""
        return moment if self.deadline is None else min(moment, self.deadline)

    def has_time_until(self, moment: float) -> bool:
        """Whether a wait until then ends before the deadline; one that does not is remembered."""
        if self.deadline is None or moment <= self.deadline:
            return True
        self.lacks_time = True
        return False


def next_move(run: RunMemory, health: Health, now: float) -> Move:
    """Return what the run does now."""
    if run.deadline is not None and now >= run.deadline:
        return Stop(StopReason.DEADLINE)
    if run.is_over:
        return _stop(run)
    return _by_hand(run, health, now) if run.is_by_hand else _in_a_job(run, health, now)


def _spread(keys: Sequence[KeyRoutes], health: Health, now: float, needs: frozenset[str]) -> tuple[Route, ...]:
    """Start at the free key with the fewest requests in flight, ties in listed order, and wrap (design 3.4)."""
    if len(keys) == 1:  # most tiers: there is nothing to choose
        return keys[0]

    start, least = 0, None
    for place, routes in enumerate(keys):  # a loop: every row of a job comes here
        if not _can_one_be_asked(routes, health, now, needs):
            continue
        first = routes[0]
        load = (not health.traffic.can_send(first, now), health.traffic.in_flight(first))
        if least is None or load < least:
            start, least = place, load
    return tuple(route for routes in (*keys[start:], *keys[:start]) for route in routes)


def _can_one_be_asked(routes: KeyRoutes, health: Health, now: float, needs: frozenset[str]) -> bool:
    for route in routes:  # noqa: SIM110 - as in `_spread`: `any` would take twice as long
        if health.status(route, now, needs)[0] in _CAN_BE_ASKED:
            return True
    return False


def _stop(run: RunMemory) -> Stop:
    return Stop(StopReason.DEADLINE if run.lacks_time else StopReason.EXHAUSTED)


# --- by hand ----------------------------------------------------------------------------------------------------


def _by_hand(run: RunMemory, health: Health, now: float) -> Move:
    if run.current is not None and (move := _continue(run, run.current, health, now)) is not None:
        return move
    for tier in range(len(run.tiers)):
        for route in run.order(tier, health, now):
            if route in run.used_up:
                continue
            status, _ = health.status(route, now, run.needs)
            if status is RouteStatus.FREE or (status is RouteStatus.DUE and not _is_own(run, route, health, now)):
                return _at_its_rate(run, Go(route, is_probe=status is RouteStatus.DUE), health, now)
    return _when_none_is_free(run, health, now)


def _continue(run: RunMemory, route: Route, health: Health, now: float) -> Move | None:
    """Continue the retries of a route, or leave it: for a condemnation, a long wait, or lack of time."""
    status, hold = health.status(route, now, run.needs)
    ready = run.ready_at.get(route, now)
    is_told = hold is not None and hold.kind is HoldKind.TOLD
    if hold is not None and status is RouteStatus.HELD:
        # design 3.2: a streak's hold never takes away retries that a run by hand has begun
        if hold.kind is HoldKind.CONDEMNED or (is_told and hold.length_s > run.ceiling_s):
            run.leave(route)
            return None
        ready = max(ready, hold.until) if is_told else ready
    if not run.has_time_until(ready):
        run.leave(route)
        return None
    if ready > now:
        return Wait(ready, route, is_told=is_told)
    if status is RouteStatus.PROBING and is_told:
        return Join(route)
    return _at_its_rate(run, Go(route, is_probe=status is RouteStatus.DUE), health, now)


def _at_its_rate(run: RunMemory, move: Go, health: Health, now: float) -> Move:
    """Keep to the key's rate only after the run was asked to wait: a first call by hand is never slowed down."""
    traffic = health.traffic
    if not run.keeps_rate or traffic.is_alone(move.route, run) or traffic.can_send(move.route, now, run):
        return move
    return Wait(traffic.next_slot_at(move.route, now, run), move.route, is_told=True, is_for_slot=True)


def _is_own(run: RunMemory, route: Route, health: Health, now: float) -> bool:
    return any(hold.scope in run.own_holds for hold in health.of(route, now, run.needs))


def _when_none_is_free(run: RunMemory, health: Health, now: float) -> Move:
    """Wait for a told time, join a probe, else send one probe per hold, in order, for one round (design 3.2)."""
    candidates = list(_waited_for(run, health, now))
    told = [h for _, _, h in candidates if h.kind is HoldKind.TOLD and h.is_active(now)]
    if not run.has_waited and (end := _end_within(run, told)) is not None:
        return Wait(end, is_told=True)
    for route, status, _ in candidates:
        if status is RouteStatus.PROBING:
            return Join(route)
    streaks = [(r, h) for r, _, h in candidates if h.kind is HoldKind.STREAK or not h.is_active(now)]
    for route, hold in streaks:
        if _probe_at(hold) <= now:
            return Go(route, is_probe=True)
    soonest = min((_probe_at(hold) for _, hold in streaks), default=None)
    if soonest is not None and not run.has_waited and run.has_time_until(soonest):
        return Wait(soonest)
    if (end := _end_within(run, [h for h in told if h.probed_at is None])) is not None:
        return Wait(end, is_told=True)  # a hold set after the round, and no probe of it has failed
    return _stop(run)


def _end_within(run: RunMemory, holds: Iterable[Hold]) -> float | None:
    """Return when the first of the holds ends; None: there is none, or the deadline comes first."""
    end = min((hold.until for hold in holds), default=None)
    return end if end is not None and run.has_time_until(end) else None


def _probe_at(hold: Hold) -> float:
    """Return when a run by hand may probe a streak's hold: at once, but not within 10 s of its last probe."""
    return hold.since if hold.probed_at is None else hold.probed_at + PROBE_PAUSE_S


def _waited_for(run: RunMemory, health: Health, now: float) -> Iterator[tuple[Route, RouteStatus, Hold]]:
    """Yield held routes whose hold this run may wait for or probe: not its own, not condemned, not told for long."""
    for tier in range(len(run.tiers)):
        for route in run.order(tier, health, now):
            status, hold = health.status(route, now, run.needs)
            if hold is None or route in run.used_up or hold.scope in run.probed or _is_own(run, route, health, now):
                continue
            if hold.is_active(now) and (
                hold.kind is HoldKind.CONDEMNED or (hold.kind is HoldKind.TOLD and hold.length_s > run.ceiling_s)
            ):
                continue
            yield route, status, hold


# --- in a job ---------------------------------------------------------------------------------------------------


def _in_a_job(run: RunMemory, health: Health, now: float) -> Move:
    for tier in range(len(run.tiers)):
        routes = [r for r in run.order(tier, health, now) if r not in run.used_up]
        for route in routes:
            status, _ = _status_for_a_row(run, route, health, now)
            is_ready = run.ready_at.get(route, now) <= now and status in _CAN_BE_ASKED
            if is_ready and health.traffic.can_send(route, now, run):
                return Go(route, is_probe=status is RouteStatus.DUE)
        # design 3.3: a row goes down a tier only when no route above can be had by a short wait
        waits = [wait for route in routes if (wait := _short_wait(run, route, health, now)) is not None]
        if waits:
            return min(waits, key=lambda wait: wait.until)
    return _wait_for_a_hold(run, health, now)


def _status_for_a_row(run: RunMemory, route: Route, health: Health, now: float) -> tuple[RouteStatus, Hold | None]:
    """Return a route's status for a row; the probe is left to a row that has not failed yet, while there is one."""
    # design 3.2: a row that has failed may fail by itself, and as a probe it would keep all others waiting
    status, hold = health.status(route, now, run.needs)
    is_others = status is RouteStatus.DUE and run.failures and hold is not None and now < hold.until + PROBE_PAUSE_S
    return (RouteStatus.PROBING if is_others and run.has_fresh() else status), hold


def _short_wait(run: RunMemory, route: Route, health: Health, now: float) -> Wait | None:
    """Return the wait for which a row stays in this tier: for its retry, a short told hold, or the key's rate."""
    status, hold = _status_for_a_row(run, route, health, now)
    ready = run.ready_at.get(route, now)
    is_told = False
    if hold is not None and status is not RouteStatus.DUE:
        # a key that answers every probe with "in 2 s" must not keep the rows from a free tier: its hold counts from
        # when it was first set
        if hold.kind is not HoldKind.TOLD or hold.unbroken_s > run.ceiling_s:
            return None
        is_told, ready = True, max(ready, hold.until + _YIELD_S * run.failures)
        if status is RouteStatus.PROBING:
            ready = run.within(max(ready, now + PROBE_PAUSE_S))
    is_for_slot = ready <= now
    if is_for_slot:
        ready = health.traffic.next_slot_at(route, now, run)
        ready = ready if health.traffic.has_capacity(route) else run.within(ready)
    if not run.has_time_until(ready):
        return None
    return Wait(ready, route, is_told=is_told or is_for_slot, is_for_slot=is_for_slot)


def _wait_for_a_hold(run: RunMemory, health: Health, now: float) -> Move:
    """Wait for the soonest streak's or told hold; a condemned one is not waited for."""
    ends = []
    for route in run.routes():
        status, hold = _status_for_a_row(run, route, health, now)
        if route in run.used_up or hold is None or (hold.is_active(now) and hold.kind is HoldKind.CONDEMNED):
            continue
        if status is RouteStatus.PROBING:
            ends.append(run.within(now + PROBE_PAUSE_S))
        else:
            ends.append(max(hold.until, run.ready_at.get(route, now)) + _YIELD_S * run.failures)
    if ends and run.has_time_until(min(ends)):
        return Wait(min(ends))
    return _stop(run)
