"""OpenRouter and the Hugging Face router on loopback: real HTTP, the real bodies, and the faults of a script.

The server has a thread and an event loop of its own, and a port that the system chooses. It answers
`POST .../chat/completions` of both backends, the free look-ups of their keys and models, and their sign-ins; everything
else is a 404. It keeps no text that it is sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any, Self

from llm_executor_nb.core.errors import LLMExecutorError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.rehearsal.lines import Lines, ServerLine
from llm_executor_nb.rehearsal.lookups import LookupHandlers, LookupLine
from llm_executor_nb.rehearsal.practice_lists import shipped_models
from llm_executor_nb.rehearsal.replies import bad_request, no_key
from llm_executor_nb.rehearsal.requests import key_of, read_request
from llm_executor_nb.rehearsal.response import ResponseWriter, no_reply
from llm_executor_nb.rehearsal.runner import ScriptRunner
from llm_executor_nb.rehearsal.script import parse_script
from llm_executor_nb.rehearsal.sign_in import DEVICE_PAGE, HuggingFaceSignIn, OpenRouterSignIn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiohttp import web

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response

HOST = "127.0.0.1"
_PATHS = {OPENROUTER: "/openrouter/api/v1", HUGGINGFACE: "/huggingface/v1"}
_WHOAMI = "/huggingface/api/whoami-v2"
_SIGN_IN_PAGE = "/openrouter/auth"
_CHAT = "/chat/completions"
_OWN = "/own/{name}/v1"
_LARGEST_BODY = 64 * 2**20
_GRACE_S = 0.02
"""Seconds a stopping server gives requests in flight, twice: once to end by themselves, once after a nudge."""
_START_S = 10.0
"""Seconds until a start has failed."""
_CLIENT_LEFT = "client left"
_SERVER_STOPPED = "server stopped"


class RehearsalServer:
    """Practice providers on this machine, for the length of a with-block or from `start()` to `stop()`.

    Args:
        script: the faults, in the language of `rehearsal.script`; empty: every request is answered.
        latency_s: seconds every reply takes, before what the script adds; real seconds.
        seed: what the script's shares (`5%503`) are drawn with.
        openrouter_keys: the OpenRouter keys in their order, so that a script can say `openrouter[1]`. Other keys are
            served too, and numbered after these as they appear.
        huggingface_tokens: the same for Hugging Face.
        models: backend -> the models it lists, each with its providers.

    Raises:
        ConfigError: the script cannot be read.
    """

    def __init__(
        self,
        script: str = "",
        *,
        latency_s: float = 0.0,
        seed: int = 0,
        openrouter_keys: Sequence[Secret | str] = (),
        huggingface_tokens: Sequence[Secret | str] = (),
        models: Callable[[str], Mapping[str, Sequence[str]]] = shipped_models,
    ) -> None:
        self.script = parse_script(script)
        self._lines = Lines()
        runner = ScriptRunner(self.script, seed=seed, latency_s=latency_s)
        self._handlers = ChatHandlers(
            runner,
            self._lines,
            keys={OPENROUTER: _plain(openrouter_keys), HUGGINGFACE: _plain(huggingface_tokens)},
        )
        self._lookups = LookupHandlers(runner, latency_s=latency_s, number=self._handlers.number, models=models)
        self._sign_in = OpenRouterSignIn(
            first=len(openrouter_keys) + 1, latency_s=latency_s, outage=self._lookups.outage_of_openrouter
        )
        self._device_login = HuggingFaceSignIn()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._start_error: Exception | None = None
        self._port = 0

    def start(self) -> Self:
        """Open the port and serve; does nothing when it serves already.

        Raises:
            LLMExecutorError: no port on loopback can be opened.
        """
        if self._thread is None:
            self._ready.clear()
            self._start_error = None
            self._thread = threading.Thread(target=self._run, name="llm-rehearsal", daemon=True)
            self._thread.start()
            is_ready = self._ready.wait(_START_S)
            if self._start_error is not None or not is_ready:
                self._thread = None
                why = self._start_error or f"it did not start within {_START_S:g} s"
                raise LLMExecutorError(f"The rehearsal server could not open a port on {HOST}: {why}.")
        return self

    def stop(self) -> None:
        """Cut what is in flight and close the port; does nothing when it does not serve."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = f"at {HOST}:{self._port}" if self._thread else "stopped"
        return f"<RehearsalServer {where}, script {str(self.script)!r}, {len(self.lines)} requests>"

    @property
    def openrouter_url(self) -> str:
        """The base URL that stands for OpenRouter's."""
        return self._url(OPENROUTER)

    @property
    def huggingface_url(self) -> str:
        """The base URL that stands for the Hugging Face router's."""
        return self._url(HUGGINGFACE)

    def own_url(self, name: str) -> str:
        """Return the base URL that stands for a backend of the user's; it needs no key, and no fault meets it."""
        return self.root + _OWN.format(name=name)

    @property
    def root(self) -> str:
        """What all its addresses begin with."""
        if not self._thread:
            raise LLMExecutorError("The rehearsal server does not run, so it has no address. Call start() first.")
        return f"http://{HOST}:{self._port}"

    @property
    def lines(self) -> tuple[ServerLine, ...]:
        """One line per request, in order of arrival; those in flight have no `replied_s` yet."""
        return self._lines.seen

    @property
    def lookups(self) -> tuple[LookupLine, ...]:
        """One line per free look-up that has ended: of a key, or of a list of models."""
        return self._lookups.seen

    @property
    def in_flight_peak(self) -> int:
        """The highest number of requests that were in the server at once, their latency included."""
        return self._lines.in_flight_peak

    @property
    def connections(self) -> int:
        """How many connections brought requests."""
        return self._lines.connections

    def clear(self) -> None:
        """Forget the lines and the counts; the script goes on where it is."""
        self._lines.clear()
        self._lookups.clear()

    def _url(self, backend: str) -> str:
        return self.root + _PATHS[backend]

    def _run(self) -> None:
        try:
            asyncio.run(self._serve(self._make_runner()))
        except Exception as error:  # noqa: BLE001 - handed to start(), which raises it in the caller's thread
            self._start_error = error
        finally:
            self._ready.set()

    def _make_runner(self) -> web.AppRunner:
        from aiohttp import web  # noqa: PLC0415 - loads on first use

        app = web.Application(client_max_size=_LARGEST_BODY)
        for backend, path in _PATHS.items():
            app.router.add_post(path + _CHAT, self._handlers.handler(backend))
        app.router.add_post(_OWN + _CHAT, self._handlers.handle_own)
        app.router.add_get(_PATHS[OPENROUTER] + "/key", self._lookups.key_handler(OPENROUTER))
        app.router.add_get(_PATHS[OPENROUTER] + "/models", self._lookups.list_handler(OPENROUTER))
        app.router.add_get(_PATHS[OPENROUTER] + "/endpoints/zdr", self._lookups.zdr_handler())
        app.router.add_get(_PATHS[OPENROUTER] + "/providers", self._lookups.providers_handler())
        app.router.add_get(_SIGN_IN_PAGE, self._sign_in.show_code)
        app.router.add_post(_PATHS[OPENROUTER] + "/auth/keys", self._sign_in.trade)
        app.router.add_get(_WHOAMI, self._lookups.key_handler(HUGGINGFACE))
        app.router.add_get(_PATHS[HUGGINGFACE] + "/models", self._lookups.list_handler(HUGGINGFACE))
        app.router.add_get(DEVICE_PAGE, self._device_login.let_in)
        app.router.add_post("/huggingface/oauth/device", self._device_login.begin)
        app.router.add_post("/huggingface/oauth/token", self._device_login.give_token)
        return web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_GRACE_S)

    async def _serve(self, runner: web.AppRunner) -> None:
        from aiohttp import web  # noqa: PLC0415 - loads on first use

        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._handlers.is_closing = False
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, 0).start()
            self._port = runner.addresses[0][1]
            self._ready.set()
            await self._stopping.wait()
        finally:
            self._handlers.is_closing = True
            await runner.cleanup()  # cancels the handlers of requests in flight


