"""OpenRouter and the Hugging Face router on loopback: real HTTP, the real bodies, and the faults of a script.

The server has a thread and an event loop of its own, and a port that the system chose. It answers
`POST .../chat/completions` of both backends and the free look-ups of their keys and models; everything else is a 404.
Whatever text it is sent, it keeps none.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

from llm_executor_nb.core.errors import LLMExecutorError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.rehearsal.handlers import Handlers
from llm_executor_nb.rehearsal.lines import Lines, ServerLine
from llm_executor_nb.rehearsal.lookups import LookupDesk, LookupLine, shipped_models
from llm_executor_nb.rehearsal.runner import ScriptRunner
from llm_executor_nb.rehearsal.script import parse_script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiohttp import web

HOST = "127.0.0.1"
_PATHS = {OPENROUTER: "/openrouter/api/v1", HUGGINGFACE: "/huggingface/v1"}
_WHOAMI = "/huggingface/api/whoami-v2"
_CHAT = "/chat/completions"
_OWN = "/own/{name}/v1"
_LARGEST_BODY = 64 * 2**20
_GRACE_S = 0.02
"""Seconds a stopping server gives requests in flight, twice: once to end by themselves, once after a nudge."""
_START_S = 10.0
"""Seconds until a server that does not start is given up."""


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
        play = ScriptRunner(self.script, seed=seed)
        self._desk = Handlers(
            play,
            self._lines,
            latency_s=latency_s,
            keys={OPENROUTER: _plain(openrouter_keys), HUGGINGFACE: _plain(huggingface_tokens)},
        )
        self._lookups = LookupDesk(play, latency_s=latency_s, number=self._desk.number, models=models)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._trouble: Exception | None = None
        self._port = 0

    def start(self) -> Self:
        """Open the port and serve; does nothing when it serves already.

        Raises:
            LLMExecutorError: the machine let no port on loopback be opened.
        """
        if self._thread is None:
            self._ready.clear()
            self._trouble = None
            self._thread = threading.Thread(target=self._run, name="llm-rehearsal", daemon=True)
            self._thread.start()
            is_ready = self._ready.wait(_START_S)
            if self._trouble is not None or not is_ready:
                self._thread = None
                why = self._trouble or f"no sign of life in {_START_S:g} s"
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
            self._trouble = error
        finally:
            self._ready.set()

    def _make_runner(self) -> web.AppRunner:
        from aiohttp import web  # noqa: PLC0415 - loads on first use

        app = web.Application(client_max_size=_LARGEST_BODY)
        for backend, path in _PATHS.items():
            app.router.add_post(path + _CHAT, self._desk.handler(backend))
        app.router.add_post(_OWN + _CHAT, self._desk.handle_own)
        app.router.add_get(_PATHS[OPENROUTER] + "/key", self._lookups.key_handler(OPENROUTER))
        app.router.add_get(_PATHS[OPENROUTER] + "/models", self._lookups.list_handler(OPENROUTER))
        app.router.add_get(_WHOAMI, self._lookups.key_handler(HUGGINGFACE))
        app.router.add_get(_PATHS[HUGGINGFACE] + "/models", self._lookups.list_handler(HUGGINGFACE))
        return web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_GRACE_S)

    async def _serve(self, runner: web.AppRunner) -> None:
        from aiohttp import web  # noqa: PLC0415 - loads on first use

        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._desk.is_closing = False
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, 0).start()
            self._port = runner.addresses[0][1]
            self._ready.set()
            await self._stopping.wait()
        finally:
            self._desk.is_closing = True
            await runner.cleanup()


def _plain(keys: Sequence[Secret | str]) -> list[str]:
    return [key.reveal() if isinstance(key, Secret) else key.strip() for key in keys]
