"""Whether a ledger is the user's own: its answers are used unasked only then.

Each ledger has a random id. The user's own state folder has an empty file for each id whose ledger this user made or
named in `configure(ledger=...)`. So a ledger may be moved and copied, also to another machine with the user's home. A
ledger that came with a folder (a clone, an archive) has an id that is unknown here.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from llm_executor_nb.store.rows import damage
from llm_executor_nb.store.schema import FIRST_WITH_ID, version_of

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


def is_own(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether this user made a ledger; an empty file is anybody's."""
    version = version_of(connection)
    if version and hasattr(os, "geteuid") and path.stat().st_uid != os.geteuid():
        return False
    if version < FIRST_WITH_ID:
        return not version or _was_used_here(connection)
    return _mark(connection).exists()


def mark_as_own(connection: sqlite3.Connection) -> None:
    """Remember that a ledger is this user's; where the state folder cannot be written, it must be named each time."""
    with suppress(OSError):
        mark = _mark(connection)
        mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.touch(mode=0o600)


def _mark(connection: sqlite3.Connection) -> Path:
    from platformdirs import user_state_path  # noqa: PLC0415 - costs a look at the system at import

    row = connection.execute("SELECT id FROM ledger").fetchone()
    if row is None or not isinstance(row[0], bytes):
        raise damage("it has no id")
    return user_state_path("llm_executor_nb", appauthor=False) / "ledgers" / row[0].hex()


def _was_used_here(connection: sqlite3.Connection) -> bool:
    """Whether a ledger without an id has no answer, or a job of a machine of this name: a stranger does not know it."""
    hosts = connection.execute("SELECT host FROM job WHERE typeof(host) = 'text'").fetchall()
    is_empty = connection.execute("SELECT 1 FROM answer LIMIT 1").fetchone() is None
    return is_empty or any(host.partition(" ")[0] == socket.gethostname() for (host,) in hosts)