class ChatHandlers:
    """Serves the chat completions of all backends, on the server's loop.

    Args:
        runner: chooses the reply to a request.
        lines: the log of requests.
        keys: the keys of each backend in their order; only digests of them are kept.
    """

    def __init__(self, runner: ScriptRunner, lines: Lines, *, keys: Mapping[str, Sequence[str]]) -> None:
        self._runner = runner
        self._lines = lines
        self._numbers: dict[str, dict[bytes, int]] = {backend: {} for backend in keys}
        self.is_closing = False
        for backend, backend_keys in keys.items():
            for key in backend_keys:
                self.number(backend, key)

    def handler(self, backend: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the aiohttp handler of a backend's chat completions."""

        async def handle(http_request: web.Request) -> web.StreamResponse:
            return await self._handle(backend, http_request)

        return handle

    async def handle_own(self, http_request: web.Request) -> web.StreamResponse:
        """Answer for a backend of the user's own, which is named in the path."""
        return await self._handle(http_request.match_info["name"], http_request)

    async def _handle(self, backend: str, http_request: web.Request) -> web.StreamResponse:
        body = _object_in(await http_request.read())
        key = key_of(http_request.headers.get("Authorization", ""))
        request = read_request(
            body or {}, backend=backend, key=key, key_number=self.number(backend, key), headers=http_request.headers
        )
        latency_s, response = self._respond(request, body)
        client = http_request.transport and http_request.transport.get_extra_info("peername")
        number = self._lines.begin(request, client=client)
        writer = ResponseWriter(http_request, response)
        fault = response.fault
        try:
            await asyncio.sleep(latency_s)
            return await writer.run()
        except asyncio.CancelledError:  # the client left, or the server stops
            fault = self._why_unsent()
            raise
        except ConnectionError:  # aiohttp would print a raised one
            fault = self._why_unsent()
            return no_reply()
        finally:
            self._runner.leave(request)
            self._lines.finish(number, status=writer.status, fault=fault)

    def _why_unsent(self) -> str:
        return _SERVER_STOPPED if self.is_closing else _CLIENT_LEFT

    def _respond(self, request: ChatRequest, body: dict[str, Any] | None) -> tuple[float, Response]:
        if request.key is None and request.backend in self._numbers:
            return self._runner.latency_s, no_key(request)
        if body is None:
            return self._runner.latency_s, bad_request(request, "The request is not a JSON object.")
        return self._runner.respond(request)

    def number(self, backend: str, key: str | None) -> int:
        """Return a key's place among its backend's keys, from 1; 0: the backend has no such key."""
        if key is None or backend not in self._numbers:
            return 0
        known = self._numbers[backend]  # digests: a server should not keep a key's text
        return known.setdefault(hashlib.blake2b(key.encode(errors="replace"), digest_size=16).digest(), len(known) + 1)


def _plain(keys: Sequence[Secret | str]) -> list[str]:
    return [key.reveal() if isinstance(key, Secret) else key.strip() for key in keys]


def _object_in(raw: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
