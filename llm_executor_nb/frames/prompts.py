"""From cells to requests: a column's cells, or a template filled from several columns; missing input is None.

Requests are made a window at a time, when they are asked for: a million prompts are never held twice.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BRACES = re.compile(r"\{\{([^{}]*)\}\}|\{([^{}]*)\}")
_MEANT_AS_COLUMN = re.compile(r"(?<![\w\\{}^$])\{([A-Za-z_]\w+)\}(?![{}])")
_HINT = "Write {{name}} where the braces are meant as text."
_WINDOW = 4096


class Prompts:
    """One request per row of a frame: texts, message lists and dicts as they are, other scalars as text.

    Args:
        frame: the input; what is asked for of it is kept as it is now.
        column: whose cells are the requests; with a template only checked.
        template: a text with columns in braces; all other braces stand as they are.

    Attributes:
        labels: the columns that were named.
        is_asked: 1 for each row that has input, 0 where it is missing.

    Raises:
        ConfigError: there is no such column, or several of that name; the template names no column, or something
            that is meant as one and is not.
    """

    def __init__(self, frame: pd.DataFrame, column: Hashable | None, template: str | None) -> None:
        self._template = template
        if template is None and column is None:
            raise ConfigError(
                "Say which column holds the prompts: df.llm.run(model, 'review'), or give template='...'."
            )
        if column is not None:
            take_column(frame, column)
        used = {str(column): column} if template is None else _used(frame, template)
        self._columns = {name: _own(take_column(frame, label)) for name, label in used.items()}
        self.labels = {*used.values(), *(() if column is None else (column,))}
        self._rows = len(frame)
        self.is_asked = self._find_asked()

    def __len__(self) -> int:
        return self._rows

    def window(self, start: int, stop: int) -> list[object | None]:
        """Return the requests of some rows, missing ones as None."""
        cells = [list(column.iloc[start:stop]) for column in self._columns.values()]
        if self._template is None:
            return [_request_of(cell) for cell in cells[0]]
        names = list(self._columns)
        return [_filled(self._template, dict(zip(names, row, strict=True))) for row in zip(*cells, strict=True)]

    def _find_asked(self) -> bytearray:
        """Return 1 for each row that has input, 0 where it is missing."""
        asked = bytearray(b"\x01") * self._rows
        for column in self._columns.values():
            for start in range(0, self._rows, _WINDOW):
                for offset, cell in enumerate(column.iloc[start : start + _WINDOW]):
                    if is_missing(cell):
                        asked[start + offset] = 0
        return asked


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


def _own(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a copy that no later change reaches, also of the lists, dicts and messages in it; texts are shared."""
    found = column.copy()
    if found.dtype != object:
        return found
    cells = enumerate(found.to_numpy())
    changing = [at for at, cell in cells if not (isinstance(cell, str) or pd.api.types.is_scalar(cell))]
    if not changing:
        return found
    values = found.to_numpy(copy=True)
    copies: dict[int, Any] = {}  # so that cells which are one object stay one
    for at in changing:
        values[at] = _copied(values[at], copies)
    return pd.Series(values, index=found.index, dtype=object)


def _copied(cell: Any, copies: dict[int, Any]) -> object:  # noqa: ANN401 - whatever a frame holds
    if not _is_request(cell):
        return str(cell)
    try:
        return copy.deepcopy(cell, copies)
    except Exception:  # noqa: BLE001 - what a user's own object says; what is wrong with the cell is told at its row
        return cell


def _is_request(cell: object) -> bool:
    """Say whether a cell is sent as it is, not as text."""
    return isinstance(cell, str | list | dict | tuple) or hasattr(cell, "to_messages") or hasattr(cell, "content")


def is_missing(cell: object) -> bool:
    """Say whether a cell is missing input: None, NA, NaN, NaT or a blank text."""
    if isinstance(cell, str):
        return not cell or cell.isspace()
    if cell is None:
        return True
    scalar: Any = cell
    return bool(pd.api.types.is_scalar(cell) and pd.isna(scalar))


def _request_of(cell: object) -> object | None:
    if is_missing(cell):
        return None
    if isinstance(cell, tuple):
        return [*cell]
    return cell if _is_request(cell) else str(cell)


def _used(frame: pd.DataFrame, template: str) -> dict[str, Hashable]:
    """Return the columns that a template uses, by their names as text."""
    if not isinstance(template, str) or not template.strip():
        raise ConfigError("template= must be a text such as 'Summarise {review}'.")
    names = {str(name): name for name in frame.columns}
    if len(names) < len(set(frame.columns)):
        raise ConfigError("Two columns have the same name as text, such as 1 and '1'; rename one of them.")
    used = list(dict.fromkeys(name for name in _named(template) if name in names))
    _check_names(template, used, names)
    return {name: names[name] for name in used}


def _named(template: str) -> Iterator[str]:
    for match in _BRACES.finditer(template):
        if match[2] is not None:
            yield match[2]


def _check_names(template: str, used: list[str], names: Mapping[str, Hashable]) -> None:
    columns = ", ".join(names)
    unknown = [name for name in _MEANT_AS_COLUMN.findall(template) if name not in names]
    if unknown:
        raise ConfigError(f"The template names {unknown[0]!r}, which is no column. There are: {columns}. {_HINT}")
    if not used:
        raise ConfigError(f"The template names no column, so every row would be the same. There are: {columns}.")


def _filled(template: str, row: dict[str, object]) -> str | None:
    if any(is_missing(cell) for cell in row.values()):
        return None

    def fill(match: re.Match[str]) -> str:
        name = match[2]
        if name is None:
            return "{" + match[1] + "}" if match[1].isidentifier() else match[0]
        return str(row[name]) if name in row else match[0]

    return _BRACES.sub(fill, template)
