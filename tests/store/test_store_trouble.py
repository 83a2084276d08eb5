"""Full disks, locks, damaged, newer, foreign and unwritable files: nothing kept is lost, and the user is told."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest
from keeping import Child, answer, attempt, begun, ledger_at, lookup, texts

from llm_executor_nb.core.errors import LLMExecutorWarning
from llm_executor_nb.store.ledger import Ledger
from llm_executor_nb.store.ledger_store import LedgerStore
from llm_executor_nb.store.records import LedgerBusyError, Limits, Turn
from llm_executor_nb.store.schema import VERSION
from llm_executor_nb.store.writer import PATIENCE_S, Writer
from llm_executor_nb.testing import frozen_clock

BIG = "x" * 20_000

HOLDS_THE_LOCK = """
import sqlite3
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute(sys.argv[2])
print("locked", flush=True)
sys.stdin.readline()
file.execute("COMMIT")
print("free", flush=True)
sys.stdin.readline()
"""

LIMITED = """
import resource
from pathlib import Path
from keeping import answer, attempt, ledger_at, texts, lookup
with ledger_at(Path(sys.argv[1])) as ledger:
    ledger.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    for number in range(40):
        ledger.keep([attempt(row=str(number))], answer(str(number), "x" * 20_000))
    assert not ledger.flush(1), "more was committed than fits"
    assert "the disk does not take it" in ledger.trouble, ledger.trouble
    assert len(ledger.attempts_frame()) == 40
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert ledger.flush(10), "it did not go on"
    assert not ledger.trouble
    assert all(ledger.find([lookup(str(number)) for number in range(40)], max_age_s=None))
    print("ok", flush=True)
"""

WITHOUT_FILES = """
import resource
from pathlib import Path
from keeping import answer, ledger_at, lookup, texts
with ledger_at(Path(sys.argv[1])) as ledger:
    ledger.keep([], answer("a", "before"))
    assert ledger.flush()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    ledger.keep([], answer("b", "meanwhile"))
    assert not ledger.flush(0.6)
    assert ledger.trouble
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert ledger.flush(10), ledger.trouble
    assert ledger.path
    assert texts(ledger.find([lookup("a"), lookup("b")], max_age_s=None)) == ["before", "meanwhile"]
print("ok", flush=True)
"""

ON_A_SMALL_DISK = """
import ctypes, os, subprocess
from pathlib import Path
from keeping import answer, attempt, ledger_at, lookup
disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(disk)], check=True)
ballast = open(disk / "ballast", "wb", buffering=0)
try:
    while ballast.write(bytes(4096)):
        pass
except OSError:
    pass
with ledger_at(disk / "sub" / "ledger.sqlite") as ledger:
    assert not ledger.flush(0.6), "it was opened on a full disk"
    assert ledger.trouble == "the disk is full", ledger.trouble
    assert ledger.path, "it gave up"
    ballast.truncate(100_000)
    assert ledger.flush(10), "it was not opened once there was room"
    assert (disk / "sub" / ".gitignore").read_text() == "*\\n"
    for number in range(9):
        ledger.keep([attempt()], answer(str(number), "x" * 20_000))
    assert not ledger.flush(1), "more was committed than fits"
    assert ledger.trouble == "the disk is full", ledger.trouble
    ballast.truncate(0)
    assert ledger.flush(10), "it did not go on"
    assert not ledger.trouble
    assert all(ledger.find([lookup(str(number)) for number in range(9)], max_age_s=None))
print("ok", flush=True)
"""

ON_A_DISK_THAT_CANNOT_BE_WRITTEN = """
import subprocess, warnings
from pathlib import Path
from keeping import answer, attempt, ledger_at, texts, lookup
path = Path(sys.argv[1])
subprocess.run(["mount", "-o", "bind,ro", path.parent, path.parent], check=True)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    with ledger_at(path) as ledger:
        ledger.keep([attempt()], answer("a", "here"))
        assert texts(ledger.find([lookup("a")], max_age_s=None)) == ["here"]
        assert ledger.path is None
