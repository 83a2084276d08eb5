"""Requests under way: how many are in flight, how fast each key is asked, what each route takes, and the outcomes.

Pure: the time is an argument, and nothing waits here. One `Traffic` belongs to one `Health`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.core.adaptive_rate import AdaptiveRate
from llm_executor_nb.core.capacity import Capacity
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.quota_window import QuotaWindow
from llm_executor_nb.core.records import OPENROUTER

if TYPE_CHECKING:
    from llm_executor_nb.core.records import Allowance, Route, Scope

_SMALL_BURST = 3
"""A refusal with so few requests in flight is about speed: any server takes more than three at once."""
LONGEST_LOOK_S = 0.5
"""Seconds after which a run that waits for a slot looks again, because the rate may have risen."""


@dataclass(frozen=True, slots=True)
class SendRecord:
    """When a request went out, and how many were in flight on its route then, itself included."""

    at: float
    in_flight: int = 1


class Traffic:
    """Counts requests and keeps each key's rate (on Hugging Face each route's), with a queue of those that wait."""

    def __init__(self) -> None:
        self._in_flight: Counter[Scope] = Counter()
        self._rates: dict[Scope, AdaptiveRate] = {}
        self._capacities: defaultdict[Scope, Capacity] = defaultdict(Capacity)
        self._windows: dict[Scope, QuotaWindow] = {}
        self._queues: defaultdict[Scope, dict[object, None]] = defaultdict(dict)
        self._outcomes: defaultdict[Scope, Counter[Outcome]] = defaultdict(Counter)
        self._upstreams: defaultdict[Scope, Counter[str]] = defaultdict(Counter)

    def sent(self, route: Route, now: float, waiter: object) -> SendRecord:
        """Note that a request goes out; `waiter`, whose request it is, no longer waits for a slot."""
        for queue in self._queues.values():
            queue.pop(waiter, None)
        self._rate(route).sent(now)
        if (window := self._window(route)) is not None:
            window.sent(now)
        scope, key = route.scope(ScopeLevel.ROUTE), route.scope(ScopeLevel.KEY)
        self._in_flight[scope] = in_flight = self._in_flight[scope] + 1
        self._in_flight[key] += 1
        return SendRecord(now, in_flight)

    def returned(self, route: Route) -> bool:
        """Note that a request is over; return whether others may have waited for that."""
        scope = route.scope(ScopeLevel.ROUTE)
        self._in_flight[scope] -= 1
        self._in_flight[route.scope(ScopeLevel.KEY)] -= 1
        capacity = self._capacities.get(scope)
        return capacity is not None and capacity.is_bound

    def ended(self, route: Route, outcome: Outcome, upstream: str | None = None) -> None:
        """Count the outcome of a request, and who served an answer, if that is known."""
        if outcome is Outcome.OK and upstream is not None:
            self._upstreams[route.scope(ScopeLevel.ROUTE)][upstream] += 1
        self._outcomes[route.scope(ScopeLevel.ROUTE)][outcome] += 1
        self._outcomes[route.scope(ScopeLevel.KEY)][outcome] += 1

    def outcomes(self, route: Route, reach: ScopeLevel = ScopeLevel.ROUTE) -> dict[Outcome, int]:
        """Return the outcomes so far on a route, or on its key, each with its count."""
        return dict(self._outcomes.get(route.scope(reach), {}))

    def upstreams(self, route: Route) -> dict[str, int]:
        """Return who served the answers so far on a route, each with its count."""
        return dict(self._upstreams.get(route.scope(ScopeLevel.ROUTE), {}))

    def in_flight(self, route: Route, reach: ScopeLevel = ScopeLevel.KEY) -> int:
        """Return how many requests are in flight on the route's key, or on the route itself."""
        return self._in_flight[route.scope(reach)]

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is in flight anywhere."""
        return not any(self._in_flight.values())

    def forget(self) -> None:
        """In a forked child: drop the parent's requests and waiters, whose ends only the parent will see."""
        self._in_flight.clear()
        self._queues.clear()

    def apply_rpm(self, route: Route) -> None:
        """Let the user's new limit for the key replace the one that was told, or learnt, before.

        Only a newly made chain calls this: a job that is under way keeps the limit of its beginning.
        """
        rate = self._rates.get(_limited(route))
        if rate is not None and rate.told_per_s != _told_per_s(route):
            del self._rates[_limited(route)]

    def share_rate(self, route: Route, per_s: float) -> None:
        """Let a told rate be divided among processes: this one has so many requests a second of it."""
        self._rate(route).retell(per_s)

    def reset(self) -> None:
        """Forget how fast each key may be asked, and how many requests each route takes at once."""
        self._rates.clear()
        self._capacities.clear()
        self._windows.clear()

    # --- when the next request may go out -------------------------------------------------------------------------

    def can_send(self, route: Route, now: float, waiter: object = None) -> bool:
        """Whether `waiter` may send now: the route takes one more, and the key has a slot behind those before it."""
        if not self.has_capacity(route):
            return False
        if not self._is_bound(route):
            return True
        return self._slot_at(route, now) <= now and self._slot_at(route, now, self._place(route, waiter)) <= now

    def has_capacity(self, route: Route) -> bool:
        """Whether one more request may be in flight on the route."""
        capacity = self._capacities.get(route.scope(ScopeLevel.ROUTE))
        return capacity is None or capacity.has_room(self._in_flight[route.scope(ScopeLevel.ROUTE)])

    def next_slot_at(self, route: Route, now: float, waiter: object = None) -> float:
        """Return when `waiter` should ask `can_send` again: at its slot, but soon, as rates may rise."""
        if not self.has_capacity(route):
            return now + LONGEST_LOOK_S
        wait_s = self._slot_at(route, now, self._place(route, waiter)) - now
        return now + min(wait_s, LONGEST_LOOK_S + wait_s / 1000)  # of two routes, the sooner one is looked at sooner

    def is_alone(self, route: Route, waiter: object) -> bool:
        """Whether no other run asks the route's key or waits for it; then its rate need not be kept."""
        others = [other for other in self._queues[_limited(route)] if other is not waiter]
        return not others and not self._in_flight[route.scope(ScopeLevel.KEY)]

    def join_queue(self, route: Route, waiter: object) -> None:
        """Wait for a slot of the route's key, behind those that wait already."""
        self._queues[_limited(route)].setdefault(waiter)

    def leave_queue(self, route: Route, waiter: object) -> None:
        """Stop waiting for a slot of the route's key."""
        self._queues[_limited(route)].pop(waiter, None)

    # --- what replies say about it --------------------------------------------------------------------------------

    def answered(self, route: Route, sent: SendRecord, now: float) -> None:
        """Let an answer raise the key's rate, and the route's bound of requests in flight."""
        self._rate(route).answered(now, sent.at)
        self._capacity(route).answered(sent.in_flight, now)

    def refused(self, route: Route, sent: SendRecord, now: float) -> None:
        """Let a refusal by a rate limit bound what is in flight on the route, or slow the key down."""
        # "Too many requests" may mean too many at once or too many in a time. The former is believed first: it is
        # soon found wrong, when as many as were answered before are refused. A rate that fits by chance is not.
        rate, capacity = self._rate(route), self._capacity(route)
        if rate.per_s is None and capacity.refused(sent.in_flight, now) and sent.in_flight > _SMALL_BURST:
            rate.pause()
            return
        capacity.forget()
        rate.refused(sent.at, now)

    def overloaded(self, route: Route, sent: SendRecord, now: float) -> bool:
        """Let a refusal bound what may be in flight on the route; return whether too much at once explains it."""
        capacity = self._capacity(route)
        if is_explained := capacity.refused(sent.in_flight, now):
            capacity.wait_for_proof()
        return is_explained

    def return_slowly(self, route: Route) -> None:
        """Let requests return to a route one by one, after a hold."""
        self._capacity(route).return_slowly()

    def learn_allowance(
        self, route: Route, left: Allowance | None, sent: SendRecord, now: float, *, wanted: float, ceiling_s: float
    ) -> None:
        """Spread requests over what an answer says is left of the key's limit (on Hugging Face the route's).

        Args:
            route: the route that answered.
            left: what is left of the limit; None: the answer does not say.
            sent: its request.
            now: when the answer came.
            wanted: how many requests are still to be made.
            ceiling_s: the longest wait between two requests.
        """
        scope = _counted(route)
        if left is None and scope not in self._windows:
            return
        window = self._windows.setdefault(scope, QuotaWindow())
        in_flight = self._in_flight[scope]
        # what the backend's other keys are known to take need not be spread over this one
        others = (o.left for other, o in self._windows.items() if o is not window and other.backend == scope.backend)
        wanted -= in_flight + sum(others)
        window.learn(left, now, sent.at, in_flight=in_flight, wanted=wanted, ceiling_s=ceiling_s)

    def _slot_at(self, route: Route, now: float, ahead: int = 0) -> float:
        """Return when the next request may go out, with so many waiting ahead of it."""
        window, at = self._window(route), self._rate(route).next_slot_at(now, ahead)
        return at if window is None else max(at, window.next_slot_at(now, ahead))

    def _is_bound(self, route: Route) -> bool:
        window = self._window(route)
        return self._rate(route).per_s is not None or (window is not None and window.is_bound)

    def _window(self, route: Route) -> QuotaWindow | None:
        return self._windows.get(_counted(route)) if self._windows else None

    def _place(self, route: Route, waiter: object) -> int:
        queue = self._queues[_limited(route)]
        return next((place for place, other in enumerate(queue) if other is waiter), len(queue))

    def _capacity(self, route: Route) -> Capacity:
        return self._capacities[route.scope(ScopeLevel.ROUTE)]

    def _rate(self, route: Route) -> AdaptiveRate:
        scope = _limited(route)
        rate = self._rates.get(scope)
        if rate is None:
            rate = self._rates[scope] = AdaptiveRate(_told_per_s(route))
        return rate


def _told_per_s(route: Route) -> float | None:
    return None if route.key is None or route.key.rpm is None else route.key.rpm / 60


def _counted(route: Route) -> Scope:
    """Return the scope that a reply counts if it names none: the key on OpenRouter, else the route (design 3.2)."""
    return route.scope(ScopeLevel.KEY if route.backend == OPENROUTER else ScopeLevel.ROUTE)


def _limited(route: Route) -> Scope:
    """Return what a rate belongs to: the key on OpenRouter or where the user told its limit, else the route."""
    is_of_key = route.backend == OPENROUTER or (route.key is not None and route.key.rpm is not None)
    return route.scope(ScopeLevel.KEY if is_of_key else ScopeLevel.ROUTE)
