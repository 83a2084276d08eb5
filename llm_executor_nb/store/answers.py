"""Look answers up: for each look-up, the stored answer that it may take.

Keys are searched by the hundred, and only numbers come back. The texts are read afterwards, of the chosen answers only.
An answer whose row is damaged is never handed out: the look-up takes the next one, or none.
"""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any

from llm_executor_nb.store.policies import policy_in_text
from llm_executor_nb.store.records import Answer, Origin
from llm_executor_nb.store.rows import MOMENTS, checksum, clean_text, in_chunks, moment_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llm_executor_nb.core.policy import Policy
    from llm_executor_nb.store.records import Lookup
    from llm_executor_nb.store.sqlite import Database

Span = tuple[int, int]
"""The first and the last moment at which a fresh answer was accepted, in microseconds."""
_Stored = tuple[bytes, int, str]
"""The key of an answer, its number, and the run that paid for it."""

_READ = """
    SELECT a.id, request_key, a.text, run_id, answered, a.job, a.route, a.finish_reason, input_tokens, output_tokens,
           cost_usd, checksum, a.upstream, a.service_tier, cached_tokens, reasoning_tokens, a.policy, generation_id,
           job.text, route.text, finish.text, upstream.text, tier.text, policy.text
    FROM answer AS a
    JOIN word AS job ON job.id = a.job
    JOIN word AS route ON route.id = a.route
    LEFT JOIN word AS finish ON finish.id = a.finish_reason
    LEFT JOIN word AS upstream ON upstream.id = a.upstream
    LEFT JOIN word AS tier ON tier.id = a.service_tier
    LEFT JOIN word AS policy ON policy.id = a.policy
    WHERE a.id IN (?*)
"""
_ORIGIN = """, (SELECT text FROM word WHERE id = route), (SELECT text FROM word WHERE id = upstream),
    (SELECT text FROM word WHERE id = policy)"""
_POLICIES = """
    SELECT DISTINCT job.text, policy.text FROM word AS job
    JOIN answer AS a ON a.job = job.id AND a.policy IS NOT NULL
    JOIN word AS policy ON policy.id = a.policy
    WHERE job.text IN (?*)
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
    *[_COUNT] * 6,
    _TEXT,
    str,
    str,
    *[_TEXT] * 4,
)
"""The types of what `_READ` names, after the number."""


def find_answers(database: Database, lookups: Sequence[Lookup], fresh: Span | None) -> list[Answer | None]:
    """Return the stored answer for each look-up; None: there is none.

    Args:
        database: the open ledger.
        lookups: the requests.
        fresh: only answers of these moments; None: of any age.
    """
    stored = _stored_by_key(database, {key: lookup for lookup in lookups for key in lookup.keys}, fresh)
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


def _stored_by_key(database: Database, wanted: dict[bytes, Lookup], fresh: Span | None) -> dict[bytes, list[_Stored]]:
    """Return the answers of each key that its look-up may take, oldest first."""
    age = "" if fresh is None else f"AND answered BETWEEN {fresh[0]:d} AND {fresh[1]:d}"
    # only a policy asks where an answer is from, which stands behind the text
    is_asked = any(lookup.may_take is not None for lookup in wanted.values())
    columns = f"request_key, id, run_id{_ORIGIN if is_asked else ''}"
    query = f"SELECT {columns} FROM answer WHERE request_key IN (?*) {age} ORDER BY copy"  # noqa: S608 - our own names
    stored: dict[bytes, list[_Stored]] = {key: [] for key in wanted}
    for key, number, run, *origin in in_chunks(database.connection, query, list(wanted)):
        may_take = wanted[key].may_take
        if may_take is None or may_take(_origin(*origin)):
            stored[key].append((key, number, run))
    return stored


def _origin(route: Any, upstream: Any, policy: Any) -> Origin:  # noqa: ANN401 - any value of SQLite's
    """Return where an answer is from; what is damaged is unknown, so that it promises nothing."""
    route, upstream, policy = (value if isinstance(value, str) else None for value in (route, upstream, policy))
    return Origin(route or "", upstream, policy_in_text(policy))


def policies_of(database: Database, job_ids: Sequence[str]) -> dict[str, Policy]:
    """Return the policies under which jobs bought their answers, by their ids."""
    found = in_chunks(database.connection, _POLICIES, list(map(clean_text, job_ids)))
    return {job_id: policy_in_text(text) for job_id, text in found}


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
    served = values[11:17]
    if stored is None:
        return number <= database.last_unchecked and not (database.is_lenient and "\ufffd" in text)
    return bool(stored == checksum(key, text, run_id, numbers, cost_usd, served=served))


def _answer(values: tuple[Any, ...]) -> Answer:
    key, text, run_id, answered = values[:4]
    input_tokens, output_tokens, cost_usd = values[7:10]
    cached_tokens, reasoning_tokens, _, generation_id = values[13:17]
    job_id, route, finish_reason, upstream, service_tier, policy = values[17:]
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
        upstream=upstream,
        service_tier=service_tier,
        cached_tokens=cached_tokens,
        reasoning_tokens=reasoning_tokens,
        generation_id=generation_id,
        policy=policy_in_text(policy),
    )
