"""Whatever is damaged in a ledger: no wrong answer is handed out, nothing raises SQLite's errors, nothing waits."""

from __future__ import annotations

import os
import random
import shutil
import socket
import sqlite3
import sys
import time
import warnings
from contextlib import closing

import pandas as pd
import pytest
from keeping import answer, attempt, begun, ledger_at, lookup, make_older, texts

from llm_executor_nb.core.errors import LLMExecutorWarning
from llm_executor_nb.store.ledger_store import LedgerStore
from llm_executor_nb.store.records import Turn
from llm_executor_nb.store.tables import attempts_frame

ROWS = 40
FLIPS = 60
"""Of these each opens a ledger; `python tests/store/test_store_damage.py 3000` makes as many as it is told."""
LOOKUPS = [lookup(str(number)) for number in range(ROWS)]
SOME_ROWS_ARE_DAMAGED = pytest.mark.filterwarnings("ignore:(Some rows of the ledger|The attempt log has damaged)")


def _fill(path):
    with ledger_at(path) as ledger:
        for number in range(ROWS):
            ledger.keep(
                [attempt(run_id=f"run {number}")], answer(str(number), f"answer {number}", run_id=f"run {number}")
            )
    return path


@pytest.fixture
def path(tmp_path):
    return _fill(tmp_path / "ledger.sqlite")


def _alter(path, *statements):
    with closing(sqlite3.connect(path)) as file, file:
        for statement in statements:
            file.execute(statement)


def _replace(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def _used(path):
    """Look all answers up, keep a new one and read the log; return the answers found."""
    ledger = LedgerStore(lambda: path)
    try:
        begun(ledger, "another job")
        found = texts(ledger.claim("another job", LOOKUPS, max_age_s=None))
        ledger.keep([attempt()], answer("new", "here"))
        assert ledger.flush(10), ledger.trouble
        frame = ledger.attempts_frame()
        assert repr(frame)
        assert list(map(str, frame.dtypes)) == list(map(str, attempts_frame(()).dtypes))
        assert texts(ledger.find([lookup("new")], max_age_s=None))[0] in {"here", None}  # None: it was set aside since
    finally:
        ledger.close()
    return found


def _right(found):
    return [text for number, text in enumerate(found) if text == f"answer {number}"]


def _flip(path, chance):
    """Give one to four bytes anywhere in the file other values."""
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    for place in range(at, min(len(data), at + chance.choice([1, 1, 1, 4]))):
        data[place] = chance.randrange(256)
    path.write_bytes(data)


def _flips(folder, count):
    whole, chance, slowest, reused = _fill(folder / "whole.sqlite"), random.Random(14), 0.0, 0
    for number in range(count):
        path = folder / f"{number}" / "ledger.sqlite"
        path.parent.mkdir()
        shutil.copy(whole, path)
        _flip(path, chance)
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LLMExecutorWarning)
            found = _used(path)
        slowest = max(slowest, time.perf_counter() - began)
        right = _right(found)
        assert len(right) + found.count(Turn.YOURS) == ROWS, f"flip {number}: {found}"
        reused += len(right)
        shutil.rmtree(path.parent)
    return slowest, reused / (count * ROWS)


def test_random_byte_flips_hand_out_no_wrong_answer_raise_nothing_and_stop_nothing(tmp_path):
    slowest, reused = _flips(tmp_path, FLIPS)
    assert slowest < 10
    assert reused > 0.5


@SOME_ROWS_ARE_DAMAGED
@pytest.mark.parametrize(
    "new", [b"answer 8", b"answer \xff", b"ANSWER 7"], ids=["another letter", "no UTF-8", "many letters"]
)
def test_a_changed_letter_costs_one_answer_and_all_others_stay(path, new):
    _replace(path, b"answer 7", new)
    found = _used(path)
    assert found[7] is Turn.YOURS
    assert len(_right(found)) == ROWS - 1


@pytest.mark.parametrize(
    "change",
    [
        "text = 5",
        "text = x'00ff'",
        "run_id = 'of another'",
        "run_id = x'ff'",
        "answered = 9223372036854775807",
        "answered = 'noon'",
        "cost_usd = 'much'",
        "cost_usd = 1.0",
        "input_tokens = x''",
        "request_key = 7",
        "checksum = NULL",
        "checksum = 'x'",
        "route = 99",
        "job = -1",
        "copy = 'x'",
    ],
)
@SOME_ROWS_ARE_DAMAGED
def test_values_that_were_not_stored_so_are_not_handed_out(path, change):
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"UPDATE answer SET {change} WHERE text = 'answer 7'")  # noqa: S608 - from this file
    found = _used(path)
    assert found[7] in (Turn.YOURS, "answer 7" if change.startswith("copy") else Turn.YOURS)
    assert len(_right(found)) >= ROWS - 1


