"""Rows asked again in frames of many kinds, draws that no two rows share, and columns that are not a job's to write."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from columns import MODEL, PROVIDERS, prompts, run, statuses
from rehearsing import fresh, wait_until

import llm_executor_nb as llm


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        yield


def test_a_drawn_row_that_is_asked_again_gets_no_other_rows_draw():
    with llm.rehearse("*: content_filter@4") as server:
        out = run(pd.DataFrame({"q": ["the same."] * 10}), temperature=0.7, concurrency=1)
        assert statuses(out) == {"ok": 9, "failed": 1}
        again = out.llm.retry_failed(progress=False)
        assert len(server.lines) == 11
    assert statuses(again) == {"ok": 10}
    assert again["q_llm_run"].nunique() == 10


def test_jobs_at_once_on_equal_rows_share_all_draws_and_give_no_row_anothers():
    frame = pd.DataFrame({"q": ["the same."] * 40})
    with llm.rehearse(latency_s=0.02) as server:
        jobs = [frame.llm.start(MODEL, "q", temperature=0.7, progress=False) for _ in range(3)]
        outs = [job.result() for job in jobs]
        assert len(server.lines) == 40
    assert [out["q_llm_run"].nunique() for out in outs] == [40, 40, 40]


def test_a_frame_of_two_jobs_is_asked_again_as_each_row_was_asked():
    llm.MODEL_INFERENCE_PROVIDERS["my/other"] = list(PROVIDERS)
    with llm.rehearse("*: content_filter@1, content_filter@3") as server:
        models = [MODEL, "my/other"]
        parts = [prompts(2, at).llm.run(one, "q", concurrency=1, progress=False) for at, one in enumerate(models)]
        again = pd.concat(parts).llm.retry_failed(progress=False)
        assert statuses(again) == {"ok": 4}
        assert [line.model for line in server.lines[4:]] == models


def test_an_answer_bought_for_another_column_does_not_say_what_was_asked():
    with llm.rehearse("*: latency=0.2") as server:
        frame = pd.concat([run(prompts(1), out="before")[["q"]], prompts(30, 1)], ignore_index=True)
        job = frame.llm.start(MODEL, template="{q}", out="now", concurrency=1, progress=False)
        wait_until(lambda: job.snapshot().cached and len(server.lines) >= 2)
        job.stop()
        assert job.frame()["now_status"].value_counts()["cancelled"] == 30
        again = job.frame().llm.retry_failed(progress=False, concurrency=32)
    assert statuses(again, "now") == {"ok": 30, "cached": 1}
    assert list(again.columns) == list(job.frame().columns)


def test_columns_and_dtypes_come_back_where_csv_forgot_them_or_the_schema_is_new():
    with llm.rehearse("*: content_filter@1"):
        out = run(prompts(3), schema={"score": int}, concurrency=1)
        read = pd.read_csv(io.StringIO(out.to_csv(index=False))).llm.retry_failed(progress=False)
        assert statuses(read) == {"ok": 3}
        assert read.dtypes.drop("q").equals(out.dtypes.drop("q"))
    with llm.rehearse("*: content_filter@1"):
        old = run(prompts(3), concurrency=1)
        new = old.llm.retry_failed(schema={"score": int}, progress=False)
        assert new["score"].dtype == "Int64"
        assert new["score"].notna().equals(old["q_llm_status"] == "failed")
        assert new["score"].notna().sum() == 1
        assert statuses(run(new, schema={"score": int})) == {"ok": 2, "cached": 1}


def test_what_is_asked_again_can_be_another_template():
    with llm.rehearse("*: content_filter@1"):
        out = run(prompts(1), out="answer")
        again = out.llm.retry_failed(template="In short: {q}", progress=False)
    assert "In short" in again["answer"].iloc[0]


def test_a_schema_never_writes_over_a_users_own_column_beside_an_earlier_run():
    frame = prompts(2).assign(score=[5, 6])
    with llm.rehearse() as server:
        out = run(frame)
        for schema in ({"score": int}, {"q": str}):
            with pytest.raises(llm.ConfigError, match="already"):
                run(out, schema=schema)
        assert len(server.lines) == 2


def test_a_schemas_columns_are_known_again_in_another_process():
    with llm.rehearse():
        later = run(run(prompts(2)), schema={"score": int})
        assert list(later.columns[:4]) == ["q", "q_llm", "score", "q_llm_status"]
        later["q_llm_run"] = pd.array(["0000deadbeef-1", "0000deadbeef-2"], dtype="string")
        assert list(run(later, schema={"score": int}).columns) == list(later.columns)


def test_rows_that_waited_are_not_sent_when_the_first_answers_have_used_up_the_budget():
    with llm.rehearse("*: 429*2 retry-after=1", openrouter_keys=1, huggingface_tokens=0) as server:
        with pytest.warns(llm.LLMExecutorWarning, match="is used up"):
            out = run(prompts(30), concurrency=2, budget_usd=1e-9, price=(1.0, 1.0))
        assert len(server.lines) <= 5
    assert statuses(out)["cancelled"] >= 27


ZDR, QUIET = {"zdr": True}, {"data_collection": "deny"}


@pytest.mark.parametrize(
    ("own", "later", "retried"),
    [
        (None, None, ZDR),  # what the job demanded still holds
        (None, llm.Policy(no_training=True), QUIET),
        (llm.Policy(zdr=True), llm.Policy(no_training=True), ZDR),
        (llm.Policy(), llm.Policy(no_training=True), None),
    ],
)
def test_a_retry_demands_what_the_job_or_today_s_session_demands(own, later, retried):
    with llm.rehearse("openrouter: content_filter@1") as server:
        llm.configure(policy=llm.Policy(zdr=True))
        out = run(prompts(1), policy=own)
        llm.configure(policy=later)
        assert statuses(out) == {"failed": 1}
        assert statuses(out.llm.retry_failed(progress=False)) == {"ok": 1}
    first = ZDR if own is None or own else None
    assert [line.preferences for line in server.lines] == [first, retried]
