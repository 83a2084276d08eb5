"""A user's function that a call runs asks a model itself: it works, or says what to use; nothing waits for ever."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pandas as pd
import pytest
from doors import DOORS
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from rehearsing import MODEL, assert_log_is_what_the_server_saw, assert_nothing_is_in_flight, fresh

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.testing import fake_model

WHAT_TO_USE = r"await llm\.arun_llm"
ONE_FAILS = "openrouter: 503*1"
INNER = "asked by a callback"


def column():
    return pd.DataFrame({"q": [INNER]})


async def read():
    return "".join([chunk.content async for chunk in llm.astream_llm(MODEL, INNER)])


async def read_a_piece():
    async with aclosing(llm.astream_llm(MODEL, INNER)) as chunks:
        return await anext(chunk.content async for chunk in chunks if chunk.content)


async def run():
    return (await llm.arun_llm(MODEL, INNER)).content


async def invoke():
    return (await llm.chat_model(MODEL).ainvoke(INNER)).content


async def fill():
    return (await column().llm.arun(MODEL, "q", progress=False))["q_llm"][0]


WAITING = {
    "run": lambda: llm.run_llm(MODEL, INNER).content,
    "stream": lambda: "".join(chunk.content for chunk in llm.stream_llm(MODEL, INNER)),
    "chat_model": lambda: llm.chat_model(MODEL).invoke(INNER).content,
    "column": lambda: column().llm.run(MODEL, "q", progress=False)["q_llm"][0],
}
"""The doors that wait in the calling thread."""
AWAITING = {"arun": run, "astream": read, "astream, left": read_a_piece, "ainvoke": invoke, "acolumn": fill}
"""Those that are awaited."""


@pytest.fixture(autouse=True)
def _fresh():
    with fresh(), clock.use(clock.FrozenClock()):
        yield


@pytest.fixture
def server():
    with llm.rehearse() as server:
        yield server
        assert_nothing_is_in_flight()


def asked(server):
    """Say how many requests the server saw."""
    return len(server.lines)


# --- in a thread: settings and hooks ------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["before_sleep", "retry_wait_strategy", "retries"])
@pytest.mark.parametrize("door", WAITING)
def test_a_setting_that_is_a_function_may_ask_a_model_itself(setting, door):
    said = []
    with llm.rehearse(ONE_FAILS) as server:
        llm.configure(**{setting: lambda _: said.append(WAITING[door]()) or 0})
        assert "'x'" in llm.run_llm(MODEL, "x").content
        assert INNER in said[0]
        assert asked(server) == 3
        assert_nothing_is_in_flight()


# --- on the private loop: handlers of the log ---------------------------------------------------------------------


def test_a_handler_of_the_log_that_waits_is_refused_in_words(server):
    class Teller(logging.Handler):
        def emit(self, record):
            llm.run_llm(MODEL, record.getMessage())

    logger, teller = logging.getLogger("llm_executor_nb"), Teller()
    logger.addHandler(teller)
    logger.setLevel(logging.DEBUG)
    try:
        with pytest.raises(llm.ConfigError, match=WHAT_TO_USE):
            llm.run_llm(MODEL, "x")
    finally:
        logger.removeHandler(teller)
        logger.setLevel(logging.NOTSET)
    assert asked(server) == 1


# --- in a thread: accept= -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", [*DOORS, "column"])
@pytest.mark.parametrize("inner", [*WAITING, *AWAITING])
def test_accept_may_ask_a_model_itself(server, outer, inner):
    def accept(_):
        return INNER in WAITING[inner]() if inner in WAITING else asyncio.run(AWAITING[inner]()) is not None

    if outer == "column":
        out = pd.DataFrame({"q": ["x"]}).llm.run(MODEL, "q", accept=accept, progress=False)
        assert out["q_llm_status"].tolist() == ["ok"]
    else:
        assert DOORS[outer](MODEL, "x", accept=accept).content
    assert asked(server) == 2


def test_any_number_of_calls_may_ask_in_accept_at_once_and_those_ask_again():
    """More than asyncio's default threads on any machine; each holds one while the next level waits for another."""

    def accept_twice(_):
        return llm.run_llm(MODEL, "judge", accept=lambda _: llm.run_llm(MODEL, "judge of the judge")).content

    with llm.rehearse(latency_s=0.05) as server, ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(llm.run_llm, MODEL, f"{n}", accept=accept_twice) for n in range(40)]
        assert all(f"'{n}'" in answer.result(timeout=30).content for n, answer in enumerate(answers))
        assert asked(server) == 120


