"""From the arguments of `df.llm.run` to a job that is ready to begin; the arguments are remembered for a retry."""

# ruff: noqa: ANN401 - a schema is a class, a dict or a list; parameters are checked by name

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from llm_executor_nb.chain import warmup
from llm_executor_nb.chain.compile import compiled, without
from llm_executor_nb.chain.policies import under_policy
from llm_executor_nb.chain.promises import reuse_rule
from llm_executor_nb.chain.request import check_accept, check_alone, check_tier_fallback
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.core.policy import NO_POLICY
from llm_executor_nb.frames.columns import check_names, jobs_of, without_fields
from llm_executor_nb.frames.job import Job
from llm_executor_nb.frames.prompts import Prompts
from llm_executor_nb.jobs.options import NAME, JobOptions, check_price, prices_for
from llm_executor_nb.jobs.runner import JobRunner
from llm_executor_nb.providers.parameters import check_extra_body, check_params
from llm_executor_nb.providers.payload import make_payload
from llm_executor_nb.schemas.schema import make_schema
from llm_executor_nb.settings.options import check_bound, check_concurrency, check_hedge
from llm_executor_nb.view.job import make_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.policy import Policy

_REMEMBERED = 1000
_RUN = "df.llm.run"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobArguments:
    """The arguments of one job as the user gave them, and the columns it writes: the answers', a schema's fields.

    The session's policy is among them where the job had none of its own.
    """

    model: str
    column: Hashable | None
    options: Mapping[str, Any]
    out: str
    fields: tuple[str, ...]
    session_policy: Policy

    @classmethod
    def of(cls, checked: JobOptions, model: str, column: Hashable | None, options: Mapping[str, Any]) -> JobArguments:
        """Return the arguments of a job whose options were checked."""
        return cls(
            model=model,
            column=column,
            options={name: value for name, value in options.items() if name != "progress"},
            out=checked.out,
            fields=tuple(checked.fields.values()),
            session_policy=checked.policy if options.get("policy") is None else NO_POLICY,
        )


_arguments: dict[str, JobArguments] = {}
"""Of the jobs of this process, by their ids: a result holds only the job's id, and a retry needs the arguments."""


