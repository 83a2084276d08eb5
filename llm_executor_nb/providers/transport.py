"""The only HTTP client: one POST or GET, and its result: a `Reply`, a `Fault` or an open stream of `Events`.

Status, headers and body are returned whatever the status is. Redirects are not followed: they would carry the key
elsewhere. Nothing that the network does is raised, so no exception ever holds a request with its Authorization header.

Must not: retry, judge a reply, or know a provider.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from llm_executor_nb.core import clock
from llm_executor_nb.core.records import Fault, FaultKind, Reply
from llm_executor_nb.providers.events import Events, Silence
from llm_executor_nb.providers.faults import Watch, fault_of, make_fault, refuse_local
from llm_executor_nb.providers.network import Network
from llm_executor_nb.providers.open_files import OpenFiles
from llm_executor_nb.providers.sse import BLANK, Shape, after_comments, shape_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import aiohttp
    from aiohttp import AddrInfoType
    from aiohttp.client import _RequestContextManager

    from llm_executor_nb.core.secret import Secret

BODY_CAP: Final = 32 * 2**20
"""Bytes of a reply's unpacked body beyond which it is given up: a small gzip may unpack to gigabytes."""
_HEADER_CAP: Final = 65536
"""Bytes of one header. Beyond aiohttp's own 8 kB, an answer that was paid for would be lost."""
_KEEP_ALIVE_S: Final = 15.0
"""Seconds that an idle connection is kept. A longer time would find more of them closed by the server."""
_DNS_TTL_S: Final = 300
"""aiohttp's 10 s would look a provider up again in the middle of most jobs."""
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_JSON: Final = "application/json"
_EVENT_STREAM: Final = "text/event-stream"
_NOT_EVENTS: Final = (b"{", b"[", b"<")
"""How JSON or HTML begins, whatever its content type says."""
_FRONT: Final = (b":", b" ", b"\t", b"\r", b"\n", b"\xef")
"""How a body begins that has comments or blanks in front."""
_FIRST: Final = 4096
"""Bytes of a body whose shape is looked for after every piece; beyond them only after a line's end, for speed."""
_in_flight: ContextVar[Watch] = ContextVar("_in_flight")
"""What is known of the request for which the task in force may open a socket."""


