"""`df.llm` and `s.llm`: a column of prompts.

The accessors pass their arguments on, begin a job and wait for it. pandas 3 makes a new one at each access, so they
store nothing.
"""

# ruff: noqa: ANN401 - a schema is a class, a dict or a list; parameters are checked by name

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain import warmup
from llm_executor_nb.chain.inspection import JOB_ATTRS, attempts
from llm_executor_nb.chain.live_rows import alook_again
from llm_executor_nb.chain.lookups import akeeping_nothing, aprices_of
from llm_executor_nb.chain.policies import in_force, prices_known
from llm_executor_nb.chain.promises import needs_list
from llm_executor_nb.chain.session import session
from llm_executor_nb.chain.stopping import KeptWhenStopped, keep, stoppable
from llm_executor_nb.core.errors import ConfigError, JobInterrupted, LLMExecutorError, warn
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.engine.interrupts import interrupts_told
from llm_executor_nb.frames.columns import RUN, no_result, policy_of, run_columns, status_column, without_log
from llm_executor_nb.frames.plan import make_plan
from llm_executor_nb.frames.policy_line import policy_line
from llm_executor_nb.frames.preview import make_preview, spread
from llm_executor_nb.frames.prompts import VALUES as _TEXT
from llm_executor_nb.frames.prompts import take_column
from llm_executor_nb.frames.report import make_report
from llm_executor_nb.frames.retry import with_retries
from llm_executor_nb.frames.signatures import RUN_OPTIONS
from llm_executor_nb.frames.start import check_arguments, make_job
from llm_executor_nb.jobs.options import NAME
from llm_executor_nb.jobs.results import Status
from llm_executor_nb.store.policies import policy_as_text, policy_in_text

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from llm_executor_nb.core.policy import Policy
    from llm_executor_nb.frames.job import Job
    from llm_executor_nb.frames.plan import Plan
    from llm_executor_nb.frames.preview import Preview
    from llm_executor_nb.frames.report import Report

_MOST_CAUSES = 3
_ANSWERED = (Status.OK.value, Status.CACHED.value)
_OVER = (*_ANSWERED, Status.FAILED.value)
"""Statuses of rows that count as done per second; a row that was cancelled is not."""


