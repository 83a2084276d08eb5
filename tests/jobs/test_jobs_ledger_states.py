"""A column on a ledger that is damaged, newer or not to be written, and at a process's end: told once, it goes on."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from contextlib import closing

import pytest
from columns import assert_own_answers, prompts, statuses
from keeping import Child
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.store.records import LedgerBusyError
from llm_executor_nb.store.schema import VERSION

RUNS_AND_ENDS = """
import llm_executor_nb as llm
from pathlib import Path
from columns import prompts
llm.configure(openrouter_keys=["sk-or-v1-practice-0001"], huggingface_tokens=[])
llm.configure(openrouter_base_url=sys.argv[1], ledger=Path(sys.argv[2]))
prompts(300).llm.run("gemma", "q", progress=False, concurrency=32)
{end}
"""
LOCKED = """
import sqlite3, time
prompts(1).llm.run("gemma", "q", progress=False)
file = sqlite3.connect(sys.argv[2], isolation_level=None, timeout=30)
file.execute("BEGIN EXCLUSIVE")
job = prompts(400).llm.start("gemma", "q", progress=False)
while not job.snapshot().trouble:
    time.sleep(0.01)
job.stop()
print("stopped", flush=True)
"""
FORKS = """
import os, warnings
warnings.simplefilter("ignore")  # newer Pythons warn of any fork beside a thread
child = os.fork()
if not child:
    out = prompts(20, 290).llm.run("gemma", "q", progress=False)
    sys.exit(0 if (out["q_llm_status"] == "cached").sum() == 10 else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture
def server():
    with fresh(), RehearsalServer() as server:
        llm.configure(openrouter_keys=["sk-or-v1-practice-0001"], huggingface_tokens=[])
        llm.configure(openrouter_base_url=server.openrouter_url)
        yield server
        llm.configure(ledger=None)


def _run(path):
    llm.configure(ledger=path)
    return prompts(20).llm.run("gemma", "q", progress=False)


def _told(path, words):
    """Run a column, which tells of the ledger once; return its frame."""
    with pytest.warns(llm.LLMExecutorWarning, match=words) as told:
        out = _run(path)
    assert len(told) == 1
    assert str(path) in str(told[0].message)
    assert_own_answers(out)
    return out


def test_a_damaged_ledger_is_told_once_with_its_new_place_and_the_column_goes_on(server, tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is not a database, " * 1_000)
    assert statuses(_told(path, r"is damaged. It was moved to .*ledger\.damaged-")) == {"ok": 20}
    assert statuses(_run(path)) == {"cached": 20}
    assert len(server.lines) == 20


def test_a_newer_ledger_is_left_alone_and_answers_stay_in_memory(server, tmp_path):
    path = tmp_path / "ledger.sqlite"
    _run(path)
    llm.configure(ledger=None)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    assert statuses(_told(path, r"newer version .*pip install --upgrade.*kept in memory")) == {"ok": 20}
    assert statuses(prompts(20).llm.run("gemma", "q", progress=False)) == {"cached": 20}
    assert len(server.lines) == 40
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_means_memory(server, tmp_path):
    (tmp_path / "taken").write_text("a file")
    assert statuses(_told(tmp_path / "taken" / "ledger.sqlite", "cannot be kept in .*kept in memory")) == {"ok": 20}
    assert statuses(prompts(20).llm.run("gemma", "q", progress=False)) == {"cached": 20}
    assert len(server.lines) == 20


@pytest.mark.parametrize("end", ["sys.exit()", FORKS], ids=["exit", "fork"])  # of the latter, the parent just ends
def test_a_process_that_ends_right_after_a_column_has_stored_all_of_it(server, tmp_path, end):
    path = tmp_path / "ledger.sqlite"
    with Child(RUNS_AND_ENDS.format(end=end), server.openrouter_url, path) as child:
        assert child.end() == 0
    with closing(sqlite3.connect(path)) as file:
        (answers,) = file.execute("SELECT count(*) FROM answer").fetchone()
    assert answers == len(server.lines) == (310 if end == FORKS else 300)


def test_a_process_ends_soon_after_a_stop_while_the_ledger_is_locked(server, tmp_path):
    with Child(RUNS_AND_ENDS.format(end=LOCKED), server.openrouter_url, tmp_path / "ledger.sqlite") as child:
        assert child.line() == "stopped"
        began = time.monotonic()
        child.end()
        assert time.monotonic() - began < 15  # the ledger is given 4 s, and not the 30 s of a writer that can wait


@pytest.mark.parametrize("before", ["before.sqlite", None])
def test_a_job_stays_in_its_ledger_when_another_is_configured_meanwhile(server, tmp_path, before):
    llm.configure(ledger=before and tmp_path / before)
    job = prompts(200).llm.start("gemma", "q", progress=False, concurrency=4)
    while len(server.lines) < 20:
        time.sleep(0.01)
    llm.configure(ledger=tmp_path / "after.sqlite")
    out = job.result()
    assert statuses(out) == {"ok": 200}
    assert len(out.llm.attempts()) == len(job.attempts()) == len(llm.attempts()) == 200
    assert not (tmp_path / "after.sqlite").exists()
    prompts(1).llm.run("gemma", "q", progress=False)
    assert len(llm.attempts()) == 201


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be cut or moved there")
def test_a_job_whose_ledger_is_cut_to_nothing_goes_on_and_says_so(server, tmp_path):
    path = tmp_path / "ledger.sqlite"
    llm.configure(ledger=path)
    job = prompts(200).llm.start("gemma", "q", progress=False, concurrency=2)
    while len(server.lines) < 20:
        time.sleep(0.01)
    go_on = session().ledger.before_fork()  # between two commits: the pages of one under way would be written back
    os.truncate(path, 0)
    go_on()
    with pytest.warns(llm.LLMExecutorWarning, match="is damaged. It was moved to"):
        out = job.result()
    assert statuses(out) == {"ok": 200}
    assert_own_answers(out)
    assert len(server.lines) == 200


@pytest.mark.usefixtures("server")
def test_a_ledger_of_before_that_cannot_be_read_hides_no_attempts_of_the_others(tmp_path, monkeypatch):
    def locked(**_):
        raise LedgerBusyError("The ledger cannot write at the moment: locked by another program.")

    _run(tmp_path / "one.sqlite")
    monkeypatch.setattr(session().ledger, "attempts_frame", locked)
    out = _run(tmp_path / "other.sqlite")
    with pytest.warns(llm.LLMExecutorWarning, match=r"attempts in .*one\.sqlite cannot be read now.*locked by another"):
        assert len(out.llm.attempts()) == 20
    with pytest.warns(llm.LLMExecutorWarning, match="are missing here"):
        assert len(llm.attempts()) == 20


@pytest.mark.skipif(sys.platform == "win32", reason="there are no FIFOs")
@pytest.mark.usefixtures("server")
def test_a_fifo_in_the_place_of_the_ledger_means_memory(tmp_path):
    llm.configure(ledger=tmp_path / "fifo")
    os.mkfifo(tmp_path / "fifo")
    with pytest.warns(llm.LLMExecutorWarning, match="FIFO.*kept in memory"):
        assert statuses(prompts(20).llm.run("gemma", "q", progress=False)) == {"ok": 20}
    assert statuses(prompts(20).llm.run("gemma", "q", progress=False)) == {"cached": 20}
