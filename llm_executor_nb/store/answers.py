"""Look answers up: for each look-up, the stored answer that it may take.

Keys are searched by the hundred, and only numbers come back. The texts are read afterwards, of the chosen answers only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.store.records import Answer
from llm_executor_nb.store.rows import in_chunks, moment_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llm_executor_nb.store.records import Lookup
    from llm_executor_nb.store.sqlite import Database

_Stored = tuple[int, str]
"""The number of an answer, and the run that paid for it."""

_READ = """
    SELECT a.id, request_key, a.text, run_id, job.text, route.text, finish.text,
           input_tokens, output_tokens, cost_usd, answered
    FROM answer AS a
    JOIN word AS job ON job.id = a.job
    JOIN word AS route ON route.id = a.route
    LEFT JOIN word AS finish ON finish.id = a.finish_reason
    WHERE a.id IN (?*)
"""


def find_answers(database: Database, lookups: Sequence[Lookup], since: int | None) -> list[Answer | None]:
    """Return the stored answer for each look-up; None: there is none.

    Args:
        database: the open ledger.
        lookups: the requests.
        since: only answers of this moment and later (microseconds); None: of any age.
    """
    stored = _stored_by_key(database, {key for lookup in lookups for key in lookup.keys}, since)
    drawn: dict[tuple[bytes, ...], Iterator[_Stored]] = {}
    chosen = [_choose(lookup, stored, drawn) for lookup in lookups]
    answers = _read(database, {number for number in chosen if number is not None})
    return [None if number is None else answers[number] for number in chosen]


def _stored_by_key(database: Database, keys: set[bytes], since: int | None) -> dict[bytes, list[_Stored]]:
    """Return the answers of each key, oldest first."""
    age = "" if since is None else f"AND answered >= {since:d}"
    query = f"SELECT request_key, id, run_id FROM answer WHERE request_key IN (?*) {age} ORDER BY copy"  # noqa: S608 - a number
    stored: dict[bytes, list[_Stored]] = {}
    for key, number, run in in_chunks(database.connection, query, list(keys)):
        stored.setdefault(key, []).append((number, run))
    return stored


def _choose(
    lookup: Lookup, stored: dict[bytes, list[_Stored]], drawn: dict[tuple[bytes, ...], Iterator[_Stored]]
) -> int | None:
    if lookup.copy is None:  # design 6: one key per entry of the chain, and the first stored hit wins
        return next((stored[key][-1][0] for key in lookup.keys if key in stored), None)
    if lookup.taken is not None:  # one pass over the stored answers serves all copies
        left_over = drawn.setdefault(lookup.keys, (one for key in lookup.keys for one in stored.get(key, ())))
        return next((number for number, run in left_over if run not in lookup.taken), None)
    left = lookup.copy  # design 6: above temperature 0 each of equal requests has an answer of its own
    for key in lookup.keys:
        of_key = stored.get(key, ())
        if left < len(of_key):
            return of_key[left][0]
        left -= len(of_key)
    return None


def _read(database: Database, numbers: set[int]) -> dict[int, Answer]:
    return {
        number: Answer(
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
        for number, key, text, run_id, job_id, route, finish_reason, input_tokens, output_tokens, cost_usd, answered
        in in_chunks(database.connection, _READ, list(numbers))
    }  # fmt: skip
