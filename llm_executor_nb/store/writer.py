"""The ledger's one thread: it alone has the connection, and commits what was kept every 50 ms.

`put` is O(1) and waits for nobody. What could not be committed (disk full, locked by another program) stays queued
and is tried again four times a second; `trouble` says why. `ask` runs a piece of work on the thread, after all that
was put before it. A forked child must not use its parent's writer; the ledger gives it one of its own.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from llm_executor_nb.core.errors import warn
from llm_executor_nb.store import claims
from llm_executor_nb.store.records import Answer, JobStart, LedgerBusyError
from llm_executor_nb.store.rows import insert_answers, insert_attempts
from llm_executor_nb.store.sqlite import (
    Store,
    identity_of,
    in_words,
    is_bad_record,
    is_damage,
    is_lock,
    is_lost,
    is_trouble,
    open_store,
    set_aside,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from llm_executor_nb.core.attempt import Attempt

GROUP_S = 0.05
"""What is kept waits this long for more, so that one commit serves many."""
MOST_AT_ONCE = 5_000
"""Items of one transaction: a larger one outgrows SQLite's cache, and then waits for the disk again and again."""
RETRY_S = 0.25
BEAT_S = 5.0
PATIENCE_S = 30.0
"""How long `ask` waits for another program's lock."""
CLOSE_S = 4.0
"""How long the end waits for a slow disk: a little less than Jupyter leaves a kernel that is to shut down."""
_POLL_S = 0.1
_BAD_VALUE = (TypeError, ValueError, AttributeError, OverflowError)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Kept:
    """A row's attempts, and the answer when it got one."""

    attempts: Sequence[Attempt]
    answer: Answer | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that has ended."""

    job_id: str
    status: str


@dataclass(frozen=True, slots=True)
class Barrier:
    """Set once all that was put before it is committed."""

    passed: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class _Ask:
    work: Callable[[Store], Any]
    is_write: bool
    until: float
    done: Future[Any]


class Writer:
    """Owns the ledger's file from a thread of its own; it runs until `close`.

    Attributes:
        path: the file; None: memory.
        trouble: why nothing can be committed at the moment; "": it can.
        notices: what the user should be told, oldest first.
        opened: set once the file was opened, or something took its place.
        lapses: how often a heartbeat came so late that other processes may have taken its jobs' claims over.
        gate: held while the thread is at the file. Who forks must hold it: SQLite's locks, and what it notes of them in
            memory, would go wrong in the child.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.trouble = ""
        self.notices: deque[str] = deque()
        self.opened = threading.Event()
        self.gate = threading.Lock()
        self._queue: deque[Kept | JobStart | Ended | Barrier] = deque()
        self._taken: list[Kept | JobStart | Ended | Barrier] = []
        self._asks: deque[_Ask] = deque()
        self._jobs: dict[str, JobStart] = {}
        self._store: Store | None = None
        self.lapses = 0
        self._next_beat = 0.0
        self._beat_at: int | None = None
        self._bell, self._urgent = threading.Event(), threading.Event()
        self._is_closing = self._may_pass = self._is_entered = self._is_stale = False
        self._thread = threading.Thread(target=self._run, name="llm_executor_nb ledger", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether its thread still works."""
        return self._thread.is_alive()

    def put(self, item: Kept | JobStart | Ended | Barrier) -> None:
        """Queue something to be committed."""
        self._queue.append(item)
        if not self._bell.is_set():
            self._bell.set()

    def ask(self, work: Callable[[Store], _T], *, is_write: bool = False, patience_s: float = PATIENCE_S) -> _T:
        """Run a piece of work on the thread and return what it returns.

        Raises:
            LedgerBusyError: the file was locked for longer than `patience_s`, or its disk does not take it.
        """
        asked = _Ask(work, is_write, time.monotonic() + patience_s, Future())
        self._asks.append(asked)
        self.hurry()
        while not wait([asked.done], _POLL_S).done:  # in steps, so that Ctrl-C works on Windows
            if not self.is_running and not asked.done.done():
                raise LedgerBusyError("The ledger was closed meanwhile.")
        found: _T = asked.done.result()
        return found

    def hurry(self) -> None:
        """Commit now, without waiting for more."""
        self._urgent.set()
        self._bell.set()

    def unsaved(self) -> list[Attempt]:
        """Return the attempts that are not committed. To be called on the thread, from a piece of work."""
        return [
            attempt
            for item in (*self._taken, *self._queue.copy())
            if isinstance(item, Kept)
            for attempt in item.attempts
        ]

    def unsaved_answers(self) -> int:
        """Return how many answers are not committed. From any thread."""
        items = (*self._queue.copy(), *self._taken)
        return sum(isinstance(item, Kept) and item.answer is not None for item in items)

    def has_jobs(self) -> bool:
        """Say whether a job has begun here and not ended. From any thread."""
        ended = {item.job_id for item in self._queue.copy() if isinstance(item, Ended)}
        begun = {item.job_id for item in self._queue.copy() if isinstance(item, JobStart)}
        return bool((self._jobs.keys() | begun) - ended)

    def close(self) -> None:
        """Commit what is queued and end the thread; wait for that as long as the disk works, but no longer than 4 s."""
        self._is_closing = True
        self.hurry()
        if threading.current_thread() is not self._thread:  # which may collect the last one that held the ledger
            self._thread.join(CLOSE_S)
        lost = sum(isinstance(item, Kept) for item in (*self._taken, *self._queue.copy()))
        if lost:
            why = self.trouble or "the disk is slow"
            warn(f"{lost} rows of the ledger could not be saved in time ({why}).")

    def _run(self) -> None:
        while not self._is_closing:
            if self.trouble:
                self._urgent.wait(RETRY_S)
            else:
                self._bell.wait(self._pause_s())
                self._bell.clear()
                self._urgent.wait(GROUP_S)
            self._urgent.clear()
            with self.gate:
                self._turn()
        with self.gate:
            self._turn()
            if self._store:
                self._store.close()

    def _pause_s(self) -> float | None:
        return max(0.0, self._next_beat - time.monotonic()) if self._jobs else None

    def _turn(self) -> None:
        asks = [self._asks.popleft() for _ in range(len(self._asks))]
        waiting = len(self._queue)  # what was put before they were asked, and what comes later waits for its own turn
        try:
            store = self._opened()
            while waiting or self._taken or self.trouble or self._is_beat_due() or not self._is_entered:
                taking = min(waiting, MOST_AT_ONCE - len(self._taken))
                self._taken += [self._queue.popleft() for _ in range(taking)]
                waiting -= taking
                self._commit(store)
        except sqlite3.Error as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, what was kept stays queued and the thread goes on
            self.trouble, self._may_pass = f"{type(error).__name__}: {error}", False
        for asked in asks:
            self._answer(asked)

    def _opened(self) -> Store:
        if self._store is None or self._is_stale:
            if self._store:
                self._store.close()
            self._store, self._is_stale = None, False
            self._store = open_store(self.path, self.notices)
            self.path = self._store.path
            self._is_entered = False  # a file begun anew knows nothing of the open jobs
            self.opened.set()
        return self._store

    def _is_beat_due(self) -> bool:
        return bool(self._jobs) and time.monotonic() >= self._next_beat

    def _commit(self, store: Store) -> None:
        """Commit all that is taken in one transaction; with nothing taken, find out whether we can write."""
        try:
            self._write(store, self._taken)
        except _BAD_VALUE:
            self._write_singly(store)
        except sqlite3.Error as error:
            if not is_bad_record(error):
                raise
            self._write_singly(store)
        for item in self._taken:
            _pass(item)
        self._taken = []
        self.trouble = ""

    def _write(self, store: Store, items: Sequence[Kept | JobStart | Ended | Barrier]) -> None:
        kept = [item for item in items if isinstance(item, Kept)]
        jobs = dict(self._jobs)
        with store.transaction():
            for job in () if self._is_entered else jobs.values():
                claims.begin_job(store, job)
            for item in items:
                if isinstance(item, JobStart):
                    claims.begin_job(store, item)
                    jobs[item.job_id] = item
                elif isinstance(item, Ended):
                    claims.end_job(store, item.job_id, item.status)
                    jobs.pop(item.job_id, None)
            insert_attempts(store.connection, [a for item in kept for a in item.attempts], store.words)
            insert_answers(store.connection, [item.answer for item in kept if item.answer], store.words)
            if is_beat_due := self._is_beat_due() or bool(self.trouble):  # in trouble, to see whether it has passed
                claims.beat(store, jobs)
        self._jobs, self._is_entered = jobs, True
        if is_beat_due or not jobs:
            self._note_beat()

    def _note_beat(self) -> None:
        self._next_beat = time.monotonic() + BEAT_S
        before, self._beat_at = self._beat_at, claims.now() if self._jobs else None
        if before and self._beat_at and self._beat_at - before >= claims.STALE_S * 1e6:
            self.lapses += 1

    def _write_singly(self, store: Store) -> None:
        """Commit one by one, because one of them holds what no column takes; only that one is lost, and it is said."""
        while self._taken:
            try:
                self._write(store, self._taken[:1])
            except _BAD_VALUE as error:
                self._drop(error)
            except sqlite3.Error as error:
                if not is_bad_record(error):
                    raise
                self._drop(error)
            _pass(self._taken.pop(0))

    def _drop(self, error: Exception) -> None:
        self.notices.append(f"The ledger could not keep a record: {type(error).__name__}: {error}")

    def _failed(self, error: sqlite3.Error) -> None:
        """Say what is wrong, and let go of a file that is no good."""
        store = self._store
        if store and store.path and is_damage(error):
            store.close()
            self._store = None
            if identity_of(store.path) == store.identity:  # else another program has moved it already
                set_aside(store.path, self.notices)
        elif store and store.behind and is_damage(error):
            store.connection.execute("DETACH behind")
            self.notices.append(f"{store.behind} is damaged; its answers are no longer found.")
            store.behind = None
        elif store and store.path and is_lost(error):
            self._is_stale = True  # until it is opened again it is good enough to read from
        self.trouble = in_words(error)
        self._may_pass = is_lock(error) or is_damage(error)

    def _answer(self, asked: _Ask) -> None:
        if self._store is None or (asked.is_write and self._taken):
            self._put_off(asked)
            return
        try:
            asked.done.set_result(asked.work(self._store))
        except sqlite3.Error as error:
            if not is_trouble(error):
                asked.done.set_exception(error)
                return
            self._failed(error)
            self._put_off(asked)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
            asked.done.set_exception(error)

    def _put_off(self, asked: _Ask) -> None:
        """Try again later, unless it is the disk that is in the way, or it has waited long enough."""
        if self._may_pass and time.monotonic() < asked.until and not self._is_closing:
            self._asks.append(asked)
        else:
            asked.done.set_exception(LedgerBusyError(f"The ledger cannot write at the moment: {self.trouble}."))


def _pass(item: Kept | JobStart | Ended | Barrier) -> None:
    if isinstance(item, Barrier):
        item.passed.set()