(told,) = told
assert f"{path} cannot be written" in str(told.message) and "kept in memory" in str(told.message), told.message
print("ok", flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def filled(path):
    """Give a closed ledger with 2,000 answers."""
    with ledger_at(path) as ledger:
        for number in range(2_000):
            ledger.keep([attempt()], answer(str(number), f"answer {number}"))
    return path


def _fill_up(ledger, pages=0):
    """Let the file grow by so many pages only; 0: not at all."""

    def limit(store):
        (now,) = store.connection.execute("PRAGMA page_count").fetchone()
        store.connection.execute(f"PRAGMA max_page_count = {now + pages}")

    ledger.call(limit)


def _make_room(ledger):
    ledger.call(lambda store: store.connection.execute("PRAGMA max_page_count = 1000000").fetchall())


def _files(path):
    return sorted(file.name for file in path.parent.iterdir())


def test_on_a_full_disk_everything_stays_queued_and_is_kept_once_there_is_room(path):
    with ledger_at(path) as ledger:
        ledger.keep([attempt()], answer("before", "here"))
        _fill_up(ledger)
        began = time.perf_counter()
        for number in range(50):  # with words that the ledger has not met, and learns twice
            ledger.keep([attempt(run_id=str(number), column=f"column {number}")], answer(str(number), BIG))
        assert time.perf_counter() - began < 0.5
        assert not ledger.flush(0.5)
        assert ledger.trouble == "the disk is full"
        assert texts(ledger.find([lookup("before"), lookup("0")], max_age_s=None)) == ["here", None]
        assert len(ledger.attempts_frame()) == 51
        with pytest.raises(LedgerBusyError, match="the disk is full"):
            ledger.claim("job", [lookup("a")], max_age_s=None)
        _make_room(ledger)
        assert ledger.flush(10)
        assert ledger.trouble == ""
        assert texts(ledger.find([lookup(str(number)) for number in range(50)], max_age_s=None)) == [BIG] * 50
        assert set(ledger.attempts_frame()["column"]) == {"review", *(f"column {number}" for number in range(50))}
        assert ledger.claim("job", [lookup("a")], max_age_s=None) == [Turn.YOURS]


def test_trouble_goes_away_by_itself_when_only_a_claim_had_failed(path):
    with ledger_at(path) as ledger:
        assert ledger.flush()
        _fill_up(ledger)
        with pytest.raises(LedgerBusyError, match="the disk is full"):
            ledger.claim("job", [lookup(str(number)) for number in range(3_000)], max_age_s=None)
        _make_room(ledger)
        end = time.monotonic() + 10
        while ledger.trouble and time.monotonic() < end:
            time.sleep(0.01)
        assert ledger.trouble == ""


def test_a_busy_error_pickles_and_nothing_was_claimed(path):
    with ledger_at(path) as ledger, ledger_at(path) as other:
        begun(other, "other")
        assert ledger.flush()
        _fill_up(ledger)
        lookups = [lookup(str(number)) for number in range(3_000)]
        with pytest.raises(LedgerBusyError):
            ledger.claim("job", lookups, max_age_s=None)
        assert set(other.claim("other", lookups, max_age_s=None)) == {Turn.YOURS}
        _make_room(ledger)


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX")
def test_a_file_that_may_not_grow_is_tried_again_until_it_may(path):
    with Child(LIMITED, path) as child:
        assert child.line() == "ok"
        assert child.end() == 0


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs a namespace to mount a small disk in")
def test_a_real_disk_that_is_full_loses_nothing(tmp_path):
    (tmp_path / "disk").mkdir()
    mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", tmp_path / "disk"]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no mounts are allowed here")
    with Child(ON_A_SMALL_DISK, tmp_path / "disk", before=["unshare", "-rm"]) as child:
        assert child.line() == "ok"


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_while_another_program_holds_the_lock_it_is_said_and_then_all_is_kept(path, begin):
    with ledger_at(path, Limits(lock_wait_s=0.05)) as ledger:
        assert ledger.flush()
        with Child(HOLDS_THE_LOCK, path, begin) as child:
            assert child.line() == "locked"
            ledger.keep([attempt()], answer("a", "here"))
            assert not ledger.flush(0.5)
            assert ledger.trouble == "locked by another program"
            child.tell("go")
            assert child.line() == "free"
            assert ledger.flush(10)
        assert ledger.trouble == ""
        assert texts(ledger.find([lookup("a")], max_age_s=None)) == ["here"]


def test_trouble_is_in_the_log_once_a_minute(path, caplog):
    def lines():
        return [record.getMessage() for record in caplog.records if "cannot be written" in record.getMessage()]

    def wait_for(count):
        end = time.monotonic() + 10
        while len(lines()) < count and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.3)  # a line too many would come with the next try
        return len(lines())

    with frozen_clock() as frozen, ledger_at(path) as ledger:
        assert ledger.flush()
        _fill_up(ledger)
        ledger.keep([attempt()], answer("a", BIG))
        assert wait_for(1) == 1
        frozen.advance(59)
        assert wait_for(1) == 1
        frozen.advance(2)
        assert wait_for(2) == 2
        assert lines()[0] == f"The ledger {path} cannot be written: the disk is full. Rows that wait for it: 1."
        _make_room(ledger)
        assert ledger.flush(10)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be moved there")
