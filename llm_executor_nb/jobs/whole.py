"""A job that runs in several processes, as the one that began it sees it."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock, errors
from llm_executor_nb.core.errors import LLMExecutorError
from llm_executor_nb.jobs.results import Status
from llm_executor_nb.jobs.totals import whole_snapshot
from llm_executor_nb.store.parts import Told
from llm_executor_nb.store.records import JobStart, LedgerBusyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.jobs.options import JobOptions
    from llm_executor_nb.store.ledger_store import LedgerStore
    from llm_executor_nb.store.parts import Report
    from llm_executor_nb.view.snapshot import Snapshot


class WholeJob:
    """The whole of a job whose parts run elsewhere. Safe from any thread.

    Args:
        job_id: its id in attempts and answers.
        options: what all rows share.
        ledger: where the parts meet.
        rows: of the whole frame.
        asked: those of them with input.
        at_once: how many parts can run at once, as far as it is known.

    Attributes:
        silent_since: the time on the clock at which a row ended last, or of the job's start.
    """

    def __init__(
        self, job_id: str, options: JobOptions, ledger: LedgerStore, *, rows: int, asked: int, at_once: int
    ) -> None:
        self.job_id = job_id
        self._options, self._ledger = options, ledger
        self._rows, self._asked, self._at_once = rows, asked, at_once
        self._began_at = self.silent_since = clock.current().now()
        self._error: LLMExecutorError | None = None
        self._note = ""
        self._ended_at: float | None = None
        self._lock = threading.Lock()
        self._told = Told(whole={})

    def enter(self) -> None:
        """Enter the job in the ledger, so that its parts find it open."""
        self._ledger.begin_job(
            JobStart(
                job_id=self.job_id,
                model=self._options.chain.model,
                column=self._options.column,
                rows=self._rows,
                requests=self._asked,
                started_utc=clock.current().utc(),
            )
        )
        self._tell(lambda whole: {**whole, "at_once": self._at_once})

    def look(self) -> None:
        """Read how the parts stand; while the ledger is busy, what was read last stays."""
        done = self.snapshot().done
        is_timed = self._options.budget_s is not None  # seconds and no date: clocks of two machines may differ
        elapsed = {"elapsed_s": clock.current().now() - self._began_at} if is_timed else {}
        self._tell(lambda whole: {**whole, **elapsed})
        if self.snapshot().done > done:
            self.silent_since = clock.current().now()

    def stop(self) -> None:
        """Let all parts end at their next meeting, within half a second."""
        self._tell(lambda whole: {**whole, "is_stopped": True})

    def reset_health(self) -> None:
        """Let the processes of all parts drop their holds."""
        self._tell(lambda whole: {**whole, "resets": whole.get("resets", 0) + 1, "holds": {}})

    def give_up(self, note: str) -> None:
        """Note why rows have no answer that no part can tell."""
        self._note = note

    def end(self, status: str) -> None:
        """Close the job: parts that still run end at their next meeting."""
        self.look()
        self._ended_at = clock.current().now()
        self._ledger.end_job(self.job_id, status)

    @property
    def error(self) -> LLMExecutorError | None:
        """The error of the first part that ended the whole job; None: none did."""
        told = self._told.whole.get("error")
        if self._error is None and told is not None:
            self._error = _error_of(told["kind"], told["words"])
        return self._error

    @property
    def note(self) -> str:
        """Why the job ended early; "": it did not."""
        return self.snapshot().note

    @property
    def has_runs(self) -> bool:
        """Whether a row has a run id, which leads to what was asked."""
        now = self.snapshot()
        return now.done > now.skipped

    def counts(self) -> Counter[Status]:
        """Return how many rows have each status; one without a result is cancelled once the job has ended."""
        now = self.snapshot()
        answered = now.done - now.failed - now.skipped - now.cached
        rest = Status.PENDING if self._ended_at is None else Status.CANCELLED
        counts = {Status.OK: answered, Status.CACHED: now.cached, Status.FAILED: now.failed}
        return Counter({**counts, Status.SKIPPED: now.skipped, rest: now.total - now.done})

    def close(self) -> None:
        """Do nothing: rows without a result count as cancelled once the job has ended."""

    def snapshot(self) -> Snapshot:
        """Return how the job stood when it was last looked at."""
        whole, ended = self._told, self._ended_at
        return whole_snapshot(
            [whole.whole.get("state", {}), *(other["state"] for other in whole.others if "state" in other)],
            rows=self._rows,
            elapsed_s=(ended or clock.current().now()) - self._began_at,
            is_over=ended is not None,
            note=self._note,
        )

    def _tell(self, change: Callable[[Report], Report]) -> None:
        def decide(told: Told) -> Told:
            usd = told.whole.get("usd", 0.0) + sum(lost.get("usd", 0.0) for lost in told.lost)
            whole = change({**told.whole, "usd": usd})
            self._told = Told(whole=whole, others=told.others)
            return Told(whole=whole)

        with self._lock:
            try:
                self._ledger.meet(self.job_id, decide)
            except LedgerBusyError:
                return


def _error_of(kind: str, words: str) -> LLMExecutorError:
    """Return an error of another process as one of ours; one that needs more than words becomes the general one."""
    cls = getattr(errors, kind, LLMExecutorError)
    try:
        error = cls(words)
    except TypeError:
        error = LLMExecutorError(words)
    return error if isinstance(error, LLMExecutorError) else LLMExecutorError(words)
