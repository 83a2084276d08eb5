"""One reply on the wire: a status, headers, pieces of bytes, and how it ends.

Every reply of a rehearsal, a practice answer or a fault, is one `Response`. `ResponseWriter` sends any of them: whole,
in pieces, broken off, silent, or without HTTP.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from aiohttp import web

JSON = "application/json"
HTML = "text/html; charset=utf-8"
EVENTS = "text/event-stream"
_NO_LINGER = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 s: closing the socket sends a reset."""


class End(StrEnum):
    """What happens when all pieces are sent."""

    WHOLE = auto()
    CLOSE = auto()
    RESET = auto()
    STALL = auto()
    REPEAT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the server does with one request.

    Attributes:
        status: the HTTP status; None: the pieces are sent as bare bytes, without HTTP.
        headers: the HTTP headers.
        pieces: the body, in the pieces it is written in.
        pace_s: seconds before each piece but the first.
        end: WHOLE ends the reply properly; CLOSE and RESET break it off. Until the client leaves, STALL sends nothing
            more, and REPEAT sends the last piece over and over.
        fault: the fault that decided; None: an answer.
    """

    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: tuple[bytes, ...] = ()
    pace_s: float = 0.0
    end: End = End.WHOLE
    fault: str | None = None


def json_response(
    body: object, fault: str | None, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a whole reply of JSON."""
    return bytes_response(json.dumps(body).encode(), fault, status=status, headers=headers)


def bytes_response(
    body: bytes, fault: str | None, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a whole reply with the content type of JSON, whatever its bytes are."""
    return Response(status=status, headers={"Content-Type": JSON, **(headers or {})}, pieces=(body,), fault=fault)


def event_response(
    pieces: Iterable[bytes],
    fault: str | None,
    *,
    headers: Mapping[str, str],
    **more: Any,  # noqa: ANN401 - further fields of Response
) -> Response:
    """Return a reply of server-sent events."""
    headers = {**headers, "Content-Type": EVENTS, "Cache-Control": "no-cache"}
    return Response(headers=headers, pieces=tuple(pieces), fault=fault, **more)


def no_reply() -> web.Response:
    """Return what aiohttp gets for a connection that is gone: it notices that itself, and logs nothing."""
    from aiohttp import web  # noqa: PLC0415 - loads on first use

    return web.Response()


class ResponseWriter:
    """Sends one reply.

    Attributes:
        status: the HTTP status that was sent; None: none was, or not yet.
    """

    def __init__(self, http_request: web.Request, response: Response) -> None:
        self._http_request = http_request
        self._response = response
        self.status: int | None = None

    async def run(self) -> web.StreamResponse:
        """Send the reply. Returns when it is sent, and is cancelled when the client leaves.

        Raises:
            ConnectionError: the client left during a write.
        """
        from aiohttp import web  # noqa: PLC0415 - loads on first use

        response = self._response
        if response.status is None:
            await self._write(self._write_bare)
            return no_reply()
        self.status = response.status
        if response.end is End.WHOLE and len(response.pieces) <= 1:  # with its Content-Length, as real servers do
            return web.Response(status=response.status, headers=response.headers, body=b"".join(response.pieces))
        stream = web.StreamResponse(status=response.status, headers=response.headers)
        await stream.prepare(self._http_request)
        await self._write(stream.write)
        return stream

    async def _write(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        response = self._response
        for number, piece in enumerate(response.pieces):
            if number and response.pace_s:
                await asyncio.sleep(response.pace_s)
            await write(piece)
        match response.end:
            case End.REPEAT:
                while True:
                    await asyncio.sleep(response.pace_s)
                    await write(response.pieces[-1])
            case End.STALL:
                await asyncio.Event().wait()
            case End.CLOSE | End.RESET:
                self._break_off()
            case End.WHOLE:
                pass

    async def _write_bare(self, piece: bytes) -> None:
        if self._http_request.transport is not None:
            self._http_request.transport.write(piece)

    def _break_off(self) -> None:
        transport = self._http_request.transport
        if transport is None:
            return
        if self._response.end is End.RESET:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            transport.abort()
        transport.close()
