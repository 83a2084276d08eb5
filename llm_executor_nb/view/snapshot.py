"""The state of a job as a record, and its wording: every view of a job draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.view.text import dollars, duration, pace, time_left

if TYPE_CHECKING:
    from datetime import datetime

_FEW = 5
"""Rows after which a pace means something."""
_MOST_CAUSES = 3


@dataclass(frozen=True, slots=True)
class Failure:
    """Why some rows failed.

    Attributes:
        rows: how many.
        cause: the outcome; empty: nothing was sent.
        words: what the first of them met.
        step: what can be done about it; empty: not known.
    """

    rows: int
    cause: str
    words: str
    step: str = ""

    def __str__(self) -> str:
        if not self.cause:
            return f"{self.rows:,} not sent: {self.words}"
        step = f". Next: {self.step}" if self.step else ""
        return f"{self.rows:,} failed: {self.cause}{f' ({self.words})' if self.words else ''}{step}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a job at one moment.

    Attributes:
        total, done, failed, skipped, cached: rows; `done` counts all that are over.
        asked: rows that were asked, if others have the answer of an equal or an earlier request; None: none has.
        fallbacks: rows that were answered by another route than the first.
        failures: why rows failed, each cause once, the most frequent first.
        again: what asks again for rows without an answer: code, or words.
        held: what cannot be asked now, and why, in sentences.
        waiting: rows whose answer another job is asking for.
        trouble: why answers cannot be stored, so that nothing is asked; empty: they can be.
        spent_usd, saved_usd: dollars of its attempts, and of the answers it reused; None: none, or unknown.
        oldest_utc: when the oldest reused answer was bought; None: none was reused.
        in_flight: how many requests are in flight, and why not more; empty: the user set the number.
        elapsed_s: seconds since it began.
        is_over: whether it has ended.
        note: why it ended early; empty: it did not.
        wait: why nothing is answered, when the next try is, and what bounds the wait; empty: no wait.
    """

    total: int
    done: int
    failed: int
    skipped: int
    cached: int = 0
    asked: int | None = None
    fallbacks: int
    failures: tuple[Failure, ...] = ()
    again: str = ""
    held: tuple[str, ...] = ()
    waiting: int = 0
    trouble: str = ""
    spent_usd: float | None = None
    saved_usd: float | None = None
    oldest_utc: datetime | None = None
    in_flight: str = ""
    elapsed_s: float
    is_over: bool
    note: str = ""
    wait: str = ""

    @property
    def left_s(self) -> float | None:
        """Seconds left at the pace so far; None: not known."""
        bought = self._bought
        # a pace says nothing while no row is answered
        return (
            None if bought < _FEW or self.is_over or self.wait else self.elapsed_s / bought * (self.total - self.done)
        )

    def line(self) -> str:
        """Return the whole state in one line."""
        return " · ".join([self.rows(), *self.counts(), *self.bounds(), *(words for _, words in self._obstacles())])

    def text(self, hint: str = "") -> str:
        """Return the whole state with what needs attention in lines of its own.

        Args:
            hint: how the job can be stopped.
        """
        first = " · ".join(filter(None, [self.rows(), *self.counts(), *self.bounds(), hint]))
        return "\n".join([first, *(words for _, words in self.notices())])

    def rows(self) -> str:
        """Return how many rows are over, of how many."""
        return f"{self.done:,}/{self.total:,} rows"

    def counts(self) -> list[str]:
        """Return the rows that were not simply answered by the first route."""
        return [
            words
            for count, words in (
                (self.cached, f"{self.cached:,} cached{self._saved()}"),
                (self.failed, f"{self.failed:,} failed"),
                (self.skipped, f"{self.skipped:,} skipped"),
                (self.fallbacks, f"{self.fallbacks:,} via fallback"),
                (self._is_complete and self.asked is not None, self._of_asked()),
            )
            if count
        ]

    def bounds(self) -> list[str]:
        """Return time, pace, requests in flight and money."""
        left = f", {time_left(self.left_s)} left" if self.left_s is not None else ""
        speed = [pace(self._bought, self.elapsed_s)] if self._bought >= _FEW and self.elapsed_s > 0 else []
        spent = [dollars(self.spent_usd)] if self.spent_usd else []
        return [duration(self.elapsed_s) + left, *speed, *filter(None, [self.in_flight]), *spent]

    def notices(self) -> list[tuple[str, str]]:
        """Return what needs attention, each with its style: wait, bad, or none."""
        failures = [("bad", str(failure)) for failure in self.failures[:_MOST_CAUSES]]
        if rest := self.failures[_MOST_CAUSES:]:
            rows = sum(failure.rows for failure in rest)
            failures.append(("bad", f"{rows:,} failed for {len(rest):,} other reasons; the column of errors has them"))
        has_gaps = any(failure.cause for failure in self.failures) or self.done < self.total
        again = [("", f"Ask again: {self.again}")] if self.is_over and has_gaps and self.again else []
        return [*self._obstacles(), *failures, *again]

    def _obstacles(self) -> list[tuple[str, str]]:
        """Return what stands in the way now, or why the job ended early."""
        if self.is_over:
            left = "" if self._is_complete else f", {self.total - self.done:,} rows have no answer"
            obstacles = [("wait", (self.note or (left and "stopped")) + left), ("wait", " ".join(self.held))]
            return [(kind, words) for kind, words in obstacles if words]
        obstacles = [
            ("wait", " ".join(self.held)),
            ("wait", f"{self.waiting:,} waiting for another job's answers" if self.waiting else ""),
            ("bad", f"nothing is asked: {self.trouble}" if self.trouble else ""),
        ]
        obstacles = [("wait", self.wait)] if self.wait else obstacles
        return [(kind, words) for kind, words in [*obstacles, ("wait", self.note)] if words]

    @property
    def _is_complete(self) -> bool:
        return self.is_over and self.done == self.total

    @property
    def _bought(self) -> int:
        """Rows that the providers were asked for, or equal ones."""
        return self.done - self.cached - self.skipped

    def _of_asked(self) -> str:
        return f"{self.asked:,} asked, the others were equal or stored" if self.asked else "none asked: all were stored"

    def _saved(self) -> str:
        parts = [f"saved {dollars(self.saved_usd)}"] if self.saved_usd else []
        parts += [f"the oldest of {self.oldest_utc:%Y-%m-%d %H:%M} UTC"] if self.oldest_utc else []
        return f" ({', '.join(parts)})" if parts else ""
