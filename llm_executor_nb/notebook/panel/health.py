"""The tab Health: a line for each route, its state, how long a hold still lasts, its outcomes, and who served it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.inspection import reset_health, route_states
from llm_executor_nb.core.advice import counted
from llm_executor_nb.core.holds import RouteStatus
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.view.text import time_left

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llm_executor_nb.chain.inspection import HealthState

_WORDS = {
    RouteStatus.FREE: "free",
    RouteStatus.DUE: "probed next",
    RouteStatus.PROBING: "being probed",
    RouteStatus.HELD: "on hold",
}
_LINES = 12
"""Lines about routes in the text form."""


def route_rows(models: Sequence[str]) -> list[dict[str, Any]]:
    """Return every route of some models that has a key, with its state in words and its outcomes."""
    return [
        {
            "model": state.model,
            "route": state.route,
            "tier": state.tier,
            "is_free": state.standing is RouteStatus.FREE,
            "state": state_words(state),
            "in_flight": state.in_flight,
            "outcomes": outcome_words(state.outcomes),
            "upstreams": count_words(state.upstreams),
        }
        for state in route_states(models)
    ]


def route_lines(models: Sequence[str]) -> list[str]:
    """Return what there is to say of some models' routes as lines: those on hold first, then those with a reply.

    A line stands for all models of which it says the same. Routes without a hold and without a reply are counted.
    """
    rows = sorted(route_rows(models), key=lambda row: bool(row["is_free"]))
    told = [row for row in rows if row["outcomes"] or not row["is_free"]]
    by_words: dict[str, list[str]] = {}
    for row in told:
        by_words.setdefault(_route_words(row), []).append(row["model"])
    lines = [f"{same[0] if len(same) == 1 else f'{len(same)} models'}  {words}" for words, same in by_words.items()]
    more = [f"… and {counted(len(lines) - _LINES, 'more line')}"] if len(lines) > _LINES else []
    quiet = len(rows) - len(told)
    return [*lines[:_LINES], *more, *([f"{counted(quiet, 'route')} free, no reply yet"] if quiet else [])]


def _route_words(row: Mapping[str, Any]) -> str:
    return " · ".join(filter(None, (f"{row['route']}: {row['state']}", row["outcomes"], row["upstreams"])))


def _reset(_: Mapping[str, Any]) -> str:
    reset_health()
    return "Nothing is on hold any more; all routes are asked again."


ACTIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"reset": _reset}
"""The buttons of the tab."""


def state_words(state: HealthState) -> str:
    """Return whether a route or a key can be asked, and if not, why and for how long."""
    words = _WORDS[state.standing]
    if state.seconds_left is None:
        return words
    words = f"{words} ({state.why})"
    left = time_left(state.seconds_left)
    if not state.seconds_left:
        return words
    return f"{words}, {left}" if left.startswith("until") else f"{words}, {left} left"


def outcome_words(counts: Mapping[Outcome, int]) -> str:
    """Return how often each outcome came, answers first."""
    ordered = sorted(counts.items(), key=lambda entry: (entry[0] is not Outcome.OK, -entry[1], entry[0]))
    return count_words({outcome.value: count for outcome, count in ordered})


def count_words(counts: Mapping[str, int]) -> str:
    """Return names with their counts, in their order."""
    return " · ".join(f"{name} {count:,}" for name, count in counts.items())
