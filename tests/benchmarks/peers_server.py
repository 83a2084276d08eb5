"""The provider that `peers.py` asks: HTTP/1.1 in few lines, because a slower server would hide the differences.

A request costs it a third of the CPU that it costs the rehearsal server, and a third of what it costs bare aiohttp.

It runs in a process of its own: `python peers_server.py`. It prints its port. Each line on stdin is the `Faults` of the
next run, as JSON; it closes the connections that are left, and prints the counts of the run that has ended.

Which request meets a fault is settled beforehand for each row and each try of it, so every client meets the same.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from random import Random
from statistics import NormalDist

HOST = "127.0.0.1"
LATE_S = 5.0
"""From here on the counts named `late` count: what searches has found its speed."""
_CHAT = re.compile(rb"POST (/openrouter/api/v1|/huggingface/v1)/chat/completions ")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_KEY = re.compile(rb"(?i)\r\nauthorization: *Bearer \S*-(\d{4})(?=\r\n|$)")
_ROW = re.compile(r"Question (\d+) ")
_FAILURES = (500, 502, 503, 504)
_WORDS = {401: "No auth credentials found", 429: "Rate limit exceeded", 503: "The provider is down"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How the provider behaves in one run.

    Attributes:
        rows: how many rows the run has; they are numbered from 0.
        latency_s: the seconds of an answer; their median where `sigma` is above 0.
        sigma: of the logarithm of the latency (a lognormal distribution).
        hangs, failures, error_bodies: shares of the requests that hang, fail with a 5xx, or get an error in a 200.
        hang_s: seconds until a hanging request is answered.
        rate: requests a second that each key may send; 0: no limit.
        burst: requests that a key may send at once under `rate`.
        knee: requests in flight beyond which the latency grows in proportion; 0: it never does.
        at_once: requests in flight beyond which they are refused with `refusal`; 0: none is.
        dead_keys: the numbers of the keys that are refused with 401, from 1.
        dead_providers: the providers behind Hugging Face that fail with 503.
    """

    rows: int = 1
    latency_s: float = 0.0
    sigma: float = 0.0
    hangs: float = 0.0
    hang_s: float = 30.0
    failures: float = 0.0
    error_bodies: float = 0.0
    rate: float = 0.0
    burst: int = 1
    knee: int = 0
    at_once: int = 0
    refusal: int = 429
    dead_keys: tuple[int, ...] = ()
    dead_providers: tuple[str, ...] = ()

    @property
    def mean_s(self) -> float:
        """The mean of the latency."""
        return self.latency_s * math.exp(self.sigma**2 / 2)


@dataclass(slots=True)
class Counts:
    """What one run sent.

    Attributes:
        requests: all of them.
        hung: those that met a hang.
        refused: those with status 429 or 503.
        peak: the most in flight.
        late, late_refused, late_peak: the same after the first 5 s.
    """

    requests: int = 0
    hung: int = 0
    refused: int = 0
    peak: int = 0
    late: int = 0
    late_refused: int = 0
    late_peak: int = 0


class Draws:
    """Numbers from 0 to 1, one for each row and try. Those of the first tries are spread evenly, in a random order."""

    def __init__(self, name: str, rows: int) -> None:
        self._name = name
        self._firsts = [(number + 0.5) / rows for number in range(rows)]
        Random(name).shuffle(self._firsts)

    def draw(self, row: int, number: int) -> float:
        """Return the number of a row's try, which counts from 0."""
        if number == 0 and row < len(self._firsts):
            return self._firsts[row]
        return Random(f"{self._name} {row} {number}").random()


