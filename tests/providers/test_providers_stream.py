"""One request asks for a stream, and what comes is events, a whole reply or a fault."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
from loopback import serving

from llm_executor_nb.core import clock
from llm_executor_nb.core.records import Fault, FaultKind, Reply
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.providers.events import Events
from llm_executor_nb.providers.sse import Event

KEY = "sk-or-v1-fake-0001"
OPEN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def head(status, kind, length):
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nRetry-After: 7\r\nContent-Length: {length}\r\n\r\n".encode()


class Server:
    """Raw TCP on loopback: keeps each request, then `answer(writer)` does what it likes; notes when it was left."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self.connections = 0
        self.left = asyncio.Event()

    async def serve(self, reader, writer):
        self.connections += 1
        answering = None
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
                self.requests.append(request.decode())
                answering = asyncio.create_task(self._run(writer))
                if await reader.read(0) == b"" and self.answer.__name__ == "keeps_open":
                    await answering
                    continue
                await reader.read()
                break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.left.set()
            if answering is not None:
                answering.cancel()
                with suppress(asyncio.CancelledError, ConnectionError):
                    await answering
            writer.close()

    async def _run(self, writer):
        with suppress(ConnectionError):
            if await self.answer(writer) == "close":
                writer.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"


def ask(transport, server, *, timeout_s=5.0, until=None):
    return transport.stream(server.url, body=b"{}", secret=Secret(KEY), timeout_s=timeout_s, until=until)


def sends(*pieces, then="close", every_s=0.0):
    async def answer(writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_s)
        return then

    return answer


def streams(*datas, then="close", every_s=0.0):
    return sends(OPEN, *map(chunk, datas), *([END] if then != "open" else []), then=then, every_s=every_s)


def repeats(data, every_s, *first):
    async def answer(writer):
        writer.write(OPEN + b"".join(map(chunk, first)))
        while True:
            writer.write(chunk(data))
            await writer.drain()
            await asyncio.sleep(every_s)

    return answer


def come_of(answer, *, is_text=bool, timeout_s=5.0, deadline_s=None, **options):
    """Ask once; return what came, its events, and the seconds it took."""

    async def story():
        async with serving(Server(answer), **options) as (server, transport):
            began = time.monotonic()
            until = None if deadline_s is None else clock.current().now() + deadline_s
            events = []
            async with ask(transport, server, timeout_s=timeout_s, until=until) as came:
                if isinstance(came, Events):
                    async for event in came:
                        events.append(event)
                        if is_text(event):
                            came.progress()
                    assert [event async for event in came] == []
            took_s = time.monotonic() - began
            assert len(server.requests) == 1
            await asyncio.wait_for(server.left.wait(), 0.5)
        assert KEY not in repr(came) + repr(getattr(came, "fault", ""))
        return came, events, took_s

    return asyncio.run(story())


def datas(events):
    return [event.data for event in events]


def test_a_stream_is_its_events_with_status_and_headers():
    came, events, _ = come_of(streams(b"data: a\n\n", b"data: b\n\ndata: [DONE]\n\n"))
    assert datas(events) == ["a", "b"]
    assert (came.status, came.fault, came.is_done) == (200, None, True)
    assert came.headers["content-type"].startswith("text/event-stream")


def test_exactly_one_request_asks_for_an_event_stream_with_the_key():
    async def story():
        async with serving(Server(streams(b"data: [DONE]\n\n"))) as (server, transport):
            async with ask(transport, server) as came:
                assert [event async for event in came] == []
            return server.requests

    (request,) = asyncio.run(story())
    lines = request.split("\r\n")
    assert "Accept: text/event-stream" in lines
    assert f"Authorization: Bearer {KEY}" in lines
    assert "Content-Type: application/json" in lines


