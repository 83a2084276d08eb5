"""The bounds of a job over a Dask frame are those of the whole job, not of each partition; a stop has a frame."""

from __future__ import annotations

import threading

import pytest
from columns import MODEL, prompts, statuses
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.frames.report import Report

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")
pytest.importorskip("distributed")

from llm_executor_nb.frames.dask_job import make_dask_job, planned  # noqa: E402 - it loads Dask

MAY_READ = threading.Event()
MAY_READ.set()


def read_when_allowed(part):
    assert MAY_READ.wait(30)
    return part


@pytest.fixture(autouse=True)
def _schedule():
    """Threads of this process, as many as the tests have cores."""
    with fresh(), dask.config.set(scheduler="threads", num_workers=2):
        yield


def parts(rows, count):
    return dd.from_pandas(prompts(rows), npartitions=count, sort=False)


def test_budget_s_begins_with_the_job_and_not_with_each_partition():
    options = {"budget_s": 0.5, "concurrency": 1, "progress": False}
    with llm.rehearse(latency_s=0.1) as rehearsal, dask.config.set(scheduler="synchronous"):
        with pytest.warns(UserWarning, match=r"its 0.5 s are over"):
            out = parts(80, 8).llm.run(MODEL, "q", **options)
        assert len(rehearsal.lines) <= 20  # half a second each would be 40
        assert statuses(out.compute())["cancelled"] >= 60


def test_when_every_answer_is_useless_the_partitions_not_begun_buy_nothing():
    with llm.rehearse() as rehearsal:
        with pytest.warns(UserWarning, match="rows in a row failed for the same reason"):
            out = parts(320, 8).llm.run(MODEL, "q", accept=lambda _: False, progress=False)
        assert len(rehearsal.lines) <= 320  # two partitions at once, with at most 40 rows of 4 requests
        assert statuses(out.compute())["cancelled"] >= 240


def test_a_stop_while_dask_still_reads_the_input_gives_the_rows_so_far():
    source = parts(6, 3)
    frame = source.map_partitions(read_when_allowed, meta=source._meta)
    with llm.rehearse() as rehearsal:
        job = make_dask_job(planned(frame, MODEL, "q", {"progress": False}))
        MAY_READ.clear()
        try:
            job.begin()
            job.stop()
            out = job.frame()
            bought = len(rehearsal.lines)
        finally:
            MAY_READ.set()
        assert len(out) == 6
        assert len(rehearsal.lines) == bought


def test_a_result_without_a_run_has_a_report():
    with llm.rehearse():
        with pytest.warns(UserWarning, match="budget"):
            out = parts(4, 2).llm.run(MODEL, "q", budget_usd=1e-9, max_tokens=50, progress=False)
        report = out.llm.report()
    assert isinstance(report, Report)
    assert "4 cancelled" in str(report)


def test_a_job_that_waits_outlasts_any_number_of_plans():
    with llm.rehearse():
        job = parts(4, 2).llm.start(MODEL, "q", progress=False)
        waiting = make_dask_job(planned(parts(6, 2), MODEL, "q", {"progress": False}))
        for _ in range(20):
            planned(parts(1, 1), MODEL, "q", {"progress": False})
        assert statuses(job.result().compute()) == {"ok": 4}
        assert set(statuses(waiting.result().compute())) <= {"ok", "cached"}


def test_rows_of_partitions_without_any_run_are_asked_again():
    with llm.rehearse():
        frame = parts(6, 3).llm.run(MODEL, "q", progress=False)
        unasked = frame.assign(q_llm_run=frame["q_llm_run"].where(frame["q"] == frame["q"].compute().iloc[0]))
        assert len(unasked.llm.retry_failed(progress=False)) == 6
