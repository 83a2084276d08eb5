"""One request goes out, and whatever the network does comes back as a Reply or a Fault."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from loopback import serving

import llm_executor_nb
from llm_executor_nb.core.records import Fault, FaultKind, Reply
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.providers.transport import Transport

KEY = "sk-or-v1-fake-0001"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Raw TCP on loopback: each request is kept, then `answer(writer, number)` does what it likes."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_length_of(head))
                self.requests.append((head.decode(), body))
                if await self.answer(writer, len(self.requests)) == "close":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"


def _length_of(head):
    lines = [line for line in head.decode().lower().split("\r\n") if line.startswith("content-length:")]
    return int(lines[0].split(":")[1]) if lines else 0


def sends(*pieces, then="close"):
    async def answer(writer, _number):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return then

    return answer


async def ask(transport, url, timeout_s=5.0):
    return await transport.post(url, body=b'{"a":1}', secret=Secret(KEY), timeout_s=timeout_s)


def outcome_of(answer, *, timeout_s=5.0, **options):
    """Ask once, and return what came and how many requests the server saw."""

    async def story():
        async with serving(Server(answer), **options) as (server, transport):
            found = await ask(transport, server.url, timeout_s)
        assert KEY not in repr(found)
        return found, len(server.requests)

    return asyncio.run(story())


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 402, 404, 429, 500, 503])
def test_status_headers_and_body_are_kept_whatever_the_status_is(status):
    head = f"HTTP/1.1 {status} X\r\nRetry-After: 7\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 5\r\n\r\n"
    found, requests = outcome_of(sends(head.encode(), b"words"))
    assert found == Reply(
        status=status,
        headers={"retry-after": "7", "location": "http://127.0.0.1:1/", "content-length": "5"},
        body=b"words",
    )
    assert requests == 1


def test_one_request_is_sent_with_the_key_the_headers_and_the_body():
    async def story():
        async with serving(Server(sends(OK, then=None))) as (server, transport):
            await transport.post(
                server.url,
                body=b'{"a":1}',
                secret=Secret(KEY),
                headers={"X-OpenRouter-Title": "t"},
                timeout_s=5,
            )
            await transport.post(server.url, body=b"{}", secret=None, timeout_s=None)
        return server.requests

    (head, body), (keyless, _) = asyncio.run(story())
    lines = head.split("\r\n")
    assert lines[0] == "POST /v1/chat/completions HTTP/1.1"
    assert f"Authorization: Bearer {KEY}" in lines
    assert "Content-Type: application/json" in lines
    assert "X-OpenRouter-Title: t" in lines
    assert json.loads(body) == {"a": 1}
    assert "authorization" not in keyless.lower()


def test_a_trickling_body_ends_at_the_total_timeout():
    async def trickle(writer, _number):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    began = time.monotonic()
    found, requests = outcome_of(trickle, timeout_s=0.2)
    assert time.monotonic() - began < 0.6
    assert (found.kind, found.status, requests) == (FaultKind.TIMEOUT, 200, 1)
    assert found.detail == "no whole reply within 0.2 s"
    assert not found.may_resend


def test_silence_before_the_head_ends_at_the_total_timeout():
    async def silence(_writer, _number):
        await asyncio.sleep(0.4)
        return "close"

    found, requests = outcome_of(silence, timeout_s=0.15)
    assert (found.kind, found.status, requests) == (FaultKind.TIMEOUT, None, 1)


def test_a_caller_that_is_cancelled_is_cancelled():
    async def silence(_writer, _number):
        await asyncio.sleep(0.3)
        return "close"

    async def story():
        async with serving(Server(silence)) as (server, transport):
            task = asyncio.create_task(ask(transport, server.url))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(story())


async def _free_port():
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    return port


def test_a_port_nobody_listens_on_is_refused():
    async def story():
        transport = Transport()
        port = await _free_port()
        found = [await ask(transport, f"http://{host}:{port}/v1") for host in ("127.0.0.1", "localhost")]
        await transport.close()
        return found

    assert [(f.kind, f.may_resend) for f in asyncio.run(story())] == [(FaultKind.REFUSED, False)] * 2


@pytest.mark.parametrize(
    ("url", "kind"),
    [("http://provider.invalid/v1", FaultKind.DNS), ("http://:x/", FaultKind.CONNECT)],
)
def test_a_host_that_cannot_be_found_is_a_fault(url, kind):
    async def story():
        transport = Transport()
        found = await ask(transport, url)
        await transport.close()
        return found

    assert asyncio.run(story()).kind is kind


def test_a_plain_server_behind_https_is_a_tls_fault():
    async def speak_plainly(_reader, writer):
        writer.write(b"HTTP/1.1 400 Bad\r\n\r\n")
        writer.close()

    async def story():
        listener = await asyncio.start_server(speak_plainly, "127.0.0.1", 0)
        transport = Transport()
        found = await ask(transport, f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1")
        await transport.close()
        listener.close()
        return found

    found = asyncio.run(story())
    assert (found.kind, found.may_resend) == (FaultKind.TLS, False)


async def reset(writer, _number):
    writer.transport.abort()
    return "close"


def _reset_after(*pieces):
    async def answer(writer, _number):
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        return "close"

    return answer


HALF = b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nhalf"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip"
LONG = b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        pytest.param(reset, FaultKind.CLOSED, None, id="reset before the reply"),
        pytest.param(sends(), FaultKind.CLOSED, None, id="closed before the reply"),
        pytest.param(sends(b"HTTP/1.1 200 OK\r\nContent-"), FaultKind.CUT, None, id="cut in the head"),
        pytest.param(sends(HALF), FaultKind.CUT, 503, id="cut in the body"),
        pytest.param(sends(CHUNKED), FaultKind.CUT, 200, id="cut between chunks"),
        pytest.param(_reset_after(HALF), FaultKind.CUT, 503, id="reset in the body"),
        pytest.param(sends(b"hello there\r\n\r\n"), FaultKind.MALFORMED, None, id="no HTTP"),
        pytest.param(sends(GZIP), FaultKind.MALFORMED, 200, id="bad gzip"),
        pytest.param(sends(LONG), FaultKind.MALFORMED, None, id="endless header"),
    ],
)
def test_what_breaks_on_the_way_has_a_name_and_keeps_the_status(answer, kind, status):
    found, requests = outcome_of(answer)
    assert isinstance(found, Fault)
    assert (found.kind, found.status) == (kind, status), found
    assert not found.may_resend
    assert 0 < len(found.detail) <= 300
    assert "400" not in found.detail
    assert requests == 1


def test_a_key_that_the_server_echoes_is_scrubbed_from_the_detail():
    Secret(KEY)
    found, _ = outcome_of(sends(f"{KEY} is a strange status line\r\n\r\n".encode()))
    assert found.kind is FaultKind.MALFORMED
    assert "strange status line" in found.detail


def test_a_header_of_40_kb_and_bytes_that_are_no_utf8_are_taken():
    head = b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 40_000 + b"\r\nX-Odd: caf\xe9\r\nContent-Length: 2\r\n\r\n{}"
    found, _ = outcome_of(sends(head))
    assert len(found.headers["x-long"]) == 40_000
    found.headers["x-odd"].encode()


def test_a_packed_body_is_unpacked():
    packed = gzip.compress(b'{"a": 1}')
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    found, _ = outcome_of(sends(head.encode(), packed))
    assert found.body == b'{"a": 1}'


def test_a_body_over_the_cap_is_given_up_even_when_packed():
    packed = gzip.compress(b"x" * 5_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    found, requests = outcome_of(sends(head.encode(), packed), body_cap=1_000)
    assert (found.kind, found.status, requests) == (FaultKind.TOO_LARGE, 200, 1)


@pytest.mark.parametrize("dies", [sends(), reset])
def test_only_a_kept_alive_connection_that_died_unanswered_may_be_resent(dies):
    async def answer(writer, number):
        return await (sends(OK, then=None) if number == 1 else dies)(writer, number)

    async def story():
        async with serving(Server(answer)) as (server, transport):
            first = await ask(transport, server.url)
            second = await ask(transport, server.url)
            third = await ask(transport, server.url)
            return first, second, third, len(server.requests)

    first, second, third, requests = asyncio.run(story())
    assert first.status == 200
    assert (second.kind, second.may_resend) == (FaultKind.CLOSED, True)
    assert (third.kind, third.may_resend) == (FaultKind.CLOSED, False)
    assert requests == 3


def test_a_reused_connection_that_died_in_its_reply_may_not_be_resent():
    async def answer(writer, number):
        return await (sends(OK, then=None) if number == 1 else sends(b"HTTP/1.1 2"))(writer, number)

    async def story():
        async with serving(Server(answer)) as (server, transport):
            await ask(transport, server.url)
            return await ask(transport, server.url)

    found = asyncio.run(story())
    assert (found.kind, found.may_resend) == (FaultKind.CUT, False)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n"],
        [b"HTTP/1.1 307 x\r\nLocation: /\r\nContent-Length: 9\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + b"x" * 5000],
        [b"HTTP/1.1 200 OK\r\n"],
        [b"no HTTP\r\n\r\n"],
        [],
    ],
    ids=["404", "redirect", "too large", "silent", "no HTTP", "closed"],
)
@pytest.mark.parametrize("way", ["get", "post", "stream"])
def test_whatever_came_no_connection_is_left_to_be_found_unclosed_later(way, pieces):
    async def story():
        then = "open" if pieces and not pieces[0].startswith(b"no HTTP") else "close"
        async with serving(Server(sends(*pieces, then=then)), body_cap=1000) as (server, transport):
            if way == "get":
                return await transport.get(server.url, secret=None, timeout_s=0.05)
            if way == "post":
                return await ask(transport, server.url, 0.05)
            async with transport.stream(server.url, body=b"{}", secret=None, timeout_s=0.05) as came:
                return came

    gc.freeze()  # what is left of other tests is not looked at: that would take a second
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert isinstance(asyncio.run(story()), Reply | Fault)
        gc.collect()
    gc.unfreeze()
    assert [str(one.message) for one in told] == []


def test_cookies_are_not_sent_back():
    async def story():
        cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}"
        async with serving(Server(sends(cookie, then=None))) as (server, transport):
            await ask(transport, server.url.replace("127.0.0.1", "localhost"))
            await ask(transport, server.url.replace("127.0.0.1", "localhost"))
        return server.requests

    assert all("cookie" not in head.lower() for head, _ in asyncio.run(story()))


def _through_proxy(monkeypatch, url, answer=None, **environment):
    async def story():
        async with serving(Server(answer or sends(OK))) as (proxy, transport):
            for name, value in environment.items():
                monkeypatch.setenv(name, value.replace("PORT", str(proxy.port)))
            found = await ask(transport, url.replace("PORT", str(proxy.port)))
        return found, proxy.requests

    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return asyncio.run(story())


def test_the_proxy_of_the_environment_is_used_with_its_password(monkeypatch):
    proxy = "http://me:pass@127.0.0.1:PORT"
    found, requests = _through_proxy(monkeypatch, "http://provider.invalid/v1", http_proxy=proxy)
    assert found.status == 200
    assert requests[0][0].startswith("POST http://provider.invalid/v1 HTTP/1.1")
    assert "Proxy-Authorization: Basic" in requests[0][0]


def test_a_proxy_that_refuses_the_tunnel_is_a_fault_without_its_password(monkeypatch):
    proxy = "http://me:hush-hush@127.0.0.1:PORT"
    refuse = sends(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    found, requests = _through_proxy(monkeypatch, "https://provider.invalid/v1", refuse, https_proxy=proxy)
    assert (found.kind, found.status) == (FaultKind.CONNECT, None)
    assert "407" in found.detail
    assert "hush-hush" not in repr(found)
    assert KEY not in requests[0][0]


def test_no_proxy_and_this_machine_are_reached_directly(monkeypatch):
    dead = "http://127.0.0.1:1"
    assert _through_proxy(monkeypatch, "http://127.0.0.1:PORT/v1", http_proxy=dead)[0].status == 200
    found, _ = _through_proxy(monkeypatch, "http://provider.invalid/v1", http_proxy=dead, no_proxy=".invalid")
    assert found.kind is FaultKind.DNS


def test_a_proxy_of_another_kind_is_named_without_its_password(monkeypatch):
    with pytest.raises(ValueError, match="speaks socks5") as caught:
        _through_proxy(monkeypatch, "http://provider.invalid/v1", all_proxy="socks5://me:hush-hush@127.0.0.1:1")
    assert "hush-hush" not in str(caught.value)


def test_netrc_does_not_replace_the_key(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(netrc))

    async def story():
        async with serving(Server(sends(OK))) as (server, transport):
            await ask(transport, server.url)
        return server.requests

    assert f"Authorization: Bearer {KEY}" in asyncio.run(story())[0][0]


def test_a_bundle_that_cannot_be_read_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))

    async def story():
        transport = Transport()
        try:
            await ask(transport, "https://127.0.0.1:1/v1")
        finally:
            await transport.close()

    with pytest.raises(ValueError, match=r"REQUESTS_CA_BUNDLE names missing\.pem"):
        asyncio.run(story())


def test_importing_the_room_loads_no_heavy_library():
    program = (
        "import sys, pkgutil, importlib, llm_executor_nb.providers as room\n"
        "for found in pkgutil.iter_modules(room.__path__):\n"
        "    importlib.import_module('llm_executor_nb.providers.' + found.name)\n"
        "heavy = ('langchain_', 'openai', 'huggingface_hub', 'aiohttp', 'pydantic')\n"
        "sys.exit(', '.join(name for name in sys.modules if name.startswith(heavy)))\n"
    )
    here = Path(llm_executor_nb.__path__[0]).parent
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, cwd=here)
    assert done.stderr.strip() == ""
