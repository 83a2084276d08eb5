"""One line that says how a job goes: on a terminal, in a log, or under a notebook's cell."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

_REDRAW_S = 0.25
_FIRST_S = 0.3
_LOG_STEPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How a job stands.

    Attributes:
        total, done, failed, skipped: rows; `done` counts all that are over.
        fallbacks: rows that another than the first route answered.
        held: routes and keys on hold now, in words.
        elapsed_s: seconds since it began.
        is_over: nothing more will come.
        note: why it ended early; empty: it did not.
    """

    total: int
    done: int
    failed: int
    skipped: int
    fallbacks: int
    held: tuple[str, ...]
    elapsed_s: float
    is_over: bool
    note: str = ""


def line(snapshot: Snapshot) -> str:
    """Return a snapshot in one line."""
    parts = [f"{snapshot.done}/{snapshot.total} rows"]
    if snapshot.failed:
        parts.append(f"{snapshot.failed} failed")
    if snapshot.skipped:
        parts.append(f"{snapshot.skipped} skipped")
    if snapshot.fallbacks:
        parts.append(f"{snapshot.fallbacks} via fallback")
    parts.append(f"{snapshot.elapsed_s:.1f} s")
    if snapshot.held and not snapshot.is_over:
        parts.append("on hold: " + ", ".join(snapshot.held))
    if snapshot.note:
        parts.append(snapshot.note)
    return " · ".join(parts)


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
            text = line(snapshot)
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
            self._stream.write(line(snapshot) + "\n")
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

        bundle = {"text/plain": line(snapshot)}
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
