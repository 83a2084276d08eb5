"""The holds, the attempts and the doctor's report as displays: HTML with everything escaped, and a text."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain.inspection import attempts
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.holds import describe
from llm_executor_nb.settings.models import COLUMNS, SHOWN, row_as_text, shown_rows
from llm_executor_nb.view.answer import usd
from llm_executor_nb.view.holds import NOTHING_HELD
from llm_executor_nb.view.html import Bundle, block, line, marked, plain, table, text_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llm_executor_nb.core.holds import Hold
    from llm_executor_nb.notebook.finding import CheckResult

_MARKS = {"good": "ok", "wait": "look", "bad": "BAD", "dim": ""}


def health_bundle() -> Bundle:
    """Return what is on hold, why, and for how long."""
    now = clock.current().now()
    rows = [
        (describe(hold.scope), hold.why.value, _left(hold, now), hold.message) for hold in session().health.holds(now)
    ]
    return _table(("on hold", "why", "for", "in the provider's words"), rows) if rows else _lines(NOTHING_HELD)


def _left(hold: Hold, now: float) -> str:
    return "until a change" if math.isinf(hold.until) else f"{max(0.0, hold.until - now):.0f} s"


def models_bundle(part: str) -> Bundle:
    """Return the models that have some text in their names, as many as can be read, and how many more there are."""
    models = session().options.models
    found = models.find(part)
    rows = shown_rows(models, found[:SHOWN])
    rest = f"… and {len(found) - SHOWN:,} more; a longer part of the name finds fewer" if len(found) > SHOWN else ""
    return {
        "text/plain": plain("\n".join([*map(row_as_text, rows), *filter(None, [rest])])),
        "text/html": block(table(COLUMNS, rows) + (line(rest, "dim") if rest else "")),
    }


def log_bundle(count: int) -> Bundle:
    """Return the last attempts, oldest first."""
    frame = attempts().tail(count)
    names = ("sent (UTC)", "row", "", "route", "outcome", "HTTP", "took s", "then", "cost", "message")
    rows = [[None if pd.isna(value) else value for value in _logged(one)] for one in frame.itertuples()]
    return _table(names, rows) if rows else _lines("Nothing has been asked yet.")


def report_bundle(findings: Iterable[CheckResult]) -> Bundle:
    """Return the doctor's report: a heading for each part, and what was found there."""
    html, text = "", []
    for part, found in groupby(findings, key=lambda finding: finding.part):
        listed = list(found)
        html += line(part, "head") + marked([(_MARKS[one.kind], one.kind, one.words, one.next_step) for one in listed])
        text.append(part)
        for one in listed:
            text.append(f"  {_MARKS[one.kind]:<4} {one.words}")
            text += [f"       -> {one.next_step}"] if one.next_step else []
    return {"text/plain": plain("\n".join(text)), "text/html": block(html)}


def _logged(one: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a row of a frame has no type
    cost = None if pd.isna(one.cost_usd) else usd(one.cost_usd)
    sent = f"{one.started_utc:%H:%M:%S}"
    return (
        sent,
        one.row,
        one.attempt,
        one.route,
        one.outcome,
        one.http_status,
        one.duration_s,
        one.decision,
        cost,
        one.message,
    )


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> Bundle:
    listed = list(rows)
    return {"text/plain": text_table(names, listed), "text/html": block(table(names, listed))}


def _lines(*words: str) -> Bundle:
    return {"text/plain": plain("\n".join(words)), "text/html": block("".join(line(one, "dim") for one in words))}
