"""The rows of a result that have no answer, asked again; all others stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llm_executor_nb.core.errors import ConfigError, JobInterrupted, LLMExecutorError
from llm_executor_nb.frames.columns import RUN, no_result, outs_of, put
from llm_executor_nb.frames.start import asked_by, make_job
from llm_executor_nb.jobs.results import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llm_executor_nb.frames.start import JobArguments

_AGAIN = (Status.FAILED.value, Status.CANCELLED.value)
_USED_UP = ("budget_usd", "budget_s")
"""Bounds of the job before; a retry has its own, if any."""
_BY_RUNNING = "Run df.llm.run again instead: what is answered is not asked again."


def with_retries(
    frame: pd.DataFrame, model: str | None, options: dict[str, Any], skip_routes: Iterable[str] = ()
) -> pd.DataFrame:
    """Return a frame in which every failed or cancelled row was asked again.

    Args:
        frame: what a job returned.
        model: whom to ask; None: as before.
        options: what is to be other than before.
        skip_routes: who is not to be asked.

    Raises:
        ConfigError: it is no job's frame, or this process does not know what was asked.
    """
    outs = outs_of(frame)
    if not outs:
        raise no_result(frame)
    skipped = [skip_routes] if isinstance(skip_routes, str) else list(skip_routes)
    for out in outs:
        frame = _with_retries_of(frame, out, model, options, skipped)
    return frame


def _with_retries_of(
    frame: pd.DataFrame, out: str, model: str | None, options: dict[str, Any], skipped: list[str]
) -> pd.DataFrame:
    positions = np.flatnonzero(frame[f"{out}_status"].astype("string").isin(_AGAIN).to_numpy(dtype=bool))
    for asked, rows in _by_what_was_asked(frame, out, positions) if len(positions) else ():
        frame = _asked_again(frame, out, rows, _arguments(asked, out, model, options), skipped)
    return frame


def _asked_again(
    frame: pd.DataFrame, out: str, rows: list[int], arguments: dict[str, Any], skipped: list[str]
) -> pd.DataFrame:
    model, column = arguments.pop("model"), arguments.pop("column")
    taken = frame[f"{out}{RUN}"].dropna().astype(str)
    job = make_job(frame.iloc[rows], model, column, arguments, skip_routes=skipped, taken=taken)
    try:
        return _put_back(frame, rows, job.begin().result(), job.columns)
    except (LLMExecutorError, JobInterrupted) as stopped:
        if stopped.result is not None:
            stopped.result = _put_back(frame, rows, stopped.result, job.columns)
        raise


def _arguments(asked: JobArguments, out: str, model: str | None, options: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in asked.options.items() if name not in _USED_UP}
    as_before = {"model": asked.model, "column": asked.column}
    renamed = {} if asked.out == out else {"out": out}
    return {**as_before, **kept, **renamed, **({} if model is None else {"model": model}), **options}


def _by_what_was_asked(
    frame: pd.DataFrame, out: str, positions: np.ndarray[Any, Any]
) -> list[tuple[JobArguments, list[int]]]:
    """Return the rows that are asked again, by what was asked for them: a frame may be made of several jobs' frames.

    A row that was never sent has no run: what was asked for it is what was asked for the last row before it that has
    one, else for the first one after it.
    """
    wanted = set(positions.tolist())
    known = _asked_by_row(frame, out, wanted)
    last = next((asked for asked in known if asked is not None), None)
    if last is None:
        raise _unknown(frame, out)
    groups: list[tuple[JobArguments, list[int]]] = []
    for position, asked in enumerate(known):
        last = asked or last
        if position in wanted:
            group = next((rows for one, rows in groups if one == last), None)
            if group is None:
                groups.append((last, group := []))
            group.append(position)
    return groups


def _unknown(frame: pd.DataFrame, out: str) -> ConfigError:
    """Return the error that says why nobody knows what was asked."""
    jobs = sorted({str(run).partition("-")[0] for run in frame[f"{out}{RUN}"].dropna()})
    if not jobs:
        return ConfigError(
            f"{out + RUN!r} holds no run id: none of these rows was ever sent, or the ids were lost, so what was asked "
            f"for {out!r} is not known. {_BY_RUNNING}"
        )
    more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    return ConfigError(
        f"What was asked for {out!r} is not known here: job {jobs[0]}{more} ran in another process, or long ago. "
        f"{_BY_RUNNING}"
    )


def _asked_by_row(frame: pd.DataFrame, out: str, again: set[int]) -> list[JobArguments | None]:
    """Return per row what its run was asked; None: unknown, or an answer bought for another column."""
    found = []
    for position, run in enumerate(frame[f"{out}{RUN}"].astype("string").fillna("")):
        asked = asked_by(run.partition("-")[0])
        found.append(asked if asked is not None and (asked.out == out or position in again) else None)
    return found


def _put_back(frame: pd.DataFrame, rows: list[int], result: pd.DataFrame, written: list[str]) -> pd.DataFrame:
    changed = {}
    for name in written:
        new = result[name]
        column = _as_now(frame[name], new.dtype) if name in frame.columns else _missing(new, frame.index)
        column.iloc[rows] = new.array
        changed[name] = column
    return put(frame, changed, written[0])


def _as_now(column: pd.Series[Any], dtype: Any) -> pd.Series[Any]:  # noqa: ANN401 - pandas' own
    """Return a copy that takes values of a dtype: of that dtype where nothing is lost (CSV forgets dtypes)."""
    if column.dtype == dtype:
        return column.copy()
    try:
        found = column.astype(dtype)
    except (TypeError, ValueError):
        return column.astype(object)
    return found if found.isna().equals(column.isna()) else column.astype(object)


def _missing(like: pd.Series[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    """Return missing values of a column's dtype."""
    return pd.Series(like.array.take([-1] * len(index), allow_fill=True), index=index)