class FrameAccessor:
    """LLM calls over the rows of a DataFrame.

    Args:
        frame: the input; it is never changed.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    @RUN_OPTIONS.of_frame
    @stoppable
    def run(self, model: str, column: Hashable | None = None, **options: Any) -> pd.DataFrame:
        """Send every row's prompt down the model's chain and return a new frame with the answers.

        Costs what the answering providers charge. Answers and attempts are stored in the ledger (`llm.ledger`) as they
        come, and a stored answer is not bought again. After an interrupt, a crash or a changed row, run it again: only
        the rest is asked. Missing input is skipped. Equal requests are sent once, unless temperature is above 0. An
        error is never put into the answers' column.

        Args:
            model: a model of the provider table, or an alias.
            column: the column of the prompts: texts (bytes in UTF-8), message lists (also as the arrays that Parquet
                makes of them) or dicts; other scalars are sent as text.
            template: a prompt with columns in braces and Python's formats, `{name}: {price:.2f}`; other braces stay.
            out: the name of the answers' column; default `{column}_llm`, with a template alone `llm`.
            system: a system message for every row.
            schema: what each answer must fit: a class, a dict of types, a list of names or a JSON Schema. Each field
                becomes a typed column of its name; with `out`, of its name after `{out}_`.
            accept: called with each answer; a false result makes the answer `rejected`, and it is asked again.
            policy: what is demanded of the providers, a `Policy`; None: the session's, `Policy()`: nothing.
            service_tier_fallback: ask at the default tier when `service_tier` has no room.
            on_error: `record` puts a failure into the row, `raise` ends the job with it.
            concurrency: requests in flight; None: as configured (8 at first, then what brings more answers, up to 256).
            hedge: a percentile of the answers' times, or True: a request that takes a quarter longer gets a twin on
                another free route. The first accepted answer wins; both may be paid. At most 5 % more requests.
            budget_usd: dollars that the job may cost; the remaining rows are cancelled. It is never exceeded where the
                price is known and `max_tokens` is set. Otherwise at most 8 requests are in flight, and it is exceeded
                by their cost at most. Needs a price: that of the providers' lists, or `price`.
            budget_s: seconds after which nothing more is asked.
            price: dollars per million input and output tokens, where replies report no cost; four bytes are a token.
            timeout: seconds one attempt may take; None: as configured (120).
            deadline: seconds one row may take over all its attempts; None: no bound.
            reuse: take stored answers; False: buy all of them again.
            max_age: how old a stored answer may be, `7D` or `12h`; None: any age.
            progress: show a line of progress.
            extra_body: parameters that only one backend knows, by backend.
            **options: the above, and call parameters, as `run_llm` takes them.

        Returns:
            The input's columns, index and order, plus `{out}` (string), a schema's fields, `{out}_status` (category:
            ok, cached, failed, skipped, cancelled), `{out}_attempts` (the outcomes in order), `{out}_route`,
            `{out}_error`, and `{out}_run` (joins to `attempts().run_id`). Columns of an earlier run are replaced in
            place. Fields that only the schema of an earlier run in this process had are left out.

        Raises:
            ConfigError: an argument is not valid, a column is missing, or there is no key; nothing was sent.
            JobInterrupted: Ctrl-C or ■; `llm.last` is the frame with the results so far; run it again to go on.
            LLMExecutorError: a row failed or a budget was used up, and `on_error="raise"` was given; `.result` is the
                frame.
        """
        return make_job(self._frame, model, column, options).result()

    @RUN_OPTIONS.of_frame
    async def arun(self, model: str, column: Hashable | None = None, **options: Any) -> pd.DataFrame:
        """Do what `run` does, awaited from the caller's event loop; cancelling it stops the job."""
        with KeptWhenStopped(), interrupts_told():
            return await (await _amake_job(self._frame, model, column, options)).aresult()

    @RUN_OPTIONS.of_frame
    @stoppable
    def start(self, model: str, column: Hashable | None = None, **options: Any) -> Job:
        """Begin what `run` does and return at once; the kernel stays free.

        Args:
            model: as `run` takes it.
            column: as `run` takes it.
            **options: all other arguments of `run`.

        Returns:
            The job: `.frame()` returns the results so far, `.result()` waits for the end, `.stop()` stops it;
            `.attempts()`, `.report()`.

        Raises:
            ConfigError: as `run`; nothing was sent.
        """
        return make_job(self._frame, model, column, options).begin()

    @RUN_OPTIONS.of_frame
    @stoppable
    def plan(self, model: str, column: Hashable | None = None, **options: Any) -> Plan:
        """Count what `run` would do, without a request: rows, distinct requests, stored answers, tokens, price range.

        Args:
            model: as `run` takes it.
            column: as `run` takes it.
            **options: all other arguments of `run`.

        Raises:
            ConfigError: as `run`.
        """
        row_options, prompts = check_arguments(self._frame, model, column, **options)
        return make_plan(row_options, prompts, session().ledger)

    @RUN_OPTIONS.of_frame
    @stoppable
    def preview(self, model: str, column: Hashable | None = None, *, n: int = 5, **options: Any) -> Preview:
        """Buy a few rows spread over the frame, and show prompt, answer, route and price side by side.

        The full run does not buy these again.

        Args:
            model: as `run` takes it.
            column: as `run` takes it.
            n: how many rows.
            **options: all other arguments of `run`.

        Returns:
            `.frame` has the rows; `.estimate_usd` and `.estimate_s` are for all rows.

        Raises:
            ConfigError, JobInterrupted: as `run`.
        """
        row_options, prompts = check_arguments(self._frame, model, column, **options)
        positions = spread(prompts, n)
        job = make_job(self._frame.iloc[positions], model, column, options)
        return make_preview(job.result(), row_options.out, prompts, positions, row_options.concurrency)

    @RUN_OPTIONS.of_retry
    @noted_as("df.llm.retry_failed")
    @stoppable
    def retry_failed(
        self, model: str | None = None, *, skip_routes: Iterable[str] = (), **options: Any
    ) -> pd.DataFrame:
        """Ask again for every row of a result without an answer (failed, cancelled, pending); others stay as they are.

        Args:
            model: the model to ask; None: as before.
            skip_routes: routes that are not asked, as the attempt log names them: `huggingface/scaleway`, `openrouter`.
            **options: arguments of `run` that differ from before, such as `max_tokens=2000`.

        Returns:
            A new frame with the same columns.

        Raises:
            ConfigError: it is not the result of a job of this process; nothing was sent.
            JobInterrupted, LLMExecutorError: as `run`; `.result` is the whole frame.
        """
        return keep(with_retries(self._frame, model, options, skip_routes))

    @property
    def answers(self) -> pd.DataFrame:
        """The frame without the columns that a job writes about its work: status, attempts, route, error and run.

        The answers and a schema's fields stay.

        Raises:
            ConfigError: the frame has no `{out}_run` column.
        """
        self._check_is_result()
        return without_log(self._frame)

    def attempts(self) -> pd.DataFrame:
        """Return the attempts behind this frame's answers, one row each, as `attempts(frame)` does.

        Raises:
            ConfigError: the frame has no `{out}_run` column.
        """
        self._check_is_result()
        return attempts(self._frame)

    def report(self) -> Report:
        """Return the report of this result: rows by status, attempts by route and outcome, answers by upstream.

        It has waits, tokens and dollars too, and says whether the policy held for every answer.

        Raises:
            ConfigError: the frame has no `{out}_run` or no `{out}_status` column.
        """
        self._check_is_result()
        runs = run_columns(self._frame)
        by_run = {run: status_column(self._frame, run).astype("string") for run in runs}
        statuses = pd.concat(by_run.values())
        counts = {Status(str(name)): int(count) for name, count in statuses.value_counts().items()}
        log = attempts(self._frame)
        over = [by_run[run].isin(_OVER) & self._frame[run].isin(log["run_id"]) for run in runs]
        asked = sum(int(rows.sum()) for rows in over)
        answered = {run: self._frame[run][by_run[run].isin(_ANSWERED)] for run in runs}
        policies = [_policy_line(rows, log, policy_of(self._frame, run)) for run, rows in answered.items()]
        return make_report(counts, log, asked=asked, policy="; ".join(filter(None, policies)))

    def _check_is_result(self) -> None:
        if not run_columns(self._frame):
            raise no_result(self._frame)


