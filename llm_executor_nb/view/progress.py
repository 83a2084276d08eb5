"""One line that says how a job goes: on a terminal, in a log, or under a notebook's cell."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from datetime import datetime

_REDRAW_S = 0.25
_FIRST_S = 0.3
_LOG_STEPS = 10


@dataclass(frozen=True, slots=True)
class Held:
    """What is on hold, in words, and the seconds until it may be asked again (infinite: until a change)."""

    what: str
    left_s: float

    def __str__(self) -> str:
        return self.what if math.isinf(self.left_s) else f"{self.what} ({math.ceil(self.left_s)} s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How a job stands.

    Attributes:
        total, done, failed, skipped, cached: rows; `done` counts all that are over.
        fallbacks: rows that another than the first route answered.
        held: routes and keys on hold now.
        waiting: rows that another job asks for at the moment.
        trouble: why answers cannot be stored at the moment, so nothing is asked; empty: they can.
        spent_usd, saved_usd: dollars of its attempts, and of the answers it reused; None: none, or unknown.
        oldest_utc: when the oldest reused answer was bought; None: none was reused.
        elapsed_s: seconds since it began.
        left_s: seconds it will take yet, at the pace so far; None: not known.
        is_over: nothing more will come.
        note: why it ended early; empty: it did not.
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

    def line(self) -> str:
        """Return it in one line."""
        return " · ".join(part for part in (*self._counts(), *self._bounds(), *self._news()) if part)

    def _counts(self) -> list[str]:
        """What the rows came to."""
        saved = f" (saved {dollars(self.saved_usd)})" if self.saved_usd else ""
        return [
            f"{self.done}/{self.total} rows",
            f"{self.cached} cached{saved}" if self.cached else "",
            f"{self.failed} failed" if self.failed else "",
            f"{self.skipped} skipped" if self.skipped else "",
            f"{self.fallbacks} via fallback" if self.fallbacks else "",
        ]

    def _bounds(self) -> list[str]:
        """Time and money."""
        left = f", {duration(self.left_s)} left" if self.left_s is not None and not self.is_over else ""
        return [duration(self.elapsed_s) + left, dollars(self.spent_usd) if self.spent_usd else ""]

    def _news(self) -> list[str]:
        """What stands in the way now, and why it ended."""
        if self.is_over:
            return [self.note]
        return [
            "on hold: " + ", ".join(map(str, self.held)) if self.held else "",
            f"{self.waiting} waiting for another job's answers" if self.waiting else "",
            f"nothing is asked: {self.trouble}" if self.trouble else "",
            self.note,
        ]


def dollars(amount: float | None) -> str:
    """Return dollars in words, with two digits that say something, however small the amount is."""
    if amount is None:
        return "?"
    digits = 2 if amount >= 0.1 or amount <= 0 else 1 - math.floor(math.log10(amount))
    return f"${amount:.{digits}f}"


def duration(seconds: float) -> str:
    """Return a time in words: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Progress(Protocol):
    """Shows snapshots as they come."""

    def show(self, snapshot: Snapshot) -> None:
        """Show one, unless one was shown a moment ago."""


class Silent:
    """Shows nothing."""

    def show(self, snapshot: Snapshot) -> None:
        """Show nothing."""


class TerminalLine:
    """One line that is written over itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pace = _Pace()
        self._width = 0

    def show(self, snapshot: Snapshot) -> None:
        """Write over the line before."""
        if self._pace.is_due(snapshot):
            text = snapshot.line()
            self._stream.write("\r" + text.ljust(self._width) + ("\n" if snapshot.is_over else ""))
            self._stream.flush()
            self._width = len(text)


class LogLines:
    """A line for each tenth, where a line cannot be written over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._step = 0

    def show(self, snapshot: Snapshot) -> None:
        """Write a line if another tenth is done."""
        step = _LOG_STEPS * snapshot.done // max(1, snapshot.total)
        if step > self._step or snapshot.is_over:
            self._step = step if not snapshot.is_over else _LOG_STEPS
            self._stream.write(snapshot.line() + "\n")
            self._stream.flush()


class CellLine:
    """One line under a notebook's cell, by one display handle made in the cell's own thread."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._pace = _Pace()

    def show(self, snapshot: Snapshot) -> None:
        """Put the line in the handle's place."""
        if not self._pace.is_due(snapshot):
            return
        from IPython.display import display  # noqa: PLC0415 - only within IPython

        bundle = {"text/plain": snapshot.line()}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class _Pace:
    """At most four redraws a second, none in the first moment of a short job, always the last."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _FIRST_S

    def is_due(self, snapshot: Snapshot) -> bool:
        now = time.monotonic()
        if not snapshot.is_over and now < self._next:
            return False
        self._next = now + _REDRAW_S
        return True


def make_progress(*, is_shown: bool) -> Progress:
    """Return what suits the place: a notebook's cell, a terminal, a log, or nothing."""
    if not is_shown:
        return Silent()
    if _is_kernel():
        return CellLine()
    return TerminalLine(sys.stderr) if sys.stderr.isatty() else LogLines(sys.stderr)


def _is_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
