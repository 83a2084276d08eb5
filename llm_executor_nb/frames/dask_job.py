"""A job over the partitions of a Dask frame. It is bought once: to look at its result buys nothing."""

# ruff: noqa: ANN401 - Dask's frames, delayed values and clients have no types

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain import warmup
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.frames.accessor import FrameAccessor
from llm_executor_nb.frames.columns import RUN, names, no_result, outs_of, put
from llm_executor_nb.frames.dask_workers import check_workers, scheduler_of
from llm_executor_nb.frames.job import Job
from llm_executor_nb.frames.partition import Place, make_partition_plan, partition_result, survey_partition
from llm_executor_nb.jobs.whole import WholeJob
from llm_executor_nb.view.job import make_progress

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    import pandas as pd

    from llm_executor_nb.frames.dask_workers import Scheduler
    from llm_executor_nb.frames.partition import PartitionPlan, Survey
    from llm_executor_nb.frames.report import Report
    from llm_executor_nb.jobs.options import JobOptions
    from llm_executor_nb.store.ledger_store import LedgerStore
    from llm_executor_nb.view.snapshot import Snapshot

_LOOK_S = 0.25
_GIVEN_UP = "KilledWorker"
"""The error of a task whose workers died more often than Dask's `allowed-failures` say."""
_LAST_S = 1.0
"""Seconds that a job which was stopped waits for its partitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFrame:
    """A Dask frame, and the plan of a job over it.

    Attributes:
        frame: the input.
        partitions: its partitions, each as a delayed value.
        plan, options, ledger: of the job.
        scheduler: runs the partitions.
    """

    frame: Any
    partitions: Sequence[Any]
    plan: PartitionPlan
    options: JobOptions
    ledger: LedgerStore
    scheduler: Scheduler

    def survey(self, *, has_requests: bool) -> list[Survey]:
        """Count what each partition asks; reads the input once, and sends no request."""
        import dask  # noqa: PLC0415 - loads on first use

        counting = dask.delayed(survey_partition, pure=False)
        counted = [counting(one, self.plan, has_requests=has_requests) for one in self.partitions]
        return list(dask.compute(*counted, scheduler=self.scheduler.get))


def planned(
    frame: Any,
    model: str,
    column: Hashable | None,
    options: Mapping[str, Any],
    *,
    skip_routes: Iterable[str] = (),
    again: str = "",
) -> PlannedFrame:
    """Check the arguments of a job and the workers, before anything is bought.

    Args:
        frame: the input.
        model: as `df.llm.run` takes it.
        column: as `df.llm.run` takes it.
        options: all other arguments of `df.llm.run`, by name.
        skip_routes: as `retry_failed` takes it.
        again: the answers' column of an earlier job; only its rows without an answer are asked. "": all rows are.

    Raises:
        ConfigError: an argument is not valid, or a worker lacks something; nothing was sent.
    """
    scheduler = scheduler_of(frame)
    like: pd.DataFrame = frame._meta  # noqa: SLF001 - Dask's own way to the columns and dtypes of a frame
    plan, own, ledger = make_partition_plan(
        like, model, column, options, is_local=scheduler.is_local, skip_routes=skip_routes, again=again
    )
    if scheduler.client is not None:
        assert ledger.path is not None  # noqa: S101 - processes meet in a file
        check_workers(scheduler.client, plan, ledger.path)
    return PlannedFrame(
        frame=frame,
        partitions=frame.to_delayed(),
        plan=plan,
        options=own,
        ledger=ledger,
        scheduler=scheduler,
    )


def make_dask_job(of: PlannedFrame) -> DaskJob:
    """Return a job that has not begun."""
    warmup.wait(is_told=of.options.shows_progress)
    runner: Any = DaskRunner(of, of.survey(has_requests=False))
    progress = make_progress(is_shown=of.options.shows_progress)
    job = DaskJob(runner, frame=of.plan.meta, ledger=of.ledger, progress=progress)
    session().jobs.add(job)
    return job


class DaskRunner:
    """Has Dask run the partitions of a job, and knows how they stand. A job waits for it as for a `JobRunner`.

    Args:
        of: the frame and the plan.
        surveys: what each partition asks.
    """

    def __init__(self, of: PlannedFrame, surveys: Sequence[Survey]) -> None:
        self.job_id, self.options = of.plan.job_id, of.options
        self.rows = sum(one.rows for one in surveys)
        self._of, self._places = of, _places(surveys)
        self.whole = WholeJob(
            self.job_id,
            of.options,
            of.ledger,
            rows=self.rows,
            asked=sum(one.asked for one in surveys),
            at_once=min(len(surveys), of.scheduler.at_once),
        )
        self.results = self.stop_rules = self.whole  # what a job asks these for, the whole job knows
        self._bought: list[Any] = []
        self._is_over = False

    def enter(self) -> None:
        """Enter the job in the ledger, so that its partitions find it open."""
        self.whole.enter()

    async def run(self) -> None:
        """Have Dask run all partitions; on the private loop. Cancelling it ends them within half a second."""
        status = "stopped"
        working = asyncio.ensure_future(asyncio.to_thread(self._buy))
        try:
            await self._until_done(working)
            await asyncio.to_thread(self._note_lost)
            status = "done"
        except asyncio.CancelledError:
            await asyncio.to_thread(self.whole.stop)
            self._is_over = True  # a partition that Dask still reads will find the job closed, and asks nothing
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(_LAST_S):
                    await self._until_done(working)
            self._give_up()
            raise
        finally:
            await asyncio.to_thread(self.whole.end, status)
            self._is_over = True

    def frame(self) -> Any:
        """Return the input with the columns of the job. A partition that did not end shows what is stored of it."""
        import dask  # noqa: PLC0415 - loads on first use
        import dask.dataframe as dd  # noqa: PLC0415 - the same

        joining = dask.delayed(_joined, pure=False)
        ready = [one if self._is_ready(one) else None for one in self._bought] or [None] * len(self._places)
        columns = [one if one is not None else rest for one, rest in zip(ready, self._columns(), strict=True)]
        parts = [joining(one, added, self._of.plan) for one, added in zip(self._of.partitions, columns, strict=True)]
        frame = dd.from_delayed(parts, meta=self._of.plan.meta, divisions=self._of.frame.divisions, verify_meta=False)
        frame._meta.attrs.update(self._of.plan.meta.attrs)  # noqa: SLF001 - the policy of the answers
        return frame

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, so that no partition buys anything."""
        return self._is_over

    def snapshot(self) -> Snapshot:
        """Return how the job stood a moment ago."""
        return self.whole.snapshot()

    def _columns(self) -> list[Any]:
        """Return the columns of the job, one delayed frame a partition."""
        import dask  # noqa: PLC0415 - loads on first use

        running = dask.delayed(partition_result, pure=False)
        return [
            running(one, self._of.plan, place) for one, place in zip(self._of.partitions, self._places, strict=True)
        ]

    def _buy(self) -> None:
        """Have the scheduler run all partitions; one of a cluster returns at once, the others when all are done."""
        import dask  # noqa: PLC0415 - loads on first use

        scheduler, columns = self._of.scheduler, self._columns()
        if scheduler.client is not None:
            self._bought = scheduler.client.persist(columns)
        else:
            self._bought = list(dask.persist(*columns, scheduler=scheduler.get))

    async def _until_done(self, working: asyncio.Future[None]) -> None:
        while not (working.done() and all(map(self._has_ended, self._bought))):
            async with clock.current().timeout(None):
                await asyncio.sleep(_LOOK_S)
            await asyncio.to_thread(self.whole.look)
        await working

    def _has_ended(self, one: Any) -> bool:
        """Whether the scheduler has done with a partition, whatever came of it."""
        return all(future.status != "pending" for future in _futures(one))

    def _is_ready(self, one: Any) -> bool:
        """Whether the columns of a partition are there."""
        return all(future.status == "finished" for future in _futures(one))

    def _note_lost(self) -> None:
        """Raise what kept Dask from a partition; where its workers died again and again, say so."""
        failures = [future.exception() for one in self._bought for future in _futures(one) if future.status == "error"]
        for failure in failures:
            if type(failure).__name__ != _GIVEN_UP:
                raise failure
        if failures:
            self.whole.give_up(
                f"ended early: Dask gave up {len(failures)} of {len(self._bought)} partitions: their workers died"
            )

    def _give_up(self) -> None:
        """Let a cluster forget the partitions that it has not begun."""
        if self._of.scheduler.client is not None:
            self._of.scheduler.client.cancel([one for part in self._bought for one in _futures(part)], force=True)
            self._bought = []


