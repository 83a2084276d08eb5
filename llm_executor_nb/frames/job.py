"""A job as a user holds it: wait for it, look at it, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import warnings
from typing import TYPE_CHECKING

from llm_executor_nb.chain.loop import main_loop, refuse_own_loop, run_async
from llm_executor_nb.core.errors import JobInterrupted, LLMExecutorWarning
from llm_executor_nb.frames.columns import with_results
from llm_executor_nb.store.tables import attempts_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    import pandas as pd

    from llm_executor_nb.core.records import Attempt
    from llm_executor_nb.frames.work import Work
    from llm_executor_nb.view.progress import Progress

_SLICE_S = 0.1
_DRAIN_S = 1.0
_GO_ON = "What was done is kept; the other rows are marked cancelled."


class Job:
    """One `df.llm.run`, under way or over.

    Args:
        work: what it does.
        frame: the input.
        out: the name of the answer's column.
        is_asked: per row, whether it had input.
        attempts_of: returns the attempts of a job id.
        progress: where it shows how it goes.
    """

    def __init__(
        self,
        work: Work,
        *,
        frame: pd.DataFrame,
        out: str,
        is_asked: Sequence[bool],
        attempts_of: Callable[[str], Sequence[Attempt]],
        progress: Progress,
    ) -> None:
        self._work = work
        self._frame, self._out, self._is_asked = frame, out, is_asked
        self._attempts_of = attempts_of
        self._progress = progress
        self._future: Future[None] | None = None
        self._ended = threading.Event()

    def begin(self) -> Job:
        """Start the work on the private loop; return at once."""
        self._future = main_loop().submit(self._tracked())
        return self

    @property
    def is_done(self) -> bool:
        """Say whether nothing more will come."""
        return self._ended.is_set()

    def frame(self) -> pd.DataFrame:
        """Return the input with what there is now."""
        return with_results(self._frame, self._out, dict(self._work.results), self._is_asked)

    def attempts(self) -> pd.DataFrame:
        """Return the attempts made so far, one row each."""
        return attempts_frame(self._attempts_of(self._work.job_id))

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
            ConfigError: it is called from a callback on the private loop, which would wait for itself.
        """
        refuse_own_loop()
        try:
            while not self._ended.wait(_SLICE_S):
                self._progress.show(self._work.snapshot())
        except KeyboardInterrupt:
            with contextlib.suppress(KeyboardInterrupt):
                self.stop()
            self._progress.show(self._work.snapshot())
            raise self._interrupted() from None
        return self._finished()

    async def aresult(self) -> pd.DataFrame:
        """Do what `result` does, awaited from the caller's loop; cancelling it stops the job."""
        try:
            await run_async(self._tracked)
        except asyncio.CancelledError:
            self._progress.show(self._work.snapshot())
            raise
        return self._finished()

    async def _tracked(self) -> None:
        try:
            await self._work.work()
        finally:
            self._ended.set()

    def _finished(self) -> pd.DataFrame:
        self._progress.show(self._work.snapshot())
        if self._future is not None and not self._future.cancelled() and (crash := self._future.exception()):
            raise crash
        frame = self.frame()
        if self._work.error is not None:
            self._work.error.result = frame
            raise self._work.error
        if self._work.note:
            warnings.warn(f"The job {self._work.note}. {_GO_ON}", LLMExecutorWarning, stacklevel=4)
        return frame

    def _interrupted(self) -> JobInterrupted:
        now = self._work.snapshot()
        return JobInterrupted(
            f"Stopped at {now.done} of {now.total} rows. The frame with what was done is in .result.",
            result=self.frame(),
        )
