"""What all rows of a job share: the arguments of `df.llm.run`, checked before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain.request import check_accept, check_alone
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.jobs.prices import prices_for
from llm_executor_nb.providers.parameters import check_extra_body, check_params
from llm_executor_nb.providers.payload import make_payload
from llm_executor_nb.schemas.schema import make_schema
from llm_executor_nb.settings.options import check_bound, check_concurrency

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.chain import Chain
    from llm_executor_nb.jobs.prices import Prices
    from llm_executor_nb.schemas.schema import Schema

NAME = "llm"
"""The accessor, and the answers' column when it has no other name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What all rows of a job share.

    Attributes:
        chain: the routes.
        column: the prompts' column, as text.
        out: the answers' column.
        fields: a schema's fields, with the names of their columns.
        params, system, extra_body: of every request.
        schema: what answers must fit; None: anything.
        accept: the user's predicate; None: there is none.
        timeout_s, deadline_s: bounds of an attempt and of a row; None: none.
        concurrency: requests in flight; None: begin at 8 and grow.
        is_raising: a failure ends the job.
        reuse: take stored answers.
        max_age_s: how old they may be, in seconds; None: any age.
        budget_usd, budget_s: bounds of the job, in dollars and seconds; None: none.
        prices: what tokens cost where the reply does not say.
    """

    chain: Chain
    column: str
    out: str
    fields: Mapping[str, str]
    params: Mapping[str, Any]
    system: str | None
    extra_body: Mapping[str, Mapping[str, Any]] | None
    schema: Schema | None
    accept: Callable[[AIMessage], object] | None
    timeout_s: float | None
    deadline_s: float | None
    concurrency: int | None
    is_raising: bool
    reuse: bool
    max_age_s: float | None
    budget_usd: float | None
    budget_s: float | None
    prices: Prices


def make_options(
    chain: Chain,
    column: Hashable | None,
    /,
    *,
    out: str | None = None,
    system: str | None = None,
    schema: object = None,
    accept: Callable[[AIMessage], object] | None = None,
    on_error: str = "record",
    concurrency: int | None = None,
    budget_usd: float | None = None,
    budget_s: float | None = None,
    price: object = None,
    timeout: float | None = None,
    deadline: float | None = None,
    reuse: bool = True,
    max_age: object = "7D",
    extra_body: Mapping[str, Mapping[str, Any]] | None = None,
    **params: Any,  # noqa: ANN401 - call parameters, checked by name
) -> JobOptions:
    """Check the arguments of a job; `df.llm.run` says what they mean.

    Raises:
        ConfigError: one of them cannot be right; nothing was sent.
    """
    config = session().options
    checked = None if schema is None else make_schema(schema)
    if on_error not in ("record", "raise"):
        raise ConfigError(f"on_error={on_error!r} must be 'record' or 'raise'.")
    if checked is not None:
        check_alone(params, extra_body)
    order = JobOptions(
        chain=chain,
        column=NAME if column is None else str(column),
        out=(NAME if column is None else f"{column}_{NAME}") if out is None else out,
        fields={name: name if out is None else f"{out}_{name}" for name in checked.fields} if checked else {},
        params=check_params(params),
        system=system,
        extra_body=check_extra_body(extra_body, config.backend_names),
        schema=checked,
        accept=check_accept(accept),
        timeout_s=config.timeout_s if timeout is None else check_bound("timeout", timeout),
        deadline_s=check_bound("deadline", deadline),
        concurrency=config.concurrency if concurrency is None else check_concurrency(concurrency),
        is_raising=on_error == "raise",
        reuse=bool(reuse),
        max_age_s=_seconds(max_age),
        budget_usd=_dollars(budget_usd),
        budget_s=check_bound("budget_s", budget_s),
        prices=prices_for(chain, price, is_needed=budget_usd is not None),
    )
    make_payload("check", order.params, system=system)
    return order


def _seconds(age: object) -> float | None:
    """Return a greatest age in seconds: of a text such as `7D`, a timedelta or a number of seconds; None: any age."""
    if age is None:
        return None
    try:
        if isinstance(age, Real) and not isinstance(age, bool):
            seconds = float(age)
        else:
            told: Any = age
            seconds = pd.Timedelta(told).total_seconds()
    except (ValueError, TypeError):
        seconds = -1.0
    if seconds >= 0:
        return seconds
    raise ConfigError(f"max_age={age!r} must be a time such as '7D' or '12h', or None for any age.")


def _dollars(budget: float | None) -> float | None:
    if budget is None:
        return None
    if isinstance(budget, Real) and not isinstance(budget, bool) and budget > 0:
        return float(budget)
    raise ConfigError(f"budget_usd={budget!r} must be dollars above 0.")
