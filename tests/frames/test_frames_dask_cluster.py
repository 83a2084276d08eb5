"""`ddf.llm` on a cluster of two worker processes: they share requests, slots, holds and the log, and hold no key."""

from __future__ import annotations

import os
import signal
import sys

import pandas as pd
import pytest
from columns import MODEL, prompts, statuses
from rehearsing import assert_log_is_what_the_server_saw, fresh, settle, wait_until

import llm_executor_nb as llm
from llm_executor_nb.core.install_line import install_line
from llm_executor_nb.frames.partition import _jobs
from llm_executor_nb.rehearsal.server import RehearsalServer

dd = pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")
cloudpickle = pytest.importorskip("cloudpickle")

VARIABLE, CANARY = "OPENROUTER_API_KEY", "sk-or-v1-canary-of-a-cluster-0001"
KNOWN_WITHIN_S = 1.5
"""Within a second, on a machine that is not busy, every worker knows what one of them was told."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    home = str(tmp_path_factory.mktemp("workers"))
    env = {"HOME": home, "LLM_EXECUTOR_HOME": home}
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=2,
        processes=True,
        host="127.0.0.1",
        dashboard_address=":0",
        local_directory=home,
        env=env,
    ) as made:
        yield made


@pytest.fixture(autouse=True)
def client(cluster):
    with fresh(), distributed.Client(cluster) as made:
        made.wait_for_workers(2)
        yield made


def run(frame, count=8, **options):
    parted = dd.from_pandas(frame, npartitions=count, sort=False)
    return parted.llm.run(MODEL, "q", **{"progress": False, **options})


def jobs_here():
    return list(_jobs)


def set_variable(value):
    if value is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = value


def hide_the_package():
    """Make every import of the package fail, and keep what was loaded."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("llm_executor_nb")}
    sys.modules["llm_executor_nb"] = None
    sys.__dict__["kept"] = kept


def show_the_package():
    sys.modules.update(sys.__dict__.pop("kept"))


def test_two_workers_share_a_job_and_every_request_has_one_record(client):
    with llm.rehearse("*: 5%503", latency_s=0.02) as rehearsal:
        out = run(prompts(200), concurrency=16)
        assert_log_is_what_the_server_saw(rehearsal, in_order=False)
        asked = len(rehearsal.lines)
        assert asked == 200 + sum(line.status == 503 for line in rehearsal.lines)
        assert rehearsal.in_flight_peak <= 16
        got = out.compute()
        assert len(out.head()) == 5
        assert len(rehearsal.lines) == asked
        assert len(out.llm.attempts()) == asked
    assert statuses(got) == {"ok": 200}
    assert all(question in answer for question, answer in zip(got["q"], got["q_llm"], strict=True))
    job_id = got["q_llm_run"].iloc[0].partition("-")[0]
    assert all(job_id in jobs for jobs in client.run(jobs_here).values())


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="there are no process groups")
def test_an_interrupt_that_is_meant_for_the_client_ends_no_worker(client):
    with llm.rehearse():
        run(prompts(4), 2)
        pids = client.run(os.getpid)
        for pid in pids.values():
            os.kill(pid, signal.SIGINT)  # as Ctrl-C and a kernel's interrupt do, which reach the whole group
        assert statuses(run(prompts(8), 2).compute()) == {"cached": 4, "ok": 4}
        assert client.run(os.getpid) == pids


def test_equal_requests_on_different_workers_are_sent_once():
    with llm.rehearse(latency_s=0.2) as rehearsal:
        out = run(pd.concat([prompts(5)] * 8, ignore_index=True))
        assert len(rehearsal.lines) == 5
    assert set(statuses(out.compute())) <= {"ok", "cached"}


@pytest.mark.parametrize("fault", ["401", "429 retry-after=20"])
def test_what_one_worker_is_told_of_a_key_holds_on_the_other(fault):
    """Only the first request is refused: a worker that had not heard of it would go on asking that key."""
    name, _, option = fault.partition(" ")
    with llm.rehearse(f"openrouter[1]: {name}*1 {option}", latency_s=0.1) as rehearsal:
        out = run(prompts(600), concurrency=16)
        settle(rehearsal)
        (refused,) = [line for line in rehearsal.lines if line.status == int(name)]
        later = [line for line in rehearsal.lines if line.received_s > refused.replied_s + KNOWN_WITHIN_S]
        assert {line.key for line in later} == {"..0002"}
    assert statuses(out.compute()) == {"ok": 600}


def test_a_stop_ends_the_work_of_all_workers():
    with llm.rehearse(latency_s=0.05) as rehearsal:
        parted = dd.from_pandas(prompts(2_000), npartitions=8, sort=False)
        job = parted.llm.start(MODEL, "q", progress=False, concurrency=8)
        wait_until(lambda: len(rehearsal.lines) > 50, 30)
        job.stop()
        settle(rehearsal)
        asked = len(rehearsal.lines)
        got = job.result().compute()
        assert len(rehearsal.lines) == asked < 2_000
    assert len(got) == 2_000
    assert set(statuses(got)) <= {"ok", "cached", "cancelled"}


def test_a_worker_without_the_key_is_named_before_anything_is_sent(client, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, CANARY)
    with RehearsalServer(openrouter_keys=[CANARY]) as server:
        llm.configure(openrouter_base_url=server.openrouter_url, ledger=tmp_path / "ledger.sqlite")
        with pytest.raises(llm.ConfigError, match=VARIABLE) as lacking:
            run(prompts(4))
        assert all(address in str(lacking.value) for address in client.scheduler_info()["workers"])
        assert CANARY not in str(lacking.value)
        assert server.lines == ()


def test_no_key_leaves_a_process(client, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, CANARY)
    client.run(set_variable, CANARY)
    try:
        with RehearsalServer("*: 20%503", openrouter_keys=[CANARY]) as server:
            llm.configure(openrouter_base_url=server.openrouter_url, ledger=tmp_path / "ledger.sqlite")
            out = run(prompts(40))
            assert len(server.lines) >= 40
            assert {line.key for line in server.lines} == {f"..{CANARY[-4:]}"}
    finally:
        client.run(set_variable, None)
    logs = str([client.get_worker_logs(), client.get_scheduler_logs()])
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    graph = cloudpickle.dumps([out, dict(out.__dask_graph__())])
    assert statuses(out.compute()) == {"ok": 40}
    for place in (logs.encode(), files, graph, cloudpickle.dumps(out.compute())):
        assert CANARY.encode() not in place


def test_a_worker_without_the_package_is_named_before_anything_is_sent(client):
    (address, *_) = client.scheduler_info()["workers"]
    with llm.rehearse() as rehearsal:
        client.run(hide_the_package, workers=[address])
        try:
            with pytest.raises(llm.ConfigError) as lacking:
                run(prompts(4))
        finally:
            client.run(show_the_package, workers=[address])
        assert rehearsal.lines == ()
    assert address in str(lacking.value)
    assert install_line("dask") in str(lacking.value)


def test_a_killed_worker_costs_what_was_in_flight(client):
    in_flight = 8
    with llm.rehearse(latency_s=0.05) as rehearsal:
        parted = dd.from_pandas(prompts(400), npartitions=8, sort=False)
        job = parted.llm.start(MODEL, "q", progress=False, concurrency=in_flight)
        wait_until(lambda: len(rehearsal.lines) > 80, 30)
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        got = job.result().compute()
        settle(rehearsal)
        asked = len(rehearsal.lines)
        assert set(statuses(got)) <= {"ok", "cached"}
        assert asked <= 400 + 3 * in_flight
        run(prompts(400), 5)
        assert len(rehearsal.lines) == asked
