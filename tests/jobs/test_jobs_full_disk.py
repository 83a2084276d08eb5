"""A disk that fills up, or a lock, amid a column: buying stops, that is said, nothing is lost, it goes on by itself."""

from __future__ import annotations

import _thread
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from contextlib import closing

import pytest
from columns import assert_own_answers, prompts, statuses
from keeping import Child
from killing import Place, lines_since, question_of
from rehearsing import fresh, wait_until

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.rehearsal.server import RehearsalServer

CONCURRENCY = 8

ON_A_SMALL_DISK = """
import os, subprocess, time
from pathlib import Path
from columns import assert_own_answers, prompts, statuses
from killing import Place, lines_since, question_of
from rehearsing import wait_until
import llm_executor_nb as llm
from llm_executor_nb.rehearsal.server import RehearsalServer

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(disk)], check=True)
os.environ.update(HOME=str(disk), LLM_EXECUTOR_HOME=str(disk / "ledger"))
with RehearsalServer("", latency_s=0.02) as server:
    place = Place(server, disk)
    llm.configure(openrouter_keys=["sk-or-v1-practice-0001"], huggingface_tokens=[])
    llm.configure(openrouter_base_url=server.openrouter_url)
    prompts(5).llm.run("gemma", "q", progress=False)
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "ballast").write_bytes(bytes(free - 150_000))
    job = prompts(1_500).llm.start("gemma", "q", progress=False, concurrency=8)
    wait_until(lambda: job.snapshot().trouble, 30)
    asked = len(server.lines)
    time.sleep(1.0)
    stopped = len(server.lines)
    assert stopped - asked <= 2 * 8, stopped - asked
    time.sleep(0.5)
    assert len(server.lines) == stopped, "it bought what it cannot keep"
    line = job.snapshot().line()
    assert "nothing is asked: the disk is full" in line, line
    assert stopped < 1_500
    kept = {question_of(text) for _, text in place.answers()}
    (disk / "ballast").unlink()
    out = job.result()
    assert statuses(out) == {"ok": 1_495, "cached": 5}, statuses(out)
    assert_own_answers(out)
    stored = [question_of(text) for _, text in place.answers()]
    assert kept <= set(stored), "a stored answer is gone"
    assert sorted(stored) == sorted(out["q"]), "not all is stored"
    assert len(lines_since(server)) == 1_500, "something was bought twice"
print("ok", flush=True)
"""

HOLDS_THE_LOCK = """
import sqlite3
file = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
file.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
file.execute("COMMIT")
print("free", flush=True)
"""


@pytest.fixture
def place(tmp_path):
    """Give a practice provider and a ledger, and use both."""
    with fresh(), RehearsalServer(latency_s=0.02) as server:
        found = Place(server, tmp_path)
        llm.configure(openrouter_keys=["sk-or-v1-practice-0001"], huggingface_tokens=[])
        llm.configure(openrouter_base_url=server.openrouter_url, ledger=found.path)
        yield found
        llm.configure(ledger=None)


def _fill_up():
    """Let the ledger's file grow no more."""

    def limit(store):
        (now,) = store.connection.execute("PRAGMA page_count").fetchone()
        store.connection.execute(f"PRAGMA max_page_count = {now}").fetchall()

    session().ledger.call(limit)


def _make_room():
    session().ledger.call(lambda store: store.connection.execute("PRAGMA max_page_count = 1000000").fetchall())


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs a namespace to mount a small disk in")
def test_a_real_disk_that_fills_up_stops_the_buying_and_loses_nothing(tmp_path):
    (tmp_path / "disk").mkdir()
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:  # noqa: S607 - where it is
        pytest.skip("no namespaces are allowed here")
    with Child(ON_A_SMALL_DISK, tmp_path / "disk", before=["unshare", "-rm"]) as child:
        assert child.line() == "ok"


