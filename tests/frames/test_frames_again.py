"""A result that is run again, merged or read back: its columns are known again, a user's own never taken for them."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from columns import LOG_COLUMNS, MODEL, PROVIDERS, prompts, run, statuses
from rehearsing import fresh

import llm_executor_nb as llm

LOG = [f"q_llm{name}" for name in LOG_COLUMNS]


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        yield


def _elsewhere(frame):
    """Return a frame as another process knows it: through CSV, with run ids of jobs that this one never saw."""
    back = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    for name in [name for name in back.columns if name.endswith("_run")]:
        back[name] = [f"0000deadbeef-{number:x}" for number in range(len(back))]
    return back


def test_another_schema_leaves_no_column_of_the_schema_before():
    frame = prompts(2).assign(mine=[1, 2], score=[3, 4]).rename(columns={"score": "own"})
    with llm.rehearse():
        one = run(frame, schema={"score": int, "mood": str})
        other = run(one, schema={"mood": str, "length": int})
        none = run(other)
    assert list(one.columns) == ["q", "mine", "own", "q_llm", "score", "mood", *LOG[1:]]
    assert sorted(other.columns) == sorted(["q", "mine", "own", "q_llm", "mood", "length", *LOG[1:]])
    assert list(none.columns) == ["q", "mine", "own", *LOG]
    assert "score" in one.columns, "the input was changed"


def test_a_column_that_another_process_wrote_stays_and_its_fields_can_be_asked_again():
    with llm.rehearse():
        one = _elsewhere(run(prompts(2), schema={"score": int, "mood": str}))
        other = run(one, schema={"mood": str, "length": int})
        none = run(_elsewhere(other))
    assert sorted(other.columns) == sorted([*one.columns, "length"])
    assert other["score"].equals(one["score"])
    assert other["mood"].notna().all()
    assert set(none.columns) == set(other.columns)


def test_fields_named_after_out_go_with_it_and_those_of_another_out_stay():
    with llm.rehearse():
        one = run(run(prompts(2), out="a", schema={"score": int}), out="b", schema={"score": int})
        other = run(one, out="a", schema={"mood": str})
    assert "a_score" not in other.columns
    assert {"a_mood", "b_score"} <= set(other.columns)


def test_a_users_own_column_is_never_removed_wherever_it_stands():
    with llm.rehearse():
        out = run(prompts(2), schema={"score": int})
        out.insert(list(out.columns).index("score"), "between", [1, 2])
        moved = out.rename(columns={"score": "old"}).assign(score=[7, 8])
        again, other = run(out), run(moved)
    assert list(again.columns) == ["q", "q_llm", "between", *LOG[1:]]
    assert other["score"].tolist() == [7, 8]
    assert "old" in other.columns


def test_a_field_that_is_the_prompt_of_the_next_run_stays():
    with llm.rehearse():
        out = run(prompts(2), out="a", schema={"question": str})
        again = out.llm.run(MODEL, "a_question", out="a", schema={"mood": str}, progress=False)
        filled = run(out, template="{a_question}", out="a")
    assert again["a_question"].equals(out["a_question"])
    assert filled["a_question"].equals(out["a_question"])


def test_rows_asked_again_with_another_schema_take_nothing_from_the_others():
    with llm.rehearse("*: content_filter@1"):
        out = run(prompts(3), schema={"score": int}, concurrency=1)
        again = out.llm.retry_failed(schema={"mood": str}, progress=False)
    failed = out["q_llm_status"] == "failed"
    assert failed.sum() == 1
    assert again["score"].notna().equals(~failed)
    assert again["mood"].notna().equals(failed)


def test_a_retry_without_run_ids_says_that_nothing_was_sent():
    with llm.rehearse() as server:
        out = run(prompts(2))
        out["q_llm_run"] = pd.array([None, None], dtype="string")
        out["q_llm_status"] = ["cancelled", "cancelled"]
        with pytest.raises(llm.ConfigError, match=r"'q_llm_run' holds no run id.*df\.llm\.run"):
            out.llm.retry_failed()
        assert len(server.lines) == 2


def test_a_retry_of_another_processs_rows_says_whose_they_are():
    with llm.rehearse("*: content_filter@1..2"):
        out = _elsewhere(run(prompts(2), concurrency=1))
        with pytest.raises(llm.ConfigError, match=r"0000deadbeef.*another process.*df\.llm\.run"):
            out.llm.retry_failed()


def test_a_retry_says_which_columns_of_the_job_are_missing_or_were_renamed():
    with llm.rehearse():
        out = run(prompts(2))
        with pytest.raises(llm.ConfigError, match="'q_llm_status' is missing"):
            out.drop(columns="q_llm_status").llm.retry_failed()
        with pytest.raises(llm.ConfigError, match="renamed: 'q_llm_run_x'"):
            out.merge(out, on="q").llm.retry_failed()


def test_a_merge_that_renames_the_columns_still_joins_to_its_attempts():
    with llm.rehearse("*: content_filter@1, 503@3"):
        one, other = run(prompts(2), concurrency=1), run(prompts(2), system="Be short.", temperature=0.3)
        merged = one.merge(other, on="q", suffixes=("_x", ".right"))
        assert "q_llm_run_x" in merged.columns
        runs = {*one["q_llm_run"].dropna(), *other["q_llm_run"]}
        for found in (llm.attempts(merged), merged.llm.attempts()):
            assert set(found["run_id"]) == runs
        assert set(llm.attempts(merged["q_llm_run.right"])["run_id"]) == set(other["q_llm_run"])
        report = merged.llm.report()
    assert {status: count for status, count in report.rows.items() if count} == {"ok": 3, "failed": 1}
    assert set(report.attempts["run_id"]) == runs


def test_a_column_with_run_in_its_name_and_no_run_ids_is_not_a_jobs():
    frame = prompts(2).assign(test_run_no=[1, 2], last_running=["a", None], x_run_y=["0123", "nothing-1"])
    for ask in (llm.attempts, lambda one: one.llm.attempts(), lambda one: one.llm.report()):
        with pytest.raises(llm.ConfigError):
            ask(frame)
    with llm.rehearse():
        out = run(frame)
        assert set(out.llm.attempts()["run_id"]) == set(out["q_llm_run"])
        assert statuses(out) == {"ok": 2}


def test_the_report_of_a_result_without_its_status_says_so():
    with llm.rehearse():
        out = run(prompts(2)).drop(columns="q_llm_status")
        assert len(out.llm.attempts()) == 2
        with pytest.raises(llm.ConfigError, match="'q_llm_status' is missing"):
            out.llm.report()
