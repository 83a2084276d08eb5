"""`out.llm.answers` has no bookkeeping; a Series of answers says what failed and leads to its attempts and report."""

from __future__ import annotations

import asyncio
import warnings

import pandas as pd
import pytest
from columns import MODEL, PROVIDERS, prompts, run
from rehearsing import fresh

import llm_executor_nb as llm


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        yield


def test_answers_are_the_frame_without_the_bookkeeping():
    with llm.rehearse():
        out = run(prompts(3).assign(city="Lyon"))
        typed = run(prompts(3), schema={"score": int})
        twice = run(run(prompts(3), out="first"), out="second")
    assert list(out.llm.answers) == ["q", "city", "q_llm"]
    assert list(typed.llm.answers) == ["q", "q_llm", "score"]
    assert list(twice.llm.answers) == ["q", "first", "second"]
    assert out.llm.answers["q_llm"].tolist() == out["q_llm"].tolist()
    assert "q_llm_status" in out


def test_answers_of_merged_results_are_without_the_bookkeeping_too():
    with llm.rehearse():
        one = run(prompts(2)).assign(at=[0, 1])
        other = run(prompts(2, start=5)).assign(at=[0, 1])
    assert list(one.merge(other, on="at").llm.answers) == ["q_x", "q_llm_x", "at", "q_y", "q_llm_y"]


def test_a_users_own_column_with_such_a_name_stays():
    with llm.rehearse():
        out = run(prompts(2).assign(order_status="sent", bus_route=7, error="none"))
    assert list(out.llm.answers) == ["q", "order_status", "bus_route", "error", "q_llm"]


def test_answers_of_a_frame_that_no_job_returned_are_an_error_that_says_so():
    with pytest.raises(llm.ConfigError, match=r"not the result of df\.llm\.run"):
        _ = prompts(1).llm.answers


def ask(values, **options):
    return values.llm.run(MODEL, progress=False, concurrency=1, **options)


async def _awaited(values):
    return await values.llm.arun(MODEL, progress=False, concurrency=1)


DOORS = {"run": ask, "arun": lambda values: asyncio.run(_awaited(values))}


@pytest.mark.parametrize("door", DOORS)
def test_a_series_warns_with_the_causes_of_what_failed_and_leads_to_its_work(door):
    with llm.rehearse("*: 400@1..4"):
        with pytest.warns(llm.LLMExecutorWarning, match=r"^2 of 3 values failed: 2 x bad_request: ") as told:
            answers = DOORS[door](prompts(3)["q"])
        attempts, report = answers.llm.attempts(), answers.llm.report()
        assert llm.attempts(answers).equals(attempts)
    assert [one.filename for one in told] == [__file__]
    for words in (".llm.attempts()", ".llm.report()", "run it again"):
        assert words in str(told[0].message)
    assert answers.isna().sum() == 2
    assert (attempts["outcome"] == "bad_request").sum() == 4
    assert report.rows.to_dict() == {"ok": 1, "cached": 0, "failed": 2, "skipped": 0, "cancelled": 0}
    assert report.attempts.equals(attempts)


def test_a_series_of_whole_answers_warns_of_nothing():
    with llm.rehearse(), warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = ask(prompts(3)["q"])
        assert len(answers.llm.attempts()) == 3
        assert len(answers[:1].str.upper().llm.attempts()) == 3


def test_answers_can_be_written_to_parquet_and_lead_to_their_work_from_there(tmp_path):
    pytest.importorskip("pyarrow")
    with llm.rehearse():
        answers = ask(prompts(2)["q"])
        answers.to_frame("answers").to_parquet(tmp_path / "answers.parquet")
    assert pd.read_parquet(tmp_path / "answers.parquet")["answers"].tolist() == answers.tolist()


@pytest.mark.parametrize("name", ["attempts", "report"])
def test_a_series_that_no_job_returned_has_no_work_and_says_so(name):
    with pytest.raises(llm.ConfigError, match=r"s\.llm\.run|df\.llm\.run"):
        getattr(prompts(1)["q"].llm, name)()


def test_a_series_that_ends_early_has_its_work_in_the_result_of_the_error():
    for door in DOORS.values():
        with llm.rehearse("*: 400"), pytest.raises(llm.RequestError) as failed:
            door_raising(door)
        assert isinstance(failed.value.result, pd.Series)


def door_raising(door):
    if door is ask:
        return ask(prompts(3)["q"], on_error="raise")
    return asyncio.run(prompts(3)["q"].llm.arun(MODEL, progress=False, on_error="raise"))
