"""What is forgotten is gone from the file, byte by byte, and what is not stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from keeping import answer, attempt, begun, ledger_at, lookup, texts

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.store.ledger import Ledger


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path):
    with ledger_at(path) as opened:
        yield opened


def _bytes(path):
    return b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())


def _keep(ledger, request, *, job="job", age=timedelta(0), size=1):
    moment = datetime.now(UTC) - age
    text = f"<secret of {request}> " * size
    ledger.keep(
        [attempt(job_id=job, started_utc=moment, message=f"<words about {request}>", row=f"<row {request}>")],
        answer(request, text, job_id=job, answered_utc=moment),
    )


@pytest.mark.parametrize("size", [1, 1_000], ids=["short", "over many pages"])
def test_the_bytes_of_a_forgotten_job_are_gone_from_the_file(ledger, path, size):
    begun(ledger, "other")
    for number in range(300):
        _keep(ledger, f"kept {number}", job="other")
        _keep(ledger, f"gone {number}", size=size)
    assert ledger.flush()
    assert b"gone 17>" in _bytes(path)
    before = ledger.size
    ledger.end_job("job", "done")
    assert Ledger(ledger).forget(job="job") == 300
    left = _bytes(path)
    assert b"gone" not in left
    assert b"<secret of kept 17>" in left
    assert ledger.size < before
    assert texts(ledger.find([lookup("gone 17"), lookup("kept 17")], max_age_s=None)) == [None, "<secret of kept 17> "]
    assert set(ledger.attempts_frame()["job_id"]) == {"other"}


@pytest.mark.parametrize("age", ["7D", pd.Timedelta(days=7), timedelta(days=7)])
def test_what_is_older_is_forgotten(ledger, path, age):
    _keep(ledger, "old", age=timedelta(days=8))
    _keep(ledger, "young", age=timedelta(days=6))
    assert Ledger(ledger).forget(older_than=age) == 1
    assert b"old>" not in _bytes(path)
    assert b"<secret of young>" in _bytes(path)
    assert len(ledger.attempts_frame()) == 1


def test_job_and_age_must_both_hold(ledger):
    for job in ("job", "other"):
        for days in (1, 9):
            _keep(ledger, f"{job} {days}", job=job, age=timedelta(days=days))
    assert Ledger(ledger).forget(job="other", older_than="7D") == 1
    lookups = [lookup(f"{job} {days}") for job in ("job", "other") for days in (1, 9)]
    assert [bool(found) for found in ledger.find(lookups, max_age_s=None)] == [True, True, True, False]


def test_all_is_forgotten_with_no_age_and_the_ledger_goes_on(ledger):
    for number in range(3):
        _keep(ledger, str(number))
    assert Ledger(ledger).forget(older_than="0s") == 3
    assert ledger.attempts_frame().empty
    assert ledger.claim("job", [lookup("1")], max_age_s=None)  # the job that is open is still known
    _keep(ledger, "1")
    assert ledger.find([lookup("1")], max_age_s=None)[0]


@pytest.mark.parametrize("age", ["0s", 0, pd.Timedelta(0)])
def test_no_age_forgets_also_what_is_dated_in_the_future(ledger, age):
    _keep(ledger, "a", age=-timedelta(days=3650))
    assert Ledger(ledger).forget(older_than=age) == 1
    assert ledger.attempts_frame().empty


def test_copies_close_up_and_none_is_overwritten_after_some_were_forgotten(ledger):
    for number, days in enumerate((1, 9, 1, 9)):
        ledger.keep([], answer("a", str(number), answered_utc=datetime.now(UTC) - timedelta(days=days)))
    assert Ledger(ledger).forget(older_than="7D") == 2
    ledger.keep([], answer("a", "new"))
    found = texts(ledger.find([lookup("a", copy=number) for number in range(4)], max_age_s=None))
    assert found == ["0", "2", "new", None]


def test_what_another_process_keeps_meanwhile_is_numbered_right(ledger, path):
    with ledger_at(path) as other:
        _keep(other, "a")
        assert other.flush()
        assert Ledger(ledger).forget(older_than="0s") == 1
        _keep(other, "a")
        assert other.flush()
        assert texts(ledger.find([lookup("a", copy=0), lookup("a", copy=1)], max_age_s=None)) == [
            "<secret of a> ",
            None,
        ]


def test_nothing_named_is_nothing_forgotten(ledger):
    _keep(ledger, "a")
    with pytest.raises(ConfigError, match="Say what to forget"):
        Ledger(ledger).forget()
    assert ledger.find([lookup("a")], max_age_s=None)[0]


def test_an_unknown_job_has_nothing_to_forget(ledger):
    _keep(ledger, "a")
    assert Ledger(ledger).forget(job="nobody") == 0
    assert ledger.find([lookup("a")], max_age_s=None)[0]


def test_a_ledger_in_memory_forgets_too():
    with ledger_at(None) as ledger:
        _keep(ledger, "a")
        assert Ledger(ledger).forget(job="job") == 1
        assert ledger.find([lookup("a")], max_age_s=None) == [None]


@pytest.mark.parametrize("age", ["-5D", "banana", -1, float("nan"), True])
def test_what_is_no_age_erases_nothing(ledger, age):
    _keep(ledger, "a")
    with pytest.raises(ConfigError, match="Nothing was erased"):
        Ledger(ledger).forget(older_than=age)
    assert ledger.find([lookup("a")], max_age_s=None)[0]


def test_an_age_without_a_unit_is_in_seconds_as_for_max_age(ledger):
    _keep(ledger, "a")
    assert Ledger(ledger).forget(older_than=3600) == 0
    assert Ledger(ledger).forget(older_than=0) == 1
