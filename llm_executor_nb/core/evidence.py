"""Whose fault is a failure: what answers and failures on a route so far say of it. A part of `Health`.

Rows of a job are each other's evidence. When a route answers a request that was sent after a row's, that row fails by
itself: it uses up its tries, and says nothing of the route. What is left, failures with no answer behind them, makes
the streak that puts a route on hold. Pure: the time comes in as an argument.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import ScopeLevel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llm_executor_nb.core.records import Route, Scope

_TOO_DEAR_IN_A_ROW = 3
"""Requests in a row that a key cannot pay for, after which it is the key that is empty."""


@dataclass(slots=True)
class _Streak:
    began: float
    limit: int
    count: int = 0


class Evidence:
    """What is known of routes and keys from the replies so far."""

    def __init__(self) -> None:
        self._streaks: dict[Scope, _Streak] = {}
        self._answered_at: dict[Scope, float] = {}
        self._proved_until: dict[Scope, float] = {}
        self._models: defaultdict[Scope, set[str]] = defaultdict(set)
        self._too_dear: Counter[Scope] = Counter()

    def answered(self, route: Route, sent_at: float, now: float) -> None:
        """Note an answer; it ends the route's streak if its request was sent after the streak's first failure."""
        scope, key = route.scope(ScopeLevel.ROUTE), route.scope(ScopeLevel.KEY)
        self._answered_at[scope] = now
        self._proved_until[scope] = max(sent_at, self._proved_until.get(scope, sent_at))
        self._models[key].add(route.model)
        if self._too_dear:
            self._too_dear.pop(key, None)
        streak = self._streaks.get(scope)
        if streak is not None and sent_at > streak.began:
            del self._streaks[scope]

    def answered_at(self, route: Route) -> float:
        """Return when the route gave its last answer; never: minus infinity."""
        return self._answered_at.get(route.scope(ScopeLevel.ROUTE), -math.inf)

    def proved_until(self, route: Route) -> float:
        """Return when the last request that the route answered was sent; never: minus infinity."""
        return self._proved_until.get(route.scope(ScopeLevel.ROUTE), -math.inf)

    def failed(self, route: Route, now: float, *, limit: int) -> bool:
        """Count a failure that no answer explains; say whether the streak is now long enough for a hold."""
        streak = self._streaks.setdefault(route.scope(ScopeLevel.ROUTE), _Streak(began=now, limit=limit))
        streak.count += 1
        return streak.count >= streak.limit

    def end_streak(self, scope: Scope) -> None:
        """Forget the streak of a scope."""
        self._streaks.pop(scope, None)

    def is_in_doubt(self, routes: Iterable[Route]) -> bool:
        """Whether one of some routes has failures that no answer explains."""
        return bool(self._streaks) and any(route.scope(ScopeLevel.ROUTE) in self._streaks for route in routes)

    def has_answered_another_model(self, route: Route) -> bool:
        """Whether the route's key has answered another model, so that a refusal speaks of this one."""
        return bool(self._models.get(route.scope(ScopeLevel.KEY), set()) - {route.model})

    def is_out_of_money(self, route: Route) -> bool:
        """Count a request that the route's key cannot pay for; say whether it is the key that is empty."""
        key = route.scope(ScopeLevel.KEY)
        self._too_dear[key] += 1
        return self._too_dear[key] >= _TOO_DEAR_IN_A_ROW
