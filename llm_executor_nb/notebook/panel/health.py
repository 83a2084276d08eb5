"""The tab Health: a line for each route, whether it can be asked, until when not, and what came back from it so far."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.inspection import attempts, reset_health
from llm_executor_nb.chain.routes import route_states
from llm_executor_nb.core.holds import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_executor_nb.chain.routes import RouteState

_COUNTING_SHARE = 0.02
"""Of the time, how much may go into counting a long attempt log."""
_WORDS = {
    Standing.FREE: "free",
    Standing.DUE: "probed next",
    Standing.PROBING: "being probed",
    Standing.HELD: "on hold",
}


class HealthTab:
    """What the tab shows and does."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], Counter[str]] = {}
        self._count_again_at = 0.0
        self.actions: dict[str, Callable[[Mapping[str, Any]], str]] = {"reset": self._reset}

    def rows(self) -> list[dict[str, Any]]:
        """Return every route that has a key, with its state in words and its outcomes."""
        counts = self._counted()
        return [
            {
                "model": state.model,
                "route": state.route,
                "tier": state.tier,
                "is_free": state.standing is Standing.FREE,
                "state": _state_words(state),
                "in_flight": state.in_flight,
                "outcomes": _outcome_words(counts.get((state.route, state.request_model), Counter())),
            }
            for state in route_states()
        ]

    def lines(self) -> list[str]:
        """Return the same as lines of text."""
        return [
            f"{row['model']}  {row['route']}: {row['state']}" + (f" · {row['outcomes']}" if row["outcomes"] else "")
            for row in self.rows()
        ]

    def _counted(self) -> dict[tuple[str, str], Counter[str]]:
        """Count the outcomes of each route, the more seldom the longer it takes."""
        began = time.monotonic()
        if began >= self._count_again_at:
            self._counts = {}
            log = attempts()
            counted = log.groupby(["route", "request_model", "outcome"], observed=True, as_index=False).size()
            for route, model, outcome, size in counted.itertuples(index=False):
                self._counts.setdefault((str(route), str(model)), Counter())[str(outcome)] = int(size)
            ended = time.monotonic()
            self._count_again_at = ended + (ended - began) / _COUNTING_SHARE
        return self._counts

    def _reset(self, _: Mapping[str, Any]) -> str:
        reset_health()
        return "Every hold was dropped; all routes are asked again."


def _state_words(state: RouteState) -> str:
    words = _WORDS[state.standing]
    if state.seconds_left is None:
        return words
    left = state.seconds_left
    until = "until a change" if math.isinf(left) else f"{math.ceil(left)} s left" if left else ""
    return ", ".join(filter(None, [f"{words} ({state.why})", until]))


def _outcome_words(counts: Counter[str]) -> str:
    """Return how often each outcome came, answers first."""
    ordered = sorted(counts.items(), key=lambda entry: (entry[0] != "ok", -entry[1], entry[0]))
    return " · ".join(f"{outcome} {count:,}" for outcome, count in ordered)