class SeriesAccessor:
    """LLM calls over the values of a Series.

    Args:
        series: the input; it is never changed.
    """

    def __init__(self, series: pd.Series[Any]) -> None:
        self._series = series

    @RUN_OPTIONS.of_series
    @stoppable
    def run(self, model: str, *, out: str | None = None, **options: Any) -> pd.Series[Any]:
        """Send every value down the model's chain; return the answers as a text Series with the same index.

        Args:
            model: a model of the provider table, or an alias.
            out: the name of the answers.
            **options: as `df.llm.run` takes them, except `column` and `template`.

        Returns:
            The answers, missing where there is none. A warning says how many values failed, and why;
            `.llm.attempts()` and `.llm.report()` of the answers show the work of the job.

        Raises:
            ConfigError, JobInterrupted, LLMExecutorError: as `df.llm.run`.
        """
        frame, out = self._as_frame(out)
        job = make_job(frame, model, _TEXT, {**options, "out": out})
        with _stopped_as_series(job, out):
            return keep(_answers(job, job.result(), out, is_warning=True))

    @RUN_OPTIONS.of_series
    async def arun(self, model: str, *, out: str | None = None, **options: Any) -> pd.Series[Any]:
        """Do what `run` does, awaited from the caller's event loop."""
        frame, out = self._as_frame(out)
        with KeptWhenStopped(), interrupts_told():
            job = await _amake_job(frame, model, _TEXT, {**options, "out": out})
            with _stopped_as_series(job, out):
                return keep(_answers(job, await job.aresult(), out, is_warning=True))

    @RUN_OPTIONS.of_series
    def start(self, model: str, *, out: str | None = None, **options: Any) -> Job:
        """Begin what `run` does and return the job at once; its frames have the values and the answers beside them."""
        frame, out = self._as_frame(out)
        return FrameAccessor(frame).start(model, _TEXT, out=out, **options)

    @RUN_OPTIONS.of_series
    def plan(self, model: str, *, out: str | None = None, **options: Any) -> Plan:
        """Count what `run` would do, without a request, as `df.llm.plan` does."""
        frame, out = self._as_frame(out)
        return FrameAccessor(frame).plan(model, _TEXT, out=out, **options)

    @RUN_OPTIONS.of_series
    def preview(self, model: str, *, n: int = 5, out: str | None = None, **options: Any) -> Preview:
        """Buy a few values and show them side by side with their answers, as `df.llm.preview` does."""
        frame, out = self._as_frame(out)
        return FrameAccessor(frame).preview(model, _TEXT, n=n, out=out, **options)

    def attempts(self) -> pd.DataFrame:
        """Return the attempts of the job that gave these answers, one row each.

        Raises:
            ConfigError: the Series is not the result of `s.llm.run`.
        """
        return attempts(self._series)

    def report(self) -> Report:
        """Return the report of the job that gave these answers: rows by status, attempts, times, tokens, dollars.

        Raises:
            ConfigError: the Series is not the result of `s.llm.run`.
        """
        if (made := self._series.attrs.get(JOB_ATTRS)) is None:
            raise ConfigError("This Series has no report. Take the answers of s.llm.run, or the frame of a job.")
        log = self.attempts()
        accepted = log[log["outcome"] == Outcome.OK.value].set_index("row")["run_id"]
        rows = {Status(name): count for name, count in made["rows"].items()}
        policy = _policy_line(accepted, log, policy_in_text(made.get("policy")))
        return make_report(rows, log, policy=policy)

    def _as_frame(self, out: str | None) -> tuple[pd.DataFrame, str]:
        """Return the values as a frame of one column, and the name of the answers."""
        frame = self._series.to_frame(_TEXT)  # a Series' own name may be missing, or the name of the answers
        default = NAME if self._series.name is None else f"{self._series.name}_{NAME}"
        return frame, default if out is None else out


