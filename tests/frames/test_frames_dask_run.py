"""`ddf.llm` with Dask's schedulers of one process: the same rows, columns and log as a pandas frame gets."""

from __future__ import annotations

import asyncio

import pandas as pd
import pytest
from columns import LOG_COLUMNS, MODEL, prompts, statuses
from rehearsing import assert_log_is_what_the_server_saw, fresh, wait_until

import llm_executor_nb as llm

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")

writes_parquet = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.set_index:DeprecationWarning")
"""Dask writes Parquet in a way that the newest pandas warns about."""
DRAWN = 0.7
"""A temperature at which equal requests are drawn anew."""


@pytest.fixture(autouse=True)
def _schedule():
    """Threads of this process, as many as the tests have cores."""
    with fresh(), dask.config.set(scheduler="threads", num_workers=2):
        yield


def parts(frame, count=3):
    return dd.from_pandas(frame, npartitions=count, sort=False)


def run(frame, column="q", **options):
    return frame.llm.run(MODEL, column, **{"progress": False, **options})


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_the_result_is_what_pandas_gets(scheduler):
    frame = pd.concat([prompts(12), pd.DataFrame({"q": [None, " "]})])
    frame.index = [f"row {number // 2}" for number in range(14)]
    with llm.rehearse(), dask.config.set(scheduler=scheduler):
        expected = frame.llm.run("gemma", "q", progress=False, reuse=False)
        out = parts(frame).llm.run("gemma", "q", progress=False, reuse=False)
    got = out.compute()
    alike = ["q_llm", "q_llm_status", "q_llm_attempts", "q_llm_error"]
    pd.testing.assert_frame_equal(got[alike], expected[alike], check_index_type=False)
    assert got["q_llm_run"].dropna().is_unique
    assert got["q_llm_run"].notna().sum() == 12


def test_dask_knows_the_columns_and_types_before_it_looks():
    with llm.rehearse():
        out = run(parts(prompts(4)))
        assert list(out.columns) == ["q", *(f"q_llm{end}" for end in LOG_COLUMNS)]
        assert (out.dtypes == out.compute().dtypes).all()


def test_divisions_and_partitions_stay():
    frame = dd.from_pandas(prompts(9), npartitions=3)
    with llm.rehearse():
        out = run(frame)
    assert out.divisions == frame.divisions
    assert list(out.get_partition(1).compute()["q"]) == list(frame.get_partition(1).compute()["q"])


@writes_parquet
def test_to_look_at_a_result_buys_nothing(tmp_path):
    with llm.rehearse() as rehearsal:
        out = run(parts(prompts(30)))
        bought = len(rehearsal.lines)
        assert bought == 30
        out.head()
        assert len(out) == 30
        first, second = out.compute(), out[out["q_llm_status"] == "ok"].compute()
        pd.testing.assert_frame_equal(first, second)
        out.to_parquet(tmp_path / "out")
        assert len(rehearsal.lines) == bought


@writes_parquet
def test_parquet_comes_in_and_goes_out_by_partitions(tmp_path):
    prompts(20).to_parquet(tmp_path / "one.parquet")
    prompts(20, start=20).to_parquet(tmp_path / "two.parquet")
    with llm.rehearse() as rehearsal:
        frame = dd.read_parquet([tmp_path / "one.parquet", tmp_path / "two.parquet"])
        run(frame).to_parquet(tmp_path / "out")
        assert len(rehearsal.lines) == 40
    back = pd.read_parquet(tmp_path / "out")
    assert statuses(back) == {"ok": 40}
    assert all(asked in answer for asked, answer in zip(back["q"], back["q_llm"], strict=True))


def test_equal_requests_of_different_partitions_are_sent_once():
    with llm.rehearse(latency_s=0.05) as rehearsal:
        out = run(parts(pd.concat([prompts(5)] * 6, ignore_index=True), 6)).compute()
        assert len(rehearsal.lines) == 5
    assert statuses(out)["ok"] + statuses(out).get("cached", 0) == 30


def test_other_partitions_buy_nothing_again():
    with llm.rehearse() as rehearsal:
        for count in (8, 5, 3):
            assert set(statuses(run(parts(prompts(60), count)).compute())) <= {"ok", "cached"}
            assert len(rehearsal.lines) == 60


def test_above_temperature_0_each_copy_is_drawn_once_however_the_rows_are_parted():
    frame = pd.concat([prompts(4)] * 5, ignore_index=True)
    with llm.rehearse() as rehearsal:
        for count in (8, 5, 3):
            run(parts(frame, count), temperature=DRAWN)
            assert len(rehearsal.lines) == 20


def test_the_log_has_every_request_and_its_row():
    with llm.rehearse("*: 10%503") as rehearsal:
        out = run(parts(prompts(60)), concurrency=8)
        assert_log_is_what_the_server_saw(rehearsal, in_order=False)
        log = out.llm.attempts()
        assert len(log) == len(rehearsal.lines)
        assert sorted(log["position"].unique()) == list(range(60))
        assert set(log["run_id"]) == set(out.compute()["q_llm_run"])
        assert "60" in str(out.llm.report())


def test_concurrency_bounds_all_partitions_together():
    with llm.rehearse(latency_s=0.05) as rehearsal:
        run(parts(prompts(80), 4), concurrency=6)
        assert rehearsal.in_flight_peak <= 6


