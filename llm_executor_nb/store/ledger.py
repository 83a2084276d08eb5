"""The ledger: answers and attempts that outlast the process, in one SQLite file.

A thin front: what is kept goes to the writer's queue, what is asked runs on the writer's thread. Nothing is opened
before it is needed, and nothing that can go wrong with a disk reaches whoever keeps an answer; `trouble` says it.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

import pandas as pd

from llm_executor_nb.core.errors import ConfigError, warn
from llm_executor_nb.store import claims
from llm_executor_nb.store.answers import find_answers
from llm_executor_nb.store.columns import AttemptColumns
from llm_executor_nb.store.erase import erase
from llm_executor_nb.store.export import export
from llm_executor_nb.store.log import Cursor, Page, read_page
from llm_executor_nb.store.records import LedgerBusyError
from llm_executor_nb.store.tables import add_records
from llm_executor_nb.store.writer import PATIENCE_S, Barrier, Ended, Kept, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.store.records import Answer, JobStart, Lookup, Turn
    from llm_executor_nb.store.sqlite import Store

_WANTS_AT_ONCE = 5_000
_OPENING_S = 2.0
_FORK_S = 5.0
"""How long a fork waits until the writers are not at their files."""
_all: weakref.WeakSet[Ledger] = weakref.WeakSet()


class Ledger:
    """Keeps answers and attempts, and says who asks what. Safe from any thread; opens nothing until first needed.

    A forked child has its own connection and an empty queue. A ledger does not pickle: the file is what travels.

    Args:
        place: says which file; asked when the ledger is first needed. None from it: all is kept in memory.
    """

    def __init__(self, place: Callable[[], Path | None]) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._writer: Writer | None = None
        self._at_end: weakref.finalize[[], Ledger] | None = None
        _all.add(self)

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
        """Why answers cannot be kept at the moment, such as "the disk is full"; "": they can. It clears by itself."""
        return self._writer.trouble if self._writer else ""

    @property
    def unsaved(self) -> int:
        """How many answers are not committed yet."""
        return self._writer.unsaved_answers() if self._writer else 0

    @property
    def lapses(self) -> int:
        """How often its heartbeat came so late that other processes may have taken its jobs' claims over."""
        return self._writer.lapses if self._writer else 0

    def begin_job(self, job: JobStart) -> None:
        """Enter a job as open, in this process; its heartbeat is kept from now on."""
        writer = self._at_work()
        writer.put(job)
        writer.hurry()
        writer.opened.wait(_OPENING_S)
        self._tell(writer)

    def end_job(self, job_id: str, status: str) -> None:
        """Close a job: its claims end.

        Args:
            job_id: which.
            status: "done", "stopped" or "failed".
        """
        self._at_work().put(Ended(job_id, status))

    def find(self, wants: Sequence[Lookup], *, max_age_s: float | None) -> list[Answer | None]:
        """Return, per want, the stored answer that serves it; claims nothing.

        Args:
            wants: what is looked for.
            max_age_s: answers older than this do not count; None: of any age.

        Raises:
            LedgerBusyError: another program has locked the ledger for half a minute.
        """
        if not self._is_there():
            return [None] * len(wants)
        writer, since = self._at_work(), _since(max_age_s)
        found: list[Answer | None] = []
        for start in range(0, len(wants), _WANTS_AT_ONCE):
            found += writer.ask(partial(_find, wants=wants[start : start + _WANTS_AT_ONCE], since=since))
        self._tell(writer)
        return found

    def claim(
        self, job_id: str, wants: Sequence[Lookup], *, max_age_s: float | None, patience_s: float = PATIENCE_S
    ) -> list[Answer | Turn]:
        """Return stored answers, and claim the rest for a job, unless another live job asks for them now.

        What the job had claimed before is replaced. Of two jobs that want the same, in whatever process, one gets it.

        Args:
            job_id: a job that has begun.
            wants: the requests it is about to send.
            max_age_s: answers older than this do not count; None: of any age.
            patience_s: how long another program's lock is waited for.

        Raises:
            LedgerBusyError: nothing can be written at the moment; nothing was claimed.
        """
        writer = self._at_work()
        claimed = writer.ask(
            partial(_claim, job_id=job_id, wants=wants, since=_since(max_age_s)), is_write=True, patience_s=patience_s
        )
        self._tell(writer)
        return claimed

    def keep(self, attempts: Sequence[Attempt], answer: Answer | None) -> None:
        """Keep a row's attempts, and its answer if it has one; committed within 50 ms.

        Waits for nobody, and raises nothing for a disk.
        """
        self._at_work().put(Kept(attempts, answer))

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all that was kept so far is committed.

        Args:
            timeout_s: no longer than this; None: as long as it takes, be it that a disk is full.

        Returns:
            Whether it is.
        """
        if (writer := self._writer) is None:
            return True
        mark = Barrier()
        writer.put(mark)
        writer.hurry()
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not mark.passed.wait(0.1 if end is None else max(0.0, min(0.1, end - time.monotonic()))):
            if not writer.is_running or (end is not None and time.monotonic() >= end):
                return mark.passed.is_set()
        self._tell(writer)
        return True

    def attempts_frame(
        self, *, job_ids: Collection[str] | None = None, run_ids: Collection[str] | None = None
    ) -> pd.DataFrame:
        """Return the attempt log, committed or not, by the time the requests were sent.

        Args:
            job_ids: of these jobs only.
            run_ids: of these runs only.
        """
        columns = AttemptColumns()
        wanted = None if run_ids is None else frozenset(run_ids)
        cursor = Cursor() if self._is_there() else None
        while cursor:
            writer = self._at_work()
            page, unsaved = writer.ask(partial(_log_page, writer=writer, cursor=cursor, job_ids=job_ids))
            columns.add(page.rows if wanted is None else [row for row in page.rows if row[0] in wanted], page.words)
            if page.following is None:
                add_records(columns, _of(unsaved, job_ids, wanted))
            cursor = page.following
        return columns.frame(by_time=True)

    def forget(self, *, job: str | None = None, older_than: str | float | pd.Timedelta | None = None) -> int:
        """Erase answers and attempts for good: their bytes are gone from the file. Not to be undone.

        Args:
            job: of this job.
            older_than: of before that long ago, such as "30D", or seconds. With `job`: both must hold.

        Returns:
            How many answers were erased.

        Raises:
            ConfigError: neither was given, or it is no time; nothing was erased. `older_than="0s"` erases all.
            LedgerBusyError: another program has locked the ledger for half a minute.
        """
        if job is None and older_than is None:
            raise ConfigError('Say what to forget: job="..." or older_than="30D". older_than="0s" forgets all.')
        before = None if older_than is None else _since(_age_s(older_than))
        if not self._is_there():
            return 0
        return self._at_work().ask(partial(erase, job=job, before=before), is_write=True)

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write the log to a file: one row per attempt, the answer's text in a last column `answer`.

        Args:
            path: ends in `.csv` or `.parquet`; a file of that name is replaced. Answers stand in it in clear.

        Returns:
            The path.

        Raises:
            ConfigError: another suffix; nothing was written.
            MissingExtraError: Parquet needs the extra `parquet`.
            LedgerBusyError: nothing can be committed at the moment; nothing was written.
        """
        target = Path(path)
        if not self.flush(PATIENCE_S):
            raise LedgerBusyError(f"Not all is committed yet: {self.trouble}.")
        export(self._at_work(), target)
        return target

    def close(self) -> None:
        """Commit what is queued, within 4 s, and let go of the file; it is opened again when needed."""
        with self._lock:
            at_end, self._writer, self._at_end = self._at_end, None, None
        if at_end:
            at_end()

    def leave(self) -> None:
        """Stay at its place, whatever is configured from now on; let go of the file unless a job is under way."""
        if (writer := self._writer) is None:
            return
        path = writer.path
        self._place = lambda: path
        if path is not None and not writer.has_jobs():
            self.close()

    def __repr__(self) -> str:
        return f"Ledger({str(self.path)!r})" if self.path else "Ledger(in memory)"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("A ledger does not pickle: it is a file. Copy or export it.")

    def _at_work(self) -> Writer:
        if self._writer is None:
            with self._lock:
                if self._writer is None:
                    writer = Writer(self._place())
                    self._at_end = weakref.finalize(self, writer.close)
                    self._writer = writer
        return self._writer

    def _is_there(self) -> bool:
        """Say whether there is something to look at; only looking makes no file."""
        path = self.path
        return self._writer is not None or (path is not None and path.exists())

    def _tell(self, writer: Writer) -> None:
        while writer.notices:
            warn(writer.notices.popleft())

    def _leave_to_parent(self, *, is_clean: bool) -> None:
        """Begin anew in a forked child: whatever the parent's thread was at is the parent's.

        Args:
            is_clean: the parent's thread was not at the file. Else SQLite cannot be used on it in this process.
        """
        if self._at_end:
            self._at_end.detach()
        self._lock = threading.Lock()
        self._writer = self._at_end = None
        if not is_clean:
            self._place = _nowhere


