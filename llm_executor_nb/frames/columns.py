"""The columns a job adds to a frame, and where they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.frames.work import RowResult, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SUFFIXES = ("", "_status", "_attempts", "_route", "_error", "_run")
_NOT_SENT = RowResult(status=Status.CANCELLED)
_SKIPPED = RowResult(status=Status.SKIPPED)


def check_names(frame: pd.DataFrame, out: str) -> None:
    """Refuse names that would write over a user's own column; those of an earlier run are known by `{out}_run`.

    Raises:
        ConfigError: a name is taken.
    """
    if not isinstance(out, str) or not out:
        raise ConfigError(f"out={out!r} must be a text: the name of the answer's column.")
    if frame.columns.nlevels > 1:
        raise ConfigError(
            "The columns have several levels; flatten them first: df.columns = map('_'.join, df.columns)."
        )
    taken = [name for name in names(out) if name in frame.columns]
    if taken and f"{out}_run" not in taken:
        raise ConfigError(f"There is a column {taken[0]!r} already. Give another name: out='...'.")


def names(out: str) -> list[str]:
    """Return the names of the six columns."""
    return [out + suffix for suffix in _SUFFIXES]


def with_results(
    frame: pd.DataFrame,
    out: str,
    results: Mapping[int, RowResult],
    is_asked: Sequence[bool],
) -> pd.DataFrame:
    """Return a new frame: the input's columns, index and order, and the six columns of the job.

    Args:
        frame: the input; it is not changed.
        out: the name of the answer's column.
        results: position -> what the row came to; a row without one was never sent.
        is_asked: per row, whether it had input.
    """
    rows = [results.get(i, _NOT_SENT) if asked else _SKIPPED for i, asked in enumerate(is_asked)]
    statuses = pd.Categorical([row.status.value for row in rows], categories=[status.value for status in Status])
    columns = {
        out: _texts([row.answer for row in rows]),
        f"{out}_status": statuses,
        f"{out}_attempts": _texts([", ".join(row.outcomes) for row in rows]),
        f"{out}_route": _texts([row.route for row in rows]),
        f"{out}_error": _texts([row.error for row in rows]),
        f"{out}_run": _texts([row.run_id for row in rows]),
    }
    return frame.assign(**{name: pd.Series(values, index=frame.index) for name, values in columns.items()})


def _texts(values: Sequence[str | None]) -> pd.api.extensions.ExtensionArray:
    return pd.array([pd.NA if value is None else value for value in values], dtype="string")
