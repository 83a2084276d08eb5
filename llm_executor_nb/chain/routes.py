"""How every route of the provider table stands now: free, or held, by what and until when. Nothing is sent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.chain.compile import compiled
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.outcomes import ScopeLevel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llm_executor_nb.core.holds import RouteStatus
    from llm_executor_nb.core.outcomes import Outcome
    from llm_executor_nb.core.records import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteState:
    """One route, as it stands.

    Attributes:
        model: as the provider table calls it.
        route: as the attempt log calls it.
        tier: 1 for OpenRouter, 2 for all others.
        standing: whether it can be asked.
        why: the outcome that put it on hold, and the provider's words; empty: it is free.
        seconds_left: until the hold ends (infinite: until a change; 0: the next run probes it); None: it is free.
        in_flight: requests under way on it.
        outcomes: what came of those that ended, and how often.
    """

    model: str
    route: str
    tier: int
    standing: RouteStatus
    why: str
    seconds_left: float | None
    in_flight: int
    outcomes: Mapping[Outcome, int]


def route_states(models: Iterable[str] | None = None) -> Iterator[RouteState]:
    """Yield every route of some models of the table (None: of all), in the order they are asked.

    A model without a key has none.
    """
    now = session()
    for model in tuple(now.config.models) if models is None else models:
        try:
            routes = list(compiled(model, now.config, now.health).routes())
        except ConfigError:  # no key, or a row that is none; the call itself says so
            continue
        yield from map(_state_of, routes)


def _state_of(route: Route) -> RouteState:
    health, time = session().health, clock.current().now()
    standing, hold = health.status(route, time)
    left = None if hold is None else hold.until if math.isinf(hold.until) else max(0.0, hold.until - time)
    return RouteState(
        model=route.model,
        route=route.name,
        tier=route.tier,
        standing=standing,
        why="" if hold is None else hold.why.value,
        seconds_left=left,
        in_flight=health.traffic.in_flight(route, ScopeLevel.ROUTE),
        outcomes=health.traffic.outcomes(route),
    )
