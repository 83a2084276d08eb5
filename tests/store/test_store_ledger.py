"""The ledger keeps what it is given, finds what a look-up may take, and touches no file before it must."""

from __future__ import annotations

import copy
import os
import pickle
import sqlite3
import stat
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from keeping import NOON, answer, attempt, begun, ledger_at, lookup, make_older, texts

import llm_executor_nb as llm
from llm_executor_nb.core.outcomes import Decision, Outcome
from llm_executor_nb.core.policy import NO_POLICY, Policy
from llm_executor_nb.core.records import Key, Route
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.store.ledger import Ledger
from llm_executor_nb.store.ledger_store import LedgerStore
from llm_executor_nb.store.records import Origin, Turn
from llm_executor_nb.store.schema import VERSION
from llm_executor_nb.store.sqlite import usual_place

SERVED = {
    "upstream": "Together",
    "service_tier": "flex",
    "cached_tokens": 0,
    "reasoning_tokens": 2**40,
    "generation_id": "gen-1",
    "policy": Policy(zdr=True, only=("together",), max_price=(0.1, 0.25), bill_to="lab"),
}
LONE = "\ud83d"


@pytest.fixture(params=["file", "memory"])
def ledger(request, tmp_path):
    path = tmp_path / ".llm_executor" / "ledger.sqlite" if request.param == "file" else None
    with ledger_at(path) as opened:
        yield opened


def test_an_answer_comes_back_as_it_was_kept(ledger):
    kept = answer(finish_reason=None, input_tokens=None, output_tokens=None, cost_usd=None, answered_utc=NOON)
    other = answer("other", finish_reason="length", input_tokens=2**40, cost_usd=1e-9, answered_utc=NOON, **SERVED)
    ledger.keep([], kept)
    ledger.keep([], other)
    assert ledger.find([lookup("other"), lookup("question"), lookup("unknown")], max_age_s=None) == [other, kept, None]


@pytest.mark.parametrize(
    "text", ["", " \n", "nul \x00 inside", "é ü 日本語 🙂", "\"'; DROP TABLE answer; --", "x" * 300_000]
)
def test_any_text_is_kept(ledger, text):
    ledger.keep([], answer(text=text))
    assert texts(ledger.find([lookup("question")], max_age_s=None)) == [text]


def test_half_a_surrogate_pair_becomes_the_replacement_character(ledger):
    ledger.keep([attempt(row=f"r{LONE}", message=f"m{LONE}", column=f"c{LONE}")], answer(text=f"a{LONE}b"))
    assert texts(ledger.find([lookup("question")], max_age_s=None)) == ["a\ufffdb"]
    row = ledger.attempts_frame().iloc[0]
    assert (row["row"], row["message"], row["column"]) == ("r\ufffd", "m\ufffd", "c\ufffd")


def test_equal_requests_share_the_newest_answer_of_the_first_key_that_has_one(ledger):
    for request, text in (("a", "old"), ("b", "of b"), ("a", "new")):
        ledger.keep([], answer(request, text))
    lookups = [lookup("a", "b"), lookup("b", "a"), lookup("none", "b"), lookup("none")]
    assert texts(ledger.find(lookups, max_age_s=None)) == ["new", "of b", "of b", None]


def test_drawn_answers_are_numbered_in_chain_order_then_oldest_first(ledger):
    for request, text in (("a", "a0"), ("b", "b0"), ("a", "a1"), ("b", "b1")):
        ledger.keep([], answer(request, text))
    lookups = [lookup("a", "b", copy=number) for number in range(5)]
    assert texts(ledger.find(lookups, max_age_s=None)) == ["a0", "a1", "b0", "b1", None]


def test_many_copies_kept_in_one_commit_are_all_there(ledger):
    for number in range(1_000):
        ledger.keep([], answer("a", str(number)))
    lookups = [lookup("a", copy=number) for number in range(1_000)]
    assert texts(ledger.find(lookups, max_age_s=None)) == [str(number) for number in range(1_000)]


def test_answers_older_than_max_age_do_not_count(ledger):
    now = datetime.now(UTC)
    for age_s in (500, 50, 5):
        ledger.keep([], answer("a", f"{age_s} s", answered_utc=now - timedelta(seconds=age_s)))
    lookups = [lookup("a"), *(lookup("a", copy=number) for number in range(3))]
    assert texts(ledger.find(lookups, max_age_s=100)) == ["5 s", "50 s", "5 s", None]
    assert texts(ledger.find(lookups, max_age_s=None)) == ["5 s", "500 s", "50 s", "5 s"]
    assert ledger.find(lookups, max_age_s=1) == [None] * 4


def test_a_claim_sees_what_was_kept_just_before(ledger):
    ledger.keep([], answer("a", "here"))
    assert texts(ledger.claim("job", [lookup("a"), lookup("b")], max_age_s=None)) == ["here", Turn.YOURS]


