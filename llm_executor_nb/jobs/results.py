"""What the rows of a job came to, in columns: a few bytes a row, whatever their number.

Rows that share one request share its result. Written by the loop's thread, read by any: a row's status is set last.
Texts lie in arrays: Python's garbage collector looks at every item of a list again and again.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

import numpy as np

_NONE = -1


class Status(StrEnum):
    """What became of a row."""

    OK = auto()
    CACHED = auto()
    FAILED = auto()
    SKIPPED = auto()
    CANCELLED = auto()


STATUSES = tuple(Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """What one request came to.

    Attributes:
        status: ok, cached, failed or cancelled.
        answer: the text; None: there is none.
        parsed: the answer as the schema has it; None: there is no schema, or no answer.
        outcomes: of its attempts, in order.
        route: who answered; None: nobody.
        error: the outcome and the provider's words; None: none.
        run_id: joins it to its attempts.
    """

    status: Status
    answer: str | None = None
    parsed: Any = None
    outcomes: tuple[str, ...] = ()
    route: str | None = None
    error: str | None = None
    run_id: str | None = None


class _Words:
    """Numbers texts that come again and again."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.texts: list[str] = []

    def number(self, text: str | None) -> int:
        """Return a text's number; -1: there is none."""
        if text is None:
            return _NONE
        found = self._numbers.get(text)
        if found is None:
            found = self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return found

    def take(self, numbers: array[int]) -> np.ndarray[Any, Any]:
        """Return the texts behind numbers; None where there is none."""
        texts = np.array([*self.texts, None], dtype=object)
        return texts[np.frombuffer(numbers, dtype=np.int32)] if len(numbers) else texts[:0]


class Results:
    """The results of a job's rows.

    Args:
        is_asked: per row, whether it has input; what has none is skipped.
    """

    def __init__(self, is_asked: bytearray) -> None:
        rows = len(is_asked)
        not_yet, skipped = STATUSES.index(Status.CANCELLED), STATUSES.index(Status.SKIPPED)
        self._statuses = bytearray(not_yet if asked else skipped for asked in is_asked)
        self._is_set = bytearray(rows)
        self._first = array("i", range(rows))
        self._sharers: Counter[int] = Counter()
        self._answers, self._runs = np.full(rows, None, dtype=object), np.full(rows, None, dtype=object)
        self._parsed: dict[int, Any] = {}
        self._errors: dict[int, str] = {}
        self._outcomes, self._routes = array("i", [_NONE]) * rows, array("i", [_NONE]) * rows
        self._outcome_words, self._route_words = _Words(), _Words()

    def __len__(self) -> int:
        return len(self._statuses)

    def put(self, position: int, result: RowResult) -> int:
        """Keep what a request came to; return how many rows share it."""
        self._answers[position] = result.answer
        self._runs[position] = result.run_id
        self._outcomes[position] = self._outcome_words.number(", ".join(result.outcomes))
        self._routes[position] = self._route_words.number(result.route)
        if result.parsed is not None:
            self._parsed[position] = result.parsed
        if result.error is not None:
            self._errors[position] = result.error
        self._statuses[position] = STATUSES.index(result.status)
        self._is_set[position] = 1
        return 1 + self._sharers[position] if position in self._sharers else 1

    def share(self, position: int, first: int) -> Status | None:
        """Let a row share the result of the first row with its request; return that, if it is there already."""
        self._first[position] = first
        self._sharers[first] += 1
        return STATUSES[self._statuses[first]] if self._is_set[first] else None

    # --- as columns ---------------------------------------------------------------------------------------------

    def statuses(self) -> np.ndarray[Any, Any]:
        """Return per row the number of its status in STATUSES."""
        return self._spread(np.frombuffer(bytes(self._statuses), dtype=np.uint8))

    def answers(self) -> np.ndarray[Any, Any]:
        """Return per row its answer, or None."""
        return self._spread(self._answers.copy())

    def runs(self) -> np.ndarray[Any, Any]:
        """Return per row its run id, or None."""
        return self._spread(self._runs.copy())

    def outcomes(self) -> np.ndarray[Any, Any]:
        """Return per row the outcomes of its attempts as one text; empty where there was none."""
        found = self._spread(self._outcome_words.take(self._outcomes))
        found[found == None] = ""  # noqa: E711 - element by element
        return found

    def routes(self) -> np.ndarray[Any, Any]:
        """Return per row who answered, or None."""
        return self._spread(self._route_words.take(self._routes))

    def errors(self) -> np.ndarray[Any, Any]:
        """Return per row what went wrong, or None."""
        return self._spread(self._sparse(self._errors))

    def parsed(self) -> np.ndarray[Any, Any]:
        """Return per row its answer as the schema has it, or None."""
        return self._spread(self._sparse(self._parsed))

    def counts(self) -> Counter[Status]:
        """Return how many rows came to what; a row that is not over counts as cancelled."""
        numbers, counts = np.unique(self.statuses(), return_counts=True)
        return Counter({STATUSES[number]: int(count) for number, count in zip(numbers, counts, strict=True)})

    def _spread(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Give the rows that share a request its result."""
        return values[np.frombuffer(self._first, dtype=np.int32)] if self._sharers else values

    def _sparse(self, found: dict[int, Any]) -> np.ndarray[Any, Any]:
        values = np.full(len(self), None, dtype=object)
        for position, value in list(found.items()):
            values[position] = value
        return values
