"""What is under way: requests in flight, the pace of each key, what a route bears at once, and what came back.

Pure: the time comes in as an argument, nothing waits here. One `Traffic` belongs to one `Health`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from llm_executor_nb.core.adaptive_rate import AdaptiveRate
from llm_executor_nb.core.capacity import Capacity
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.quota_window import QuotaWindow
from llm_executor_nb.core.records import OPENROUTER

if TYPE_CHECKING:
    from llm_executor_nb.core.records import Allowance, Route, Scope

_BURST = 3
"""A rate limit refused so few in flight: what it lets through in a burst is less than any server takes at once."""
LONGEST_LOOK_S = 0.5
"""Seconds after which one that waits for a pace looks again, because the pace may have risen."""


class Traffic:
    """Counts requests and keeps each key's pace (on Hugging Face each route's), with a queue of those that wait."""

    def __init__(self) -> None:
        self._in_flight: Counter[Scope] = Counter()
        self._paces: dict[Scope, AdaptiveRate] = {}
        self._capacities: dict[Scope, Capacity] = {}
        self._spreads: dict[Scope, QuotaWindow] = {}
        self._queues: defaultdict[Scope, dict[object, None]] = defaultdict(dict)
        self._outcomes: defaultdict[Scope, Counter[Outcome]] = defaultdict(Counter)

    def sent(self, route: Route, now: float, who: object) -> int:
        """Note that a request goes out; whose it is waits no more. Return how many are in flight on the route then."""
        for queue in self._queues.values():
            queue.pop(who, None)
        self._pace(route).sent(now)
        if (spread := self._spread(route)) is not None:
            spread.sent(now)
        self._in_flight[route.scope(ScopeLevel.ROUTE)] += 1
        self._in_flight[route.scope(ScopeLevel.KEY)] += 1
        return self._in_flight[route.scope(ScopeLevel.ROUTE)]

    def returned(self, route: Route) -> bool:
        """Note that a request is over; say whether others may have waited for that."""
        self._in_flight[route.scope(ScopeLevel.ROUTE)] -= 1
        self._in_flight[route.scope(ScopeLevel.KEY)] -= 1
        capacity = self._capacities.get(route.scope(ScopeLevel.ROUTE))
        return capacity is not None and capacity.is_bound

    def ended(self, route: Route, outcome: Outcome) -> None:
        """Count what came of a request."""
        self._outcomes[route.scope(ScopeLevel.ROUTE)][outcome] += 1

    def outcomes(self, route: Route) -> dict[Outcome, int]:
        """Return what came of the requests to a route so far, and how often."""
        return dict(self._outcomes.get(route.scope(ScopeLevel.ROUTE), {}))

    def in_flight(self, route: Route, reach: ScopeLevel = ScopeLevel.KEY) -> int:
        """Return how many requests are under way on the route's key, or on the route itself."""
        return self._in_flight[route.scope(reach)]

    @property
    def is_quiet(self) -> bool:
        """Say whether nothing is in flight anywhere."""
        return not any(self._in_flight.values())

    def forget(self) -> None:
        """In a forked child: drop what only the parent will see the end of."""
        self._in_flight.clear()
        self._queues.clear()

    def retell(self, route: Route) -> None:
        """Let what the user tells now of the key's limit take the place of what was told, or learnt, before.

        Only a newly made chain says so: a job that is under way brings the limit of its beginning.
        """
        pace = self._paces.get(_limited(route))
        if pace is not None and pace.told_per_s != _told_per_s(route):
            del self._paces[_limited(route)]

    def reset(self) -> None:
        """Forget how fast each key may be asked, and how much each route bears at once."""
        self._paces.clear()
        self._capacities.clear()
        self._spreads.clear()

    # --- the pace of a key --------------------------------------------------------------------------------------

    def has_room(self, route: Route, now: float, who: object = None) -> bool:
        """Whether the route bears one more, and its key's pace lets `who` go now, behind those before it."""
        if not self.bears_more(route):
            return False
        if not self._is_bound(route):
            return True
        return self._next_at(route, now) <= now and self._next_at(route, now, self._place(route, who)) <= now

    def bears_more(self, route: Route) -> bool:
        """Whether one more request may be in flight on the route."""
        capacity = self._capacities.get(route.scope(ScopeLevel.ROUTE))
        return capacity is None or capacity.has_room(self._in_flight[route.scope(ScopeLevel.ROUTE)])

    def room_at(self, route: Route, now: float, who: object = None) -> float:
        """Return when to look whether there is room; where it is later there, it is later here."""
        if not self.bears_more(route):
            return now + LONGEST_LOOK_S
        wait_s = self._next_at(route, now, self._place(route, who)) - now
        return now + min(wait_s, LONGEST_LOOK_S + wait_s / 1000)

    def is_alone(self, route: Route, who: object) -> bool:
        """Say whether nobody else asks the route's key, or waits for it: then its pace need not be kept."""
        others = [other for other in self._queues[_limited(route)] if other is not who]
        return not others and not self._in_flight[route.scope(ScopeLevel.KEY)]

    def join_queue(self, route: Route, who: object) -> None:
        """Wait for the pace of the route's key, behind those that do already."""
        self._queues[_limited(route)].setdefault(who)

    def leave_queue(self, route: Route, who: object) -> None:
        """Wait no more."""
        self._queues[_limited(route)].pop(who, None)

    def answered(self, route: Route, now: float, sent_at: float | None = None, in_flight: int = 1) -> None:
        """Let an answer raise the key's pace.

        Args:
            route: who answered.
            now: when.
            sent_at: when its request was sent; None: now.
            in_flight: how many were in flight on the route then.
        """
        self._pace(route).answered(now, now if sent_at is None else sent_at)
        self._capacity(route).answered(in_flight, now)

    def refused(self, route: Route, sent_at: float, now: float, in_flight: int = 1) -> None:
        """Let a refusal by a rate limit bound what is in flight on the route, or slow the key's pace.

        "Too many requests" may mean too many at once or too many in a time. The former is believed first: it is soon
        found wrong, when no more than was answered before is refused. A pace that fits by chance is not.

        Args:
            route: who refused.
            sent_at: when the request was sent.
            now: when it was refused.
            in_flight: how many were in flight on the route when it was sent.
        """
        pace, capacity = self._pace(route), self._capacity(route)
        if pace.per_s is None and capacity.refused(in_flight, now) and in_flight > _BURST:
            return
        capacity.forget()
        pace.refused(sent_at, now)

    def overloaded(self, route: Route, now: float, in_flight: int) -> bool:
        """Let a refusal bound what may be in flight on the route; say whether too much at once explains it.

        Args:
            route: who refused.
            now: when.
            in_flight: how many were in flight on the route when the request was sent.
        """
        return self._capacity(route).refused(in_flight, now)

    def return_slowly(self, route: Route) -> None:
        """Let requests return to a route one by one, after a hold."""
        self._capacity(route).return_slowly()

    def told(
        self, route: Route, allowance: Allowance | None, now: float, sent_at: float, *, wanted: float, ceiling_s: float
    ) -> None:
        """Let what an answer told of its limit bound how fast the key (on Hugging Face the route) is asked.

        Args:
            route: who answered.
            allowance: what is left of the limit; None: it told nothing.
            now: when the answer came.
            sent_at: when its request was sent.
            wanted: how many requests are still to be made.
            ceiling_s: the longest wait between two requests.
        """
        scope = _spoken_of(route)
        if allowance is None and scope not in self._spreads:
            return
        spread = self._spreads.setdefault(scope, QuotaWindow())
        in_flight = self._in_flight[scope]
        others = (
            one.left for other, one in self._spreads.items() if one is not spread and other.backend == scope.backend
        )
        wanted -= in_flight + sum(others)
        spread.told(allowance, now, sent_at, in_flight=in_flight, wanted=wanted, ceiling_s=ceiling_s)

    def _next_at(self, route: Route, now: float, ahead: int = 0) -> float:
        """Return when the next request may go out, with so many waiting ahead of it."""
        spread, at = self._spread(route), self._pace(route).room_at(now, ahead)
        return at if spread is None else max(at, spread.room_at(now, ahead))

    def _is_bound(self, route: Route) -> bool:
        spread = self._spread(route)
        return self._pace(route).per_s is not None or (spread is not None and spread.is_bound)

    def _spread(self, route: Route) -> QuotaWindow | None:
        return self._spreads.get(_spoken_of(route)) if self._spreads else None

    def _place(self, route: Route, who: object) -> int:
        queue = self._queues[_limited(route)]
        return next((place for place, other in enumerate(queue) if other is who), len(queue))

    def _capacity(self, route: Route) -> Capacity:
        scope = route.scope(ScopeLevel.ROUTE)
        if scope not in self._capacities:
            self._capacities[scope] = Capacity()
        return self._capacities[scope]

    def _pace(self, route: Route) -> AdaptiveRate:
        scope = _limited(route)
        if scope not in self._paces:
            self._paces[scope] = AdaptiveRate(_told_per_s(route))
        return self._paces[scope]


def _told_per_s(route: Route) -> float | None:
    return None if route.key is None or route.key.rpm is None else route.key.rpm / 60


def _spoken_of(route: Route) -> Scope:
    """Return what a reply that names no scope speaks of: the key on OpenRouter, else the route."""
    return route.scope(ScopeLevel.KEY if route.backend == OPENROUTER else ScopeLevel.ROUTE)


def _limited(route: Route) -> Scope:
    """Return what a limit without a scope limits: the key on OpenRouter or where the user told it, else the route."""
    is_of_key = route.backend == OPENROUTER or (route.key is not None and route.key.rpm is not None)
    return route.scope(ScopeLevel.KEY if is_of_key else ScopeLevel.ROUTE)
