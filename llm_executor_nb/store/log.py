"""The attempt log of the ledger, read by the page, so that a long one keeps nobody's commit waiting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.attempt import ATTEMPT_COLUMNS
from llm_executor_nb.store.rows import clean_text

if TYPE_CHECKING:
    from collections.abc import Collection

    from llm_executor_nb.store.sqlite import Store

PAGE = 20_000
_COLUMNS = ", ".join(f'"{name}"' for name in ATTEMPT_COLUMNS)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next page begins: which of the store's schemas, and after which number."""

    schema: int = 0
    after: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Some attempts.

    Attributes:
        rows: values in the order of `ATTEMPT_COLUMNS`, and the row's number.
        words: the texts that numbers stand for.
        following: where the next page begins; None: this is the last.
    """

    rows: list[tuple[Any, ...]]
    words: dict[int, str]
    following: Cursor | None


def read_page(store: Store, cursor: Cursor, job_ids: Collection[str] | None) -> Page:
    """Read the page at `cursor`, of some jobs or of all (None)."""
    schema = store.schemas[cursor.schema]
    with store.snapshot():
        words = words_of(store, schema)
        found = store.connection.execute(
            f"SELECT {_COLUMNS}, id FROM {schema}.attempt {_of_jobs(words, job_ids)} id > ? ORDER BY id LIMIT ?",  # noqa: S608 - the same
            (cursor.after, PAGE),
        ).fetchall()
    return Page(found, words, _following(store, cursor, found))


def words_of(store: Store, schema: str) -> dict[int, str]:
    """Return the texts that the numbers in a schema stand for."""
    return dict(store.connection.execute(f"SELECT id, text FROM {schema}.word"))  # noqa: S608 - no text of anybody's


def _of_jobs(words: dict[int, str], job_ids: Collection[str] | None) -> str:
    if job_ids is None:
        return "WHERE"
    wanted = {clean_text(job_id) for job_id in job_ids}
    numbers = ", ".join(str(number) for number, text in words.items() if text in wanted)
    return f"INDEXED BY attempt_job WHERE job_id IN ({numbers or -1}) AND"


def _following(store: Store, cursor: Cursor, found: list[tuple[Any, ...]]) -> Cursor | None:
    if len(found) == PAGE:
        return Cursor(cursor.schema, found[-1][-1])
    return Cursor(cursor.schema + 1) if cursor.schema + 1 < len(store.schemas) else None
