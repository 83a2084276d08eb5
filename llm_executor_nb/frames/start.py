"""From the arguments of `df.llm.run` to a job that is ready to begin; what was asked is remembered for a retry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain import warmup
from llm_executor_nb.chain.compile import compiled, without
from llm_executor_nb.chain.session import session
from llm_executor_nb.frames.columns import RUN, between, check_names, fields_of_answers
from llm_executor_nb.frames.job import Job
from llm_executor_nb.frames.prompts import Prompts
from llm_executor_nb.jobs.options import JobOptions, make_options
from llm_executor_nb.jobs.runner import JobRunner
from llm_executor_nb.view.job import make_progress

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    import pandas as pd

_REMEMBERED = 1000
_OWN = ("template", "progress")
"""Arguments of `df.llm.run` that an order has no part in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobArguments:
    """The arguments of one job, as the user gave them, and the columns it wrote: the answers', a schema's fields."""

    model: str
    column: Hashable | None
    options: Mapping[str, Any]
    out: str
    fields: tuple[str, ...]


_asked: dict[str, JobArguments] = {}


def check(
    frame: pd.DataFrame,
    model: str,
    column: Hashable | None,
    options: Mapping[str, Any],
    *,
    skip_routes: Iterable[str] = (),
) -> tuple[JobOptions, Prompts]:
    """Check the arguments of a job against its frame.

    Args:
        frame: the input.
        model: as `df.llm.run` takes it.
        column: as `df.llm.run` takes it.
        options: all other arguments of `df.llm.run`, by name; one that it does not have is refused.
        skip_routes: as `retry_failed` takes it.

    Raises:
        ConfigError: one of them cannot be right; nothing was sent.
    """
    prompts = Prompts(frame, column, options.get("template"))
    warmup.wait()
    chain = without(compiled(model, session().options, session().health), skip_routes)
    order = make_options(chain, column, **_without(options, _OWN))
    check_names(frame, order.out, list(order.fields.values()), earlier=_fields_asked(frame, order.out))
    return order, prompts


def make_job(
    frame: pd.DataFrame,
    model: str,
    column: Hashable | None,
    options: Mapping[str, Any],
    *,
    skip_routes: Iterable[str] = (),
    taken: Iterable[str] = (),
) -> Job:
    """Return a job that has not begun.

    Args:
        frame: the input.
        model: as `df.llm.run` takes it.
        column: as `df.llm.run` takes it.
        options: all other arguments of `df.llm.run`, by name.
        skip_routes: as `retry_failed` takes it.
        taken: runs whose answers are drawn already; no other row gets them.

    Raises:
        ConfigError: an argument is wrong; nothing was sent.
    """
    order, prompts = check(frame, model, column, options, skip_routes=skip_routes)
    now = session()
    work = JobRunner(
        order, prompts, index=frame.index, engine=now.engine(), health=now.health, ledger=now.ledger, taken=taken
    )
    now.job_ids.append(work.job_id)
    fields = tuple(order.fields.values())
    _asked[work.job_id] = JobArguments(
        model=model, column=column, options=_without(options, ("progress",)), out=order.out, fields=fields
    )
    if len(_asked) > _REMEMBERED:
        del _asked[next(iter(_asked))]
    left_over = _left_over(frame, order, prompts)
    kept = frame.drop(columns=left_over) if left_over else frame.copy(deep=False)
    job = Job(work, frame=kept, ledger=now.ledger, progress=make_progress(is_shown=options.get("progress", True)))
    now.jobs.add(job)
    return job


def asked_by(job_id: str) -> JobArguments | None:
    """Return what a job of this process was asked; None: it was another's, or too long ago."""
    return _asked.get(job_id)


def _without(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


def _left_over(frame: pd.DataFrame, order: JobOptions, prompts: Prompts) -> list[str]:
    """Return the fields of an earlier run in place of which this one has none; never a column that is no field.

    A field stands between the answers and their status, and is known by the run that wrote it; where this process does
    not know that run, by the answers, whose JSON names it.
    """
    out = order.out
    if f"{out}{RUN}" not in frame.columns or not (found := between(frame, out)):
        return []
    asked = [asked_by(job) for job in _jobs_of(frame, out)]
    is_known = all(one is not None and one.out == out for one in asked)
    fields = _fields_asked(frame, out) | (set() if is_known else fields_of_answers(frame, out))
    stay = {*order.fields.values(), *prompts.labels}
    return [name for name in found if name in fields - stay and list(frame.columns).count(name) == 1]


def _jobs_of(frame: pd.DataFrame, out: str) -> set[str]:
    return {str(run).partition("-")[0] for run in frame[f"{out}{RUN}"].dropna()}


def _fields_asked(frame: pd.DataFrame, out: str) -> set[str]:
    """Return the fields that the jobs of this process wrote beside an answers' column."""
    if f"{out}{RUN}" not in frame.columns:
        return set()
    found = [asked for job in _jobs_of(frame, out) if (asked := asked_by(job)) is not None and asked.out == out]
    return {name for asked in found for name in asked.fields}
