"""Look answers up: for each look-up, the stored answer that it may take.

Keys are searched by the hundred, and only numbers come back. The texts are read afterwards, of the chosen answers only.
An answer whose row is damaged is never handed out: the look-up takes the next one, or none.
"""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any

from llm_executor_nb.store.records import Answer
from llm_executor_nb.store.rows import MOMENTS, checksum, in_chunks, moment_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llm_executor_nb.store.records import Lookup
    from llm_executor_nb.store.sqlite import Database

Span = tuple[int, int]
"""The first and the last moment at which a fresh answer was accepted, in microseconds."""
_Stored = tuple[bytes, int, str]
"""The key of an answer, its number, and the run that paid for it."""

_READ = """
    SELECT a.id, request_key, a.text, run_id, answered, a.job, a.route, a.finish_reason, input_tokens, output_tokens,
           cost_usd, checksum, job.text, route.text, finish.text
    FROM answer AS a
    JOIN word AS job ON job.id = a.job
    JOIN word AS route ON route.id = a.route
    LEFT JOIN word AS finish ON finish.id = a.finish_reason
    WHERE a.id IN (?*)
"""
_COUNT, _TEXT = (int, NoneType), (str, NoneType)
_TYPES: tuple[Any, ...] = (
    bytes,
    str,
    str,
    int,
    int,
    int,
    _COUNT,
    _COUNT,
    _COUNT,
    (float, NoneType),
    _COUNT,
    str,
    str,
    _TEXT,
)
"""The types of what `_READ` names, after the number."""


def find_answers(database: Database, lookups: Sequence[Lookup], fresh: Span | None) -> list[Answer | None]:
    """Return the stored answer for each look-up; None: there is none.

    Args:
        database: the open ledger.
        lookups: the requests.
        fresh: only answers of these moments; None: of any age.
    """
    stored = _stored_by_key(database, {key for lookup in lookups for key in lookup.keys}, fresh)
    answers: dict[int, Answer] = {}
    while True:
        drawn: dict[tuple[bytes, ...], Iterator[_Stored]] = {}
        chosen = [_choose(lookup, stored, drawn) for lookup in lookups]
        wanted = {one for one in chosen if one is not None}
        answers |= _read(database, {number for _, number, _ in wanted} - answers.keys())
        damaged = {one for one in wanted if not _is_whole(one, answers)}
        if not damaged:
            return [None if one is None else answers[one[1]] for one in chosen]
        database.tell_damage()
        for one in damaged:
            stored[one[0]].remove(one)


def _stored_by_key(database: Database, keys: set[bytes], fresh: Span | None) -> dict[bytes, list[_Stored]]:
    """Return the answers of each key, oldest first."""
    age = "" if fresh is None else f"AND answered BETWEEN {fresh[0]:d} AND {fresh[1]:d}"
    query = f"SELECT request_key, id, run_id FROM answer WHERE request_key IN (?*) {age} ORDER BY copy"  # noqa: S608 - numbers
    stored: dict[bytes, list[_Stored]] = {key: [] for key in keys}
    for one in in_chunks(database.connection, query, list(keys)):
        stored[one[0]].append(one)
    return stored


def _choose(
    lookup: Lookup, stored: dict[bytes, list[_Stored]], drawn: dict[tuple[bytes, ...], Iterator[_Stored]]
) -> _Stored | None:
    if lookup.copy is None:  # design 6: one key per entry of the chain, and the first stored hit wins
        return next((stored[key][-1] for key in lookup.keys if stored[key]), None)
    if lookup.taken is not None:  # one pass over the stored answers serves all copies
        left_over = drawn.setdefault(lookup.keys, (one for key in lookup.keys for one in stored[key]))
        return next((one for one in left_over if one[2] not in lookup.taken), None)
    left = lookup.copy  # design 6: above temperature 0 each of equal requests has an answer of its own
    for key in lookup.keys:
        of_key = stored[key]
        if left < len(of_key):
            return of_key[left]
        left -= len(of_key)
    return None


def _is_whole(chosen: _Stored, answers: dict[int, Answer]) -> bool:
    """Whether an answer was read, and is of the key and the run that it was found by."""
    key, number, run = chosen
    return number in answers and (answers[number].key, answers[number].run_id) == (key, run)


def _read(database: Database, numbers: set[int]) -> dict[int, Answer]:
    rows = in_chunks(database.connection, _READ, list(numbers))
    return {row[0]: _answer(row[1:]) for row in rows if _is_valid(row, database)}


def _is_valid(row: tuple[Any, ...], database: Database) -> bool:
    """Whether a row of `_READ` holds what was stored; without a checksum, whether it can be read at all."""
    number, *values = row
    if not all(map(isinstance, values, _TYPES)) or values[3] not in MOMENTS:
        return False
    key, text, run_id, *numbers, cost_usd, stored = values[:11]
    if stored is None:
        return number <= database.last_unchecked and not (database.is_lenient and "\ufffd" in text)
    return bool(stored == checksum(key, text, run_id, numbers, cost_usd))


def _answer(values: tuple[Any, ...]) -> Answer:
    key, text, run_id, answered, *_, input_tokens, output_tokens, cost_usd, _, job_id, route, finish_reason = values
    return Answer(
        key=key,
        text=text,
        run_id=run_id,
        job_id=job_id,
        route=route,
        finish_reason=finish_reason,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=cost_usd,
        answered_utc=moment_of(answered),
    )
