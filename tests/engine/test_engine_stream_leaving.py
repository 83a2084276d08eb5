"""A reader that leaves a stream early: the server sees it at once, and nothing is left behind."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import aclosing, suppress

import pytest
from loopback import started
from rehearsing import MODEL, fresh, wait_until, words

import llm_executor_nb as llm
from llm_executor_nb.rehearsal.server import RehearsalServer

QUESTION = "What is the capital of France?"
AT_ONCE_S = 0.5


@pytest.fixture(autouse=True, scope="module")
def _warm():
    """Load LangChain before anything is timed."""
    with fresh(), llm.rehearse():
        llm.run_llm(MODEL, "warm up")


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


def _by_close():
    chunks = llm.stream_llm(MODEL, QUESTION)
    next(chunks)
    chunks.close()


def _by_break():
    for _ in llm.stream_llm(MODEL, QUESTION):
        break


def _by_an_exception():
    with suppress(ZeroDivisionError):
        for _ in llm.stream_llm(MODEL, QUESTION):
            raise ZeroDivisionError


def _by_del():
    chunks = llm.stream_llm(MODEL, QUESTION)
    next(chunks)
    del chunks


def _in_a_loop(leave):
    def run():
        async def story():
            await leave()
            await asyncio.sleep(0.05)

        asyncio.run(story())

    run.__name__ = leave.__name__
    return run


@_in_a_loop
async def _by_aclose():
    async with aclosing(llm.astream_llm(MODEL, QUESTION)) as chunks:
        await anext(chunks)


@_in_a_loop
async def _by_async_break():
    async for _ in llm.astream_llm(MODEL, QUESTION):
        break


@_in_a_loop
async def _by_an_exception_in_a_loop():
    with suppress(ZeroDivisionError):
        async for _ in llm.astream_llm(MODEL, QUESTION):
            raise ZeroDivisionError


@_in_a_loop
async def _by_cancel():
    has_begun = asyncio.Event()

    async def read():
        async for _ in llm.astream_llm(MODEL, QUESTION):
            has_begun.set()

    task = asyncio.ensure_future(read())
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "leave",
    [
        _by_close,
        _by_break,
        _by_an_exception,
        _by_del,
        _by_aclose,
        _by_async_break,
        _by_an_exception_in_a_loop,
        _by_cancel,
    ],
    ids=lambda leave: leave.__name__,
)
def test_the_server_sees_a_reader_leave_at_once_and_the_log_says_so(leave):
    with llm.rehearse("*: stream-stall") as server:
        began = time.monotonic()
        leave()
        assert time.monotonic() - began < AT_ONCE_S
        wait_until(lambda: server.lines[0].replied_s is not None, AT_ONCE_S)
        assert [line.fault for line in server.lines] == ["client left"]
        assert (words("outcome"), words("decision")) == (["cancelled"], ["stop"])
        assert llm.health().empty


READERS = {
    "stream": "for chunk in llm.stream_llm('my/model', 'x'): print(end=chunk.content, flush=True)",
    "astream": """
    import asyncio
    async def read():
        async for chunk in llm.astream_llm('my/model', 'x'): print(end=chunk.content, flush=True)
    asyncio.run(read())
""",
}


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
@pytest.mark.parametrize("door", READERS)
def test_ctrl_c_closes_the_connection_at_once(door):
    body = f"try:\n    {READERS[door]}\nexcept KeyboardInterrupt:\n    print(' interrupted', flush=True)\n"
    with RehearsalServer("*: stream-stall") as server, started(body, server.openrouter_url) as process:
        assert process.stdout.read(9) == "[practice"
        process.send_signal(signal.SIGINT)
        wait_until(lambda: server.lines[0].replied_s is not None, AT_ONCE_S)
        assert [line.fault for line in server.lines] == ["client left"]
        output, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")
        assert output.endswith(" interrupted\n")


def test_no_task_no_thread_and_no_warning_is_left_behind():
    body = """
import asyncio, contextlib, gc, threading
from llm_executor_nb.engine.loop import main_loop
main_loop().loop.slow_callback_duration = 60  # a busy machine is no leak
async def read(n):
    async with contextlib.aclosing(llm.astream_llm('my/model', 'x')) as chunks:
        async for chunk in chunks:
            if (n := n - 1) == 0:
                break
async def both():
    asyncio.get_running_loop().slow_callback_duration = 60
    await asyncio.gather(read(2), read(99))
    task = asyncio.ensure_future(read(99))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async for chunk in llm.astream_llm('my/model', 'x'):
        break
    llm.astream_llm('my/model', 'never read')
llm.stream_llm('my/model', 'never read')
for n in range(2):
    list(llm.stream_llm('my/model', 'x'))
    next(llm.stream_llm('my/model', 'x'))
    asyncio.run(both())
gc.collect()
async def tasks():
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
print(main_loop().submit(tasks()).result(), [t.name for t in threading.enumerate() if t.name != 'asyncio_0'])
"""
    with RehearsalServer() as server, started(body, server.openrouter_url, "-X", "dev", "-W", "error") as process:
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert output == "[] ['MainThread', 'llm_executor_nb']\n"