class Transport:
    """One HTTP session, bound to the event loop of its first request; a loop needs its own.

    Args:
        body_cap: bytes of a reply's body, or of a stream, beyond which it is given up.
        look_up_s: seconds after which a look-up is given up. A person may be waiting for it.

    Attributes:
        open_files: bounds the requests of runs.
    """

    def __init__(self, *, body_cap: int = BODY_CAP, look_up_s: float = 15.0) -> None:
        self._body_cap, self.look_up_s = body_cap, look_up_s
        import aiohttp  # noqa: F401, PLC0415 - loaded with the first transport, in the caller's thread, not on the loop

        self.open_files = OpenFiles()
        self._network = Network()
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self,
        url: str,
        *,
        body: bytes,
        secret: Secret | None,
        headers: Mapping[str, str] = _NO_HEADERS,
        timeout_s: float | None,
    ) -> Reply | Fault:
        """Make exactly one request; return its result.

        Args:
            url: where to; http or https.
            body: JSON.
            secret: the key for the Authorization header; None: none is sent.
            headers: further headers.
            timeout_s: bound in seconds over connecting, headers and the whole body; None: no bound.

        Raises:
            MachineError: this machine cannot open a connection, or use its proxy or certificates; nothing was sent.
        """
        watch = Watch()
        return await self._once(self._request(url, body, headers, secret, watch), watch, timeout_s)

    async def get(
        self,
        url: str,
        *,
        secret: Secret | None,
        timeout_s: float | None,
        silence_s: float | None = None,
    ) -> Reply | Fault:
        """Make one GET; return its result.

        aiohttp sends a GET again when its kept-alive connection turns out to be dead. So this is for look-ups only,
        which cost nothing and change nothing.

        Args:
            url: where to; http or https.
            secret: the key for the Authorization header; None: none is sent.
            timeout_s: bound in seconds over connecting, headers and the whole body; None: no bound.
            silence_s: seconds without a byte, connecting included, after which it is given up; None: no bound.

        Raises:
            MachineError: this machine cannot open a connection, or use its proxy or certificates; nothing was sent.
        """
        watch = Watch()
        try:
            async with asyncio.timeout(silence_s) as silence:
                if silence_s is not None:
                    watch.heard = partial(_begin_again, silence, silence_s)
                return await self._once(self._request(url, None, _NO_HEADERS, secret, watch), watch, timeout_s)
        except TimeoutError:
            return make_fault(FaultKind.TIMEOUT, f"not a byte for {silence_s:g} s", watch)

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        body: bytes,
        secret: Secret | None,
        headers: Mapping[str, str] = _NO_HEADERS,
        timeout_s: float | None,
        until: float | None = None,
    ) -> AsyncIterator[Events | Reply | Fault]:
        """Make exactly one request that asks for an event stream; leaving the block closes its connection at once.

        The result is an open stream of `Events`. It is a whole `Reply` when the status is not a 2xx, or the body is
        neither events nor lines of JSON. It is a `Fault` when neither came. The body decides, not its content type.

        Args:
            url: where to; http or https.
            body: JSON.
            secret: the key for the Authorization header; None: none is sent.
            headers: further headers.
            timeout_s: bound in seconds over connecting, headers and the first progress, or a whole `Reply`, and for
                any silence after a progress; None: no bound.
            until: the time on the clock at which it is given up in any case; None: never.

        Raises:
            MachineError: this machine cannot open a connection, or use its proxy or certificates; nothing was sent.
        """
        watch, silence = Watch(), Silence(timeout_s, until)
        request = self._request(url, body, {**headers, "Accept": _EVENT_STREAM}, secret, watch)
        with ExitStack() as at_end:
            yield await self._begin(request, watch, silence, at_end)

    async def close(self) -> None:
        """Close every connection. A later request opens a new session."""
        session, self._session = self._session, None  # before the await: a request meanwhile opens a new one
        if session is not None:
            await session.close()

    def _request(
        self, url: str, body: bytes | None, headers: Mapping[str, str], secret: Secret | None, watch: Watch
    ) -> _RequestContextManager:
        """Return the request, not yet sent: a GET if there is no body.

        What may raise comes first, while no frame holds the key as text.
        """
        _in_flight.set(watch)
        proxy = self._network.proxy(url)
        tls = self._network.tls() if url.startswith("https:") else True
        session = self._open_session()
        return session.request(
            "GET" if body is None else "POST",
            url,
            data=body,
            headers=_headers_with(headers, secret, has_body=body is not None),
            allow_redirects=False,  # a redirect would carry the key elsewhere
            proxy=proxy,
            ssl=tls,
        )

    async def _once(self, request: _RequestContextManager, watch: Watch, timeout_s: float | None) -> Reply | Fault:
        try:
            async with clock.current().timeout(timeout_s):
                return await self._reply(request, watch)
        except TimeoutError as error:
            detail = f"no whole reply within {timeout_s:g} s" if timeout_s is not None else str(error)
            return make_fault(FaultKind.TIMEOUT, detail, watch)
        except Exception as error:  # noqa: BLE001 - whatever the network does is a Fault, and nothing is raised with a request in it
            fault = fault_of(error, watch)
        refuse_local(fault)
        return fault

    async def _reply(self, request: _RequestContextManager, watch: Watch) -> Reply | Fault:
        async with request as response:
            watch.status = response.status
            body = bytearray()
            try:
                return await self._whole(response, watch, body)
            except Exception as error:  # noqa: BLE001 - as in `_once`, but events that had come are kept
                has_events = response.status < 300 and shape_of(bytes(body), is_all=True) is not Shape.WHOLE
                return replace(fault_of(error, watch), begun=bytes(body) if has_events else b"")

    async def _begin(
        self, request: _RequestContextManager, watch: Watch, silence: Silence, at_end: ExitStack
    ) -> Events | Reply | Fault:
        try:
            return await silence.wait(self._open(request, watch, silence, at_end))
        except Exception as error:  # noqa: BLE001 - as in `_once`
            fault = silence.fault_of(error, watch)
        refuse_local(fault)
        return fault

    async def _open(
        self, request: _RequestContextManager, watch: Watch, silence: Silence, at_end: ExitStack
    ) -> Events | Reply | Fault:
        response = await request
        at_end.callback(response.close)  # `release` would read a stream on to its end
        watch.status = response.status
        if not 200 <= response.status < 300:
            return await self._whole(response, watch, bytearray())
        head, shape, size = await self._head(response)
        if shape is Shape.WHOLE:
            return await self._whole(response, watch, head)
        return Events(
            response.content,
            head=bytes(head).lstrip(BLANK),
            size=size,
            headers=_plain(response.headers),
            body_cap=self._body_cap,
            silence=silence,
            watch=watch,
            shape=shape,
        )

    async def _head(self, response: aiohttp.ClientResponse) -> tuple[bytearray, Shape, int]:
        """Return the body up to the piece that shows its shape, without comments; its shape; and its size in bytes."""
        head, shape, size = bytearray(), None, 0
        while shape is None and size <= self._body_cap and (piece := await response.content.readany()):
            size += len(piece)
            head += piece
            if len(head) <= _FIRST or _ends_a_line(piece):
                head = _without_front(head)
                shape = shape_of(bytes(head), is_all=False)
        shape = shape or shape_of(bytes(head), is_all=True) or Shape.WHOLE
        is_declared = response.content_type == _EVENT_STREAM and not head.lstrip(BLANK).startswith(_NOT_EVENTS)
        return head, Shape.EVENTS if is_declared and shape is Shape.WHOLE else shape, size

    async def _whole(self, response: aiohttp.ClientResponse, watch: Watch, body: bytearray) -> Reply | Fault:
        """Read the rest of a body whose beginning may have been read; give up when it is larger than the cap."""
        while len(body) <= self._body_cap:
            if watch.heard is not None:
                watch.heard()
            piece = await response.content.readany()
            if not piece:
                return Reply(status=response.status, headers=_plain(response.headers), body=bytes(body))
            body += piece
            if body.startswith(_FRONT) and _ends_a_line(piece):
                body = _without_front(body)
        return make_fault(FaultKind.TOO_LARGE, f"the body is larger than {self._body_cap} bytes", watch)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = _make_session()
        return self._session


