"""Finds how many requests at once bring the most answers per second, for a job whose user set no number (design 3.4).

What counts is the yield: answers per second and request in flight. A server with room keeps it, however many are in
flight. Beyond its knee the yield falls as fast as the number in flight rises, so more bring no more answers.

1. *Start.* The number doubles with each round that has an answer: as many replies as may be in flight. From 64 on the
   yield is looked at. If it fell twice in a row, the number goes back to what brings the same answers.
2. *Rest.* There the yield is measured over some rounds. Then half as many more are tried, and kept if each of them
   brings nearly what the others did. After each try in vain the rests get longer, so that the number does not swing.
3. *Back.* If the yield falls at rest, fewer are tried. They are kept if they bring nearly as many answers. If they do
   not, the server became slower for another reason, and the number stays.

Replies that come while the number is not used up say nothing about it. Refusals for too many, or too fast, bound the
route or slow its key (`core/traffic.py`), so they are left out here. Pure: the time is an argument.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, LARGEST = 8, 256
_LOOKED_AT_FROM = 64
"""Fewer in flight give too few replies in a round for a verdict."""
_IS_USED = 0.8
"""The share of the number in flight that must be reached in a round."""
_FALLEN, _KEPT = 0.7, 0.8
"""A yield below 0.7 of the earlier one has fallen; one of half as many more, above 0.8 of the earlier one, is kept."""
_AS_MANY = 0.9
"""Fewer in flight that bring 0.9 of the answers bring as many."""
_STEP = 1.5
_ROOM = 1.1
"""Answers come unevenly: a tenth more than the server works on keeps it busy."""
_LOOK = 256
"""Replies in a look: their number is then known to 6 %."""
_LONGEST_REST = 64
"""Looks in a rest, at most."""
_SAYS_NOTHING = (Outcome.RATE_LIMITED, Outcome.OVERLOADED, Outcome.CANCELLED)


class Growth:
    """The number of requests in flight of one job, as its replies make it.

    Attributes:
        limit: so many may be in flight now.
    """

    def __init__(self, now: float) -> None:
        self.limit = self._limit_before = FIRST
        self._best = self._before = 0.0
        self._passed, self._passed_s = 0, 0.0
        self._rest_looks = self._looks_left = 1
        self._judge: Callable[[float], None] = self._start
        self._next: tuple[Callable[[float], None], float] = self._rest, 0.0
        self._seen_at, self._slot_s, self._least = now, 0.0, 0.0
        self._size, self._replies, self._answers, self._most = FIRST, 0, 0, 0

    @property
    def reason(self) -> str:
        """Why so many are in flight, and not more."""
        if self.limit == LARGEST:
            return "the most unless concurrency= is set"
        if self._judge == self._start:
            return "growing while more bring more answers"
        if self._limit_before < self.limit:
            return "looking whether more bring more answers"
        return "more brings no more answers"

    def replied(self, in_flight: int, outcome: Outcome, seconds: float, now: float) -> None:
        """Let a reply bear on the number.

        Args:
            in_flight: requests in flight, the one that was replied to included.
            outcome: its outcome.
            seconds: how long it took.
            now: when it came.
        """
        self._most = max(self._most, in_flight)
        # between two replies that lie further apart than that, as around a hold, fewer were in flight for a while
        self._slot_s += in_flight * min(seconds, now - self._seen_at)
        self._seen_at = now
        if outcome in _SAYS_NOTHING:
            return
        self._answers += outcome is Outcome.OK
        self._replies += 1
        is_clear = self._size < self._least * self._slot_s  # even if all that are left were answered now
        if self._replies < self._size and not is_clear:
            return
        if self._most < _IS_USED * self.limit:
            self._count(self.limit, self._least)
        else:
            self._judge(self._answers / self._slot_s if self._slot_s else math.inf)

    # --- looks --------------------------------------------------------------------------------------------------

    def _count(self, replies: int, least: float = 0.0) -> None:
        """Count so many replies, or fewer when they cannot reach the least yield any more."""
        self._size, self._least = replies, least
        self._replies, self._answers, self._most, self._slot_s = 0, 0, 0, 0.0

    def _move(self, limit: int, judge: Callable[[float], None], least: float = 0.0) -> None:
        """Change the number; when the requests in flight were sent under it, take a look."""
        replies = max(limit, self.limit - limit)
        self.limit, self._judge, self._next = limit, self._settled, (judge, least)
        self._count(replies)

    def _settled(self, _: float) -> None:
        self._judge, least = self._next
        self._look(least)

    def _look(self, least: float = 0.0) -> None:
        self._count(max(2, math.ceil(_LOOK / self.limit)) * self.limit, least)

    # --- start --------------------------------------------------------------------------------------------------

    def _start(self, found: float) -> None:
        if found < self._least:
            self._judge = self._start_again
            self._count(2 * self.limit, self._least)
        elif self._answers:
            self._double()
        else:
            self._count(self.limit)

    def _start_again(self, found: float) -> None:
        if found < self._least:
            self._begin_rest(self._enough(found))
        else:
            self._double()

    def _double(self) -> None:
        if self._slot_s:  # a frozen clock knows no speed
            self._passed += self._answers
            self._passed_s += self._slot_s
            self._best = self._passed / self._passed_s
        if self.limit == LARGEST:
            self._begin_rest(LARGEST)
            return
        self.limit, self._judge = min(LARGEST, 2 * self.limit), self._start
        self._count(self.limit, _FALLEN * self._best if self.limit >= _LOOKED_AT_FROM else 0.0)

    # --- rest, and tries ----------------------------------------------------------------------------------------

    def _begin_rest(self, limit: int) -> None:
        self._looks_left = self._rest_looks
        self._limit_before = max(limit, self._limit_before)
        self._move(limit, self._rest)

    def _rest(self, found: float) -> None:
        self._looks_left -= 1
        self._before, self._limit_before = found, self.limit
        if found < _FALLEN * self._best and (fewer := self._enough(found)) < self.limit:
            self._move(fewer, self._fewer, _AS_MANY * found * self.limit / fewer)
        elif self._looks_left <= 0 and self.limit < LARGEST:
            self._more()
        else:
            self._look()

    def _more(self) -> None:
        self._move(min(LARGEST, math.ceil(_STEP * self.limit)), self._tried, _KEPT * self._before)

    def _tried(self, found: float) -> None:
        if found < self._least:
            self._rest_looks = min(_LONGEST_REST, 2 * self._rest_looks)
            self._begin_rest(self._limit_before)
            return
        self._rest_looks, self._before, self._limit_before = 1, found, self.limit
        if self.limit < LARGEST:
            self._more()
        else:
            self._begin_rest(LARGEST)

    def _fewer(self, found: float) -> None:
        if found < self._least:
            self._best = found or self._best
            self._begin_rest(self._limit_before)
        else:
            self._begin_rest(self.limit)

    def _enough(self, found: float) -> int:
        """Return how many in flight bring the answers that were found, at the best yield; at least half as many."""
        enough = math.ceil(_ROOM * found * self.limit / self._best)
        return max(FIRST, self.limit // 2, min(self.limit, enough))
