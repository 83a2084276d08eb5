"""Rows of the attempt log to a frame: the one way, for records in memory and for rows of the ledger.

A page is rows as the ledger's table has them (`rows.attempt_row`), with numbers for repeated texts and microseconds
for times; it becomes arrays at once, so that a million attempts take seconds and little more room than their frame.
The dtypes are the same on every pandas and do not depend on what is in the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llm_executor_nb.core.attempt import ATTEMPT_COLUMNS
from llm_executor_nb.store.rows import INTEGER_COLUMNS, TEXT_COLUMNS, WORD_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

CATEGORIES = ("outcome", "decision")
_MISSING = -(2**63)
_EMPTY: dict[str, Any] = {
    **dict.fromkeys((*WORD_COLUMNS, *INTEGER_COLUMNS, "started_utc"), np.int64),
    **dict.fromkeys(TEXT_COLUMNS, object),
}


class AttemptColumns:
    """Takes pages of attempts and gives them back as one frame."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ATTEMPT_COLUMNS}

    def add(self, rows: Iterable[Sequence[Any]], words: Mapping[int, str]) -> None:
        """Add a page.

        Args:
            rows: values in the order of `ATTEMPT_COLUMNS`; what stands after them is left out.
            words: the texts that the numbers of this page stand for.
        """
        numbers = self._common(words)
        for name, values in zip(ATTEMPT_COLUMNS, zip(*rows, strict=True), strict=False):
            self._parts[name].append(_array(name, values, numbers))

    def frame(self, *, by_time: bool) -> pd.DataFrame:
        """Return the frame, in the order the pages came, or by the time the requests were sent."""
        joined = {name: np.concatenate([_none(name), *parts]) for name, parts in self._parts.items()}
        if by_time:
            order = np.argsort(joined["started_utc"], kind="stable")
            joined = {name: values[order] for name, values in joined.items()}
        return pd.DataFrame({name: self._typed(name, values) for name, values in joined.items()})

    def _common(self, words: Mapping[int, str]) -> NDArray[np.int64]:
        """Return, by a page's own number, the number that a text has here; -1: missing."""
        numbers = np.full(max(words, default=0) + 1, -1, dtype=np.int64)
        for own, text in words.items():
            numbers[own] = self._numbers.setdefault(text, len(self._numbers))
        return numbers

    def _typed(self, name: str, values: NDArray[Any]) -> Any:  # noqa: ANN401 - pandas' arrays of several kinds
        if name in CATEGORIES:
            return self._category(values)
        if name in WORD_COLUMNS:
            return pd.array(list(self._numbers), dtype="string").take(values, allow_fill=True)
        if name in TEXT_COLUMNS:
            return pd.array(values, dtype="string")
        if name == "started_utc":
            return pd.Series(values.view("M8[us]")).dt.tz_localize("UTC")
        if name in INTEGER_COLUMNS:
            return pd.arrays.IntegerArray(values, values == _MISSING)
        return pd.arrays.FloatingArray(values, np.isnan(values))

    def _category(self, numbers: NDArray[np.int64]) -> pd.Categorical:
        texts = np.array(list(self._numbers), dtype=object)
        present = np.unique(numbers)
        by_name = present[np.argsort(texts[present])] if len(present) else present
        codes = np.full(len(texts), -1, dtype=np.int64)
        codes[by_name] = np.arange(len(by_name))
        return pd.Categorical.from_codes(
            codes[numbers], categories=pd.Index([str(text) for text in texts[by_name]], dtype="str")
        )


def _none(name: str) -> NDArray[Any]:
    return np.array([], dtype=_EMPTY.get(name, np.float64))


def _array(name: str, values: Sequence[Any], numbers: NDArray[np.int64]) -> NDArray[Any]:
    if name in WORD_COLUMNS:
        return numbers[np.array([0 if value is None else value for value in values], dtype=np.int64)]
    if name in INTEGER_COLUMNS:
        return np.array([_MISSING if value is None else value for value in values], dtype=np.int64)
    if name in TEXT_COLUMNS:
        return np.array(values, dtype=object)
    return np.array(values, dtype=_EMPTY.get(name, np.float64))  # None becomes NaN