def _begin_again(silence: asyncio.Timeout, silence_s: float) -> None:
    silence.reschedule(asyncio.get_running_loop().time() + silence_s)


def _ends_a_line(piece: bytes) -> bool:
    return b"\n" in piece or b"\r" in piece


def _without_front(body: bytearray) -> bytearray:
    """Return a body without the comments in front, nor many blanks: each piece would take longer than the last."""
    front = bytes(body)
    return bytearray(after_comments(front if len(front) <= _FIRST else front.lstrip(BLANK)))


def _make_session() -> aiohttp.ClientSession:
    """Make a session; it needs a running loop.

    The engine bounds time and concurrency, so aiohttp must not. `trust_env` would read `.netrc` (see `network`).
    """
    import aiohttp  # noqa: PLC0415 - loads on first use

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, ttl_dns_cache=_DNS_TTL_S, keepalive_timeout=_KEEP_ALIVE_S, socket_factory=_new_socket
        ),
        cookie_jar=aiohttp.DummyCookieJar(),  # a cookie would tie all keys to one visitor
        headers={"User-Agent": "llm_executor_nb"},
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        trust_env=False,
        raise_for_status=False,
        max_line_size=_HEADER_CAP,
        max_field_size=_HEADER_CAP,
    )


def _new_socket(address: AddrInfoType) -> socket.socket:
    """Make a socket for an address, and note that its request goes out on a new connection.

    aiohttp's tracing would tell the same, and costs each request ten coroutines.
    """
    _in_flight.get().is_reused = False
    family, kind, protocol, *_ = address
    return socket.socket(family, kind, protocol)


def _headers_with(headers: Mapping[str, str], secret: Secret | None, *, has_body: bool) -> dict[str, str]:
    sent = {**headers, "Content-Type" if has_body else "Accept": _JSON}
    if secret is not None:
        sent["Authorization"] = f"Bearer {secret.reveal()}"
    return sent


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with lower-case names; bytes that are not UTF-8 are replaced: a database refuses surrogates."""
    return {
        name.lower(): value
        if value.isascii()  # nearly every one
        else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        for name, value in headers.items()
    }
