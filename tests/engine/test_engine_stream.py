"""Streams: the pieces of an answer as they come, another route until the first of them, and a door that closes."""

from __future__ import annotations

import asyncio
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import reduce
from operator import add

import pytest
from doors import DOORS, STREAMS, chunks_of
from langchain_core.messages import AIMessageChunk
from loopback import DONE, STREAM, says, served_by
from rehearsing import MODEL, ROUTES, assert_log_is_what_the_server_saw, fresh, settle, wait_until, words

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.engine.bridge import HIGH_WATER, stream_sync
from llm_executor_nb.rehearsal.catalogue import general_themes

QUESTION = "What is the capital of France?"


@pytest.fixture(autouse=True, scope="module")
def _warm():
    """Load LangChain before anything is timed."""
    with fresh(), llm.rehearse("openrouter: 404"):
        llm.run_llm(MODEL, "warm up")


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


@pytest.fixture
def frozen():
    with clock.use(clock.FrozenClock()) as time:
        yield time


both = pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)


# --- the pieces ---------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("keys", [(1, 0), (0, 1)], ids=["openrouter", "huggingface"])
def test_the_sum_of_the_chunks_is_the_answer(stream, keys):
    with llm.rehearse(openrouter_keys=keys[0], huggingface_tokens=keys[1]) as server:
        chunks = stream(MODEL, QUESTION)
        whole = llm.run_llm(MODEL, QUESTION)
        assert [line.is_stream for line in server.lines] == [True, False]
        assert_log_is_what_the_server_saw(server)
    assert all(type(chunk) is AIMessageChunk for chunk in chunks)
    assert len(chunks) > 5
    summed = reduce(add, chunks)
    assert (summed.content, summed.usage_metadata) == (whole.content, whole.usage_metadata)
    for name in ("finish_reason", "model_name", "model_provider"):
        assert summed.response_metadata[name] == whole.response_metadata[name]
    assert {chunk.id for chunk in chunks} == {summed.id}


@both
@pytest.mark.parametrize("oddity", ["latency=0", *general_themes()["odd streams that are fine"], "length"])
def test_usage_finish_reason_and_run_id_come_once_and_in_the_last_chunk(stream, oddity):
    with llm.rehearse(f"*: {oddity}"):
        *chunks, last = stream(MODEL, QUESTION)
        [run_id] = set(words("run_id"))
    assert last.response_metadata["finish_reason"] == ("length" if oddity == "length" else "stop")
    assert last.usage_metadata["output_tokens"] > 0
    assert last.response_metadata["llm_run_id"] == run_id
    assert last.chunk_position == "last"
    for chunk in chunks:
        assert chunk.usage_metadata is None
        assert not {"finish_reason", "llm_run_id"} & set(chunk.response_metadata)
        assert chunk.chunk_position is None


@both
def test_a_provider_that_does_not_stream_gives_its_answer_in_one_chunk(stream):
    with llm.rehearse("*: stream-ignored"):
        [chunk] = stream(MODEL, QUESTION)
        assert (chunk.content, chunk.chunk_position) == (llm.run_llm(MODEL, QUESTION).content, "last")
        assert llm.attempts(chunk)["outcome"].tolist() == ["ok"]


# --- other routes -------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("fault", ["stream-role-stall", "stream-comments", "stream-empty-chunks"])
def test_a_role_or_a_comment_alone_is_nothing_shown_and_another_route_answers(stream, fault):
    with llm.rehearse(f"openrouter[1]: {fault}") as server:
        text = "".join(chunk.content for chunk in stream(MODEL, QUESTION, timeout=0.3))
        assert text == llm.run_llm(MODEL, QUESTION).content
        assert words("route")[:2] == ROUTES[:2]
        assert words("outcome")[:2] == ["timeout", "ok"]
        assert_log_is_what_the_server_saw(server)


