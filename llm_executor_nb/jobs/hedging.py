"""Which late requests of a job get a twin (design 3.4): by a percentile of the job's own answers, under a hard cap.

A request that lost to its twin was cancelled: it would have taken longer. Left out, such
requests would make the slow ones look fewer and fewer. So the percentile is Kaplan and Meier's (1958, J. Am. Stat.
Assoc. 53), which counts a request as under way until it was cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock

if TYPE_CHECKING:
    from collections.abc import Collection

MOST_TWINS = 0.05
"""Twins per request at most, whatever percentile the user gave."""
_PERCENTILE, _MOST_TWINS = 0.95, 0.039
"""What `hedge=True` stands for: with the margin, about 3 % of lognormal times are late, and never 4 %."""
_MARGIN = 1.25
"""A twin costs as much as its request: one that is a little late is not worth it."""
_ENOUGH = 20
"""Answers before anything is known of late ones."""
_WINDOW, _STEP = 512, 16
"""Times that count, so that the percentile follows a server that gets slower; and after how many it is reckoned."""
_ROUNDING = 1e-9


class Hedging:
    """Says when a request of one job is late, and counts the twins.

    Args:
        hedge: a percentile between 0 and 1; True: one that keeps twins below 4 %.
    """

    def __init__(self, hedge: float) -> None:
        self._percentile = _PERCENTILE if hedge is True else hedge
        self._share = most_twins(hedge)
        self._times: deque[tuple[float, bool]] = deque(maxlen=_WINDOW)
        self._answers = self._news = 0
        self._late_s: float | None = None
        self._room = 0.0
        self._waiting: dict[asyncio.Future[None], None] = {}

    def sent(self) -> None:
        """Note that a request was sent that is not a twin: a share of a twin more may be sent."""
        # what is not used is lost after a while: a server that gets slower must not meet all saved twins at once
        self._room = min(self._room + self._share, max(1.0, self._share * _WINDOW))
        if self._has_room:
            self._wake(1)

    def take(self) -> bool:
        """Count one more twin; return whether there may be one."""
        if not self._has_room:
            return False
        self._room -= 1
        return True

    async def late(self, sent_at: float) -> None:
        """Wait until a request that was sent at this time on the clock may get a twin."""
        while True:
            left_s = None if self._late_s is None else sent_at + self._late_s - clock.current().now()
            if left_s is not None and left_s > 0:
                await clock.current().sleep(left_s)
            elif left_s is None or not self._has_room:
                await self._wait()
            else:
                return

    def took(self, seconds: float, *, is_answer: bool) -> None:
        """Note how long a request took; one without an answer would have taken longer."""
        self._times.append((seconds, is_answer))
        self._answers += is_answer
        self._news += 1
        if self._answers < _ENOUGH or (self._late_s is not None and self._news < _STEP):
            return
        is_first, self._news = self._late_s is None, 0
        self._late_s = _MARGIN * percentile(self._times, self._percentile)
        if is_first:
            self._wake(len(self._waiting))

    @property
    def _has_room(self) -> bool:
        return self._room >= 1 - _ROUNDING

    async def _wait(self) -> None:
        """Wait until it is known when a request is late, or until there is room for one more twin."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        try:
            await turn
        finally:
            self._waiting.pop(turn, None)

    def _wake(self, most: int) -> None:
        for turn in list(self._waiting)[:most]:
            del self._waiting[turn]
            if not turn.done():
                turn.set_result(None)


def most_twins(hedge: float) -> float:
    """Return how many twins there may be per request.

    Args:
        hedge: a percentile, or True.
    """
    return _MOST_TWINS if hedge is True else min(MOST_TWINS, 1 - hedge)


def percentile(times: Collection[tuple[float, bool]], share: float) -> float:
    """Return the seconds within which a share of the requests is answered; at most the longest that was answered.

    Args:
        times: the seconds of each request, and whether it was answered then; if not, it was given up.
        share: between 0 and 1.
    """
    longest, unanswered, under_way = 0.0, 1.0, len(times)
    for seconds, is_answer in sorted(times):
        if is_answer:
            longest = seconds
            unanswered *= 1 - 1 / under_way
            if unanswered <= 1 - share + _ROUNDING:
                break
        under_way -= 1
    return longest
