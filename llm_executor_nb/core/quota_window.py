"""What good replies say about a limit, "so many more until then", and how requests are spread over that time.

Refusals teach a rate (`adaptive_rate.py`); this avoids refusals. It never makes an answer later than a refusal would
have. So nothing is spread when a job needs no more than is left, over a window so long that it is a quota, or with
waits beyond the ceiling: the requests go out, and a refusal says what there is to say.

An allowance counts until the next answer says otherwise, or until a ceiling after its window. It is not a hold: calls
by hand that were never asked to wait do not wait for it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_executor_nb.core.records import Allowance

_LONGEST_WINDOW_S = 300.0
"""Seconds; Hugging Face's window. What is left for a longer time, such as a day, is a quota: it is not spread."""
_LOOK_AGAIN_S = 1.0
"""Seconds after which more than was left goes out: a token bucket has room long before it is full again."""


class QuotaWindow:
    """Spreads what is left of a limit over the seconds until it is renewed.

    Attributes:
        per_s: requests per second that keep within the limit; None: no bound.
        left: how many more requests are known to be taken.
    """

    def __init__(self) -> None:
        self.per_s: float | None = None
        self.left = 0.0
        self._as_of = -math.inf
        self._last_sent = -math.inf
        self._not_before = -math.inf
        self._ends = -math.inf
        self._used_up_until: float | None = None
        self._zeros = 0

    @property
    def is_bound(self) -> bool:
        """Whether a request may have to wait."""
        return self.per_s is not None or self._used_up_until is not None

    def next_slot_at(self, now: float, ahead: int = 0) -> float:
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

    def learn(
        self,
        allowance: Allowance | None,
        now: float,
        sent_at: float,
        *,
        in_flight: int,
        wanted: float,
        ceiling_s: float,
    ) -> None:
        """Learn what an answer says about the limit.

        Args:
            allowance: what is left; None: the answer does not say.
            now: when the answer came.
            sent_at: when its request was sent.
            in_flight: requests under way, which the provider may not have counted yet.
            wanted: how many requests this key is still needed for.
            ceiling_s: the longest wait between two requests.
        """
        if sent_at < self._as_of:
            return  # an answer to a later request is already known
        self._as_of = sent_at
        self._used_up_until = None
        left = 0.0 if allowance is None else allowance.remaining - in_flight
        self.left = max(0.0, left)
        if allowance is None or not self._is_credible(allowance):
            self._free()
            return
        if left >= wanted:
            self._free()
            if left > 0 and allowance.reset_s <= ceiling_s:  # other keys may not take their share after all
                self._used_up_until = now + min(allowance.reset_s, _LOOK_AGAIN_S)
            return
        gap_s = allowance.reset_s / max(left, 1.0)
        if gap_s > ceiling_s:
            self._free()
        elif left > 0 or sent_at >= self._not_before:
            # without the second condition, many answers about one empty window would move its end on and on
            reset_at = now + allowance.reset_s
            if left > 0 or self.per_s is None:
                self.per_s = 1 / gap_s  # else as before: nobody knows how much the reset brings
            self._ends = reset_at + ceiling_s
            self._not_before = -math.inf if left > 0 else reset_at

    def _is_credible(self, allowance: Allowance) -> bool:
        """Whether an allowance describes a window: there, only the last answer says that nothing is left.

        Two such answers in a row mean something else, or a limit with a burst of one: `AdaptiveRate` finds that better.
        """
        self._zeros = 0 if allowance.remaining >= 1 else self._zeros + 1
        return self._zeros <= 1 and allowance.reset_s <= _LONGEST_WINDOW_S

    def _free(self) -> None:
        self.per_s, self._not_before = None, -math.inf
