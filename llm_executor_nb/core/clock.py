"""Time and sleep: everything that waits asks here, so that a test can inject its own time.

`current()` is the clock in force; `use(clock)` replaces it. The engine bounds every request with `timeout`, so a clock
knows when something is in flight.
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
    from contextlib import AbstractAsyncContextManager

_COARSE_S = 0.0012
"""Real seconds by which the event loop may wake too late: it counts whole milliseconds, rounded up."""
_SETTLE_S = 0.001
"""Real seconds that a frozen clock waits for tasks to settle before it jumps."""


class Clock:
    """Real time."""

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
        """Wait until a time on this clock, to 0.1 ms while the event loop has nothing else to do."""
        # a key of 200 requests/s has one every 5 ms: timers that are late by 1 ms would waste a sixth of them
        await asyncio.sleep(max(0.0, end - self.now() - _COARSE_S))
        while self.now() < end:  # noqa: ASYNC110 - no event marks a time
            await asyncio.sleep(0)

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        """Bound a request in flight; raise TimeoutError when it lasts longer (None: no bound)."""
        return asyncio.timeout(seconds)


class ScaledClock(Clock):
    """Time that runs `speed` times as fast as real time: a wait of 3 s at speed 100 takes 0.03 s."""

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
        """Wait for a number of fast seconds."""
        await asyncio.sleep(seconds / self._speed)

    async def sleep_until(self, end: float) -> None:
        """Wait until a time on the fast clock."""
        await self.sleep(max(0.0, end - self.now()))

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        """Bound a request in fast seconds."""
        return asyncio.timeout(None if seconds is None else seconds / self._speed)


class FrozenClock(Clock):
    """Time that stands still while a request is in flight, and else jumps to the end of the next sleep."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._born = self._now
        self._born_utc = datetime(2030, 1, 1, tzinfo=UTC)
        self._busy = 0
        self._changes = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Return the frozen time, in seconds."""
        return self._now

    def in_flight(self) -> float:
        """Return real seconds, which bound a real socket."""
        return time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds it has jumped since it was made."""
        return self._now - self._born

    def utc(self) -> datetime:
        """Return the frozen time of day."""
        return self._born_utc + timedelta(seconds=self.elapsed_s)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has jumped that far."""
        end = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + max(0.0, seconds), next(self._order), end))
        self._jump_soon()
        try:
            await end
        finally:
            end.cancel()
            self._jump_soon()  # this task may end without another wait, while others still sleep

    async def sleep_until(self, end: float) -> None:
        """Wait until the clock has jumped to a time."""
        await self.sleep(end - self._now)

    @asynccontextmanager
    async def timeout(self, seconds: float | None) -> AsyncIterator[object]:
        """Stand still during a request; real seconds bound its socket."""
        self._busy += 1
        try:
            async with asyncio.timeout(seconds):
                yield None
        finally:
            self._busy -= 1
            self._jump_soon()

    def _jump_soon(self) -> None:
        self._changes += 1
        asyncio.get_running_loop().call_later(_SETTLE_S, self._jump, self._changes)

    def _jump(self, changes: int) -> None:
        if self._busy or changes != self._changes:
            return
        loop = asyncio.get_running_loop()
        if getattr(loop, "_ready", ()):  # tasks still have work to do; asyncio has no public name for that
            loop.call_later(_SETTLE_S, self._jump, changes)
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


_TURN_S = 0.005
"""Real seconds of work after which a task lets the others on its loop go on."""


class Turn:
    """A task's turn on its event loop: long work shares the loop with the others."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin a turn, after the task has waited for something."""
        self._began = time.monotonic()

    async def share(self) -> None:
        """Let the others go on if the turn was long."""
        if time.monotonic() - self._began > _TURN_S:
            await share_loop()
            self.begin()


async def share_loop() -> None:
    """Let the other tasks on the loop go on, and then this one: without it, long work is one step of the loop."""
    await asyncio.sleep(0)


_WALL = Clock()
_current: list[Clock] = [_WALL]


def current() -> Clock:
    """Return the clock in force."""
    return _current[-1]


@contextmanager
def use(clock: Clock) -> Iterator[Clock]:
    """Replace the clock in force for a with-block."""
    _current.append(clock)
    try:
        yield clock
    finally:
        _current.remove(clock)  # by value: blocks of several threads need not end in order
