"""The ledger's tables, and how a file of an older version becomes one of this version.

Migrations are append-only: each is run once, in order, and none is ever edited. A file may be newer than this
package: then only what version 1 had is read of it, because later versions add and take nothing away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID = 0x4C4C4D58
"""Says whose file it is: "LLMX"."""

_FIRST = """
CREATE TABLE word(                      -- texts that many rows share: names of models, routes, columns, jobs
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  text TEXT NOT NULL UNIQUE
);
CREATE TABLE job(
  id INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL UNIQUE,
  model TEXT NOT NULL,
  prompt_column TEXT,
  rows INTEGER NOT NULL,
  requests INTEGER NOT NULL,
  started INTEGER NOT NULL,             -- all times: microseconds since 1970, UTC
  ended INTEGER,
  status TEXT,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  boot TEXT NOT NULL,
  born TEXT NOT NULL,
  heartbeat INTEGER NOT NULL,
  claims BLOB NOT NULL                  -- digests of 16 bytes: the window of requests it asks now
);
CREATE INDEX job_open ON job(id) WHERE ended IS NULL;
CREATE TABLE answer(
  id INTEGER PRIMARY KEY,
  request_key BLOB NOT NULL,            -- 16 random bytes: an index of its own, never the table's order
  copy INTEGER NOT NULL,                -- answers of one key are numbered; nothing is overwritten
  answered INTEGER NOT NULL,
  job INTEGER NOT NULL,
  route INTEGER NOT NULL,
  finish_reason INTEGER,
  input_tokens INTEGER,
  output_tokens INTEGER,
  cost_usd REAL,
  run_id TEXT NOT NULL,
  text TEXT NOT NULL                    -- last: what is looked up stands before it
);
CREATE UNIQUE INDEX answer_key ON answer(request_key, copy);
CREATE TABLE attempt(
  id INTEGER PRIMARY KEY,
  run_id TEXT NOT NULL,
  job_id INTEGER,
  "row" TEXT,
  position INTEGER,
  "column" INTEGER,
  attempt INTEGER NOT NULL,
  route INTEGER NOT NULL,
  backend INTEGER NOT NULL,
  "key" INTEGER,
  provider INTEGER,
  request_model INTEGER NOT NULL,
  response_model INTEGER,
  started_utc INTEGER NOT NULL,
  wait_s REAL NOT NULL,
  duration_s REAL NOT NULL,
  outcome INTEGER NOT NULL,
  http_status INTEGER,
  error_code INTEGER,
  message TEXT,
  retry_after_s REAL,
  decision INTEGER NOT NULL,
  finish_reason INTEGER,
  input_tokens INTEGER,
  output_tokens INTEGER,
  cost_usd REAL
);
CREATE INDEX attempt_job ON attempt(job_id);
"""

MIGRATIONS: tuple[str, ...] = (_FIRST,)
VERSION = len(MIGRATIONS)
"""The version of the tables that this package writes."""


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of the tables in a file; 0: it is empty."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def is_ours(connection: sqlite3.Connection) -> bool:
    """Say whether a file is a ledger, or empty and about to become one."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return mark == APPLICATION_ID or not (mark or tables)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to this version; called inside a transaction, so that it happens wholly or not at all."""
    for script in MIGRATIONS[version_of(connection) :]:
        for statement in script.split(";\n"):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")  # a write also when nothing changes: can we write here?
