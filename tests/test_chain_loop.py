"""Calls from everywhere: a running loop, threads, forks, callbacks; what is in flight can be cancelled."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from rehearsing import (
    MODEL,
    assert_log_is_what_the_server_saw,
    assert_nothing_is_in_flight,
    fresh,
    settle,
    wait_until,
    words,
)

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Outcome, Reach
from llm_executor_nb.core.records import Scope
from llm_executor_nb.rehearsal.server import RehearsalServer


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


# --- event loops --------------------------------------------------------------------------------------------------


def test_a_sync_call_works_inside_a_running_event_loop():
    async def cell():
        return llm.run_llm(MODEL, "x")

    with llm.rehearse():
        assert asyncio.run(cell()).content.startswith("[practice answer")


def test_two_event_loops_one_after_the_other_work():
    with llm.rehearse() as server:
        for question in "xy":
            assert question in asyncio.run(llm.arun_llm(MODEL, question)).content
        assert_log_is_what_the_server_saw(server)


def test_sync_and_async_calls_share_connections():
    with llm.rehearse() as server:
        llm.run_llm(MODEL, "x")
        asyncio.run(llm.arun_llm(MODEL, "y"))
        llm.run_llm(MODEL, "z")
        assert server._server.connections == 1


def test_an_async_call_leaves_the_callers_loop_free():
    async def both():
        call = asyncio.ensure_future(llm.arun_llm(MODEL, "x"))
        ticks = 0
        while not call.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    with llm.rehearse(latency_s=0.2):
        assert asyncio.run(both()) >= 5


def test_an_async_call_sees_the_callers_errors_as_a_sync_one_does():
    with pytest.raises(llm.ModelNotSupportedError):
        asyncio.run(llm.arun_llm("nope", "x"))


# --- threads ------------------------------------------------------------------------------------------------------


def test_calls_from_many_threads_each_get_their_own_answer():
    with llm.rehearse(latency_s=0.02) as server, ThreadPoolExecutor(16) as pool:
        messages = list(pool.map(lambda n: llm.run_llm(MODEL, f"question {n}"), range(64)))
        assert all(f"'question {n}'" in message.content for n, message in enumerate(messages))
        assert len({message.response_metadata["llm_run_id"] for message in messages}) == 64
        assert_log_is_what_the_server_saw(server, in_order=False)


async def _asked(server):
    """Wait until the server has seen a request."""
    await asyncio.to_thread(wait_until, lambda: server.lines)


# --- cancelling ---------------------------------------------------------------------------------------------------


def test_cancelling_an_async_call_closes_its_connection_and_is_recorded():
    async def cancelled():
        call = asyncio.ensure_future(llm.arun_llm(MODEL, "x"))
        await _asked(server)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    with llm.rehearse("*: hang") as server:
        asyncio.run(cancelled())
        settle(server)
        assert [line.fault for line in server.lines] == ["client left"]
        assert (words("outcome"), words("decision")) == (["cancelled"], ["stop"])
        assert_log_is_what_the_server_saw(server)
        assert_nothing_is_in_flight()
        assert llm.health().empty


def test_wait_for_bounds_an_async_call():
    async def bounded():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(llm.arun_llm(MODEL, "x"), 0.2)

    with llm.rehearse("*: hang") as server:
        asyncio.run(bounded())
        settle(server)
        assert [line.fault for line in server.lines] == ["client left"]


def test_a_cancelled_wait_sends_nothing_more():
    async def cancelled():
        call = asyncio.ensure_future(llm.arun_llm(MODEL, "x"))
        await _asked(server)
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    with llm.rehearse("*: 503") as server:
        asyncio.run(cancelled())
        time.sleep(0.05)
        assert_log_is_what_the_server_saw(server)
        assert len(server.lines) == 1


def test_a_cancelled_probe_passes_to_the_run_that_waits_for_it():
    async def story(server):
        probe = asyncio.ensure_future(llm.arun_llm(MODEL, "first"))
        await _asked(server)
        other = asyncio.ensure_future(llm.arun_llm(MODEL, "second"))
        await asyncio.sleep(0.05)
        assert (len(server.lines), other.done()) == (1, False)
        probe.cancel()
        return await asyncio.wait_for(other, 3)

    with (
        clock.use(clock.FrozenClock()),
        llm.rehearse("openrouter: 503*4, hang*1", openrouter_keys=1, huggingface_tokens=0) as server,
    ):
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "x")
        server.clear()
        assert "second" in asyncio.run(story(server)).content
        settle(server)
        assert [line.fault for line in server.lines] == ["client left", None]
        assert llm.health().empty


SCRIPT = """
import sys, time
import llm_executor_nb as llm
llm.OPENROUTER_KEYS = ["sk-or-v1-subprocess-0001"]
llm.MODEL_INFERENCE_PROVIDERS["my/model"] = []
"""


def _start(body, url, *options):
    environment = {**os.environ, "OPENROUTER_BASE_URL": url}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.Popen(
        [sys.executable, *options, "-c", SCRIPT + body],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
@pytest.mark.parametrize(
    "call",
    ["llm.run_llm('my/model', 'x')", "import asyncio; asyncio.run(llm.arun_llm('my/model', 'x'))"],
)
def test_ctrl_c_cancels_what_is_in_flight_within_a_second(call):
    body = f"""
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with RehearsalServer("*: hang") as server, _start(body, server.openrouter_url) as process:
        wait_until(lambda: server.lines, 20)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - sent < 1
        wait_until(lambda: server.lines[0].replied_s is not None, 1)
        assert [line.fault for line in server.lines] == ["client left"]
        _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize("daemon", [True, False])
