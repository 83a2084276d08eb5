"""Forgetting for good: rows are overwritten with zeros, then the file is written anew without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.store.rows import clean_text

if TYPE_CHECKING:
    from llm_executor_nb.store.sqlite import Store


def erase(store: Store, *, job: str | None, before: int | None) -> int:
    """Erase answers and attempts of a job, or from before a moment, or both; return how many answers.

    The row of a job that is still open stays. Names that many rows share (models, routes, columns) stay too.

    Raises:
        ConfigError: the answers are in a file that can only be read.
    """
    if store.behind:
        raise ConfigError(f"{store.behind} can only be read, so nothing in it can be erased; nothing was.")
    mine = "" if job is None else "AND job_id = :job"
    named = "" if job is None else "AND {} = (SELECT id FROM word WHERE text = :job)"
    moment = {"job": None if job is None else clean_text(job), "before": before}

    def older(column: str) -> str:
        return "" if before is None else f"AND {column} < :before"

    with store.transaction():
        erased = store.connection.execute(
            f"DELETE FROM answer WHERE 1 {named.format('job')} {older('answered')}",  # noqa: S608 - no text of anybody's
            moment,
        ).rowcount
        store.connection.execute(
            f"DELETE FROM attempt WHERE 1 {named.format('job_id')} {older('started_utc')}",  # noqa: S608 - the same
            moment,
        )
        store.connection.execute(
            f"DELETE FROM job WHERE ended IS NOT NULL {mine} {older('started')}",  # noqa: S608 - the same
            moment,
        )
    store.connection.execute("VACUUM")
    return erased
