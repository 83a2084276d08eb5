"""Calls from many threads, and many calls: right answers, one private loop, and nothing that grows."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from pathlib import Path

import pandas as pd
import pytest
from doors import DOORS
from loopback import started
from rehearsing import MODEL, assert_log_is_what_the_server_saw, assert_nothing_is_in_flight, fresh, settle

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.threads import LoopThread
from llm_executor_nb.rehearsal.server import RehearsalServer

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells of a process in /proc")


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


def loop_threads():
    return [thread.name for thread in threading.enumerate() if thread.name == "llm_executor_nb"]


def open_files():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no paths are wanted


def memory_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def at_once(number, ask):
    """Ask from as many threads, all at the same moment; return the texts in their order."""
    gate = threading.Barrier(number)

    def wait_and_ask(which):
        gate.wait()
        return ask(f"question {which}")

    with ThreadPoolExecutor(number) as pool:
        return [message.content for message in pool.map(wait_and_ask, range(number))]


def invoked(question):
    return llm.chat_model(MODEL).invoke(question)


def streamed(question):
    return reduce(add, llm.chat_model(MODEL).stream(question))


WAYS = {
    **{name: lambda question, door=door: door(MODEL, question) for name, door in DOORS.items()},
    "chat_model.invoke": invoked,
    "chat_model.stream": streamed,
}


@pytest.mark.parametrize("way", WAYS)
def test_two_hundred_threads_at_once_get_their_own_answers_over_one_loop(way):
    with llm.rehearse(latency_s=0.1) as server:
        answers = at_once(200, WAYS[way])
        assert [f"'question {n}'" in answer for n, answer in enumerate(answers)] == [True] * 200
        assert loop_threads() == ["llm_executor_nb"]
        assert 1 < server.in_flight_peak <= 200
        assert server._server.connections <= 200
        assert_log_is_what_the_server_saw(server, in_order=False)
        assert_nothing_is_in_flight()


def test_two_hundred_threads_may_make_the_first_call_of_a_process():
    body = """
import threading
from concurrent.futures import ThreadPoolExecutor
gate = threading.Barrier(200)
def ask(n):
    gate.wait()
    if n % 2:
        return f"'{n}'" in llm.run_llm("my/model", f"{n}").content
    return f"'{n}'" in "".join(chunk.content for chunk in llm.stream_llm("my/model", f"{n}"))
with ThreadPoolExecutor(200) as pool:
    print(sum(pool.map(ask, range(200))))
print([thread.name for thread in threading.enumerate()].count("llm_executor_nb"))
"""
    with RehearsalServer() as server, started(body, server.openrouter_url, "-W", "error") as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert output == "200\n1\n"


def test_columns_from_several_threads_each_get_their_own_rows():
    def column(name):
        return pd.DataFrame({"q": [f"{name} {n}" for n in range(20)]}).llm.run(MODEL, "q", progress=False)

    with llm.rehearse(latency_s=0.01) as server, ThreadPoolExecutor(8) as pool:
        for out in pool.map(column, "abcdefgh"):
            assert out["q_llm_status"].tolist() == ["ok"] * 20
            assert all(f"'{row.q}'" in row.q_llm for row in out.itertuples())
        assert loop_threads() == ["llm_executor_nb"]
        assert_log_is_what_the_server_saw(server, in_order=False)


@needs_proc
def test_thousands_of_calls_in_a_row_leave_memory_and_open_files_as_they_were():
    def thousand(server):
        for n in range(1_000):
            assert f"'call {n}'" in llm.run_llm(MODEL, f"call {n}").content
        server.clear()

    with llm.rehearse() as server:
        thousand(server)
        before_mb, before_files, before_threads = memory_mb(), open_files(), threading.active_count()
        for _ in range(2):
            thousand(server)
        assert open_files() == before_files
        assert threading.active_count() == before_threads
        assert memory_mb() - before_mb < 4  # 2,000 more attempts in the log are half of one
        assert_nothing_is_in_flight()


def test_the_log_of_calls_by_hand_has_a_bound():
    llm.configure(retries=0)
    with llm.rehearse():
        llm.run_llm(MODEL, "first")
        (first,) = session().log.all()
        llm.run_llm(MODEL, "last")
        for _ in range(9_999):
            session().log.record(first)
        assert (llm.attempts()["run_id"] == first.run_id).sum() == 9_999
        assert len(llm.attempts()) == 10_000


@needs_proc
def test_streams_that_are_left_and_calls_that_fail_leave_no_file_open():
    llm.configure(retries=0)

    def hundred():
        for _ in range(100):
            next(llm.stream_llm(MODEL, "left"))
            with pytest.raises(llm.AllRoutesFailedError):
                llm.run_llm(MODEL, "refused", timeout=5)
            llm.reset_health()
        settle(server)

    with llm.rehearse("openrouter: stream-stall, down", openrouter_keys=1, huggingface_tokens=0) as server:
        hundred()
        before = open_files()
        hundred()
        assert open_files() <= before


@pytest.mark.parametrize("is_handed_over", [True, False])
def test_an_interrupt_while_work_is_handed_over_leaves_nothing_running(is_handed_over):
    thread, ended, begun = LoopThread("interrupted"), threading.Event(), threading.Event()
    real = thread.loop.call_soon_threadsafe

    def interrupted(*args, **options):
        thread.loop.call_soon_threadsafe = real
        if is_handed_over:
            real(*args, **options)
        raise KeyboardInterrupt

    async def work():
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    thread.loop.call_soon_threadsafe = interrupted
    try:
        with pytest.raises(KeyboardInterrupt):
            thread.submit(work())
        assert thread.submit(asyncio.sleep(0, "next")).result(5) == "next"
        assert not begun.is_set() or (is_handed_over and ended.wait(5))
    finally:
        thread.stop(1)
