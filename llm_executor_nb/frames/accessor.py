"""`df.llm` and `s.llm`: a column of prompts.

Thin: it checks the arguments, makes a job and waits for it. pandas 3 makes a new one at each access, so it keeps
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from llm_executor_nb.chain.api import check_accept, warmed_up
from llm_executor_nb.chain.compile import compiled
from llm_executor_nb.chain.inspection import attempts, run_ids_of
from llm_executor_nb.chain.loop import refuse_own_loop
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError, JobInterrupted, LLMExecutorError
from llm_executor_nb.frames.columns import check_names
from llm_executor_nb.frames.job import Job
from llm_executor_nb.frames.prompts import column_requests, request_key, take_column, template_requests
from llm_executor_nb.frames.work import Order, Request, Work
from llm_executor_nb.providers.parameters import check_extra_body, check_params
from llm_executor_nb.providers.payload import make_payload
from llm_executor_nb.settings.config import check_bound, check_concurrency
from llm_executor_nb.view.progress import make_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from langchain_core.messages import AIMessage

NAME = "llm"
_TEXT = "values of the series"
"""The column of a Series' values: a name that hardly is an `out`."""


class FrameAccessor:
    """LLM calls over the rows of a DataFrame.

    Args:
        frame: the frame it was reached from; it is never changed.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def run(
        self,
        model: str,
        column: Hashable | None = None,
        *,
        template: str | None = None,
        out: str | None = None,
        system: str | None = None,
        accept: Callable[[AIMessage], object] | None = None,
        on_error: Literal["record", "raise"] = "record",
        concurrency: int | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        progress: bool = True,
        extra_body: Mapping[str, Mapping[str, Any]] | None = None,
        **params: Any,  # noqa: ANN401 - call parameters, checked by name
    ) -> pd.DataFrame:
        """Send every row's prompt down the model's chain and return a new frame with the answers.

        Costs what the answering providers ask. Missing input is skipped, equal requests are sent once (unless
        temperature is above 0), and a row that gets no answer has none: an error never stands in the answer's column.

        Args:
            model: a model of the provider table, or an alias.
            column: whose cells are the prompts: texts, message lists, dicts; other scalars are sent as text.
            template: a prompt with columns in braces, `Summarise {review}`; all other braces stay as they are.
            out: the name of the answer's column; default `{column}_llm`, with a template alone `llm`.
            system: a system message for every row.
            accept: called with each answer; a false result counts it as `rejected` and asks again.
            on_error: `record` puts a failure into the row, `raise` ends the job with it.
            concurrency: requests in flight; None: as configured (8 at first, growing to 64).
            timeout: seconds one attempt may take; None: as configured (120).
            deadline: seconds one row may take over all its attempts; None: no bound.
            progress: show a line of progress.
            extra_body: what only one backend knows, `{"openrouter": {...}}`.
            **params: call parameters, as `run_llm` takes them.

        Returns:
            The input's columns, index and order, plus `{out}` (string), `{out}_status` (category: ok, cached,
            failed, skipped, cancelled), `{out}_attempts` (the outcomes in order), `{out}_route`, `{out}_error`, and
            `{out}_run` (joins to `attempts().run_id`). Columns of an earlier run are replaced in place.

        Raises:
            ConfigError: an argument is wrong, a column is missing, or there is no key; nothing was sent.
            JobInterrupted: Ctrl-C or ■; `.result` is the frame with what was done.
            LLMExecutorError: a row failed and `on_error="raise"` was given; `.result` is the frame.
        """
        job = self._make_job(
            model,
            column,
            template=template,
            out=out,
            system=system,
            accept=accept,
            on_error=on_error,
            concurrency=concurrency,
            timeout=timeout,
            deadline=deadline,
            progress=progress,
            extra_body=extra_body,
            **params,
        )
        refuse_own_loop()
        return job.begin().result()

    async def arun(self, model: str, column: Hashable | None = None, **options: Any) -> pd.DataFrame:  # noqa: ANN401 - the options of run
        """Do what `run` does, awaited from the caller's event loop; cancelling it stops the job."""
        await warmed_up()
        return await self._make_job(model, column, **options).aresult()

    def attempts(self) -> pd.DataFrame:
        """Return the attempts behind this frame's answers, one row each, as `attempts(frame)` does.

        Raises:
            ConfigError: the frame has no `{out}_run` column.
        """
        if run_ids_of(self._frame) is None:
            raise ConfigError("This frame has no column that ends in '_run', so it is not the result of df.llm.run.")
        return attempts(self._frame)

    def _make_job(
        self,
        model: str,
        column: Hashable | None,
        *,
        template: str | None = None,
        out: str | None = None,
        system: str | None = None,
        accept: Callable[[AIMessage], object] | None = None,
        on_error: str = "record",
        concurrency: int | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        progress: bool = True,
        extra_body: Mapping[str, Mapping[str, Any]] | None = None,
        **params: Any,  # noqa: ANN401 - call parameters, checked by name
    ) -> Job:
        frame, now = self._frame, session()
        requests = _requests_of(frame, column, template)
        out = out or (NAME if column is None else f"{column}_{NAME}")
        check_names(frame, out)
        if on_error not in ("record", "raise"):
            raise ConfigError(f"on_error={on_error!r} must be 'record' or 'raise'.")
        limit = now.config.concurrency if concurrency is None else check_concurrency(concurrency)
        bound = now.config.timeout_s if timeout is None else check_bound("timeout", timeout)
        order = Order(
            chain=compiled(model, now.config, now.health),
            column=NAME if column is None else str(column),
            params=check_params(params),
            system=system,
            accept=check_accept(accept),
            extra_body=check_extra_body(extra_body, now.config.backend_names),
            timeout_s=bound,
            deadline_s=None if deadline is None else check_bound("deadline", deadline),
            concurrency=limit,
            is_raising=on_error == "raise",
        )
        make_payload("check", order.params, system=system)
        is_asked = [request is not None for request in requests]
        work = Work(
            order,
            _distinct(requests, frame.index, order.params),
            total=len(frame),
            skipped=is_asked.count(False),
            engine=now.engine(),
            health=now.health,
            record=now.log.record,
        )
        return Job(
            work,
            frame=frame,
            out=out,
            is_asked=is_asked,
            attempts_of=now.log.of_job,
            progress=make_progress(is_shown=progress),
        )


