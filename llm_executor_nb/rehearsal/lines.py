"""What a rehearsal server saw: one line per request, in order of arrival, without a key or the text of a prompt."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.records import OPENROUTER

if TYPE_CHECKING:
    from llm_executor_nb.rehearsal.requests import ChatRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLine:
    """One request that reached the server.

    Attributes:
        number: its place in the order of arrival, from 1; `clear()` does not reset the count.
        received_s: when it had been read, in seconds of `time.monotonic()`.
        backend: the backend it was sent to.
        key: the key's last characters, `..a1b2`; None: it had none.
        provider: the Hugging Face provider it named; None: none.
        model: the model as it was sent.
        prompt: the digest of model, messages and parameters, the same on every route.
        is_stream: whether it is for a stream.
        preferences: the `provider` field of its body; None: it has none.
        bill_to: the organisation that its X-HF-Bill-To header names; None: it has no such header.
        wants_metadata: whether its X-OpenRouter-Metadata header is `enabled`.
        service_tier: the tier it asks for; None: none.
        upstream: who answers it behind practice OpenRouter; None on other backends.
        status: the HTTP status of its reply, also when the reply broke off later; None: none was sent, or not yet.
        fault: the fault it met: a name, `no key`, `bad request`, `client left`, `server stopped`; None: an answer.
        replied_s: when the reply was sent, or the request ended without one; None: it is in flight.
    """

    number: int
    received_s: float
    backend: str
    key: str | None
    provider: str | None
    model: str
    prompt: str
    is_stream: bool = False
    preferences: Any = None
    bill_to: str | None = None
    wants_metadata: bool = False
    service_tier: Any = None
    upstream: str | None = None
    status: int | None = None
    fault: str | None = None
    replied_s: float | None = None


class Lines:
    """The lines and their counts. The server's thread writes, any thread reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[int, ServerLine] = {}
        self._number = 0
        self._in_flight = 0
        self._peak = 0
        self._clients: set[object] = set()

    def begin(self, request: ChatRequest, *, client: object) -> int:
        """Write a request's line and return its number; `client` identifies the connection."""
        with self._lock:
            self._number += 1
            self._lines[self._number] = ServerLine(
                number=self._number,
                received_s=time.monotonic(),
                backend=request.backend,
                key=request.key,
                provider=request.provider,
                model=request.model,
                prompt=request.prompt,
                is_stream=request.is_stream,
                preferences=request.preferences,
                bill_to=request.bill_to,
                wants_metadata=request.wants_metadata,
                service_tier=request.service_tier,
                upstream=request.upstream.name if request.backend == OPENROUTER and not request.barred_by else None,
            )
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)
            self._clients.add(client)
            return self._number

    def finish(self, number: int, *, status: int | None, fault: str | None) -> None:
        """Complete a line with the reply to the request."""
        with self._lock:
            self._in_flight -= 1
            line = self._lines.get(number)
            if line is not None:
                self._lines[number] = replace(line, status=status, fault=fault, replied_s=time.monotonic())

    def clear(self) -> None:
        """Drop the lines and the counts; requests in flight stay counted."""
        with self._lock:
            self._lines.clear()
            self._clients.clear()
            self._peak = self._in_flight

    @property
    def seen(self) -> tuple[ServerLine, ...]:
        """The lines as they are now."""
        with self._lock:
            return tuple(self._lines.values())

    @property
    def in_flight_peak(self) -> int:
        """The highest number of requests in the server at once."""
        with self._lock:
            return self._peak

    @property
    def connections(self) -> int:
        """How many connections sent requests, by the client's port."""
        with self._lock:
            return len(self._clients)
