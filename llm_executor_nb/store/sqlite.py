"""Opening the ledger's file, whatever state it is in: new, ours, newer, damaged, locked, or not to be written.

Rollback journal and full synchronisation: a commit that was acknowledged survives a crash, and nothing needs shared
memory, which home folders on a network do not have. A damaged file is moved aside and named, never deleted; where
nothing can be written, answers are kept in memory, and what the file holds is still found.
"""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.store.place import make_private
from llm_executor_nb.store.rows import Words
from llm_executor_nb.store.schema import VERSION, is_ours, migrate, version_of

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator
    from pathlib import Path

LOCK_WAIT_S = 0.5
"""How long one statement waits for another program's lock; who needs longer tries again, and says so meanwhile."""

_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_BAD_RECORD = {sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE}
_OUR_FAULT = {0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, *_BAD_RECORD}
_UNWRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}


@dataclass
class Store:
    """An open ledger: the connection, and what goes with it.

    Attributes:
        connection: to the file, or to memory.
        path: the file; None: memory.
        behind: a file that can only be read, attached beside the memory; None: there is none.
        identity: device and number of the file as it was opened.
        words: the numbers of repeated texts.
    """

    connection: sqlite3.Connection
    path: Path | None = None
    behind: Path | None = None
    identity: tuple[int, int] | None = None
    words: Words = field(init=False)

    def __post_init__(self) -> None:
        self.words = Words(self.connection)

    @property
    def schemas(self) -> tuple[str, ...]:
        """The schemas to read from, the older one first."""
        return ("behind", "main") if self.behind else ("main",)

    @contextmanager
    def transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        """Do what is inside wholly, or, when it raises, not at all. Nobody else writes meanwhile."""
        self.connection.execute(begin)
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            self.words.clear()
            if self.connection.in_transaction:
                with suppress(sqlite3.Error):  # the failure that led here says more
                    self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read what is inside as of one moment."""
        with self.transaction("BEGIN"):
            yield

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self.connection.close()


def is_damage(error: sqlite3.Error) -> bool:
    """Say whether an error means that the file is no whole database."""
    return _code(error) in _DAMAGED


def is_lock(error: sqlite3.Error) -> bool:
    """Say whether an error means that another program has locked the file."""
    return _code(error) in _LOCKED


def is_lost(error: sqlite3.Error) -> bool:
    """Say whether the connection had better be made anew: the file was moved, or its disk failed."""
    extended = getattr(error, "sqlite_errorcode", 0)
    return _code(error) == sqlite3.SQLITE_IOERR or extended == sqlite3.SQLITE_READONLY_DBMOVED


def is_bad_record(error: sqlite3.Error) -> bool:
    """Say whether an error means that a value fits no column, so that trying again is of no use."""
    return _code(error) in _BAD_RECORD or isinstance(error, sqlite3.InterfaceError | sqlite3.ProgrammingError)


def is_trouble(error: sqlite3.Error) -> bool:
    """Say whether an error is the file's or its disk's, not the statement's."""
    return _code(error) not in _OUR_FAULT


def in_words(error: sqlite3.Error) -> str:
    """Say what keeps the ledger from writing."""
    if is_lock(error):
        return "locked by another program"
    if _code(error) == sqlite3.SQLITE_FULL:
        return "the disk is full"
    if _code(error) == sqlite3.SQLITE_IOERR:
        return f"the disk does not take it ({error})"
    return str(error)


def open_store(path: Path | None, notices: deque[str]) -> Store:
    """Open the ledger; make its file when there is none.

    Args:
        path: the file; None: memory.
        notices: gets what the user should know, such as where a damaged file was moved to.

    Raises:
        sqlite3.Error: locked or full at the moment; try again.
    """
    if path is None:
        return _in_memory()
    try:
        make_private(path)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _full() from error
        if not path.is_file():
            notices.append(f"The ledger cannot be kept in {path} ({error.strerror or error}). {_IN_MEMORY}")
            return _in_memory()
    try:
        return _open_file(path, notices)
    except sqlite3.Error as error:
        if is_damage(error):
            return _begun_anew(path, notices)
        if _code(error) in _UNWRITABLE:
            return _beside(path, f"{path} cannot be written ({error})", notices)
        raise


def set_aside(path: Path, notices: deque[str]) -> None:
    """Move a damaged file, and its journal, out of the way."""
    stamp = clock.current().utc().strftime("%Y%m%dT%H%M%SZ")
    for turn in itertools.count(1):
        ending = stamp if turn == 1 else f"{stamp}-{turn}"
        aside = path.with_name(f"{path.stem}.damaged-{ending}{path.suffix}")
        if not aside.exists():
            break
    for name, new in ((f"{path}-journal", f"{aside}-journal"), (path, aside)):
        with suppress(FileNotFoundError):
            os.rename(name, new)  # noqa: PTH104 - one of them is no Path
    notices.append(
        f"The ledger {path} is damaged. It was moved to {aside}, nothing in it was deleted, and a new one was begun."
    )


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return what tells this file from another of the same name."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_IN_MEMORY = "Answers and attempts are kept in memory and end with this process."


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def _connect(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, timeout=LOCK_WAIT_S, isolation_level=None, uri=True)
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA cache_size = -32000")  # 32 MB: new keys fall anywhere in their index
    return connection


def _in_memory() -> Store:
    store = Store(_connect(":memory:"))
    migrate(store.connection)
    return store


def _open_file(path: Path, notices: deque[str]) -> Store:
    identity = identity_of(path)
    store = Store(_connect(path.as_uri()), path, identity=identity)
    try:
        if not is_ours(store.connection):
            return _replaced(store, f"{path} belongs to another program. {_IN_MEMORY}", notices)
        if (version := version_of(store.connection)) > VERSION:
            store.close()
            reason = f"{path} was written by a newer version of llm_executor_nb (tables {version}, here {VERSION})"
            return _beside(path, reason, notices, remedy=" Install the newest version: pip install -U llm_executor_nb.")
        store.connection.execute("PRAGMA journal_mode = TRUNCATE")
        store.connection.execute("PRAGMA synchronous = FULL")
        with store.transaction():
            migrate(store.connection)
    except BaseException:
        store.close()
        raise
    return store


def _begun_anew(path: Path, notices: deque[str]) -> Store:
    try:
        set_aside(path, notices)
    except OSError as error:
        notices.append(
            f"The ledger {path} is damaged and cannot be moved aside ({error.strerror or error}). {_IN_MEMORY}"
        )
        return _in_memory()
    return open_store(path, notices)


def _replaced(store: Store, notice: str, notices: deque[str]) -> Store:
    store.close()
    notices.append(notice)
    return _in_memory()


def _beside(path: Path, reason: str, notices: deque[str], remedy: str = "") -> Store:
    """Keep what is new in memory, and find what the file has."""
    store = _in_memory()
    try:
        store.connection.execute("ATTACH ? AS behind", (f"{path.as_uri()}?mode=ro",))
        store.connection.execute("SELECT request_key, copy, answered, text FROM behind.answer LIMIT 1")
    except sqlite3.Error:
        notices.append(f"{reason}. {_IN_MEMORY}{remedy}")
        return store
    store.behind = path
    notices.append(f"{reason}. Its answers are still found. New answers and attempts are kept in memory.{remedy}")
    return store
