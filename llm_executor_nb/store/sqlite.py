"""Open the ledger's file, whatever state it is in: new, ours, newer, damaged, locked or unwritable.

Rollback journal and full synchronisation: an acknowledged commit survives a crash, and nothing needs shared memory,
which home folders on a network do not have. A damaged file is moved aside and named, never deleted. Where nothing can
be written, or somebody else's ledger is found, answers and attempts are kept in memory, and one warning says so.
"""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llm_executor_nb.core import clock
from llm_executor_nb.core.install_line import upgrade_line
from llm_executor_nb.store.ownership import is_own, mark_as_own
from llm_executor_nb.store.rows import Interned, damage
from llm_executor_nb.store.schema import VERSION, is_ours, is_whole, migrate, version_of

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator

    from llm_executor_nb.store.records import Limits


_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_FILES = {errno.EMFILE, errno.ENFILE}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_BAD_RECORD = {sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE}
_BAD_VALUE = (TypeError, ValueError, AttributeError, OverflowError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
_DOUBLE = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID}
"""A number that the file has given out twice."""
_OUR_FAULT = {0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, *_BAD_RECORD}
_UNWRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_BESIDE = ("", "-journal", "-wal", "-shm")
"""What SQLite adds to a file's name for the files that it opens beside it."""
HOME_VARIABLE = "LLM_EXECUTOR_HOME"
_T = TypeVar("_T")


@dataclass
class Database:
    """An open ledger: the connection, and what goes with it.

    Attributes:
        connection: to the file, or to memory.
        limits: the times and sizes it works with.
        notices: receives what the user should know.
        path: the file; None: memory.
        identity: device and number of the file as it was opened.
        left_alone: why memory took the place of a file; "": it did not.
        last_unchecked: the number of the last answer of a version without checksums.
        is_lenient: a text was no UTF-8, so such bytes are read as U+FFFD from now on.
        interned: the numbers of repeated texts.
        heartbeats: the heartbeats of other jobs, each with the time at which it was first seen.
    """

    connection: sqlite3.Connection
    limits: Limits
    notices: deque[str]
    path: Path | None = None
    identity: tuple[int, int] | None = None
    left_alone: str = ""
    last_unchecked: int = 0
    is_lenient: bool = False
    interned: Interned = field(init=False)
    heartbeats: dict[str, tuple[object, float]] = field(default_factory=dict)
    _has_told_damage: bool = False

    def __post_init__(self) -> None:
        self.interned = Interned(self.connection)

    def run(self, work: Callable[[Database], _T]) -> _T:
        """Run a function on it, once more if a text is no UTF-8."""
        try:
            return work(self)
        except UnicodeDecodeError as error:
            raise damage(str(error)) from error
        except sqlite3.OperationalError as error:
            if self.is_lenient or "decode" not in str(error):
                raise
        self.is_lenient, self.connection.text_factory = True, _decoded  # only now: it makes reading slower
        self.tell_damage()
        return work(self)

    def tell_damage(self) -> None:
        """Tell the user once that some of its rows are damaged."""
        if not self._has_told_damage:
            self._has_told_damage = True
            self.notices.append(
                f"Some rows of the ledger {self.path} are damaged. Damaged answers are not used but asked for again; "
                "all other rows stay in use. If this comes again, look at the disk."
            )

    def is_damaged_by(self, error: sqlite3.Error) -> bool:
        """Whether an error means that the file is damaged, and can only be set aside."""
        if _code(error) != sqlite3.SQLITE_ERROR:
            return is_damage(error)
        try:
            return not is_whole(self.connection, VERSION)
        except sqlite3.Error as second:
            return not (is_lock(second) or is_lost(second))

    @contextmanager
    def transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        """Do all that is inside, or nothing when it raises. No other program writes in between."""
        self.connection.execute(begin)
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException as error:
            self.interned.clear()
            if self.connection.in_transaction:
                with suppress(sqlite3.Error):  # the first failure says more than one of the rollback
                    self.connection.execute("ROLLBACK")
            if isinstance(error, UnicodeDecodeError):  # SQLite's own words, which name a part of a damaged schema
                raise damage(str(error)) from error
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
    home = os.environ.get(HOME_VARIABLE)
    return Path(home or ".llm_executor").expanduser().absolute() / "ledger.sqlite"


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error means that the file is not a whole database, or contradicts itself."""
    return _code(error) in _DAMAGED or getattr(error, "sqlite_errorcode", 0) in _DOUBLE


def is_lock(error: sqlite3.Error) -> bool:
    """Whether an error means that another program has locked the file."""
    return _code(error) in _LOCKED


def is_lost(error: sqlite3.Error) -> bool:
    """Whether the file must be opened again: it or its folder was moved or cannot be written, or its disk failed."""
    return _code(error) == sqlite3.SQLITE_IOERR or is_unwritable(error)


def is_unwritable(error: sqlite3.Error) -> bool:
    """Whether an error means that the file, or a file beside it, may not be written or is somewhere else."""
    return _code(error) in _UNWRITABLE and not _is_out_of_files()


def is_bad_record(error: Exception) -> bool:
    """Whether an error means that a value fits no column; then trying again does not help."""
    if isinstance(error, sqlite3.Error) and is_damage(error):
        return False
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


def open_database(path: Path | None, notices: deque[str], limits: Limits, *, is_named: bool) -> Database:
    """Open the ledger; create its file if there is none.

    Args:
        path: the file; None: memory.
        notices: receives what the user should know, such as where a damaged file was moved to.
        limits: the times and sizes it works with.
        is_named: the user named the file. Else a ledger that somebody else made is left alone.

    Raises:
        sqlite3.Error: the file is locked or the disk is full; try again later.
    """
    if path is None:
        return _in_memory(limits, notices)
    if odd := special_file(path):
        return _instead(f"{odd} is a folder, a FIFO, a device or a socket, and not a file", notices, limits)
    try:
        _make_private(path)
    except OSError as error:
        if error.errno in _NO_ROOM | _NO_FILES:
            raise _passing(error) from error
        if not path.is_file():  # a file may be fine although its folder takes no new one
            return _instead(f"The ledger cannot be kept in {path} ({error.strerror or error})", notices, limits)
    identity = identity_of(path)
    try:
        return _open_file(path, notices, limits, is_named=is_named)
    except UnicodeDecodeError:  # SQLite's own words, which name a part of a damaged schema
        pass
    except sqlite3.Error as error:
        if is_unwritable(error):
            return _instead(f"{path} cannot be written ({error})", notices, limits)
        # the same statements have just worked in memory, so an error of a statement is the file's
        if not is_damage(error) and _code(error) != sqlite3.SQLITE_ERROR:
            raise
    return _replace_damaged(path, identity, notices, limits, is_named=is_named)


def special_file(path: Path) -> Path | None:
    """Return which file SQLite would hang on or lose data in: a FIFO, a device, a socket, a folder; None: none."""
    for ending in _BESIDE:
        one = Path(f"{path}{ending}")
        with suppress(OSError):
            if not stat.S_ISREG(one.stat().st_mode):
                return one
    return None


def set_aside(path: Path, identity: tuple[int, int] | None, notices: deque[str]) -> None:
    """Move a damaged file, and its journal, out of the way; nothing, if another program has moved it already."""
    if identity_of(path) != identity:
        return
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


def _passing(cause: OSError) -> sqlite3.OperationalError:
    """Return SQLite's error for a full disk, or for too many open files."""
    error = sqlite3.OperationalError(cause.strerror)
    error.sqlite_errorcode = sqlite3.SQLITE_FULL if cause.errno in _NO_ROOM else sqlite3.SQLITE_CANTOPEN
    return error


