"""How many requests a route takes at once, learnt from refusals that come while others are answered (design 3.2).

A server that takes six requests at once refuses the seventh. So the number in flight at which refusals outweigh answers
is the bound. A refusal by chance sets none: as many in flight were answered just before or soon after.

1. *The bound.* Each reply is kept with the number in flight when its request was sent. A number is too many when the
   refusals of requests sent with so many in flight, or more, outweigh the answers to them. Older replies weigh less.
2. *The way back.* The bound rises by one when it was used up for a while. That while doubles, up to a minute, each
   time the next number is refused again. If it is not, the bound rises by 2, 4, 8 and so on, and ends after 8 rises:
   a bound that ended at once would let all that wait rush to a server that refuses them.
3. *Proof.* A refusal that is taken for "too many at once" sends no more until an answer shows that the server is up.
4. *After a hold* requests return one by one: one more with each answer.

Pure: the time is an argument.
"""

from __future__ import annotations

from collections import deque

_KEPT = 64
_FADES = 0.9
"""Each reply weighs 0.9 times as much as the one after it."""
_PER_REFUSAL_S, _FIRST_S, _LONGEST_S = 1.0, 4.0, 60.0
"""Until a bound is tried again: min(min(1 s * refusals, 4 s) * 2^failed tries, 60 s)."""
_LAST_RAISE = 8
_FULL_RAMP = 64
"""With so many in flight, a return from a hold is over."""


class Capacity:
    """How many requests one route takes at once.

    Attributes:
        limit: the bound of requests in flight; None: none is known.
    """

    def __init__(self) -> None:
        self.limit: int | None = None
        self._ramp: int | None = None
        self._lacks_proof = False
        self._replies: deque[tuple[int, bool]] = deque(maxlen=_KEPT)
        self._refused = 0
        self._raises = self._failed_raises = 0
        self._used_up = 0
        self._try_at = 0.0

    @property
    def is_bound(self) -> bool:
        """Whether a request may have to wait until another one is over."""
        return self.limit is not None or self._ramp is not None

    def forget(self) -> None:
        """Drop the bound, because the refusals have another reason."""
        self.limit, self._refused, self._lacks_proof = None, 0, False
        self._replies.clear()

    def has_room(self, in_flight: int) -> bool:
        """Whether one more request may go out beside those in flight."""
        if self._lacks_proof and in_flight:
            return False
        return (self.limit is None or in_flight < self.limit) and (self._ramp is None or in_flight < self._ramp)

    def return_slowly(self) -> None:
        """Let requests return one by one, after a hold."""
        self.forget()  # the refusals of an outage say nothing about how many are too many
        self._ramp = 1

    def wait_for_proof(self) -> None:
        """Send no more beside the requests in flight until one of them is answered."""
        self._lacks_proof = True

    def answered(self, in_flight: int, now: float) -> None:
        """Note an answer to a request that was sent with so many in flight, itself included."""
        self._lacks_proof = False
        self._replies.append((in_flight, False))
        if self._ramp is not None:
            self._ramp += 1
            if self._ramp > (self.limit or _FULL_RAMP):
                self._ramp = None
        if self.limit is None:
            return
        if in_flight > self.limit:  # its request was sent before the bound was set
            if self._weight(self.limit + 1) <= 0:
                self._rise(in_flight)
            return
        self._used_up += in_flight == self.limit
        if self._used_up >= self.limit and now >= self._try_at:
            self._raises += 1
            if self._raises > 1:
                self._failed_raises = 0
            self._rise(self.limit + 2 ** (self._raises - 1))

    def refused(self, in_flight: int, now: float) -> bool:
        """Note a refusal of a request sent with so many in flight; return whether they were too many."""
        self._replies.append((in_flight, True))
        if in_flight <= 1 or self._weight(in_flight) <= 0:
            return False
        if self.limit is None:
            self._failed_raises = 0
        elif in_flight == self.limit:
            self._failed_raises += 1
        self.limit = max(1, min(in_flight - 1, self.limit or in_flight))
        self._refused += 1
        first_s = min(self._refused * _PER_REFUSAL_S, _FIRST_S)
        self._try_at = now + min(first_s * 2**self._failed_raises, _LONGEST_S)
        self._used_up = self._raises = 0
        return True

    def _rise(self, limit: int) -> None:
        self._used_up = 0
        self.limit = limit
        if self._raises > _LAST_RAISE:
            self.limit, self._refused, self._failed_raises = None, 0, 0

    def _weight(self, in_flight: int) -> float:
        """Return by how much refusals outweigh answers to requests sent with so many in flight, or more."""
        weight, excess = 1.0, 0.0
        for sent_with, is_refused in reversed(self._replies):
            if sent_with >= in_flight:
                excess += weight if is_refused else -weight
            weight *= _FADES
        return excess
