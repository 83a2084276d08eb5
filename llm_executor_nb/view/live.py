"""What a display that changes is made of: a kernel's display handle, one line of a terminal, a ticker.

`frontend()` alone decides where the package runs; jobs, cells and the panel ask it.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO

from llm_executor_nb.core.foreign_text import plain
from llm_executor_nb.view.html import line_part, stacked
from llm_executor_nb.view.text import columns_of, fitted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llm_executor_nb.view.html import Bundle

NOTHING: Bundle = {"text/plain": "", "text/html": ""}
"""Takes a display away: a front end draws nothing for it."""


def frontend() -> Literal["kernel", "terminal", "log"]:
    """Return what shows our output: a kernel with displays and widgets, a terminal, or a log of whole lines."""
    if hasattr(_shell(), "kernel"):  # as in Jupyter, Colab and VS Code; IPython's shell in a terminal has none
        return "kernel"
    return "terminal" if sys.stderr.isatty() else "log"


def is_attended() -> bool:
    """Whether a person may be looking. nbclient and papermill run cells without anyone to press a button."""
    return bool(getattr(getattr(_shell(), "kernel", None), "_allow_stdin", False))  # the kernel has no public name


def has_widgets() -> bool:
    """Whether a widget can be drawn for a person: in a kernel that is attended, and in marimo."""
    # an unattended run is for its file, and a widget in a file is empty without a network
    return (frontend() == "kernel" and is_attended()) or _marimo() is not None


def widget_thread(work: Callable[[], None], name: str) -> threading.Thread:
    """Return a daemon thread that may change a widget. In marimo no other thread than its own kind reaches the page."""
    marimo = _marimo()
    thread: type[threading.Thread] = threading.Thread if marimo is None else marimo.Thread
    return thread(target=work, name=name, daemon=True)


def show(bundle: Bundle) -> None:
    """Draw what does not change any more; a terminal prints its text."""
    from IPython.display import display  # noqa: PLC0415 - only within IPython

    display(bundle, raw=True)


class LiveDisplay:
    """A display of a cell that is updated in place. What it showed last stays in the notebook's file.

    It is not thread-safe: its owner holds a lock.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._bundle: Bundle = {}
        self._updated_at = 0.0

    @property
    def is_shown(self) -> bool:
        """Whether it is drawn in a cell."""
        return self._handle is not None

    @property
    def age_s(self) -> float:
        """Seconds since the last update was sent."""
        return time.monotonic() - self._updated_at

    def show(self, bundle: Bundle) -> None:
        """Draw it in the running cell; where it is drawn already, this is a second view of it."""
        from IPython.display import DisplayHandle  # noqa: PLC0415 - only within IPython

        self._bundle = bundle
        # before it is drawn: what is interrupted in between can be taken away
        self._handle = self._handle or DisplayHandle()
        self._handle.display(bundle, raw=True)
        self._updated_at = time.monotonic()

    def update(self, bundle: Bundle, *, again: bool = False) -> None:
        """Replace what is drawn. Only `again` sends the same bundle twice: front ends redraw whatever they get."""
        if again or bundle != self._bundle:
            self._bundle = bundle
            self._handle.update(bundle, raw=True)
        self._updated_at = time.monotonic()

    def clear(self) -> None:
        """Leave nothing of it, neither on the screen nor in the file."""
        if self._handle is not None:
            self.update(NOTHING)
            self._handle = None


class StatusLine:
    """One line of a terminal that is written over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._width = 0

    def write(self, text: str) -> None:
        """Replace the line. It is cut at the window's width: a wrapped line cannot be written over."""
        text = fitted(" ".join(plain(text).split()), _columns(self._stream) - 1)
        self._put(text, "")
        self._width = columns_of(text)

    def end(self, text: str) -> None:
        """Replace the line by one that stays, at its whole length."""
        self._put(plain(text), "\n")
        self._width = 0

    def clear(self) -> None:
        """Leave no trace of the line: the cursor is where it was before."""
        if self._width:
            self._put("", "\r")
            self._width = 0

    def _put(self, text: str, end: str) -> None:
        self._stream.write(f"\r{text}{' ' * (self._width - columns_of(text))}{end}")
        self._stream.flush()


@contextmanager
def noted(words: str) -> Iterator[None]:
    """Show words in the running cell, or in a terminal's line, and take them away at the end."""
    clear: Callable[[], None] | None = None
    match frontend():
        case "kernel":
            display = LiveDisplay()
            display.show(stacked(line_part(words, "dim small")))
            clear = display.clear
        case "terminal":
            status = StatusLine(sys.stderr)
            status.write(words)
            clear = status.clear
    try:
        yield
    finally:
        if clear is not None:
            clear()


class Ticker:
    """Calls a function at intervals, in a daemon thread, until it is stopped.

    Args:
        tick: what is called.
        every_s: seconds between two calls.
        first_s: seconds before the first call.
    """

    def __init__(self, tick: Callable[[], None], *, every_s: float, first_s: float) -> None:
        self._tick = tick
        self._every_s = every_s
        self._first_s = first_s
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to call."""
        self._thread = threading.Thread(target=self._run, name="llm_executor_nb ticker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait until the last call has returned; none follows. Stopping a second time does nothing."""
        if self._thread is not None:
            self._is_over.set()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        pause_s = self._first_s
        while not self._is_over.wait(pause_s):
            self._tick()
            pause_s = self._every_s


def _marimo() -> Any:  # noqa: ANN401 - the module, in a notebook of marimo
    marimo = sys.modules.get("marimo")
    return marimo if marimo is not None and marimo.running_in_notebook() else None


def has_cells() -> bool:
    """Whether code is run cell by cell, so that the result of one can be used in the next."""
    return _shell() is not None


def at_cell_end(call: Callable[[], object]) -> None:
    """Call a function once at the end of the running cell, or of the next one; outside of IPython never."""
    shell = _shell()
    if shell is None:
        return

    def once(*_: object) -> None:
        shell.events.unregister("post_run_cell", once)
        call()

    shell.events.register("post_run_cell", once)


def _columns(stream: TextIO) -> int:
    """Return the width of the window behind a stream."""
    with suppress(OSError, ValueError):  # shutil looks at stdout only, which may be a file
        if not os.environ.get("COLUMNS") and (columns := os.get_terminal_size(stream.fileno()).columns):
            return columns
    return shutil.get_terminal_size().columns


def _shell() -> Any:  # noqa: ANN401 - IPython's shell, if there is one
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None