@SOME_ROWS_ARE_DAMAGED
def test_the_answers_of_two_requests_do_not_change_places(path):
    keys = {number: lookup(str(number)).keys[0].hex() for number in (7, 8)}
    _alter(
        path,
        "DROP INDEX answer_key",
        f"UPDATE answer SET request_key = CASE text WHEN 'answer 7' THEN x'{keys[8]}' ELSE x'{keys[7]}' END"  # noqa: S608 - hex
        " WHERE text IN ('answer 7', 'answer 8')",
        "CREATE UNIQUE INDEX answer_key ON answer(request_key, copy)",
    )
    found = _used(path)
    assert found[7:9] == [Turn.YOURS] * 2


def test_damage_is_told_once_and_the_answer_bought_again_is_used(path):
    _replace(path, b"answer 7", b"answer 8")
    with ledger_at(path) as ledger:
        with pytest.warns(LLMExecutorWarning, match="Damaged answers are not used but asked for again") as told:
            found = [texts(ledger.claim("job", LOOKUPS, max_age_s=None))[7] for _ in range(3)]
        assert found == [Turn.YOURS] * 3
        assert len(told) == 1
        ledger.keep([], answer("7", "bought again"))
        assert texts(ledger.find(LOOKUPS, max_age_s=None))[7] == "bought again"


def test_of_drawn_answers_the_damaged_one_is_left_out(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path) as ledger:
        for number in range(3):
            ledger.keep([], answer("a", f"drawn {number}"))
    _replace(path, b"drawn 1", b"drawn 7")
    lookups = [lookup("a", copy=number) for number in range(3)]
    with ledger_at(path) as ledger, pytest.warns(LLMExecutorWarning, match="are damaged"):
        assert texts(ledger.find(lookups, max_age_s=None)) == ["drawn 0", "drawn 2", None]


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 1",
        "PRAGMA user_version = -1",
        "DROP TABLE answer",
        "DROP TABLE word",
        "DROP TABLE ledger",
        "DROP INDEX attempt_job",
        "DELETE FROM ledger",
        "UPDATE ledger SET id = 'x'",
        "UPDATE ledger SET last_unchecked = 'x'",
        "ALTER TABLE job RENAME COLUMN claims TO held",
    ],
)
def test_a_file_without_all_that_its_version_has_is_set_aside_and_named(path, statement):
    _alter(path, statement)
    with pytest.warns(LLMExecutorWarning, match="is damaged. It was moved to"):
        found = _used(path)
    assert found == [Turn.YOURS] * ROWS
    assert len(list(path.parent.glob("ledger.damaged-*.sqlite"))) == 1


def _cut(path):
    os.truncate(path, 0)


def _halve(path):
    os.truncate(path, path.stat().st_size // 2)


def _drop_tables(path):
    _alter(path, *(f"DROP TABLE {name}" for name in ("answer", "attempt", "job")))


def _take_numbers_twice(path):
    _alter(path, "UPDATE answer SET copy = 9223372036854775807")


@pytest.mark.parametrize("harm", [_cut, _halve, _drop_tables])
def test_a_file_that_is_spoilt_in_the_midst_of_a_job_is_set_aside_and_the_job_goes_on(path, harm):
    with ledger_at(path) as ledger:
        assert ledger.flush(10)
        ledger.call(lambda store: store.connection.execute("PRAGMA shrink_memory").fetchall())
        harm(path)
        ledger.keep([attempt()], answer("new", "here"))
        with pytest.warns(LLMExecutorWarning, match="is damaged. It was moved to"):
            assert ledger.flush(10)
        assert texts(ledger.claim("job", [lookup("new")], max_age_s=None)) == ["here"]
        assert ledger.trouble == ""


@pytest.mark.parametrize("harm", [_cut, _halve, _drop_tables])
def test_a_question_to_a_file_that_was_spoilt_is_answered(path, harm):
    with ledger_at(path) as ledger:
        assert ledger.flush(10)
        ledger.call(lambda store: store.connection.execute("PRAGMA shrink_memory").fetchall())
        harm(path)
        with pytest.warns(LLMExecutorWarning, match="is damaged. It was moved to"):
            found = texts(ledger.claim("job", LOOKUPS, max_age_s=None))
        assert found == [Turn.YOURS] * ROWS


def test_answers_whose_numbers_are_at_the_end_are_kept_all_the_same(path):
    _take_numbers_twice(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LLMExecutorWarning)
        with ledger_at(path) as ledger:
            for text in ("one", "two", "three"):
                ledger.keep([], answer("7", text))
                assert ledger.flush(10), ledger.trouble
            assert texts(ledger.find([lookup("7")], max_age_s=None)) == ["three"]


@pytest.mark.parametrize(
    "change",
    [
        "pid = 'x'",
        "pid = -7",
        "host = NULL || x'00'",
        "claims = 'xyz'",
        "heartbeat = 'noon'",
        "born = 'x', boot = x'ff'",
    ],
)
def test_a_damaged_row_of_another_job_stops_no_claim(path, change):
    with ledger_at(path) as other, ledger_at(path) as ledger:
        begun(other, "other")
        assert other.flush(10)
        _alter(path, f"UPDATE OR IGNORE job SET {change} WHERE job_id = 'other'")  # noqa: S608 - from this file
        assert texts(ledger.claim("job", [lookup("x")], max_age_s=None)) == [Turn.YOURS]


@pytest.mark.parametrize("statement", ["DELETE FROM job", "UPDATE job SET ended = 5, status = 'lost'"])
def test_a_job_that_somebody_else_closed_is_entered_again(path, statement):
    with ledger_at(path) as ledger:
        assert ledger.claim("job", [lookup("x")], max_age_s=None) == [Turn.YOURS]
        _alter(path, statement)
        assert ledger.claim("job", [lookup("x")], max_age_s=None) == [Turn.YOURS]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ("route = 10000000000", "route"),
        ("route = -1", "route"),
        ("route = 99", "route"),
        ("outcome = 99", "outcome"),
        ("outcome = 'x'", "outcome"),
        ("position = 'first'", "position"),
        ("http_status = x'ff'", "http_status"),
        ("wait_s = 'long'", "wait_s"),
        ("started_utc = 9223372036854775807", "started_utc"),
        ("started_utc = 'noon'", "started_utc"),
        ("message = x'ff'", "message"),
    ],
)
@SOME_ROWS_ARE_DAMAGED
def test_a_damaged_value_of_the_log_is_shown_as_missing(path, change, column):
    _alter(path, f"UPDATE attempt SET {change} WHERE run_id = 'run 7'")  # noqa: S608 - from this file
    with ledger_at(path) as ledger:
        frame = ledger.attempts_frame()
    assert pd.isna(frame.loc[frame["run_id"] == "run 7", column]).all()
    assert frame.loc[frame["run_id"] != "run 7", "started_utc"].notna().all()
    assert len(frame) == ROWS
    assert repr(frame)


