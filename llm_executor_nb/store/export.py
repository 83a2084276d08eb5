"""The ledger as a file of another kind: one row per attempt, with the answer's text beside the one that brought it.

It is read by the page and written into a file beside the target, which takes its name only when it is whole.
"""

from __future__ import annotations

import importlib
import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from llm_executor_nb.core.attempt import ATTEMPT_COLUMNS
from llm_executor_nb.core.errors import ConfigError, MissingExtraError
from llm_executor_nb.core.outcomes import Decision
from llm_executor_nb.store.columns import CATEGORIES, AttemptColumns
from llm_executor_nb.store.log import PAGE, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from llm_executor_nb.store.sqlite import Store
    from llm_executor_nb.store.writer import Writer

_COLUMNS = ", ".join(f'attempt."{name}"' for name in ATTEMPT_COLUMNS)
_tables = itertools.count()


def export(writer: Writer, path: Path) -> None:
    """Write all attempts that are committed, and their answers, to a CSV or Parquet file.

    Raises:
        ConfigError: the suffix is neither `.csv` nor `.parquet`; nothing was written.
        MissingExtraError: Parquet needs the extra `parquet`; nothing was written.
        LedgerBusyError: the ledger is locked by another program.
    """
    part = path.with_name(f"{path.name}.part")
    sheet = _sheet_at(part, path.suffix)
    try:
        for page in _pages(writer):
            sheet.add(page)
        sheet.close()
        part.replace(path)
    finally:
        sheet.close()
        part.unlink(missing_ok=True)


def _pages(writer: Writer) -> Iterator[pd.DataFrame]:
    for schema in writer.ask(lambda store: store.schemas):
        bought = f"temp.bought_{next(_tables)}"
        writer.ask(partial(_index, schema=schema, bought=bought))
        try:
            yield from _pages_of(writer, schema, bought)
        finally:
            writer.ask(partial(_drop, bought=bought))


def _index(store: Store, *, schema: str, bought: str) -> None:
    """Note which run bought which answer; the ledger itself has no index for that."""
    store.connection.execute(f"CREATE TABLE {bought}(run_id TEXT PRIMARY KEY, answer INTEGER) WITHOUT ROWID")
    store.connection.execute(f"INSERT OR REPLACE INTO {bought} SELECT run_id, id FROM {schema}.answer ORDER BY run_id")  # noqa: S608 - no text of anybody's


def _drop(store: Store, *, bought: str) -> None:
    store.connection.execute(f"DROP TABLE {bought}")


def _pages_of(writer: Writer, schema: str, bought: str) -> Iterator[pd.DataFrame]:
    after = 0
    while True:
        rows, words = writer.ask(partial(_read, schema=schema, bought=bought, after=after))
        columns = AttemptColumns()
        columns.add(rows, words)
        page = columns.frame(by_time=False).astype(dict.fromkeys(CATEGORIES, "string"))
        page["answer"] = [row[-2] for row in rows]
        yield page.astype({"answer": "string"})
        if len(rows) < PAGE:
            return
        after = rows[-1][-1]


def _read(store: Store, *, schema: str, bought: str, after: int) -> tuple[list[tuple[Any, ...]], dict[int, str]]:
    with store.snapshot():
        words = words_of(store, schema)
        accept = next((number for number, word in words.items() if word == Decision.ACCEPT), -1)
        rows = store.connection.execute(
            f"SELECT {_COLUMNS}, answer.text, attempt.id FROM {schema}.attempt AS attempt"  # noqa: S608 - no text of anybody's
            f" LEFT JOIN {bought} AS bought ON bought.run_id = attempt.run_id AND attempt.decision = ?"
            f" LEFT JOIN {schema}.answer AS answer ON answer.id = bought.answer"
            " WHERE attempt.id > ? ORDER BY attempt.id LIMIT ?",
            (accept, after, PAGE),
        ).fetchall()
    return rows, words


class _Sheet(Protocol):
    def add(self, page: pd.DataFrame) -> None: ...

    def close(self) -> None: ...


def _sheet_at(path: Path, suffix: str) -> _Sheet:
    if suffix == ".csv":
        return _Csv(path)
    if suffix == ".parquet":
        return _Parquet(path)
    raise ConfigError(f"The ledger is exported as .csv or .parquet, not as {suffix or 'a file without a suffix'}.")


class _Csv:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._is_begun = False

    def add(self, page: pd.DataFrame) -> None:
        page.to_csv(self._file, index=False, header=not self._is_begun)
        self._is_begun = True

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path) -> None:
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise MissingExtraError('Parquet needs pyarrow: pip install "llm_executor_nb[parquet]".') from error
        self._path = path
        self._writer: Any = None

    def add(self, page: pd.DataFrame) -> None:
        table = self._arrow.Table.from_pandas(page, preserve_index=False)
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table.cast(self._writer.schema))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
