"""`ddf.llm`: LLM calls over the rows of a Dask DataFrame. Dask loads with this module, which loads with Dask."""

# ruff: noqa: ANN401 - Dask's frames have no types

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.session import session
from llm_executor_nb.chain.stopping import KeptWhenStopped, keep, stoppable
from llm_executor_nb.core.errors import MissingExtraError
from llm_executor_nb.core.install_line import install_line
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.engine.interrupts import interrupts_told
from llm_executor_nb.frames.columns import RUN, no_result, outs_of, without_log
from llm_executor_nb.frames.dask_job import make_dask_job, planned, report_of
from llm_executor_nb.frames.plan import plan_of
from llm_executor_nb.frames.preview import make_preview, spread
from llm_executor_nb.frames.prompts import Prompts
from llm_executor_nb.frames.retry import arguments_of_result
from llm_executor_nb.frames.signatures import RUN_OPTIONS
from llm_executor_nb.store.records import Lookup
from llm_executor_nb.view.attempts import AttemptsFrame

try:
    import dask.dataframe as dd
    import distributed  # noqa: F401 - clusters are asked for what they lack
except ImportError as error:
    raise MissingExtraError(f"Frames of Dask need an extra. Type: {install_line('dask')}") from error

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    import pandas as pd

    from llm_executor_nb.frames.dask_job import DaskJob
    from llm_executor_nb.frames.plan import Plan
    from llm_executor_nb.frames.preview import Preview
    from llm_executor_nb.frames.report import Report


