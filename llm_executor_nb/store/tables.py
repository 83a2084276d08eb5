"""Records to pandas: the frames that `attempts()` and `health()` return, with the same dtypes on every pandas."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from llm_executor_nb.core.holds import describe
from llm_executor_nb.store.columns import CATEGORIES, AttemptColumns
from llm_executor_nb.store.rows import Numbers, attempt_row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.holds import Hold


def attempts_frame(attempts: Iterable[Attempt]) -> pd.DataFrame:
    """Return attempts as a frame, one row each, in the order given.

    Returns:
        Columns as `ATTEMPT_COLUMNS`: texts as `string`, counts as `Int64`, seconds and dollars as `Float64`,
        `started_utc` as datetime in UTC (microseconds), `outcome` and `decision` as category.
    """
    columns = AttemptColumns()
    add_records(columns, attempts)
    return columns.frame(by_time=False)


def add_records(columns: AttemptColumns, attempts: Iterable[Attempt]) -> None:
    """Add records to a frame in the making, as rows of the ledger would be."""
    numbers = Numbers()
    rows = [attempt_row(attempt, numbers) for attempt in attempts]
    columns.add(rows, numbers.words())


def joined(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return several attempt logs as one, by the time the requests were sent, with the dtypes of each."""
    parts = [frame for frame in frames if len(frame)]
    if len(parts) < 2:
        return parts[0].reset_index(drop=True) if parts else attempts_frame(())
    whole = pd.concat(parts, ignore_index=True)
    whole = whole.astype(dict.fromkeys(CATEGORIES, "string")).astype(dict.fromkeys(CATEGORIES, "category"))
    return whole.sort_values("started_utc", kind="stable", ignore_index=True)


def holds_frame(holds: Iterable[Hold], now: float) -> pd.DataFrame:
    """Return holds as a frame, one row each.

    Args:
        holds: what is held.
        now: the clock's time.

    Returns:
        Columns scope, backend, provider, key (last characters), model, kind, why, message, seconds_left
        (infinite: until a change; 0: it has ended and the next run probes it), strikes, is_probing.
    """
    rows = [
        {
            "scope": describe(hold.scope),
            "backend": hold.scope.backend,
            "provider": hold.scope.provider,
            "key": hold.scope.secret.ending if hold.scope.secret else None,
            "model": hold.scope.model,
            "kind": hold.kind.value,
            "why": hold.why.value,
            "message": hold.message,
            "seconds_left": _seconds_left(hold, now),
            "strikes": hold.strikes,
            "is_probing": hold.is_probing,
        }
        for hold in holds
    ]
    columns = {
        "scope": "string",
        "backend": "string",
        "provider": "string",
        "key": "string",
        "model": "string",
        "kind": "string",
        "why": "string",
        "message": "string",
        "seconds_left": "float64",
        "strikes": "int64",
        "is_probing": "bool",
    }
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _seconds_left(hold: Hold, now: float) -> float:
    return hold.until if math.isinf(hold.until) else max(0.0, round(hold.until - now, 3))
