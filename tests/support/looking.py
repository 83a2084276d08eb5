"""A provider's free look-ups on loopback: each path has one reply, and what was asked with which key is kept."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import llm_executor_nb as llm

if TYPE_CHECKING:
    from collections.abc import Iterator

OR_CANARY = "sk-or-v1-canary-lookups-0123456789"
HF_CANARY = "hf_canarylookups0123456789"


@dataclass
class Catalogue:
    """Serves until its with-block ends.

    Attributes:
        replies: path -> what it says: a body (JSON or bytes), or (status, headers, body).
        asked: (path, Authorization) of each request.
    """

    replies: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def __enter__(self) -> Self:
        catalogue = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                catalogue.asked.append((self.path, self.headers.get("Authorization")))
                status, headers, body = _whole(catalogue.replies.get(self.path, (404, {}, {"error": "not here"})))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for path, _ in self.asked]


def _whole(reply: Any) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = reply if isinstance(reply, tuple) else (200, {}, reply)
    return status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()


@contextmanager
def providers_here() -> Iterator[Catalogue]:
    """Give OpenRouter, the router and the hub on loopback, with one key each."""
    with Catalogue() as server:
        llm.configure(
            openrouter_keys=[OR_CANARY],
            huggingface_tokens=[HF_CANARY],
            openrouter_base_url=f"{server.url}/or",
            huggingface_base_url=f"{server.url}/hf/v1",
        )
        server.replies["/or/key"] = {"data": {"limit_remaining": 7.5, "is_free_tier": False}}
        server.replies["/hf/api/whoami-v2"] = {"name": "lou", "isPro": True, "auth": {}}
        yield server