@pytest.mark.parametrize("change", ["id = 1 << 40", "id = 0", "id = -3", "text = x'ff00'"])
@SOME_ROWS_ARE_DAMAGED
def test_a_damaged_text_of_the_log_is_shown_as_missing(path, change):
    _alter(path, f"UPDATE word SET {change} WHERE text = 'key 1 ..a1b2'")  # noqa: S608 - from this file
    with ledger_at(path) as ledger:
        frame = ledger.attempts_frame()
    assert frame["key"].isna().all()
    assert set(frame["route"]) == {"openrouter ..a1b2"}


_WITHOUT_CHECKSUMS = 2


def test_answers_of_a_version_without_checksums_stay_readable_and_new_ones_are_checked(path):
    make_older(path, _WITHOUT_CHECKSUMS)
    with ledger_at(path) as ledger:
        assert len(_right(texts(ledger.find(LOOKUPS, max_age_s=None)))) == ROWS
        ledger.keep([], answer("new", "of this version"))
    _replace(path, b"of this version", b"OF this version")
    with ledger_at(path) as ledger, pytest.warns(LLMExecutorWarning, match="are damaged"):
        assert texts(ledger.find([*LOOKUPS, lookup("new")], max_age_s=None))[-2:] == [f"answer {ROWS - 1}", None]


@pytest.mark.parametrize("change", ["text = x'ff'", "answered = 1 << 62", "cost_usd = 'x'"])
@SOME_ROWS_ARE_DAMAGED
def test_an_answer_without_a_checksum_must_have_the_right_types(path, change):
    make_older(path, _WITHOUT_CHECKSUMS)
    _alter(path, f"UPDATE answer SET {change} WHERE text = 'answer 7'")  # noqa: S608 - from this file
    found = _used(path)
    assert found[7] is Turn.YOURS
    assert len(_right(found)) == ROWS - 1


@SOME_ROWS_ARE_DAMAGED
def test_an_answer_without_a_checksum_must_be_utf8(path):
    make_older(path, _WITHOUT_CHECKSUMS)
    _replace(path, b"answer 7", b"answer \xff")
    assert _used(path)[7] is Turn.YOURS


@pytest.mark.skipif(sys.platform == "win32", reason="there are no FIFOs")
@pytest.mark.parametrize("name", ["ledger.sqlite", "ledger.sqlite-journal", "ledger.sqlite-wal", ".gitignore"])
def test_a_fifo_is_not_opened(tmp_path, name):
    os.mkfifo(tmp_path / name)
    ledger = LedgerStore(lambda: tmp_path / "ledger.sqlite")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        begun(ledger)
        ledger.keep([], answer("a", "here"))
        assert ledger.flush(10)
    assert texts(ledger.find([lookup("a")], max_age_s=None)) == ["here"]
    assert (ledger.path is None) == (name != ".gitignore") == bool(told)
    ledger.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_devices_and_sockets_are_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        (tmp_path / "link").symlink_to("/dev/null")
        for name in ("socket", "link"):
            ledger = LedgerStore(lambda name=name: tmp_path / name)
            with pytest.warns(LLMExecutorWarning, match=r"a FIFO, a device or a socket.*kept in memory"):
                begun(ledger)
            ledger.close()


if __name__ == "__main__":
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        slowest, reused = _flips(Path(folder), int(sys.argv[1]))
        sys.stdout.write(f"slowest {slowest:.1f} s, {reused:.0%} of the answers reused\n")
