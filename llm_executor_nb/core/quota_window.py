"""What good replies tell of a limit, "so many more until then", and how requests are spread over that time.

Refusals teach a pace (`pace.py`); this avoids them. It never makes an answer later than a refusal would have: what is
left is not spread when a job needs no more than that, nor over a window so long that it is a quota, nor with waits
beyond the ceiling. Then the requests go out, and a refusal says what there is to say. What was told ends with
the next answer that tells otherwise, or a ceiling after the window, and it is no hold: calls by hand that were never
told to wait do not wait for it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_executor_nb.core.records import Allowance

_LONGEST_WINDOW_S = 300.0
"""Seconds; Hugging Face's window. What is left for longer, for a day, is a quota: to be used up, not spread."""
_LOOK_AGAIN_S = 1.0
"""Seconds after which more than was left goes out: a bucket has room again long before it is full."""


class QuotaWindow:
    """Spreads what is left of a limit over the seconds until it is renewed.

    Attributes:
        per_s: requests per second that keep within it; None: no bound.
        left: how many more are known to be taken.
    """

    __slots__ = ("_ends", "_last_sent", "_not_before", "_told_by", "_used_up_until", "_zeros", "left", "per_s")

    def __init__(self) -> None:
        self.per_s: float | None = None
        self.left = 0.0
        self._told_by = -math.inf
        self._last_sent = -math.inf
        self._not_before = -math.inf
        self._ends = -math.inf
        self._used_up_until: float | None = None
        self._zeros = 0

    @property
    def is_bound(self) -> bool:
        """Say whether a request may have to wait."""
        return self.per_s is not None or self._used_up_until is not None

    def room_at(self, now: float, ahead: int = 0) -> float:
        """Return when the next request may go out, with so many waiting ahead of it."""
        if self._used_up_until is not None and ahead >= self.left:
            return max(now, self._used_up_until)
        if self.per_s is None:
            return now
        at = max(self._last_sent + (1 + ahead) / self.per_s, self._not_before + ahead / self.per_s)
        return max(now, min(at, self._ends))

    def sent(self, now: float) -> None:
        """Note that a request goes out."""
        self._last_sent = now
        self.left = max(0.0, self.left - 1)

    def told(
        self,
        allowance: Allowance | None,
        now: float,
        sent_at: float,
        *,
        in_flight: int,
        wanted: float,
        ceiling_s: float,
    ) -> None:
        """Take in what an answer told.

        Args:
            allowance: what is left; None: it told nothing.
            now: when the answer came.
            sent_at: when its request was sent.
            in_flight: requests under way, which may not be counted in it yet.
            wanted: how many requests this key is still needed for.
            ceiling_s: the longest wait between two requests.
        """
        if sent_at < self._told_by:
            return  # an answer to a later request has told already
        self._told_by = sent_at
        self._used_up_until = None
        left = 0.0 if allowance is None else allowance.remaining - in_flight
        self.left = max(0.0, left)
        if allowance is None or not self._is_credible(allowance):
            self._free()
            return
        if left >= wanted:
            self._free()
            if left > 0 and allowance.reset_s <= ceiling_s:  # others may be to take some of what is wanted
                self._used_up_until = now + min(allowance.reset_s, _LOOK_AGAIN_S)
            return
        gap_s = allowance.reset_s / max(left, 1.0)
        if gap_s > ceiling_s:
            self._free()
        elif left > 0 or sent_at >= self._not_before:  # news of one emptiness by many must not move its end on and on
            reset_at = now + allowance.reset_s
            if left > 0 or self.per_s is None:
                self.per_s = 1 / gap_s  # else as fast as before, since how much the reset brings is not known
            self._ends = reset_at + ceiling_s
            self._not_before = -math.inf if left > 0 else reset_at

    def _is_credible(self, allowance: Allowance) -> bool:
        """Say whether it tells of a window: of one, only the last answer says that nothing is left.

        Two such answers in a row mean something else, or a limit with a burst of one, which `pace.py` finds better.
        """
        self._zeros = 0 if allowance.remaining >= 1 else self._zeros + 1
        return self._zeros <= 1 and allowance.reset_s <= _LONGEST_WINDOW_S

    def _free(self) -> None:
        self.per_s, self._not_before = None, -math.inf