def test_more_wants_than_fit_one_query_are_answered_in_order(ledger):
    for number in range(0, 12_000, 7):
        ledger.keep([], answer(str(number), str(number)))
    found = texts(ledger.find([lookup(str(number)) for number in range(12_000)], max_age_s=None))
    assert found == [str(number) if number % 7 == 0 else None for number in range(12_000)]


def test_kept_rows_are_committed_by_themselves(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path) as ledger, ledger_at(path) as other:
        ledger.keep([], answer("a", "here"))
        end = time.monotonic() + 10
        while other.find([lookup("a")], max_age_s=None) == [None] and time.monotonic() < end:
            time.sleep(0.01)
        assert texts(other.find([lookup("a")], max_age_s=None)) == ["here"]


def test_what_was_closed_is_there_when_opened_again(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path) as ledger:
        ledger.keep([attempt()], answer("a", "here"))
    assert ledger.find([lookup("a")], max_age_s=None)[0].text == "here"
    assert len(ledger.attempts_frame()) == 1
    ledger.close()


def test_keep_is_safe_from_many_threads(ledger):
    def work(name):
        for number in range(300):
            ledger.keep([attempt(run_id=f"{name}-{number}")], answer(f"{name}-{number}", "text"))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.flush()
    assert ledger.attempts_frame()["run_id"].nunique() == 2_400
    assert all(ledger.find([lookup(f"{name}-{n}") for name in range(8) for n in range(300)], max_age_s=None))


def test_flush_of_an_unused_ledger_has_nothing_to_wait_for(tmp_path):
    assert LedgerStore(lambda: tmp_path / "x" / "ledger.sqlite").flush()
    assert not (tmp_path / "x").exists()


def test_looking_makes_no_file(tmp_path):
    path = tmp_path / "sub" / "ledger.sqlite"
    store = LedgerStore(lambda: path)
    ledger = Ledger(store)
    assert str(path) in repr(ledger)
    assert (ledger.path, ledger.size, ledger.trouble) == (path, 0, "")
    assert store.find([lookup("a")], max_age_s=None) == [None]
    assert ledger.attempts().empty
    assert ledger.forget(older_than="0s") == 0
    store.close()
    assert not path.parent.exists()


def test_the_place_is_asked_at_the_first_need_and_then_stays(tmp_path):
    places = iter([tmp_path / "first.sqlite", tmp_path / "second.sqlite"])
    ledger = begun(LedgerStore(lambda: next(places)))
    assert ledger.path == tmp_path / "first.sqlite"
    assert ledger.size > 0
    ledger.close()


def test_the_usual_place_is_below_the_working_folder_or_where_the_environment_says(tmp_path, monkeypatch):
    assert usual_place() == tmp_path / ".llm_executor" / "ledger.sqlite"
    monkeypatch.setenv("LLM_EXECUTOR_HOME", str(tmp_path / "elsewhere"))
    assert usual_place() == tmp_path / "elsewhere" / "ledger.sqlite"
    monkeypatch.setenv("LLM_EXECUTOR_HOME", "~/mine")
    assert usual_place() == Path.home() / "mine" / "ledger.sqlite"


def test_a_place_with_odd_characters_works(tmp_path):
    path = tmp_path / "a b?c#d%41 ü" / "ledger.sqlite"
    with ledger_at(path) as ledger:
        ledger.keep([], answer("a", "here"))
        assert ledger.flush()
        assert path.stat().st_size == ledger.size > 0


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_only_the_owner_can_read_the_file_whatever_the_umask(tmp_path, umask):
    path = tmp_path / ".llm_executor" / "ledger.sqlite"
    (tmp_path / ".llm_executor").mkdir()
    before = os.umask(umask)
    try:
        with ledger_at(path) as ledger:
            ledger.keep([attempt()], answer())
            ledger.flush()
            files = [path, Path(f"{path}-journal")]
            assert {stat.S_IMODE(file.stat().st_mode) for file in files if file.exists()} == {0o600}
    finally:
        os.umask(before)


def test_the_folder_ignores_itself_and_an_existing_gitignore_stays(tmp_path):
    with ledger_at(tmp_path / "new" / "ledger.sqlite"):
        assert (tmp_path / "new" / ".gitignore").read_text() == "*\n"
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / ".gitignore").write_text("mine\n")
    with ledger_at(tmp_path / "old" / "ledger.sqlite"):
        assert (tmp_path / "old" / ".gitignore").read_text() == "mine\n"


def test_a_ledger_neither_pickles_nor_copies(ledger):
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            copying(Ledger(ledger))


def test_tab_shows_what_is_for_users_and_no_more():
    shown = {name for name in dir(llm.ledger) if not name.startswith("_")}
    assert shown == {"path", "size", "trouble", "attempts", "export", "forget", "flush", "close"}


