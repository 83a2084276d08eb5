"""Where a request is taken in and its reply goes out: reads it, asks the play what it gets, and sends that.

Runs on the server's loop. A request that is cancelled here was given up by its client, or by a server that stops.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

from llm_executor_nb.rehearsal.replies import bad_request, no_key
from llm_executor_nb.rehearsal.requests import read_asked
from llm_executor_nb.rehearsal.send import Sending, no_reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiohttp import web

    from llm_executor_nb.rehearsal.lines import Lines
    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.runner import ScriptRunner

CLIENT_LEFT = "client left"
SERVER_STOPPED = "server stopped"
_BEARER = "bearer "


class Handlers:
    """Serves the requests of both backends.

    Args:
        play: tells what a request gets.
        lines: where it is written down.
        latency_s: seconds every reply takes, before what the play adds.
        keys: the keys of each backend in their order; digests of them are kept.
    """

    def __init__(
        self, play: ScriptRunner, lines: Lines, *, latency_s: float, keys: Mapping[str, Sequence[str]]
    ) -> None:
        self._play = play
        self._lines = lines
        self._latency_s = latency_s
        self._numbers: dict[str, dict[bytes, int]] = {backend: {} for backend in keys}
        self.is_closing = False
        for backend, given in keys.items():
            for key in given:
                self.number(backend, key)

    def handler(self, backend: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the aiohttp handler of a backend's chat completions."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(backend, request)

        return handle

    async def handle_own(self, request: web.Request) -> web.StreamResponse:
        """Answer for a backend of the user's, which is named in the path."""
        return await self._handle(request.match_info["name"], request)

    async def _handle(self, backend: str, request: web.Request) -> web.StreamResponse:
        body = _object_in(await request.read())
        key = key_of(request)
        asked = read_asked(body or {}, backend=backend, key=key, key_number=self.number(backend, key))
        latency_s, staged = self._stage(asked, body)
        number = self._lines.begin(asked, client=request.transport and request.transport.get_extra_info("peername"))
        sending = Sending(request, staged)
        fault = staged.fault
        try:
            await asyncio.sleep(self._latency_s + latency_s)
            response = await sending.run()
        except asyncio.CancelledError:
            fault = self._gone()
            raise
        except ConnectionError:  # aiohttp would print a raised one; a returned one goes nowhere
            fault = self._gone()
            response = no_reply()
        finally:
            self._play.leave(asked)
            self._lines.finish(number, status=sending.status, fault=fault)
        return response

    def _gone(self) -> str:
        return SERVER_STOPPED if self.is_closing else CLIENT_LEFT

    def _stage(self, asked: ChatRequest, body: dict[str, Any] | None) -> tuple[float, Response]:
        if asked.key is None and asked.backend in self._numbers:
            return 0.0, no_key(asked)
        if body is None:
            return 0.0, bad_request(asked, "The request is not a JSON object.")
        return self._play.stage(asked)

    def number(self, backend: str, key: str | None) -> int:
        """Return a key's place among its backend's keys, from 1; 0: there is none."""
        if key is None or backend not in self._numbers:
            return 0
        known = self._numbers[backend]
        return known.setdefault(hashlib.blake2b(key.encode(errors="replace"), digest_size=16).digest(), len(known) + 1)


def key_of(request: web.Request) -> str | None:
    """Return the key that a request brought; None: it brought none."""
    told = request.headers.get("Authorization", "")
    key = told[len(_BEARER) :].strip() if told.lower().startswith(_BEARER) else ""
    return key or None


def _object_in(raw: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
