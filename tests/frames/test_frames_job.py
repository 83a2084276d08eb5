"""A job as a user holds it: started, looked at, stopped, retried, planned, previewed, reported, bounded by a budget."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pandas as pd
import pytest
from columns import LOG_COLUMNS, MODEL, PROVIDERS, assert_own_answers, prompts, run, statuses
from rehearsing import assert_log_is_what_the_server_saw, fresh, settle, wait_until

import llm_executor_nb as llm
from llm_executor_nb.core import clock


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        yield


def start(frame, **options):
    return frame.llm.start(MODEL, "q", progress=False, **options)


# --- start ------------------------------------------------------------------------------------------------------


def test_start_returns_at_once_and_frame_shows_what_there_is():
    with llm.rehearse(latency_s=0.05):
        run(prompts(1, start=1000))  # loads what the first call loads
        began = time.perf_counter()
        job = start(prompts(40), concurrency=2)
        assert time.perf_counter() - began < 0.5
        wait_until(lambda: job.snapshot().done >= 4)
        half = job.frame()
        assert 4 <= half["q_llm"].notna().sum() < 40
        assert_own_answers(half)
        assert not job.is_done
        out = job.result()
    assert statuses(out) == {"ok": 40}
    assert len(job.attempts()) == 40
    assert job.job_id in repr(job)


def test_open_rows_are_pending_while_a_job_runs_and_cancelled_when_it_was_stopped():
    with llm.rehearse("*: latency=0.2"):
        job = start(prompts(20), concurrency=2)
        wait_until(lambda: job.snapshot().done >= 2)
        half = job.frame()
        assert set(half["q_llm_status"]) == {"ok", "pending"}
        assert job.report().rows["pending"] > 0
        assert half.llm.report().rows["pending"] == statuses(half)["pending"]
        job.stop()
        for stopped in (job.frame(), job.result()):
            assert set(statuses(stopped)) == {"ok", "cancelled"}
        assert "pending" not in job.report().rows
        again = half.llm.retry_failed(progress=False, concurrency=20)
    assert set(statuses(again)) <= {"ok", "cached"}
    assert again["q_llm_status"].dtype == stopped["q_llm_status"].dtype


def test_failed_rows_are_told_by_cause_with_all_that_share_a_request(capsys):
    frame = pd.DataFrame({"q": ["bad.", "bad.", "good.", [1], "bad."]})
    with llm.rehearse("*: content_filter@1"):
        frame.llm.run(MODEL, "q", concurrency=1)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("5/5 rows · 4 failed · 2 asked, the others were equal or stored")
    assert said[1].startswith("3 failed: content_filter (")
    assert said[2].startswith("1 not sent: ")
    assert said[3].startswith("Ask again: run it once more")


def test_stop_cancels_what_is_in_flight_and_a_rerun_asks_only_the_rest():
    with llm.rehearse("*: latency=0.3") as server:
        job = start(prompts(30), concurrency=4)
        wait_until(lambda: job.snapshot().done >= 4)
        began = time.perf_counter()
        job.stop()
        assert time.perf_counter() - began < 1.0
        out = job.result()
        answered = statuses(out)["ok"]
        assert set(statuses(out)) == {"ok", "cancelled"}
        asked = len(job.attempts())
        time.sleep(0.2)  # what was on its way when it was stopped arrives
        settle(server)
        sent = len(server.lines)
        assert answered <= sent <= asked < 30
        time.sleep(0.2)
        assert len(server.lines) == sent
        again = run(prompts(30), concurrency=30)
        assert statuses(again) == {"cached": answered, "ok": 30 - answered}
        assert len(server.lines) == sent + 30 - answered
        assert_own_answers(again)


def test_attempts_of_a_job_a_frame_and_all_are_what_the_server_saw():
    with llm.rehearse("*: 10%503") as server, clock.use(clock.FrozenClock()):
        job = start(prompts(50))
        out = job.result()
        by_hand = llm.attempts(llm.run_llm(MODEL, "by hand.").response_metadata["llm_run_id"])
        assert_log_is_what_the_server_saw(server, in_order=False)
        assert len(llm.attempts(job)) == len(llm.attempts(out)) == len(server.lines) - len(by_hand)
    assert set(out["q_llm_run"]) == set(llm.attempts(out)["run_id"])
    assert llm.attempts(job)["position"].nunique() == 50


def test_the_result_survives_pickle_concat_merge_and_csv_and_joins_to_its_attempts(tmp_path):
    with llm.rehearse("*: 503*1"), clock.use(clock.FrozenClock()):
        out = run(prompts(5))
        log = llm.attempts()
    assert pickle.loads(pickle.dumps(out)).equals(out)  # noqa: S301 - our own
    assert len(pd.concat([out, out]).llm.attempts()) == len(log)
    joined = out.merge(log, left_on="q_llm_run", right_on="run_id")
    assert len(joined) == len(log)
    out.to_csv(tmp_path / "out.csv", index=False)
    assert len(pd.read_csv(tmp_path / "out.csv").llm.attempts()) == len(log)


def test_a_job_that_outlives_its_rehearsal_is_stopped_with_it():
    with llm.rehearse("*: latency=0.2"):
        job = start(prompts(40), concurrency=2)
        wait_until(lambda: job.snapshot().done >= 2)
    assert job.is_done
    out = job.result()
    assert set(statuses(out)) == {"ok", "cancelled"}
    assert len(llm.attempts(job)) >= 2


def test_attempts_are_found_by_the_run_column_alone():
    with llm.rehearse():
        out = run(prompts(3))
    assert len(llm.attempts(out["q_llm_run"])) == 3


# --- retry_failed -----------------------------------------------------------------------------------------------


def test_retry_failed_asks_every_failed_row_and_no_other():
    frame = prompts(12, index=np.repeat(["a", "b"], 6))
    with llm.rehearse("*: content_filter@3..5") as server:
        out = run(frame, concurrency=1)
        assert statuses(out) == {"ok": 9, "failed": 3}
        sent = len(server.lines)
        again = out.llm.retry_failed(progress=False)
        assert len(server.lines) == sent + 3
    assert statuses(again) == {"ok": 12}
    assert again.index.equals(out.index)
    assert list(again.columns) == list(out.columns)
    assert again.dtypes.equals(out.dtypes)
    assert_own_answers(again)
    kept = out["q_llm_status"] == "ok"
    assert again[kept.to_numpy()].equals(out[kept.to_numpy()])
    assert out.llm.retry_failed.__doc__


def test_retry_failed_can_skip_routes_and_take_another_model():
    llm.MODEL_INFERENCE_PROVIDERS["my/other"] = ["two"]
    with llm.rehearse("*: content_filter@1..2") as server:
        out = run(prompts(2), concurrency=1)
        again = out.llm.retry_failed("my/other", skip_routes=["openrouter"], progress=False)
        assert {(line.backend, line.provider) for line in server.lines[2:]} == {("huggingface", "two")}
        assert statuses(again) == {"ok": 2}
        with pytest.raises(llm.ConfigError, match="not a route of my/model"):
            out.llm.retry_failed(skip_routes=["nobody"], progress=False)
        with pytest.raises(llm.ConfigError, match="leaves no route"):
            out.llm.retry_failed(skip_routes=["openrouter", "huggingface"], progress=False)


def test_retry_failed_of_what_is_no_result_says_so():
    with pytest.raises(llm.ConfigError, match="_run"):
        prompts(2).llm.retry_failed()


def test_retry_failed_in_a_process_that_does_not_know_the_job_says_what_to_do():
    with llm.rehearse("*: 400"):
        out = run(prompts(2))
    out["q_llm_run"] = pd.array(["0000deadbeef-1", "0000deadbeef-2"], dtype="string")
    with llm.rehearse(), pytest.raises(llm.ConfigError, match="again instead: what is answered is not asked again"):
        out.llm.retry_failed()


# --- plan and preview -------------------------------------------------------------------------------------------


def test_plan_counts_without_a_request():
    frame = pd.DataFrame({"q": ["same.", "same.", "other.", None, " "]})
    with llm.rehearse() as server:
        plan = frame.llm.plan(MODEL, "q", price=(1.0, 2.0), max_tokens=100)
        assert not server.lines
        assert (plan.rows, plan.skipped, plan.requests, plan.stored, plan.to_ask) == (5, 2, 2, 0, 2)
        assert 0 < plan.least_usd < plan.most_usd
        assert plan.most_usd == pytest.approx(plan.input_tokens * 1e-6 + 200 * 2e-6)
        run(frame)
        plan = frame.llm.plan(MODEL, "q")
        assert (plan.stored, plan.to_ask) == (2, 0)
        assert frame.llm.plan(MODEL, "q", reuse=False).to_ask == 2
    assert "2 distinct, 2 stored, 0 to ask" in repr(plan)


def test_preview_buys_a_few_rows_spread_over_the_frame_and_the_run_reuses_them():
    frame = prompts(100)
    frame.loc[0, "q"] = None
    with llm.rehearse(latency_s=0.01) as server:
        preview = frame.llm.preview(MODEL, "q", n=5, progress=False)
        assert len(server.lines) == 5
        assert preview.frame.index.tolist() == [1, 25, 50, 75, 99]
        assert all(f"'{row.prompt}'" in row.answer for row in preview.frame.itertuples())
        assert preview.rows == 99
        assert preview.estimate_usd > 0
        again = frame.llm.preview(MODEL, "q", n=5, progress=False)
        assert len(server.lines) == 5
        assert "5 of these were stored already" in repr(again)
        out = run(frame)
        assert len(server.lines) == 99
    assert statuses(out) == {"ok": 94, "cached": 5, "skipped": 1}
    assert "will not be asked again" in repr(preview)
    with llm.rehearse(), pytest.raises(llm.ConfigError, match="n=0"):
        frame.llm.preview(MODEL, "q", n=0)


def test_a_report_counts_rows_attempts_waits_fallbacks_tokens_and_dollars():
    with llm.rehearse("openrouter[1]: 401; openrouter[2]: 503*2") as server, clock.use(clock.FrozenClock()):
        out = run(prompts(10), concurrency=1)
        report = out.llm.report()
    assert report.rows.to_dict() == {"ok": 10, "cached": 0, "failed": 0, "skipped": 0, "cancelled": 0}
    assert report.by_route["attempts"].sum() == len(server.lines)
    assert set(report.by_route["outcome"]) == {"auth", "overloaded", "ok"}
    assert report.fallbacks == 1
    assert report.waited_s >= 5.9
    assert dict(report.lines())["waits"].endswith(" s, all rows added up")
    assert report.output_tokens > report.truncations == 0
    assert report.cost_usd > 0
    assert "10 ok" in repr(report)


# --- budgets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_budget_of_dollars_holds_and_a_rerun_goes_on(concurrency):
    with llm.rehearse() as server:
        price = run(prompts(1)).llm.report().cost_usd
        with pytest.warns(llm.LLMExecutorWarning, match="budget of"):
            out = run(prompts(100, start=1000), concurrency=concurrency, budget_usd=10.5 * price, price=(0.1, 0.3))
        assert 8 <= statuses(out)["ok"] <= 10
        assert statuses(out)["cancelled"] == 100 - statuses(out)["ok"]
        bought = len(server.lines)
        again = run(prompts(100, start=1000))
        assert len(server.lines) == bought + 100 - statuses(out)["ok"]
    assert set(statuses(again)) == {"ok", "cached"}


def test_nothing_is_bought_side_by_side_before_one_answer_has_told_its_price():
    with llm.rehearse() as server:
        with pytest.warns(llm.LLMExecutorWarning, match="budget of"):
            out = run(prompts(50), concurrency=16, budget_usd=1e-9, price=(0.1, 0.3))
        assert len(server.lines) == 1
    assert statuses(out) == {"ok": 1, "cancelled": 49}


def test_a_budget_without_known_prices_says_what_to_give():
    llm.models.add("own/model", providers=["mine"], openrouter=False)
    llm.add_backend("mine", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(llm.ConfigError, match="price="):
        prompts(2).llm.run("own/model", "q", budget_usd=1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget_usd": 0}, "budget_usd"),
        ({"budget_s": -1}, "budget_s"),
        ({"price": 3}, "price"),
        ({"price": (1, -1)}, "price"),
    ],
)
def test_bounds_that_are_none_say_what_to_write(options, words):
    with llm.rehearse() as server:
        with pytest.raises(llm.ConfigError, match=words):
            run(prompts(2), **options)
        assert not server.lines


@pytest.mark.parametrize("script", ["*: latency=0.05", "*: hang"])
def test_a_budget_of_seconds_holds(script):
    with llm.rehearse(script):
        began = time.perf_counter()
        with pytest.warns(llm.LLMExecutorWarning, match="its 0.4 s are over"):
            out = run(prompts(200), concurrency=2, budget_s=0.4)
        assert 0.4 <= time.perf_counter() - began <= 0.4 + 0.5 + 0.6
    assert statuses(out)["cancelled"] > 100


def test_a_budget_in_a_raising_job_is_an_error_with_the_frame():
    with llm.rehearse("*: latency=0.05"), pytest.raises(llm.BudgetError) as raised:
        run(prompts(200), concurrency=2, budget_s=0.3, on_error="raise")
    assert len(raised.value.result) == 200
    assert [f"q_llm{suffix}" for suffix in LOG_COLUMNS] == list(raised.value.result.columns[1:])