class SeriesAccessor:
    """LLM calls over the values of a Series.

    Args:
        series: the Series it was reached from; it is never changed.
    """

    def __init__(self, series: pd.Series[Any]) -> None:
        self._series = series

    def run(self, model: str, **options: Any) -> pd.Series[Any]:  # noqa: ANN401 - the options of the frame's run
        """Send every value down the model's chain; return the answers as a text Series with the same index.

        Args:
            model: a model of the provider table, or an alias.
            **options: as `df.llm.run` takes them, but for `column` and `template`.

        Returns:
            The answers, missing where there is none; `attempts()` has what became of each.

        Raises:
            ConfigError, JobInterrupted, LLMExecutorError: as `df.llm.run`.
        """
        frame, out = self._as_frame(options.pop("out", None))
        try:
            return take_column(FrameAccessor(frame).run(model, _TEXT, out=out, **options), out)
        except (LLMExecutorError, JobInterrupted) as stopped:
            if stopped.result is not None:
                stopped.result = take_column(stopped.result, out)
            raise

    async def arun(self, model: str, **options: Any) -> pd.Series[Any]:  # noqa: ANN401 - the options of the frame's run
        """Do what `run` does, awaited from the caller's event loop."""
        frame, out = self._as_frame(options.pop("out", None))
        return take_column(await FrameAccessor(frame).arun(model, _TEXT, out=out, **options), out)

    def _as_frame(self, out: str | None) -> tuple[pd.DataFrame, str]:
        """Return the values as a frame of one column, and the name of the answers."""
        frame = self._series.to_frame(_TEXT)
        return frame, out or (NAME if self._series.name is None else f"{self._series.name}_{NAME}")


def register_accessors() -> None:
    """Make `df.llm` and `s.llm` known to pandas; again after a reload, without a word."""
    for kind in (pd.DataFrame, pd.Series):
        if hasattr(kind, NAME):
            delattr(kind, NAME)
    pd.api.extensions.register_dataframe_accessor(NAME)(FrameAccessor)
    pd.api.extensions.register_series_accessor(NAME)(SeriesAccessor)


def _requests_of(frame: pd.DataFrame, column: Hashable | None, template: str | None) -> list[object | None]:
    if template is not None:
        if column is not None:
            take_column(frame, column)
        return template_requests(frame, template)
    if column is None:
        raise ConfigError("Say which column holds the prompts: df.llm.run(model, 'review'), or give template='...'.")
    return column_requests(frame, column)


def _distinct(requests: Sequence[object | None], index: pd.Index[Any], params: Mapping[str, Any]) -> list[Request]:
    """Return each request once with the rows that share it; where answers are drawn, every row by itself."""
    shared: dict[str, list[int]] = {}
    for position, request in enumerate(requests):
        if request is not None:
            own = f"{position}" if _is_drawn(request, params) else request_key(request)
            shared.setdefault(own, []).append(position)
    return [
        Request(requests[positions[0]], tuple(positions), str(index[positions[0]])) for positions in shared.values()
    ]


def _is_drawn(request: object, params: Mapping[str, Any]) -> bool:
    """Say whether equal requests may well get different answers: the temperature is above 0."""
    told = params.get("temperature")
    return bool(told if told is not None or not isinstance(request, dict) else request.get("temperature"))
