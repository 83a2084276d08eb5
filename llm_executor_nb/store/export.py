"""The ledger as a file of another kind, and its erasure.

An export has one row per attempt, with the answer's text beside the attempt that brought it. It is read by the page and
written into a file beside the target, which takes the target's name only when it is whole.
"""

from __future__ import annotations

import contextlib
import importlib
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.attempt import ATTEMPT_COLUMNS
from llm_executor_nb.core.errors import ConfigError, MissingExtraError
from llm_executor_nb.core.install_line import install_line
from llm_executor_nb.core.outcomes import Decision
from llm_executor_nb.store.rows import clean_text
from llm_executor_nb.store.tables import CATEGORIES, AttemptColumns, Page, stored_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pandas as pd

    from llm_executor_nb.store.ledger_store import LedgerStore
    from llm_executor_nb.store.sqlite import Database

_COLUMNS = ", ".join(f'attempt."{name}"' for name in ATTEMPT_COLUMNS)
_ERASE = (
    """DELETE FROM answer
       WHERE (:job IS NULL OR job = (SELECT id FROM word WHERE text = :job))
       AND (:before IS NULL OR answered < :before)""",
    """DELETE FROM attempt
       WHERE (:job IS NULL OR job_id = (SELECT id FROM word WHERE text = :job))
       AND (:before IS NULL OR started_utc < :before)""",
    """DELETE FROM job
       WHERE (:job IS NULL OR job_id = :job) AND (:before IS NULL OR started < :before) AND ended IS NOT NULL""",
)


def export(store: LedgerStore, path: Path) -> None:
    """Write all committed attempts, and their answers, to a CSV or Parquet file.

    Raises:
        ConfigError: the suffix is neither `.csv` nor `.parquet`; nothing was written.
        MissingExtraError: Parquet needs the extra `parquet`; nothing was written.
        LedgerBusyError: the ledger is locked by another program.
    """
    if (write := _WRITERS.get(path.suffix)) is None:
        kind = path.suffix or "a file without a suffix"
        raise ConfigError(f"The ledger is exported as .csv or .parquet, not as {kind}.")
    part = path.with_name(f"{path.name}.part")
    try:
        write(_pages(store), part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def erase(database: Database, *, job: str | None, before: int | None) -> int:
    """Erase answers and attempts of a job, or from before a moment, or both; return the number of answers.

    The row of an open job stays. Texts that many rows share (models, routes, columns) stay too.

    Raises:
        ConfigError: the file is not used; nothing was erased.
    """
    if database.left_alone:
        raise ConfigError(f"{database.left_alone}. Nothing was erased.")
    values = {"job": None if job is None else clean_text(job), "before": before}
    with database.transaction():
        answers, *_ = [database.connection.execute(statement, values).rowcount for statement in _ERASE]
    # `secure_delete` has overwritten the rows with zeros; this rebuilds the file without the empty pages.
    database.connection.execute("VACUUM")
    return answers


def _pages(store: LedgerStore) -> Iterator[pd.DataFrame]:
    bought = f"temp.bought_{secrets.token_hex(8)}"  # two exports may run side by side on the one connection
    store.call(partial(_index_answers, bought=bought))
    after: int | None = 0
    try:
        while after is not None:
            page = store.call(partial(_read, bought=bought, after=after))
            yield _frame(page)
            after = page.next_after
    finally:
        store.call(lambda database: database.connection.execute(f"DROP TABLE {bought}").close())


def _index_answers(database: Database, *, bought: str) -> None:
    """Note which run paid for which answer, because the ledger has no index for that."""
    database.connection.execute(f"CREATE TABLE {bought}(run_id TEXT PRIMARY KEY, answer INTEGER) WITHOUT ROWID")
    database.connection.execute(f"INSERT OR REPLACE INTO {bought} SELECT run_id, id FROM answer ORDER BY run_id")  # noqa: S608 - our own names


def _read(database: Database, *, bought: str, after: int) -> Page:
    size = database.limits.page_rows
    with database.snapshot():
        texts = stored_texts(database)
        accept = next((number for number, text in texts.items() if text == Decision.ACCEPT), -1)
        rows = database.connection.execute(
            f"SELECT {_COLUMNS}, answer.text, attempt.id FROM attempt"  # noqa: S608 - our own names
            f" LEFT JOIN {bought} AS bought ON bought.run_id = attempt.run_id AND attempt.decision = ?"
            " LEFT JOIN answer ON answer.id = bought.answer"
            " WHERE attempt.id > ? ORDER BY attempt.id LIMIT ?",
            (accept, after, size),
        ).fetchall()
    return Page(rows, texts, rows[-1][-1] if len(rows) == size else None)


def _frame(page: Page) -> pd.DataFrame:
    columns = AttemptColumns()
    columns.add(page.rows, page.texts)
    frame = columns.frame(by_time=False).astype(dict.fromkeys(CATEGORIES, "string"))
    frame["answer"] = [row[-2] for row in page.rows]
    return frame.astype({"answer": "string"})


def _write_csv(pages: Iterable[pd.DataFrame], path: Path) -> None:
    for number, page in enumerate(pages):
        page.to_csv(path, mode="a" if number else "w", header=not number, index=False)


def _write_parquet(pages: Iterable[pd.DataFrame], path: Path) -> None:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError(f"Parquet needs pyarrow. Type: {install_line('parquet')}") from error
    with contextlib.ExitStack() as stack:
        writer: Any = None
        for page in pages:
            table = arrow.Table.from_pandas(page, preserve_index=False)
            if writer is None:
                writer = stack.enter_context(parquet.ParquetWriter(path, table.schema))
            writer.write_table(table.cast(writer.schema))  # a column without values in one page has no type there


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet}
