"""Bounds the requests in flight of one job; a row that waits for a hold or a retry uses no slot."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core import clock
from llm_executor_nb.jobs.growth import FIRST, Growth

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from llm_executor_nb.core.outcomes import Outcome

    Row = asyncio.Task[Any]


PARKED_PER_SLOT, PARKED_AT_LEAST = 4, 64
"""Rows that may wait for their retries beside those in flight."""
AHEAD = 8
"""Rows that may wait without having been sent. All of them wait for the same thing, and each looks at every change."""


class ConcurrencyLimit:
    """As many requests at once as the user set; otherwise as many as bring more answers per second.

    Args:
        limit: requests in flight; None: begin at 8 and let `Growth` decide.
        may_send: whether the job's budget lets a row send a request beside the rows that have one in flight.
    """

    def __init__(self, limit: int | None, may_send: Callable[[Row, Collection[Row]], bool] | None = None) -> None:
        self._growth = Growth(clock.current().now()) if limit is None else None
        self.limit = self._wanted = FIRST if limit is None else limit
        self._ceiling: int | None = None
        self._may_send = may_send
        self._in_flight: dict[Row, Row] = {}
        self._unsent: set[Row] = set()
        self._is_closed = False
        self._queue: deque[tuple[asyncio.Future[bool], Row, Row]] = deque()
        self._change = asyncio.Event()

    def enter(self, row: Row) -> None:
        """Note that a row has begun; it has not been sent."""
        self._unsent.add(row)

    def leave(self, row: Row) -> None:
        """Note that a row has ended."""
        self._unsent.discard(row)
        self.notify()

    async def acquire(self) -> bool:
        """Wait for a slot and take it: first in, first out. After `close` this waits until it is cancelled.

        Returns:
            Whether it had to be waited for.
        """
        row = _this_task()
        if not self._queue and self._has_slot and self._has_money(row):
            self._take(row, row)
            return False
        turn = asyncio.get_running_loop().create_future()
        self._queue.append((turn, row, row))
        await self._turn_of(turn)
        return True

    async def acquire_for_twin(self, row: Row) -> bool:
        """Wait for a slot for a second request of a row, before all rows; this task holds it.

        Returns:
            Whether there is one. There is none after `close`, or where the budget does not let two be in flight.
        """
        if self._is_closed or not self._has_money(row):
            return False
        if self._has_slot:
            self._take(_this_task(), row)
            return True
        turn = asyncio.get_running_loop().create_future()
        self._queue.appendleft((turn, _this_task(), row))
        return await self._turn_of(turn)

    def release(self) -> None:
        """Give the slot of this task back, to the next in the queue."""
        self._in_flight.pop(_this_task(), None)
        self._hand_on()

    def close(self) -> None:
        """Give out no more slots; a request in flight keeps its slot to its end."""
        self._is_closed = True
        self.notify()

    def is_in_flight(self, row: Row) -> bool:
        """Whether a row has a request in flight."""
        return row in self._in_flight

    def replied(self, outcome: Outcome, seconds: float) -> None:
        """Let a reply bear on how many requests may be in flight; the user's own number is left alone."""
        if self._growth is None:
            return
        self._growth.replied(len(self._in_flight), outcome, seconds, clock.current().now())
        if self._growth.limit != self._wanted:
            self._wanted = self._growth.limit
            self._set_limit()

    def set_ceiling(self, most: int) -> None:
        """Let no more than so many be in flight: the share of this part of a job."""
        self._ceiling = most
        self._set_limit()

    @property
    def in_flight(self) -> int:
        """How many requests are in flight."""
        return len(self._in_flight)

    @property
    def state(self) -> str:
        """How many requests are in flight, and why not more if nothing else keeps them back; "": the user set it."""
        in_flight = len(self._in_flight)
        if self._growth is None or not in_flight:
            return ""
        is_full = in_flight >= self._growth.limit
        return f"{in_flight} in flight" + (f": {self._growth.reason}" if is_full else "")

    @property
    def has_room(self) -> bool:
        """Whether a new row would get a slot at once."""
        is_free = len(self._in_flight) + len(self._queue) < self.limit
        return not self._is_closed and is_free and len(self._unsent) < AHEAD

    @property
    def has_unsent(self) -> bool:
        """Whether a row has begun that was not sent yet."""
        return bool(self._unsent)

    def is_full_of(self, rows: int) -> bool:
        """Whether no row may begin beside this number of rows in flight and parked."""
        # design 3.2: rows that always fail wait out their retries beside the others and delay none of them
        return rows >= max(self.limit * (1 + PARKED_PER_SLOT), PARKED_AT_LEAST)

    def notify(self) -> None:
        """Wake the task in `changed`."""
        self._change.set()

    async def changed(self) -> None:
        """Wait until a slot was freed, a row was sent or a row has ended."""
        await self._change.wait()
        self._change.clear()

    def _set_limit(self) -> None:
        self.limit = self._wanted if self._ceiling is None else min(self._wanted, self._ceiling)
        self._hand_on()

    def _hand_on(self) -> None:
        while self._queue:
            turn, holder, row = self._queue[0]
            if not turn.done():
                if not self._has_slot:
                    break
                has_money = self._has_money(row)
                if not has_money and holder is row:
                    break
                # The slot is taken here, not by the woken task: another one could run first and take it too.
                if has_money:
                    self._take(holder, row)
                turn.set_result(has_money)  # a twin does not wait for money: its row has a request in flight
            self._queue.popleft()
        self.notify()

    async def _turn_of(self, turn: asyncio.Future[bool]) -> bool:
        """Wait for a turn in the queue; return whether the slot was taken."""
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot came together with the cancellation
                self.release()
            raise

    @property
    def _has_slot(self) -> bool:
        """Whether a slot is free."""
        return not self._is_closed and len(self._in_flight) < self.limit

    def _has_money(self, row: Row) -> bool:
        """Whether the budget lets a row send a request beside those in flight."""
        return self._may_send is None or self._may_send(row, self._in_flight.values())

    def _take(self, holder: Row, row: Row) -> None:
        self._in_flight[holder] = row
        if row in self._unsent:
            self._unsent.discard(row)
            self.notify()


def _this_task() -> Row:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - only the task of a row, or of its twin, asks for a slot
    return task
