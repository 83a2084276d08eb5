"""Where a job shows how it goes: a notebook's cell, one line of a terminal, the lines of a log, or nowhere.

Two threads have to do with it. The one that waits for the job calls `show` again and again and `close` at the end; a
terminal and a log are written by it alone. The private loop calls `redraw`, which a cell's display may be updated by.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from llm_executor_nb.view.cell import FIRST_S, REDRAW_S, CellBlock, is_kernel
from llm_executor_nb.view.html import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.view.snapshot import Snapshot

_LOG_STEPS = 10


class Progress(Protocol):
    """Shows snapshots as they come."""

    def show(self, snapshot: Snapshot) -> None:
        """Show one, unless one was shown a moment ago; in the thread that waits for the job."""

    def redraw(self, snapshot: Snapshot) -> None:
        """Bring up to date what is shown already; on the private loop."""

    def close(self, snapshot: Snapshot) -> None:
        """Show the last one: the thread waits no more."""

    def open(self, snapshot: Snapshot, stop: Callable[[], object]) -> bool:
        """Show a job that nobody waits for, with a button that calls `stop`; say whether that is possible here."""


class Silent:
    """Shows nothing."""

    def show(self, snapshot: Snapshot) -> None:
        """Show nothing."""

    redraw = close = show

    def open(self, snapshot: Snapshot, stop: Callable[[], object]) -> bool:  # noqa: ARG002 - the protocol's signature
        """Say that nothing is shown."""
        return False


class TerminalLine(Silent):
    """One line that is written over itself: at most four times a second, not in the first moment of a short job."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = time.monotonic() + FIRST_S
        self._width = 0

    def show(self, snapshot: Snapshot) -> None:
        """Write over the line before."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + REDRAW_S
            self._write(snapshot, "")

    def close(self, snapshot: Snapshot) -> None:
        """Write the last line, and end it."""
        self._write(snapshot, "\n")

    def _write(self, snapshot: Snapshot, end: str) -> None:
        text = plain(snapshot.line())
        self._stream.write("\r" + text.ljust(self._width) + end)
        self._stream.flush()
        self._width = len(text)


class LogLines(Silent):
    """A line for each tenth, where a line cannot be written over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._step = 0

    def show(self, snapshot: Snapshot) -> None:
        """Write a line if another tenth is done."""
        step = _LOG_STEPS * snapshot.done // max(1, snapshot.total)
        if self._step < step < _LOG_STEPS:
            self._step = step
            self._write(snapshot)

    def close(self, snapshot: Snapshot) -> None:
        """Write the last line."""
        self._write(snapshot)

    def _write(self, snapshot: Snapshot) -> None:
        self._stream.write(plain(snapshot.line()) + "\n")
        self._stream.flush()


def make_progress(*, is_shown: bool) -> Progress:
    """Return what suits the place: a notebook's cell, a terminal, a log, or nothing."""
    if not is_shown:
        return Silent()
    if is_kernel():
        return CellBlock()
    return TerminalLine(sys.stderr) if sys.stderr.isatty() else LogLines(sys.stderr)
