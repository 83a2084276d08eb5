"""The results of a job's rows in columns: a few bytes per row, for a million rows.

Rows with equal requests share one result. The loop's thread writes and any thread reads, so a row's status is set last.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

import numpy as np

from llm_executor_nb.core.outcomes import Outcome

_NONE = -1


class Status(StrEnum):
    """The status of a row: `pending` until its job gives it one of the others."""

    OK = auto()
    CACHED = auto()
    FAILED = auto()
    SKIPPED = auto()
    CANCELLED = auto()
    PENDING = auto()


STATUSES = tuple(Status)
"""A row's status is stored as its place in here."""
FINAL_STATUSES = STATUSES[: STATUSES.index(Status.PENDING)]
_OUTCOMES = frozenset(Outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """The result of one request.

    Attributes:
        status: ok, cached, failed or cancelled.
        answer: the text; None: there is none.
        parsed: the answer as an object of the schema; None: no schema, or no answer.
        outcomes: the outcomes of its attempts, in order.
        route: the route that answered; None: none did.
        error: the outcome and the provider's message; None: no error.
        run_id: joins it to its attempts.
    """

    status: Status
    answer: str | None = None
    parsed: Any = None
    outcomes: tuple[str, ...] = ()
    route: str | None = None
    error: str | None = None
    run_id: str | None = None


class _TextPool:
    """Stores each distinct text once and stands for it with a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.texts: list[str] = []

    def number(self, text: str | None) -> int:
        """Return the number of a text; -1 for None."""
        if text is None:
            return _NONE
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return number

    def take(self, numbers: array[int]) -> np.ndarray[Any, Any]:
        """Return the texts of some numbers; None for -1."""
        texts = np.array([*self.texts, None], dtype=object)
        return texts[np.frombuffer(numbers, dtype=np.int32)] if len(numbers) else texts[:0]


class Results:
    """The results of a job's rows.

    Args:
        is_asked: per row, whether it has input; rows without input are skipped.

    Attributes:
        fallbacks: rows that a later route answered.
        causes: why rows failed, with how many rows did, and the words of the first of them.
    """

    def __init__(self, is_asked: bytearray) -> None:
        rows, self._requested = len(is_asked), sum(is_asked)
        pending, skipped = STATUSES.index(Status.PENDING), STATUSES.index(Status.SKIPPED)
        self.fallbacks = 0
        self.causes: dict[str, tuple[int, str]] = {}
        self._without_result = Status.PENDING
        # Arrays instead of lists: Python's garbage collector visits every item of a list, again and again.
        self._statuses = bytearray(pending if asked else skipped for asked in is_asked)
        self._is_set = bytearray(rows)
        self._first = array("i", range(rows))
        self._sharers: Counter[int] = Counter()
        # Every status is in it from the start: a dict that another thread copies must not grow.
        self._ended = {**dict.fromkeys(Status, 0), Status.SKIPPED: rows - self._requested}
        self._answers, self._runs = np.full(rows, None, dtype=object), np.full(rows, None, dtype=object)
        self._parsed: dict[int, Any] = {}
        self._errors: dict[int, str] = {}
        self._outcomes, self._routes = array("i", [_NONE]) * rows, array("i", [_NONE]) * rows
        self._outcome_texts, self._route_texts = _TextPool(), _TextPool()

    def __len__(self) -> int:
        return len(self._statuses)

    @property
    def rows_left(self) -> int:
        """Rows with input that are neither answered nor failed."""
        ended = self._ended
        return self._requested - ended[Status.OK] - ended[Status.CACHED] - ended[Status.FAILED]

    def put(self, position: int, result: RowResult) -> None:
        """Store the result of a request, for its row and for all rows that share it."""
        self._answers[position] = result.answer
        self._runs[position] = result.run_id
        self._outcomes[position] = self._outcome_texts.number(", ".join(result.outcomes))
        self._routes[position] = self._route_texts.number(result.route)
        if result.parsed is not None:
            self._parsed[position] = result.parsed
        if result.error is not None:
            self._errors[position] = result.error
        self._statuses[position] = STATUSES.index(result.status)
        self._is_set[position] = 1
        self._count(position, 1 + self._sharers.get(position, 0))

    def share(self, position: int, first: int) -> None:
        """Let a row share the result of the first row with an equal request, now or when it comes."""
        self._first[position] = first
        self._sharers[first] += 1
        if self._is_set[first]:
            self._count(first, 1)

    def counts(self) -> Counter[Status]:
        """Return how many rows have each status; one without a result is pending, and cancelled after `close`."""
        return Counter({**self._ended, Status.CANCELLED: 0, self._without_result: self.rows_left})

    def close(self) -> None:
        """Let rows without a result count as cancelled: the job has ended."""
        self._without_result = Status.CANCELLED

    @property
    def has_sharers(self) -> bool:
        """Whether a row has the result of another row, whose request is equal."""
        return bool(self._sharers)

    @property
    def has_runs(self) -> bool:
        """Whether the frame has a run id of this job, which leads to what was asked."""
        return bool(self._ended[Status.OK]) or any(tuple(self.causes))

    # --- as columns ---------------------------------------------------------------------------------------------

    def statuses(self) -> np.ndarray[Any, Any]:
        """Return the status of each row as its number in STATUSES."""
        pending, without = (bytes([STATUSES.index(status)]) for status in (Status.PENDING, self._without_result))
        return self._for_all_rows(np.frombuffer(bytes(self._statuses).replace(pending, without), dtype=np.uint8))

    def answers(self) -> np.ndarray[Any, Any]:
        """Return the answer of each row, or None."""
        return self._for_all_rows(self._answers.copy())

    def runs(self) -> np.ndarray[Any, Any]:
        """Return the run id of each row, or None."""
        return self._for_all_rows(self._runs.copy())

    def outcomes(self) -> np.ndarray[Any, Any]:
        """Return the outcomes of each row's attempts as one text; an empty text where there was no attempt."""
        texts = self._for_all_rows(self._outcome_texts.take(self._outcomes))
        texts[texts == None] = ""  # noqa: E711 - element by element
        return texts

    def routes(self) -> np.ndarray[Any, Any]:
        """Return the route that answered each row, or None."""
        return self._for_all_rows(self._route_texts.take(self._routes))

    def errors(self) -> np.ndarray[Any, Any]:
        """Return the error of each row, or None."""
        return self._for_all_rows(self._filled(self._errors))

    def parsed(self) -> np.ndarray[Any, Any]:
        """Return the parsed answer of each row, or None."""
        return self._for_all_rows(self._filled(self._parsed))

    def _count(self, position: int, rows: int) -> None:
        """Count rows that have the result of a position."""
        status = STATUSES[self._statuses[position]]
        self._ended[status] += rows
        if status is Status.FAILED:
            error = self._errors.get(position, "")
            cause, _, words = error.partition(": ")
            # not an outcome: nothing was sent, and each such row may have words of its own
            cause, words = (cause, words) if cause in _OUTCOMES else ("", error)
            count, first_words = self.causes.get(cause, (0, words))
            self.causes[cause] = (count + rows, first_words)

    def _for_all_rows(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the values with those of the first row in all rows that share its request."""
        return values[np.frombuffer(self._first, dtype=np.int32)] if self._sharers else values

    def _filled(self, by_position: dict[int, Any]) -> np.ndarray[Any, Any]:
        values = np.full(len(self), None, dtype=object)
        for position, value in list(by_position.items()):  # a copy: the loop's thread may add to it
            values[position] = value
        return values
