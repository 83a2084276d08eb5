"""A job without answers says once a minute why, when it is tried next, and what bounds it; and never a key."""

from __future__ import annotations

import logging
import re

import pandas as pd
import pytest
from rehearsing import MODEL, fresh, wait_until

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.core.holds import Hold, HoldKind
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import Scope
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.jobs.wait_text import held_texts, wait_text
from llm_executor_nb.view.job import JobDisplay

NOW = 1000.0


TEXT_503 = "503 Service Temporarily Unavailable"


def hold(
    left_s,
    *,
    why=Outcome.OVERLOADED,
    message=TEXT_503,
    kind=HoldKind.STREAK,
    reach=ScopeLevel.ROUTE,
    key="sk-or-v1-practice-0001",
    **told,
):
    scope = Scope(reach, "openrouter", secret=key and Secret(key), model=MODEL)
    return Hold(scope=scope, kind=kind, since=NOW - 5, until=NOW + left_s, why=why, message=message, **told)


def words(*held, **told):
    usual = {"routes": len(held), "now": NOW, "silent_s": 119.0, "silence_bound_s": 600.0}
    return wait_text(held, **{**usual, **told})


def test_a_cause_is_said_once_with_its_words_and_not_for_each_route():
    assert words(*(hold(left_s) for left_s in (60, 19, 25, 30, 31))) == (
        "All 5 routes fail (503 Service Temporarily Unavailable). Next try in 19 s. No answer for 2 min. "
        "Bound it with budget_s=. Else it ends after 10 min without an answer."
    )


def test_different_causes_are_said_each_once():
    told = hold(40, why=Outcome.RATE_LIMITED, message="Slow down.\n\tPlease.", kind=HoldKind.TOLD)
    silent = hold(50, why=Outcome.EMPTY, message="")
    said = words(hold(60), told, told, silent, routes=7)
    assert said.startswith(
        "4 of 7 routes fail (503 Service Temporarily Unavailable; Slow down. Please; empty). Next try in 40 s. "
    )


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ([hold(7.2)], "The only route fails (503 Service Temporarily Unavailable). Next try in 8 s. No"),
        ([hold(-1, is_probing=True)], "The next try is under way. No"),
        ([hold(90, kind=HoldKind.CONDEMNED, why=Outcome.AUTH, reach=ScopeLevel.KEY), hold(200)], "Next try in 3 min."),
        ([hold(7_500, kind=HoldKind.TOLD)], "Next try in 2 h 5 min."),
        ([hold(-0.001)], "Next try in 0 s."),
        ([hold(9, message="x" * 500)], f"({'x' * 120} …)."),
    ],
)
def test_the_next_try_is_told_where_there_will_be_one(held, said):
    assert said in words(*held)


def test_a_budget_bounds_the_wait_beside_the_silence():
    assert words(hold(9), budget_left_s=41.5).endswith(
        "Ends after 10 min without an answer, or in 42 s by its budget_s=."
    )


def test_a_ledger_that_cannot_be_written_is_a_cause_and_no_silence_ends_it():
    said = words(trouble="the disk is full")
    assert said == (
        "The ledger cannot be written (the disk is full), so nothing is asked until it can. No answer for 2 min. "
        "Bound it with budget_s=. Else it waits without end."
    )
    assert words(trouble="the disk is full", budget_left_s=180.0).endswith("Ends in 3 min by its budget_s=.")


def test_rows_that_another_job_asks_for_are_a_cause():
    assert words(others=1).startswith("1 row waits for another job's answers. No answer for 2 min.")
    assert words(others=4, routes=2).startswith("4 rows wait for another job's answers.")


def test_where_nothing_stands_in_the_way_nothing_is_said():
    assert words(routes=4) == ""


def test_no_key_is_in_the_line():
    key = Secret("sk-or-v1-waiting-canary-0001")
    said = words(hold(9, message=f"Key {key.reveal()} is over its limit"), trouble=f"cannot open /{key.reveal()}")
    assert key.reveal() not in said


# --- in a job -----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _fresh(caplog):
    caplog.set_level(logging.WARNING, "llm_executor_nb")
    with fresh():
        yield


@pytest.fixture
def front_ends(monkeypatch):
    """Keep what is said to the front end of each job."""
    said = []

    class Kept(JobDisplay):
        def say(self, words):
            said.append(words)

    monkeypatch.setattr("llm_executor_nb.frames.start.make_progress", lambda **_: Kept())
    return said


def column(rows, **options):
    return pd.DataFrame({"q": [f"question {n}" for n in range(rows)]}).llm.run(MODEL, "q", **options)


def logged(caplog):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("job ")]


def test_in_an_outage_a_job_says_so_once_a_minute_and_then_ends(caplog, front_ends):
    with llm.rehearse("*: 503"), clock.use(clock.FrozenClock()), pytest.warns(llm.LLMExecutorWarning):
        column(30)
    assert 8 <= len(front_ends) <= 10
    assert [line.partition(": ")[2] for line in logged(caplog)] == [said.partition(" · ")[2] for said in front_ends]
    for minute, said in enumerate(front_ends, start=1):
        assert re.match(r"0/30 rows · (All 5|\d of 5) routes fails? \(", said), said
        assert f"No answer for {'60 s' if minute == 1 else f'{minute} min'}." in said