def test_a_folder_that_was_removed_while_the_ledger_is_open_is_made_again(tmp_path):
    path = tmp_path / "sub" / "ledger.sqlite"
    with ledger_at(path) as ledger:
        ledger.keep([], answer("a", "gone"))
        assert ledger.flush()
        shutil.rmtree(path.parent)
        ledger.keep([], answer("b", "here"))
        assert ledger.flush(10), ledger.trouble
        assert texts(ledger.claim("job", [lookup("a"), lookup("b")], max_age_s=None)) == [Turn.YOURS, "here"]
    assert path.stat().st_size


def test_too_many_open_files_are_waited_for_and_do_not_mean_memory(path):
    with Child(WITHOUT_FILES, path) as child:
        assert child.line() == "ok"


def test_a_claim_waits_for_another_programs_lock_but_not_for_ever(path):
    with ledger_at(path, Limits(lock_wait_s=0.02)) as ledger:
        assert ledger.flush()
        with Child(HOLDS_THE_LOCK, path, "BEGIN IMMEDIATE") as child:
            assert child.line() == "locked"
            began = time.monotonic()
            with pytest.raises(LedgerBusyError, match="locked by another program"):
                ledger.claim("job", [lookup("a")], max_age_s=None, patience_s=0.3)
            assert time.monotonic() - began >= 0.3
            with ThreadPoolExecutor() as pool:
                claiming = pool.submit(ledger.claim, "job", [lookup("a")], max_age_s=None)
                assert not wait([claiming], 0.3).done
                child.tell("go")
                assert claiming.result(20) == [Turn.YOURS]


def test_a_file_that_is_locked_when_it_is_opened_is_opened_later(filled):
    ledger = LedgerStore(lambda: filled, Limits(lock_wait_s=0.05))
    with Child(HOLDS_THE_LOCK, filled, "BEGIN EXCLUSIVE") as child:
        assert child.line() == "locked"
        ledger.keep([attempt()], answer("new", "here"))
        assert not ledger.flush(0.5)
        assert ledger.trouble == "locked by another program"
        child.tell("go")
        assert ledger.flush(10)
    assert texts(ledger.find([lookup("new"), lookup("7")], max_age_s=None)) == ["here", "answer 7"]
    ledger.close()


def _cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 99 // 100])


def _zero_the_header(path):
    path.write_bytes(bytes(100) + path.read_bytes()[100:])


def _replace(path):
    path.write_bytes(b"this is no database, " * 1_000)