def test_plain_sql_reads_the_attempts_as_the_frame_has_them(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path) as ledger:
        ledger.keep([attempt(outcome=Outcome.TIMEOUT, decision=Decision.RETRY, provider="nebius"), attempt()], answer())
        ledger.keep([attempt(key=None, message="it's\nodd", http_status=None, retry_after_s=1.5)], None)
        assert ledger.flush()
        frame = ledger.attempts_frame()
    with closing(sqlite3.connect(path)) as file:
        counts = file.execute("SELECT route, outcome, count(*) FROM attempts GROUP BY 1, 2 ORDER BY 2").fetchall()
        assert counts == [("openrouter ..a1b2", "ok", 2), ("openrouter ..a1b2", "timeout", 1)]
        assert file.execute("SELECT count(*) FROM attempts WHERE started_utc > '2026-11-25 11:59'").fetchone() == (3,)
        read = pd.read_sql("SELECT * FROM attempts", file, parse_dates={"started_utc": {"utc": True}})
    frame["started_utc"] = frame["started_utc"].dt.floor("ms")
    pd.testing.assert_frame_equal(read.astype(frame.dtypes), frame)


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_file_of_an_older_version_gets_what_it_lacks_and_keeps_its_rows(tmp_path, version):
    path = tmp_path / "ledger.sqlite"
    old, new = answer("a", "here", answered_utc=NOON), answer("b", "new", **SERVED, answered_utc=NOON)
    with ledger_at(path) as ledger:
        ledger.keep([attempt(run_id=old.run_id)], old)
    make_older(path, version)
    with ledger_at(path) as ledger:
        ledger.keep([attempt(run_id=new.run_id, upstream="Together")], new)
        assert ledger.find([lookup("a"), lookup("b")], max_age_s=None) == [old, new]
        log = ledger.attempts_frame()
    assert log["upstream"].fillna("").tolist() == ["", "Together"]
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT upstream, outcome FROM attempts").fetchall() == [(None, "ok"), ("Together", "ok")]


def test_a_look_up_takes_only_answers_that_may_be_taken_by_where_they_are_from(ledger):
    plain, kept = answer("a", "plain"), answer("a", "kept", **SERVED, route="huggingface/together ..a1")
    for one in (kept, plain, plain, answer("b", "plain")):
        ledger.keep([], one)
    origins = []

    def may_take(origin):
        origins.append(origin)
        return origin.policy.zdr

    lookups = [replace(lookup("a"), may_take=may_take), replace(lookup("b"), may_take=may_take), lookup("c")]
    assert texts(ledger.find(lookups, max_age_s=None)) == ["kept", None, None]
    assert texts(ledger.claim("job", lookups, max_age_s=None)) == ["kept", Turn.YOURS, Turn.YOURS]
    assert set(origins) == {
        Origin("openrouter ..a1b2", None, NO_POLICY),
        Origin("huggingface/together ..a1", "Together", SERVED["policy"]),
    }
    copies = [replace(lookup("a", copy=number), may_take=may_take) for number in range(2)]
    assert texts(ledger.find(copies, max_age_s=None)) == ["kept", None]


def test_a_ledger_knows_under_which_policy_a_job_bought(ledger):
    for job, policy in (("strict", SERVED["policy"]), ("free", NO_POLICY)):
        ledger.keep([], answer(job, job_id=job, policy=policy))
    assert ledger.policies_of(["strict", "free", "unknown"]) == {"strict": SERVED["policy"]}


def test_a_record_that_fits_no_column_is_told_and_harms_no_other(ledger):
    ledger.keep([], answer("a", "before"))
    ledger.keep([attempt(row=object())], answer("b", "odd"))
    ledger.keep([attempt(input_tokens=10**30)], answer("c", "after", input_tokens=10**30))
    with pytest.warns(UserWarning, match="could not keep a record"):
        assert ledger.flush()
    found = ledger.find([lookup("a"), lookup("b"), lookup("c")], max_age_s=None)
    assert texts(found) == ["before", None, "after"]
    assert found[2].input_tokens is None


def test_no_key_is_in_the_file_when_a_route_with_a_secret_was_used(tmp_path):
    canary = "sk-or-v1-canary-0123456789abcdef"
    one = Key(backend="openrouter", secret=Secret(canary), label="key 1")
    route = Route(backend="openrouter", key=one, provider=None, model="m", request_model="m", tier=1)
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path) as ledger:
        ledger.keep([attempt(route=route.name, key=one.shown)], replace(answer(), route=route.name))
        ledger.flush()
        Ledger(ledger).export(tmp_path / "log.csv")
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert one.shown.encode() in written
    assert canary[:-4].encode() not in written