# --- a chat model object of the user's ----------------------------------------------------------------------------


class Relaying(FakeListChatModel):
    """Answers with what a function of the test's says, on the object's own loop."""

    how: object

    async def ainvoke(self, *_, **__):
        said = self.how()
        return AIMessage(await said if asyncio.iscoroutine(said) else said)

    async def astream(self, *_, **__):
        yield AIMessageChunk((await self.ainvoke()).content)


def only(chat_model):
    llm.add_backend("mine", chat_model=chat_model)
    llm.models.add("m", providers=["mine"], openrouter=False)


@pytest.mark.parametrize("outer", DOORS)
@pytest.mark.parametrize("inner", AWAITING)
def test_an_object_may_await_a_model(server, outer, inner):
    only(Relaying(responses=[], how=AWAITING[inner]))
    assert DOORS[outer]("m", "x").content
    assert asked(server) == 1


@pytest.mark.parametrize("outer", DOORS)
@pytest.mark.parametrize("inner", WAITING)
def test_an_object_may_wait_for_a_model_where_it_should_await(server, outer, inner):
    only(Relaying(responses=[], how=WAITING[inner]))
    assert INNER in DOORS[outer]("m", "x").content
    assert asked(server) == 1


@pytest.mark.parametrize("outer", DOORS)
@pytest.mark.parametrize("inner", WAITING)
def test_an_object_that_is_only_synchronous_may_wait(server, outer, inner):
    only(fake_model(lambda _: WAITING[inner]()))
    assert INNER in DOORS[outer]("m", "x").content
    assert asked(server) == 1


@pytest.mark.parametrize("outer", DOORS)
def test_an_object_may_be_a_chain_itself(server, outer):
    only(llm.chat_model(MODEL))
    assert "'x'" in DOORS[outer]("m", "x").content
    assert asked(server) == 1


# --- LangChain's callbacks ----------------------------------------------------------------------------------------


class Handler(BaseCallbackHandler):
    """Asks when an answer is there."""

    raise_error = True

    def __init__(self):
        self.said = []

    def on_llm_end(self, *_, **__):
        self.said.append(WAITING["run"]())


class Awaiting(AsyncCallbackHandler):
    """The same, awaited."""

    raise_error = True

    def __init__(self):
        self.said = []

    async def on_llm_end(self, *_, **__):
        self.said.append(await run())


LANGCHAIN_WAYS = {
    "invoke": lambda model: model.invoke("x"),
    "ainvoke": lambda model: asyncio.run(model.ainvoke("x")),
    "stream": lambda model: list(model.stream("x")),
    "batch": lambda model: model.batch(["x"]),
}


@pytest.mark.parametrize("kind", [Handler, Awaiting])
@pytest.mark.parametrize("way", LANGCHAIN_WAYS)
def test_a_callback_of_the_chat_model_may_ask(server, kind, way):
    handler = kind()
    assert LANGCHAIN_WAYS[way](llm.chat_model(MODEL, callbacks=[handler]))
    assert [INNER in said for said in handler.said] == [True]
    assert asked(server) == 2


@pytest.mark.parametrize("outer", DOORS)
@pytest.mark.parametrize("kind", [Handler, Awaiting])
def test_a_callback_of_an_object_may_ask(server, kind, outer):
    handler = kind()
    only(FakeListChatModel(responses=["answer"], callbacks=[handler]))
    assert DOORS[outer]("m", "x").content == "answer"
    assert [INNER in said for said in handler.said] == [True]
    assert asked(server) == 1


# --- a callback that ends a call ----------------------------------------------------------------------------------


def test_a_callback_that_ends_a_call_by_other_means_leaves_no_probe_behind():
    class OddError(BaseException):
        pass

    def accept(_):
        raise OddError

    with clock.use(clock.FrozenClock()), llm.rehearse("*: 503*4", openrouter_keys=1, huggingface_tokens=0):
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "x")
        with pytest.raises(llm.ConfigError, match="accept= function raised OddError"):
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