def test_a_job_that_goes_on_says_nothing_more(caplog, front_ends):
    with llm.rehearse("*: 503@1..60"), clock.use(clock.FrozenClock()) as frozen:
        out = column(30)
    assert set(out["q_llm_status"]) == {"ok"}
    assert len(front_ends) == len(logged(caplog)) <= frozen.elapsed_s // 60


def test_a_job_that_is_answered_says_nothing(caplog, front_ends):
    with llm.rehearse("*: rate=10/min"), clock.use(clock.FrozenClock()) as frozen:
        column(90)
    assert frozen.elapsed_s > 60
    assert not [said for said in front_ends if "No answer" in said]
    assert not logged(caplog)


def test_with_progress_false_the_log_alone_has_it(caplog, capsys):
    with llm.rehearse("*: 503"), clock.use(clock.FrozenClock()), pytest.warns(llm.LLMExecutorWarning):
        column(30, progress=False, budget_s=150)
    assert len(logged(caplog)) == 2
    assert capsys.readouterr() == ("", "")


def test_the_end_of_a_log_says_why_and_what_asks_again(capsys):
    with llm.rehearse("*: 503"), clock.use(clock.FrozenClock()), pytest.warns(llm.LLMExecutorWarning):
        column(30, budget_s=150)
    last = capsys.readouterr().err.splitlines()[-3:]
    assert last[0].startswith("0/30 rows · 2 min 30 s")
    assert last[1].startswith("ended early: its 150 s are over")
    assert last[2].startswith("Ask again: run it once more")


# --- what the live block says at once -----------------------------------------------------------------------------


def held(*holds, routes=5):
    return " ".join(held_texts(holds, routes, NOW))


def dead(number, why=Outcome.AUTH, message="User not found.", **told):
    key = f"sk-or-v1-practice-000{number}"
    return hold(600, why=why, message=message, kind=HoldKind.CONDEMNED, reach=ScopeLevel.KEY, key=key, **told)


def test_a_dead_key_is_called_dead_and_the_others_are_counted_apart():
    assert held(dead(1), hold(7), hold(9)) == (
        f"Key ..0001 of openrouter is dead (User not found). 2 of 5 routes fail ({TEXT_503}). Next try in 7 s."
    )
    assert held(dead(1), *[hold(7)] * 4).split(". ")[1] == f"The other 4 routes fail ({TEXT_503})"
    assert held(dead(1), hold(7), routes=2).split(". ")[1] == f"The other route fails ({TEXT_503})"


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        (429, "Too Many Requests", "429 Too Many Requests"),
        (503, "", "503"),
        (502, "502 Bad Gateway", "502 Bad Gateway"),
        (200, "no text came", "no text came"),
        (None, "the connection failed", "the connection failed"),
    ],
)
def test_a_cause_has_the_status_of_its_reply_once(status, message, said):
    assert held(hold(7, message=message, http_status=status), routes=1).startswith(f"The only route fails ({said}). ")


def test_several_dead_keys_are_one_sentence_for_each_state():
    empty = dead(4, Outcome.QUOTA, "Insufficient credits")
    suspended = dead(3, Outcome.FORBIDDEN, "Suspended")
    assert held(dead(1), dead(1), dead(2), suspended, empty) == (
        "Key ..0001 of openrouter and 2 more are dead (User not found; Suspended). "
        "Key ..0004 of openrouter has no credit left (Insufficient credits)."
    )


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (dead(1, message=""), "Key ..0001 of openrouter is dead (auth)."),
        (dead(1, Outcome.RATE_LIMITED, ""), "Key ..0001 of openrouter is not asked any more (rate limited)."),
        (
            hold(1, kind=HoldKind.CONDEMNED, reach=ScopeLevel.KEY, key=None),
            f"Openrouter is not asked any more ({TEXT_503}).",
        ),
        (
            hold(1, kind=HoldKind.CONDEMNED, reach=ScopeLevel.BACKEND, why=Outcome.NOT_FOUND, message="No such model"),
            f"Openrouter for {MODEL} is not asked any more (No such model).",
        ),
        (hold(4), f"1 of 5 routes fails ({TEXT_503}). Next try in 4 s."),
    ],
)
def test_each_kind_of_hold_has_its_sentence(one, said):
    assert held(one) == said


def test_while_a_job_runs_its_snapshot_has_them_at_once():
    with llm.rehearse("openrouter[1]: 401; openrouter[2]: latency=0.1; huggingface: 503"):
        job = pd.DataFrame({"q": [f"question {n}" for n in range(40)]}).llm.start(MODEL, "q", progress=False)
        wait_until(lambda: job.snapshot().held)
        assert job.snapshot().line().count("is dead") == 1
        job.result()
    assert "is dead" in job.snapshot().text()