def _find(store: Store, *, wants: Sequence[Lookup], since: int | None) -> list[Answer | None]:
    with store.snapshot():
        return find_answers(store, wants, since)


def _claim(store: Store, *, job_id: str, wants: Sequence[Lookup], since: int | None) -> list[Answer | Turn]:
    with store.transaction():
        return claims.claim(store, job_id, wants, since)


def _log_page(
    store: Store, *, writer: Writer, cursor: Cursor, job_ids: Collection[str] | None
) -> tuple[Page, list[Attempt]]:
    return read_page(store, cursor, job_ids), writer.unsaved()


def _of(attempts: list[Attempt], job_ids: Collection[str] | None, run_ids: Collection[str] | None) -> list[Attempt]:
    return [
        attempt
        for attempt in attempts
        if (job_ids is None or attempt.job_id in job_ids) and (run_ids is None or attempt.run_id in run_ids)
    ]


def _since(age_s: float | None) -> int | None:
    return None if age_s is None else claims.now() - round(age_s * 1e6)


def _age_s(told: object) -> float:
    """Return an age in seconds: of a text such as `30D`, a timedelta or a number of seconds."""
    age: Any = told
    try:
        is_number = isinstance(age, Real) and not isinstance(age, bool)
        seconds = float(age) if is_number else float(pd.Timedelta(age).total_seconds())
    except (ValueError, TypeError):
        seconds = -1.0
    if 0 <= seconds < math.inf:
        return seconds
    raise ConfigError(f"older_than={told!r} must be a time such as '30D' or '12h'. Nothing was erased.")


def _nowhere() -> None:
    warn("This process was forked while its parent was writing the ledger; here all is kept in memory.")


_held: list[tuple[Ledger, Writer, bool]] = []
"""While a fork is under way: the ledgers at work, and whether their threads keep off their files."""


def _before_fork() -> None:
    end = time.monotonic() + _FORK_S
    at_work = [(ledger, writer) for ledger in list(_all) if (writer := ledger._writer)]  # noqa: SLF001 - this module's own
    for ledger, writer in at_work:
        is_held = writer.gate.acquire(timeout=max(0.0, end - time.monotonic()))
        _held.append((ledger, writer, is_held))


def _after_in_parent() -> None:
    while _held:
        _, writer, is_held = _held.pop()
        if is_held:
            writer.gate.release()


def _after_in_child() -> None:
    clean = {id(ledger): is_held for ledger, _, is_held in _held}
    _held.clear()
    for ledger in list(_all):
        ledger._leave_to_parent(is_clean=clean.get(id(ledger), True))  # noqa: SLF001 - this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
