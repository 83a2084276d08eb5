"""Why a job has no answers at the moment, in one line: what fails, when it is tried next, and what bounds the wait."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.holds import HoldKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llm_executor_nb.core.holds import Health, Hold
    from llm_executor_nb.core.records import Route

# design 3.3: while it waits, a job says once a minute what fails, why, when it tries next and what bounds it
QUIET_S = 60.0
"""Seconds without an answer after which a job says why, and seconds between two such messages."""
_LONGEST_CAUSE = 120


def wait_text(
    held: Sequence[Hold],
    *,
    routes: int,
    now: float,
    silent_s: float,
    silence_bound_s: float,
    budget_left_s: float | None = None,
    trouble: str = "",
    others: int = 0,
) -> str:
    """Return why a job waits, in one line without a key; "": nothing stands in its way.

    Args:
        held: for each route that cannot be asked now the hold that says so.
        routes: how many routes there are.
        now: the time on the clock of the holds.
        silent_s: seconds since the last answer, or since the job began.
        silence_bound_s: seconds without an answer after which the job ends.
        budget_left_s: seconds until its `budget_s` ends it; None: it has none.
        trouble: why the ledger cannot be written; "": it can.
        others: rows that another job is asking for.
    """
    causes = [*_of_ledger(trouble), *_of_others(others), *_of_routes(held, routes, now)]
    if not causes:
        return ""
    is_bounded = not trouble and not others  # the silence bound counts only the providers' silence
    bound = _bound(silence_bound_s if is_bounded else None, budget_left_s)
    return " ".join([*causes, f"No answer for {_time(silent_s)}.", bound])


def held_routes(routes: Iterable[Route], health: Health, now: float) -> list[Hold]:
    """Return for each route that cannot be asked now the longest of its holds."""
    longest = []
    for route in routes:
        holds = [hold for hold in health.of(route, now) if hold.is_active(now) or hold.is_probing]
        if holds:
            longest.append(max(holds, key=lambda hold: (hold.kind is HoldKind.CONDEMNED, hold.until)))
    return longest


def _of_ledger(trouble: str) -> list[str]:
    return [f"The ledger cannot be written ({_short(trouble)}), so nothing is asked until it can."] if trouble else []


def _of_others(rows: int) -> list[str]:
    return [f"{rows} {'row waits' if rows == 1 else 'rows wait'} for another job's answers."] if rows else []


def _of_routes(held: Sequence[Hold], routes: int, now: float) -> list[str]:
    if not held:
        return []
    causes: dict[str, str] = {}
    for hold in held:
        causes[hold.why.value] = causes.get(hold.why.value) or _short(hold.message)
    why = "; ".join(f"{cause}: {message}" if message else cause for cause, message in causes.items())
    return [f"{_counted(len(held), routes)} ({why}).", *_next_try(held, now)]


def _counted(held: int, routes: int) -> str:
    if held < routes:
        return f"{held} of {routes} routes {'fails' if held == 1 else 'fail'}"
    return "The only route fails" if routes == 1 else f"All {routes} routes fail"


def _next_try(held: Iterable[Hold], now: float) -> list[str]:
    # design 3.2: a job never waits for a condemned hold, so its end is not the next try
    waited_for = [hold for hold in held if hold.kind is not HoldKind.CONDEMNED]
    if not waited_for:
        return []
    if any(hold.is_probing for hold in waited_for):
        return ["The next try is under way."]
    return [f"Next try in {_time(min(hold.until for hold in waited_for) - now)}."]


def _bound(silence_s: float | None, budget_left_s: float | None) -> str:
    ends = [] if silence_s is None else [f"after {_time(silence_s)} without one"]
    ends += [] if budget_left_s is None else [f"in {_time(budget_left_s)} by its budget_s="]
    text = f"Ends {', or '.join(ends)}" if ends else "Waits without end"
    return f"{text}; bound it with budget_s=." if budget_left_s is None else f"{text}."


def _short(message: str) -> str:
    """Return a provider's message on one line, cut, and without the full stop at its end."""
    line = shorten(message)
    return (line if len(line) <= _LONGEST_CAUSE else f"{line[:_LONGEST_CAUSE].rstrip()} …").rstrip(".")


def _time(seconds: float) -> str:
    """Return a rounded time: `19 s`, `2 min`, `1 h 5 min`."""
    whole = max(0, math.ceil(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
