"""What was acknowledged survives SIGKILL, and a forked child neither uses nor harms its parent's ledger."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing

import pytest
from keeping import Child, ledger_at, lookup, texts

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks are POSIX")

KEEPS_AND_IS_KILLED = """
import os, random, signal, time
from pathlib import Path
from keeping import answer, attempt, ledger_at, lookup

def keep(start, tell):
    with ledger_at(Path(sys.argv[1])) as ledger:
        for number in range(start, start + 1_000_000):
            ledger.keep([attempt(run_id=str(number))], answer(str(number), f"{number} " * 60))
            if random.random() < 0.02:
                assert ledger.flush()
                os.write(tell, b"%d\\n" % number)

chance = random.Random(20261125)
for turn in range(10):
    hear, tell = os.pipe()
    child = os.fork()
    if not child:
        keep(turn * 1_000_000, tell)
    os.close(tell)
    first = os.read(hear, 100)
    time.sleep(chance.random() * 0.3)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with open(hear) as rest:
        print(*(first.decode() + rest.read()).split("\\n")[:-1], flush=True)
"""

FORKS = """
import os
import warnings
from pathlib import Path
from keeping import answer, attempt, begun, ledger_at, lookup
warnings.simplefilter("ignore")  # newer Pythons warn of any fork beside a thread
with ledger_at(Path(sys.argv[1])) as ledger:
    ledger.keep([], answer("parent", "of the parent"))
    assert ledger.flush(20)
    for number in range(10):
        for more in range(200):
            ledger.keep([attempt()], answer(f"{number}-{more}", "x" * 500))
        child = os.fork()
        if not child:
            begun(ledger, f"child {number}")
            ledger.keep([attempt(run_id=f"child {number}", job_id="child")], answer(f"child {number}", "of the child"))
            ok = ledger.flush(20) and ledger.find([lookup("parent")], max_age_s=None)[0] is not None
            ledger.end_job(f"child {number}", "done")
            ledger.close()
            if number % 2:
                os._exit(0 if ok else 1)
            sys.exit(0 if ok else 1)  # with all that an interpreter does at its end
        assert os.waitpid(child, 0)[1] == 0
    assert ledger.flush(20)
print("ok", flush=True)
"""

FORKS_AMID_A_TRANSACTION = """
import os, threading, warnings
from pathlib import Path
from keeping import answer, begun, ledger_at, texts, lookup
from llm_executor_nb.store.records import Limits
warnings.simplefilter("ignore")
with ledger_at(Path(sys.argv[1]), Limits(fork_wait_s=0.1)) as ledger:
    amid, forked = threading.Event(), threading.Event()

    def work(store):
        with store.transaction():
            store.connection.execute("PRAGMA cache_size = 1")
            store.connection.execute("CREATE TABLE big(x)")
            for _ in range(300):  # more than the cache holds, so that pages are in the file before the commit
                store.connection.execute("INSERT INTO big VALUES (randomblob(5000))")
            amid.set()
            forked.wait()
            store.connection.execute("INSERT INTO big VALUES (1)")

    asking = threading.Thread(target=lambda: ledger.call(work))
    asking.start()
    amid.wait()
    child = os.fork()
    if not child:
        begun(ledger)
        ledger.keep([], answer("b", "of the child"))
        found = texts(ledger.claim("job", [lookup("b")], max_age_s=None))
        sys.exit(0 if (ledger.path, found) == (None, ["of the child"]) else 1)
    assert os.waitpid(child, 0)[1] == 0
    forked.set()
    asking.join()
    ledger.keep([], answer("a", "here"))
    assert ledger.flush(10)
print("ok", flush=True)
"""

ENDS_WITHOUT_CLOSING = """
from pathlib import Path
from keeping import answer, attempt, begun
from llm_executor_nb.store.ledger_store import LedgerStore
ledger = LedgerStore(lambda: Path(sys.argv[1]))
for number in range(500):
    ledger.keep([attempt()], answer(str(number), "here"))
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def _integrity(path):
    with closing(sqlite3.connect(path)) as file:
        return file.execute("PRAGMA integrity_check").fetchall()


def test_whatever_flush_acknowledged_is_there_after_ten_kills(path):
    numbers = []
    with Child(KEEPS_AND_IS_KILLED, path) as child:
        for turn in range(10):
            last = int(child.line().split()[-1])
            numbers += range(turn * 1_000_000, last + 1)
    with ledger_at(path) as ledger:  # which rolls back what the last one was at
        found = texts(ledger.find([lookup(str(number)) for number in numbers], max_age_s=None))
        assert found == [f"{number} " * 60 for number in numbers]
        assert {str(number) for number in numbers} <= set(ledger.attempts_frame()["run_id"])
    assert _integrity(path) == [("ok",)]


def test_a_process_that_just_ends_leaves_everything_saved(path):
    with Child(ENDS_WITHOUT_CLOSING, path) as child:
        assert child.end() == 0
    with ledger_at(path) as ledger:
        assert all(ledger.find([lookup(str(number)) for number in range(500)], max_age_s=None))


def test_a_forked_child_opens_its_own_and_the_parent_goes_on(path):
    with Child(FORKS, path) as child:
        assert child.line() == "ok"
    with ledger_at(path) as ledger:
        lookups = [*(lookup(f"{number}-{more}") for number in range(10) for more in range(200)), lookup("parent")]
        assert all(ledger.find(lookups, max_age_s=None))
        assert (
            texts(ledger.find([lookup(f"child {number}") for number in range(10)], max_age_s=None))
            == ["of the child"] * 10
        )
        frame = ledger.attempts_frame()
        assert frame["run_id"].is_unique, "the child kept again what was queued in its parent"
        assert len(frame) == 10 * 200 + 10
    assert _integrity(path) == [("ok",)]


@pytest.mark.skipif(sys.platform == "darwin", reason="the child of a threaded process may not go on there")
def test_a_child_forked_amid_a_commit_does_not_roll_it_back(path):
    with Child(FORKS_AMID_A_TRANSACTION, path) as child:
        assert child.line() == "ok"
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM big").fetchone() == (301,)
        assert file.execute("SELECT text FROM answer").fetchall() == [("here",)]
    assert _integrity(path) == [("ok",)]
