"""A ledger that this user did not make is opened only after `configure(ledger=...)`; the user's own always is."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing

import pytest
from keeping import answer, attempt, begun, lookup, make_older, texts
from platformdirs import user_state_path

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError, LLMExecutorWarning
from llm_executor_nb.store.ledger import Ledger
from llm_executor_nb.store.ledger_store import LedgerStore

NOT_MADE_HERE = r"was not made by this user.*llm\.configure\(ledger='.*ledger\.sqlite'\).*kept in memory"


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".llm_executor" / "ledger.sqlite"


def _found(path, *, is_named=False):
    """Open the ledger, look an answer up and keep one; return the text found."""
    ledger = LedgerStore(lambda: path, is_named=lambda: is_named)
    try:
        begun(ledger)
        (found,) = texts(ledger.find([lookup("a")], max_age_s=None))
        ledger.keep([attempt()], answer("a", "here"))
        assert ledger.flush(10)
    finally:
        ledger.close()
    return found


def _older(path, host=None):
    """Make a ledger one of the version before ids; its jobs ran on a host."""
    make_older(path, 2)
    if host is not None:
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE job SET host = ?", (host,))


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Be another user: with another state folder."""

    def move(name="other"):
        for variable in ("HOME", "XDG_STATE_HOME", "LOCALAPPDATA", "USERPROFILE"):
            monkeypatch.setenv(variable, str(tmp_path / name))

    return move


def test_a_ledger_that_this_user_made_is_opened_wherever_it_is_moved(path, tmp_path):
    assert _found(path) is None
    path.parent.rename(tmp_path / "moved")
    assert _found(tmp_path / "moved" / "ledger.sqlite") == "here"


def test_a_ledger_that_came_with_the_folder_is_left_alone_until_it_is_named(path, elsewhere):
    _found(path)
    elsewhere()
    before = path.read_bytes()
    with pytest.warns(LLMExecutorWarning, match=NOT_MADE_HERE):
        assert _found(path) is None
    assert path.read_bytes() == before
    assert _found(path, is_named=True) == "here"
    assert _found(path) == "here"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_ledger_of_another_owner_is_left_alone_until_it_is_named(path):
    _found(path)
    os.chown(path, 12345, -1)
    with pytest.warns(LLMExecutorWarning, match=NOT_MADE_HERE):
        assert _found(path) is None
    assert _found(path, is_named=True) == "here"


def test_a_ledger_of_an_older_version_whose_jobs_ran_here_goes_on_working(path, elsewhere):
    _found(path)
    _older(path)
    elsewhere()
    assert _found(path) == "here"
    assert _found(path) == "here"


@pytest.mark.parametrize("host", ["another-machine pid:[4026531836]", "", b"\xff"])
def test_a_ledger_of_an_older_version_from_another_machine_is_left_alone(path, host):
    _found(path)
    _older(path, host)
    with pytest.warns(LLMExecutorWarning, match=NOT_MADE_HERE):
        assert _found(path) is None
    assert _found(path, is_named=True) == "here"


def test_an_empty_file_is_anybodys(path):
    path.parent.mkdir()
    path.touch()
    assert _found(path) is None
    assert _found(path) == "here"


def test_where_the_state_folder_cannot_be_written_a_ledger_is_made_all_the_same(path, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "taken"))
    assert _found(path) is None
    assert path.stat().st_size


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_only_the_owner_reads_which_ledgers_there_are(path):
    _found(path)
    (mark,) = (user_state_path("llm_executor_nb", appauthor=False) / "ledgers").iterdir()
    assert mark.stat().st_mode & 0o077 == 0
    assert mark.parent.stat().st_mode & 0o077 == 0


def test_what_is_left_alone_is_not_forgotten_and_says_so(path, elsewhere):
    _found(path)
    elsewhere()
    ledger = LedgerStore(lambda: path, is_named=lambda: False)
    with (
        pytest.warns(LLMExecutorWarning, match=NOT_MADE_HERE),
        pytest.raises(ConfigError, match=r"was not made by this user.*Nothing was erased\."),
    ):
        Ledger(ledger).forget(older_than="0s")
    ledger.close()


def test_configure_and_the_environment_name_a_ledger_and_the_usual_place_does_not(path, elsewhere, monkeypatch):
    _found(path)
    elsewhere()

    def found():
        session().move_ledger()
        begun(session().ledger)
        return texts(session().ledger.find([lookup("a")], max_age_s=None))[0]

    with pytest.warns(LLMExecutorWarning, match=NOT_MADE_HERE):
        assert found() is None
    monkeypatch.setenv("LLM_EXECUTOR_HOME", str(path.parent))
    assert found() == "here"
    monkeypatch.delenv("LLM_EXECUTOR_HOME")
    elsewhere("third")
    llm.configure(ledger=path)
    assert found() == "here"
    session().ledger.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_configure_refuses_what_is_not_a_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path / "fifo", "/dev/null"):
        with pytest.raises(ConfigError, match="must be the path of a file, or None"):
            llm.configure(ledger=place)
