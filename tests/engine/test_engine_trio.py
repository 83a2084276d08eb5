"""Where it is not asyncio that awaits, every async door says what to use instead, and sends nothing."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from contextlib import aclosing

import anyio
import pandas as pd
import pytest
import trio
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from rehearsing import MODEL, fresh

import llm_executor_nb as llm
from llm_executor_nb.chain import lookups

WHAT_TO_USE = r"need asyncio.*nothing was sent.*trio\.to_thread\.run_sync\(llm\.run_llm"
pytestmark = [
    pytest.mark.filterwarnings("ignore:astream_log is deprecated"),
    pytest.mark.filterwarnings("ignore:The method `BaseChatModel._achat_model_stream_v3` is in beta"),
]


@pytest.fixture(autouse=True)
def server():
    with fresh(), llm.rehearse() as running:
        llm.run_llm(MODEL, "begins the loop")
        running.clear()
        yield running


def model():
    """Return the chain as LangChain has it."""
    return llm.chat_model(MODEL)


async def read(steps):
    async with aclosing(steps):
        return [step async for step in steps]


async def prompts():
    yield "x"


async def read_newest_events():
    return [piece async for piece in (await model().astream_events("x", version="v3")).text]


DOORS = {
    "arun_llm": lambda: llm.arun_llm(MODEL, "x"),
    "astream_llm": lambda: read(llm.astream_llm(MODEL, "x")),
    "df.llm.arun": lambda: pd.DataFrame({"a": ["x", "y"]}).llm.arun(MODEL, "a", progress=False),
    "df.llm.arun, with a budget": lambda: pd.DataFrame({"a": ["x"]}).llm.arun(MODEL, "a", budget_usd=1),
    "s.llm.arun": lambda: pd.Series(["x", "y"]).llm.arun(MODEL, progress=False),
    "prices": lambda: lookups.aprices_of(MODEL),
    "ainvoke": lambda: model().ainvoke("x"),
    "agenerate": lambda: model().agenerate([[HumanMessage("x")]]),
    "abatch": lambda: model().abatch(["x", "y"]),
    "abatch, errors returned": lambda: model().abatch(["x", "y"], return_exceptions=True),
    "abatch_as_completed": lambda: read(model().abatch_as_completed(["x", "y"])),
    "astream": lambda: read(model().astream("x")),
    "atransform": lambda: read(model().atransform(prompts())),
    "astream_log": lambda: read(model().astream_log("x")),
    "astream_events": lambda: read(model().astream_events("x", version="v2")),
    "with options": lambda: model().bind(temperature=0).ainvoke("x"),
}
if not inspect.isasyncgenfunction(BaseChatModel.astream_events):  # older versions have no v3
    DOORS["astream_events, v3"] = read_newest_events


def by_hand(door):
    """Drive a coroutine as no event loop does."""
    coroutine = door()
    try:
        while True:
            coroutine.send(None)
    except StopIteration as over:
        return over.value


async def _awaited(door):
    return await door()


def in_trio(door):
    return trio.run(_awaited, door)


def in_anyio(door):
    return anyio.run(_awaited, door, backend="trio")


def in_a_cell(door):
    """Run trio as a notebook's cell does: inside the kernel's own running asyncio loop."""

    async def cell():
        return in_trio(door)

    return asyncio.run(cell())


DRIVERS = [in_trio, in_anyio, in_a_cell, by_hand]


@pytest.mark.parametrize("drive", DRIVERS)
@pytest.mark.parametrize("door", DOORS)
def test_every_async_door_says_what_to_use_and_sends_nothing(door, drive, server):
    with pytest.raises(llm.ConfigError, match=WHAT_TO_USE):
        drive(DOORS[door])
    assert llm.run_llm(MODEL, "the door is free").content
    assert len(server.lines) == 1


@pytest.mark.parametrize("drive", [trio.run, in_anyio])
def test_what_the_error_says_works_under_trio(drive, server):
    async def work():
        column = pd.DataFrame({"a": ["x", "y"]}).llm
        message = await anyio.to_thread.run_sync(llm.run_llm, MODEL, "x")
        frame = await anyio.to_thread.run_sync(functools.partial(column.run, MODEL, "a", progress=False))
        return message.content, *frame["a_llm"]

    found = drive(work)
    assert all(answer.startswith("[practice answer") for answer in found)
    assert len(server.lines) == 3


def in_asyncio(door):
    return asyncio.run(_awaited(door))


def in_anyio_on_asyncio(door):
    return anyio.run(_awaited, door)


def in_uvloop(door):
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_awaited(door))


def in_asyncio_inside_trio(door):
    async def task():
        return in_asyncio(door)

    return trio.run(task)


@pytest.mark.parametrize("drive", [in_asyncio, in_anyio_on_asyncio, in_uvloop, in_asyncio_inside_trio])
@pytest.mark.parametrize("door", DOORS)
def test_on_asyncio_every_async_door_answers_though_trio_is_loaded(door, drive):
    assert "trio" in sys.modules
    assert drive(DOORS[door]) is not None


def test_a_stream_that_is_made_outside_a_loop_is_read_in_one():
    for make in (
        lambda: model().astream("x"),
        lambda: model().astream_log("x"),
        lambda: model().astream_events("x", version="v2"),
        lambda: model().abatch_as_completed(["x"]),
    ):
        assert asyncio.run(read(make()))