class Bucket:
    """The limit of one key."""

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate, self._burst, self._left, self._at = rate, burst, float(burst), now

    def wait_s(self, now: float) -> float:
        """Take a place and return 0, or return the seconds until one is free."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._rate
        self._left -= 1
        return 0.0


class Provider:
    """Decides about each request, and counts."""

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self.in_flight = 0
        self._begin(Faults())

    def next_run(self, faults: Faults) -> Counts:
        """End a run and begin the next; return what the ended one sent."""
        ended = self.counts
        for connection in tuple(self.connections):
            connection.transport.abort()
        self._begin(faults)
        return ended

    def _begin(self, faults: Faults) -> None:
        self.faults = faults
        self.counts = Counts()
        self._tries: Counter[int] = Counter()
        self._buckets: dict[int, Bucket] = {}
        self._began: float | None = None
        self._luck, self._speed = Draws("luck", faults.rows), Draws("speed", faults.rows)

    def decide(self, head: bytes, body: bytes, now: float) -> tuple[float, bytes]:
        """Count a request; return its latency in seconds, and its reply."""
        is_late = self._count(now)
        asked = json.loads(body)
        text = asked["messages"][-1]["content"]
        key = _KEY.search(head)
        found = _ROW.match(text)
        row = int(found[1]) if found else 0
        number = self._tries[row]
        latency_s = self._latency_s(row, number)
        refusal = self._refusal(int(key[1]) if key else 0, asked["model"].partition(":")[2], now)
        if refusal is not None:
            status, wait_s = refusal
            self.counts.refused += status in {429, 503}
            self.counts.late_refused += is_late and status in {429, 503}
            return latency_s if wait_s is None else 0.0, _refuse(status, wait_s)
        self._tries[row] += 1
        return self._reply(asked["model"], text, latency_s, self._luck.draw(row, number))

    def _count(self, now: float) -> bool:
        self._began = now if self._began is None else self._began
        counts, is_late = self.counts, now - self._began > LATE_S
        counts.requests += 1
        counts.peak = max(counts.peak, self.in_flight)
        if is_late:
            counts.late += 1
            counts.late_peak = max(counts.late_peak, self.in_flight)
        return is_late

    def _latency_s(self, row: int, number: int) -> float:
        latency_s = self.faults.latency_s
        if self.faults.sigma:
            latency_s *= math.exp(self.faults.sigma * NormalDist().inv_cdf(self._speed.draw(row, number)))
        return latency_s * max(1.0, self.in_flight / self.faults.knee) if self.faults.knee else latency_s

    def _refusal(self, key: int, provider: str, now: float) -> tuple[int, float | None] | None:
        """Return the status of a refusal, and the wait that it names; None: the request is not refused."""
        faults = self.faults
        if faults.at_once and self.in_flight > faults.at_once:
            return faults.refusal, 1.0
        if key in faults.dead_keys and not provider:
            return 401, None
        if provider in faults.dead_providers:
            return 503, None
        if faults.rate:
            bucket = self._buckets.setdefault(key, Bucket(faults.rate, faults.burst, now))
            wait_s = bucket.wait_s(now)
            return (429, wait_s) if wait_s else None
        return None

    def _reply(self, model: str, text: str, latency_s: float, luck: float) -> tuple[float, bytes]:
        faults = self.faults
        if luck < faults.hangs:
            self.counts.hung += 1
            return faults.hang_s, _answer(model, text)
        if luck < faults.hangs + faults.failures:
            status = _FAILURES[int(luck * 1e6) % len(_FAILURES)]
            self.counts.refused += status == 503
            return latency_s, _refuse(status, None)
        if luck < faults.hangs + faults.failures + faults.error_bodies:
            return latency_s, _whole(200, {"error": {"code": 502, "message": "Provider returned error"}})
        return latency_s, _answer(model, text)


def _answer(model: str, text: str) -> bytes:
    message = {"role": "assistant", "content": text.replace("Question", "Answer")}
    return _whole(
        200,
        {
            "id": "gen-1764500000-practice",
            "object": "chat.completion",
            "created": 1764500000,
            "model": model,
            "provider": "Practice",
            "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21, "cost": 0.000021},
        },
    )


def _refuse(status: int, wait_s: float | None) -> bytes:
    headers = "" if wait_s is None else f"Retry-After: {max(1, math.ceil(wait_s))}\r\n"
    return _whole(status, {"error": {"code": status, "message": _WORDS.get(status, "Internal error")}}, headers)


def _whole(status: int, body: object, headers: str = "") -> bytes:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


class Connection(asyncio.Protocol):
    """One connection of a client; it brings one request after the other."""

    transport: asyncio.Transport

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._loop = asyncio.get_running_loop()
        self._came = b""
        self._reply: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it, so that the next run can close it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._provider.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Answer once a request is whole."""
        self._came += data
        head, ends, body = self._came.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not ends or len(body) < (int(length[1]) if length else 0):
            return
        self._came = b""
        if _CHAT.match(head) is None:
            self.transport.write(_whole(404, {"error": {"code": 404, "message": "Not found"}}))
            return
        self._provider.in_flight += 1
        latency_s, reply = self._provider.decide(head, body, self._loop.time())
        self._reply = self._loop.call_later(latency_s, self._send, reply)

    def _send(self, reply: bytes) -> None:
        self._end()
        self.transport.write(reply)

    def _end(self) -> None:
        if self._reply is not None:
            self._reply.cancel()
            self._reply = None
            self._provider.in_flight -= 1

    def connection_lost(self, _: Exception | None) -> None:
        """Forget it; a client that leaves waits for nothing."""
        self._end()
        self._provider.connections.discard(self)


async def serve() -> None:
    """Serve until stdin ends."""
    provider = Provider()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(provider), HOST, 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(asdict(provider.next_run(Faults(**json.loads(line))))), flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
