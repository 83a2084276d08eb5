"""Where the twin of a late request is sent: a pure rule over a run's memory and the holds (design 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core.holds import RouteStatus

if TYPE_CHECKING:
    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.moves import RunMemory
    from llm_executor_nb.core.records import Route


def twin_route(run: RunMemory, late: Route, health: Health, now: float) -> Route | None:
    """Return the least busy free route of a late request's tier, this one only if it is the last; None: none is free.

    Args:
        run: the run's memory.
        late: the route that the late request was sent to.
        health: the holds, and what is in flight.
        now: the time on the clock.
    """
    tier = next(keys for keys in run.tiers if any(late in routes for routes in keys))
    free = [route for routes in tier for route in routes if _is_free(run, route, health, now)]
    others = [route for route in free if route is not late]
    return min(others or free, key=health.traffic.in_flight, default=None)


def _is_free(run: RunMemory, route: Route, health: Health, now: float) -> bool:
    """Whether a route can be asked now, by one that probes no hold and takes no other request's turn."""
    is_left = route in run.used_up or run.ready_at.get(route, now) > now
    is_free = not is_left and health.status(route, now, run.needs)[0] is RouteStatus.FREE
    return is_free and health.traffic.can_send(route, now, run)
