"""Attempts and holds as frames, with the same dtypes on every pandas, whatever is in them.

Records in memory and rows of the ledger take one way. A page is rows as the ledger's table has them
(`rows.attempt_row`), with numbers for repeated texts and microseconds for times. It becomes arrays at once, so that a
million attempts take seconds and little more memory than their frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llm_executor_nb.core.attempt import ATTEMPT_COLUMNS
from llm_executor_nb.core.errors import warn
from llm_executor_nb.core.holds import describe
from llm_executor_nb.core.outcomes import ScopeLevel
from llm_executor_nb.store.rows import (
    INTEGER_COLUMNS,
    MOMENTS,
    TEXT_COLUMNS,
    WORD_COLUMNS,
    Interned,
    attempt_row,
    clean_text,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.chain import LeftOut
    from llm_executor_nb.core.holds import Hold
    from llm_executor_nb.store.sqlite import Database

CATEGORIES = ("outcome", "decision")
"""Columns of few different texts."""
_COLUMNS = ", ".join(f'"{name}"' for name in ATTEMPT_COLUMNS)
_MISSING = -(2**63)
_ODD = (TypeError, ValueError, OverflowError, IndexError)
"""What numpy raises for a value that is not of its column."""
_LARGEST_GAP = 10_000
"""Numbers of texts have no gaps. One that lies beyond this is damaged, and would make a table of any size."""
_DTYPES: dict[str, Any] = {
    **dict.fromkeys((*WORD_COLUMNS, *INTEGER_COLUMNS, "started_utc"), np.int64),
    **dict.fromkeys(TEXT_COLUMNS, object),
}
_OF_POLICY = "policy"
"""The kind of what a policy leaves out, beside the kinds of holds."""
_HOLD_COLUMNS = {
    "scope": "string",
    "backend": "string",
    "provider": "string",
    "key": "string",
    "model": "string",
    "kind": "string",
    "why": "string",
    "message": "string",
    "seconds_left": "float64",
    "strikes": "int64",
    "is_probing": "bool",
}


@dataclass(frozen=True, slots=True)
class Page:
    """Some attempts of the ledger.

    Attributes:
        rows: values in the order of `ATTEMPT_COLUMNS`, and the row's number.
        texts: the texts that the numbers in the rows stand for.
        next_after: the number after which the next page begins; None: this page is the last.
    """

    rows: list[tuple[Any, ...]]
    texts: dict[int, str]
    next_after: int | None


class AttemptColumns:
    """Collects pages of attempts and returns them as one frame."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._parts: dict[str, list[NDArray[Any]]] = {
            name: [np.array([], dtype=_DTYPES.get(name, np.float64))] for name in ATTEMPT_COLUMNS
        }

    def add(self, rows: Iterable[Sequence[Any]], texts: Mapping[int, str]) -> None:
        """Add a page.

        Args:
            rows: values in the order of `ATTEMPT_COLUMNS`; further values are ignored.
            texts: the texts that the numbers of this page stand for.
        """
        try:
            arrays = self._arrays(rows, texts)
        except _ODD:
            warn("The attempt log has damaged rows. What cannot be read of them is shown as missing.")
            arrays = self._arrays(*_readable(rows, texts))
        for name, array in arrays.items():
            self._parts[name].append(array)

    def add_records(self, attempts: Iterable[Attempt]) -> None:
        """Add records that are not in the ledger."""
        interned = Interned()
        rows = [attempt_row(attempt, interned) for attempt in attempts]
        self.add(rows, interned.texts())

    def frame(self, *, by_time: bool) -> pd.DataFrame:
        """Return the frame, in the order the pages came, or by the time the requests were sent."""
        whole = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        if by_time:
            order = np.argsort(whole["started_utc"], kind="stable")
            whole = {name: values[order] for name, values in whole.items()}
        return pd.DataFrame({name: self._typed(name, values) for name, values in whole.items()})

    def _arrays(self, rows: Iterable[Sequence[Any]], texts: Mapping[int, str]) -> dict[str, NDArray[Any]]:
        numbers = self._common(texts)
        columns = zip(ATTEMPT_COLUMNS, zip(*rows, strict=True), strict=False)
        return {name: _array(name, values, numbers) for name, values in columns}

    def _common(self, texts: Mapping[int, str]) -> NDArray[np.int64]:
        """Return, by a page's own number, the number that its text has in the whole frame; -1: missing."""
        if min(texts, default=1) < 1 or max(texts, default=0) > len(texts) + _LARGEST_GAP:
            raise IndexError("a text has an impossible number")
        if not all(isinstance(text, str) for text in texts.values()):
            raise TypeError("a text is of another type")
        numbers = np.full(max(texts, default=0) + 1, -1, dtype=np.int64)
        for own, text in texts.items():
            numbers[own] = self._numbers.setdefault(text, len(self._numbers))
        return numbers

    def _typed(self, name: str, values: NDArray[Any]) -> Any:  # noqa: ANN401 - pandas' arrays of several kinds
        if name in CATEGORIES:
            return self._category(values)
        if name in WORD_COLUMNS:
            return pd.array(list(self._numbers), dtype="string").take(values, allow_fill=True)
        if name in TEXT_COLUMNS:
            return _strings(values)
        if name == "started_utc":
            return pd.Series(values.view("M8[us]")).dt.tz_localize("UTC")
        if name in INTEGER_COLUMNS:
            return pd.arrays.IntegerArray(values, values == _MISSING)
        return pd.arrays.FloatingArray(values, np.isnan(values))

    def _category(self, numbers: NDArray[np.int64]) -> pd.Categorical:
        """Return a column of few texts; its categories are those present, in alphabetical order."""
        texts = np.array(list(self._numbers), dtype=object)
        present = np.unique(numbers[numbers >= 0])
        by_name = present[np.argsort(texts[present])] if len(present) else present
        codes = np.full(len(texts), -1, dtype=np.int64)
        codes[by_name] = np.arange(len(by_name))
        # pandas 2 and 3 infer different dtypes for texts, so it is named
        categories = pd.Index([str(text) for text in texts[by_name]], dtype="str")
        return pd.Categorical.from_codes(np.where(numbers < 0, -1, codes[numbers]), categories=categories)


