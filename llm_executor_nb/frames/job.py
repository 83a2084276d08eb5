"""A job as a user holds it: wait for it, look at it, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from llm_executor_nb.chain.stopping import keep, stoppable
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import JobInterrupted, warn
from llm_executor_nb.core.policy import NO_POLICY
from llm_executor_nb.engine.interrupts import interruptible
from llm_executor_nb.engine.loop import loop_from_outside, refuse_without_asyncio, run_async
from llm_executor_nb.frames.columns import names, with_policy, with_results
from llm_executor_nb.frames.policy_line import policy_line
from llm_executor_nb.frames.prompts import VALUES
from llm_executor_nb.frames.report import Report, make_report
from llm_executor_nb.frames.typed import typed_columns
from llm_executor_nb.jobs.results import STATUSES, Status
from llm_executor_nb.jobs.wait_text import QUIET_S
from llm_executor_nb.view.attempts import AttemptsFrame
from llm_executor_nb.view.job import REDRAW_S, job_bundle
from llm_executor_nb.view.live import at_cell_end, has_cells

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from llm_executor_nb.jobs.options import JobOptions
    from llm_executor_nb.jobs.results import Results
    from llm_executor_nb.jobs.runner import JobRunner
    from llm_executor_nb.store.ledger_store import LedgerStore
    from llm_executor_nb.view.job import JobDisplay
    from llm_executor_nb.view.snapshot import Snapshot

_log = logging.getLogger("llm_executor_nb")
_SLICE_S = 0.1
"""Seconds between two looks of a caller that waits; Ctrl-C on Windows is seen only between them."""
_FLUSH_S = 1.0


class Job:
    """One `df.llm.run` or `df.llm.start`, under way or done.

    Args:
        runner: does the work.
        frame: the input.
        ledger: where its attempts and answers are stored.
        progress: where it shows its progress.
    """

    _drain_s = 1.0
    """Seconds that a stop waits for the work to end; it ends before."""

    def __init__(self, runner: JobRunner, *, frame: pd.DataFrame, ledger: LedgerStore, progress: JobDisplay) -> None:
        self._runner = runner
        self._frame = frame
        self._ledger = ledger
        self._progress = progress
        self._future: Future[None] | None = None
        self._done = threading.Event()
        self._is_awaited = False

    def begin(self) -> Job:
        """Start the work on the private loop and return at once."""
        thread = loop_from_outside()
        self._runner.enter()
        self._future = thread.submit(self._tracked())
        return self

    @property
    def job_id(self) -> str:
        """The id of the job in the attempt log."""
        return self._runner.job_id

    @property
    def columns(self) -> list[str]:
        """The names of the columns it adds."""
        options = self._runner.options
        return [*names(options.out), *options.fields.values()]

    @property
    def is_done(self) -> bool:
        """Whether the job has ended."""
        return self._done.is_set()

    @property
    def _rows(self) -> int:
        return len(self._frame)

    def snapshot(self) -> Snapshot:
        """Return how the job stands: counts, holds, dollars, time left."""
        return replace(self._runner.snapshot(), again=self._again())

    def frame(self) -> pd.DataFrame:
        """Return the input with the results so far; while the job runs, rows without a result are `pending`."""
        return result_frame(self._frame, self._runner.options, self._runner.results)

    def attempts(self) -> pd.DataFrame:
        """Return the attempts made so far, one row each, as `attempts(job)` does."""
        return AttemptsFrame(self._ledger.attempts_frame(job_ids=[self.job_id]))

    def report(self) -> Report:
        """Return the report so far: rows, attempts by route and outcome, answers by upstream, tokens, dollars."""
        runner = self._runner
        saved_usd, policy = runner.reuse.saved_usd, self._policy_line()
        return make_report(runner.results.counts(), self.attempts(), saved_usd=saved_usd, policy=policy)

    def _policy_line(self) -> str:
        """Return whether the policy held for every answer so far, in words; "": the job has no policy."""
        policy, results = self._runner.options.policy, self._runner.results
        if not policy:
            return ""
        has_answer = np.isin(results.statuses(), [STATUSES.index(Status.OK), STATUSES.index(Status.CACHED)])
        rows = pd.Series(results.runs(), index=self._frame.index)[has_answer]
        log = self._ledger.attempts_frame(run_ids=rows)
        # its own answers may not be committed yet
        policies = {**self._ledger.policies_of(log["job_id"].dropna().unique()), self.job_id: policy}
        return policy_line(rows, log, policies, demanded=policy, now=NO_POLICY)

    def stop(self) -> None:
        """Stop the job: requests in flight are cancelled, results so far stay. Takes a second at most."""
        if self._future is not None:
            self._cancel()
            self._done.wait(self._drain_s)
            self._runner.results.close()  # also if a request takes longer to end

    def reset_health(self) -> None:
        """Do nothing: it asks in this process alone, whose holds are the session's."""

    @stoppable
    def result(self) -> pd.DataFrame:
        """Begin the job if it has not begun, wait until it has ended, and return its frame.

        Raises:
            JobInterrupted: Ctrl-C or ■; `.result` and `llm.last` are the frame with the results so far.
            LLMExecutorError: a row failed and `on_error="raise"` was given; its `.result` is the frame.
        """
        loop_from_outside()  # raises where this would wait for itself
        self._is_awaited = True
        try:
            with interruptible():
                if self._future is None:
                    self.begin()
                while not self._done.wait(_SLICE_S):
                    self._progress.show(self.snapshot())
                return self._finished()
        except KeyboardInterrupt:
            with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C cuts the wait short
                self.stop()
            raise self._interrupted() from None

    async def aresult(self) -> pd.DataFrame:
        """Do what `result` does, awaited from the caller's loop; a cancellation stops the job and sets `llm.last`."""
        refuse_without_asyncio()
        self._is_awaited = True
        work = self._joined
        if self._future is None:
            self._runner.enter()
            work = self._tracked
        try:
            with self._shown():
                await run_async(work)
        except asyncio.CancelledError as error:
            self.stop()
            if isinstance(error, JobInterrupted):
                raise self._interrupted() from None
            self._progress.close(self.snapshot())
            keep(self.frame())
            raise
        return self._finished()

    def __repr__(self) -> str:
        return f"<Job {self.job_id}: {self.snapshot().line()}>"

    def _repr_html_(self) -> str:
        return job_bundle(self.snapshot())["text/html"]

    def _ipython_display_(self) -> None:
        """Show a live display where that is possible; elsewhere, and when the job is done, IPython uses the reprs."""
        if self.is_done or not self._progress.open(self.snapshot(), self._cancel):
            raise NotImplementedError  # makes IPython take another repr
        if self.is_done:  # it ended meanwhile
            self._progress.redraw(self.snapshot())

    def _cancel(self) -> None:
        """Cancel the work and return at once."""
        if self._future is not None:
            self._future.cancel()

    async def _joined(self) -> None:
        while not self._done.is_set():  # noqa: ASYNC110 - another thread may stop it
            await asyncio.sleep(_SLICE_S)

    async def _tracked(self) -> None:
        beside = [asyncio.ensure_future(task) for task in (self._keep_redrawing(), self._keep_explaining())]
        try:
            await self._runner.run()
        finally:  # the last drawing comes before waiting callers wake, or it would overwrite theirs
            for task in beside:
                task.cancel()
            self._redraw()
            at_cell_end(lambda: self._progress.end(self.snapshot()))
            self._done.set()

    async def _keep_redrawing(self) -> None:
        while True:
            await asyncio.sleep(REDRAW_S)
            self._redraw()

    def _redraw(self) -> None:
        with contextlib.suppress(Exception):  # an error of the front end must not stop the job
            self._progress.redraw(self.snapshot())

    async def _keep_explaining(self) -> None:
        """Log and show once a minute why there are no answers, while there are none."""
        explained_at = -math.inf
        while True:
            now = clock.current().now()
            due = max(self._runner.stop_rules.silent_since, explained_at) + QUIET_S
            if now < due:
                await clock.current().sleep(due - now)
                continue
            explained_at = now
            if (snapshot := self.snapshot()).wait:
                _log.warning("job %s: %s", self.job_id, snapshot.wait)
                self._progress.say(f"{snapshot.rows()} · {snapshot.wait}")

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        """Show the progress from the caller's loop, which awaits the job."""
        showing = asyncio.ensure_future(self._keep_showing())
        try:
            yield
        finally:
            showing.cancel()

    async def _keep_showing(self) -> None:
        while True:
            self._progress.show(self.snapshot())
            await asyncio.sleep(_SLICE_S)

    def _finished(self) -> pd.DataFrame:
        is_stored = self._ledger.flush(_FLUSH_S)  # before the frame: a kernel killed after this loses nothing
        self._progress.close(self.snapshot())
        if self._future is not None and not self._future.cancelled() and (crash := self._future.exception()):
            raise crash
        frame = keep(self.frame())
        rules = self._runner.stop_rules
        if rules.error is not None:
            rules.error.result = frame
            raise rules.error
        if not is_stored and (text := self._unsaved()):
            warn(text)
        if rules.note:
            warn(f"The job {rules.note}. {self._go_on()}")
        return frame

    def _interrupted(self) -> JobInterrupted:
        """Return the error of a job that was stopped, with its frame; the ledger and the display are brought to it."""
        while True:
            with contextlib.suppress(KeyboardInterrupt):  # ■ once more must not lose what was paid for
                return self._told()

    def _told(self) -> JobInterrupted:
        with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C cuts the wait short
            self._ledger.flush(_FLUSH_S)
        self._progress.close(self.snapshot())
        counts = self._runner.results.counts()
        answered = counts[Status.OK] + counts[Status.CACHED]
        stopped = f"Stopped: {answered:,} of {self._rows:,} rows have an answer; llm.last is the result so far."
        words = " ".join(filter(None, (stopped, self._unsaved(), self._go_on())))
        return JobInterrupted(words, result=keep(self.frame()))

    def _go_on(self) -> str:
        """Return how to go on after an early end, and what that asks."""
        return f"Run {'the cell' if has_cells() else 'it'} again to go on: {self._what_is_kept()}."

    def _again(self) -> str:
        """Return what asks again for rows without an answer: code where it can be typed next, else words."""
        options, results = self._runner.options, self._runner.results
        is_of_values = self._is_awaited and options.column == VALUES  # then llm.last is a Series
        if not has_cells() or is_of_values or not results.has_runs:
            return f"run it once more; {self._what_is_kept()}"
        return f"{'llm.last' if self._is_awaited else 'job.result()'}.llm.retry_failed()"

    def _what_is_kept(self) -> str:
        """Return what a second job of the same rows asks."""
        if not self._runner.options.reuse:
            return "with reuse=False all rows are asked again"
        until = "" if self._ledger.path else ", until this process or rehearsal ends"
        return f"what is answered is not asked again{until}"

    def _unsaved(self) -> str:
        """Return how many answers the ledger has not stored yet, as a text; "": none."""
        count = self._ledger.unsaved
        why = self._ledger.trouble or "the disk is slow"
        return f"{count:,} answers are not stored yet: {why}. They are in this frame; keep it." if count else ""


def result_frame(frame: pd.DataFrame, options: JobOptions, results: Results) -> pd.DataFrame:
    """Return the input with the columns of a job."""
    typed = None
    if options.schema is not None:
        columns = typed_columns(options.schema, list(results.parsed()), frame.index)
        typed = {options.fields[name]: values for name, values in columns.items()}
    return with_policy(with_results(frame, options.out, results, typed), options.out, options.policy)