def test_the_process_ends_in_silence_while_a_request_is_in_flight_in_a_thread(daemon):
    body = f"""
import threading, urllib.request
def ask():
    try:
        llm.run_llm('my/model', 'x', timeout=1)
    except llm.AllRoutesFailedError:
        pass
llm.configure(retries=0)
threading.Thread(target=ask, daemon={daemon}).start()
while not llm.chain.session.session().health.traffic._in_flight:
    time.sleep(0.01)
time.sleep(0.1)
"""
    with RehearsalServer("*: hang") as server:
        process = _start(body, server.openrouter_url, "-X", "dev", "-W", "error")
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, output, errors) == (0, "", "")
        settle(server)
        assert [line.fault for line in server.lines] == ["client left"]


# --- callbacks ----------------------------------------------------------------------------------------------------


def test_a_sync_call_from_a_callback_is_refused_in_words_instead_of_blocking():
    with llm.rehearse("openrouter: 503*1") as server:
        llm.configure(before_sleep=lambda _: llm.run_llm(MODEL, "y"))
        with pytest.raises(llm.ConfigError, match=r"await llm\.arun_llm"):
            llm.run_llm(MODEL, "x")
        assert_log_is_what_the_server_saw(server)


def test_accept_may_ask_a_model_itself():
    with llm.rehearse() as server:
        llm.run_llm(MODEL, "x", accept=lambda message: llm.run_llm(MODEL, f"Is this good? {message.content}"))
        assert len(server.lines) == 2


def test_a_callback_that_ends_a_call_by_other_means_leaves_no_probe_behind():
    class OddError(BaseException):
        pass

    def accept(_):
        raise OddError

    with clock.use(clock.FrozenClock()), llm.rehearse("*: 503*4", openrouter_keys=1, huggingface_tokens=0):
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "x")
        with pytest.raises(OddError):
            llm.run_llm(MODEL, "x", accept=accept)
        assert_nothing_is_in_flight()
        assert llm.run_llm(MODEL, "y", deadline=1).content


def test_a_request_that_is_no_json_leaves_no_probe_behind():
    with clock.use(clock.FrozenClock()), llm.rehearse("*: 503*4", openrouter_keys=1, huggingface_tokens=0) as server:
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "x")
        with pytest.raises(llm.ConfigError, match="cannot be written as JSON"):
            llm.run_llm(MODEL, "x", extra_body={"openrouter": {"bad": object()}})
        assert_nothing_is_in_flight()
        assert llm.run_llm(MODEL, "y", deadline=1).content
        assert_log_is_what_the_server_saw(server)


# --- forks --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_works_and_its_parent_goes_on():
    with llm.rehearse() as server:
        llm.run_llm(MODEL, "parent")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if "child" in llm.run_llm(MODEL, "child", deadline=5).content else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert "again" in llm.run_llm(MODEL, "again").content
        assert len(server.lines) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_forked_while_a_probe_is_in_flight_does_not_wait_for_it():
    with llm.rehearse("*: 503*1, latency=1@2", openrouter_keys=1, huggingface_tokens=0) as server:
        llm.configure(retries=0)
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "x")
        probe = threading.Thread(target=llm.run_llm, args=(MODEL, "probe"))
        probe.start()
        wait_until(lambda: len(server.lines) == 2)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                llm.run_llm(MODEL, "child", deadline=0.5)
                code = 0 if not any(session().health.traffic._in_flight.values()) else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        probe.join()


# --- outages under concurrency ------------------------------------------------------------------------------------


def _ask_at_once(number, **options):
    async def ask():
        calls = (llm.arun_llm(MODEL, f"question {n}", **options) for n in range(number))
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)

    return asyncio.run(ask())


OUTAGES = [
    "*: 503@1..40",
    "openrouter: 503@1..60; huggingface: 503@1..30",
    "openrouter: 429@1..30 retry-after=5; huggingface: 401",
    "openrouter: 429@1..60; huggingface: 503",
    "openrouter[1]: 401; openrouter[2]: rate=2/s; huggingface: 404",
    "*: 20%503, 10%429, 5%down, 5%empty, 3%429 retry-after=2",
    "openrouter: 503; huggingface: 503",
    "*: 429 retry-after=3",
    "*: 429 retry-after=31",
]


@pytest.mark.parametrize("retries", [0, 3])
@pytest.mark.parametrize("script", OUTAGES)
def test_twenty_calls_at_once_all_end_and_none_fails_without_having_asked(script, retries):
    llm.configure(retries=retries)
    with clock.use(clock.FrozenClock()) as time, llm.rehearse(script, latency_s=0.005) as server:
        results = _ask_at_once(20)
        assert time.elapsed_s <= 300
        ended = Counter(type(result).__name__ for result in results)
        assert set(ended) <= {"AIMessage", "AllRoutesFailedError", "DeadlineError"}, ended
        assert all(result.attempts for result in results if isinstance(result, Exception)), "it failed blind"
        assert_log_is_what_the_server_saw(server, in_order=False)
        assert_nothing_is_in_flight()


def test_a_call_that_waits_for_a_told_time_is_not_ended_by_a_hold_of_another_model():
    async def story():
        waiting = asyncio.ensure_future(llm.arun_llm(MODEL, "x"))
        await asyncio.sleep(0.05)
        another = Scope(Reach.BACKEND, "openrouter", None, None, "other/model")
        session().health.tell(another, clock.current().now(), why=Outcome.RATE_LIMITED, message="", seconds=3)
        return await asyncio.wait_for(waiting, 5)

    with (
        clock.use(clock.ScaledClock(20)),
        llm.rehearse("openrouter: 429*1 retry-after=20", openrouter_keys=1, huggingface_tokens=0) as server,
    ):
        with pytest.raises(llm.DeadlineError):
            llm.run_llm(MODEL, "x", deadline=10)
        assert asyncio.run(story()).content
        assert len(server.lines) == 2