@both
def test_blanks_alone_are_nothing_shown_and_are_not_lost_before_a_text(stream, frozen):
    events = iter([(says(" \n"), says("", finish_reason="stop")), (says("\n"), says("Yes", finish_reason="stop"))])
    with served_by(lambda connection: connection.sendall(STREAM + b"".join(next(events)) + DONE)):
        assert "".join(chunk.content for chunk in stream(MODEL, QUESTION)) == "\nYes"
    assert words("outcome") == ["empty", "ok"]
    assert frozen.elapsed_s == 3


@both
def test_a_stream_that_breaks_after_text_was_shown_keeps_it_and_pickles(stream):
    with llm.rehearse("*: cut") as server:
        with pytest.raises(llm.StreamInterruptedError) as raised:
            stream(MODEL, QUESTION)
        seen = [chunk.content for chunk in _until_error(llm.stream_llm(MODEL, QUESTION))]
        assert_log_is_what_the_server_saw(server)
    error = pickle.loads(pickle.dumps(raised.value))  # noqa: S301 - our own bytes
    assert error.partial == "".join(seen) != ""
    assert error.attempts == raised.value.attempts
    assert [attempt.outcome for attempt in error.attempts] == ["connection"]
    assert str(error) == str(raised.value)
    assert "Next: " in str(error)


def _until_error(stream):
    with suppress(llm.StreamInterruptedError):
        yield from stream


# --- accept= ------------------------------------------------------------------------------------------------------


@both
@pytest.mark.usefixtures("frozen")
def test_pieces_are_kept_until_accept_says_yes(stream):
    asked = []

    def accept(message):
        asked.append(message.content)
        return len(asked) == 3

    with llm.rehearse() as server:
        chunks = stream(MODEL, QUESTION, accept=accept)
        assert words("outcome") == ["rejected", "rejected", "ok"]
        assert_log_is_what_the_server_saw(server)
    assert "".join(chunk.content for chunk in chunks) == asked[2]
    assert len(chunks) > 5


@both
@pytest.mark.usefixtures("frozen")
def test_with_accept_nothing_is_shown_of_a_stream_that_breaks_and_another_route_answers(stream):
    llm.configure(retries=0)
    with llm.rehearse("openrouter[1]: cut; openrouter[2]: stream-error-midway") as server:
        text = "".join(chunk.content for chunk in stream(MODEL, QUESTION, accept=lambda _: True))
        assert text == llm.run_llm(MODEL, QUESTION).content
        assert words("outcome")[:3] == ["connection", "server_error", "ok"]
        assert_log_is_what_the_server_saw(server)


@both
@pytest.mark.usefixtures("frozen")
def test_accept_that_refuses_everything_hands_nothing_on(stream):
    llm.configure(retries=0)
    with llm.rehearse(openrouter_keys=1, huggingface_tokens=0), pytest.raises(llm.AllRoutesFailedError) as raised:
        stream(MODEL, QUESTION, accept=lambda _: False)
    assert [attempt.outcome for attempt in raised.value.attempts] == ["rejected"]


# --- bounds and pressure ------------------------------------------------------------------------------------------


@both
def test_the_deadline_ends_a_stream_that_goes_on_talking(stream):
    with llm.rehearse("*: pace=0.05") as server:
        began = time.monotonic()
        with pytest.raises(llm.StreamInterruptedError, match="deadline") as raised:
            stream(MODEL, QUESTION, deadline=0.3, timeout=0.2)
        assert 0.3 <= time.monotonic() - began < 0.8
        assert raised.value.partial
        settle(server)
        assert [line.fault for line in server.lines] == ["client left"]
    with llm.rehearse("*: stream-role-stall"), pytest.raises(llm.DeadlineError):
        stream(MODEL, QUESTION, deadline=0.2)


def test_a_reader_that_takes_its_time_is_not_cut():
    def talk(connection):
        connection.sendall(STREAM)
        for number in range(3 * HIGH_WATER):
            connection.sendall(says(f"{number} "))
        connection.sendall(says("", finish_reason="stop") + DONE)

    with served_by(talk):
        chunks = llm.stream_llm(MODEL, QUESTION, timeout=0.2)
        text = next(chunks).content
        time.sleep(0.4)
        text += "".join(chunk.content for chunk in chunks)
    assert text.split() == [str(number) for number in range(3 * HIGH_WATER)]
    assert words("outcome") == ["ok"]


