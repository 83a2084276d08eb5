"""Where a job shows how it goes: a notebook's cell, one line of a terminal, the lines of a log, or nowhere.

Two threads have to do with it. The one that waits for the job calls `show` again and again and `close` at the end; a
terminal and a log are written by it alone. The private loop calls `redraw`, which a cell's display may be updated by,
and `say`, whose line a terminal and a log write as soon as that thread looks.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, TextIO

from llm_executor_nb.view.cell import FIRST_S, REDRAW_S, CellBlock, is_kernel
from llm_executor_nb.view.html import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.view.snapshot import Snapshot

_LOG_STEPS = 10
_LINES_KEPT = 10
"""Lines said of a job that nobody waits for: as many minutes as a job may have no answer."""


class Progress(Protocol):
    """Shows snapshots as they come."""

    def show(self, snapshot: Snapshot) -> None:
        """Show one, unless one was shown a moment ago; in the thread that waits for the job."""

    def redraw(self, snapshot: Snapshot) -> None:
        """Bring up to date what is shown already; on the private loop."""

    def close(self, snapshot: Snapshot) -> None:
        """Show the last one: the thread waits no more."""

    def say(self, words: str) -> None:
        """Show a line that stays, why the job waits; on the private loop."""

    def open(self, snapshot: Snapshot, stop: Callable[[], object]) -> bool:
        """Show a job that nobody waits for, with a button that calls `stop`; say whether that is possible here."""


class Silent:
    """Shows nothing."""

    def show(self, snapshot: Snapshot) -> None:
        """Show nothing."""

    redraw = close = show

    def say(self, words: str) -> None:
        """Show nothing."""

    def open(self, snapshot: Snapshot, stop: Callable[[], object]) -> bool:  # noqa: ARG002 - the protocol's signature
        """Say that nothing is shown."""
        return False


class _Written(Silent):
    """What is written to a stream, by the thread that waits for the job."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said: deque[str] = deque(maxlen=_LINES_KEPT)

    def say(self, words: str) -> None:
        """Keep a line for the thread that writes."""
        self._said.append(words)

    def _write_said(self) -> None:
        while self._said:
            self._put(self._said.popleft(), "\n")

    def _put(self, words: str, end: str) -> None:
        self._stream.write(plain(words) + end)
        self._stream.flush()


class TerminalLine(_Written):
    """One line that is written over itself: at most four times a second, not in the first moment of a short job."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._next = time.monotonic() + FIRST_S
        self._width = 0

    def show(self, snapshot: Snapshot) -> None:
        """Write over the line before; what was said stays above it."""
        self._write_said()
        if (now := time.monotonic()) >= self._next:
            self._next = now + REDRAW_S
            self._put(snapshot.line(), "")

    def close(self, snapshot: Snapshot) -> None:
        """Write the last line, and end it."""
        self._write_said()
        self._put(snapshot.line(), "\n")

    def _put(self, words: str, end: str) -> None:
        text = plain(words)
        super()._put("\r" + text.ljust(self._width), end)
        self._width = 0 if end else len(text)


class LogLines(_Written):
    """A line for each tenth, where a line cannot be written over."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._step = 0

    def show(self, snapshot: Snapshot) -> None:
        """Write what was said, and a line if another tenth is done."""
        self._write_said()
        step = _LOG_STEPS * snapshot.done // max(1, snapshot.total)
        if self._step < step < _LOG_STEPS:
            self._step = step
            self._put(snapshot.line(), "\n")

    def close(self, snapshot: Snapshot) -> None:
        """Write the last line."""
        self._write_said()
        self._put(snapshot.line(), "\n")


def make_progress(*, is_shown: bool) -> Progress:
    """Return what suits the place: a notebook's cell, a terminal, a log, or nothing."""
    if not is_shown:
        return Silent()
    if is_kernel():
        return CellBlock()
    return TerminalLine(sys.stderr) if sys.stderr.isatty() else LogLines(sys.stderr)
