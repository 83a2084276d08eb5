"""Calls from any event loop, one or several at once; what is in flight can be cancelled, and all calls end."""

import asyncio
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pandas as pd
import pytest
from loopback import started
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
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import Scope, Verdict
from llm_executor_nb.rehearsal.server import RehearsalServer


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


# --- users' functions that end the program ------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt])
def test_a_users_function_that_ends_the_program_ends_its_own_call_and_leaves_the_loop_to_others(ending):
    def leave(*_):
        raise ending("enough")

    with llm.rehearse():
        for call in (
            lambda: llm.run_llm(MODEL, "x", accept=leave),
            lambda: list(llm.stream_llm(MODEL, "x", accept=leave)),
            lambda: pd.DataFrame({"a": ["x", "y"]}).llm.run(MODEL, "a", accept=leave, progress=False),
        ):
            with pytest.raises(ending):
                call()
        assert llm.run_llm(MODEL, "x").content.startswith("[practice answer")


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


async def _every_async_door(name):
    """Ask through each door for the same thing, at the same time, in the loop that runs."""

    async def stream():
        return "".join([chunk.content async for chunk in llm.astream_llm(MODEL, name)])

    async def column():
        return (await pd.DataFrame({"q": [name]}).llm.arun(MODEL, "q", progress=False))["q_llm"][0]

    model = llm.chat_model(MODEL)
    run, invoked, *texts = await asyncio.gather(llm.arun_llm(MODEL, name), model.ainvoke(name), stream(), column())
    return [run.content, invoked.content, *texts]


def test_event_loops_in_several_threads_do_not_get_in_each_others_way():
    with llm.rehearse(latency_s=0.01) as server, ThreadPoolExecutor(8) as pool:
        names = [f"loop {n}" for n in range(16)]
        for name, answers in zip(
            names, pool.map(lambda name: asyncio.run(_every_async_door(name)), names), strict=True
        ):
            assert all(f"'{name}'" in answer for answer in answers)
            assert len(answers) == 4
        assert_log_is_what_the_server_saw(server, in_order=False)


def test_a_uvloop_of_the_users_works_through_every_door():
    uvloop = pytest.importorskip("uvloop")

    async def story():
        assert "here" in llm.run_llm(MODEL, "here").content
        return await _every_async_door("there")

    with llm.rehearse() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert all("'there'" in answer for answer in runner.run(story()))
        assert_log_is_what_the_server_saw(server, in_order=False)


def test_what_is_in_flight_from_a_uvloop_can_be_cancelled_and_a_stream_left():
    uvloop = pytest.importorskip("uvloop")

    async def story():
        call = asyncio.ensure_future(llm.arun_llm(MODEL, "x"))
        await _asked(server)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with aclosing(llm.astream_llm(MODEL, "x")) as chunks:
            await anext(chunks)

    script = "openrouter: hang*1, stream-stall"
    with llm.rehearse(script) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())
        settle(server)
        assert [line.fault for line in server.lines] == ["client left", "client left"]
        assert_nothing_is_in_flight()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop")
def test_a_uvloop_that_is_every_loop_of_the_program_is_not_ours():
    body = """
import asyncio, warnings, uvloop
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of policies, from 3.14 on
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
assert "one" in llm.run_llm("my/model", "one").content
assert "two" in asyncio.run(llm.arun_llm("my/model", "two")).content
"""
    with RehearsalServer() as server, started(body, server.openrouter_url, "-W", "error") as process:
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def test_an_async_call_sees_the_callers_errors_as_a_sync_one_does():
    with pytest.raises(llm.ModelNotSupportedError):
        asyncio.run(llm.arun_llm("nope", "x"))


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
    with RehearsalServer("*: hang") as server, started(body, server.openrouter_url) as process:
        wait_until(lambda: server.lines, 20)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - sent < 1
        wait_until(lambda: server.lines[0].replied_s is not None, 1)
        assert [line.fault for line in server.lines] == ["client left"]
        _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")


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
        another = Scope(ScopeLevel.BACKEND, "openrouter", None, None, "other/model")
        verdict = Verdict(outcome=Outcome.RATE_LIMITED, retry_after_s=3)
        session().health.tell(another, verdict, clock.current().now())
        return await asyncio.wait_for(waiting, 5)

    with (
        clock.use(clock.ScaledClock(20)),
        llm.rehearse("openrouter: 429*1 retry-after=20", openrouter_keys=1, huggingface_tokens=0) as server,
    ):
        with pytest.raises(llm.DeadlineError):
            llm.run_llm(MODEL, "x", deadline=10)
        assert asyncio.run(story()).content
        assert len(server.lines) == 2