class DaskJob(Job):
    """One `ddf.llm.run` or `ddf.llm.start`, under way or done; its frames are Dask's."""

    _runner: Any
    _drain_s = 3.0

    def result(self) -> Any:
        """Do what a job over a pandas frame does, and return a Dask frame."""
        return super().result()

    @property
    def _rows(self) -> int:
        return int(self._runner.rows)

    def frame(self) -> Any:
        """Return the result as a Dask frame. Looking at it buys nothing.

        Raises:
            ConfigError: the job still runs, and Dask's partitions have no rows until they end.
        """
        if not self._runner.is_over:
            raise ConfigError("The job still runs, and a Dask frame has no part of a result. Wait: job.result().")
        return self._runner.frame()

    def report(self) -> Report:
        """Return the report: rows, attempts by route and outcome, answers by upstream, tokens, dollars."""
        return report_of(self.frame())

    def reset_health(self) -> None:
        """Let the processes of all partitions drop their holds."""
        self._runner.whole.reset_health()


def report_of(frame: Any) -> Report:
    """Return the report of a result; two of its columns are brought here."""
    like: pd.DataFrame = frame._meta  # noqa: SLF001 - Dask's own way to the columns of a frame
    outs = outs_of(like)
    if not outs:
        raise no_result(like)
    wanted = [f"{out}{end}" for out in outs for end in ("_status", RUN)]
    result: pd.DataFrame = frame[wanted].compute()
    # by all its columns a result is known as one, also where no row has a run
    result = result.reindex(columns=[name for out in outs for name in names(out)])
    result.attrs.update(like.attrs)
    return FrameAccessor(result).report()


def _joined(frame: pd.DataFrame, added: pd.DataFrame, plan: PartitionPlan) -> pd.DataFrame:
    """Return a partition with the columns of the job."""
    if len(frame) != len(added):
        raise ConfigError("The input has other rows than when it was asked. Persist it first: ddf = ddf.persist().")
    columns = added.set_axis(frame.index)
    return put(frame, {name: columns[name] for name in plan.added}, plan.out)[list(plan.meta.columns)]


def _places(surveys: Sequence[Survey]) -> list[Place]:
    """Return where each partition stands: after all rows, and all copies, of those before it."""
    copies: Counter[bytes] = Counter()
    offset, places = 0, []
    for survey in surveys:
        places.append(Place(offset=offset, copies_before={one: copies[one] for one in survey.copies if one in copies}))
        offset += survey.rows
        copies.update(survey.copies)
    return places


def _futures(part: Any) -> list[Any]:
    """Return the futures of a delayed value: one on a cluster, else none."""
    return [one for one in dict(part.dask).values() if hasattr(one, "status") and hasattr(one, "key")]
