"""Asks again for the rows of a result that have no answer; all other rows stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError, JobInterrupted, LLMExecutorError
from llm_executor_nb.frames.columns import RUN, jobs_of, no_result, outs_of, put
from llm_executor_nb.frames.start import arguments_of, make_job
from llm_executor_nb.jobs.results import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llm_executor_nb.frames.start import JobArguments

_WITHOUT_ANSWER = (Status.FAILED.value, Status.CANCELLED.value, Status.PENDING.value)
_BUDGETS = ("budget_usd", "budget_s")
"""Bounds of the earlier job, which it may have used up; a retry takes none of them over."""
_RUN_AGAIN = "Run df.llm.run again instead: what is answered is not asked again."


def with_retries(
    frame: pd.DataFrame, model: str | None, options: dict[str, Any], skip_routes: Iterable[str] = ()
) -> pd.DataFrame:
    """Return a frame in which every row without an answer was asked again.

    Args:
        frame: the result of a job.
        model: the model to ask; None: as before.
        options: arguments that differ from before.
        skip_routes: routes that are not asked.

    Raises:
        ConfigError: it is not the result of a job, or this process does not know the job's arguments.
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
    positions = rows_to_ask_again(frame, out)
    for before, rows in _by_arguments(frame, out, positions) if positions else ():
        frame = _asked_again(frame, out, rows, _arguments(before, out, model, options), skipped)
    return frame


def _asked_again(
    frame: pd.DataFrame, out: str, rows: list[int], arguments: dict[str, Any], skipped: list[str]
) -> pd.DataFrame:
    model, column = arguments.pop("model"), arguments.pop("column")
    # design 6: above temperature 0 each row has a draw of its own, so a retry gets none that stands in another row
    taken = frame[f"{out}{RUN}"].dropna().astype(str)
    job = make_job(frame.iloc[rows], model, column, arguments, skip_routes=skipped, taken=taken)
    try:
        return put_back(frame, rows, job.result(), job.columns)
    except (LLMExecutorError, JobInterrupted) as stopped:
        if stopped.result is not None:  # the user goes on with the whole frame, not with the rows asked again
            stopped.result = put_back(frame, rows, stopped.result, job.columns)
        raise


def _arguments(before: JobArguments, out: str, model: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the retry: those from before, overridden by what the user gives now."""
    unchanged = {name: value for name, value in before.options.items() if name not in _BUDGETS}
    renamed = {} if before.out == out else {"out": out}
    # design 3.5: a retry is a request of today's session; where that demands nothing, what the job demanded still holds
    kept = {"policy": before.session_policy} if before.session_policy and not session().options.policy else {}
    asked = before.model if model is None else model
    return {"column": before.column, **unchanged, **kept, **renamed, "model": asked, **options}


def _by_arguments(frame: pd.DataFrame, out: str, positions: list[int]) -> list[tuple[JobArguments, list[int]]]:
    """Return the rows that are asked again, grouped by their job's arguments: a frame may be made of several results.

    A row that was never sent has no run id. It takes the arguments of the nearest row above it that has one, else of
    the first row below.
    """
    again = set(positions)
    by_row = _arguments_by_row(frame, out, again)
    current = next((arguments for arguments in by_row if arguments is not None), None)
    if current is None:
        raise _unknown(jobs_of(frame, out), out)
    groups: list[tuple[JobArguments, list[int]]] = []
    for position, arguments in enumerate(by_row):
        current = arguments or current
        if position in again:
            group = next((rows for one, rows in groups if one == current), None)
            if group is None:
                groups.append((current, group := []))
            group.append(position)
    return groups


def _arguments_by_row(frame: pd.DataFrame, out: str, again: set[int]) -> list[JobArguments | None]:
    """Return the arguments of each row's job; None: unknown, or the answer was bought for another column."""
    by_row = []
    for position, run in enumerate(frame[f"{out}{RUN}"].astype("string").fillna("")):
        arguments = arguments_of(run.partition("-")[0])
        is_of_column = arguments is not None and (arguments.out == out or position in again)
        by_row.append(arguments if is_of_column else None)
    return by_row


def arguments_of_result(job_ids: list[str], out: str, model: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with which all rows of a result are asked again.

    Args:
        job_ids: the jobs whose runs stand beside the answers.
        out: the answers' column.
        model: the model to ask; None: as before.
        options: arguments that differ from before.

    Raises:
        ConfigError: what was asked is not known here, or the jobs had different arguments.
    """
    known = [arguments for job_id in job_ids if (arguments := arguments_of(job_id)) is not None]
    if not known:
        raise _unknown(job_ids, out)
    retries = [_arguments(one, out, model, options) for one in known]
    if any(one != retries[0] for one in retries):
        raise ConfigError(f"The rows of {out!r} were asked in different ways. {_RUN_AGAIN}")
    return retries[0]


def _unknown(jobs: list[str], out: str) -> ConfigError:
    """Return the error for a result whose jobs' arguments are not known."""
    if not jobs:
        return ConfigError(
            f"{out + RUN!r} holds no run id: none of these rows was ever sent, or the ids were lost, so what was asked "
            f"for {out!r} is not known. {_RUN_AGAIN}"
        )
    more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    return ConfigError(
        f"What was asked for {out!r} is not known here: job {jobs[0]}{more} ran in another process, or long ago. "
        f"{_RUN_AGAIN}"
    )


def rows_to_ask_again(frame: pd.DataFrame, out: str) -> list[int]:
    """Return the positions of the rows of a result that have no answer."""
    statuses = frame[f"{out}_status"].astype("string")
    return [int(at) for at in np.flatnonzero(statuses.isin(_WITHOUT_ANSWER).to_numpy(dtype=bool))]


def put_back(frame: pd.DataFrame, rows: list[int], result: pd.DataFrame, written: list[str]) -> pd.DataFrame:
    """Return a frame in which some rows have the columns of a newer job."""
    changed = {}
    for name in written:
        new = result[name]
        column = _as_dtype(frame[name], new.dtype, rows) if name in frame.columns else _missing(new, frame.index)
        column.iloc[rows] = new.array
        changed[name] = column
    return put(frame, changed, written[0])


def _as_dtype(column: pd.Series[Any], dtype: Any, replaced: list[int]) -> pd.Series[Any]:  # noqa: ANN401 - pandas' own
    """Return a copy of a column that can hold values of a dtype: as that dtype if only replaced values are lost."""
    if column.dtype == dtype:
        return column.copy()
    is_category = isinstance(dtype, pd.CategoricalDtype)
    known = column.where(column.isin(dtype.categories)) if is_category else column  # pandas warns of other values
    try:
        converted = known.astype(dtype)  # CSV forgets dtypes, so a result that was read back has others
    except (TypeError, ValueError):
        return column.astype(object)
    is_lost = converted.isna().to_numpy() & ~column.isna().to_numpy()
    is_lost[replaced] = False
    return column.astype(object) if is_lost.any() else converted


def _missing(like: pd.Series[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    """Return missing values of a column's dtype."""
    return pd.Series(like.array.take([-1] * len(index), allow_fill=True), index=index)
