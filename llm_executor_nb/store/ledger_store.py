"""What jobs talk to: it keeps their attempts and answers, and tells whose turn a request is.

A thin front of the writer: records go to its queue, questions run on its thread. The file is opened at first need.
A problem of the disk never raises where an answer is kept; `trouble` names it.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from llm_executor_nb.core.errors import warn
from llm_executor_nb.store import claims, parts
from llm_executor_nb.store.answers import find_answers, policies_of
from llm_executor_nb.store.records import USUAL_LIMITS
from llm_executor_nb.store.tables import AttemptColumns, Page, read_page
from llm_executor_nb.store.writer import PATIENCE_S, Barrier, JobEnd, RowRecords, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    import pandas as pd

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.policy import Policy
    from llm_executor_nb.store.answers import Span
    from llm_executor_nb.store.parts import Decide
    from llm_executor_nb.store.records import Answer, JobStart, Limits, Lookup, Turn
    from llm_executor_nb.store.sqlite import Database

_LOOKUPS_AT_ONCE = 5_000
_OPENING_S = 2.0
_MEETING_S = 1.0
_CLOCKS_DIFFER_S = 300.0
"""An answer may be dated so far in the future: two machines that share a ledger have clocks of their own."""
_T = TypeVar("_T")
_stores: weakref.WeakSet[LedgerStore] = weakref.WeakSet()
"""All of this process, because a fork must stop each of them."""


class LedgerStore:
    """Attempts and answers that outlast the process, in one SQLite file. Safe from any thread.

    A forked child has its own connection and an empty queue.

    Args:
        place: returns the file, and is called when the ledger is first needed; None from it: memory.
        limits: the times and sizes it works with.
        is_named: whether the user named the file, asked when the ledger is first needed. Else a ledger that somebody
            else made is left alone.
    """

    def __init__(
        self,
        place: Callable[[], Path | None],
        limits: Limits = USUAL_LIMITS,
        *,
        is_named: Callable[[], bool] = lambda: True,
    ) -> None:
        self._place, self._is_named = place, is_named
        self._limits = limits
        self._lock = threading.Lock()
        self._writer: Writer | None = None
        self._at_end: weakref.finalize[[], LedgerStore] | None = None
        _stores.add(self)

    @property
    def path(self) -> Path | None:
        """The file it is kept in, or will be; None: memory."""
        return self._writer.path if self._writer else self._place()

    @property
    def size(self) -> int:
        """The bytes of the file; 0 in memory, and before there is a file."""
        try:
            return self.path.stat().st_size if self.path else 0
        except OSError:
            return 0

    @property
    def trouble(self) -> str:
        """Why answers cannot be saved at the moment; "": they can."""
        return self._writer.trouble if self._writer else ""

    @property
    def unsaved(self) -> int:
        """How many answers are not committed yet."""
        return self._writer.unsaved_answers() if self._writer else 0

    @property
    def lease_lapses(self) -> int:
        """How often its heartbeat came so late that other processes may have taken over its jobs' claims."""
        return self._writer.lease_lapses if self._writer else 0

    @property
    def exists(self) -> bool:
        """Whether there is something to read. A question asked before that must not create the file."""
        path = self.path
        return self._writer is not None or (path is not None and path.exists())

    def begin_job(self, job: JobStart) -> None:
        """Enter a job as open in this process; its heartbeat is renewed from now on."""
        writer = self._started()
        writer.put(job)
        writer.hurry()
        writer.opened.wait(_OPENING_S)  # so that a problem of the file is reported in the caller's thread
        _warn_of_notices(writer)

    def end_job(self, job_id: str, status: str) -> None:
        """Close a job, which frees its claims.

        Args:
            job_id: the job.
            status: "done", "stopped" or "failed".
        """
        self._started().put(JobEnd(job_id, status))

    def find(self, lookups: Sequence[Lookup], *, max_age_s: float | None) -> list[Answer | None]:
        """Return the stored answer for each look-up, or None; claims nothing.

        Args:
            lookups: the requests.
            max_age_s: answers older than this do not count; None: of any age.

        Raises:
            LedgerBusyError: another program has locked the ledger for half a minute.
        """
        if not self.exists:
            return [None] * len(lookups)
        writer, fresh = self._started(), _fresh(max_age_s)
        answers: list[Answer | None] = []
        for start in range(0, len(lookups), _LOOKUPS_AT_ONCE):
            part = lookups[start : start + _LOOKUPS_AT_ONCE]
            answers += writer.call(partial(_find, lookups=part, fresh=fresh))
        _warn_of_notices(writer)
        return answers

    def claim(
        self, job_id: str, lookups: Sequence[Lookup], *, max_age_s: float | None, patience_s: float = PATIENCE_S
    ) -> list[Answer | Turn]:
        """Return stored answers, and claim the rest for a job, unless another live job sends them now.

        The new claims replace the job's earlier ones. Of two jobs that want the same request, in whatever process,
        one gets it.

        Args:
            job_id: a job that has begun.
            lookups: the requests it is about to send.
            max_age_s: answers older than this do not count; None: of any age.
            patience_s: how long another program's lock is waited for.

        Raises:
            LedgerBusyError: nothing can be written at the moment; nothing was claimed.
        """
        writer = self._started()
        fresh = _fresh(max_age_s)
        turns = writer.call(
            lambda database: claims.claim(database, job_id, lookups, fresh, writer.jobs),
            is_write=True,
            patience_s=patience_s,
        )
        _warn_of_notices(writer)
        return turns

    def meet(self, job_id: str, decide: Decide, *, part_id: str | None = None, is_last: bool = False) -> bool:
        """Let a part of a job, or the job itself, tell the others how it stands and hear of them.

        Args:
            job_id: the whole job.
            decide: from what is told to what is told from now on; called on the writer's thread.
            part_id: the part that meets the others; None: the whole job.
            is_last: the part ends.

        Returns:
            Whether the whole job goes on.

        Raises:
            LedgerBusyError: nothing can be written at the moment; nothing was told.
        """
        work = partial(parts.meet, job_id=job_id, decide=decide, part_id=part_id, is_last=is_last)
        return self._started().call(work, is_write=True, patience_s=_MEETING_S)

    def keep(self, attempts: Sequence[Attempt], answer: Answer | None) -> None:
        """Keep a row's attempts, and its answer if it has one; committed within 50 ms.

        Waits for nothing, and raises nothing for a disk.
        """
        self._started().put(RowRecords(attempts, answer))

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until everything handed in so far is committed.

        Args:
            timeout_s: no longer than this; None: as long as it takes, even while the disk is full.

        Returns:
            Whether it is committed.
        """
        if (writer := self._writer) is None:
            return True
        barrier = Barrier()
        writer.put(barrier)
        writer.hurry()
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not barrier.passed.wait(0.1 if end is None else max(0.0, min(0.1, end - time.monotonic()))):
            if not writer.is_running or (end is not None and time.monotonic() >= end):
                return barrier.passed.is_set()
        _warn_of_notices(writer)
        return True

    def attempts_frame(
        self,
        *,
        job_ids: Collection[str] | None = None,
        run_ids: Collection[str] | None = None,
        beginning: str = "",
    ) -> pd.DataFrame:
        """Return the attempt log, committed or not, by the time the requests were sent.

        Args:
            job_ids: of these jobs only.
            run_ids: of these runs only.
            beginning: of runs only whose ids begin so.
        """
        columns = AttemptColumns()
        wanted = None if run_ids is None else frozenset(run_ids)
        after: int | None = 0 if self.exists else None
        while after is not None:
            writer = self._started()
            page, unsaved = writer.call(
                partial(_read_log, writer=writer, after=after, job_ids=job_ids, beginning=beginning)
            )
            columns.add(page.rows if wanted is None else [row for row in page.rows if row[0] in wanted], page.texts)
            if page.next_after is None:
                columns.add_records(_selected(unsaved, job_ids, wanted, beginning))
            after = page.next_after
        return columns.frame(by_time=True)

    def policies_of(self, job_ids: Iterable[str]) -> dict[str, Policy]:
        """Return the policies under which jobs bought their answers, by their ids; a job without one is left out."""
        if not self.exists:
            return {}
        return self.call(partial(policies_of, job_ids=list(job_ids)))

    def call(self, work: Callable[[Database], _T], *, is_write: bool = False) -> _T:
        """Run a function on the open ledger, in its thread.

        Raises:
            LedgerBusyError: another program has locked the ledger for half a minute.
        """
        writer = self._started()
        try:
            return writer.call(work, is_write=is_write)
        finally:
            _warn_of_notices(writer)

    def close(self) -> None:
        """Commit the queue, within 4 s, and close the file; it is opened again when needed."""
        with self._lock:
            writer, at_end, self._writer, self._at_end = self._writer, self._at_end, None, None
        if writer and at_end and at_end.detach():  # not by calling it: once Python ends, a finalizer does nothing
            writer.close()

    def leave(self) -> None:
        """Stay at its place, whatever is configured from now on; close the file unless a job is running."""
        if (writer := self._writer) is None:
            return
        path = writer.path
        self._place, self._is_named = lambda: path, lambda: True
        if path is not None and not writer.has_jobs():
            self.close()

    def before_fork(self) -> Callable[[], None] | None:
        """Stop working on the file, so that the process can be forked.

        Returns:
            A function that goes on. None: the writer did not leave the file in time.
        """
        if (writer := self._writer) is None:
            return lambda: None
        is_held = writer.fork_lock.acquire(timeout=self._limits.fork_wait_s)
        return writer.fork_lock.release if is_held else None

    def after_fork(self, *, is_clean: bool) -> None:
        """Start over in a forked child: the thread and its queue are the parent's.

        Args:
            is_clean: the parent's thread did not work on the file. Else SQLite cannot be used on it in this process.
        """
        if self._at_end:
            self._at_end.detach()
        self._lock = threading.Lock()
        self._writer = self._at_end = None
        if not is_clean:
            self._place = _nowhere

    def _started(self) -> Writer:
        if self._writer is None:
            with self._lock:
                if self._writer is None:
                    writer = Writer(self._place(), self._limits, is_named=self._is_named())
                    self._at_end = weakref.finalize(self, writer.close)
                    self._at_end.atexit = False  # jobs must end first: `close_all` is called in its turn
                    self._writer = writer
        return self._writer


def close_all() -> None:
    """Close every ledger of this process, whose jobs have ended; for the end of the process."""
    for store in list(_stores):
        store.close()


def _warn_of_notices(writer: Writer) -> None:
    while writer.notices:
        warn(writer.notices.popleft())


def _find(database: Database, *, lookups: Sequence[Lookup], fresh: Span | None) -> list[Answer | None]:
    with database.snapshot():
        return find_answers(database, lookups, fresh)


def _read_log(
    database: Database, *, writer: Writer, after: int, job_ids: Collection[str] | None, beginning: str
) -> tuple[Page, list[Attempt]]:
    # Both on the writer's thread: no commit comes in between, so no attempt is read twice or missed.
    return read_page(database, after, job_ids, beginning), writer.unsaved()


def _selected(
    attempts: list[Attempt], job_ids: Collection[str] | None, run_ids: Collection[str] | None, beginning: str
) -> list[Attempt]:
    return [
        attempt
        for attempt in attempts
        if (job_ids is None or attempt.job_id in job_ids)
        and (run_ids is None or attempt.run_id in run_ids)
        and attempt.run_id.startswith(beginning)
    ]


def _fresh(age_s: float | None) -> Span | None:
    """Return the moments at which an answer of that age at most was accepted; None: of any age."""
    now = claims.now()
    return None if age_s is None else (now - round(age_s * 1e6), now + round(_CLOCKS_DIFFER_S * 1e6))


def _nowhere() -> None:
    warn("This process was forked while its parent was writing the ledger; its own answers are kept in memory.")


_forking: dict[LedgerStore, Callable[[], None] | None] = {}
"""While a fork is under way: what lets each store go on; None: its writer did not leave the file in time."""


def _before_fork() -> None:
    for store in list(_stores):
        _forking[store] = store.before_fork()


def _after_in_parent() -> None:
    while _forking:
        _, go_on = _forking.popitem()
        if go_on:
            go_on()


def _after_in_child() -> None:
    unclean = {store for store, go_on in _forking.items() if go_on is None}
    _forking.clear()
    for store in list(_stores):
        store.after_fork(is_clean=store not in unclean)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
