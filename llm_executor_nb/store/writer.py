"""The ledger's one thread: it alone has the connection, and commits the queued items every 50 ms.

`put` is O(1) and waits for nothing. An item that cannot be committed (disk full, file locked by another program) stays
queued and is tried again four times a second; `trouble` says why, and the log says it once a minute. A damaged file is
set aside, and a new one takes the items. `call` runs a function on the thread, after all items that were put before it.
A forked child must not use its parent's writer; the ledger gives it one of its own.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections import deque
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import warn
from llm_executor_nb.store import claims
from llm_executor_nb.store.records import Answer, JobStart, LedgerBusyError
from llm_executor_nb.store.rows import insert_answers, insert_attempts
from llm_executor_nb.store.sqlite import (
    Database,
    in_words,
    is_bad_record,
    is_lock,
    is_lost,
    is_trouble,
    is_unwritable,
    open_database,
    set_aside,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.store.records import Limits

PATIENCE_S = 30.0
"""How long `call` waits for another program's lock."""
_GROUP_S = 0.05
"""How long an item waits for more, so that one commit serves many. A killed kernel loses no older answer (design 6)."""
_MOST_AT_ONCE = 5_000
"""Items of one transaction: a larger one outgrows SQLite's cache and then waits for the disk again and again."""
_RETRY_S = 0.25
_CLOSE_S = 4.0
"""How long `close` waits for a slow disk: a little less than Jupyter leaves a kernel that is to shut down."""
_POLL_S = 0.1
_LOG_S = 60.0
"""Seconds between two lines in the log that say why nothing can be committed."""
_T = TypeVar("_T")
_log = logging.getLogger("llm_executor_nb")


@dataclass(frozen=True, slots=True)
class RowRecords:
    """The attempts of a row, and its answer if it has one."""

    attempts: Sequence[Attempt]
    answer: Answer | None


@dataclass(frozen=True, slots=True)
class JobEnd:
    """A job that has ended, and how."""

    job_id: str
    status: str


@dataclass(frozen=True, slots=True)
class Barrier:
    """Set once all items that were put before it are committed."""

    passed: threading.Event = field(default_factory=threading.Event)


QueueItem = RowRecords | JobStart | JobEnd | Barrier


@dataclass(frozen=True, slots=True)
class _Query:
    work: Callable[[Database], Any]
    is_write: bool
    until: float
    done: Future[Any]