ODD = {
    "crlf": ([b"data: a\r\n\r\n", b"data: b\r\n\r\ndata: [DONE]\r\n\r\n"], ["a", "b"], True),
    "cut between CR and LF": ([b"data: a\r", b"\n\r", b"\ndata: b\r\n\r\ndata: [DONE]\r\n\r\n"], ["a", "b"], True),
    "multi-line data": ([b'data: {"a":\ndata: 1}\n\ndata: [DONE]\n\n'], ['{"a":\n1}'], True),
    "comments": ([b": OPENROUTER PROCESSING\n\n", b"data: a\n\n", b": x\n\ndata: [DONE]\n\n"], ["a"], True),
    "comments only": ([b": OPENROUTER PROCESSING\n\n"] * 3, [], False),
    "blanks first": ([b"\n \n", b"\r\n", b"data: a\n\ndata: [DONE]\n\n"], ["a"], True),
    "no [DONE]": ([b"data: a\n\n"], ["a"], False),
    "no last blank line": ([b"data: a\n\ndata: [DONE]"], ["a"], True),
    "BOM and no blank after data": ([b"\xef\xbb", b"\xbfdata:a\n\ndata:[DONE]\n\n"], ["a"], True),
    "text after [DONE]": ([b"data: a\n\ndata: [DONE]\n\ndata: b\n\n"], ["a"], True),
    "a letter cut in two": ([b"data: caf\xc3", b"\xa9\n\ndata: [DONE]\n\n"], ["caf\u00e9"], True),
    "nothing": ([], [], False),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_streams_are_read_to_their_end(case):
    pieces, expected, is_done = ODD[case]
    came, events, _ = come_of(streams(*pieces, every_s=0.005))
    assert (datas(events), came.is_done, came.fault) == (expected, is_done, None)


def test_an_error_event_can_be_seen():
    _, events, _ = come_of(streams(b'event: error\ndata: {"code": 502}\n\n'))
    assert events == [Event('{"code": 502}', "error")]


JSON_ERROR = b'{"error": {"code": 502, "message": "no"}}'
HTML = b"<!doctype html><p>Just a moment"
EVENTS = "text/event-stream"


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        pytest.param(200, "application/json", JSON_ERROR, id="a JSON error with 200"),
        pytest.param(200, EVENTS, b"  \n\n" + JSON_ERROR, id="a JSON error called an event stream"),
        pytest.param(200, EVENTS, b"\xef\xbb\xbf" + JSON_ERROR, id="a JSON error after a BOM"),
        pytest.param(200, EVENTS, HTML, id="HTML called an event stream"),
        pytest.param(200, "text/html", HTML, id="HTML"),
        pytest.param(200, "application/json", b"", id="nothing"),
        pytest.param(401, "application/json", JSON_ERROR, id="401"),
        pytest.param(429, EVENTS, b"data: no\n\n", id="429 as an event stream"),
        pytest.param(302, "text/plain", b"elsewhere", id="302"),
        pytest.param(503, "text/html", HTML, id="503"),
    ],
)
def test_what_is_no_event_stream_comes_whole(status, kind, body):
    pieces = [body[:4], body[4:]] if body else []
    came, _, _ = come_of(sends(head(status, kind, len(body)), *pieces, every_s=0.01))
    assert isinstance(came, Reply)
    assert (came.status, came.body, came.headers["retry-after"]) == (status, body, "7")


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        pytest.param(sends(), FaultKind.CLOSED, None, id="closed before the reply"),
        pytest.param(sends(b"hello there\r\n\r\n"), FaultKind.MALFORMED, None, id="no HTTP"),
        pytest.param(sends(OPEN), FaultKind.CUT, 200, id="cut before the first event"),
        pytest.param(sends(head(503, "text/html", 100), b"half"), FaultKind.CUT, 503, id="cut in an error's body"),
    ],
)
def test_a_stream_that_never_begins_is_a_fault(answer, kind, status):
    came, _, _ = come_of(answer)
    assert isinstance(came, Fault)
    assert (came.kind, came.status, came.may_resend) == (kind, status, False)


async def _resets(writer):
    writer.write(OPEN + chunk(b"data: a\n\n"))
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(sends(OPEN, chunk(b"data: a\n\ndata: b\n")), FaultKind.CUT, id="closed"),
        pytest.param(_resets, FaultKind.CUT, id="reset"),
        pytest.param(streams(b"data: a\n\ndata: \xff\xfe\n\ndata: b\n\n"), FaultKind.MALFORMED, id="bad UTF-8"),
    ],
)
def test_a_stream_that_breaks_ends_with_a_fault_after_its_whole_events(answer, kind):
    came, events, _ = come_of(answer)
    assert datas(events) == ["a"]
    assert came.fault is not None
    assert (came.fault.kind, came.fault.status, came.fault.may_resend) == (kind, 200, False), came.fault
    assert not came.is_done


@pytest.mark.parametrize(
    "data", [b"x" * 500, b"data: a\n\n" * 50, b": comment\n" * 50], ids=["a line", "text", "comments"]
)
def test_an_endless_stream_is_given_up_at_the_cap(data):
    came, _, _ = come_of(repeats(data, 0), body_cap=100_000)
    assert (came.fault.kind, came.fault.status) == (FaultKind.TOO_LARGE, 200)


def test_endless_blanks_before_a_stream_are_given_up_at_the_cap():
    came, _, _ = come_of(repeats(b" \n" * 500, 0), body_cap=100_000)
    assert (came.fault if isinstance(came, Events) else came).kind is FaultKind.TOO_LARGE


def test_a_kept_alive_connection_that_died_unanswered_may_be_resent():
    count = iter(range(9))

    async def keeps_open(writer):
        if next(count):
            writer.transport.abort()
        else:
            writer.write(OPEN + chunk(b"data: [DONE]\n\n") + END)

    async def story():
        async with serving(Server(keeps_open)) as (server, transport):
            async with ask(transport, server) as came:
                assert [event async for event in came] == []
            async with ask(transport, server) as came:
                return came

    came = asyncio.run(story())
    assert (came.kind, came.may_resend) == (FaultKind.CLOSED, True)


def test_what_its_reader_raises_is_not_chained_to_what_the_network_did():
    async def read_and_raise(transport, server):
        async with ask(transport, server) as came:
            assert datas([event async for event in came]) == ["a"]
            assert came.fault.kind is FaultKind.CUT
            raise ZeroDivisionError

    async def story():
        async with serving(Server(sends(OPEN, chunk(b"data: a\n\n")))) as (server, transport):
            with pytest.raises(ZeroDivisionError) as caught:
                await read_and_raise(transport, server)
            return caught.value

    assert asyncio.run(story()).__context__ is None
