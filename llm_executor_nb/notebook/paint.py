"""Where a cell's answer is drawn while it comes: one display handle of a kernel, or the lines of a terminal.

A kernel's handle is made in the cell's own thread and updated by a ticker, at most ten times a second, as plain text;
the last update puts the whole bundle in, which is what the file keeps. A terminal gets the pieces as they come,
because there every update would be printed again; until the first one a line of its own says what is waited for.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from IPython.display import display

from llm_executor_nb.notebook.waiting_line import WaitingLine
from llm_executor_nb.view.answer import NOTHING
from llm_executor_nb.view.html import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from llm_executor_nb.view.html import Bundle

REDRAW_S = 0.1
"""Seconds between two updates of a handle, at least."""
_WAITING_S = 1.0
"""Seconds between two updates of the words that stand there before the first text."""
_CHARACTERS_PER_S = 500_000
"""A longer text is drawn less often, so that drawing it stays cheap."""


class Paint(Protocol):
    """Draws one answer."""

    def begin(self, waiting: Callable[[], str]) -> None:
        """Begin; `waiting` says what goes on until the first text comes."""

    def add(self, piece: str) -> None:
        """Draw some more text."""

    def end(self, bundle: Bundle) -> None:
        """Draw the answer as it stays, or as it was cut."""

    def give_up(self) -> None:
        """Take away what was drawn: there is no answer."""


class CellPaint:
    """Draws by one display handle."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._text = ""
        self._drawn = 0
        self._drawn_at = 0.0
        self._waiting: Callable[[], str] = str
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="llm_executor_nb cell", daemon=True)

    def begin(self, waiting: Callable[[], str]) -> None:
        """Make the handle, with the words of waiting in it."""
        self._waiting = waiting
        self._handle = display(_text(waiting()), raw=True, display_id=True)
        self._drawn_at = time.monotonic()
        self._ticker.start()

    def add(self, piece: str) -> None:
        """Keep a piece for the next update; draw the first one at once."""
        self._text += piece
        if not self._drawn and self._text.strip():
            self._draw()

    def end(self, bundle: Bundle) -> None:
        """Put the whole answer in the handle's place."""
        self._stop()
        self._handle.update(bundle, raw=True)

    def give_up(self) -> None:
        """Put nothing in the handle's place."""
        self.end(NOTHING)

    def _tick(self) -> None:
        while not self._over.wait(REDRAW_S / 4):
            since = time.monotonic() - self._drawn_at
            if not self._text.strip():
                if since >= _WAITING_S:
                    self._drawn_at = time.monotonic()
                    self._handle.update(_text(self._waiting()), raw=True)
            elif len(self._text) > self._drawn and since >= max(REDRAW_S, len(self._text) / _CHARACTERS_PER_S):
                self._draw()

    def _draw(self) -> None:
        with self._lock:
            text = self._text
            if not self._over.is_set() and len(text) > self._drawn:
                self._drawn, self._drawn_at = len(text), time.monotonic()
                self._handle.update(_text(text), raw=True)

    def _stop(self) -> None:
        self._over.set()
        self._ticker.join()


class TerminalPaint:
    """Writes the pieces as they come; what was not streamed is written at the end."""

    def __init__(self) -> None:
        self._written = ""
        self._line = WaitingLine(sys.stderr)

    def begin(self, waiting: Callable[[], str]) -> None:
        """Say what goes on, where it can be taken away again."""
        self._line.begin(waiting)

    def add(self, piece: str) -> None:
        """Write a piece."""
        if piece:
            self._write(plain(piece))

    def end(self, bundle: Bundle) -> None:
        """Write what is not there yet, and a line break."""
        whole = bundle["text/plain"]
        self._write(whole.removeprefix(self._written) + "\n" if self._written else whole + "\n")

    def give_up(self) -> None:
        """Leave what was written of an answer, and nothing of the wait for it."""
        self._line.end()

    def _write(self, text: str) -> None:
        self._line.end()
        self._written += text
        sys.stdout.write(text)
        sys.stdout.flush()


def make_paint(shell: InteractiveShell | None) -> Paint:
    """Return what suits the shell: a kernel's cell, or a terminal."""
    return CellPaint() if is_kernel(shell) else TerminalPaint()


def is_kernel(shell: InteractiveShell | None) -> bool:
    """Say whether the shell belongs to a front end with display handles (Colab's shell is a kind of kernel shell)."""
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


def show(bundle: Bundle) -> None:
    """Draw what does not change any more; a terminal prints its text."""
    display(bundle, raw=True)


def _text(text: str) -> Bundle:
    return {"text/plain": plain(text)}