@pytest.mark.parametrize("spoil", [_cut, _zero_the_header, _replace])
def test_a_damaged_file_is_moved_aside_named_and_a_new_one_begun(filled, spoil):
    spoil(filled)
    spoilt = filled.read_bytes()
    with pytest.warns(LLMExecutorWarning, match=r"is damaged. It was moved to .*ledger\.damaged-\d{8}T\d{6}Z\.sqlite"):
        ledger = begun(LedgerStore(lambda: filled))
    assert texts(ledger.claim("job", [lookup("7")], max_age_s=None)) == [Turn.YOURS]
    ledger.keep([attempt()], answer("7", "bought again"))
    assert ledger.flush()
    assert ledger.trouble == ""
    ledger.close()
    (aside,) = filled.parent.glob("ledger.damaged-*.sqlite")
    assert aside.read_bytes() == spoilt
    with closing(sqlite3.connect(filled)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_damage_that_shows_while_it_runs_loses_nothing_that_was_kept_since(filled):
    with ledger_at(filled) as ledger:
        assert ledger.flush()
        size = filled.stat().st_size
        with filled.open("r+b") as file:
            for page in range(1, size // 4096):  # all but the first: what is cached of it stays true
                file.seek(page * 4096)
                file.write(b"\xff" * 4096)
        ledger.call(lambda store: store.connection.execute("PRAGMA shrink_memory"))
        ledger.keep([attempt()], answer("new", "here"))
        with pytest.warns(LLMExecutorWarning, match="is damaged. It was moved to"):
            assert ledger.flush(10)
        assert texts(ledger.claim("job", [lookup("new"), lookup("7")], max_age_s=None)) == ["here", Turn.YOURS]
        assert ledger.trouble == ""
    assert len(list(filled.parent.glob("ledger.damaged-*.sqlite"))) == 1


def test_two_damaged_files_of_one_second_are_both_kept(filled):
    for _ in range(2):
        _replace(filled)
        with pytest.warns(LLMExecutorWarning, match="is damaged"):
            begun(LedgerStore(lambda: filled)).close()
    assert len(list(filled.parent.glob("ledger.damaged-*.sqlite"))) == 2


@pytest.mark.parametrize("newer", range(1, VERSION))
def test_a_file_of_a_newer_version_is_left_alone_and_means_memory(filled, newer):
    with closing(sqlite3.connect(filled)) as file:
        file.execute(f"PRAGMA user_version = {VERSION + newer}")
    before = filled.read_bytes()
    with pytest.warns(LLMExecutorWarning, match=r"newer version .*pip install --upgrade.*kept in memory") as told:
        ledger = begun(LedgerStore(lambda: filled))
    assert len(told) == 1
    assert ledger.path is None
    ledger.keep([attempt()], answer("new", "here"))
    assert texts(ledger.claim("job", [lookup("7"), lookup("new")], max_age_s=None)) == [Turn.YOURS, "here"]
    assert len(ledger.attempts_frame()) == 1
    ledger.close()
    assert filled.read_bytes() == before


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs a namespace to mount a disk in that cannot be written")
def test_a_file_on_a_disk_that_cannot_be_written_means_memory(filled):
    mount = ["mount", "-o", "bind,ro", filled.parent, filled.parent]
    if subprocess.run(["unshare", "-rm", *mount], check=False, capture_output=True).returncode:  # noqa: S607 - where it is
        pytest.skip("no mounts are allowed here")
    before = filled.read_bytes()
    with Child(ON_A_DISK_THAT_CANNOT_BE_WRITTEN, filled, before=["unshare", "-rm"]) as child:
        assert child.line() == "ok"
    assert filled.read_bytes() == before


def test_a_file_where_the_folder_should_be_means_memory_and_one_warning(tmp_path):
    (tmp_path / "taken").write_text("a file")
    ledger = LedgerStore(lambda: tmp_path / "taken" / "ledger.sqlite")
    with pytest.warns(LLMExecutorWarning, match=r"cannot be kept in .*kept in memory") as told:
        begun(ledger)
    assert len(told) == 1
    ledger.keep([attempt()], answer("a", "here"))
    assert ledger.flush()
    assert texts(ledger.claim("job", [lookup("a")], max_age_s=None)) == ["here"]
    assert ledger.path is None
    assert repr(Ledger(ledger)) == "Ledger(in memory)"
    ledger.close()


def test_a_folder_where_the_file_should_be_means_memory(tmp_path):
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.warns(LLMExecutorWarning, match="kept in memory"):
        ledger = begun(LedgerStore(lambda: tmp_path / "ledger.sqlite"))
    ledger.keep([], answer("a", "here"))
    assert texts(ledger.claim("job", [lookup("a")], max_age_s=None)) == ["here"]
    ledger.close()


def test_another_programs_database_is_left_alone(path):
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE theirs(x)")
    before = path.read_bytes()
    with pytest.warns(LLMExecutorWarning, match="belongs to another program"):
        begun(LedgerStore(lambda: path)).close()
    assert path.read_bytes() == before
    assert _files(path) == [".gitignore", "ledger.sqlite"]


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_file_that_was_removed_while_open_is_begun_anew(path):
    with ledger_at(path) as ledger:
        ledger.keep([], answer("a", "gone"))
        assert ledger.flush()
        path.unlink()
        Path(f"{path}-journal").unlink()
        ledger.keep([], answer("b", "here"))
        assert ledger.flush(10)
        assert texts(ledger.claim("job", [lookup("a"), lookup("b")], max_age_s=None)) == [Turn.YOURS, "here"]
    with ledger_at(path) as again:
        assert texts(again.find([lookup("b")], max_age_s=None)) == ["here"]


def test_rows_that_cannot_be_saved_at_the_end_are_told(path):
    ledger = begun(LedgerStore(lambda: path))
    assert ledger.flush()
    _fill_up(ledger)
    for number in range(3):
        ledger.keep([], answer(str(number), BIG))
    with pytest.warns(LLMExecutorWarning, match="3 rows of the ledger could not be saved in time .the disk is full."):
        ledger.close()


def test_closing_takes_no_longer_than_a_second_also_in_trouble(path):
    with Child(HOLDS_THE_LOCK, path, "BEGIN EXCLUSIVE") as child:
        assert child.line() == "locked"
        ledger = LedgerStore(lambda: path)
        ledger.keep([], answer("a", "here"))
        began = time.perf_counter()
        with pytest.warns(LLMExecutorWarning, match="1 rows"):
            ledger.close()
        assert time.perf_counter() - began < 1.5


def test_a_waiting_question_is_told_when_the_ledger_is_closed(path):
    writer = Writer(path, Limits())
    writer.close()
    with pytest.raises(LedgerBusyError, match="closed"):
        writer.call(lambda _: None)
    assert PATIENCE_S == 30
