"""The columns a job adds to a frame, and where they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain.inspection import has_run_ids
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.jobs.results import STATUSES
from llm_executor_nb.schemas.json_text import object_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from llm_executor_nb.jobs.results import Results

_SUFFIXES = ("", "_status", "_attempts", "_route", "_error", "_run")
RUN = "_run"
"""What the name of a run's column ends in; it marks the columns of a job."""
_LOOKED_AT = 100
"""Answers that are read to see which columns hold their fields."""


def check_names(frame: pd.DataFrame, out: str, fields: Sequence[str] = (), *, earlier: Collection[str] = ()) -> None:
    """Refuse names that would write over a user's own column; those of an earlier run are known by `{out}_run`.

    Args:
        frame: the input.
        out: the name of the answer's column.
        fields: the names of a schema's columns.
        earlier: columns that are known to be fields of an earlier run. Those that stand between the answers and their
            status are fields too.

    Raises:
        ConfigError: a name is taken.
    """
    if not isinstance(out, str) or not out.strip():
        raise ConfigError(
            f"out={out!r} must be a text: the name of the answer's column. Leave it out for the usual one."
        )
    if frame.columns.nlevels > 1:
        raise ConfigError(
            "The columns have several levels; flatten them first: df.columns = map('_'.join, df.columns)."
        )
    if clash := set(names(out)) & set(fields):
        raise ConfigError(f"The schema's field {min(clash)!r} has the name of a column of the job. Give out='...'.")
    is_again = f"{out}{RUN}" in frame.columns
    known = {*names(out), *earlier, *between(frame, out)} if is_again else set()
    taken = [name for name in (*names(out), *fields) if name in frame.columns and name not in known]
    if taken:
        raise ConfigError(f"There is a column {taken[0]!r} already. Give another name: out='...'.")


def names(out: str) -> list[str]:
    """Return the names of the six columns."""
    return [out + suffix for suffix in _SUFFIXES]


def outs_of(frame: pd.DataFrame) -> list[str]:
    """Return the names of the answers' columns of the jobs whose columns a frame has."""
    found = [name.removesuffix(RUN) for name in frame.columns if isinstance(name, str) and name.endswith(RUN)]
    return [out for out in found if all(name in frame.columns for name in names(out))]


def run_columns(frame: pd.DataFrame) -> list[str]:
    """Return the names of the columns with run ids, also of those that a merge has given a suffix."""
    of_jobs = {f"{out}{RUN}" for out in outs_of(frame)}
    names = [(at, name) for at, name in enumerate(frame.columns) if isinstance(name, str) and RUN in name]
    return [name for at, name in names if name in of_jobs or has_run_ids(frame.iloc[:, at])]


def status_column(frame: pd.DataFrame, run: str) -> pd.Series[Any]:
    """Return the statuses beside a column of run ids.

    Raises:
        ConfigError: they are missing.
    """
    out, _, suffix = run.rpartition(RUN)
    name = f"{out}_status{suffix}"
    if name not in frame.columns:
        raise ConfigError(f"Beside {run!r} the column {name!r} is missing; keep all columns of the job.")
    return frame[name]


def no_result(frame: pd.DataFrame) -> ConfigError:
    """Return the error that says why no job's columns are found in a frame."""
    for run in run_columns(frame):
        out, _, suffix = run.rpartition(RUN)
        if suffix:
            return ConfigError(
                f"The columns of the job were renamed: {run!r} was {out + RUN!r}. Rename them back, all of them."
            )
        missing = next(name for name in names(out) if name not in frame.columns)
        return ConfigError(f"Beside {run!r} the column {missing!r} is missing; keep all columns of the job.")
    return ConfigError("This frame has no column that ends in '_run', so it is not the result of df.llm.run.")


def with_results(
    frame: pd.DataFrame, out: str, results: Results, typed: Mapping[str, pd.Series[Any]] | None = None
) -> pd.DataFrame:
    """Return a new frame: the input's columns, index and order, and the columns of the job.

    Args:
        frame: the input; it is not changed.
        out: the name of the answer's column.
        results: what its rows came to.
        typed: a schema's columns, by name.
    """
    known = pd.CategoricalDtype([status.value for status in STATUSES])
    statuses = pd.Categorical.from_codes(results.statuses(), dtype=known)
    columns = {
        out: _texts(results.answers()),
        **{name: values.array for name, values in (typed or {}).items()},
        f"{out}_status": statuses,
        f"{out}_attempts": _texts(results.outcomes()),
        f"{out}_route": _texts(results.routes()),
        f"{out}_error": _texts(results.errors()),
        f"{out}{RUN}": _texts(results.runs()),
    }
    return put(frame, {name: pd.Series(values, index=frame.index) for name, values in columns.items()}, out)


def put(frame: pd.DataFrame, columns: Mapping[str, pd.Series[Any]], out: str) -> pd.DataFrame:
    """Return a new frame with a job's columns: in the place of those of that name; new ones beside the answers.

    Args:
        frame: the input; it is not changed.
        columns: all with the frame's index.
        out: the name of the answers' column.
    """
    found = frame.assign(**columns)
    if out not in frame.columns or len(found.columns) == len(frame.columns):
        return found
    after = list(found.columns).index(out) + 1
    new = range(len(frame.columns), len(found.columns))
    return found.iloc[:, [*range(after), *new, *range(after, len(frame.columns))]]


def between(frame: pd.DataFrame, out: str) -> list[str]:
    """Return the columns between the answers and their status, where a schema's fields stand."""
    found = list(frame.columns)
    if out not in found or f"{out}_status" not in found:
        return []
    return found[found.index(out) + 1 : found.index(f"{out}_status")]


def fields_of_answers(frame: pd.DataFrame, out: str) -> set[str]:
    """Return the columns beside the answers that are named as fields of these answers are."""
    answers = frame[out].dropna().iloc[:_LOOKED_AT]
    fields = {name for answer in answers for name in _fields_of(answer)}
    return {name for name in between(frame, out) if name in fields or str(name).removeprefix(f"{out}_") in fields}


def _fields_of(answer: object) -> Collection[str]:
    try:
        return object_in(str(answer)).keys()
    except ValueError:
        return ()


def _texts(values: Any) -> Any:  # noqa: ANN401 - numpy's array of objects, and pandas' of texts
    return pd.array(values, dtype="string")
