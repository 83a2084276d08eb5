"""The attempt log as a frame whose display begins with what a person looks for first."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.core.attempt import ATTEMPT_COLUMNS
from llm_executor_nb.view.html import block, line, shown, table, text_table
from llm_executor_nb.view.text import dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_FIRST = {
    "row": "row",
    "attempt": "attempt",
    "route": "route",
    "outcome": "outcome",
    "upstream": "upstream",
    "message": "message",
    "decision": "decision",
    "duration_s": "seconds",
    "cost_usd": "cost",
}
"""Column -> its heading, in the order of the display."""
_NO_ATTEMPTS = "No attempts: nothing was asked."
_LEAST_MESSAGE = 16
"""Characters of a message that a line of text has room for; narrower than that, columns are left out at its end."""


class AttemptsFrame(pd.DataFrame):
    """An attempt log: a frame like any other, but for its display, which has nine of the columns and names the rest.

    A selection of its rows is displayed in the same way, and columns that a user adds are displayed behind the nine.
    Without one of its columns it is a plain frame, and pickle makes a plain frame of it.
    """

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:  # a function, as GeoPandas has it
        return _like_attempts

    def __reduce_ex__(self, _: object) -> tuple[Any, ...]:
        return pd.DataFrame, (), pd.DataFrame(self).__getstate__()  # to be read where this package is not installed

    def __repr__(self) -> str:
        if self.empty:
            return _NO_ATTEMPTS
        names, rows = self._table()
        width = shutil.get_terminal_size().columns
        while len(names) > 1 and _width(names, rows) > width:
            names, rows = names[:-1], [row[:-1] for row in rows]
        if "message" in names:
            at = names.index("message")
            room = width - _width(names, rows) + _LEAST_MESSAGE
            rows = [[*row[:at], _cut(shown(row[at]), room), *row[at + 1 :]] for row in rows]
        return f"{text_table(names, rows)}\n\n{self._rest(names)}"

    def _repr_html_(self) -> str:
        if self.empty:
            return block(line(_NO_ATTEMPTS, "dim"))
        names, rows = self._table()
        return block(table(names, rows) + line(self._rest(names), "dim small"))

    def _table(self) -> tuple[list[str], list[list[object]]]:
        """Return the headings and the rows of the display, without columns that are empty."""
        most, least = pd.get_option("display.max_rows") or len(self), pd.get_option("display.min_rows") or 0
        half = (min(least, most) or most) // 2 if len(self) > most else len(self)
        head, tail = self.iloc[:half], self.iloc[max(half, len(self) - half) :]
        own: list[Hashable] = [name for name in self.columns if name not in ATTEMPT_COLUMNS]
        filled: list[Hashable] = [name for name in (*_FIRST, *own) if name in self and self[name].notna().any()]
        rows = [_cells(part, filled) for part in (head, tail)]
        gap: list[list[object]] = [["…"] * len(filled)] if half + len(tail) < len(self) else []
        return [_heading(name) for name in filled], [*rows[0], *gap, *rows[1]]

    def _rest(self, names: list[str]) -> str:
        """Return the number of attempts, and the columns that are not displayed."""
        others = [str(name) for name in self.columns if _heading(name) not in names]
        return f"{len(self):,} attempts. More columns: {', '.join(others)}."


def _like_attempts(*args: Any, **options: Any) -> pd.DataFrame:  # noqa: ANN401 - pandas' own
    """Return what a method of the log makes: a log, if it has the columns of one."""
    frame = pd.DataFrame(*args, **options)
    is_log = frame.columns.is_unique and set(ATTEMPT_COLUMNS) <= set(frame.columns)
    return AttemptsFrame(frame) if is_log else frame


def _heading(name: Hashable) -> str:
    return _FIRST.get(str(name), str(name))


def _cells(frame: pd.DataFrame, names: list[Hashable]) -> list[list[object]]:
    chosen = pd.DataFrame(frame)[names].astype(object)
    rows = chosen.where(chosen.notna(), None).itertuples(index=False)
    return [[_cell(name, value) for name, value in zip(names, row, strict=True)] for row in rows]


def _cell(name: Hashable, value: Any) -> object:  # noqa: ANN401 - a cell of a frame
    return dollars(float(value)) if name == "cost_usd" and value is not None else value


def _width(names: list[str], rows: list[list[object]]) -> int:
    """Return the characters of a line of text whose message is as short as may be."""
    columns = zip(names, zip(*rows, strict=True), strict=True)
    widths = [
        _LEAST_MESSAGE if name == "message" else max(len(shown(value)) for value in (name, *values))
        for name, values in columns
    ]
    return sum(widths) + 2 * (len(widths) - 1)


def _cut(text: str, room: int) -> str:
    text = text.replace("\n", " ")
    return text if len(text) <= room else f"{text[: room - 1]}…"
