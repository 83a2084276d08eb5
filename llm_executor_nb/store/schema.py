"""The ledger's tables, and how a file of an older version becomes one of this version.

Migrations are append-only: each runs once, in order, and none is ever edited.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache

APPLICATION_ID = 0x4C4C4D58
"""Marks a file as a ledger: "LLMX"."""

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

# Texts are stored once and by number, which makes a row a third of its size; the view gives them back to plain SQL.
# Sub-queries rather than joins: SQLite runs only those of the columns that a query names.
_COLUMNS_OF_THE_VIEW = """
  run_id,
  (SELECT text FROM word WHERE id = job_id) AS job_id,
  "row", position,
  (SELECT text FROM word WHERE id = "column") AS "column",
  attempt,
  (SELECT text FROM word WHERE id = route) AS route,
  (SELECT text FROM word WHERE id = backend) AS backend,
  (SELECT text FROM word WHERE id = "key") AS "key",
  (SELECT text FROM word WHERE id = provider) AS provider,
  (SELECT text FROM word WHERE id = request_model) AS request_model,
  (SELECT text FROM word WHERE id = response_model) AS response_model,
  strftime('%Y-%m-%d %H:%M:%f', started_utc / 1000000.0, 'unixepoch') AS started_utc,
  wait_s, duration_s,
  (SELECT text FROM word WHERE id = outcome) AS outcome,
  http_status,
  (SELECT text FROM word WHERE id = error_code) AS error_code,
  message, retry_after_s,
  (SELECT text FROM word WHERE id = decision) AS decision,
  (SELECT text FROM word WHERE id = finish_reason) AS finish_reason,
  input_tokens, output_tokens, cost_usd"""
_VIEW_OF_ATTEMPTS = f"CREATE VIEW attempts AS SELECT{_COLUMNS_OF_THE_VIEW}\nFROM attempt;\n"

# Answers of older versions have no checksum and stay usable as they were: to write all of them again takes minutes, and
# nothing tells whether they were damaged before. Their greatest number is noted: a newer answer needs a checksum.
_CHECKSUMS = """
CREATE TABLE ledger(
  id BLOB NOT NULL,                     -- 16 random bytes, by which its user knows it again
  last_unchecked INTEGER NOT NULL       -- the number of the last answer of a version without checksums
);
INSERT INTO ledger SELECT randomblob(16), coalesce(max(id), 0) FROM answer;
ALTER TABLE answer ADD COLUMN checksum INTEGER;
"""

# Answers of older versions have nothing in the new columns: who served them, and under which policy, is not known.
_UPSTREAM = f"""
ALTER TABLE attempt ADD COLUMN upstream INTEGER;
ALTER TABLE attempt ADD COLUMN service_tier INTEGER;
ALTER TABLE attempt ADD COLUMN cached_tokens INTEGER;
ALTER TABLE attempt ADD COLUMN reasoning_tokens INTEGER;
ALTER TABLE attempt ADD COLUMN generation_id TEXT;
ALTER TABLE answer ADD COLUMN upstream INTEGER;
ALTER TABLE answer ADD COLUMN service_tier INTEGER;
ALTER TABLE answer ADD COLUMN cached_tokens INTEGER;
ALTER TABLE answer ADD COLUMN reasoning_tokens INTEGER;
ALTER TABLE answer ADD COLUMN generation_id TEXT;
ALTER TABLE answer ADD COLUMN policy INTEGER;
CREATE INDEX answer_policy ON answer(job, policy) WHERE policy IS NOT NULL;
DROP VIEW attempts;
CREATE VIEW attempts AS SELECT{_COLUMNS_OF_THE_VIEW},
  (SELECT text FROM word WHERE id = upstream) AS upstream,
  (SELECT text FROM word WHERE id = service_tier) AS service_tier,
  cached_tokens, reasoning_tokens, generation_id
FROM attempt;
"""  # noqa: S608 - our own names

# A job of several processes has a row for itself, and one for each part of it that runs now.
_PARTS = """
ALTER TABLE job ADD COLUMN part_of TEXT;
ALTER TABLE job ADD COLUMN report TEXT;
CREATE INDEX job_parts ON job(part_of) WHERE ended IS NULL;
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _VIEW_OF_ATTEMPTS, _CHECKSUMS, _UPSTREAM, _PARTS)
VERSION = len(MIGRATIONS)
"""The version of the tables that this package writes."""
FIRST_WITH_ID = 3
_Part = tuple[str, str, str | None]


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of the tables in a file; 0: it is empty."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def is_ours(connection: sqlite3.Connection) -> bool:
    """Whether a file is a ledger, or is empty and can become one."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    return mark == APPLICATION_ID or not (mark or _parts(connection))


def is_whole(connection: sqlite3.Connection, version: int) -> bool:
    """Whether a ledger has all tables, columns and indexes of a version. Users may add their own."""
    parts = _parts(connection)
    return _expected_parts(version) <= parts if version > 0 else not parts


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to this version. The caller opens a transaction, so that all of it happens or nothing."""
    for script in MIGRATIONS[version_of(connection) :]:
        for statement in script.split(";\n"):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    # Written also when the version is right: only a write tells that the file can be written.
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _parts(connection: sqlite3.Connection) -> set[_Part]:
    """Return the tables, views and indexes of a file, with the columns of each."""
    columns = "sqlite_master AS made LEFT JOIN pragma_table_info(made.name) AS part"
    return set(connection.execute(f"SELECT made.type, made.name, part.name FROM {columns}"))  # noqa: S608 - our own names


@cache
def _expected_parts(version: int) -> frozenset[_Part]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in MIGRATIONS[:version]:
            connection.executescript(script)
        return frozenset(_parts(connection))
