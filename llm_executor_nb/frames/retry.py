"""The rows of a result that have no answer, asked again; all others stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llm_executor_nb.core.errors import ConfigError, JobInterrupted, LLMExecutorError
from llm_executor_nb.frames.columns import RUN, outs_of
from llm_executor_nb.frames.results import Status
from llm_executor_nb.frames.start import asked_by, make_job

if TYPE_CHECKING:
    import pandas as pd

    from llm_executor_nb.frames.start import Asked

_AGAIN = (Status.FAILED.value, Status.CANCELLED.value)
_USED_UP = ("budget_usd", "budget_s")
"""Bounds of the job before; a retry has its own, if any."""
_BY_RUNNING = "Run df.llm.run again instead: what is answered is not asked again."


def with_retries(frame: pd.DataFrame, model: str | None, options: dict[str, Any]) -> pd.DataFrame:
    """Return a frame in which every failed or cancelled row was asked again.

    Args:
        frame: what a job returned.
        model: whom to ask; None: as before.
        options: what is to be other than before.

    Raises:
        ConfigError: it is no job's frame, or this process does not know what was asked.
    """
    outs = outs_of(frame)
    if not outs:
        raise ConfigError("This frame has no column that ends in '_run', so it is not the result of df.llm.run.")
    for out in outs:
        frame = _with_retries_of(frame, out, model, options)
    return frame


def _with_retries_of(frame: pd.DataFrame, out: str, model: str | None, options: dict[str, Any]) -> pd.DataFrame:
    positions = np.flatnonzero(frame[f"{out}_status"].astype("string").isin(_AGAIN).to_numpy(dtype=bool))
    if not len(positions):
        return frame
    asked = _asked_for(frame, out)
    kept = {name: value for name, value in asked.options.items() if name not in _USED_UP}
    job = make_job(
        frame.iloc[positions],
        asked.model if model is None else model,
        asked.column,
        template=asked.template,
        **{**kept, **options},
    )
    try:
        return _put_back(frame, positions, job.begin().result(), job.columns)
    except (LLMExecutorError, JobInterrupted) as stopped:
        if stopped.result is not None:
            stopped.result = _put_back(frame, positions, stopped.result, job.columns)
        raise


def _asked_for(frame: pd.DataFrame, out: str) -> Asked:
    """Return what was asked for a frame's column, told by the runs of its rows, those without an answer first."""
    runs = frame[f"{out}{RUN}"].dropna()
    is_failed = frame[f"{out}_status"].loc[runs.index].isin(_AGAIN) if runs.index.is_unique else runs.isna()
    for run in [*runs[is_failed.to_numpy()], *runs]:
        if (asked := asked_by(str(run).partition("-")[0])) is not None:
            return asked
    raise ConfigError(f"What was asked for {out!r} is not known to this process. {_BY_RUNNING}")


def _put_back(
    frame: pd.DataFrame, positions: np.ndarray[Any, Any], result: pd.DataFrame, written: list[str]
) -> pd.DataFrame:
    changed = {}
    for name in written:
        column = frame[name].copy() if name in frame.columns else None
        if column is None or column.dtype != result[name].dtype:
            column = result[name].astype(object).reindex(frame.index) if column is None else column.astype(object)
        column.iloc[positions] = result[name].array
        changed[name] = column
    return frame.assign(**changed)