@noted_as(_RUN)
def check_arguments(
    frame: pd.DataFrame,
    model: str,
    column: Hashable | None,
    /,
    *,
    template: str | None = None,
    out: str | None = None,
    system: str | None = None,
    schema: Any = None,
    accept: Callable[[AIMessage], object] | None = None,
    policy: Policy | None = None,
    service_tier_fallback: bool = False,
    on_error: Literal["record", "raise"] = "record",
    concurrency: int | None = None,
    hedge: bool | float | None = None,
    budget_usd: float | None = None,
    budget_s: float | None = None,
    price: tuple[float, float] | None = None,
    timeout: float | None = None,
    deadline: float | None = None,
    reuse: bool = True,
    max_age: str | float | pd.Timedelta | None = "7D",
    progress: bool = True,
    extra_body: Mapping[str, Mapping[str, Any]] | None = None,
    **params: Any,
) -> tuple[JobOptions, Prompts]:
    """Check the arguments of a job against its frame; the docstring of `df.llm.run` explains them.

    All methods of the accessors that take these arguments show this signature.

    Raises:
        ConfigError: one of them is not valid; nothing was sent.
    """
    warmup.wait(is_told=progress)
    sent = check_params(params, door=_RUN)  # first: a misspelled name explains most other errors
    prompts = Prompts(frame, column, template)
    current = session()
    config = current.options
    extra_body = check_extra_body(extra_body, config.backend_names)
    checked = None if schema is None else make_schema(schema)
    if on_error not in ("record", "raise"):
        raise ConfigError(f"on_error={on_error!r} must be 'record' or 'raise'.")
    if checked is not None:
        check_alone(params, extra_body)
    make_payload("check", sent, system=system)  # LangChain refuses some parameters only here
    fields = {name: name if out is None else f"{out}_{name}" for name in checked.fields} if checked else {}
    answers = (NAME if column is None else f"{column}_{NAME}") if out is None else out
    check_names(frame, answers, list(fields.values()), earlier=_earlier_fields(frame, answers))
    own_price = check_price(price)
    make = partial(
        JobOptions,
        column=NAME if column is None else str(column),
        out=answers,
        fields=fields,
        params=sent,
        system=system,
        extra_body=extra_body,
        has_tier_fallback=check_tier_fallback(service_tier_fallback),
        schema=checked,
        accept=check_accept(accept),
        timeout_s=config.timeout_s if timeout is None else check_bound("timeout", timeout),
        deadline_s=check_bound("deadline", deadline),
        concurrency=config.concurrency if concurrency is None else check_concurrency(concurrency),
        hedge=config.hedge if hedge is None else check_hedge(hedge),
        is_raising=on_error == "raise",
        reuse=bool(reuse),
        max_age_s=_seconds(max_age),
        budget_usd=_dollars(budget_usd),
        budget_s=check_bound("budget_s", budget_s),
        shows_progress=progress,
    )
    # last: who has no key yet is told what else is wrong
    chain, policy = under_policy(
        policy, compiled(model, current, is_asking=True), config, payload=sent, extra_body=extra_body
    )
    options = make(
        chain=chain,
        policy=policy,
        may_take=reuse_rule(policy, chain.model) if reuse else None,
        prices=prices_for(chain, own_price, is_needed=budget_usd is not None),
    )
    return options, prompts


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
        taken: runs whose answers other rows have already, so that no row of this job gets them.

    Raises:
        ConfigError: an argument is not valid; nothing was sent.
    """
    row_options, prompts = check_arguments(frame, model, column, **options)
    row_options = replace(row_options, chain=without(row_options.chain, skip_routes))
    out, fields = row_options.out, tuple(row_options.fields.values())
    old_fields = _earlier_fields(frame, out) - {*fields, *prompts.labels}
    current = session()
    runner = JobRunner(
        row_options, prompts, engine=current.engine(), health=current.health, ledger=current.ledger, taken=taken
    )
    remember(runner.job_id, JobArguments.of(row_options, model, column, options))
    progress = make_progress(is_shown=row_options.shows_progress)
    job = Job(runner, frame=without_fields(frame, out, old_fields), ledger=current.ledger, progress=progress)
    current.job_ids.append(runner.job_id)
    current.jobs.add(job)
    return job


def arguments_of(job_id: str) -> JobArguments | None:
    """Return the arguments of a job of this process; None: another process ran it, or it was too long ago."""
    return _arguments.get(job_id)


def remember(job_id: str, arguments: JobArguments) -> None:
    """Keep the arguments of a job of this process."""
    _arguments[job_id] = arguments  # they hold the user's schema and functions, so not for ever
    if len(_arguments) > _REMEMBERED:
        del _arguments[next(iter(_arguments))]


def _earlier_fields(frame: pd.DataFrame, out: str) -> set[str]:
    """Return the schema's fields that jobs of this process wrote beside an answers' column.

    What another process wrote is not known here. Those columns stay: they may as well be the user's own.
    """
    earlier = (arguments_of(job_id) for job_id in jobs_of(frame, out))
    return {name for one in earlier if one is not None and one.out == out for name in one.fields}


def _seconds(max_age: Any) -> float | None:
    """Return the seconds of a text such as `7D`, of a timedelta or of a number of seconds; None: any age."""
    if max_age is None:
        return None
    try:
        is_number = isinstance(max_age, Real) and not isinstance(max_age, bool)
        seconds = float(max_age) if is_number else pd.Timedelta(max_age).total_seconds()
    except (ValueError, TypeError):
        seconds = -1.0
    if seconds >= 0:
        return seconds
    raise ConfigError(f"max_age={max_age!r} must be a time such as '7D' or '12h', or None for any age.")


def _dollars(budget: float | None) -> float | None:
    if budget is None:
        return None
    if isinstance(budget, Real) and not isinstance(budget, bool) and 0 < budget < math.inf:
        return float(budget)
    raise ConfigError(f"budget_usd={budget!r} must be dollars above 0.")
