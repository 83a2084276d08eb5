"""From the arguments of `df.llm.run` to a job that is ready to begin; what was asked is remembered for a retry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.session import session
from llm_executor_nb.frames.columns import check_names
from llm_executor_nb.frames.job import Job
from llm_executor_nb.frames.order import Order, make_order
from llm_executor_nb.frames.prompts import Prompts
from llm_executor_nb.frames.work import Work
from llm_executor_nb.view.progress import make_progress

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    import pandas as pd

_REMEMBERED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The arguments of one job, as the user gave them."""

    model: str
    column: Hashable | None
    template: str | None
    options: Mapping[str, Any]


_asked: dict[str, Asked] = {}


def check(
    frame: pd.DataFrame,
    model: str,
    column: Hashable | None,
    *,
    template: str | None = None,
    **options: Any,  # noqa: ANN401 - the options of run
) -> tuple[Order, Prompts]:
    """Check the arguments of a job against its frame.

    Raises:
        ConfigError: one of them cannot be right; nothing was sent.
    """
    prompts = Prompts(frame, column, template)
    order = make_order(model, column, **options)
    check_names(frame, order.out, list(order.fields.values()))
    return order, prompts


def make_job(
    frame: pd.DataFrame,
    model: str,
    column: Hashable | None,
    *,
    template: str | None = None,
    progress: bool = True,
    **options: Any,  # noqa: ANN401 - the options of run
) -> Job:
    """Return a job that has not begun.

    Raises:
        ConfigError: an argument is wrong; nothing was sent.
    """
    order, prompts = check(frame, model, column, template=template, **options)
    now = session()
    work = Work(order, prompts, index=frame.index, engine=now.engine(), health=now.health, ledger=now.ledger)
    now.job_ids.append(work.job_id)
    _asked[work.job_id] = Asked(model=model, column=column, template=template, options=options)
    if len(_asked) > _REMEMBERED:
        del _asked[next(iter(_asked))]
    kept = frame.copy(deep=False)
    return Job(work, frame=kept, ledger=now.ledger, progress=make_progress(is_shown=progress))


def asked_by(job_id: str) -> Asked | None:
    """Return what a job of this process was asked; None: it was another's, or too long ago."""
    return _asked.get(job_id)
