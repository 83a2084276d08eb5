"""Bounds the requests in flight of one job; rows that wait for a hold or a retry hold no slot."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

FIRST = 8
LARGEST = 64
PARKED_PER_SLOT, PARKED_AT_LEAST = 4, 64
"""Rows that may wait for their retries beside those in flight: enough that rows which always fail delay no others."""
AHEAD = 8
"""Rows that may wait without having been sent; all wait for the same, and each looks at every change of it."""


class ConcurrencyLimit:
    """As many requests at once as the user said; or 8 at first, and one more with each answer, up to 64.

    Args:
        limit: requests in flight; None: begin at 8 and grow.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = FIRST if limit is None else limit
        self._may_grow = limit is None
        self._holders: set[asyncio.Task[Any] | None] = set()
        self._unsent: set[asyncio.Task[Any] | None] = set()
        self._is_closed = False
        self._queue: deque[tuple[asyncio.Future[None], asyncio.Task[Any] | None]] = deque()
        self._freed = asyncio.Event()

    def enter(self, row: asyncio.Task[Any]) -> None:
        """Note that a row has begun; it has not been sent."""
        self._unsent.add(row)

    def leave(self, row: asyncio.Task[Any]) -> None:
        """Note that a row is over."""
        self._unsent.discard(row)
        self.stir()

    async def acquire(self) -> None:
        """Wait for a slot and take it; first come, first served; for ever when they are closed."""
        if self._is_closed or len(self._holders) >= self.limit or self._queue:
            turn = asyncio.get_running_loop().create_future()
            self._queue.append((turn, asyncio.current_task()))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.release()
                raise
        else:
            self._take(asyncio.current_task())

    def release(self) -> None:
        """Give a slot back, to the next in the queue."""
        self._holders.discard(asyncio.current_task())
        self._hand_on()

    def close(self) -> None:
        """Give no slot any more; who holds one keeps it to the end of its request."""
        self._is_closed = True
        self._freed.set()

    def holds(self, row: asyncio.Task[Any]) -> bool:
        """Say whether a row has a request in flight."""
        return row in self._holders

    def grow(self) -> None:
        """Take an answer as a sign that more may be asked at once."""
        if self._may_grow and self.limit < LARGEST:
            self.limit += 1
            self._hand_on()

    @property
    def has_room(self) -> bool:
        """Say whether a new row would get a slot at once."""
        is_free = len(self._holders) + len(self._queue) < self.limit
        return not self._is_closed and is_free and len(self._unsent) < AHEAD

    @property
    def has_unsent(self) -> bool:
        """Whether a row has begun that was not sent yet."""
        return bool(self._unsent)

    def is_full_of(self, rows: int) -> bool:
        """Whether so many rows under way are all that may be, in flight and parked."""
        return rows >= max(self.limit * (1 + PARKED_PER_SLOT), PARKED_AT_LEAST)

    def stir(self) -> None:
        """Wake who waits for room, to look again."""
        self._freed.set()

    async def stirred(self) -> None:
        """Wait until a slot was freed or a row has ended."""
        await self._freed.wait()
        self._freed.clear()

    def _hand_on(self) -> None:
        while not self._is_closed and len(self._holders) < self.limit and self._queue:
            turn, row = self._queue.popleft()
            if not turn.done():
                self._take(row)
                turn.set_result(None)
        self._freed.set()

    def _take(self, row: asyncio.Task[Any] | None) -> None:
        self._holders.add(row)
        if row in self._unsent:
            self._unsent.discard(row)
            self._freed.set()
