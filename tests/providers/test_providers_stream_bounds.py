"""A stream that brings no text ends at its bound, and leaving one closes its connection at once."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress

import pytest
from loopback import serving
from test_providers_stream import END, OPEN, Server, ask, chunk, come_of, datas, repeats, sends, streams

from llm_executor_nb.core import clock
from llm_executor_nb.core.records import FaultKind
from llm_executor_nb.providers.events import Events
from llm_executor_nb.providers.sse import Event

ROLE_ONLY = b'data: {"role": "assistant"}\n\n'


def is_text(event):
    return "role" not in event.data


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(sends(then="open"), id="no head"),
        pytest.param(sends(OPEN, then="open"), id="silence"),
        pytest.param(repeats(b": OPENROUTER PROCESSING\n\n", 0.02), id="comments"),
        pytest.param(repeats(b" ", 0.02), id="blanks"),
        pytest.param(repeats(b"x", 0.02), id="a trickling line"),
        pytest.param(repeats(b"data:\n\n", 0.02), id="empty events"),
        pytest.param(repeats(ROLE_ONLY, 0.02), id="events without text"),
        pytest.param(repeats(b" ", 0.02, b"{"), id="a trickling JSON body"),
    ],
)
@pytest.mark.parametrize(
    "bounds", [{"timeout_s": 0.3}, {"timeout_s": 9, "deadline_s": 0.3}], ids=["timeout", "deadline"]
)
def test_what_brings_no_text_ends_at_its_bound(answer, bounds):
    came, _, took_s = come_of(answer, is_text=is_text, **bounds)
    fault = came.fault if isinstance(came, Events) else came
    assert fault.kind is (FaultKind.DEADLINE if "deadline_s" in bounds else FaultKind.TIMEOUT)
    assert fault.detail == ("the deadline passed" if "deadline_s" in bounds else "no text for 0.3 s")
    assert 0.29 <= took_s < 0.8


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(streams(b"data: a\n\n", then="open"), id="silence"),
        pytest.param(repeats(b": x\n\n", 0.02, b"data: a\n\n"), id="comments"),
        pytest.param(sends(OPEN, chunk(b"data: a\n\n"), b"nonsense\r\n"), id="a chunk of nonsense; aiohttp is silent"),
        pytest.param(repeats(ROLE_ONLY, 0.02, b"data: a\n\n"), id="events without text"),
    ],
)
def test_a_stall_after_some_text_ends_at_the_timeout(answer):
    came, events, took_s = come_of(answer, is_text=is_text, timeout_s=0.3)
    assert events[0] == Event("a")
    assert (came.fault.kind, came.fault.status) == (FaultKind.TIMEOUT, 200)
    assert 0.29 <= took_s < 0.8


def test_text_that_trickles_may_go_on_beyond_the_timeout_but_not_beyond_the_deadline():
    trickle = [b"data: %d\n\n" % n for n in range(8)]
    came, events, took_s = come_of(streams(*trickle, b"data: [DONE]\n\n", every_s=0.1), timeout_s=0.3)
    assert (len(events), came.fault, came.is_done) == (8, None, True)
    assert took_s > 0.7
    came, events, took_s = come_of(repeats(b"data: a\n\n", 0.05), timeout_s=0.3, deadline_s=0.6)
    assert came.fault.detail == "the deadline passed"
    assert 0.59 <= took_s < 0.9


def test_the_time_its_reader_takes_is_not_the_providers_silence():
    async def story():
        async with serving(Server(streams(b"data: a\n\n", b"data: b\n\n", b"data: [DONE]\n\n", every_s=0.05))) as (
            server,
            transport,
        ):
            found = []
            async with ask(transport, server, timeout_s=0.2) as came:
                async for event in came:
                    found.append(event.data)
                    await asyncio.sleep(0.4)
            return found, came.fault

    assert asyncio.run(story()) == (["a", "b"], None)


def test_bounds_are_seconds_of_the_clock_in_force():
    with clock.use(clock.ScaledClock(20)):
        came, _, took_s = come_of(repeats(ROLE_ONLY, 0.02), is_text=is_text, timeout_s=6)
    assert came.fault.detail == "no text for 6 s"
    assert 0.29 <= took_s < 0.8
    with clock.use(clock.FrozenClock()):
        came, _, took_s = come_of(repeats(ROLE_ONLY, 0.02), is_text=is_text, timeout_s=0.3)
    assert came.fault.detail == "no text for 0.3 s"
    assert 0.29 <= took_s < 0.8


async def _break(transport, server):
    async with ask(transport, server) as came:
        async for _ in came:
            break


async def _raise(transport, server):
    with suppress(ZeroDivisionError):
        async with ask(transport, server) as came:
            async for _ in came:
                raise ZeroDivisionError


async def _close_a_generator(transport, server):
    async def read():
        async with ask(transport, server) as came:
            async for event in came:
                yield event

    async with aclosing(read()) as events:
        async for _ in events:
            break


async def _cancel_while_it_waits(transport, server):
    async def read():
        async with ask(transport, server) as came:
            async for _ in came:
                pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _leave_unread(transport, server):
    async with ask(transport, server):
        pass


@pytest.mark.parametrize("leave", [_break, _raise, _close_a_generator, _cancel_while_it_waits, _leave_unread])
def test_leaving_early_closes_the_connection_at_once(leave):
    async def story():
        async with serving(Server(streams(b"data: a\n\n", then="open"))) as (server, transport):
            await leave(transport, server)
            began = time.monotonic()
            await asyncio.wait_for(server.left.wait(), 0.5)
            return time.monotonic() - began

    assert asyncio.run(story()) < 0.1


def test_cancelling_before_the_head_closes_the_connection_at_once():
    async def story():
        async with serving(Server(sends(then="open"))) as (server, transport):
            await _cancel_while_it_waits(transport, server)
            await asyncio.wait_for(server.left.wait(), 0.5)

    asyncio.run(story())


def test_a_stream_that_was_read_to_its_end_leaves_its_connection_for_the_next():
    async def keeps_open(writer):
        for piece in (OPEN, chunk(b"data: a\n\n"), chunk(b"data: [DONE]\n\n"), END):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.005)

    async def story():
        async with serving(Server(keeps_open)) as (server, transport):
            for _ in range(3):
                async with ask(transport, server) as came:
                    assert datas([event async for event in came]) == ["a"]
            return server.connections, len(server.requests)

    assert asyncio.run(story()) == (1, 3)


def test_a_server_that_says_done_and_stays_is_not_waited_for():
    came, events, took_s = come_of(sends(OPEN, chunk(b"data: a\n\ndata: [DONE]\n\n"), then="open"))
    assert (datas(events), came.is_done, came.fault) == (["a"], True, None)
    assert took_s < 0.3