class Writer:
    """Owns the ledger's file from a thread of its own, which runs until `close`.

    Args:
        path: the file; None: memory.
        limits: the times and sizes it works with.
        is_named: the user named the file. Else a ledger that somebody else made is left alone.

    Attributes:
        path: the file; None: memory.
        trouble: why nothing can be committed at the moment; "": it can.
        notices: what the user should be told, oldest first.
        opened: set once the file was opened, or memory took its place.
        jobs: the jobs that have begun here and not ended. Read it on the thread.
        lease_lapses: how often a heartbeat came so late that other processes may have taken over its jobs' claims.
        fork_lock: held while the thread works on the file. A fork must hold it: SQLite's locks, and what it notes of
            them in memory, would be wrong in the child.
    """

    def __init__(self, path: Path | None, limits: Limits, *, is_named: bool = True) -> None:
        self.path = path
        self.trouble = ""
        self.notices: deque[str] = deque()
        self.opened = threading.Event()
        self.lease_lapses = 0
        self.fork_lock = threading.Lock()
        self.jobs: dict[str, JobStart] = {}
        self._limits, self._is_named = limits, is_named
        self._queue: deque[QueueItem] = deque()
        self._batch: list[QueueItem] = []
        self._queries: deque[_Query] = deque()
        self._database: Database | None = None
        self._next_beat = 0.0
        self._last_beat: tuple[float, float] | None = None
        self._next_log = -math.inf
        self._wake, self._urgent = threading.Event(), threading.Event()
        self._is_closing = self._may_pass = self._are_jobs_entered = self._must_reopen = False
        self._thread = threading.Thread(target=self._run, name="llm_executor_nb ledger", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether its thread still works."""
        return self._thread.is_alive()

    def put(self, item: QueueItem) -> None:
        """Queue an item to be committed."""
        self._queue.append(item)
        if not self._wake.is_set():  # setting an event takes a lock, also when it is set
            self._wake.set()

    def call(self, work: Callable[[Database], _T], *, is_write: bool = False, patience_s: float = PATIENCE_S) -> _T:
        """Run a function on the thread and return its result.

        Args:
            work: the function.
            is_write: it is put off while queued items cannot be committed.
            patience_s: how long another program's lock is waited for.

        Raises:
            LedgerBusyError: the file was locked for longer than `patience_s`, or its disk does not take it.
        """
        query = _Query(work, is_write, time.monotonic() + patience_s, Future())
        self._queries.append(query)
        self.hurry()
        while not wait([query.done], _POLL_S).done:  # in steps, so that Ctrl-C works on Windows
            if not self.is_running and not query.done.done():
                raise LedgerBusyError("The ledger was closed meanwhile.")
        result: _T = query.done.result()
        return result

    def hurry(self) -> None:
        """Commit now, without waiting for more items."""
        self._urgent.set()
        self._wake.set()

    def unsaved(self) -> list[Attempt]:
        """Return the attempts that are not committed. Call it on the thread, from a function given to `call`."""
        return [attempt for item in self._uncommitted() if isinstance(item, RowRecords) for attempt in item.attempts]

    def unsaved_answers(self) -> int:
        """Return the number of answers that are not committed. From any thread."""
        return sum(isinstance(item, RowRecords) and item.answer is not None for item in self._uncommitted())

    def has_jobs(self) -> bool:
        """Whether a job has begun here and not ended. From any thread."""
        queued = self._queue.copy()
        begun = {item.job_id for item in queued if isinstance(item, JobStart)}
        ended = {item.job_id for item in queued if isinstance(item, JobEnd)}
        return bool((self.jobs.keys() | begun) - ended)

    def close(self) -> None:
        """Commit the queued items and end the thread; wait for that no longer than 4 s."""
        self._is_closing = True
        self.hurry()
        # The thread itself may collect the last object that held the ledger; it must not wait for its own end.
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)
        lost = sum(isinstance(item, RowRecords) for item in self._uncommitted())
        if lost:
            why = self.trouble or "the disk is slow"
            warn(f"{lost} rows of the ledger could not be saved in time ({why}).")

    def _uncommitted(self) -> list[QueueItem]:
        return [*self._batch, *self._queue.copy()]

    def _run(self) -> None:
        while not self._is_closing:
            if self.trouble:
                self._urgent.wait(_RETRY_S)
            else:
                self._wake.wait(self._pause_s())
                self._wake.clear()
                self._urgent.wait(_GROUP_S)
            self._urgent.clear()
            with self.fork_lock:
                self._work_once()
            self._log_trouble()
        with self.fork_lock:
            self._work_once()
            if self._database:
                self._database.close()

    def _log_trouble(self) -> None:
        now = clock.current().now()
        rows = sum(isinstance(item, RowRecords) for item in self._uncommitted()) if self.trouble else 0
        if rows and now >= self._next_log:  # a job that has nothing to store yet says itself that it waits
            self._next_log = now + _LOG_S
            _log.warning(
                "The ledger %s cannot be written: %s. Rows that wait for it: %d.", self.path, self.trouble, rows
            )

    def _pause_s(self) -> float | None:
        return max(0.0, self._next_beat - time.monotonic()) if self.jobs else None

    def _work_once(self) -> None:
        """Commit the items and run the queries that are there now; later ones wait, so that neither starves."""
        queries = [self._queries.popleft() for _ in range(len(self._queries))]
        waiting = len(self._queue)
        try:
            database = self._opened()
            while waiting or self._batch or self.trouble or self._is_beat_due() or not self._are_jobs_entered:
                taking = min(waiting, _MOST_AT_ONCE - len(self._batch))
                self._batch += [self._queue.popleft() for _ in range(taking)]
                waiting -= taking
                self._commit(database)
        except sqlite3.Error as error:
            self._note_failure(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the items stay queued and the thread goes on
            self.trouble, self._may_pass = f"{type(error).__name__}: {error}", False
        for query in queries:
            self._answer(query)

    def _opened(self) -> Database:
        if self._database is None or self._must_reopen:
            if self._database:
                self._database.close()
            self._database, self._must_reopen = None, False
            self._database = open_database(self.path, self.notices, self._limits, is_named=self._is_named)
            self.path = self._database.path
            self._are_jobs_entered = False  # a new file knows nothing of the open jobs
            self.opened.set()
        return self._database

    def _is_beat_due(self) -> bool:
        return bool(self.jobs) and time.monotonic() >= self._next_beat

    def _commit(self, database: Database) -> None:
        """Commit the batch in one transaction; an empty batch tests whether the file can be written."""
        try:
            self._write(database, self._batch)
        except Exception as error:
            if not is_bad_record(error):
                raise
            self._write_singly(database)
        for item in self._batch:
            _release(item)
        self._batch = []
        self.trouble = ""

    def _write(self, database: Database, items: Sequence[QueueItem]) -> None:
        rows = [item for item in items if isinstance(item, RowRecords)]
        jobs = dict(self.jobs)
        with database.transaction():
            for job in () if self._are_jobs_entered else jobs.values():
                claims.begin_job(database, job)
            for item in items:
                if isinstance(item, JobStart):
                    claims.begin_job(database, item)
                    jobs[item.job_id] = item
                elif isinstance(item, JobEnd):
                    claims.end_job(database, item.job_id, item.status)
                    jobs.pop(item.job_id, None)
            insert_attempts(database.connection, [a for row in rows for a in row.attempts], database.interned)
            insert_answers(database.connection, [row.answer for row in rows if row.answer], database.interned)
            # In trouble a beat is written at once: a write tells whether the trouble has passed.
            if is_beat_due := self._is_beat_due() or bool(self.trouble):
                claims.beat(database, jobs)
        self.jobs, self._are_jobs_entered = jobs, True
        if is_beat_due or not jobs:
            self._note_beat()

    def _note_beat(self) -> None:
        self._next_beat = time.monotonic() + self._limits.beat_s
        # Two clocks, because one does not count while the machine sleeps, and the other may be set back.
        moment = clock.current().now(), claims.now() / 1e6
        before, self._last_beat = self._last_beat, moment if self.jobs else None
        if before and max(moment[0] - before[0], moment[1] - before[1]) >= self._limits.lease_s:
            self.lease_lapses += 1

    def _write_singly(self, database: Database) -> None:
        """Commit the batch item by item, because a value in it fits no column; only that item is dropped."""
        while self._batch:
            try:
                self._write(database, self._batch[:1])
            except Exception as error:
                if not is_bad_record(error):
                    raise
                self.notices.append(f"The ledger could not keep a record: {type(error).__name__}: {error}")
            _release(self._batch.pop(0))

    def _note_failure(self, error: sqlite3.Error) -> None:
        """Note why the ledger cannot write, and let go of a file that cannot be used any more."""
        database = self._database
        is_damaged = False
        if database and database.path:
            is_damaged = database.is_damaged_by(error)
            self._must_reopen |= is_lost(error)  # not now: until then it may still be read from
        if database and database.path and is_damaged:
            database.close()
            self._database = None
            with suppress(OSError):  # then it is found damaged again when it is opened, and memory takes its place
                set_aside(database.path, database.identity, self.notices)
            self.hurry()
        self.trouble = in_words(error)
        self._may_pass = is_lock(error) or is_damaged or is_unwritable(error)

    def _answer(self, query: _Query) -> None:
        database = self._database
        if database is None or (query.is_write and (self._batch or not self._are_jobs_entered)):
            self._put_off(query)
            return
        try:
            query.done.set_result(database.run(query.work))
        except sqlite3.Error as error:
            if is_trouble(error) or (database.path and database.is_damaged_by(error)):
                self._note_failure(error)
                self._put_off(query)
            else:
                query.done.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            query.done.set_exception(error)

    def _put_off(self, query: _Query) -> None:
        """Try again later; fail when the disk is the obstacle, or when the query has waited long enough."""
        if self._may_pass and time.monotonic() < query.until and not self._is_closing:
            self._queries.append(query)
        else:
            query.done.set_exception(LedgerBusyError(f"The ledger cannot write at the moment: {self.trouble}."))


def _release(item: QueueItem) -> None:
    if isinstance(item, Barrier):
        item.passed.set()
