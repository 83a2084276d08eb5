"""Open the ledger's file, whatever state it is in: new, ours, newer, damaged, locked or unwritable.

Rollback journal and full synchronisation: an acknowledged commit survives a crash, and nothing needs shared memory,
which home folders on a network do not have. A damaged file is moved aside and named, never deleted. Where nothing can
be written, answers and attempts are kept in memory, and one warning says so.
"""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.store.rows import Interned
from llm_executor_nb.store.schema import VERSION, is_ours, migrate, version_of

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator

    from llm_executor_nb.store.records import Limits


_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_BAD_RECORD = {sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE}
_BAD_VALUE = (TypeError, ValueError, AttributeError, OverflowError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
_OUR_FAULT = {0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, *_BAD_RECORD}
_UNWRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}


@dataclass
class Database:
    """An open ledger: the connection, and what goes with it.

    Attributes:
        connection: to the file, or to memory.
        limits: the times and sizes it works with.
        path: the file; None: memory.
        identity: device and number of the file as it was opened.
        interned: the numbers of repeated texts.
    """

    connection: sqlite3.Connection
    limits: Limits
    path: Path | None = None
    identity: tuple[int, int] | None = None
    interned: Interned = field(init=False)

    def __post_init__(self) -> None:
        self.interned = Interned(self.connection)

    @contextmanager
    def transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        """Do all that is inside, or nothing when it raises. No other program writes in between."""
        self.connection.execute(begin)
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            self.interned.clear()
            if self.connection.in_transaction:
                with suppress(sqlite3.Error):  # the first failure says more than one of the rollback
                    self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read all that is inside as of one moment."""
        with self.transaction("BEGIN"):
            yield

    def close(self) -> None:
        """Close the file."""
        with suppress(sqlite3.Error):
            self.connection.close()


def usual_place() -> Path:
    """Return where the ledger is kept unless the user configures a place; touches no file.

    Returns:
        `ledger.sqlite` in the folder that the environment variable `LLM_EXECUTOR_HOME` names, else in `.llm_executor`
        below the current working folder.
    """
    home = os.environ.get("LLM_EXECUTOR_HOME")
    return Path(home or ".llm_executor").expanduser().absolute() / "ledger.sqlite"


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error means that the file is not a whole database."""
    return _code(error) in _DAMAGED


def is_lock(error: sqlite3.Error) -> bool:
    """Whether an error means that another program has locked the file."""
    return _code(error) in _LOCKED


def is_lost(error: sqlite3.Error) -> bool:
    """Whether the file must be opened again: it was moved, or its disk failed."""
    extended = getattr(error, "sqlite_errorcode", 0)
    return _code(error) == sqlite3.SQLITE_IOERR or extended == sqlite3.SQLITE_READONLY_DBMOVED


def is_bad_record(error: Exception) -> bool:
    """Whether an error means that a value fits no column; then trying again does not help."""
    return isinstance(error, _BAD_VALUE) or _code(error) in _BAD_RECORD


def is_trouble(error: sqlite3.Error) -> bool:
    """Whether the file or its disk caused an error, and not the statement."""
    return _code(error) not in _OUR_FAULT


def in_words(error: sqlite3.Error) -> str:
    """Return why the ledger cannot write, in words for a user."""
    if is_lock(error):
        return "locked by another program"
    if _code(error) == sqlite3.SQLITE_FULL:
        return "the disk is full"
    if _code(error) == sqlite3.SQLITE_IOERR:
        return f"the disk does not take it ({error})"
    return str(error)