def _full_job(rows=1_000):
    """Begin a job whose ledger is full amid it; return it once it has stopped asking."""
    prompts(10).llm.run("gemma", "q", progress=False)
    job = prompts(rows).llm.start("gemma", "q", progress=False, concurrency=CONCURRENCY)
    wait_until(lambda: job.snapshot().done > rows // 20, 20)
    _fill_up()
    wait_until(lambda: job.snapshot().trouble, 20)
    return job


def test_a_full_disk_stops_the_buying_which_goes_on_by_itself(place):
    job = _full_job()
    asked = len(place.server.lines)
    time.sleep(0.5)
    stopped = len(lines_since(place.server))
    assert stopped - asked <= 2 * CONCURRENCY
    assert "nothing is asked: the disk is full" in job.snapshot().line()
    time.sleep(0.3)
    assert len(place.server.lines) == stopped
    _make_room()
    out = job.result()
    assert statuses(out) == {"ok": 990, "cached": 10}
    assert_own_answers(out)
    assert sorted(question_of(text) for _, text in place.answers()) == sorted(out["q"])
    assert len(place.server.lines) == 1_000


def _stored(place):
    return {question_of(text) for _, text in place.answers()}


def _interrupted(job):
    """Press ■ while a job's result is waited for; return what was raised, and after how many seconds."""
    pressed_at = []

    def press():
        pressed_at.append(time.monotonic())
        _thread.interrupt_main()

    threading.Timer(0.3, press).start()
    with pytest.raises(llm.JobInterrupted) as stopped:
        job.result()
    return stopped.value, time.monotonic() - pressed_at[0]


def test_stop_with_a_full_disk_takes_a_second_and_says_what_is_not_stored(place):
    job = _full_job()
    stopped, took_s = _interrupted(job)
    assert took_s < 1.5
    done = set(stopped.result["q"][stopped.result["q_llm"].notna()])
    unsaved = int(re.search(r"(\d+) answers are not stored yet: the disk is full", str(stopped)).group(1))
    assert unsaved == len(done - _stored(place))
    assert unsaved > 0
    _make_room()
    assert session().ledger.flush(5)
    assert done <= _stored(place)
    assert len(place.answers()) == len(_stored(place))


def test_while_another_program_holds_the_lock_the_job_waits_and_then_goes_on(place):
    prompts(1).llm.run("gemma", "q", progress=False)
    with Child(HOLDS_THE_LOCK, place.path) as child:
        assert child.line() == "locked"
        job = prompts(200).llm.start("gemma", "q", progress=False, concurrency=CONCURRENCY)
        wait_until(lambda: "nothing is asked: locked by another program" in job.snapshot().line(), 10)
        asked = len(place.server.lines)
        assert asked == 1
        time.sleep(0.5)
        assert len(place.server.lines) == asked
        child.tell("go")
        assert child.line() == "free"
        out = job.result()
    assert statuses(out) == {"ok": 199, "cached": 1}
    assert len(place.answers()) == 200


def test_a_job_that_waits_for_the_ledger_says_so_once_a_minute(place, caplog):
    prompts(1).llm.run("gemma", "q", progress=False)
    with Child(HOLDS_THE_LOCK, place.path) as child, clock.use(clock.ScaledClock(100)):
        assert child.line() == "locked"
        job = prompts(20).llm.start("gemma", "q", progress=False)
        wait_until(lambda: len(caplog.records) >= 2, 10)
        child.tell("go")
        assert statuses(job.result()) == {"ok": 19, "cached": 1}
    for record in caplog.records:
        said = "The ledger cannot be written (locked by another program), so nothing is asked until it can."
        assert record.getMessage().startswith(f"job {job.job_id}: {said} No answer for ")
        assert record.getMessage().endswith("Bound it with budget_s=. Else it waits without end.")


def test_stop_while_the_ledger_is_locked_takes_a_second(place):
    prompts(1).llm.run("gemma", "q", progress=False)
    with Child(HOLDS_THE_LOCK, place.path) as child:
        assert child.line() == "locked"
        job = prompts(200).llm.start("gemma", "q", progress=False, concurrency=CONCURRENCY)
        wait_until(lambda: job.snapshot().trouble, 10)
        _, took_s = _interrupted(job)
        assert took_s < 2.5
        assert len(place.server.lines) == 1
        child.tell("go")
        assert child.line() == "free"
        assert session().ledger.flush(10)
    with closing(sqlite3.connect(place.path)) as file:
        assert file.execute("SELECT count(*) FROM job WHERE ended IS NULL").fetchone() == (0,)
