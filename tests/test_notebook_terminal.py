"""`%%llm` in a terminal: real IPython under a pseudo-terminal, pieces written as they come."""

from __future__ import annotations

import os
import re
import sys

import pytest
from shells import PACKAGE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")


@pytest.fixture
def terminal(tmp_path):
    import pexpect  # noqa: PLC0415 - IPython needs it on POSIX only

    path = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))
    arguments = ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"]
    child = pexpect.spawn(
        sys.executable,
        arguments,
        env={**os.environ, "PYTHONPATH": path, "IPYTHONDIR": str(tmp_path), "TERM": "dumb"},
        encoding="utf-8",
        timeout=60,
        dimensions=(50, 400),
        echo=False,
    )
    child.expect_exact("In [1]: ")
    yield child
    child.close(force=True)


def typed(terminal, *lines):
    """Type lines, and return what came until the next prompt."""
    for line in lines:
        terminal.sendline(line)
    terminal.expect(r"In \[\d+\]: $")
    return _COLOURS.sub("", terminal.before)


def test_a_cell_in_a_terminal_is_written_once_and_stops_at_ctrl_c(terminal):
    typed(terminal, "%load_ext llm_executor_nb")
    assert "No key is used" in typed(terminal, "%llm rehearse *: pace=0.02")
    shown = typed(terminal, "%%llm gemma", "What is Lyon, in brief?", "", "")
    assert shown.count("[practice answer") == 1
    assert shown.count("You asked") == 1
    assert "asking gemma" not in shown
    assert re.search(r"rehearsal\.\)\s*\nopenrouter \.\.0001 · ", shown)

    typed(terminal, "%llm rehearse *: pace=0.3")
    for line in ("%%llm gemma", "What is Lyon, in brief?", "", ""):
        terminal.sendline(line)
    terminal.expect_exact("You")
    terminal.sendintr()
    terminal.expect(r"In \[\d+\]: $")
    shown = _COLOURS.sub("", terminal.before)
    assert "[cut: stopped by hand]" in shown
    assert "JobInterrupted: The cell was stopped by hand after" in shown
    assert "Traceback" not in shown
