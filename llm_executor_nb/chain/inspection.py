"""What can be asked about calls afterwards: the attempts behind an answer, and what is on hold."""

from __future__ import annotations

from typing import Any

import pandas as pd

from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.store.tables import attempts_frame, holds_frame
from llm_executor_nb.view.holds import HoldsFrame

_RUN = "_run"
_OF_A_JOB = r"[0-9a-f]{12}-[0-9a-f]+"
"""The form of a job's run ids."""


def attempts(of: object = None) -> pd.DataFrame:
    """Return the attempt log: who was asked, what came back, how long it took, what it cost.

    Args:
        of: a reply, an exception of this package, a frame that a job returned (merged or not), its `*_run` column, a
            job, or a run id; None: all that this process made (of calls by hand the last 10,000).

    Returns:
        One row per request, by the time it was sent; the columns of `Attempt`.

    Raises:
        ConfigError: it is nothing that has attempts.
    """
    if of is None:
        return session().attempts()
    if isinstance(of, BaseException) and isinstance(found := getattr(of, "attempts", None), tuple):
        return attempts_frame(found)
    if isinstance(job_id := getattr(of, "job_id", None), str):
        return session().attempts_of(job_ids=[job_id])
    if (run_ids := run_ids_of(of)) is not None:
        return session().attempts_of(run_ids=run_ids)
    raise ConfigError(
        f"A {type(of).__name__} has no attempts. Give a reply, an exception of this package, a job, a frame that "
        "df.llm.run returned, or a run id; without an argument all attempts are shown.",
    )


def health() -> pd.DataFrame:
    """Return what is on hold: one row per hold, why, and the seconds left. Sends nothing.

    Returns:
        A frame; where nothing is on hold it has no row, and its display says so.
    """
    now = clock.current().now()
    return HoldsFrame(holds_frame(session().health.holds(now), now))


def reset_health() -> None:
    """Drop every hold and every pace that refusals have taught, so that every route is asked again."""
    session().health.reset()


def run_ids_of(of: object) -> list[str] | None:
    """Return the run ids that a reply, a frame with `*_run` columns, one of these, or a run id stands for."""
    if isinstance(of, str):
        return [of]
    metadata = getattr(of, "response_metadata", None)
    if isinstance(metadata, dict) and "llm_run_id" in metadata:
        return [metadata["llm_run_id"]]
    if isinstance(of, pd.Series):
        return [str(run) for run in of.dropna()] if _is_of_runs(of) else None
    frame: Any = of
    columns = [frame.iloc[:, at] for at in range(frame.shape[1])] if isinstance(of, pd.DataFrame) else []
    found = [column for column in columns if _is_of_runs(column)]
    return [str(run) for column in found for run in column.dropna()] if found else None


def has_run_ids(column: pd.Series[Any]) -> bool:
    """Say whether a column holds run ids of jobs, whatever its name: it has texts of their form and no others."""
    if not pd.api.types.is_string_dtype(column.dropna()):
        return False
    told = column.dropna().astype("string")
    return len(told) > 0 and bool(told.str.fullmatch(_OF_A_JOB).all())


def _is_of_runs(column: pd.Series[Any]) -> bool:
    """Say whether a column has the name of a run's, or had before a merge gave it a suffix."""
    name = column.name
    return isinstance(name, str) and (name.endswith(_RUN) or (_RUN in name and has_run_ids(column)))
