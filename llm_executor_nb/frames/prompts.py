"""From cells to requests: a column's cells, or a template filled from several columns; missing input is None.

Requests are made window by window when they are needed: a million prompts are never in memory twice.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.near_names import did_you_mean, listed, near_names
from llm_executor_nb.frames.cells import is_missing, is_plain, narrow_float, request_of, text_of, value_of
from llm_executor_nb.providers.messages import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

VALUES = "values of the series"
"""The column of a Series' values: a name that nobody gives to the answers' column."""
_WINDOW = 4096
_BRACES = re.compile(r"\{\{([^{}]*)\}\}|\{([^{}]*)\}")
_SPEC = r"(?=[^{}]*(?:\.\d+[a-zA-Z%]\}|[<>=^]\d))(?:.?[<>=^])?[-+ ]?z?\#?\d*[,_]?(?:\.\d+)?[a-zA-Z%]?"
"""A format that is hardly meant as text: with a precision and a type, or with an alignment and a width."""
_MEANT_AS_COLUMN = re.compile(
    r"(?<![\w\\{}^$])\{(?:([A-Za-z_]\w+)|([A-Za-z_]\w*)(?:![rsa](?::[^{}]*)?|:" + _SPEC + r"))\}(?![{}])"
)
_NESTED = re.compile(r"\{([^{}!:]+)(?:![rsa])?:[^{}\s]*\{")
_CONVERSIONS = {"s": text_of, "r": repr, "a": ascii}
_HINT = "Write {{name}} for braces that are text."


class Prompts:
    """One request per row of a frame: texts, message lists and dicts as they are, other scalars as text.

    Args:
        frame: the input; the columns in use are copied.
        column: the column of the requests; with a template it is only checked.
        template: a text with columns in braces; all other braces stay as they are.

    Attributes:
        labels: the columns that were named.
        is_asked: 1 for each row that has input, 0 for each row without.

    Raises:
        ConfigError: there is no such column, or several of that name; the template names no column or an unknown one,
            or has a format that does not fit a column's dtype.
    """

    def __init__(self, frame: pd.DataFrame, column: Hashable | None, template: str | None) -> None:
        if template is None and column is None:
            raise ConfigError("Name the column of the prompts: df.llm.run(model, 'review'), or give template='...'.")
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
        """Return the requests of some rows: None where input is missing, the error where a cell is not a request."""
        # design 6: a cell that is not a request fails its own row, so its error stands in the request's place
        rows = zip(*(column.read(start, stop) for column in self._columns.values()), strict=True)
        return [self._request(row, at) for at, row in enumerate(rows, start)]

    def label(self, position: int) -> str:
        """Return the index label of a row as text; a label of several levels as a tuple."""
        label = self._index[position]
        if isinstance(label, tuple):
            return str(tuple(part.item() if hasattr(part, "item") else part for part in label))
        return str(label)

    def _request(self, row: tuple[object, ...], at: int) -> object | None:
        if any(map(is_missing, row)):
            return None
        failure = next((cell for cell in row if isinstance(cell, ConfigError)), None)
        try:
            if failure is None:
                return self._template.fill(dict(zip(self._columns, row, strict=True))) if self._template else row[0]
        except ConfigError as error:
            failure = error
        return ConfigError(f"Row {self._index[at]}: {failure}")

    def _find_asked(self) -> bytearray:
        """Return 1 for each row that has input, 0 where it is missing."""
        asked = bytearray(b"\x01") * len(self)
        for column in self._columns.values():
            for start in range(0, len(self), _WINDOW):
                for offset in column.missing(start, start + _WINDOW):
                    asked[start + offset] = 0
        return asked

    def _check_formats(self) -> None:
        """Refuse a format that does not fit the dtype of its column, before anything is sent."""
        first = self.is_asked.find(1)
        if self._template is None or first < 0:
            return
        for field in self._template.fields:
            column = self._columns[field.name]  # one cell of a typed column stands for all of them
            cell = column.read(first, first + 1)[0]
            if column.has_one_type and not isinstance(cell, ConfigError):
                field.text(cell)


class _Cells:
    """A copy of a column's cells: the user may change the frame while the job runs.

    Args:
        column: the column. Texts are shared; lists, dicts and messages are copied.
        is_filled: its cells fill a template; otherwise each is a request.

    Attributes:
        has_one_type: a format fits all its cells or none; in a column of objects each cell has its own type.
    """

    def __init__(self, column: pd.Series[Any], *, is_filled: bool) -> None:
        is_stored = isinstance(column.dtype, pd.ArrowDtype)  # Parquet fills a message's absent fields with None
        self._read_object: Callable[[Any], object] = value_of if is_filled else partial(request_of, is_stored=is_stored)
        self._read_scalar: Callable[[Any], object] = value_of if is_filled else text_of
        self._float = narrow_float(column.dtype)
        self._is_read = column.dtype == object
        self.has_one_type = not self._is_read and not isinstance(column.dtype, pd.CategoricalDtype)
        self._column = self._all_read(column) if self._is_read else column.copy()

    def read(self, start: int, stop: int) -> list[Any]:
        """Return some cells as requests or values: missing ones as they are, the error where one cannot be read."""
        return [self._content(cell) for cell in self._column.iloc[start:stop]]

    def missing(self, start: int, stop: int) -> list[int]:
        """Return the places of the missing cells among some cells, counted from the first of these."""
        cells = enumerate(self._column.iloc[start:stop])
        return [
            at for at, cell in cells if is_missing(cell) or (not is_plain(cell) and is_missing(self._content(cell)))
        ]

    def _content(self, cell: Any) -> object:  # noqa: ANN401 - whatever a frame holds
        if isinstance(cell, str) or is_missing(cell):
            return cell
        if is_plain(cell):
            return self._read_scalar(cell if self._float is None else self._float(cell))
        return cell if self._is_read else self._converted(cell)

    def _all_read(self, column: pd.Series[Any]) -> pd.Series[Any]:
        """Return a copy of a column of objects in which each object is read, once however many cells share it."""
        cells = column.to_numpy()
        changing = [at for at, cell in enumerate(cells) if not is_plain(cell)]
        if not changing:
            return column.copy()
        values, copies, read = cells.copy(), {}, {}  # type: ignore[var-annotated] # by the ids of objects
        for at in changing:
            if id(cells[at]) not in read:  # a million rows may share one long list of messages
                read[id(cells[at])] = self._converted(_copied(cells[at], copies))
            values[at] = read[id(cells[at])]
        return pd.Series(values, index=column.index, dtype=object)

    def _converted(self, cell: Any) -> object:  # noqa: ANN401 - whatever a frame holds
        """Return a cell as a request or a value; the error where it cannot be read."""
        try:
            if isinstance(cell, np.ndarray) and not cell.ndim:
                cell = plain(cell)  # an array without dimensions holds one scalar
            return cell if is_missing(cell) else self._read_object(cell)
        except ConfigError as error:
            return error


def take_column(frame: pd.DataFrame, column: Hashable) -> pd.Series[Any]:
    """Return one column of a frame.

    Raises:
        ConfigError: there is no such column, or several of that name.
    """
    if not isinstance(column, Hashable) or column not in frame.columns:
        near = did_you_mean(map(repr, near_names(str(column), map(str, frame.columns))))
        there_are = listed(map(repr, frame.columns)) or "none"
        raise ConfigError(f"There is no column {column!r}.{near} There are: {there_are}.")
    cells = frame[column]
    if isinstance(cells, pd.DataFrame):
        raise ConfigError(f"There are {cells.shape[1]} columns called {column!r}; rename all but one.")
    return cells


def _copied(cell: Any, copies: dict[int, Any]) -> object:  # noqa: ANN401 - whatever a frame holds
    try:
        return copy.deepcopy(cell, copies)
    except Exception:  # noqa: BLE001 - a user's own object may raise anything; its row then fails with a ConfigError
        return cell


def _names(frame: pd.DataFrame, template: str) -> dict[str, Hashable]:
    """Return the columns that a template can name, by their names as text."""
    if not isinstance(template, str) or not template.strip():
        raise ConfigError("template= must be a text such as 'Summarise {review}'.")
    names: dict[str, Hashable] = {str(name): name for name in frame.columns}  # braces hold text, labels may be numbers
    if len(names) < len(set(frame.columns)):
        raise ConfigError("Two columns have the same name as text, such as 1 and '1'; rename one of them.")
    return names


# --- templates --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """A column in braces.

    Attributes:
        typed: the text between the braces.
        name: the column.
        conversion: r, s or a; empty: none.
        spec: the format; empty: none.
    """

    typed: str
    name: str
    conversion: str = ""
    spec: str = ""

    def text(self, value: Any) -> str:  # noqa: ANN401 - what a cell holds
        """Return a value as its text in the prompt.

        Raises:
            ConfigError: the format does not fit it.
        """
        try:
            shown = _CONVERSIONS[self.conversion](value) if self.conversion else value
            return format(shown, self.spec) if self.spec else text_of(shown)
        except (ValueError, TypeError, OverflowError) as error:
            reason = str(error).rstrip(".")
        raise ConfigError(f"{{{self.typed}}} does not fit {type(value).__name__} values: {reason}. {_HINT}")


class Template:
    """A text with columns in braces, filled as Python's format does it; all other braces stay as they are typed.

    Args:
        text: the text.
        names: the columns, as text.

    Attributes:
        fields: the columns in braces, in their order.

    Raises:
        ConfigError: it names no column, or an unknown one.
    """

    def __init__(self, text: str, names: Collection[str]) -> None:
        self._pieces = list(_pieces(text, names))
        self.fields = [piece for piece in self._pieces if isinstance(piece, Field)]
        _check_fields(text, names, self.fields)

    def fill(self, row: Mapping[str, object]) -> str:
        """Return the text with the values of a row.

        Raises:
            ConfigError: a format does not fit its value.
        """
        return "".join(piece if isinstance(piece, str) else piece.text(row[piece.name]) for piece in self._pieces)


def _pieces(text: str, names: Collection[str]) -> Iterator[str | Field]:
    end = 0
    for match in _BRACES.finditer(text):
        yield text[end : match.start()]
        end = match.end()
        escaped, typed = match.groups()
        if typed is not None:
            yield _field(typed, names) or match[0]
        else:
            is_name = escaped.isidentifier() or _field(escaped, names) is not None
            yield f"{{{escaped}}}" if is_name else match[0]
    yield text[end:]


def _field(typed: str, names: Collection[str]) -> Field | None:
    """Return the text between braces as a column with its conversion and format; None: it names no column."""
    if typed in names:
        return Field(typed, typed)
    for match in reversed(list(re.finditer(r"[!:]", typed))):  # a column's own name may hold "!" or ":"
        if (name := typed[: match.start()]) in names:
            how = re.fullmatch(r"(?:!([rsa]))?(?::(.*))?", typed[match.start() :], re.DOTALL)
            return None if how is None else Field(typed, name, how[1] or "", how[2] or "")
    return None


def _check_fields(text: str, names: Collection[str], fields: Collection[Field]) -> None:
    columns = listed(names)
    unknown = [
        name
        for match in _MEANT_AS_COLUMN.finditer(text)
        if (name := match[1] or match[2]) not in names and _field(match[0][1:-1], names) is None
    ]
    if unknown:
        near = did_you_mean(near_names(unknown[0], names))
        raise ConfigError(
            f"The template names {unknown[0]!r}, which is not a column.{near} There are: {columns}. {_HINT}"
        )
    for match in _NESTED.finditer(text):
        if match[1] in names:
            raise ConfigError(f"The format of {match[1]!r} contains braces; write it without, as in {{price:.2f}}.")
    if not fields:
        raise ConfigError(
            f"The template names no column, so every row would be the same. "
            f"Write one in braces, as in {{review}}. There are: {columns}."
        )
