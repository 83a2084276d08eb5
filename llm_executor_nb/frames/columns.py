"""The columns that a job adds to a frame: their names, their place, and how an earlier job's are found again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain.inspection import has_run_ids
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.jobs.results import FINAL_STATUSES, STATUSES, Status
from llm_executor_nb.store.policies import policy_as_text, policy_in_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from llm_executor_nb.core.policy import Policy
    from llm_executor_nb.jobs.results import Results

_SUFFIXES = ("", "_status", "_attempts", "_route", "_error", "_run")
RUN = "_run"
"""The end of the name of the column with run ids; it marks the columns of a job."""
_POLICIES = "llm_policies"
"""Where a result holds the policies of its jobs, in `DataFrame.attrs`, by the answers' columns."""


def check_names(frame: pd.DataFrame, out: str, fields: Sequence[str] = (), *, earlier: Collection[str] = ()) -> None:
    """Refuse names that would overwrite a user's own column; an earlier job's columns are known by `{out}_run`.

    Args:
        frame: the input.
        out: the name of the answer's column.
        fields: the names of a schema's columns.
        earlier: known fields of an earlier job. Columns between the answers and their status count as fields too,
            so that a frame that was read from a file can be run again.

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
    # design 6: input is never altered silently, so only columns that a job wrote may be replaced
    is_again = f"{out}{RUN}" in frame.columns
    known = {*names(out), *earlier, *_between(frame, out)} if is_again else set()
    taken = [name for name in (*names(out), *fields) if name in frame.columns and name not in known]
    if taken:
        raise ConfigError(f"There is a column {taken[0]!r} already. Give another name: out='...'.")


def names(out: str) -> list[str]:
    """Return the names of the six columns."""
    return [out + suffix for suffix in _SUFFIXES]


def outs_of(frame: pd.DataFrame) -> list[str]:
    """Return the names of the answers' columns of all jobs whose columns a frame has."""
    outs = [name.removesuffix(RUN) for name in frame.columns if isinstance(name, str) and name.endswith(RUN)]
    return [out for out in outs if all(name in frame.columns for name in names(out))]


def run_columns(frame: pd.DataFrame) -> list[str]:
    """Return the names of the columns with run ids, also of those that got a suffix in a merge."""
    # A renamed column is found by the look of its values; of a job's own column the name is proof enough.
    of_jobs = {f"{out}{RUN}" for out in outs_of(frame)}
    candidates = [(at, name) for at, name in enumerate(frame.columns) if isinstance(name, str) and RUN in name]
    return [name for at, name in candidates if name in of_jobs or has_run_ids(frame.iloc[:, at])]


def jobs_of(frame: pd.DataFrame, out: str) -> list[str]:
    """Return the ids of the jobs whose runs stand beside an answers' column."""
    runs = frame[f"{out}{RUN}"].dropna() if f"{out}{RUN}" in frame.columns else ()
    return sorted({str(run).partition("-")[0] for run in runs})


def status_column(frame: pd.DataFrame, run: str) -> pd.Series[Any]:
    """Return the column of statuses beside a column of run ids.

    Raises:
        ConfigError: it is missing.
    """
    out, _, suffix = run.rpartition(RUN)
    name = f"{out}_status{suffix}"
    if name not in frame.columns:
        raise ConfigError(f"Beside {run!r} the column {name!r} is missing; keep all columns of the job.")
    return frame[name]


def no_result(frame: pd.DataFrame) -> ConfigError:
    """Return the error for a frame in which the columns of a job are not found."""
    for run in run_columns(frame):
        out, _, suffix = run.rpartition(RUN)
        if suffix:
            return ConfigError(
                f"The columns of the job were renamed: {run!r} was {out + RUN!r}. Rename them back, all of them."
            )
        missing = next(name for name in names(out) if name not in frame.columns)
        return ConfigError(f"Beside {run!r} the column {missing!r} is missing; keep all columns of the job.")
    return ConfigError(
        "This frame has no column that ends in '_run', so it is not the result of df.llm.run. "
        "Take the frame that df.llm.run returned, with all its columns."
    )


def with_results(
    frame: pd.DataFrame, out: str, results: Results, typed: Mapping[str, pd.Series[Any]] | None = None
) -> pd.DataFrame:
    """Return a new frame: the input's columns, index and order, and the columns of the job.

    Args:
        frame: the input; it is not changed.
        out: the name of the answer's column.
        results: the results of its rows.
        typed: a schema's columns, by name.
    """
    codes = results.statuses()
    # only a job under way has pending rows: a result keeps the five categories that it always had
    known = STATUSES if (codes == STATUSES.index(Status.PENDING)).any() else FINAL_STATUSES
    statuses = pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype([status.value for status in known]))
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


def with_policy(frame: pd.DataFrame, out: str, policy: Policy) -> pd.DataFrame:
    """Note in a new frame the policy of the job that made a column: stored answers were bought under their own."""
    noted = {name: text for name, text in frame.attrs.get(_POLICIES, {}).items() if name != out}
    if (text := policy_as_text(policy)) is not None:
        noted[out] = text  # a plain text: Parquet stores it as JSON
    others = {name: value for name, value in frame.attrs.items() if name != _POLICIES}
    frame.attrs = {**others, _POLICIES: noted} if noted else others
    return frame


def policy_of(frame: pd.DataFrame, run: str) -> Policy:
    """Return the policy of the job that made a column of run ids, as far as the frame has it noted."""
    return policy_in_text(frame.attrs.get(_POLICIES, {}).get(run.rpartition(RUN)[0]))


def put(frame: pd.DataFrame, columns: Mapping[str, pd.Series[Any]], out: str) -> pd.DataFrame:
    """Return a new frame with a job's columns: old names keep their place, new ones stand beside the answers.

    Args:
        frame: the input; it is not changed.
        columns: all with the frame's index.
        out: the name of the answers' column.
    """
    filled = frame.assign(**columns)
    if out not in frame.columns or len(filled.columns) == len(frame.columns):
        return filled
    after = list(filled.columns).index(out) + 1
    new = range(len(frame.columns), len(filled.columns))
    return filled.iloc[:, [*range(after), *new, *range(after, len(frame.columns))]]


def without_log(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a new frame without the columns that jobs write about their work; answers and fields stay."""
    parts = [run.rpartition(RUN) for run in run_columns(frame)]
    logged = {f"{out}{name}{suffix}" for out, _, suffix in parts for name in _SUFFIXES[1:]}
    return frame.drop(columns=[name for name in frame.columns if name in logged])


def without_fields(frame: pd.DataFrame, out: str, fields: Collection[str]) -> pd.DataFrame:
    """Return a new frame without an earlier schema's fields, where they stand between the answers and their status.

    A column elsewhere is a user's own, whatever its name.
    """
    labels = list(frame.columns)
    old = [name for name in _between(frame, out) if name in fields and labels.count(name) == 1]
    return frame.drop(columns=old) if old else frame.copy(deep=False)


def _between(frame: pd.DataFrame, out: str) -> list[str]:
    """Return the columns between the answers and their status, where a schema's fields stand."""
    labels = list(frame.columns)
    if out not in labels or f"{out}_status" not in labels:
        return []
    return labels[labels.index(out) + 1 : labels.index(f"{out}_status")]


def _texts(values: Any) -> Any:  # noqa: ANN401 - numpy's array of objects, and pandas' array of texts
    return pd.array(values, dtype="string")
