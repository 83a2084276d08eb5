"""A job as a user holds it: wait for it, look at it, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import warnings
from typing import TYPE_CHECKING

from llm_executor_nb.chain.loop import main_loop, refuse_own_loop, run_async
from llm_executor_nb.core.errors import JobInterrupted, LLMExecutorWarning
from llm_executor_nb.frames.columns import names, with_results
from llm_executor_nb.frames.report import Report, make_report
from llm_executor_nb.frames.typed import typed_columns

if TYPE_CHECKING:
    from concurrent.futures import Future

    import pandas as pd

    from llm_executor_nb.frames.work import Work
    from llm_executor_nb.store.ledger import Ledger
    from llm_executor_nb.view.progress import Progress, Snapshot

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

    def __init__(self, work: Work, *, frame: pd.DataFrame, ledger: Ledger, progress: Progress) -> None:
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
            self._future.cancel()
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
            self._progress.show(self._work.snapshot())
            raise self._interrupted() from None
        return self._finished()

    async def aresult(self) -> pd.DataFrame:
        """Do what `result` does, awaited from the caller's loop; cancelling it stops the job."""
        self._work.enter()
        try:
            await run_async(self._tracked)
        except asyncio.CancelledError:
            self._progress.show(self._work.snapshot())
            raise
        return self._finished()

    def __repr__(self) -> str:
        return f"<Job {self.job_id}: {self._work.snapshot().line()}>"

    async def _tracked(self) -> None:
        try:
            await self._work.work()
        finally:
            self._ended.set()

    def _finished(self) -> pd.DataFrame:
        is_kept = self._ledger.flush(_FLUSH_S)
        self._progress.show(self._work.snapshot())
        if self._future is not None and not self._future.cancelled() and (crash := self._future.exception()):
            raise crash
        frame = self.frame()
        ending = self._work.ending
        if ending.error is not None:
            ending.error.result = frame
            raise ending.error
        if not is_kept:
            self._warn(f"Some answers are not stored yet: {self._ledger.trouble}. They are in this frame; keep it.")
        if ending.note:
            self._warn(f"The job {ending.note}. {_GO_ON}")
        return frame

    def _interrupted(self) -> JobInterrupted:
        now = self._work.snapshot()
        return JobInterrupted(
            f"Stopped at {now.done} of {now.total} rows. The frame with what was done is in .result. {_GO_ON}",
            result=self.frame(),
        )

    def _warn(self, words: str) -> None:
        warnings.warn(words, LLMExecutorWarning, stacklevel=5)
