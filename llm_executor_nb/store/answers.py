"""Looking answers up: for each want, the stored answer it may take.

Keys are looked for by the hundred, and only numbers come back; the texts of those chosen are read after that. Beside
the ledger's own tables (`main`) there may be a file that can only be read (`behind`); what is in it came first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.store.records import Answer
from llm_executor_nb.store.rows import in_chunks, moment_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from llm_executor_nb.store.records import Lookup
    from llm_executor_nb.store.sqlite import Store

_Place = tuple[str, int]
"""Where an answer is: the schema's name, and its number there."""
_Stored = tuple[_Place, str]
"""Where an answer is, and the run that bought it."""


def find_answers(store: Store, wants: Sequence[Lookup], since: int | None) -> list[Answer | None]:
    """Return, per want, the stored answer that serves it.

    Args:
        store: the open ledger.
        wants: what is looked for.
        since: only answers of this moment and later (microseconds); None: of any age.
    """
    stored = _places(store, {key for want in wants for key in want.keys}, since)
    drawn: dict[tuple[bytes, ...], Iterator[_Stored]] = {}
    chosen = [_choose(want, stored, drawn) for want in wants]
    answers = _read(store, {place for place in chosen if place})
    return [answers[place] if place else None for place in chosen]


def _places(store: Store, keys: set[bytes], since: int | None) -> dict[bytes, list[_Stored]]:
    """Return where the answers of each key are, oldest first."""
    age = "" if since is None else f"AND answered >= {since:d}"
    stored: dict[bytes, list[_Stored]] = {}
    for schema in store.schemas:
        query = f"SELECT request_key, id, run_id FROM {schema}.answer WHERE request_key IN (?*) {age} ORDER BY copy"  # noqa: S608 - no text of anybody's
        for key, number, run in in_chunks(store.connection, query, list(keys)):
            stored.setdefault(key, []).append(((schema, number), run))
    return stored


def _choose(
    want: Lookup, stored: dict[bytes, list[_Stored]], drawn: dict[tuple[bytes, ...], Iterator[_Stored]]
) -> _Place | None:
    if want.copy is None:
        return next((stored[key][-1][0] for key in want.keys if key in stored), None)
    if want.taken is not None:  # one pass over what is stored serves all copies
        left_over = drawn.setdefault(want.keys, (one for key in want.keys for one in stored.get(key, ())))
        return next((place for place, run in left_over if run not in want.taken), None)
    left = want.copy
    for key in want.keys:
        places = stored.get(key, ())
        if left < len(places):
            return places[left][0]
        left -= len(places)
    return None


def _read(store: Store, places: Iterable[_Place]) -> dict[_Place, Answer]:
    numbers: dict[str, list[int]] = {}
    for schema, number in places:
        numbers.setdefault(schema, []).append(number)
    return {
        (schema, number): Answer(
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
        for schema, wanted in numbers.items()
        for (
            number, key, text, run_id, job_id, route, finish_reason, input_tokens, output_tokens, cost_usd, answered
        ) in in_chunks(store.connection, _read_query(schema), wanted)
    }  # fmt: skip


def _read_query(schema: str) -> str:
    return f"""
        SELECT a.id, request_key, a.text, run_id, job.text, route.text, finish.text,
               input_tokens, output_tokens, cost_usd, answered
        FROM {schema}.answer AS a
        JOIN {schema}.word AS job ON job.id = a.job
        JOIN {schema}.word AS route ON route.id = a.route
        LEFT JOIN {schema}.word AS finish ON finish.id = a.finish_reason
        WHERE a.id IN (?*)
    """  # noqa: S608 - no text of anybody's
