"""Calls in other processes: forked ones, those of a ProcessPoolExecutor, of joblib; their parent goes on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import traceback
from concurrent.futures import ProcessPoolExecutor

import joblib
import pandas as pd
import pytest
from doors import DOORS
from joblib.externals.loky import get_reusable_executor
from rehearsing import MODEL, fresh, wait_until

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.store import memory

HANG_S = 20

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
pytestmark = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


def in_a_child(work):
    """Do it in a forked child; fail when it raises or hangs there."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(HANG_S)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - nothing of the child may get into pytest
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def column(question):
    return pd.DataFrame({"q": [question]}).llm.run(MODEL, "q", progress=False)["q_llm"][0]


WAYS = {
    **{name: lambda question, door=door: door(MODEL, question).content for name, door in DOORS.items()},
    "chat_model": lambda question: llm.chat_model(MODEL).invoke(question).content,
    "chat_model, awaited": lambda question: asyncio.run(llm.chat_model(MODEL).ainvoke(question)).content,
    "column": column,
}


# --- os.fork ------------------------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.parametrize("way", WAYS)
def test_a_forked_child_works_and_its_parent_goes_on(way):
    ask = WAYS[way]

    def work():
        assert "'child'" in ask("child")
        in_a_child(grandchild)
        assert "'again'" in ask("again")

    def grandchild():
        assert "'grandchild'" in ask("grandchild")

    with llm.rehearse() as server:
        assert "'parent'" in ask("parent")
        in_a_child(work)
        assert "'parent again'" in ask("parent again")
        assert len(server.lines) == 5


@needs_fork
def test_a_child_forked_while_a_probe_is_in_flight_does_not_wait_for_it():
    def work():
        llm.run_llm(MODEL, "child", deadline=0.5)
        assert not any(session().health.traffic._in_flight.values())

    with llm.rehearse("*: 503*1, latency=1@2", openrouter_keys=1, huggingface_tokens=0) as server:
        llm.configure(retries=0)
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "x")
        probe = threading.Thread(target=llm.run_llm, args=(MODEL, "probe"))
        probe.start()
        wait_until(lambda: len(server.lines) == 2)
        in_a_child(work)
        probe.join()


@needs_fork
def test_a_child_forked_while_the_log_is_written_does_not_wait_for_that():
    def work():
        assert llm.attempts(llm.run_llm(MODEL, "child"))["outcome"].tolist() == ["ok"]

    with llm.rehearse(), memory._lock:
        in_a_child(work)


@needs_fork
def test_a_child_forked_in_the_midst_of_a_stream_is_told_whose_it_is_and_the_parent_reads_on():
    def read():
        with pytest.raises(llm.ConfigError, match=r"belongs to the process that began it.*llm\.stream_llm"):
            list(chunks)

    with llm.rehearse("*: pace=0.02") as server:
        chunks = llm.stream_llm(MODEL, "x")
        pieces = [next(chunks)]
        in_a_child(read)
        in_a_child(chunks.close)
        pieces += chunks
        assert "'x'" in "".join(piece.content for piece in pieces)
        assert [line.fault for line in server.lines] == [None]


@needs_fork
def test_a_child_forked_from_many_threads_at_work_works():
    def work():
        assert "'child'" in llm.run_llm(MODEL, "child").content
        assert [thread.name for thread in threading.enumerate() if thread.name == "llm_executor_nb"] != []

    def ask():
        while not is_over.is_set():
            llm.run_llm(MODEL, "x")

    is_over = threading.Event()
    threads = [threading.Thread(target=ask) for _ in range(8)]
    with llm.rehearse():
        for thread in threads:
            thread.start()
        try:
            for _ in range(8):
                in_a_child(work)
        finally:
            is_over.set()
            for thread in threads:
                thread.join()


# --- pools of processes -------------------------------------------------------------------------------------------


def prepare(url):
    """Give a new process what it does not inherit: settings are of a process."""
    llm.configure(openrouter_keys=["sk-or-v1-pool-0001"], huggingface_tokens=[], openrouter_base_url=url, retries=0)
    llm.MODEL_INFERENCE_PROVIDERS[MODEL] = []


def ask(way, question):
    """Ask, and return the answer, in a process of a pool."""
    return os.getpid(), WAYS[way](question)


def prepare_and_ask(url, way, question):
    prepare(url)
    return ask(way, question)


def assert_answered(found, *, is_elsewhere=True):
    assert [f"'question {n}'" in answer for n, (_, answer) in enumerate(found)] == [True] * len(found)
    assert (os.getpid() not in {process for process, _ in found}) is is_elsewhere


METHODS = [pytest.param("fork", marks=needs_fork), "spawn"]


@pytest.mark.parametrize("method", METHODS)
def test_a_process_pool_asks_through_every_door_and_brings_errors_back(method):
    context = multiprocessing.get_context(method)
    with RehearsalServer("openrouter: 401@9") as server:
        prepare(server.openrouter_url)
        llm.run_llm(MODEL, "the parent has its loop already")
        with ProcessPoolExecutor(2, context, initializer=prepare, initargs=(server.openrouter_url,)) as pool:
            found = [pool.submit(ask, way, f"question {n}") for n, way in enumerate(WAYS)]
            assert_answered([one.result(timeout=60) for one in found])
            error = pool.submit(ask, "run", "refused").exception(timeout=60)
        assert isinstance(error, llm.AllRoutesFailedError)
        assert [attempt.outcome.value for attempt in error.attempts] == ["auth"]
        assert "pool-0001" not in repr(error)
        assert llm.run_llm(MODEL, "the parent goes on").content


@needs_fork
def test_a_process_pool_that_is_forked_has_the_settings_of_its_parent():
    with llm.rehearse() as server:
        with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
            assert_answered(list(pool.map(ask, ["run"] * 8, [f"question {n}" for n in range(8)])))
        assert len(server.lines) == 8


@pytest.mark.parametrize("backend", ["loky", pytest.param("multiprocessing", marks=needs_fork), "threading"])
def test_joblib_asks_through_every_door(backend):
    with RehearsalServer() as server:
        prepare(server.openrouter_url)
        tasks = [
            joblib.delayed(prepare_and_ask)(server.openrouter_url, way, f"question {n}") for n, way in enumerate(WAYS)
        ]
        found = joblib.Parallel(n_jobs=2, backend=backend)(tasks)
        assert_answered(found, is_elsewhere=backend != "threading")
        assert len(server.lines) == len(WAYS)
    if backend == "loky":
        get_reusable_executor().shutdown(wait=True)
