"""Turn records into rows of the ledger: numbers for repeated texts, microseconds for times, clean texts.

Everything here runs on the ledger's own thread. A value that no SQLite column can hold (half a surrogate pair, a number
of more than 63 bits) is replaced on the way in, so that one record never prevents the others from being stored.
"""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
import struct
import zlib
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.attempt import ATTEMPT_COLUMNS, Attempt
from llm_executor_nb.store.policies import policy_as_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llm_executor_nb.store.records import Answer

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WORD_COLUMNS = (
    "job_id",
    "column",
    "route",
    "backend",
    "key",
    "provider",
    "request_model",
    "response_model",
    "outcome",
    "error_code",
    "decision",
    "finish_reason",
    "upstream",
    "service_tier",
)
"""Columns of an attempt that hold the number of a text."""
INTEGER_COLUMNS = (
    "position",
    "attempt",
    "http_status",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
)
TEXT_COLUMNS = ("run_id", "row", "message", "generation_id")

_ANSWER_COLUMNS = (
    "request_key, copy, answered, job, route, finish_reason, input_tokens, output_tokens, cost_usd, run_id, text,"
    " checksum, upstream, service_tier, cached_tokens, reasoning_tokens, policy, generation_id"
)
_ATTEMPT_NAMES = ", ".join(f'"{name}"' for name in ATTEMPT_COLUMNS)
_ATTEMPTS_AT_ONCE, _ANSWERS_AT_ONCE = 256, 32
"""Rows of one statement. sqlite3 holds the values of a statement's last run in memory, and answers may be long."""
_MAX_INTEGER = 2**63 - 1
_HALVES = re.compile("[\ud800-\udfff]")
_values_of = attrgetter(*ATTEMPT_COLUMNS)
_numbers_as_bytes = struct.Struct("<6qd").pack


class Interned(dict[str | None, int | None]):
    """The numbers of texts that many rows share, learnt as they are needed; None has none.

    Args:
        connection: the ledger, whose table `word` gives the numbers; None: they are counted here.
    """

    def __init__(self, connection: sqlite3.Connection | None = None) -> None:
        super().__init__({None: None})
        self._connection = connection

    def __missing__(self, text: str) -> int:
        number = self[text] = self._stored(self._connection, text) if self._connection else len(self)
        return number

    def clear(self) -> None:
        """Forget the numbers, because a rollback may have undone the transaction that gave them."""
        super().clear()
        self[None] = None

    def texts(self) -> dict[int, str]:
        """Return the texts by their numbers."""
        return {number: clean_text(text) for text, number in self.items() if text is not None and number is not None}

    @staticmethod
    def _stored(connection: sqlite3.Connection, text: str) -> int:
        clean = clean_text(text)
        connection.execute("INSERT OR IGNORE INTO word(text) VALUES (?)", (clean,))
        if (found := connection.execute("SELECT id FROM word WHERE text = ?", (clean,)).fetchone()) is None:
            raise damage("a text is in the index and not in the table")
        return int(found[0])


