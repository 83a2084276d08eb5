"""The attempt log is a frame whose display has first what a person looks for; the order of its columns stays."""

from __future__ import annotations

import copy
import pickle
import re

import pandas as pd
import pytest
from columns import MODEL, PROVIDERS, prompts, run
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.core.attempt import ATTEMPT_COLUMNS
from llm_executor_nb.store.tables import attempts_frame
from llm_executor_nb.view.attempts import AttemptsFrame

FIRST = ["row", "attempt", "route", "outcome", "upstream", "message", "decision", "seconds", "cost"]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    with fresh():
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        yield


def log(rows: int = 3, script: str = "openrouter[1]: 401") -> pd.DataFrame:
    """Return the log of a column."""
    with llm.rehearse(script):
        return run(prompts(rows), concurrency=1).llm.attempts()


def headings(html: str) -> list[str]:
    return re.findall(r"<th[^>]*>([^<]*)</th>", html)


def test_the_display_begins_with_what_a_person_looks_for():
    attempts = log()
    assert headings(attempts._repr_html_()) == FIRST
    assert repr(attempts).split("\n")[0].split() == FIRST
    assert "openrouter ..0001  auth" in repr(attempts)
    assert "4 attempts. More columns: run_id, job_id, position, column, backend," in repr(attempts)


def test_the_columns_of_the_data_stay_in_their_order():
    for attempts in (log(), llm.attempts(), log().sort_values("outcome")):
        assert list(attempts.columns) == list(ATTEMPT_COLUMNS)
        assert isinstance(attempts, pd.DataFrame)
        assert list(pd.DataFrame(attempts).columns) == list(ATTEMPT_COLUMNS)


def test_every_door_to_the_log_has_the_display():
    with llm.rehearse("*: 400"):
        with pytest.raises(llm.RequestError) as refused:
            llm.run_llm(MODEL, "x")
        job = prompts(1).llm.start(MODEL, "q", progress=False)
        out = job.result()
        logs = (llm.attempts(), llm.attempts(refused.value), llm.attempts(job), job.attempts(), out.llm.attempts())
    assert all(type(one) is AttemptsFrame and len(one) for one in logs)


def test_a_selection_of_rows_keeps_the_display_and_other_columns_make_a_plain_frame():
    attempts = log()
    for rows in (
        attempts[attempts["outcome"] != "ok"],
        attempts.query("outcome == 'auth'"),
        attempts.sort_values("duration_s").head(2),
        attempts.loc[[0]],
        copy.deepcopy(attempts),
    ):
        assert headings(rows._repr_html_())[0] == "row"
    for other in (attempts[["route", "outcome"]], attempts.drop(columns="row"), attempts.describe(), attempts.T):
        assert type(other) is pd.DataFrame
    assert attempts.groupby("route", observed=True)["attempt"].size().sum() == 4


def test_columns_of_the_users_own_are_displayed_too():
    attempts = log()
    added = attempts.assign(is_slow=True)
    joined = attempts.merge(pd.DataFrame({"row": ["0"], "price": [1]}), on="row")
    assert headings(added._repr_html_()) == [*FIRST, "is_slow"]
    assert headings(joined._repr_html_()) == [*FIRST, "price"]


def test_a_pickled_log_is_a_plain_frame_that_needs_no_package_of_ours():
    attempts = log()
    read = pickle.loads(pickle.dumps(attempts))  # noqa: S301 - our own
    assert type(read) is pd.DataFrame
    pd.testing.assert_frame_equal(read, pd.DataFrame(attempts))


def test_an_empty_log_says_so():
    with llm.rehearse():
        assert repr(llm.attempts()) == "No attempts: nothing was asked."
        assert "No attempts: nothing was asked." in llm.attempts()._repr_html_()
        assert list(llm.attempts().columns) == list(ATTEMPT_COLUMNS)


def test_a_long_log_shows_its_ends_as_pandas_does():
    attempts = AttemptsFrame(pd.concat([log(100, "")] * 10, ignore_index=True))
    lines = repr(attempts).splitlines()
    assert len(lines) == 1 + 5 + 1 + 5 + 2
    assert set(lines[6].split()) == {"…"}
    assert lines[-1].startswith("1,000 attempts.")
    with pd.option_context("display.max_rows", None):
        assert repr(attempts).count("openrouter") == 1000


@pytest.mark.parametrize("width", [40, 80, 100, 120, 200])
def test_lines_of_text_fit_the_window(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = repr(log(2).assign(message="word " * 40)).rpartition("\n\n")[0].splitlines()
    assert max(map(len, shown)) <= width
    assert shown[0].split()[:3] == FIRST[:3]


def test_a_column_without_a_value_is_left_out():
    with llm.rehearse():
        llm.run_llm(MODEL, "x")
        by_hand = llm.attempts()
    assert "row" not in headings(by_hand._repr_html_())
    assert "message" not in headings(by_hand._repr_html_())
    assert " row" in repr(by_hand).splitlines()[-1]


def test_foreign_words_in_the_log_are_text():
    with llm.rehearse("openrouter: 401"):
        llm.run_llm(MODEL, "x")
        hostile = llm.attempts().assign(message="<script>alert(1)</script> $\\unicode{x41}$ \x1b[31m")
    assert "<script>" not in hostile._repr_html_()
    assert 'class="llm-nb mathjax_ignore tex2jax_ignore"' in hostile._repr_html_()
    assert "\x1b" not in repr(hostile)


def test_the_display_of_no_records_is_that_of_an_empty_log():
    assert repr(AttemptsFrame(attempts_frame(()))) == "No attempts: nothing was asked."
