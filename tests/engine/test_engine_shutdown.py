"""The process ends: in silence, at once, and whatever it leaves half done."""

from __future__ import annotations

import threading

import pytest
from loopback import started
from rehearsing import fresh, settle

import llm_executor_nb as llm
from llm_executor_nb.engine import loop
from llm_executor_nb.rehearsal.server import RehearsalServer

STRICT = ("-X", "dev", "-W", "error")
QUIET = """
import asyncio, gc, threading, time
import pandas as pd
from llm_executor_nb.engine.loop import main_loop
from llm_executor_nb.chain.session import session
main_loop().loop.slow_callback_duration = 60  # a busy machine is no leak
M = "my/model"
async def quiet(work):
    asyncio.get_running_loop().slow_callback_duration = 60
    return await work
async def read(number=99):
    async for chunk in llm.astream_llm(M, "x"):
        if (number := number - 1) == 0:
            break
def column():
    return pd.DataFrame({"q": ["a", "b"]}).llm.run(M, "q", progress=False)
"""


def end_of(body, server, *, before=""):
    """Return what a program printed, when it ended by itself, without an error and without a warning."""
    with started(QUIET + body, server.openrouter_url, *STRICT, before=before) as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    return output


def test_no_door_leaves_a_task_a_thread_a_session_or_a_warning_behind():
    body = """
async def cancel(work):
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
async def many():
    await asyncio.gather(llm.arun_llm(M, "x"), read(), read(2), llm.chat_model(M).ainvoke("x"))
    await cancel(llm.arun_llm(M, "x"))
    await cancel(read())
    await cancel(pd.DataFrame({"q": ["a", "b"]}).llm.arun(M, "q", progress=False))
for _ in range(2):
    llm.run_llm(M, "x", accept=lambda message: message.content)
    list(llm.stream_llm(M, "x"))
    next(llm.stream_llm(M, "x"))
    next(iter(llm.chat_model(M).stream("x")))
    llm.chat_model(M).batch(["x", "y"])
    column()
    asyncio.run(quiet(many()))
llm.stream_llm(M, "never read")
async def tasks():
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
gc.collect()
print(main_loop().submit(tasks()).result())
names = [thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
print(names.count("llm_executor_nb"), [name for name in names if not name.startswith("llm_executor_nb")])
"""
    with RehearsalServer() as server:
        assert end_of(body, server) == "[]\n1 ['MainThread']\n"


def test_the_process_ends_at_once_and_in_silence_while_every_door_has_a_request_in_flight():
    body = """
DOORS = [
    lambda: llm.run_llm(M, "x"),
    lambda: asyncio.run(quiet(llm.arun_llm(M, "x"))),
    lambda: list(llm.stream_llm(M, "x")),
    lambda: asyncio.run(quiet(read())),
    lambda: llm.chat_model(M).invoke("x"),
    lambda: list(llm.chat_model(M).stream("x")),
    column,
]
for door in DOORS:
    threading.Thread(target=door, daemon=True).start()
while sum(session().health.traffic._in_flight.values()) < 2 * 8:  # each counts for its key and for its route
    time.sleep(0.01)
time.sleep(0.1)
"""
    with RehearsalServer("*: stream-stall, hang") as server:  # streams in their midst, others before any answer
        end_of(body, server)
        settle(server)
        assert [line.fault for line in server.lines] == ["client left"] * 8


@pytest.mark.parametrize("daemon", [True, False])
def test_the_process_ends_in_silence_while_a_request_is_in_flight_in_a_thread(daemon):
    body = f"""
def ask():
    try:
        llm.run_llm(M, 'x', timeout=1)
    except llm.AllRoutesFailedError:
        pass
llm.configure(retries=0)
threading.Thread(target=ask, daemon={daemon}).start()
while not session().health.traffic._in_flight:
    time.sleep(0.01)
time.sleep(0.1)
"""
    with RehearsalServer("*: hang") as server:
        assert end_of(body, server) == ""
        settle(server)
        assert [line.fault for line in server.lines] == ["client left"]


def test_a_stream_that_is_half_read_when_the_process_ends_is_closed_in_silence():
    with RehearsalServer("*: stream-stall") as server:
        assert end_of("chunks = llm.stream_llm(M, 'x')\nnext(chunks)", server) == ""
        settle(server)
        assert [line.fault for line in server.lines] == ["client left"]


def test_at_exit_a_call_works_while_there_is_a_loop_and_is_refused_in_words_after_that():
    program = """
import atexit
def late():
    try:
        llm.run_llm("my/model", "too late")
    except llm.ConfigError as error:
        print(error)
atexit.register(late)  # so it is called after llm_executor_nb's own, which is registered at its import
"""
    body = """
atexit.register(lambda: print("'in time'" in llm.run_llm(M, "in time").content))
llm.run_llm(M, "x")
"""
    with RehearsalServer() as server:
        first, _, rest = end_of(body, server, before=program).partition("\n")
        assert first == "True"
        assert rest.startswith("Python is shutting down")
        assert len(server.lines) == 2


@pytest.mark.parametrize(("is_ending", "error"), [(True, llm.ConfigError), (False, RuntimeError)])
def test_a_loop_whose_thread_cannot_start_is_closed(monkeypatch, is_ending, error):
    def refuse(_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with fresh(), monkeypatch.context() as patch:
        llm.configure(openrouter_keys=["sk-or-v1-nothread-0001"])
        patch.setattr(loop, "_main", None)
        patch.setattr(threading.Thread, "start", refuse)
        patch.setattr(threading.main_thread(), "is_alive", lambda: not is_ending)
        with pytest.raises(error, match="shut"):
            llm.run_llm("my/model", "x", deadline=1)