def open_database(path: Path | None, notices: deque[str], limits: Limits) -> Database:
    """Open the ledger; create its file if there is none.

    Args:
        path: the file; None: memory.
        notices: receives what the user should know, such as where a damaged file was moved to.
        limits: the times and sizes it works with.

    Raises:
        sqlite3.Error: the file is locked or the disk is full; try again later.
    """
    if path is None:
        return _in_memory(limits)
    try:
        _make_private(path)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _full() from error
        if not path.is_file():  # a file may be fine although its folder takes no new one
            return _instead(f"The ledger cannot be kept in {path} ({error.strerror or error})", notices, limits)
    try:
        return _open_file(path, notices, limits)
    except sqlite3.Error as error:
        if is_damage(error):
            return _replace_damaged(path, notices, limits)
        if _code(error) in _UNWRITABLE:
            return _instead(f"{path} cannot be written ({error})", notices, limits)
        raise


def set_aside(path: Path, notices: deque[str]) -> None:
    """Move a damaged file, and its journal, out of the way."""
    stamp = clock.current().utc().strftime("%Y%m%dT%H%M%SZ")
    endings = itertools.chain([stamp], (f"{stamp}-{number}" for number in itertools.count(2)))
    names = (path.with_name(f"{path.stem}.damaged-{ending}{path.suffix}") for ending in endings)
    aside = next(name for name in names if not name.exists())
    # The journal goes first: left alone beside a new file it would be rolled back into that one.
    for name, new in ((f"{path}-journal", f"{aside}-journal"), (path, aside)):
        with suppress(FileNotFoundError):
            Path(name).rename(new)
    notices.append(
        f"The ledger {path} is damaged. It was moved to {aside}, nothing in it was deleted, and a new one was begun."
    )


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes this file from another of the same name; None: there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def _make_private(path: Path) -> None:
    """Create an empty file that only its owner can read, in a folder that Git ignores; change nothing that exists.

    Raises:
        OSError: it cannot be created here.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignore = path.parent / ".gitignore"
    if not (ignore.exists() and ignore.stat().st_size):  # a full disk leaves an empty one
        ignore.write_text("*\n", encoding="utf-8")
    # Only SQLite may open a file that exists: closing it here would end this process's locks on it.
    try:
        created = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except FileExistsError:
        return
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(created, 0o600)  # a umask may have taken the owner's rights away
    finally:
        os.close(created)


def _connect(address: str, limits: Limits) -> sqlite3.Connection:
    connection = sqlite3.connect(address, timeout=limits.lock_wait_s, isolation_level=None, uri=True)
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA cache_size = -32000")  # 32 MB: new keys fall anywhere in their index
    return connection


def _in_memory(limits: Limits) -> Database:
    database = Database(_connect(":memory:", limits), limits)
    migrate(database.connection)
    return database


def _instead(reason: str, notices: deque[str], limits: Limits) -> Database:
    """Keep everything in memory, and say why: an unwritable ledger must not stop a job."""
    notices.append(f"{reason}. Answers and attempts are kept in memory and end with this process.")
    return _in_memory(limits)


def _open_file(path: Path, notices: deque[str], limits: Limits) -> Database:
    identity = identity_of(path)
    database = Database(_connect(path.as_uri(), limits), limits, path, identity)
    try:
        if reason := _unusable(database):
            database.close()
            return _instead(f"{path} {reason}", notices, limits)
        database.connection.execute("PRAGMA journal_mode = TRUNCATE")
        database.connection.execute("PRAGMA synchronous = FULL")
        with database.transaction():
            migrate(database.connection)
    except BaseException:
        database.close()
        raise
    return database


def _unusable(database: Database) -> str:
    """Return why a file must be left alone; "": it can be used."""
    if not is_ours(database.connection):
        return "belongs to another program"
    if (version := version_of(database.connection)) > VERSION:
        return (
            f"was written by a newer version of llm_executor_nb (tables {version}, here {VERSION}; "
            "install it with: pip install -U llm_executor_nb)"
        )
    return ""


def _replace_damaged(path: Path, notices: deque[str], limits: Limits) -> Database:
    try:
        set_aside(path, notices)
    except OSError as error:
        reason = f"The ledger {path} is damaged and cannot be moved aside ({error.strerror or error})"
        return _instead(reason, notices, limits)
    return open_database(path, notices, limits)
