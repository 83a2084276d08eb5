"""From cells to requests: a column's cells, or a template filled from several columns; missing input is None."""

from __future__ import annotations

import json
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


def column_requests(frame: pd.DataFrame, column: Hashable) -> list[object | None]:
    """Return one request per row: texts, message lists and dicts as they are, other scalars as text, missing None.

    Raises:
        ConfigError: there is no such column, or several.
    """
    return [_request_of(cell) for cell in take_column(frame, column)]


def template_requests(frame: pd.DataFrame, template: str) -> list[object | None]:
    """Return one text per row: `{name}` filled from the column of that name, all other braces as they stand.

    A row is missing where a column that the template uses is.

    Raises:
        ConfigError: the template names no column, or something that is meant as one and is not.
    """
    if not isinstance(template, str) or not template.strip():
        raise ConfigError("template= must be a text such as 'Summarise {review}'.")
    names = {str(name): name for name in frame.columns}
    if len(names) < len(set(frame.columns)):
        raise ConfigError("Two columns have the same name as text, such as 1 and '1'; rename one of them.")
    used = list(dict.fromkeys(name for name in _named(template) if name in names))
    _check_names(template, used, names)
    cells = zip(*(take_column(frame, names[name]) for name in used), strict=True)
    return [_filled(template, dict(zip(used, row, strict=True))) for row in cells]


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


def is_missing(cell: object) -> bool:
    """Say whether a cell is missing input: None, NA, NaN, NaT or a blank text."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return True
    scalar: Any = cell
    return bool(pd.api.types.is_scalar(cell) and pd.isna(scalar))


def request_key(request: object) -> str:
    """Return what makes two requests equal."""
    return json.dumps(request, sort_keys=True, default=repr, ensure_ascii=False)


def _request_of(cell: object) -> object | None:
    if is_missing(cell):
        return None
    if isinstance(cell, str | list | dict) or hasattr(cell, "to_messages") or hasattr(cell, "content"):
        return cell
    return [*cell] if isinstance(cell, tuple) else str(cell)


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
