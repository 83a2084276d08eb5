"""From cells to requests: a column's cells, or a template filled from several columns; missing input is None.

Requests are made a window at a time, when they are asked for: a million prompts are never held twice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.frames.cells import is_missing, is_plain, narrow_float, request_of, text_of, value_of
from llm_executor_nb.frames.templates import Template
from llm_executor_nb.providers.messages import plain

_WINDOW = 4096


class Prompts:
    """One request per row of a frame: texts, message lists and dicts as they were meant, other scalars as text.

    Args:
        frame: the input; what is asked for of it is kept as it is now.
        column: whose cells are the requests; with a template only checked.
        template: a text with columns in braces; all other braces stand as they are.

    Attributes:
        labels: the columns that were named.
        is_asked: 1 for each row that has input, 0 where it is missing.

    Raises:
        ConfigError: there is no such column, or several of that name; the template names no column, or something
            that is meant as one and is not, or gives one a format that does not fit its dtype.
    """

    def __init__(self, frame: pd.DataFrame, column: Hashable | None, template: str | None) -> None:
        if template is None and column is None:
            raise ConfigError(
                "Say which column holds the prompts: df.llm.run(model, 'review'), or give template='...'."
            )
        if column is not None:
            take_column(frame, column)
        self._template, used = None, {str(column): column}
        if template is not None:
            names = _names(frame, template)
            self._template = Template(template, names)
            used = {field.name: names[field.name] for field in self._template.fields}
        self._columns = {
            name: _Cells(take_column(frame, label), is_filled=template is not None) for name, label in used.items()
        }
        self.labels = {*used.values(), *(() if column is None else (column,))}
        self._index = frame.index
        self.is_asked = self._find_asked()
        self._check_formats()

    def __len__(self) -> int:
        return len(self._index)

    def window(self, start: int, stop: int) -> list[object | None]:
        """Return the requests of some rows: None where input is missing, the error where it cannot be asked."""
        rows = zip(*(column.read(start, stop) for column in self._columns.values()), strict=True)
        return [self._request(row, at) for at, row in enumerate(rows, start)]

    def _request(self, row: tuple[object, ...], at: int) -> object | None:
        if any(map(is_missing, row)):
            return None
        wrong = next((cell for cell in row if isinstance(cell, ConfigError)), None)
        try:
            if wrong is None:
                return self._template.fill(dict(zip(self._columns, row, strict=True))) if self._template else row[0]
        except ConfigError as error:
            wrong = error
        return ConfigError(f"Row {self._index[at]}: {wrong}")

    def _find_asked(self) -> bytearray:
        """Return 1 for each row that has input, 0 where it is missing."""
        asked = bytearray(b"\x01") * len(self)
        for column in self._columns.values():
            for start in range(0, len(self), _WINDOW):
                for offset in column.missing(start, start + _WINDOW):
                    asked[start + offset] = 0
        return asked

    def _check_formats(self) -> None:
        """Refuse a format that does not fit the dtype of its column; in a column of objects each cell has its own."""
        first = self.is_asked.find(1)
        if self._template is None or first < 0:
            return
        for field in self._template.fields:
            column = self._columns[field.name]
            cell = column.read(first, first + 1)[0]
            if column.is_of_one_kind and not isinstance(cell, ConfigError):
                field.text(cell)


class _Cells:
    """A column's cells as they are now; no later change reaches them.

    Args:
        column: the column. Texts are shared; lists, dicts and messages are copied.
        is_filled: its cells fill a template; else each is a request.

    Attributes:
        is_of_one_kind: a format fits all its cells or none.
    """

    def __init__(self, column: pd.Series[Any], *, is_filled: bool) -> None:
        is_stored = isinstance(column.dtype, pd.ArrowDtype)
        self._meaning: Callable[[Any], object] = value_of if is_filled else partial(request_of, is_stored=is_stored)
        self._scalar: Callable[[Any], object] = value_of if is_filled else text_of
        self._float = narrow_float(column.dtype)
        self._is_read = column.dtype == object
        self.is_of_one_kind = not self._is_read and not isinstance(column.dtype, pd.CategoricalDtype)
        self._column = self._all_read(column) if self._is_read else column.copy()

    def read(self, start: int, stop: int) -> list[Any]:
        """Return some cells as they are meant: missing ones as they are, the error where one cannot be read."""
        return [self._told(cell) for cell in self._column.iloc[start:stop]]

    def missing(self, start: int, stop: int) -> list[int]:
        """Return which of some cells are missing, counted from the first of them."""
        cells = enumerate(self._column.iloc[start:stop])
        return [at for at, cell in cells if is_missing(cell) or (not is_plain(cell) and is_missing(self._told(cell)))]

    def _told(self, cell: Any) -> object:  # noqa: ANN401 - whatever a frame holds
        if isinstance(cell, str) or is_missing(cell):
            return cell
        if is_plain(cell):
            return self._scalar(cell if self._float is None else self._float(cell))
        return cell if self._is_read else self._meant(cell)

    def _all_read(self, column: pd.Series[Any]) -> pd.Series[Any]:
        """Return a column of objects with each that is no scalar read; cells that are one object stay one."""
        cells = column.to_numpy()
        changing = [at for at, cell in enumerate(cells) if not is_plain(cell)]
        if not changing:
            return column.copy()
        values, copies, read = cells.copy(), {}, {}  # type: ignore[var-annotated] # by the ids of objects
        for at in changing:
            if id(cells[at]) not in read:
                read[id(cells[at])] = self._meant(_copied(cells[at], copies))
            values[at] = read[id(cells[at])]
        return pd.Series(values, index=column.index, dtype=object)

    def _meant(self, cell: Any) -> object:  # noqa: ANN401 - whatever a frame holds
        """Return what a cell means; the error where it cannot be read."""
        try:
            if isinstance(cell, np.ndarray) and not cell.ndim:
                cell = plain(cell)
            return cell if is_missing(cell) else self._meaning(cell)
        except ConfigError as error:
            return error


def take_column(frame: pd.DataFrame, column: Hashable) -> pd.Series[Any]:
    """Return one column of a frame.

    Raises:
        ConfigError: there is no such column, or several of that name.
    """
    if not isinstance(column, Hashable) or column not in frame.columns:
        raise ConfigError(f"There is no column {column!r}. There are: {', '.join(map(repr, frame.columns))}.")
    found = frame[column]
    if isinstance(found, pd.DataFrame):
        raise ConfigError(f"There are {found.shape[1]} columns called {column!r}; rename them so that one is meant.")
    return found


def _copied(cell: Any, copies: dict[int, Any]) -> object:  # noqa: ANN401 - whatever a frame holds
    try:
        return copy.deepcopy(cell, copies)
    except Exception:  # noqa: BLE001 - what a user's own object says; what is wrong with the cell is told at its row
        return cell


def _names(frame: pd.DataFrame, template: str) -> dict[str, Hashable]:
    """Return the columns that a template can name, by their names as text."""
    if not isinstance(template, str) or not template.strip():
        raise ConfigError("template= must be a text such as 'Summarise {review}'.")
    names: dict[str, Hashable] = {str(name): name for name in frame.columns}
    if len(names) < len(set(frame.columns)):
        raise ConfigError("Two columns have the same name as text, such as 1 and '1'; rename one of them.")
    return names
