"""A raw server on loopback, a thread a connection: reads one request, then does to its socket whatever a test says."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

import llm_executor_nb as llm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODEL = "my/model"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
DONE = b"data: [DONE]\n\n"


class Loopback:
    """Serves until its with-block ends.

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
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
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


def says(text: str, **choice: object) -> bytes:
    """Return an event with some text."""
    told = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None, **choice}
    return b"data: " + json.dumps({"id": "gen-1", "model": MODEL, "choices": [told]}).encode() + b"\n\n"


def whole(text: str) -> bytes:
    """Return the body of a whole answer."""
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json.dumps({"id": "gen-1", "model": MODEL, "choices": choices}).encode()
