"""Raw servers on loopback, which do to a connection whatever a test says, and programs that ask a server there."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import llm_executor_nb as llm
from llm_executor_nb.providers.transport import Transport
from llm_executor_nb.providers.wires import make_wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

MODEL = "my/model"
WIRES = {name: make_wire(name, "http://127.0.0.1:9") for name in ("openrouter", "huggingface")}
"""For tests that put something of their own in the transport's place: nothing is sent to the URL."""
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
DONE = b"data: [DONE]\n\n"


class Loopback:
    """Serves until its with-block ends, a thread a connection: reads one request, then plays.

    Args:
        play: is given each connection once its request was read; what it raises of the network's is forgotten.
    """

    def __init__(self, play: Callable[[socket.socket], object]) -> None:
        self._play = play
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: Callable[..., object], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if _read_request(connection):
                self._play(connection)


def _read_request(connection: socket.socket) -> bool:
    came = b""
    while b"\r\n\r\n" not in came:
        if not (piece := connection.recv(65536)):
            return False
        came += piece
    head, _, body = came.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return True


@contextmanager
def served_by(play: Callable[[socket.socket], object]) -> Iterator[Loopback]:
    """Make a raw server the only route of MODEL."""
    with Loopback(play) as server:
        llm.configure(openrouter_keys=["sk-or-v1-loopback-0001"], huggingface_tokens=[], openrouter_base_url=server.url)
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = []
        yield server


@asynccontextmanager
async def serving(server: Any, **options: Any) -> AsyncIterator[tuple[Any, Transport]]:
    """Let `server.serve(reader, writer)` serve in the caller's loop, tell it its `port`, and give it a transport."""
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    transport = Transport(**options)
    try:
        yield server, transport
    finally:
        await transport.close()
        listener.close()
        await asyncio.sleep(0.02)


PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background ignores it
import llm_executor_nb as llm
llm.OPENROUTER_KEYS = ["sk-or-v1-subprocess-0001"]
llm.MODEL_INFERENCE_PROVIDERS["my/model"] = []
"""


def started(body: str, url: str, *options: str, before: str = "") -> subprocess.Popen[str]:
    """Start a Python with some options on a program that has MODEL from a server and then does `body`.

    Args:
        body: the program.
        url: OpenRouter's base URL.
        options: of Python.
        before: what is done before the import.
    """
    environment = {**os.environ, "OPENROUTER_BASE_URL": url, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, *options, "-c", before + PROGRAM + body],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def says(text: str, **choice: object) -> bytes:
    """Return an event with some text."""
    told = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None, **choice}
    return b"data: " + json.dumps({"id": "gen-1", "model": MODEL, "choices": [told]}).encode() + b"\n\n"


def whole(text: str) -> bytes:
    """Return the body of a whole answer."""
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json.dumps({"id": "gen-1", "model": MODEL, "choices": choices}).encode()
