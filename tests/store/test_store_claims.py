"""Of all jobs that want the same request one asks for it, and a job that died holds nothing back."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from keeping import Child, answer, begun, ledger_at, lookup, texts

from llm_executor_nb.store.claims import has_ended, this_process
from llm_executor_nb.store.records import Limits, Turn
from llm_executor_nb.testing import frozen_clock

YOURS, THEIRS = Turn.YOURS, Turn.THEIRS

CLAIMS_AND_WAITS = """
from pathlib import Path
from keeping import begun, ledger_at, lookup
from llm_executor_nb.store.records import Limits
with ledger_at(Path(sys.argv[1]), Limits(beat_s=float(sys.argv[2]))) as ledger:
    begun(ledger, "child")
    print([str(turn) for turn in ledger.claim("child", [lookup("a"), lookup("b")], max_age_s=None)], flush=True)
    sys.stdin.readline()
"""

BUYS_ALL = """
import random, time
from pathlib import Path
from keeping import answer, begun, ledger_at, lookup
from llm_executor_nb.store.records import Turn
path, name, low, high = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with ledger_at(Path(path)) as ledger:
    begun(ledger, name)
    left = [str(number) for number in range(low, high)]
    random.shuffle(left)
    bought = []
    while left:
        window = left[:64]
        turns = ledger.claim(name, [lookup(request) for request in window], max_age_s=None)
        mine = [request for request, turn in zip(window, turns) if turn is Turn.YOURS]
        for request in mine:
            bought.append(request)
            ledger.keep([], answer(request, name))
        done = {request for request, turn in zip(window, turns) if turn is not Turn.THEIRS}
        left = [request for request in left if request not in done]
        if not done:
            random.shuffle(left)
            time.sleep(0.01)
    ledger.end_job(name, "done")
    assert ledger.flush()
    print(" ".join(bought), flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def two(path):
    """Give two ledgers on one file, with the jobs "job" and "other"."""
    with ExitStack() as stack:
        one, other = (stack.enter_context(ledger_at(path)) for _ in range(2))
        yield one, begun(other, "other")


def _alter(path, **changed):
    """Change what the file says of the job "child"."""
    columns = ", ".join(f"{name} = ?" for name in changed)
    with closing(sqlite3.connect(path)) as file, file:
        assert file.execute(f"UPDATE job SET {columns} WHERE job_id = 'child'", tuple(changed.values())).rowcount == 1  # noqa: S608


def test_a_request_another_live_job_claims_is_theirs(two):
    one, other = two
    assert one.claim("job", [lookup("a"), lookup("b")], max_age_s=None) == [YOURS, YOURS]
    assert other.claim("other", [lookup("b"), lookup("c")], max_age_s=None) == [THEIRS, YOURS]
    assert one.claim("job", [lookup("b"), lookup("c")], max_age_s=None) == [YOURS, THEIRS]


def test_two_jobs_of_one_process_claim_from_each_other(two):
    one, _ = two
    begun(one, "second")
    assert one.claim("job", [lookup("a")], max_age_s=None) == [YOURS]
    assert one.claim("second", [lookup("a")], max_age_s=None) == [THEIRS]


def test_a_new_window_replaces_the_claims_of_before(two):
    one, other = two
    one.claim("job", [lookup("a")], max_age_s=None)
    one.claim("job", [lookup("b")], max_age_s=None)
    assert other.claim("other", [lookup("a"), lookup("b")], max_age_s=None) == [YOURS, THEIRS]


def test_what_is_answered_or_theirs_is_not_claimed(two):
    one, other = two
    other.claim("other", [lookup("a")], max_age_s=None)
    one.keep([], answer("b", "here"))
    assert texts(one.claim("job", [lookup("a"), lookup("b")], max_age_s=None)) == [THEIRS, "here"]
    other.end_job("other", "done")
    begun(other, "third")
    assert texts(other.claim("third", [lookup("a"), lookup("b")], max_age_s=1e-9)) == [YOURS, YOURS]


def test_the_end_of_a_job_frees_its_claims(two):
    one, other = two
    one.claim("job", [lookup("a")], max_age_s=None)
    one.end_job("job", "done")
    assert one.flush()
    assert other.claim("other", [lookup("a")], max_age_s=None) == [YOURS]


def test_each_drawn_copy_is_claimed_for_itself(two):
    one, other = two
    assert one.claim("job", [lookup("a", copy=0)], max_age_s=None) == [YOURS]
    assert other.claim("other", [lookup("a", copy=0), lookup("a", copy=1)], max_age_s=None) == [THEIRS, YOURS]


def test_a_job_that_has_not_begun_or_has_ended_cannot_claim(two):
    one, _ = two
    one.end_job("job", "stopped")
    for name in ("nobody", "job"):
        with pytest.raises(ValueError, match="has not begun, or has ended"):
            one.claim(name, [lookup("a")], max_age_s=None)


def test_a_killed_process_frees_its_claims_at_once(path):
    with ledger_at(path) as ledger, Child(CLAIMS_AND_WAITS, path, 5) as child:
        assert child.line() == "['yours', 'yours']"
        assert ledger.claim("job", [lookup("a"), lookup("c")], max_age_s=None) == [THEIRS, YOURS]
        child.process.kill()  # and nobody waits for it: it is a zombie now
        end = time.monotonic() + 10
        while ledger.claim("job", [lookup("a"), lookup("b")], max_age_s=None) != [YOURS, YOURS]:
            assert time.monotonic() < end
            time.sleep(0.01)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT status, claims FROM job WHERE job_id = 'child'").fetchone() == ("lost", b"")


@pytest.mark.parametrize("changed", [{"boot": 1.0, "born": 2.0}, {"born": 1.0}, {"pid": 2**22 + 1}])
def test_a_start_before_the_reboot_or_at_another_time_or_no_such_process_is_dead(path, changed):
    with ledger_at(path) as ledger, Child(CLAIMS_AND_WAITS, path, 5) as child:
        child.line()
        _alter(path, **changed)
        assert ledger.claim("job", [lookup("a")], max_age_s=None) == [YOURS]


def test_a_process_that_lives_and_has_not_beaten_for_thirty_seconds_holds_nothing_back(path):
    with frozen_clock() as frozen, ledger_at(path) as ledger, Child(CLAIMS_AND_WAITS, path, 5) as child:
        child.line()
        child.stop(path)
        assert ledger.claim("job", [lookup("a")], max_age_s=None) == [THEIRS]
        frozen.advance(29)
        assert ledger.claim("job", [lookup("a")], max_age_s=None) == [THEIRS]
        frozen.advance(2)
        assert ledger.claim("job", [lookup("a")], max_age_s=None) == [YOURS]
        _alter(path, heartbeat=5)  # it goes on: nobody ended it
        assert ledger.claim("job", [lookup("b")], max_age_s=None) == [THEIRS]


def test_a_process_that_beats_keeps_its_claims_and_one_that_is_stopped_loses_them(path):
    with ledger_at(path, Limits(lease_s=2.0)) as ledger, Child(CLAIMS_AND_WAITS, path, 0.1) as child:
        child.line()
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert ledger.claim("job", [lookup("a")], max_age_s=None) == [THEIRS]
            time.sleep(0.05)
        child.stop(path)
        stopped = time.monotonic()
        while ledger.claim("job", [lookup("a")], max_age_s=None) != [YOURS]:
            assert time.monotonic() < stopped + 10
            time.sleep(0.01)


def test_a_job_of_this_process_keeps_its_claims_whatever_the_clock_says(two):
    one, other = two
    assert one.claim("job", [lookup("a")], max_age_s=None) == [YOURS]
    with frozen_clock() as frozen:
        frozen.advance(10 * 365 * 86400)
        assert other.claim("other", [lookup("a")], max_age_s=None) == [THEIRS]


def test_a_heartbeat_that_came_too_late_is_counted(path):
    with frozen_clock() as frozen, ledger_at(path, Limits(beat_s=0.05)) as ledger:
        assert ledger.flush()
        frozen.advance(29)
        time.sleep(0.3)
        assert ledger.lease_lapses == 0
        frozen.advance(31)
        end = time.monotonic() + 10
        while not ledger.lease_lapses:
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(0.3)
        assert ledger.lease_lapses == 1


@pytest.mark.parametrize("ahead_s", [0, 3600, -3600, 10 * 365 * 86400], ids=["equal", "ahead", "behind", "far ahead"])
def test_a_job_of_another_machine_lives_as_long_as_its_heartbeat_changes_whatever_its_clock_says(path, ahead_s):
    with frozen_clock() as frozen, ledger_at(path) as ledger, ledger_at(path) as other:
        begun(other, "child")
        assert other.claim("child", [lookup("a"), lookup("b")], max_age_s=None) == [YOURS, YOURS]
        theirs = frozen.utc().timestamp() + ahead_s
        for second in range(0, 100, 20):
            _alter(path, host="another machine", heartbeat=round((theirs + second) * 1e6))
            assert ledger.claim("job", [lookup("a")], max_age_s=None) == [THEIRS]
            frozen.advance(20)
        frozen.advance(11)
        assert ledger.claim("job", [lookup("a")], max_age_s=None) == [YOURS]
        _alter(path, heartbeat=round(theirs * 1e6))  # it had only been asleep: nobody ended it
        assert ledger.claim("job", [lookup("b")], max_age_s=None) == [THEIRS]


def test_a_job_of_a_machine_of_the_same_name_is_not_taken_for_one_that_has_ended_here(path):
    me = this_process()
    with ledger_at(path) as ledger, ledger_at(path) as other:
        begun(other, "child")
        assert other.claim("child", [lookup("a")], max_age_s=None) == [YOURS]
        _alter(path, host=f"{me.host[:-8]}of2other", pid=2**22 + 1, boot=1.0, born=2.0)
        assert ledger.claim("job", [lookup("a")], max_age_s=None) == [THEIRS]


def test_the_heartbeat_is_renewed_without_help(path):
    with ledger_at(path, Limits(beat_s=0.05)) as ledger, closing(sqlite3.connect(path, timeout=10)) as file:
        ledger.flush()
        found = {file.execute("SELECT heartbeat FROM job").fetchone()[0]}
        end = time.monotonic() + 10
        while len(found) < 4 and time.monotonic() < end:
            found.add(file.execute("SELECT heartbeat FROM job").fetchone()[0])
            time.sleep(0.01)
        assert len(found) >= 4


def test_a_process_knows_itself_and_nobody_else():
    me = this_process()
    assert me.pid == os.getpid()
    assert me.is_same(this_process())
    assert me.host
    assert not has_ended(me)
    assert has_ended(replace(me, born=me.born - 60))


@pytest.mark.parametrize("moved", [{"born", "boot"}, {"boot"}], ids=["Linux", "elsewhere"])
def test_a_process_is_known_again_after_the_clock_was_set(moved):
    me = this_process()
    assert not has_ended(replace(me, **{name: getattr(me, name) + 3600 for name in moved}))


def test_processes_with_overlapping_windows_buy_every_request_exactly_once(path):
    with ledger_at(path), ExitStack() as stack:
        spans = [("one", 0, 700), ("two", 300, 1000), ("three", 100, 900)]
        children = [stack.enter_context(Child(BUYS_ALL, path, *span)) for span in spans]
        bought = [request for child in children for request in child.line().split()]
        assert [child.end() for child in children] == [0, 0, 0]
    assert sorted(map(int, bought)) == list(range(1000))


def test_ages_are_counted_by_the_clock_in_force(path):
    with frozen_clock() as frozen, ledger_at(path) as ledger:
        ledger.keep([], answer("a", "here", answered_utc=frozen.utc() - timedelta(days=6)))
        assert texts(ledger.claim("job", [lookup("a")], max_age_s=7 * 86400)) == ["here"]
        assert texts(ledger.claim("job", [lookup("a")], max_age_s=5 * 86400)) == [YOURS]


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=1), timedelta(days=3650)])
def test_an_answer_dated_in_the_future_is_not_fresh_and_is_used_where_no_age_is_asked(path, ahead):
    with ledger_at(path) as ledger:
        ledger.keep([], answer("a", "here", answered_utc=datetime.now(UTC) + ahead))
        assert texts(ledger.claim("job", [lookup("a")], max_age_s=7 * 86400)) == [YOURS]
        assert texts(ledger.find([lookup("a")], max_age_s=1)) == [None]
        assert texts(ledger.find([lookup("a")], max_age_s=None)) == ["here"]


def test_an_answer_of_a_machine_whose_clock_is_a_little_ahead_is_fresh(path):
    with ledger_at(path) as ledger:
        ledger.keep([], answer("a", "here", answered_utc=datetime.now(UTC) + timedelta(seconds=90)))
        assert texts(ledger.claim("job", [lookup("a")], max_age_s=7 * 86400)) == ["here"]
