"""`df.llm` and `s.llm`: a column of prompts.

Thin: it hands its arguments on, begins a job and waits for it. pandas 3 makes a new one at each access, so it keeps
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from llm_executor_nb.chain import warmup
from llm_executor_nb.chain.inspection import attempts
from llm_executor_nb.chain.lookups import aprices_of
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import JobInterrupted, LLMExecutorError
from llm_executor_nb.frames.columns import no_result, run_columns, status_column
from llm_executor_nb.frames.plan import make_plan
from llm_executor_nb.frames.preview import make_preview, spread
from llm_executor_nb.frames.prompts import take_column
from llm_executor_nb.frames.report import make_report
from llm_executor_nb.frames.retry import with_retries
from llm_executor_nb.frames.start import check, make_job
from llm_executor_nb.jobs.options import NAME
from llm_executor_nb.jobs.results import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from langchain_core.messages import AIMessage

    from llm_executor_nb.frames.job import Job
    from llm_executor_nb.frames.plan import Plan
    from llm_executor_nb.frames.preview import Preview
    from llm_executor_nb.frames.report import Report

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
        schema: Any = None,  # noqa: ANN401 - a pydantic class, a dict or a list
        accept: Callable[[AIMessage], object] | None = None,
        on_error: Literal["record", "raise"] = "record",
        concurrency: int | None = None,
        budget_usd: float | None = None,
        budget_s: float | None = None,
        price: tuple[float, float] | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        reuse: bool = True,
        max_age: str | float | pd.Timedelta | None = "7D",
        progress: bool = True,
        extra_body: Mapping[str, Mapping[str, Any]] | None = None,
        **params: Any,  # noqa: ANN401 - call parameters, checked by name
    ) -> pd.DataFrame:
        """Send every row's prompt down the model's chain and return a new frame with the answers.

        Costs what the answering providers ask. Answers and attempts are kept in the ledger (`llm.ledger`) as they
        come, and what is stored is not asked again: run it again after an interrupt, a crash or a changed row, and
        only the rest is asked. Missing input is skipped, equal requests are sent once (unless temperature is above
        0), and a row that gets no answer has none: an error never stands in the answer's column.

        Args:
            model: a model of the provider table, or an alias.
            column: whose cells are the prompts: texts (bytes in UTF-8), message lists (also as the arrays that Parquet
                makes of them), dicts; other scalars are sent as text.
            template: a prompt with columns in braces, `Summarise {review}`, formatted as Python does it,
                `{price:.2f}`; all other braces stay as they are.
            out: the name of the answer's column; default `{column}_llm`, with a template alone `llm`.
            system: a system message for every row.
            schema: what each answer must fit (a class, a dict of types, a list of names, a JSON Schema);
                each field is a typed column under its own name, with `{out}_` before it when `out` is given.
            accept: called with each answer; a false result counts it as `rejected` and asks again.
            on_error: `record` puts a failure into the row, `raise` ends the job with it.
            concurrency: requests in flight; None: as configured (8 at first, growing to 64).
            budget_usd: dollars after which nothing more is asked; the remaining rows are cancelled.
            budget_s: seconds after which nothing more is asked.
            price: dollars per million input and output tokens, where replies do not tell their cost.
            timeout: seconds one attempt may take; None: as configured (120).
            deadline: seconds one row may take over all its attempts; None: no bound.
            reuse: take stored answers; False: buy all again.
            max_age: how old a stored answer may be, `7D` or `12h`; None: any age.
            progress: show a line of progress.
            extra_body: what only one backend knows.
            **params: call parameters, as `run_llm` takes them.

        Returns:
            The input's columns, index and order, plus `{out}` (string), a schema's fields, `{out}_status` (category:
            ok, cached, failed, skipped, cancelled), `{out}_attempts` (the outcomes in order), `{out}_route`,
            `{out}_error`, and `{out}_run` (joins to `attempts().run_id`). Columns of an earlier run are replaced in
            place; fields that its schema had and this one has not are left out.

        Raises:
            ConfigError: an argument is wrong, a column is missing, or there is no key; nothing was sent.
            JobInterrupted: Ctrl-C or ■; `.result` is the frame with what was done; run it again to go on.
            LLMExecutorError: a row failed, or a budget was used up, and `on_error="raise"` was given; `.result` is
                the frame.
        """
        job = self.start(
            model,
            column,
            template=template,
            out=out,
            system=system,
            schema=schema,
            accept=accept,
            on_error=on_error,
            concurrency=concurrency,
            budget_usd=budget_usd,
            budget_s=budget_s,
            price=price,
            timeout=timeout,
            deadline=deadline,
            reuse=reuse,
            max_age=max_age,
            progress=progress,
            extra_body=extra_body,
            **params,
        )
        return job.result()

    async def arun(self, model: str, column: Hashable | None = None, **options: Any) -> pd.DataFrame:  # noqa: ANN401 - the options of run
        """Do what `run` does, awaited from the caller's event loop; cancelling it stops the job."""
        await warmup.loaded()
        if options.get("budget_usd") is not None and options.get("price") is None:
            await aprices_of(model)  # kept for an hour, so making the job asks nobody
        return await make_job(self._frame, model, column, options).aresult()

    def start(self, model: str, column: Hashable | None = None, **options: Any) -> Job:  # noqa: ANN401 - the options of run
        """Begin what `run` does and return at once; the kernel stays free.

        Args:
            model: as `run` takes it.
            column: as `run` takes it.
            **options: all other arguments of `run`.

        Returns:
            The job: `.frame()` is what there is now, `.result()` waits for the end, `.stop()` stops it;
            `.attempts()`, `.report()`.

        Raises:
            ConfigError: as `run`; nothing was sent.
        """
        return make_job(self._frame, model, column, options).begin()

    def plan(self, model: str, column: Hashable | None = None, **options: Any) -> Plan:  # noqa: ANN401 - the options of run
        """Count what `run` would do, without a request: rows, distinct requests, stored answers, tokens, price range.

        Args:
            model: as `run` takes it.
            column: as `run` takes it.
            **options: all other arguments of `run`.

        Raises:
            ConfigError: as `run`.
        """
        order, prompts = check(self._frame, model, column, options)
        return make_plan(order, prompts, session().ledger)

    def preview(self, model: str, column: Hashable | None = None, *, n: int = 5, **options: Any) -> Preview:  # noqa: ANN401 - the options of run
        """Buy a few rows spread over the frame, and show prompt, answer, route and price side by side.

        The full run does not ask for these again.

        Args:
            model: as `run` takes it.
            column: as `run` takes it.
            n: how many rows.
            **options: all other arguments of `run`.

        Returns:
            `.frame` has the rows; `.estimate_usd` and `.estimate_s` what all rows would take.

        Raises:
            ConfigError, JobInterrupted: as `run`.
        """
        order, prompts = check(self._frame, model, column, options)
        positions = spread(prompts, n)
        job = make_job(self._frame.iloc[positions], model, column, options).begin()
        return make_preview(job.result(), order.out, prompts, positions, order.concurrency)

    def retry_failed(
        self,
        model: str | None = None,
        *,
        skip_routes: Iterable[str] = (),
        **options: Any,  # noqa: ANN401 - the options of run
    ) -> pd.DataFrame:
        """Ask again for every failed or cancelled row of a result; all other rows stay as they are.

        Args:
            model: whom to ask; None: as before.
            skip_routes: who is not to be asked, as the attempt log names them: `huggingface/scaleway`, `openrouter`.
            **options: arguments of `run` that are to be other than before, such as `max_tokens=2000`.

        Returns:
            A new frame with the same columns.

        Raises:
            ConfigError: it is not the result of a job of this process; nothing was sent.
            JobInterrupted, LLMExecutorError: as `run`; `.result` is the whole frame.
        """
        return with_retries(self._frame, model, options, skip_routes)

    def attempts(self) -> pd.DataFrame:
        """Return the attempts behind this frame's answers, one row each, as `attempts(frame)` does.

        Raises:
            ConfigError: the frame has no `{out}_run` column.
        """
        self._check_is_result()
        return attempts(self._frame)

    def report(self) -> Report:
        """Return what came of this result: rows by status, attempts by route and outcome, waits, tokens, dollars.

        Raises:
            ConfigError: the frame has no `{out}_run` or no `{out}_status` column.
        """
        self._check_is_result()
        runs = run_columns(self._frame)
        statuses = pd.concat([status_column(self._frame, run).astype("string") for run in runs])
        counts = {Status(str(name)): int(count) for name, count in statuses.value_counts().items()}
        return make_report(counts, attempts(self._frame))

    def _check_is_result(self) -> None:
        if not run_columns(self._frame):
            raise no_result(self._frame)


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

    def start(self, model: str, **options: Any) -> Job:  # noqa: ANN401 - the options of the frame's run
        """Begin what `run` does and return the job at once; its frames have the values and the answers beside them."""
        frame, out = self._as_frame(options.pop("out", None))
        return FrameAccessor(frame).start(model, _TEXT, out=out, **options)

    def plan(self, model: str, **options: Any) -> Plan:  # noqa: ANN401 - the options of the frame's run
        """Count what `run` would do, without a request, as `df.llm.plan` does."""
        frame, out = self._as_frame(options.pop("out", None))
        return FrameAccessor(frame).plan(model, _TEXT, out=out, **options)

    def preview(self, model: str, *, n: int = 5, **options: Any) -> Preview:  # noqa: ANN401 - the options of the frame's run
        """Buy a few values and show them side by side with their answers, as `df.llm.preview` does."""
        frame, out = self._as_frame(options.pop("out", None))
        return FrameAccessor(frame).preview(model, _TEXT, n=n, out=out, **options)

    def _as_frame(self, out: str | None) -> tuple[pd.DataFrame, str]:
        """Return the values as a frame of one column, and the name of the answers."""
        frame = self._series.to_frame(_TEXT)
        usual = NAME if self._series.name is None else f"{self._series.name}_{NAME}"
        return frame, usual if out is None else out


def register_accessors() -> None:
    """Make `df.llm` and `s.llm` known to pandas; again after a reload, without a word."""
    for kind in (pd.DataFrame, pd.Series):
        if hasattr(kind, NAME):
            delattr(kind, NAME)
    pd.api.extensions.register_dataframe_accessor(NAME)(FrameAccessor)
    pd.api.extensions.register_series_accessor(NAME)(SeriesAccessor)
