"""Puts a staged reply on the wire: whole, in pieces, broken off, silent, or with no HTTP at all."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

from llm_executor_nb.rehearsal.response import End, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

_NO_LINGER = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 s: closing sends a reset in place of an end."""


def no_reply() -> web.Response:
    """Return what aiohttp is given where the connection is gone: it finds that out by itself, and says nothing."""
    from aiohttp import web  # noqa: PLC0415 - loads on first use

    return web.Response()


class Sending:
    """One reply being sent.

    Attributes:
        status: the HTTP status that went out; None: none did, or not yet.
    """

    def __init__(self, request: web.Request, staged: Response) -> None:
        self._request = request
        self._staged = staged
        self.status: int | None = None

    async def run(self) -> web.StreamResponse:
        """Send it; returns when it is sent, and is cancelled when the client goes away.

        Raises:
            ConnectionError: the client went away while it was written to.
        """
        from aiohttp import web  # noqa: PLC0415 - loads on first use

        staged = self._staged
        if staged.status is None:
            await self._write(self._write_bare)
            return no_reply()
        self.status = staged.status
        if staged.end is End.WHOLE and len(staged.pieces) <= 1:
            return web.Response(status=staged.status, headers=staged.headers, body=b"".join(staged.pieces))
        response = web.StreamResponse(status=staged.status, headers=staged.headers)
        await response.prepare(self._request)
        await self._write(response.write)
        return response

    async def _write(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        staged = self._staged
        for number, piece in enumerate(staged.pieces):
            if number and staged.pace_s:
                await asyncio.sleep(staged.pace_s)
            await write(piece)
        match staged.end:
            case End.REPEAT:
                while True:
                    await asyncio.sleep(staged.pace_s)
                    await write(staged.pieces[-1])
            case End.STALL:
                await asyncio.Event().wait()
            case End.CLOSE | End.RESET:
                self._break_off()
            case End.WHOLE:
                pass

    async def _write_bare(self, piece: bytes) -> None:
        if self._request.transport is not None:
            self._request.transport.write(piece)

    def _break_off(self) -> None:
        transport = self._request.transport
        if transport is None:
            return
        if self._staged.end is End.RESET:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            transport.abort()
        transport.close()
