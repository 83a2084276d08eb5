"""How a job shows its progress: a block in a notebook's cell, one line of a terminal, or the lines of a log.

Two threads use a display. The thread that waits for the job calls `show` again and again, and `close` at the end. The
private loop calls `redraw` and `say`. A terminal is written by the waiting thread alone, so it keeps what is said until
that looks. After the end of a job that nobody waited for, the next cell calls `end`.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from llm_executor_nb.core.foreign_text import plain
from llm_executor_nb.view.html import block, escaped, line, span
from llm_executor_nb.view.live import LiveDisplay, StatusLine, frontend, is_attended

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.view.html import Bundle
    from llm_executor_nb.view.snapshot import Snapshot
    from llm_executor_nb.view.stop import StopWidget

REDRAW_S = 0.25
"""Seconds between two updates, at least."""
FIRST_S = 0.3
"""Seconds until a job is shown; of a shorter job only the end is shown."""
_LOG_S = 60.0
"""Seconds between two lines of a log."""
_MOST_NOTES = 10
"""Notes that are kept for a job that nobody waits for: one a minute, and a job without answers ends after ten."""
_BY_INTERRUPT = "■ in the toolbar stops it"
_BY_CALL = "job.stop() stops it"
_INTERRUPT = """<div class="llm-stop in-notebook" style="display:none" onkeydown="event.stopPropagation()"><button
type="button" data-commandlinker-command="notebook:interrupt-kernel"><span aria-hidden="true">■ </span>Stop the job
</button></div>"""
"""The notebook's own shortcuts (b, dd, x, Enter) must not act on the cell while the button has the focus."""


class JobDisplay:
    """Shows the snapshots of one job. This one shows nothing, for `progress=False`."""

    def show(self, snapshot: Snapshot) -> None:
        """Show a snapshot, unless one was shown a moment ago; called by the thread that waits for the job."""

    def redraw(self, snapshot: Snapshot) -> None:
        """Update what is shown already; called on the private loop."""

    def close(self, snapshot: Snapshot) -> None:
        """Show the last snapshot: the thread waits no longer."""

    def end(self, snapshot: Snapshot) -> None:
        """Show the end of a job, unless a thread that waited for it has shown it; called at the end of a cell."""

    def say(self, words: str) -> None:
        """Show a line that stays, why the job waits; called on the private loop."""

    def open(self, snapshot: Snapshot, stop: Callable[[], object]) -> bool:  # noqa: ARG002 - for those that can
        """Show a job that nobody waits for, with a button that calls `stop`; return whether this display can."""
        return False


class LogLines(JobDisplay):
    """A line a minute, and the end, where a line cannot be written over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._due_s = _LOG_S
        self._is_closed = False

    def show(self, snapshot: Snapshot) -> None:
        """Write a line if the last one is a minute old."""
        if snapshot.elapsed_s >= self._due_s:
            self._due_s = snapshot.elapsed_s + _LOG_S
            self._write(snapshot.line())

    def close(self, snapshot: Snapshot) -> None:
        """Write how the job stands at the end of the wait, once."""
        if not self._is_closed:
            self._is_closed = snapshot.is_over
            self._write(snapshot.text())

    def end(self, snapshot: Snapshot) -> None:
        """Write the end if nobody has waited for it."""
        self.close(snapshot)

    def _write(self, text: str) -> None:
        self._stream.write(plain(text) + "\n")
        self._stream.flush()


class TerminalLine(LogLines):
    """One line that is written over: at most four times a second, and not in the first moment of a short job."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._line = StatusLine(stream)
        self._notes: deque[str] = deque(maxlen=_MOST_NOTES)
        self._next_at = time.monotonic() + FIRST_S

    def say(self, words: str) -> None:
        """Keep a line for the thread that writes."""
        self._notes.append(words)

    def show(self, snapshot: Snapshot) -> None:
        """Write over the line; notes stay above it."""
        self._write_notes()
        if (now := time.monotonic()) >= self._next_at:
            self._next_at = now + REDRAW_S
            self._line.write(snapshot.line())

    def close(self, snapshot: Snapshot) -> None:
        """Write the notes, and how the job stands at the end of the wait."""
        self._write_notes()
        super().close(snapshot)

    def _write_notes(self) -> None:
        while self._notes:
            self._write(self._notes.popleft())

    def _write(self, text: str) -> None:
        for line_of_text in text.split("\n"):
            self._line.end(line_of_text)