async def _amake_job(frame: pd.DataFrame, model: str, column: Hashable | None, options: dict[str, Any]) -> Job:
    """Return a job that has not begun, made without blocking the caller's event loop."""
    await warmup.loaded(is_told=options.get("progress", True))
    policy, config = options.get("policy"), session().options
    # what is looked up here is cached, so making the job does not block the loop
    await prices_known(policy, model, config)
    await alook_again(model)
    if options.get("budget_usd") is not None and options.get("price") is None:
        await aprices_of(model)
    if needs_list(in_force(policy, config)):
        await akeeping_nothing(model)
    return make_job(frame, model, column, options)


@contextmanager
def _stopped_as_series(job: Job, out: str) -> Iterator[None]:
    """Let an error that has a frame as its result have the answers of it."""
    try:
        yield
    except (LLMExecutorError, JobInterrupted) as stopped:
        if stopped.result is not None:
            stopped.result = _answers(job, stopped.result, out)
        raise


def _answers(job: Job, frame: pd.DataFrame, out: str, *, is_warning: bool = False) -> pd.Series[Any]:
    """Return the answers of a job's frame; they know their job, and a warning says what failed."""
    answers, statuses = take_column(frame, out), take_column(frame, f"{out}_status")
    rows = {str(name): int(count) for name, count in statuses.value_counts().items()}
    policy = policy_as_text(policy_of(frame, f"{out}{RUN}"))
    # plain values: Parquet stores them as JSON
    answers.attrs[JOB_ATTRS] = {"job_id": job.job_id, "rows": rows, **({"policy": policy} if policy else {})}
    if is_warning and (failed := rows.get(Status.FAILED.value, 0)):
        causes = take_column(frame, f"{out}_error")[statuses == Status.FAILED.value].value_counts()
        listed = [f"{count:,} x {str(cause).rstrip('.')}" for cause, count in causes.head(_MOST_CAUSES).items()]
        listed += [f"{len(causes) - _MOST_CAUSES:,} other causes"] if len(causes) > _MOST_CAUSES else []
        warn(
            f"{failed:,} of {len(frame):,} values failed: {'; '.join(listed)}. "
            "llm.last.llm.attempts() and llm.last.llm.report() show what happened; run it again to ask for these again."
        )
    return answers


def _policy_line(answered: pd.Series[Any], log: pd.DataFrame, demanded: Policy) -> str:
    current = session()
    policies = current.ledger.policies_of(log["job_id"].dropna().unique())
    return policy_line(answered, log, policies, demanded=demanded, now=current.options.policy)


def register_accessors() -> None:
    """Register `df.llm` and `s.llm` with pandas."""
    for kind in (pd.DataFrame, pd.Series):
        if hasattr(kind, NAME):
            delattr(kind, NAME)  # after a reload of the package; pandas would warn about a second registration
    pd.api.extensions.register_dataframe_accessor(NAME)(FrameAccessor)
    pd.api.extensions.register_series_accessor(NAME)(SeriesAccessor)
