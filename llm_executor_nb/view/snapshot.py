"""The state of a job as a record, and its wording: every view of a job draws it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.view.text import dollars, duration, time_left

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Held:
    """What is on hold, in words, and the seconds until it may be asked again (infinite: until a change)."""

    scope: str
    left_s: float

    def __str__(self) -> str:
        return self.scope if math.isinf(self.left_s) else f"{self.scope} ({time_left(self.left_s)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a job at one moment.

    Attributes:
        total, done, failed, skipped, cached: rows; `done` counts all that are over.
        fallbacks: rows that were answered by another route than the first.
        held: routes and keys on hold.
        waiting: rows whose answer another job is asking for.
        trouble: why answers cannot be stored, so that nothing is asked; empty: they can be.
        spent_usd, saved_usd: dollars of its attempts, and of the answers it reused; None: none, or unknown.
        oldest_utc: when the oldest reused answer was bought; None: none was reused.
        elapsed_s: seconds since it began.
        left_s: seconds left at the pace so far; None: not known.
        is_over: whether it has ended.
        note: why it ended early; empty: it did not.
        wait: why nothing was answered for a minute, when the next try is, and what bounds the wait; empty: no wait.
    """

    total: int
    done: int
    failed: int
    skipped: int
    cached: int = 0
    fallbacks: int
    held: tuple[Held, ...]
    waiting: int = 0
    trouble: str = ""
    spent_usd: float | None = None
    saved_usd: float | None = None
    oldest_utc: datetime | None = None
    elapsed_s: float
    left_s: float | None = None
    is_over: bool
    note: str = ""
    wait: str = ""

    def line(self) -> str:
        """Return the whole state in one line."""
        return " · ".join([self.rows(), *self.counts(), *self.bounds(), *(words for _, words in self.notices())])

    def rows(self) -> str:
        """Return how many rows are over, of how many."""
        return f"{self.done}/{self.total} rows"

    def counts(self) -> list[str]:
        """Return the rows that were not simply answered by the first route."""
        return [
            words
            for count, words in (
                (self.cached, f"{self.cached} cached{self._saved()}"),
                (self.failed, f"{self.failed} failed"),
                (self.skipped, f"{self.skipped} skipped"),
                (self.fallbacks, f"{self.fallbacks} via fallback"),
            )
            if count
        ]

    def bounds(self) -> list[str]:
        """Return time and money."""
        left = f", {duration(self.left_s)} left" if self.left_s is not None and not self.is_over else ""
        return [duration(self.elapsed_s) + left, *([dollars(self.spent_usd)] if self.spent_usd else [])]

    def notices(self) -> list[tuple[str, str]]:
        """Return what stands in the way now, or why the job ended, each with its style: wait or bad."""
        if self.is_over:
            stopped = f"stopped, {self.total - self.done} rows have no answer" if self.done < self.total else ""
            return [("wait", self.note or stopped)] if self.note or stopped else []
        notices = [
            ("wait", "on hold: " + ", ".join(map(str, self.held)) if self.held else ""),
            ("wait", f"{self.waiting} waiting for another job's answers" if self.waiting else ""),
            ("bad", f"nothing is asked: {self.trouble}" if self.trouble else ""),
            ("wait", self.note),
        ]
        return [(kind, words) for kind, words in notices if words]

    def _saved(self) -> str:
        parts = [f"saved {dollars(self.saved_usd)}"] if self.saved_usd else []
        parts += [f"the oldest of {self.oldest_utc:%Y-%m-%d %H:%M} UTC"] if self.oldest_utc else []
        return f" ({', '.join(parts)})" if parts else ""