def _is_out_of_files() -> bool:
    """Whether the process may open no more files, for which SQLite has no error of its own."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in _NO_FILES
    return False


def _make_private(path: Path) -> None:
    """Create an empty file that only its owner can read, in a folder that Git ignores; change nothing that exists.

    Raises:
        OSError: it cannot be created here.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignore = path.parent / ".gitignore"
    # A full disk leaves an empty one. A link or a FIFO that came with the folder is left alone.
    if not os.path.lexists(ignore) or (ignore.is_file() and not ignore.is_symlink() and not ignore.stat().st_size):
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


def _decoded(text: bytes) -> str:
    return text.decode(errors="replace")


def _in_memory(limits: Limits, notices: deque[str], left_alone: str = "") -> Database:
    database = Database(_connect(":memory:", limits), limits, notices, left_alone=left_alone)
    migrate(database.connection)
    return database


def _instead(reason: str, notices: deque[str], limits: Limits) -> Database:
    """Keep everything in memory, and say why: an unwritable ledger must not stop a job."""
    notices.append(f"{reason}. Answers and attempts are kept in memory and end with this process.")
    return _in_memory(limits, notices, reason)


def _open_file(path: Path, notices: deque[str], limits: Limits, *, is_named: bool) -> Database:
    identity = identity_of(path)
    database = Database(_connect(path.as_uri(), limits), limits, notices, path, identity)
    try:
        if reason := database.run(partial(_unusable, path=path, is_named=is_named)):
            database.close()
            return _instead(reason, notices, limits)
        database.connection.execute("PRAGMA journal_mode = TRUNCATE")
        database.connection.execute("PRAGMA synchronous = FULL")
        with database.transaction():
            migrate(database.connection)
            database.last_unchecked = _last_unchecked(database)
        mark_as_own(database.connection)
    except BaseException:
        database.close()
        raise
    return database


def _last_unchecked(database: Database) -> int:
    row: Any = database.connection.execute("SELECT last_unchecked FROM ledger").fetchone()
    if row is None or not isinstance(row[0], int):
        raise damage("it does not say which answers have no checksum")
    return row[0]


def _unusable(database: Database, *, path: Path, is_named: bool) -> str:
    """Return why a file must be left alone; "": it can be used.

    Raises:
        sqlite3.DatabaseError: it is damaged.
    """
    if not is_ours(database.connection):
        return f"{path} belongs to another program"
    if (version := version_of(database.connection)) > VERSION:
        return (
            f"{path} was written by a newer version of llm_executor_nb (tables {version}, here {VERSION}; "
            f"install it with: {upgrade_line()})"
        )
    if not is_whole(database.connection, version):
        raise damage("its tables are not those of its version")
    if not is_named and not is_own(database.connection, path):
        return (
            f"The ledger {path} was not made by this user: it came with the folder, or belongs to somebody else. Its "
            f"answers are not used. If you trust them, open it with llm.configure(ledger={str(path)!r})"
        )
    return ""


def _replace_damaged(
    path: Path, identity: tuple[int, int] | None, notices: deque[str], limits: Limits, *, is_named: bool
) -> Database:
    """Begin a new file in the place of a damaged one; use memory where that is not possible."""
    try:
        set_aside(path, identity, notices)
        _make_private(path)
        return _open_file(path, notices, limits, is_named=is_named)
    except OSError as error:
        reason = f"The ledger {path} is damaged and cannot be moved aside ({error.strerror or error})"
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        reason = f"{path} is damaged as soon as it is written ({error})"
    return _instead(reason, notices, limits)
