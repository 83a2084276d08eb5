"""A job as a user holds it: wait for it, look at it, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import JobInterrupted, warn
from llm_executor_nb.engine.loop import main_loop, refuse_own_loop, refuse_without_asyncio, run_async
from llm_executor_nb.frames.columns import names, with_results
from llm_executor_nb.frames.report import Report, make_report
from llm_executor_nb.frames.typed import typed_columns
from llm_executor_nb.jobs.wait_words import QUIET_S
from llm_executor_nb.view.job import REDRAW_S, job_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    import pandas as pd

    from llm_executor_nb.jobs.runner import JobRunner
    from llm_executor_nb.store.ledger_store import LedgerStore
    from llm_executor_nb.view.job import JobDisplay
    from llm_executor_nb.view.snapshot import Snapshot

_log = logging.getLogger("llm_executor_nb")
_SLICE_S = 0.1
_DRAIN_S = 1.0
_FLUSH_S = 1.0
_GO_ON = "Run the cell again to go on: what is answered is not asked again."


class Job:
    """One `df.llm.run` or `df.llm.start`, under way or over.

    Args:
        work: what it does.
        frame: the input.
        ledger: where its attempts and answers are kept.
        progress: where it shows how it goes.
    """

    def __init__(self, work: JobRunner, *, frame: pd.DataFrame, ledger: LedgerStore, progress: JobDisplay) -> None:
        self._work = work
        self._frame = frame
        self._ledger = ledger
        self._progress = progress
        self._future: Future[None] | None = None
        self._ended = threading.Event()

    def begin(self) -> Job:
        """Start the work on the private loop; return at once."""
        refuse_own_loop()
        self._work.enter()
        self._future = main_loop().submit(self._tracked())
        return self

    @property
    def job_id(self) -> str:
        """What the attempt log calls it."""
        return self._work.job_id

    @property
    def columns(self) -> list[str]:
        """The names of the columns it adds."""
        order = self._work.order
        return [*names(order.out), *order.fields.values()]

    @property
    def is_done(self) -> bool:
        """Say whether nothing more will come."""
        return self._ended.is_set()

    def snapshot(self) -> Snapshot:
        """Return how it stands: counts, holds, dollars, time left."""
        return self._work.snapshot()

    def frame(self) -> pd.DataFrame:
        """Return the input with what there is now; rows that are not over count as cancelled."""
        order, results = self._work.order, self._work.results
        typed = None
        if order.schema is not None:
            found = typed_columns(order.schema, list(results.parsed()), self._frame.index)
            typed = {order.fields[name]: values for name, values in found.items()}
        return with_results(self._frame, order.out, results, typed)

    def attempts(self) -> pd.DataFrame:
        """Return the attempts made so far, one row each, as `attempts(job)` does."""
        return self._ledger.attempts_frame(job_ids=[self.job_id])

    def report(self) -> Report:
        """Return what came of it so far: rows, attempts by route and outcome, waits, tokens, dollars."""
        return make_report(self._work.results.counts(), self.attempts(), saved_usd=self._work.reuse.saved_usd)

    def stop(self) -> None:
        """Stop: nothing more is sent, what is in flight is cancelled, what is done stays. Takes a second at most."""
        if self._future is not None:
            self._cancel()
            self._ended.wait(_DRAIN_S)

    def result(self) -> pd.DataFrame:
        """Wait until the job is over and return its frame.

        Raises:
            JobInterrupted: Ctrl-C or ■; `.result` is the frame with what was done.
            LLMExecutorError: a row failed and `on_error="raise"` was given; its `.result` is the frame.
        """
        refuse_own_loop()
        try:
            while not self._ended.wait(_SLICE_S):
                self._progress.show(self._work.snapshot())
        except KeyboardInterrupt:
            with contextlib.suppress(KeyboardInterrupt):
                self.stop()
                self._ledger.flush(_FLUSH_S)
            self._progress.close(self._work.snapshot())
            raise self._interrupted() from None
        return self._finished()

    async def aresult(self) -> pd.DataFrame:
        """Do what `result` does, awaited from the caller's loop; cancelling it stops the job."""
        refuse_without_asyncio()
        self._work.enter()
        try:
            with self._shown():
                await run_async(self._tracked)
        except asyncio.CancelledError:
            self._progress.close(self._work.snapshot())
            raise
        return self._finished()

    def __repr__(self) -> str:
        return f"<Job {self.job_id}: {self._work.snapshot().line()}>"

    def _repr_html_(self) -> str:
        return job_bundle(self._work.snapshot())["text/html"]

    def _ipython_display_(self) -> None:
        """Show itself live where that is possible; elsewhere, and when it is over, its other displays are right."""
        if self.is_done or not self._progress.open(self._work.snapshot(), self._cancel):
            raise NotImplementedError  # IPython's word for: take another display
        if self.is_done:  # it ended meanwhile
            self._progress.redraw(self._work.snapshot())

    def _cancel(self) -> None:
        """Let the work be cancelled; return at once."""
        if self._future is not None:
            self._future.cancel()

    async def _tracked(self) -> None:
        beside = [asyncio.ensure_future(task) for task in (self._redrawing(), self._telling())]
        try:
            await self._work.work()
        finally:
            for task in beside:
                task.cancel()
            self._redraw()
            self._ended.set()

    async def _redrawing(self) -> None:
        while True:
            await asyncio.sleep(REDRAW_S)
            self._redraw()

    def _redraw(self) -> None:
        with contextlib.suppress(Exception):  # whatever the front end is at, the job goes on
            self._progress.redraw(self._work.snapshot())

    async def _telling(self) -> None:
        """Say once a minute why there are no answers, while there are none."""
        looked_at = -math.inf
        while True:
            now = clock.current().now()
            due = max(self._work.ending.silent_since, looked_at) + QUIET_S
            if now < due:
                await clock.current().sleep(due - now)
                continue
            looked_at = now
            if words := self._work.snapshot().wait:
                _log.warning("job %s: %s", self.job_id, words)
                self._progress.say(words)

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        """Show how it goes from the caller's loop, which awaits it."""
        showing = asyncio.ensure_future(self._showing())
        try:
            yield
        finally:
            showing.cancel()

    async def _showing(self) -> None:
        while True:
            self._progress.show(self._work.snapshot())
            await asyncio.sleep(_SLICE_S)

    def _finished(self) -> pd.DataFrame:
        is_kept = self._ledger.flush(_FLUSH_S)
        self._progress.close(self._work.snapshot())
        if self._future is not None and not self._future.cancelled() and (crash := self._future.exception()):
            raise crash
        frame = self.frame()
        ending = self._work.ending
        if ending.error is not None:
            ending.error.result = frame
            raise ending.error
        if not is_kept and (words := self._unsaved()):
            warn(words)
        if ending.note:
            warn(f"The job {ending.note}. {_GO_ON}")
        return frame

    def _interrupted(self) -> JobInterrupted:
        now, unsaved = self._work.snapshot(), self._unsaved()
        stopped = f"Stopped at {now.done} of {now.total} rows. The frame with what was done is in .result."
        return JobInterrupted(" ".join(filter(None, (stopped, unsaved, _GO_ON))), result=self.frame())

    def _unsaved(self) -> str:
        """Say how many answers the ledger could not store yet; "": none."""
        count = self._ledger.unsaved
        why = self._ledger.trouble or "the disk is slow"
        return f"{count} answers are not stored yet: {why}. They are in this frame; keep it." if count else ""
