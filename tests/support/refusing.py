"""A server that answers as a function of the request's body says, as the only route of a model."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import llm_executor_nb as llm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answer = Callable[[dict[str, Any]], tuple[int, Any]]

NAME = "own"
MODEL = "own/model"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits 40 ms for the client to acknowledge the headers

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.heads.append(dict(self.headers))
        self._reply(*self.server.answer(body))

    def do_GET(self) -> None:
        found = self.server.lists.get(self.path)
        self._reply(*((404, {"error": "Not found"}) if found is None else (200, found)))

    def _reply(self, status: int, told: Any) -> None:
        is_stream = isinstance(told, bytes)
        sent = told if is_stream else (told if isinstance(told, str) else json.dumps(told)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream" if is_stream else "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def said(body: dict[str, Any], text: str) -> Any:
    """Return an answer as the request wants it: a whole body, or the bytes of a stream, with its usage if asked for."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    if not body.get("stream"):
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return {"id": "r", "model": "m", "choices": [choice], "usage": usage}
    delta = {"role": "assistant", "content": text}
    events = [{"id": "r", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]}]
    if "stream_options" in body:
        events.append({"id": "r", "model": "m", "choices": [], "usage": usage})
    return "".join(f"data: {json.dumps(one)}\n\n" for one in events).encode() + b"data: [DONE]\n\n"


@contextmanager
def served(answer: Answer) -> Iterator[Any]:
    """Serve as `answer(body)` says: a status, and JSON, text or the bytes of a stream.

    Yields:
        The server. It has its `url`, the requests in order as `bodies` and `heads`, and `lists`, which it sends when
        their path is looked up; `answer` may be set anew.
    """
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.answer, server.bodies, server.heads, server.lists = answer, [], [], {}
        server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


@contextmanager
def answering(answer: Answer) -> Iterator[Any]:
    """Serve as a backend of the user's, the only route of MODEL."""
    with served(answer) as server:
        llm.add_backend(NAME, base_url=server.url)
        llm.models.add(MODEL, providers=[NAME], openrouter=False)
        yield server


@contextmanager
def clouds(openrouter: Answer, huggingface: Answer | None, *, keys: int = 1, model: str = "my/model") -> Iterator[Any]:
    """Serve in place of OpenRouter and of Hugging Face (None: there is no token), with so many keys of the former."""
    with served(openrouter) as first, served(huggingface or (lambda _: (503, {}))) as second:
        llm.configure(
            openrouter_keys=[f"sk-or-v1-refusing-{number:04d}" for number in range(1, keys + 1)],
            huggingface_tokens=["hf_refusingtoken0001"] if huggingface else [],
            openrouter_base_url=first.url,
            huggingface_base_url=second.url,
        )
        llm.models.add(model, providers=["a"] if huggingface else [])
        yield first, second
