"""What this machine lacks is not the provider's fault: one clear error, no hold, no other route, no record."""

from __future__ import annotations

import asyncio
import errno
from contextlib import AsyncExitStack, contextmanager

import aiohttp
import pandas as pd
import psutil
import pytest
from doors import DOORS
from loopback import JSON, MODEL, served_by, whole
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.providers.open_files import OpenFiles

CAUSES = {
    "EMFILE": "may open no more files",
    "ENFILE": "may open no more files",
    "EADDRNOTAVAIL": "no port left",
    "ENOMEM": "no memory left",
    "ENOBUFS": "no memory left",
}


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


def answers(connection):
    connection.sendall(JSON + whole("Paris"))


def lacks(error):
    async def connect(*_args, **_options):
        raise error

    return connect


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize("name", CAUSES)
def test_a_local_cause_is_one_error_and_holds_nothing(name, door, monkeypatch):
    with served_by(answers):
        llm.configure(huggingface_tokens=["hf_localcauses0001"])
        with monkeypatch.context() as patch:
            patch.setattr(aiohttp.TCPConnector, "connect", lacks(OSError(getattr(errno, name), "said the system")))
            with pytest.raises(llm.ConfigError, match=CAUSES[name]) as caught:
                door(MODEL, "x")
        assert caught.value.__cause__ is None
        assert not isinstance(caught.value.__context__, aiohttp.ClientError)
        assert llm.attempts().empty
        assert door(MODEL, "x").content == "Paris"


def test_a_job_ends_at_once_and_keeps_what_it_has(monkeypatch):
    with served_by(answers):
        monkeypatch.setattr(aiohttp.TCPConnector, "connect", lacks(MemoryError()))
        with pytest.raises(llm.ConfigError, match="no memory left") as caught:
            pd.DataFrame({"q": [f"row {n}" for n in range(200)]}).llm.run(MODEL, "q", progress=False, concurrency=1)
    assert (caught.value.result["q_llm_status"] == "failed").sum() < 20


@contextmanager
def few_files(more):
    """Let this process open so many files beyond those it has; both ends of a connection are in it."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (psutil.Process().num_fds() + more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_calls_by_hand_wait_for_what_the_process_may_open():
    async def burst():
        return await asyncio.gather(*(llm.arun_llm(MODEL, f"x {n}") for n in range(300)))

    with served_by(answers):
        llm.run_llm(MODEL, "warm up")
        with few_files(200):
            replies = asyncio.run(burst())
    assert {reply.content for reply in replies} == {"Paris"}
    assert len(llm.attempts()) == 301


def test_a_cancelled_call_leaves_the_queue():
    async def story():
        files = OpenFiles()
        async with AsyncExitStack() as entered:
            for _ in range(32):
                await entered.enter_async_context(files)
            waiting = [asyncio.ensure_future(_enter_and_leave(files)) for _ in range(2)]
            await asyncio.sleep(0)
            waiting[0].cancel()
        return await asyncio.gather(*waiting, return_exceptions=True)

    with few_files(10):
        first, second = asyncio.run(story())
    assert isinstance(first, asyncio.CancelledError)
    assert second is True


async def _enter_and_leave(files):
    async with files:
        return True
