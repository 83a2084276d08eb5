"""How fast one key is asked in a job: as fast as it bears, learnt from its refusals, or as the user told.

There is no pace until the first refusal. That one sets it to half of what the key bore; answers raise it again:
doubling each second until the second refusal, later to 90 % of the refused pace within 5 s, then 1 % a second.
Pure: the time comes in as an argument.
"""

from __future__ import annotations

from collections import deque

_FIRST_CUT_PER_S = 1.0
_SLOWEST_PER_S = 0.05
_CATCH_UP_S = 0.05
"""Seconds of lateness a sender may make up for."""
_LONGEST_STEP_S = 0.5
"""Seconds between two answers that count for raising, if the pace is no slower; longer ones were spent held or idle."""
_BACK_TO = 0.9
_BACK_WITHIN_S = 5.0
_THEN_PER_S = 1.01


class Pace:
    """The pace of one key.

    Args:
        told_per_s: requests per second the user told; None: to be learnt.
    """

    __slots__ = ("_answers", "_cut_at", "_next_at", "_raised_at", "_refused_per_s", "_told", "per_s", "refusals")

    def __init__(self, told_per_s: float | None = None) -> None:
        self.per_s = told_per_s
        self.refusals = 0
        self._told = told_per_s
        self._refused_per_s = 0.0
        self._answers: deque[float] = deque()
        self._cut_at = float("-inf")
        self._raised_at = float("-inf")
        self._next_at = float("-inf")

    def room_at(self, now: float, ahead: int = 0) -> float:
        """Return when the next request may go out, with so many waiting ahead of it."""
        if self.per_s is None:
            return now
        return max(now, self._next_at + ahead / self.per_s)

    def sent(self, now: float) -> None:
        """Note that a request goes out."""
        if self.per_s is not None:
            self._next_at = max(self._next_at, now - _CATCH_UP_S) + 1 / self.per_s

    def answered(self, now: float) -> None:
        """Note an answer; it raises the pace by the time since the last one."""
        self._forget_answers(now)
        self._answers.append(now)
        if self.per_s is None:
            return
        step = min(max(0.0, now - self._raised_at), max(_LONGEST_STEP_S, 2 / self.per_s))
        self._raised_at = now
        if self.refusals <= 1:
            raised = self.per_s * 2**step if self.refusals else self.per_s
        elif self.per_s < _BACK_TO * self._refused_per_s:
            raised = self.per_s + (_BACK_TO - 0.5) * self._refused_per_s * step / _BACK_WITHIN_S
        else:
            raised = self.per_s * _THEN_PER_S**step
        self.per_s = raised if self._told is None else min(raised, self._told)

    def refused(self, sent_at: float, now: float) -> None:
        """Note a refusal by a rate limit; one burst counts once."""
        if sent_at <= self._cut_at:
            return
        self._forget_answers(now)
        self._refused_per_s = self.per_s if self.per_s is not None else float(len(self._answers))
        self.per_s = max(self._refused_per_s / 2, _SLOWEST_PER_S if self.refusals else _FIRST_CUT_PER_S)
        self.refusals += 1
        self._cut_at = self._raised_at = now
        self._next_at = now + 1 / self.per_s

    def _forget_answers(self, now: float) -> None:
        while self._answers and self._answers[0] <= now - 1.0:
            self._answers.popleft()
