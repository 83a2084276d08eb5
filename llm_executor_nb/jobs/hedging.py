"""Which late requests of a job get a twin (design 3.4): by a percentile of the job's own answers, under a hard cap.

A request that lost to its twin was cancelled, and would have taken longer. Those under way take longer than they are
old. Left out, the slow requests would look too few, and twins would be sent too early. So the percentile is Kaplan and
Meier's (1958, J. Am. Stat. Assoc. 53), which counts such a request as unanswered up to its age.
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
"""Times that count, so that the percentile follows a server that gets slower; and how often it is reckoned."""
_ROUNDING = 1e-9


class Hedging:
    """Says when a request of one job is late, and counts the twins.

    Args:
        hedge: a percentile between 0 and 1; True: one that keeps twins below 4 %.
    """

    replaces_failed = True

    def __init__(self, hedge: float) -> None:
        self._percentile = _PERCENTILE if hedge is True else hedge
        self._share = most_twins(hedge)
        self._times: deque[tuple[float, bool]] = deque(maxlen=_WINDOW)
        self._under_way: dict[object, float] = {}
        self._answers = self._news = 0
        self._late_s: float | None = None
        self._room = 0.0
        self._waiting: dict[asyncio.Future[None], None] = {}

    def began(self, request: object, *, is_twin: bool = False) -> None:
        """Note that a request begins; if it is not a twin itself, a share of a twin more may be sent."""
        self._under_way[request] = clock.current().now()
        if not is_twin:
            # what is not used is lost after a while: a server that gets slower must not meet all saved twins at once
            self._room = min(self._room + self._share, max(1.0, self._share * _WINDOW))
            self._wake(1 if self._has_room else 0)

    def ended(self, request: object, *, is_answer: bool) -> None:
        """Note that a request is over; one without an answer might have taken longer."""
        now, began = clock.current().now(), self._under_way.pop(request, None)
        if began is None:  # it was answered, and then stopped while the answer was checked
            return
        self._times.append((now - began, is_answer))
        self._answers += is_answer
        self._news += 1
        if self._answers < _ENOUGH or (self._late_s is not None and self._news < self._step):
            return
        is_first, self._news = self._late_s is None, 0
        # the first answers are the quick ones; those under way show how many take longer
        ages = [(now - began, False) for began in self._under_way.values()]
        self._late_s = _MARGIN * percentile([*self._times, *ages], self._percentile)
        if is_first:
            self._wake(len(self._waiting))

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

    def take(self) -> bool:
        """Count one more twin; return whether there may be one."""
        if not self._has_room:
            return False
        self._room -= 1
        return True

    @property
    def _step(self) -> int:
        """After how many requests the percentile is reckoned again: with many under way it takes a while."""
        return max(_STEP, len(self._under_way) // 8)

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
