"""`%%llm` in a terminal: real IPython under a pseudo-terminal, pieces written as they come."""

from __future__ import annotations

import os
import re
import sys

import pytest
from shells import PACKAGE, extended_shell
from signing_in import code_at, link_in

import llm_executor_nb as llm

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


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
    """Type lines, and return what stands on the screen before the next prompt."""
    for line in lines:
        terminal.sendline(line)
    return came(terminal)


def came(terminal):
    """Return what stands on the screen when the next prompt has come."""
    terminal.expect(r"In \[\d+\]: $")
    return "\n".join(map(_over_written, _COLOURS.sub("", terminal.before).replace("\r\n", "\n").split("\n")))


def _over_written(line):
    """Return what a line shows in which a carriage return has the next words written over the ones before."""
    shown = ""
    for words in line.split("\r"):
        shown = words + shown[len(words) :]
    return shown.rstrip()


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
    shown = came(terminal)
    assert "[cut: stopped by hand]" in shown
    assert "JobInterrupted: The cell was stopped by hand after" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("option", ["", " --no-stream"])
def test_while_nothing_has_come_one_line_says_whom_it_waits_for_and_is_gone_with_the_answer(terminal, option):
    typed(terminal, "%load_ext llm_executor_nb")
    typed(terminal, "%llm rehearse *: latency=1.5")
    for line in (f"%%llm gemma{option}", "What is Lyon, in brief?", "", ""):
        terminal.sendline(line)
    terminal.expect_exact("\rasking gemma …")
    terminal.expect(r"\rasking gemma … \d+ s")
    shown = came(terminal)
    assert "asking gemma" not in shown
    assert "[practice answer" in shown
    assert shown.count("You asked") == 1


def test_the_line_of_waiting_is_gone_when_a_wait_ends_without_an_answer(terminal):
    typed(terminal, "%load_ext llm_executor_nb")
    typed(terminal, "%llm rehearse *: latency=5")
    for line in ("%%llm gemma", "What is Lyon, in brief?", "", ""):
        terminal.sendline(line)
    terminal.expect_exact("\rasking gemma …")
    terminal.sendintr()
    shown = came(terminal)
    assert "JobInterrupted: The cell was stopped by hand after" in shown
    assert "asking gemma" not in shown


def test_where_errors_go_to_no_terminal_nothing_is_said_of_waiting(capsys):
    with extended_shell() as shell, llm.rehearse("*: latency=0.6"):
        shell.run_cell("%%llm gemma\nWhat is Lyon, in brief?")
    shown = capsys.readouterr()
    assert "[practice answer" in shown.out
    assert shown.err == ""


def test_in_a_terminal_a_link_is_opened_the_code_is_pasted_unseen_and_the_key_answers_at_once(terminal, tmp_path):
    import pexpect  # noqa: PLC0415 - as above

    typed(terminal, "%load_ext llm_executor_nb")
    typed(terminal, "import llm_executor_nb as llm")
    typed(terminal, "practice = llm.rehearse(openrouter_keys=0, huggingface_tokens=0).start()")
    terminal.sendline("llm.login()")
    terminal.expect(r"Paste the code \(not shown\): ")
    code = code_at(link_in(terminal.before))
    shown = typed(terminal, code)
    assert "Signed in to OpenRouter: requests use the key signed in ..0001 from now on." in shown
    assert "[practice answer" in typed(terminal, "print(llm.run_llm('gemma', 'x').content)")
    terminal.sendline("%llm login")
    terminal.expect(r"Paste the code \(not shown\): ")
    terminal.sendintr()
    stopped = came(terminal)
    assert "JobInterrupted: The sign-in was stopped, and this session has no new key." in stopped
    assert "Traceback" not in stopped
    assert "signed in ..0001" in typed(terminal, "llm.keys")
    typed(terminal, "practice.stop()")
    terminal.sendline("exit")
    terminal.expect(pexpect.EOF)
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"llm.login()" in text for text in kept)
    assert not any(word in text for text in kept for word in (b"sk-or-v1-practice-0001", code.encode()))