class CellBlock(JobDisplay):
    """A block in a notebook, which also says why the job waits, with a Stop button below it while the job runs.

    The private loop redraws it, so it goes on after its cell has ended. The button is a display of its own that is
    taken out at the end: a widget in a saved notebook is an error message to its reader.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._block = LiveDisplay()
        self._first_at = time.monotonic() + FIRST_S
        self._has_waiting_cell = self._is_closed = False
        self._waiting_button = LiveDisplay()
        self._job_button: StopButton | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Draw the block in the cell that waits for the job, and then a Stop button."""
        if time.monotonic() < self._first_at:
            return
        # the private loop redraws at the same time
        with self._lock:
            if not self._has_waiting_cell:
                self._has_waiting_cell = True
                self._block.show(self._bundle(snapshot))
                if is_attended():
                    self._waiting_button.show(interrupt_button())

    def open(self, snapshot: Snapshot, stop: Callable[[], object]) -> bool:
        """Draw the block in a cell that ends at once; its Stop button calls `stop`."""
        with self._lock:
            if self._job_button is None:
                self._job_button = StopButton(stop)
            self._block.show(self._bundle(snapshot))
            self._job_button.show()
        return True

    def redraw(self, snapshot: Snapshot) -> None:
        """Update the block, unless it was updated a moment ago; take the buttons out when the job is over."""
        # Not in the context of the cell that began the job: nbclient takes only the messages of the running cell, and
        # would miss those sent in the name of an earlier one.
        contextvars.Context().run(self._redraw, snapshot)

    def _redraw(self, snapshot: Snapshot) -> None:
        with self._lock:
            if self._block.is_shown and (snapshot.is_over or self._block.age_s >= REDRAW_S):
                self._update(snapshot)

    def close(self, snapshot: Snapshot) -> None:
        """Show how the job stands at the end of the wait, and take out the button of the wait."""
        with self._lock:
            is_sure, self._has_waiting_cell = self._has_waiting_cell, False
            self._is_closed = snapshot.is_over
            if self._block.is_shown:
                self._update(snapshot, again=not is_sure)
            else:
                self._block.show(self._bundle(snapshot))
            self._waiting_button.clear()

    def end(self, snapshot: Snapshot) -> None:
        """Draw the end of a job once more, in a cell that runs."""
        with self._lock:
            if self._block.is_shown and not self._is_closed:
                self._is_closed = True
                self._update(snapshot, again=True)

    def _update(self, snapshot: Snapshot, *, again: bool = False) -> None:
        # nbclient and its kin drop what is sent between two cells, so the end may have to be sent again
        self._block.update(self._bundle(snapshot), again=again)
        if snapshot.is_over:
            self._waiting_button.clear()
            if self._job_button is not None:
                self._job_button.take_out()

    def _bundle(self, snapshot: Snapshot) -> Bundle:
        hint = _BY_INTERRUPT if self._has_waiting_cell else _BY_CALL if self._job_button is not None else ""
        return job_bundle(snapshot, hint=hint)


def make_progress(*, is_shown: bool) -> JobDisplay:
    """Return the display that suits the front end."""
    if not is_shown:
        return JobDisplay()
    match frontend():
        case "kernel":
            return CellBlock()
        case "terminal":
            return TerminalLine(sys.stderr)
        case "log":
            return LogLines(sys.stderr)


class StopButton:
    """A button below a job that no cell waits for, where a person may press it; elsewhere nothing.

    Args:
        stop: called when it is pressed, as soon as the kernel is free.
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._display = LiveDisplay()
        self._widget: StopWidget | None = None

    def show(self) -> None:
        """Show it in the running cell."""
        if is_attended():
            from llm_executor_nb.view.stop import StopWidget  # noqa: PLC0415 - loads the widget libraries

            self._widget = self._widget or StopWidget(self._stop)
            self._display.show(self._widget.bundle())

    def take_out(self) -> None:
        """Leave nothing of it, neither on the screen nor in the file."""
        if self._widget is not None:
            self._display.clear()
            self._widget.close()
            self._widget = None


def interrupt_button() -> Bundle:
    """Return the button below a job that a cell waits for. It does what ■ in the toolbar does.

    It is not a widget. A browser answers a new widget with messages, and after each of them the kernel reports that it
    is idle, although the cell runs. Lab and Notebook 7 run the command that plain HTML names; elsewhere it is hidden.
    """
    style = Path(__file__).with_name("stop.css").read_text(encoding="utf-8")
    return {"text/plain": "", "text/html": f"<style>{style}</style>{_INTERRUPT}"}


def job_bundle(snapshot: Snapshot, *, hint: str = "") -> Bundle:
    """Return the block of a job: a bar, and the same in words.

    Args:
        snapshot: how the job stands.
        hint: how it can be stopped; left out when it is over.
    """
    hint = "" if snapshot.is_over else hint
    html = _bar(snapshot) + _counts(snapshot)
    html += line(" · ".join(filter(None, [*snapshot.bounds(), hint])), "dim small")
    html += "".join(line(words, kind) for kind, words in snapshot.notices())
    return {"text/plain": plain(snapshot.text(hint)), "text/html": block(html)}


def _bar(snapshot: Snapshot) -> str:
    """Return a native bar: it is drawn where a front end takes out style and script."""
    total = max(1, snapshot.total)
    done = snapshot.done if snapshot.total else total
    return (
        f'<progress class="bar" style="width:100%" role="progressbar" value="{done}" max="{total}" aria-valuemin="0" '
        f'aria-valuemax="{total}" aria-valuenow="{done}" aria-label="{escaped(snapshot.rows())}"></progress>'
    )


def _counts(snapshot: Snapshot) -> str:
    words = [f"<strong>{escaped(snapshot.rows())}</strong>"]
    words += [span(count, "bad" if count.endswith(" failed") else "") for count in snapshot.counts()]
    return f"<div>{' · '.join(words)}</div>"
