"""A line of a terminal fits its window, and the end of a job that nobody waited for is told at the end of a cell."""

from __future__ import annotations

import os

import pandas as pd
import pytest
from rehearsing import MODEL, fresh, wait_until
from shells import extended_shell

import llm_executor_nb as llm
from llm_executor_nb.view.live import StatusLine, at_cell_end
from llm_executor_nb.view.text import columns_of


@pytest.fixture
def window(monkeypatch):
    """Return what a terminal of so many columns is written, while stdout is a file."""
    termios = pytest.importorskip("termios", reason="Windows has no such terminals")
    monkeypatch.delenv("COLUMNS", raising=False)

    def written(columns, *texts):
        reader, writer = os.openpty()
        termios.tcsetwinsize(writer, (24, columns))
        shown = b""
        with os.fdopen(reader, "rb", buffering=0) as screen, os.fdopen(writer, "w") as terminal:
            line = StatusLine(terminal)
            for text in texts:
                line.write(text)
                shown += screen.read(65_536)
        return shown.decode().split("\r")[1:]

    return written


@pytest.mark.parametrize("columns", [20, 37, 120])
def test_a_line_is_cut_to_the_window_that_it_is_written_to(window, columns):
    first, second = window(columns, "12/60 rows · 注意 · " * 20, "60/60 rows")
    assert columns - 3 <= columns_of(first) < columns
    assert first.endswith("…")
    assert columns_of(second) == columns_of(first), "something of the line before stays"


def test_a_line_break_in_it_is_a_space(window):
    assert window(80, "no\nbreak\tat\r\nall") == ["no break at all"]


def test_a_call_at_the_end_of_a_cell_is_made_once():
    called = []
    with extended_shell() as shell:
        at_cell_end(lambda: called.append(True))
        assert not called
        for _ in range(2):
            shell.run_cell("1 + 1")
    assert called == [True]


def test_outside_of_ipython_no_such_call_is_made():
    at_cell_end(lambda: pytest.fail("there is no cell"))


def test_the_end_of_a_job_that_nobody_waited_for_is_written_after_the_next_cell(capsys):
    with fresh(), extended_shell() as shell, llm.rehearse():
        for waits in (False, True):
            job = pd.DataFrame({"q": [f"{waits} {n}" for n in range(3)]}).llm.start(MODEL, "q")
            wait_until(lambda: job.is_done)  # noqa: B023 - called within this turn
            before = capsys.readouterr().err
            if waits:
                job.result()
            shell.run_cell("1 + 1")
            said = capsys.readouterr().err
            assert (before, said.count("3/3 rows")) == ("", 1)