class DaskAccessor:
    """LLM calls over the rows of a Dask DataFrame.

    Args:
        frame: the input; it is never changed.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    @RUN_OPTIONS.of_frame
    @stoppable
    def run(self, model: str, column: Hashable | None = None, **options: Any) -> Any:
        """Send every row's prompt down the model's chain, now, and return a Dask DataFrame with the answers.

        Dask's scheduler in force runs the partitions: threads, processes, or the workers of a cluster. All of them open
        one ledger (`llm.ledger`), so it must lie where all of them see it. Equal requests of different partitions are
        sent once. After a killed worker, a killed client or other partitions, run it again: only the rest is asked.
        To look at the result (`head`, `compute`, `len`, `to_parquet`) buys nothing. The input is read once more then,
        beside the answers.

        Args:
            model: as `df.llm.run` takes it.
            column: as `df.llm.run` takes it.
            **options: all other arguments of `df.llm.run`. `concurrency`, `budget_usd` and a key's `rpm` bound all
                workers together.

        Returns:
            A Dask DataFrame with the input's columns, divisions and order, and the columns of `df.llm.run`.

        Raises:
            ConfigError: an argument is not valid, a column is missing, or a worker lacks a key, the package or the
                ledger's file; nothing was sent.
            JobInterrupted: Ctrl-C or ■; `llm.last` is the frame with the results so far; run it again to go on.
            LLMExecutorError: a row failed or a budget was used up, and `on_error="raise"` was given; `.result` is the
                frame.
        """
        return make_dask_job(planned(self._frame, model, column, options)).result()

    @RUN_OPTIONS.of_frame
    async def arun(self, model: str, column: Hashable | None = None, **options: Any) -> Any:
        """Do what `run` does, awaited from the caller's event loop; cancelling it stops the job."""
        with KeptWhenStopped(), interrupts_told():
            return await make_dask_job(planned(self._frame, model, column, options)).aresult()

    @RUN_OPTIONS.of_frame
    @stoppable
    def start(self, model: str, column: Hashable | None = None, **options: Any) -> DaskJob:
        """Begin what `run` does and return the job at once; `.result()` waits for its end, `.stop()` stops it.

        Args:
            model: as `df.llm.run` takes it.
            column: as `df.llm.run` takes it.
            **options: all other arguments of `df.llm.run`.

        Raises:
            ConfigError: as `run`; nothing was sent.
        """
        job = make_dask_job(planned(self._frame, model, column, options))
        job.begin()
        return job

    @RUN_OPTIONS.of_frame
    @stoppable
    def plan(self, model: str, column: Hashable | None = None, **options: Any) -> Plan:
        """Count what `run` would do, without a request: rows, distinct requests, stored answers, tokens, price range.

        The input is read once. A digest of 16 bytes for each distinct request is brought here.

        Args:
            model: as `df.llm.run` takes it.
            column: as `df.llm.run` takes it.
            **options: all other arguments of `df.llm.run`.

        Raises:
            ConfigError: as `run`.
        """
        of = planned(self._frame, model, column, options)
        surveys = of.survey(has_requests=True)
        lookups: dict[bytes, tuple[Lookup, int]] = {}
        for number, survey in enumerate(surveys):
            for digest, keys, tokens in survey.requests:
                name = digest if not survey.copies else digest + number.to_bytes(4)  # drawn ones are not shared
                lookups.setdefault(name, (Lookup(digest=digest, keys=keys, copy=None), tokens))
        wanted = [lookup for lookup, _ in lookups.values()]
        found = of.ledger.find(wanted, max_age_s=of.options.max_age_s) if of.options.reuse else [None] * len(wanted)
        rows = sum(survey.rows for survey in surveys)
        return plan_of(
            of.options,
            rows=rows,
            skipped=rows - sum(survey.asked for survey in surveys),
            requests=len(wanted),
            stored=sum(answer is not None for answer in found),
            tokens=sum(tokens for (_, tokens), answer in zip(lookups.values(), found, strict=True) if answer is None),
        )

    @RUN_OPTIONS.of_frame
    @stoppable
    def preview(self, model: str, column: Hashable | None = None, *, n: int = 5, **options: Any) -> Preview:
        """Buy a few rows of the first partitions, and show prompt, answer, route and price side by side.

        The full run does not buy these again, but those above temperature 0.

        Args:
            model: as `df.llm.run` takes it.
            column: as `df.llm.run` takes it.
            n: how many rows.
            **options: all other arguments of `df.llm.run`.

        Raises:
            ConfigError, JobInterrupted: as `run`.
        """
        head: pd.DataFrame = self._frame.head(max(n, 1), npartitions=-1, compute=True)
        of = planned(dd.from_pandas(head, npartitions=1, sort=False), model, column, options)
        result: Any = make_dask_job(of).result()
        prompts = Prompts(head, column, options.get("template"))
        return make_preview(result.compute(), of.options.out, prompts, spread(prompts, n), of.options.concurrency)

    @RUN_OPTIONS.of_retry
    @noted_as("ddf.llm.retry_failed")
    @stoppable
    def retry_failed(self, model: str | None = None, *, skip_routes: Iterable[str] = (), **options: Any) -> Any:
        """Ask again for every row of a result without an answer (failed, cancelled); others stay as they are.

        Args:
            model: the model to ask; None: as before.
            skip_routes: routes that are not asked, as the attempt log names them: `huggingface/scaleway`, `openrouter`.
            **options: arguments of `run` that differ from before, such as `max_tokens=2000`.

        Returns:
            A Dask DataFrame with the same columns.

        Raises:
            ConfigError: it is not the result of a job of this process; nothing was sent.
            JobInterrupted, LLMExecutorError: as `run`.
        """
        frame = self._frame
        skipped = [skip_routes] if isinstance(skip_routes, str) else list(skip_routes)
        for out in self._outs():
            runs = frame[f"{out}{RUN}"].dropna().str.replace("-.*", "", regex=True).unique().compute()
            arguments = arguments_of_result(sorted(map(str, runs)), out, model, options)
            asked, column = arguments.pop("model"), arguments.pop("column")
            again = planned(frame, asked, column, arguments, skip_routes=skipped, again=out)
            frame = make_dask_job(again).result()
        return keep(frame)

    @property
    def answers(self) -> Any:
        """The frame without the columns that a job writes about its work: status, attempts, route, error and run.

        Raises:
            ConfigError: the frame has no `{out}_run` column.
        """
        self._outs()
        return self._frame[list(without_log(self._frame._meta).columns)]  # noqa: SLF001 - Dask's own way to them

    def attempts(self) -> pd.DataFrame:
        """Return the attempts behind this frame's answers, one row each, as `attempts(frame)` does for pandas.

        Raises:
            ConfigError: the frame has no `{out}_run` column.
        """
        runs = [str(run) for out in self._outs() for run in self._frame[f"{out}{RUN}"].dropna().compute()]
        return AttemptsFrame(session().attempts_of(run_ids=runs))

    @stoppable
    def report(self) -> Report:
        """Return the report of this result: rows by status, attempts by route and outcome, tokens and dollars.

        Raises:
            ConfigError: the frame has no `{out}_run` column.
        """
        return report_of(self._frame)

    def _outs(self) -> list[str]:
        like: pd.DataFrame = self._frame._meta  # noqa: SLF001 - Dask's own way to the columns of a frame
        if not (outs := outs_of(like)):
            raise no_result(like)
        return outs