def test_a_plan_counts_without_a_request():
    frame = parts(pd.concat([prompts(6), prompts(3), pd.DataFrame({"q": [None]})], ignore_index=True))
    with llm.rehearse() as rehearsal:
        shown = str(frame.llm.plan(MODEL, "q"))
        assert len(rehearsal.lines) == 0
    assert "10, 1 without input" in shown
    assert "6 distinct, 0 stored, 6 to ask" in shown


def test_a_preview_buys_a_few_rows_that_the_run_has_then():
    frame = parts(prompts(20))
    with llm.rehearse() as rehearsal:
        preview = frame.llm.preview(MODEL, "q", n=3, progress=False)
        assert len(preview.frame) == len(rehearsal.lines) == 3
        run(frame)
        assert len(rehearsal.lines) == 20


def test_only_rows_without_an_answer_are_asked_again():
    with llm.rehearse("*: content_filter*3", openrouter_keys=1, huggingface_tokens=0) as rehearsal:
        out = run(parts(prompts(12)))
        assert statuses(out.compute()) == {"ok": 9, "failed": 3}
        asked = len(rehearsal.lines)
        again = out.llm.retry_failed(progress=False)
        assert len(rehearsal.lines) - asked == 3
    before, after = out.compute(), again.compute()
    was_ok = before["q_llm_status"] == "ok"
    assert (after["q_llm_status"].isin(["ok", "cached"])).all()
    pd.testing.assert_frame_equal(after[was_ok], before[was_ok])


def test_a_schema_gives_typed_columns():
    with llm.rehearse():
        out = run(parts(prompts(6)), schema={"label": str, "stars": int})
        got = out.compute()
    assert {"label", "stars"} <= set(out.columns)
    assert str(got["stars"].dtype) == str(out.dtypes["stars"]) == "Int64"


def test_a_template_takes_several_columns():
    frame = pd.DataFrame({"name": ["tea", "cup"], "price": [1.5, 2.0]})
    with llm.rehearse():
        out = parts(frame, 2).llm.run(MODEL, template="{name}: {price:.2f}", progress=False).compute()
    assert ["tea: 1.50" in out["llm"].iloc[0], "cup: 2.00" in out["llm"].iloc[1]] == [True, True]


@pytest.mark.parametrize("arguments", [("none",), ("q", "nonsense")])
def test_what_is_wrong_is_said_before_anything_is_sent(arguments):
    column, *option = arguments
    with llm.rehearse() as rehearsal:
        with pytest.raises(llm.ConfigError):
            run(parts(prompts(3)), column, **dict.fromkeys(option, 1))
        assert rehearsal.lines == ()


def test_a_job_that_is_stopped_keeps_its_rows_and_asks_nothing_more():
    frame = parts(prompts(400), 4)
    with llm.rehearse(latency_s=0.05) as rehearsal:
        job = frame.llm.start(MODEL, "q", progress=False, concurrency=4)
        wait_until(lambda: len(rehearsal.lines) > 20, 20)
        job.stop()
        asked = len(rehearsal.lines)
        out = job.result().compute()
        assert len(rehearsal.lines) == asked < 400
        assert len(out) == 400
        assert set(statuses(out)) <= {"ok", "cached", "cancelled"}
        run(frame)
        paid = sum(line.status == 200 for line in rehearsal.lines)
        assert paid <= 400 + 4


def test_a_row_that_fails_can_end_the_job():
    with (
        llm.rehearse("*: content_filter", openrouter_keys=1, huggingface_tokens=0) as rehearsal,
        pytest.raises(llm.RequestError),
    ):
        run(parts(prompts(200), 4), on_error="raise", concurrency=2)
    assert len(rehearsal.lines) < 200


def test_a_budget_is_of_all_partitions():
    with llm.rehearse(latency_s=0.02):
        with pytest.warns(llm.LLMExecutorWarning, match="budget"):
            out = run(parts(prompts(300), 4), budget_usd=0.0004, price=(1.0, 1.0), max_tokens=10, concurrency=4)
        log = out.llm.attempts()
        assert 0 < log["cost_usd"].sum() <= 0.0004
        assert statuses(out.compute())["cancelled"] > 0


def test_keys_in_code_are_enough_for_threads_and_too_little_for_processes():
    llm.configure(openrouter_keys=["sk-or-v1-in-code-0001"], ledger="here.sqlite")
    with dask.config.set(scheduler="processes"), pytest.raises(llm.ConfigError, match="OPENROUTER_API_KEY") as refused:
        run(parts(prompts(3)))
    assert "in-code-0001" not in str(refused.value)


def test_an_event_loop_may_wait_for_it():
    async def waited():
        return await parts(prompts(6)).llm.arun(MODEL, "q", progress=False)

    with llm.rehearse():
        assert statuses(asyncio.run(waited()).compute()) == {"ok": 6}


def test_partitions_without_rows_are_part_of_the_result():
    frame = parts(prompts(12), 4)
    with llm.rehearse() as rehearsal:
        out = run(frame[frame["q"].isin(["question 0.", "question 11."])])
        assert len(rehearsal.lines) == 2
        assert statuses(out.compute()) == {"ok": 2}