def damage(what: str) -> sqlite3.DatabaseError:
    """Return the error of a damaged file, for damage that SQLite does not see."""
    error = sqlite3.DatabaseError(f"database disk image is malformed: {what}")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def clean_text(text: str) -> str:
    """Return a text with half surrogate pairs replaced by U+FFFD, because UTF-8 cannot encode them."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _HALVES.sub("\ufffd", text)
    return text


def microseconds(moment: datetime) -> int:
    """Return a moment as whole microseconds since 1970, UTC."""
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


MOMENTS = range(microseconds(datetime.min.replace(tzinfo=UTC)), microseconds(datetime.max.replace(tzinfo=UTC)))
"""The stored times that are moments."""


def moment_of(stored: int) -> datetime:
    """Return the moment that `microseconds` stored."""
    return EPOCH + timedelta(microseconds=stored)


def checksum(
    key: bytes,
    text: str,
    run_id: str,
    numbers: Iterable[int | None],
    cost_usd: float | None,
    *,
    served: Sequence[int | str | None],
) -> int:
    """Return the checksum of a stored answer: every change of up to four bytes in a row alters it.

    Args:
        key: as it is stored.
        text: as it is stored.
        run_id: as it is stored.
        numbers: the time, the numbers of the job's, route's and finish reason's texts, and the tokens.
        cost_usd: the cost.
        served: what is stored after the checksum.
    """
    answered, job, route, finish, given, made = numbers
    beside = _numbers_as_bytes(
        answered,
        job,
        route,
        finish or 0,  # the numbers of texts begin at 1
        -1 if given is None else given,
        -1 if made is None else made,
        -1.0 if cost_usd is None else cost_usd,
    )
    whole = zlib.crc32(text.encode(), zlib.crc32(key + beside + run_id.encode()))
    # an answer of an older version has nothing there, and keeps its checksum
    return zlib.crc32(json.dumps(served).encode(), whole) if any(one is not None for one in served) else whole


def attempt_row(attempt: Attempt, interned: Interned) -> list[Any]:
    """Return an attempt as a row of the table, in the order of its columns."""
    values = list(_values_of(attempt))
    for at in _WORDS_AT:
        values[at] = interned[values[at]]
    for at in _TEXTS_AT:
        if values[at] is not None:
            values[at] = clean_text(values[at])
    for at in _INTEGERS_AT:
        if values[at] is not None and not -_MAX_INTEGER <= values[at] <= _MAX_INTEGER:
            values[at] = None
    values[_STARTED_AT] = microseconds(values[_STARTED_AT])
    return values


def insert_attempts(connection: sqlite3.Connection, attempts: Iterable[Attempt], interned: Interned) -> None:
    """Add attempts to the log."""
    rows = [attempt_row(attempt, interned) for attempt in attempts]
    _insert(connection, f"attempt({_ATTEMPT_NAMES})", rows, _ATTEMPTS_AT_ONCE)


def insert_answers(connection: sqlite3.Connection, answers: Sequence[Answer], interned: Interned) -> None:
    """Add answers, each numbered after those of its key. Inside an immediate transaction no two get one number."""
    following = _next_copies(connection, {answer.key for answer in answers})
    rows = []
    for answer in answers:
        copy = following.get(answer.key, 0)
        following[answer.key] = copy + 1
        rows.append(_answer_row(answer, copy, interned))
    _insert(connection, f"answer({_ANSWER_COLUMNS})", rows, _ANSWERS_AT_ONCE)


def in_chunks(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
    """Run a query that has `IN (?*)` over any number of values.

    Yields:
        The rows of each chunk in turn.
    """
    size = 500
    full = query.replace("?*", ", ".join("?" * size))
    for start in range(0, len(values), size):
        chunk = list(values[start : start + size])
        chunk += chunk[-1:] * (size - len(chunk))  # of equal length, so that SQLite prepares one statement in all
        yield from connection.execute(full, chunk)


def _answer_row(answer: Answer, copy: int, interned: Interned) -> list[Any]:
    numbers = (
        microseconds(answer.answered_utc),
        interned[answer.job_id],
        interned[answer.route],
        interned[answer.finish_reason],
        _integer(answer.input_tokens),
        _integer(answer.output_tokens),
    )
    cost, run_id, text = answer.cost_usd, clean_text(answer.run_id), clean_text(answer.text)
    if cost != cost:  # noqa: PLR0124 - not a number, which SQLite stores as NULL
        cost = None
    served = (
        interned[answer.upstream],
        interned[answer.service_tier],
        _integer(answer.cached_tokens),
        _integer(answer.reasoning_tokens),
        interned[policy_as_text(answer.policy)],
        None if answer.generation_id is None else clean_text(answer.generation_id),
    )
    whole = checksum(answer.key, text, run_id, numbers, cost, served=served)
    return [answer.key, copy, *numbers, cost, run_id, text, whole, *served]


def _next_copies(connection: sqlite3.Connection, keys: set[bytes]) -> dict[bytes, int]:
    query = "SELECT request_key, max(copy) + 1 FROM answer WHERE request_key IN (?*) GROUP BY request_key"
    return dict(in_chunks(connection, query, list(keys)))


def _insert(connection: sqlite3.Connection, table: str, rows: list[list[Any]], at_once: int) -> None:
    """Insert many rows by few statements: each execution releases the interpreter's lock and waits to get it back."""
    if not rows:
        return
    most = min(at_once, connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // len(rows[0]))
    start = 0
    while left := len(rows) - start:
        count = 1 << min(left, most).bit_length() - 1  # powers of two: few different statements, so all stay prepared
        values = list(itertools.chain.from_iterable(rows[start : start + count]))
        connection.execute(_insert_query(table, len(rows[0]), count), values)
        start += count


@cache
def _insert_query(table: str, columns: int, rows: int) -> str:
    one = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {', '.join([one] * rows)}"  # noqa: S608 - our own names


def _integer(value: int | None) -> int | None:
    return value if value is None or -_MAX_INTEGER <= value <= _MAX_INTEGER else None


_WORDS_AT = tuple(ATTEMPT_COLUMNS.index(name) for name in WORD_COLUMNS)
_TEXTS_AT = tuple(ATTEMPT_COLUMNS.index(name) for name in TEXT_COLUMNS)
_INTEGERS_AT = tuple(ATTEMPT_COLUMNS.index(name) for name in INTEGER_COLUMNS)
_STARTED_AT = ATTEMPT_COLUMNS.index("started_utc")
