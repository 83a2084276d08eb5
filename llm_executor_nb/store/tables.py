"""Records to pandas: the frames that `attempts()` and `health()` return, with the same dtypes on every pandas."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from llm_executor_nb.core.holds import describe
from llm_executor_nb.core.records import ATTEMPT_COLUMNS, Attempt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llm_executor_nb.core.holds import Hold

_INTEGERS = ("position", "attempt", "http_status", "input_tokens", "output_tokens")
_FLOATS = ("wait_s", "duration_s", "retry_after_s", "cost_usd")
_CATEGORIES = ("outcome", "decision")


def attempts_frame(attempts: Iterable[Attempt]) -> pd.DataFrame:
    """Return attempts as a frame, one row each, in the order given.

    Returns:
        Columns as `ATTEMPT_COLUMNS`: texts as `string`, counts as `Int64`, seconds and dollars as `Float64`,
        `started_utc` as datetime in UTC, `outcome` and `decision` as category.
    """
    rows = list(attempts)
    frame = pd.DataFrame({name: [getattr(row, name) for row in rows] for name in ATTEMPT_COLUMNS}, dtype=object)
    for name in ATTEMPT_COLUMNS:
        if name == "started_utc":
            frame[name] = pd.to_datetime(frame[name], utc=True)
        elif name in _INTEGERS:
            frame[name] = frame[name].astype("Int64")
        elif name in _FLOATS:
            frame[name] = frame[name].astype("Float64")
        elif name in _CATEGORIES:
            frame[name] = frame[name].map(str).astype("category")
        else:
            frame[name] = frame[name].astype("string")
    return frame


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
