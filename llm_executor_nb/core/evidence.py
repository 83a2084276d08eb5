"""Whose fault a failure is: what the replies so far say about routes and keys. A part of `Health`.

Rows of a job are each other's evidence (design 3.2). If a route answers a request that was sent after a row's, that row
fails by itself: it uses up its tries, and says nothing about the route. Failures that no answer explains make the
streak that puts a route on hold. Refusals that may only say "too many at once" are excused while others are in flight;
if none of those is answered, they were failures like the rest. Pure: the time is an argument.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.core.needs import blamed
from llm_executor_nb.core.outcomes import RULES, Outcome, ScopeLevel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llm_executor_nb.core.records import Route, Scope, Verdict

_OF_THE_KEY = (Outcome.AUTH, Outcome.FORBIDDEN)
_UNPAID_IN_A_ROW = 3
"""After so many requests in a row that a key cannot pay for, the key counts as empty (design 3.1)."""


@dataclass(slots=True)
class _Streak:
    began: float
    limit: int
    count: int = 0


class Evidence:
    """What is known about routes and keys from the replies so far."""

    def __init__(self) -> None:
        self._streaks: dict[Scope, _Streak] = {}
        self._excused: Counter[Scope] = Counter()
        self._answered_at: dict[Scope, float] = {}
        self._proved_until: dict[Scope, float] = {}
        self._answered_models: defaultdict[Scope, set[str]] = defaultdict(set)
        self._unpaid: Counter[Scope] = Counter()

    def answered(self, route: Route, sent_at: float, now: float) -> None:
        """Note an answer; it ends the route's streak if its request was sent after the streak's first failure."""
        scope, key = route.scope(ScopeLevel.ROUTE), route.scope(ScopeLevel.KEY)
        self._answered_at[scope] = now
        self._proved_until[scope] = max(sent_at, self._proved_until.get(scope, sent_at))
        self._answered_models[key].add(route.model)
        # design 3.1: unpaid requests empty a key only in a row, without an answer between
        self._unpaid.pop(key, None)
        self._excused.pop(scope, None)
        streak = self._streaks.get(scope)
        # an answer to an earlier request says nothing: the route may have gone down since
        if streak is not None and sent_at > streak.began:
            del self._streaks[scope]

    def answered_at(self, route: Route) -> float:
        """Return when the route gave its last answer; never: minus infinity."""
        return self._answered_at.get(route.scope(ScopeLevel.ROUTE), -math.inf)

    def proved_until(self, route: Route) -> float:
        """Return when the latest request that the route answered was sent; never: minus infinity."""
        return self._proved_until.get(route.scope(ScopeLevel.ROUTE), -math.inf)

    def excuse(self, route: Route) -> None:
        """Note a refusal that an answer to one of the requests in flight will explain."""
        self._excused[route.scope(ScopeLevel.ROUTE)] += 1

    def failed(self, route: Route, now: float, *, limit: int, is_last: bool) -> bool:
        """Count a failure that no answer explains; return whether the streak is now long enough for a hold.

        Args:
            route: the route that failed.
            now: when it failed.
            limit: how many failures make a hold.
            is_last: nothing else is in flight on the route. So nothing is left that may explain refusals, and all
                requests that were under way when the streak began have come back.
        """
        scope = route.scope(ScopeLevel.ROUTE)
        streak = self._streaks.setdefault(scope, _Streak(began=now, limit=limit))
        streak.count += 1
        if is_last:
            streak.count += self._excused.pop(scope, 0)
            # rows may have ended since the streak began, and those left could not reach its first limit
            streak.limit = min(streak.limit, limit)
        return streak.count >= streak.limit

    def end_streak(self, scope: Scope) -> None:
        """Forget the streak of a scope; failures are counted for all needs together."""
        scope = scope.for_any_need()
        self._streaks.pop(scope, None)
        self._excused.pop(scope, None)

    def is_in_doubt(self, routes: Iterable[Route]) -> bool:
        """Whether one of the routes has failures that no answer explains."""
        return bool(self._streaks) and any(route.scope(ScopeLevel.ROUTE) in self._streaks for route in routes)

    def scope(self, route: Route, verdict: Verdict, needs: frozenset[str], *, is_alone: bool) -> Scope | None:
        """Return the scope that a refusal is about; None: it is about this request alone (design 3.1, "Blame").

        Args:
            route: the route that refused.
            verdict: the verdict on its reply.
            needs: what the request needs.
            is_alone: no other request is in flight on the route's key.
        """
        reach = verdict.reach or RULES[verdict.outcome].condemns or ScopeLevel.ROUTE
        need = None
        if verdict.need is not None:
            need = blamed(verdict.need, needs, verdict.message or "")
            if need is None:
                return None
        if reach is ScopeLevel.REQUEST:
            # a request in flight may yet be answered, and then the key is not empty
            is_empty = verdict.outcome is Outcome.QUOTA and is_alone and self._is_out_of_money(route)
            return route.scope(ScopeLevel.KEY).for_need(need) if is_empty else None
        is_key = reach is ScopeLevel.KEY and verdict.outcome in _OF_THE_KEY and need is None
        if is_key and self._has_answered_another_model(route):
            reach = ScopeLevel.MODEL  # a gateway speaks of what is behind it: the key works, this model does not
        return route.scope(reach).for_need(need)

    def failing(self, route: Route, verdict: Verdict, needs: frozenset[str]) -> Scope:
        """Return what a streak of such failures holds: the route, for the need that they are about if there is one."""
        need = None if verdict.need is None else blamed(verdict.need, needs, verdict.message or "")
        return route.scope(ScopeLevel.ROUTE).for_need(need)

    def _has_answered_another_model(self, route: Route) -> bool:
        return bool(self._answered_models.get(route.scope(ScopeLevel.KEY), set()) - {route.model})

    def _is_out_of_money(self, route: Route) -> bool:
        """Count a request that the route's key cannot pay for; return whether the key counts as empty now."""
        key = route.scope(ScopeLevel.KEY)
        self._unpaid[key] += 1
        return self._unpaid[key] >= _UNPAID_IN_A_ROW
