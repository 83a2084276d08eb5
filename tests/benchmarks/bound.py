"""What a bare client gets of limits with a burst of 1: raw sockets, one fixed gap a key, refusals waited out for 1 s.

    python tests/benchmarks/bound.py [rows]

Nothing is learnt and next to nothing is computed: each key is told its limit, and a request goes out when the gap and
some milliseconds more (for the second and third key 11 and 23 % more of them) have passed since the last one. But a
provider with other requests to serve gets to each a little sooner or later, so two that were sent far enough apart
arrive too close together. The gaps alone allow at most 90 % of 50/s at 2 ms, and 69 and 60 % of 200/s at 2 and 3. Two
runs each:

    milliseconds more   0.5      1        2        3
    50 + 7 + 200/s      22-24 %  32-39 %  61-63 %  57-63 %
    50/s                55-58 %  64-77 %  81 %     85 %
    200/s               20-21 %  27-29 %  46-49 %  54-58 %

So this client reaches neither 90 % of these limits, which it is told, nor 70 % of 200/s.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from limits import KEYS, MODEL, serving

CONNECTIONS = 24
SPIN_S = 0.0015
HELD_S = 1.0
APART = 1.11
"""So much longer is each key's margin than the one before it: else the keys keep in step, as real ones do not."""


@dataclass
class Sender:
    """One key: its connections, and when its next request may go out."""

    request: bytes
    gap_s: float
    free: list[Connection] = field(default_factory=list)
    due: float = 0.0

    def send(self) -> None:
        self.free.pop().socket.send(self.request)
        self.due = time.perf_counter() + self.gap_s


@dataclass
class Connection:
    """One socket, and what has come in on it of a reply."""

    sender: Sender
    socket: socket.socket
    came: bytes = b""

    def status(self) -> int | None:
        """Read on; return the status once a reply is whole."""
        came = self.socket.recv(65536)
        if not came:
            raise ConnectionError("The practice provider closed a connection; ask for fewer rows.")
        self.came += came
        head, _, body = self.came.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length is None or len(body) < int(length[1]):
            return None
        self.came = b""
        return int(head[9:12])


def measure(limits: tuple[int, ...], rows: int, margin_s: float) -> tuple[float, int]:
    """Return the share of the limits' throughput, and how many requests were refused."""
    with serving(limits, 1) as (url, statuses), selectors.DefaultSelector() as selector:
        margins = [margin_s * APART**number for number in range(len(limits))]
        senders = [
            Sender(_request(url, key), 1 / limit + margin)
            for key, limit, margin in zip(KEYS, limits, margins, strict=True)
        ]
        for sender in senders * CONNECTIONS:
            connection = Connection(sender, _connect(url))
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            sender.free.append(connection)
        began = time.perf_counter()
        _ask(senders, selector, rows)
        per_s = rows / (time.perf_counter() - began)
        for key in list(selector.get_map().values()):
            key.data.socket.close()
        return per_s / sum(limits), statuses().count(429)


def _ask(senders: list[Sender], selector: selectors.BaseSelector, rows: int) -> None:
    answered = in_flight = 0
    while answered < rows:
        for sender in senders:
            if sender.free and sender.due <= time.perf_counter() and answered + in_flight < rows:
                sender.send()
                in_flight += 1
        left_s = min(sender.due for sender in senders) - time.perf_counter()
        for key, _ in selector.select(max(0.0, left_s - SPIN_S)):
            status = key.data.status()
            if status is None:
                continue
            key.data.sender.free.append(key.data)
            in_flight -= 1
            if status == 200:
                answered += 1
            else:
                key.data.sender.due = max(key.data.sender.due, time.perf_counter() + HELD_S)


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(0.0)
    return connection


def _request(url: str, key: str) -> bytes:
    parts = urlsplit(url)
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "question"}]})
    head = (
        f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


def main() -> None:
    """Measure each margin twice."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    for limits in ((50, 7, 200), (50, 50, 50), (200, 200, 200)):
        for margin_ms in (0.5, 1, 2, 3):
            found = [measure(limits, rows, margin_ms / 1000) for _ in range(2)]
            told = ", ".join(f"{share:.0%} ({refused} refused)" for share, refused in found)
            print(f"{limits}/s, burst 1, {margin_ms:g} ms more than the limit says: {told}", flush=True)


if __name__ == "__main__":
    main()