def attempts_frame(attempts: Iterable[Attempt]) -> pd.DataFrame:
    """Return attempts as a frame, one row each, in the order given.

    Returns:
        Columns as `ATTEMPT_COLUMNS`: texts as `string`, counts as `Int64`, seconds and dollars as `Float64`,
        `started_utc` as datetime in UTC (microseconds), `outcome` and `decision` as category.
    """
    columns = AttemptColumns()
    columns.add_records(attempts)
    return columns.frame(by_time=False)


def joined(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return several attempt logs as one, by the time the requests were sent, with the dtypes of each."""
    parts = [frame for frame in frames if len(frame)]
    if len(parts) < 2:
        return parts[0].reset_index(drop=True) if parts else attempts_frame(())
    whole = pd.concat(parts, ignore_index=True)
    # Different categories join to plain objects; the way over texts brings the dtype back.
    whole = whole.astype(dict.fromkeys(CATEGORIES, "string")).astype(dict.fromkeys(CATEGORIES, "category"))
    return whole.sort_values("started_utc", kind="stable", ignore_index=True)


def holds_frame(holds: Iterable[Hold], now: float, left_out: Iterable[LeftOut] = ()) -> pd.DataFrame:
    """Return holds as a frame, one row each.

    Args:
        holds: the holds.
        now: the clock's time.
        left_out: routes that cannot promise the session's policy, which are rows of the kind `policy`.

    Returns:
        Columns scope, backend, provider, key (last characters), model, kind, why, message, seconds_left
        (infinite: until a change; 0: it has ended and the next run probes it), strikes, is_probing.
    """
    rows = [
        {
            "scope": describe(hold.scope),
            "backend": hold.scope.backend,
            "provider": hold.scope.provider,
            "key": hold.scope.secret.ending if hold.scope.secret else None,
            "model": hold.scope.model,
            "kind": hold.kind.value,
            "why": hold.why.value,
            "message": hold.message,
            "seconds_left": hold.until if math.isinf(hold.until) else max(0.0, round(hold.until - now, 3)),
            "strikes": hold.strikes,
            "is_probing": hold.is_probing,
        }
        for hold in holds
    ]
    rows += map(_left_out_row, left_out)
    return pd.DataFrame(rows, columns=list(_HOLD_COLUMNS)).astype(_HOLD_COLUMNS)


def _left_out_row(one: LeftOut) -> dict[str, Any]:
    scope = one.route.scope(ScopeLevel.PROVIDER)
    where = {"scope": describe(scope), "backend": scope.backend, "provider": scope.provider, "model": scope.model}
    why = {"kind": _OF_POLICY, "why": one.clause, "message": one.why}
    return {**where, **why, "seconds_left": math.inf, "strikes": 0, "is_probing": False}


def read_page(database: Database, after: int, job_ids: Collection[str] | None, beginning: str = "") -> Page:
    """Read the attempts that follow a number, of some jobs or of all (None), of runs whose ids begin so."""
    size = database.limits.page_rows
    with database.snapshot():
        texts = stored_texts(database)
        rows = database.connection.execute(
            f"SELECT {_COLUMNS}, id FROM attempt {_of_jobs(texts, job_ids)} id > ? "  # noqa: S608 - our own names
            "AND substr(run_id, 1, ?) = ? ORDER BY id LIMIT ?",
            (after, len(beginning), beginning, size),
        ).fetchall()
    return Page(rows, texts, rows[-1][-1] if len(rows) == size else None)


def stored_texts(database: Database) -> dict[int, str]:
    """Return the texts that the ledger's numbers stand for."""
    return dict(database.connection.execute("SELECT id, text FROM word"))


def _of_jobs(texts: dict[int, str], job_ids: Collection[str] | None) -> str:
    if job_ids is None:
        return "WHERE"
    wanted = {clean_text(job_id) for job_id in job_ids}
    numbers = ", ".join(str(number) for number, text in texts.items() if text in wanted)
    # Without statistics SQLite would rather walk the whole table in the order of `id`.
    return f"INDEXED BY attempt_job WHERE job_id IN ({numbers or -1}) AND"


def _array(name: str, values: Sequence[Any], numbers: NDArray[np.int64]) -> NDArray[Any]:
    if name in WORD_COLUMNS:
        at = np.array([0 if value is None else value for value in values], dtype=np.int64)
        if at.min(initial=0) < 0:  # which numpy would count from the end
            raise IndexError("a number of a text is negative")
        return numbers[at]
    if name in INTEGER_COLUMNS:
        return np.array([_MISSING if value is None else value for value in values], dtype=np.int64)
    array = np.array(values, dtype=_DTYPES.get(name, np.float64))  # in a column of floats None becomes NaN
    if name == "started_utc":
        array[(array < MOMENTS[0]) | (array > MOMENTS[-1])] = _MISSING
    return array


def _strings(values: NDArray[Any]) -> Any:  # noqa: ANN401 - pandas' arrays of several kinds
    try:
        return pd.array(values, dtype="string")
    except (ValueError, TypeError):  # a damaged row has bytes or a number there
        return pd.array([value if isinstance(value, str) else None for value in values], dtype="string")


def _readable(rows: Iterable[Sequence[Any]], texts: Mapping[int, str]) -> tuple[list[list[Any]], dict[int, str]]:
    """Return a page without its damaged values, with new numbers for its texts."""
    known = {number: text for number, text in texts.items() if isinstance(text, str)}
    numbers = dict(zip(known, range(1, len(known) + 1), strict=True))
    whole = [[_value(name, value, numbers) for name, value in zip(ATTEMPT_COLUMNS, row, strict=False)] for row in rows]
    return whole, {numbers[number]: text for number, text in known.items()}


def _value(name: str, value: Any, numbers: Mapping[int, int]) -> Any:  # noqa: ANN401 - any value of SQLite's
    """Return a value of a row if it can be one of its column, else what stands for a missing one."""
    if name in WORD_COLUMNS:
        return numbers.get(value)
    if name == "started_utc":
        return value if isinstance(value, int) and value in MOMENTS else _MISSING
    kind = int if name in INTEGER_COLUMNS else str if name in TEXT_COLUMNS else (int, float)
    return value if isinstance(value, kind) else None
