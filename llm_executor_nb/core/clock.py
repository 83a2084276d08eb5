"""Time, sleep and chance: everything that waits asks here, so that a test can inject its own time.

`current()` is the clock in force; `use(clock)` puts another in its place. The engine bounds every request with
`timeout`, so a clock knows when something is in flight.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_COARSE_S = 0.0012
"""Real seconds by which the event loop may wake too late: it counts in whole milliseconds, rounded up."""
_SETTLE_S = 0.001
"""Real seconds a frozen clock lets tasks settle before it jumps."""


class Clock:
    """The wall's time."""

    def now(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    def in_flight(self) -> float:
        """Return seconds as `timeout` counts them."""
        return self.now()

    def utc(self) -> datetime:
        """Return the time of day, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def sleep_until(self, end: float) -> None:
        """Wait until a time on this clock, to the tenth of a millisecond while the event loop has nothing else to do.

        A key that takes 200 requests a second has one every 5 ms; timers late by 1 ms would leave it a sixth of that.
        """
        await asyncio.sleep(max(0.0, end - self.now() - _COARSE_S))
        while self.now() < end:  # noqa: ASYNC110 - a time has no event
            await asyncio.sleep(0)

    @asynccontextmanager
    async def timeout(self, seconds: float | None) -> AsyncIterator[None]:
        """Bound what is inside, a request in flight; raise TimeoutError when it lasts longer (None: no bound)."""
        async with asyncio.timeout(seconds):
            yield


class ScaledClock(Clock):
    """Time that runs `speed` times as fast as the wall's: a wait of 3 s at speed 100 takes 0.03 s."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._born = time.monotonic()
        self._born_utc = datetime.now(UTC)

    def now(self) -> float:
        """Return seconds on the fast clock."""
        return (time.monotonic() - self._born) * self._speed

    def utc(self) -> datetime:
        """Return the time of day as it runs on the fast clock."""
        return self._born_utc + timedelta(seconds=self.now())

    async def sleep(self, seconds: float) -> None:
        """Wait, `speed` times as short."""
        await asyncio.sleep(seconds / self._speed)

    async def sleep_until(self, end: float) -> None:
        """Wait until a time on the fast clock."""
        await self.sleep(max(0.0, end - self.now()))

    @asynccontextmanager
    async def timeout(self, seconds: float | None) -> AsyncIterator[None]:
        """Bound what is inside in fast seconds."""
        async with asyncio.timeout(None if seconds is None else seconds / self._speed):
            yield


class FrozenClock(Clock):
    """Time stands still while anything is in flight, and jumps to the next sleeper's end when nothing is."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._born = self._now
        self._born_utc = datetime(2030, 1, 1, tzinfo=UTC)
        self._busy = 0
        self._stirred = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Return the frozen time, in seconds."""
        return self._now

    def in_flight(self) -> float:
        """Return the wall's seconds, which bound a real socket."""
        return time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds it has jumped since it was made."""
        return self._now - self._born

    def utc(self) -> datetime:
        """Return the frozen time of day."""
        return self._born_utc + timedelta(seconds=self.elapsed_s)

    def advance(self, seconds: float) -> None:
        """Let time pass while nothing waits."""
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has jumped that far."""
        end = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + max(0.0, seconds), next(self._order), end))
        self._stir()
        try:
            await end
        finally:
            end.cancel()
            self._stir()  # who has slept may end without another wait, and others sleep on

    async def sleep_until(self, end: float) -> None:
        """Wait until the clock has jumped to a time."""
        await self.sleep(end - self._now)

    @asynccontextmanager
    async def timeout(self, seconds: float | None) -> AsyncIterator[None]:
        """Stand still while the inside runs; a real socket is bounded by real seconds."""
        self._busy += 1
        try:
            async with asyncio.timeout(seconds):
                yield
        finally:
            self._busy -= 1
            self._stir()

    def _stir(self) -> None:
        self._stirred += 1
        asyncio.get_running_loop().call_later(_SETTLE_S, self._jump, self._stirred)

    def _jump(self, stirred: int) -> None:
        if self._busy or stirred != self._stirred:
            return
        loop = asyncio.get_running_loop()
        if getattr(loop, "_ready", ()):  # tasks still have work to do; no public name tells
            loop.call_later(_SETTLE_S, self._jump, stirred)
            return
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if not self._sleepers:
            return
        self._now = max(self._now, self._sleepers[0][0])
        while self._sleepers and self._sleepers[0][0] <= self._now:
            end = heapq.heappop(self._sleepers)[2]
            if not end.done():
                end.set_result(None)


_WALL = Clock()
_current: list[Clock] = [_WALL]


def current() -> Clock:
    """Return the clock in force."""
    return _current[-1]


@contextmanager
def use(clock: Clock) -> Iterator[Clock]:
    """Put `clock` in force for the length of a with-block."""
    _current.append(clock)
    try:
        yield clock
    finally:
        _current.remove(clock)
