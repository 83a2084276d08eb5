"""One line of a terminal that says what a cell waits for, and is gone without a trace when something has come.

It goes to stderr, so what is piped on from stdout holds answers alone; where stderr is no terminal there is no line.
"""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING, TextIO

from llm_executor_nb.view.html import plain

if TYPE_CHECKING:
    from collections.abc import Callable

_FIRST_S = 0.3
"""Seconds without a line: a quick answer needs none."""
_REDRAW_S = 0.5


class WaitingLine:
    """The line, from `begin` to `end`.

    Args:
        stream: where it is written, if that is a terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._width = 0
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None

    def begin(self, words: Callable[[], str]) -> None:
        """Show some words until the end, asked for anew twice a second."""
        if self._stream.isatty():
            self._ticker = threading.Thread(target=self._tick, args=(words,), name="llm_executor_nb line", daemon=True)
            self._ticker.start()

    def end(self) -> None:
        """Take the line away; when this returns, the cursor stands where it stood before."""
        self._over.set()
        if self._ticker is not None:
            self._ticker.join()
            self._ticker = None
            if self._width:
                self._write("")
                self._stream.write("\r")
                self._stream.flush()

    def _tick(self, words: Callable[[], str]) -> None:
        pause_s = _FIRST_S
        while not self._over.wait(pause_s):
            self._write(plain(words()))
            pause_s = _REDRAW_S

    def _write(self, text: str) -> None:
        """Write over the line before; a line that the terminal broke in two could not be written over."""
        text = text[: shutil.get_terminal_size().columns - 1]
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)