def test_leaving_an_accepted_answer_half_read_leaves_no_record_that_the_server_did_not_see():
    def talk(connection):
        connection.sendall(STREAM)
        for number in range(3 * HIGH_WATER):
            connection.sendall(says(f"{number} "))
        connection.sendall(says("", finish_reason="stop") + DONE)

    with served_by(talk):
        chunks = llm.stream_llm(MODEL, QUESTION, accept=lambda _: True)
        next(chunks)
        chunks.close()
    assert words("outcome") == ["ok"]


def test_a_reader_that_stops_stops_the_provider():
    sent = []

    def talk(connection):
        connection.sendall(STREAM)
        while True:
            sent.append(connection.sendall(says("x" * 10_000)))

    with served_by(talk):
        chunks = llm.stream_llm(MODEL, QUESTION)
        next(chunks)
        wait_until(lambda: _stands_still(sent))
        assert len(sent) < 2000
        assert len([next(chunks) for _ in range(2 * HIGH_WATER)]) == 2 * HIGH_WATER
        chunks.close()


def test_a_reader_that_stops_stops_the_producer_at_the_high_water_mark():
    put = []

    async def produce(take):
        while True:
            put.append(len(put))
            await take(put[-1])

    pieces = stream_sync(produce)
    assert next(pieces) == 0
    wait_until(lambda: len(put) >= HIGH_WATER)
    wait_until(lambda: _stands_still(put))
    assert len(put) in (HIGH_WATER, HIGH_WATER + 1)  # the first was taken after or before the others came
    assert [next(pieces) for _ in range(2 * HIGH_WATER)] == list(range(1, 2 * HIGH_WATER + 1))
    pieces.close()


def _stands_still(sent):
    before = len(sent)
    time.sleep(0.1)
    return len(sent) == before


# --- from anywhere ------------------------------------------------------------------------------------------------


def first_of(chunks):
    return asyncio.run(anext(chunks)) if hasattr(chunks, "__anext__") else next(chunks)


@pytest.mark.parametrize("door", [llm.stream_llm, llm.astream_llm], ids=STREAMS)
def test_a_wrong_argument_is_refused_before_anything_is_sent(door):
    with llm.rehearse() as server:
        with pytest.raises(llm.ModelNotSupportedError):
            first_of(door("nope", QUESTION))
        for wrong in ({"temprature": 0}, {"accept": 1}, {"timeout": -1}):
            with pytest.raises(llm.ConfigError):
                first_of(door(MODEL, QUESTION, **wrong))
        with pytest.raises(llm.ConfigError):
            first_of(door(MODEL, []))
        assert server.lines == ()


def test_streams_work_inside_a_running_loop_and_in_one_loop_after_another():
    async def cell():
        chunks = [chunk.content async for chunk in llm.astream_llm(MODEL, QUESTION)]
        return ["".join(chunks), reduce(add, chunks_of(MODEL, QUESTION)).content, llm.run_llm(MODEL, QUESTION).content]

    with llm.rehearse() as server:
        assert len({text for _ in range(2) for text in asyncio.run(cell())}) == 1
        assert_log_is_what_the_server_saw(server)


@pytest.mark.parametrize("door", DOORS)
def test_several_threads_each_get_their_own_answer(door):
    with llm.rehearse("*: pace=0.001") as server, ThreadPoolExecutor(8) as pool:
        messages = list(pool.map(lambda n: DOORS[door](MODEL, f"question {n}"), range(16)))
        assert all(f"'question {n}'" in message.content for n, message in enumerate(messages))
        assert_log_is_what_the_server_saw(server, in_order=False)


def test_an_async_stream_leaves_the_callers_loop_free():
    async def story():
        ticks = 0

        async def read():
            return [chunk async for chunk in llm.astream_llm(MODEL, QUESTION)]

        task = asyncio.ensure_future(read())
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    with llm.rehearse("*: pace=0.02"):
        assert asyncio.run(story()) >= 10
