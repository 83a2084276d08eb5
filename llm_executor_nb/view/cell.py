"""A job in a notebook: one display handle, made in the thread of the cell, whose last bundle is what the file keeps.

It is redrawn at most four times a second, by the private loop; so it goes on after the cell has ended. The Stop button
is a display of its own that is taken out at the end: a widget in a saved notebook is an error message to its reader.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from llm_executor_nb.view.answer import NOTHING
from llm_executor_nb.view.job import job_bundle

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.view.html import Bundle
    from llm_executor_nb.view.snapshot import Snapshot
    from llm_executor_nb.view.stop import StopWidget

REDRAW_S = 0.25
"""Seconds between two updates, at least."""
FIRST_S = 0.3
"""Seconds until a job is shown; a shorter one shows its end alone."""
_BY_INTERRUPT = "■ in the toolbar stops it"
_BY_CALL = "job.stop() stops it"


class CellBlock:
    """The displays of one job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handle: Any = None
        self._bundle: Bundle = {}
        self._drawn_at = 0.0
        self._first_at = time.monotonic() + FIRST_S
        self._is_waited_for = False
        self._waiting_button = StopButton(None)
        self._job_button: StopButton | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Make the display in the cell that waits for the job, when it has gone on for a moment; then a Stop button."""
        if time.monotonic() < self._first_at:
            return
        with self._lock:
            if not self._is_waited_for:
                self._is_waited_for = True
                self._display(snapshot)
                self._waiting_button.load()
            elif self._waiting_button.is_loaded and not self._waiting_button.is_shown:
                self._waiting_button.display()

    def open(self, snapshot: Snapshot, stop: Callable[[], object]) -> bool:
        """Show the job in a cell that ends at once; its Stop button calls `stop`."""
        with self._lock:
            if self._job_button is None:
                self._job_button = StopButton(stop)
            self._display(snapshot)
            self._job_button.display()
        return True

    def say(self, words: str) -> None:
        """Add nothing: the block says why the job waits for as long as it does."""

    def redraw(self, snapshot: Snapshot) -> None:
        """Update the display, unless it was a moment ago; take the buttons out when the job is over.

        Without the context of the cell that began the job: a front end that takes the messages of the running cell
        alone, as nbclient does, would miss what is sent in the name of an earlier one.
        """
        contextvars.Context().run(self._redraw, snapshot)

    def _redraw(self, snapshot: Snapshot) -> None:
        with self._lock:
            if self._handle is not None and (snapshot.is_over or time.monotonic() - self._drawn_at >= REDRAW_S):
                self._update(snapshot)

    def close(self, snapshot: Snapshot) -> None:
        """Show how the job stands at the end of the wait, and take the button of the wait out."""
        with self._lock:
            self._is_waited_for = False
            if self._handle is None:
                self._display(snapshot)
            else:
                self._update(snapshot)
            self._waiting_button.take_out()

    def _display(self, snapshot: Snapshot) -> None:
        """Show it here; where it is shown already, this is a second view of the same."""
        from IPython.display import display  # noqa: PLC0415 - only within IPython

        self._keep(snapshot)
        shown_as = True if self._handle is None else self._handle.display_id
        self._handle = display(self._bundle, raw=True, display_id=shown_as)

    def _update(self, snapshot: Snapshot) -> None:
        before = self._bundle
        self._keep(snapshot)
        if self._bundle != before:
            self._handle.update(self._bundle, raw=True)
        if snapshot.is_over:
            self._waiting_button.take_out()
            if self._job_button is not None:
                self._job_button.take_out()

    def _keep(self, snapshot: Snapshot) -> None:
        hint = _BY_INTERRUPT if self._is_waited_for else _BY_CALL if self._job_button is not None else ""
        self._bundle, self._drawn_at = job_bundle(snapshot, hint=hint), time.monotonic()


class StopButton:
    """A button under a job, where somebody may press it; elsewhere nothing.

    Args:
        stop: called when it is pressed, as soon as the kernel is free; None: the browser interrupts the kernel.
    """

    def __init__(self, stop: Callable[[], object] | None) -> None:
        self._stop = stop
        self._widget: Any = None
        self._handle: Any = None
        self._loading: threading.Thread | None = None

    @property
    def is_shown(self) -> bool:
        """Say whether it is there to be pressed."""
        return self._widget is not None

    @property
    def is_loaded(self) -> bool:
        """Say whether it can be shown at once."""
        return self._loading is not None and not self._loading.is_alive()

    def load(self) -> None:
        """Load the widget libraries beside what goes on: it may take a second, and ■ must not wait for it."""
        if self._loading is None and _is_attended():
            self._loading = threading.Thread(target=_widget_kind, name="llm_executor_nb button", daemon=True)
            self._loading.start()

    def display(self) -> None:
        """Show it here."""
        from IPython.display import display  # noqa: PLC0415 - only within IPython

        if not _is_attended():
            return
        if self._widget is None:
            self._widget = _widget_kind()(self._stop)
        shown_as = True if self._handle is None else self._handle.display_id
        self._handle = display(self._widget.bundle(), raw=True, display_id=shown_as)

    def take_out(self) -> None:
        """Leave nothing of it, neither on the screen nor in the file; to be shown again it must be loaded again."""
        self._loading = None
        if self._widget is not None:
            self._handle.update(NOTHING, raw=True)
            self._widget.close()
            self._widget = self._handle = None


def _widget_kind() -> type[StopWidget]:
    from llm_executor_nb.view.stop import StopWidget  # noqa: PLC0415 - loads the widget libraries

    return StopWidget


def is_kernel() -> bool:
    """Say whether this is a kernel with display handles (Colab's shell is a kind of kernel shell)."""
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(_shell()).__mro__)


def _is_attended() -> bool:
    """Say whether somebody may be looking: a cell that is run by nbclient or papermill can ask nobody anything."""
    return bool(getattr(getattr(_shell(), "kernel", None), "_allow_stdin", False))  # no public name tells


def _shell() -> Any:  # noqa: ANN401 - IPython's shell, if it is there
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None
