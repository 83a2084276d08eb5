"""How fast one key is asked in a job: learnt from its refusals, or told by the user.

A key has no rate until its first refusal. Each burst of refusals then sets the rate (`Burst`), answers raise it again
(`Climb`), and refusals that do not depend on the rate are found out (`CutTest`). A told rate is the ceiling: its first
refusal adds 3 ms at most to the time between two requests for a minute.

Halving the rate at each burst and raising it by 1 % a second ended at 1 row/s when 5 % of requests were refused by
chance. `tests/core/test_core_simulation.py` has the numbers of both and judges every constant here (design 3.4).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

_FIRST_PER_S = 1.0
"""The least rate a first refusal is taken to have met: how slowly one asks by hand says nothing about a limit."""
_SLOWEST_PER_S = 0.05
_LATE_S = 0.02
"""A request binds the rate if it leaves no later than max(gap, 0.02 s) after its slot."""
_CATCH_UP_S = 0.05
"""Seconds of lateness made up for at a told rate that was never refused: slot >= now - 0.05 s. Else none."""
_LONGEST_STEP_S = 0.5
"""An answer counts min(time since the last answer, max(0.5 s, 2 / rate)) for the climb."""

_START_SHARE, _LEAST_START_SHARE = 0.9, 0.7
"""After a cut: rate = peak * start_share, with 0.7 <= start_share <= 0.9."""
_POWER = 6
"""The refused share of requests is taken to grow with the 6th power of the rate."""
_SEARCH_BURSTS = 2
"""Bursts 1 and 2 belong to the search for the limit; `_best_share` counts from the third."""
_SHORTEST_HOLD_S = 0.5
_PLATEAU_S = 8.0
"""The climb is back at its peak after 8 s + 4 * latency."""
_ABOVE = 0.1
"""Beyond the plateau: rate = peak * (1 + 0.1 * (t / plateau - 1)^3)."""
_DOUBLE_S, _LATENCIES_TO_DOUBLE = 0.7, 3.0
"""While searching, the rate doubles every max(0.7 s, 3 * latency)."""
_SHORT_S, _QUICK_SHARE, _FEW = 0.25, 0.25, 4
"""A refusal that comes in less than 0.25 of an answer's time is too quick to measure a rate in between, so the rate is
measured since the first request. Within 0.25 s of it, four or more requests show the burst that a key takes."""
_ANSWER_S = 0.08
"""How long an answer is taken to need, until there is one."""
_BORNE_S = 3.0
"""A rate borne for 3 s + 4 * latency before its refusal is just above the limit."""

_LARGE_BURST, _SMALL_SAMPLE, _LOOK_BACK = 4, 6, 16
"""From 4 replies on a burst speaks for itself; before, up to 16 earlier answers count, and the sample is 6 at least."""
_ENOUGH_REPLIES = 12
"""A first burst of fewer replies than this leaves the search on."""
_SHARE_OVER = 20
"""share += (refused - share) / 20 at each reply."""
_SPEED_SHARE = 0.35
"""Above this share of refusals among the last replies, they are about speed."""

_MORE_SELDOM = 2
"""A cut helped if there are 2 times as many answers between two bursts as before the first cut."""
_CUTS, _CUTS_AFTER_ERROR = 2, 4
"""So many cuts in a row without effect mean that refusals are not about speed; 4 once that was an error."""
_RAISE = 2.0
"""Each refusal that is not about speed: rate = 2 * max(rate before the first cut, refused rate)."""
_RAISES, _MORE_OFTEN = 4, 2.5
"""Taking the cuts back was an error if, over 4 bursts, answers per burst * 2.5 <= answers per cut."""
_ERROR_BURST, _ERROR_SHARE = 9, 0.5
"""It was one at once if a burst of 9 or more is refused by half."""

_TOLD_PEAK, _TOLD_START_SHARE, _TOLD_PLATEAU_S = 0.97, 1.0, 60.0
"""A told rate falls to 0.97 of the refused one at most, starts at its peak, and is back after 60 s."""
_APART_S, _APART_SHARE = 0.003, 0.15
"""A refused told rate is at most 1 / (gap + min(3 ms, 0.15 * gap)), where gap = 1 / told: requests may arrive closer
than they were sent. Beyond 50 a second a limit takes bursts, for no client sends that evenly."""


@dataclass(slots=True, kw_only=True)
class Burst:
    """What came back of the requests sent from a first refused one until its reply; it counts as one refusal.

    They went out at a known rate, and the share of them that was answered tells what the key bears.
    """

    first_sent_at: float = math.inf  # its first refused request
    known_at: float = -math.inf  # when that refusal came
    per_s: float = 0.0  # the rate at which it was sent
    is_short: bool = False  # it came so soon after the first request that it tells little of the rate
    answered_per_s: float = math.inf  # since the burst before, time on hold included
    answers_before: int = 0  # since the burst before, at most 16
    answers: int = 0
    refusals: int = 1

    @property
    def latency_s(self) -> float:
        """Seconds from the first refused request to its reply."""
        return self.known_at - self.first_sent_at

    @property
    def replies(self) -> int:
        """How many requests of the burst have come back."""
        return self.answers + self.refusals

    @property
    def refused_share(self) -> float:
        """(refusals - 1/2) / replies; of fewer than 4 replies refusals / max(replies + answers before, 6)."""
        if self.replies >= _LARGE_BURST:
            return (self.refusals - 0.5) / self.replies
        return self.refusals / max(self.replies + self.answers_before, _SMALL_SAMPLE)

    @property
    def borne_per_s(self) -> float:
        """What the key bears: rate * (1 - refused share)."""
        return max(self.per_s * (1 - self.refused_share), _SLOWEST_PER_S)

    @property
    def is_half_refused(self) -> bool:
        """Whether a burst of 9 or more is refused by half, without the first one, which is refused by definition."""
        return self.replies >= _ERROR_BURST and (self.replies - 1) * _ERROR_SHARE <= self.refusals - 1

    def add(self, *, is_refused: bool) -> None:
        """Count one more reply."""
        self.refusals += is_refused
        self.answers += not is_refused


@dataclass(slots=True, kw_only=True)
class Climb:
    """How the rate rises after a cut: along a cubic of the seconds t in which the rate was what held the job back.

        rate = peak * (1 + c * (t / plateau - 1)^3), c = 1 - start_share before the plateau, 0.1 after it

    It is soon back near the peak, stays near it for long, and then rises faster and faster: a limit that rose fourfold
    is found in half a minute. Time spent on hold or idle raises nothing.
    """

    peak_per_s: float
    start_share: float = _START_SHARE
    seconds: float = 0.0  # t
    counted_until: float = -math.inf  # the last answer

    def step_s(self, now: float, per_s: float) -> float:
        """Return the seconds that an answer counts for: since the last one, but no longer than a hold would last."""
        step_s = min(max(0.0, now - self.counted_until), max(_LONGEST_STEP_S, 2 / per_s))
        self.counted_until = now
        return step_s

    def per_s(self, plateau_s: float) -> float:
        """Return the rate that the climb has come to."""
        away = self.seconds / plateau_s - 1
        return self.peak_per_s * (1 + (1 - self.start_share if away < 0 else _ABOVE) * away**3)

    def restart(self, peak_per_s: float, start_share: float) -> float:
        """Begin again below a new peak; return the rate it begins with."""
        self.peak_per_s, self.start_share, self.seconds = peak_per_s, start_share, 0.0
        return peak_per_s * start_share


@dataclass(slots=True)
class CutTest:
    """Whether refusals are about speed: not if they come as often after cuts as before (a shared pool, chance).

    The cuts are taken back then, and each such refusal doubles the rate, which leaves nothing but the holds. That ends
    with the first burst that is refused by half, or when the refusals become more frequent.
    """

    is_about_speed: bool = True
    first_per_s: float | None = None  # before the first cut
    first_answers: int = 0  # that this rate got before it was refused
    cuts_needed: int = _CUTS
    cuts: int = 0  # without effect so far
    cut_answers: int = 0  # between them
    answers_per_cut: float = 0.0  # when refusals were found not to be about speed
    raises: int = 0  # bursts since then
    raise_answers: int = 0  # between those

    def compare(self, per_s: float, answers: int, *, is_explained: bool) -> None:
        """Take in a burst at this rate, with so many answers before it; `is_explained`: it was surely too fast."""
        if not self.is_about_speed:
            self._count_raise(answers)
        if self.first_per_s is None or answers >= _MORE_SELDOM * self.first_answers or is_explained:
            self.first_per_s, self.first_answers = per_s, answers
            self.cuts, self.cut_answers = 0, answers
            self.is_about_speed = True
            return
        self.cuts += 1
        if self.is_about_speed:
            self._count_cut(answers)

    def admit_error(self) -> None:
        """Refusals were about speed after all; the next such finding needs more cuts."""
        self.is_about_speed, self.first_per_s = True, None
        self.cuts, self.cuts_needed = 0, _CUTS_AFTER_ERROR

    def _count_cut(self, answers: int) -> None:
        self.cut_answers += answers
        if self.cuts >= self.cuts_needed:
            self.is_about_speed = False
            self.answers_per_cut = self.cut_answers / (1 + self.cuts)
            self.raises = self.raise_answers = 0

    def _count_raise(self, answers: int) -> None:
        """Find out whether taking the cuts back has made refusals more frequent: then they were about speed."""
        self.raises += 1
        self.raise_answers += answers
        if self.raises >= _RAISES:
            if self.raise_answers * _MORE_OFTEN <= self.answers_per_cut * self.raises:
                self.admit_error()
            self.raises = self.raise_answers = 0


class AdaptiveRate:
    """The rate of one key.

    Args:
        told_per_s: requests per second the user told; None: to be learnt.

    Attributes:
        per_s: requests per second now; None: no bound yet.
        told_per_s: as given.
        bursts: how many bursts of refusals there were.
    """

    def __init__(self, told_per_s: float | None = None) -> None:
        self.per_s = self.told_per_s = told_per_s
        self.bursts = 0
        self._sends: deque[float] = deque(maxlen=256)
        self._slot = -math.inf
        self._is_binding = False
        self._burst = Burst()
        self._climb = Climb(peak_per_s=told_per_s or 0.0)
        self._cut_test = CutTest()
        self._refused_share = 0.0
        # since the last burst
        self._answers = 0
        self._first_sent_at: float | None = None
        self._answer_s = _ANSWER_S
        self._is_long_borne = False
        self._share_kept = 1.0

    def retell(self, told_per_s: float) -> None:
        """Let another told rate take the place of the one before; what was learnt keeps its share of it."""
        if self.told_per_s and self.per_s:
            change = told_per_s / self.told_per_s
            self.told_per_s, self.per_s = told_per_s, self.per_s * change
            self._climb.peak_per_s *= change

    @property
    def is_about_speed(self) -> bool:
        """Whether refusals are taken to depend on the rate."""
        return self._cut_test.is_about_speed

    def next_slot_at(self, now: float, ahead: int = 0) -> float:
        """Return when the next request may go out, with so many waiting ahead of it."""
        return now if self.per_s is None else max(now, self._slot + (1 + ahead) / self.per_s)

    def sent(self, now: float) -> None:
        """Note that a request goes out."""
        self._sends.append(now)
        if self._first_sent_at is None:
            self._first_sent_at = now
        if self.per_s is None:
            return
        gap_s = 1 / self.per_s
        self._is_binding = now - self._slot - gap_s < max(gap_s, _LATE_S)
        # a refused key makes up for no lateness: two requests close together would be refused again
        catch_up_s = _CATCH_UP_S if self.told_per_s is not None and not self.bursts else 0.0
        self._slot = max(self._slot + gap_s, now - catch_up_s)

    def answered(self, now: float, sent_at: float) -> None:
        """Note an answer; it raises the rate by the time since the last one."""
        if sent_at != self._first_sent_at:  # the probe of the hold, which is nearly always answered
            self._refused_share -= self._refused_share / _SHARE_OVER
        if sent_at <= self._burst.known_at:
            self._add_to_burst(sent_at, is_refused=False)
            return
        self._answers += 1
        self._answer_s = now - sent_at
        if self.per_s is None:
            return
        step_s = self._climb.step_s(now, self.per_s)
        if self._is_binding:  # a job slower than its rate learns nothing about it
            self._climb.seconds += step_s
            self.per_s = self._within_told(max(self.per_s, self._raised(self.per_s, step_s)))

    def refused(self, sent_at: float, now: float) -> None:
        """Note a refusal by a rate limit that did not meet a probe; one burst counts once."""
        self._refused_share += (1 - self._refused_share) / _SHARE_OVER
        if sent_at <= self._burst.known_at:
            self._add_to_burst(sent_at, is_refused=True)
            return
        self.bursts += 1
        began = self._began_at(sent_at)
        is_quick = self._is_quick(began, sent_at, now)
        is_short = is_quick and sent_at - began < _SHORT_S
        span = (began, max(now, began + _SHORT_S)) if is_quick else (sent_at, now)
        burst = Burst(
            first_sent_at=sent_at,
            known_at=now,
            per_s=self._refused_per_s(*span, is_short=is_short),
            is_short=is_short,
            answered_per_s=self._answers / (now - self._burst.known_at) if self.bursts > 1 else math.inf,
            answers_before=min(self._answers, _LOOK_BACK),
        )
        self._is_long_borne = self._climb.seconds >= _BORNE_S + 4 * burst.latency_s
        self._share_kept = self._best_share(burst)
        is_explained = self._is_long_borne or self._refused_share > _SPEED_SHARE
        self._cut_test.compare(burst.per_s, self._answers, is_explained=is_explained)
        self._burst, self._answers, self._first_sent_at = burst, 0, None
        self._climb.counted_until = self._slot = now
        self._set_rate()

    def pause(self) -> None:
        """Note a refusal that is taken for too many requests at once; the key is on hold after it all the same."""
        self._first_sent_at = None

    def _add_to_burst(self, sent_at: float, *, is_refused: bool) -> None:
        """Count a reply to a request of the burst; one that was sent before the burst tells nothing about it."""
        if sent_at >= self._burst.first_sent_at:
            self._burst.add(is_refused=is_refused)
            self._set_rate()

    def _sent_per_s(self, since: float, now: float) -> float:
        return max(sum(sent >= since for sent in self._sends) / max(now - since, 0.001), _FIRST_PER_S)

    def _began_at(self, refused: float) -> float:
        """Return when requests began to be sent since the burst before; the first one of them was the hold's probe."""
        first = -math.inf if self._first_sent_at is None else self._first_sent_at
        return min((sent for sent in self._sends if sent > first), default=refused)

    def _is_quick(self, began: float, sent_at: float, now: float) -> bool:
        """Whether a refusal came too soon after its request to measure the rate in between."""
        is_quick = self.told_per_s is None and now - sent_at < _QUICK_SHARE * self._answer_s
        return is_quick and sum(sent >= began for sent in self._sends) >= _FEW

    def _refused_per_s(self, since: float, until: float, *, is_short: bool) -> float:
        """Return the rate that was refused: the one that was kept, else that of the requests in a span of time."""
        if self.per_s is not None and not is_short:
            return self.per_s
        return min(self.per_s or math.inf, self._sent_per_s(since, until))

    def _within_told(self, per_s: float) -> float:
        return per_s if self.told_per_s is None else min(per_s, self.told_per_s)

    def _raised(self, per_s: float, step_s: float) -> float:
        """Return the rate after an answer: doubling while a first burst was too small to tell, else climbing."""
        if self.told_per_s is not None:
            return self._climb.per_s(_TOLD_PLATEAU_S)
        latency_s = self._burst.latency_s
        if self._burst.is_short or (self.bursts == 1 and self._burst.replies < _ENOUGH_REPLIES):
            return per_s * 2 ** (step_s / max(_DOUBLE_S, _LATENCIES_TO_DOUBLE * latency_s))
        return self._climb.per_s(_PLATEAU_S + 4 * latency_s)

    def _best_share(self, burst: Burst) -> float:
        """Return the share x of the refused rate that yields most answers in sending and holding time together.

        At the share x of a rate that is refused after `sending_s`, refusals come after sending_s / x^(n + 1), where
        their chance per request grows by the power n. Answers per second are largest at

            x = (sending_s / (n * held_s))^(1 / (n + 1))
        """
        if self._first_sent_at is None or self.bursts <= _SEARCH_BURSTS:
            return 1.0
        held_s = max(self._first_sent_at - self._burst.known_at, _SHORTEST_HOLD_S)
        sending_s = max(burst.first_sent_at - self._first_sent_at - burst.latency_s, 1 / burst.per_s)
        return min(1.0, math.pow(sending_s / (_POWER * held_s), 1 / (_POWER + 1)))

    def _set_rate(self) -> None:
        """Set the rate by what has come back of the burst so far."""
        if not self.is_about_speed and self._burst.is_half_refused:
            self._cut_test.admit_error()
        if self.is_about_speed:
            peak_per_s, start_share = self._cut_for_told() if self.told_per_s is not None else self._cut()
        else:
            peak_per_s, start_share = max(self._cut_test.first_per_s or 0.0, self._burst.per_s) * _RAISE, 1.0
        self.per_s = self._within_told(self._climb.restart(peak_per_s, start_share))

    def _cut(self) -> tuple[float, float]:
        """Return the peak and the start share of a learnt rate: the peak is what the key bears.

        The start is lower, by the answers since the burst before, when refusals follow one another quickly.
        """
        burst = self._burst
        if self._is_long_borne and self._refused_share < _SPEED_SHARE:
            return max(burst.borne_per_s, _START_SHARE * burst.per_s), _START_SHARE
        if self.bursts == 1:
            return burst.borne_per_s, _START_SHARE
        peak_per_s = max(min(burst.borne_per_s, self._share_kept * burst.per_s), _SLOWEST_PER_S)
        share = math.sqrt(burst.per_s * burst.answered_per_s) / peak_per_s
        return peak_per_s, max(_LEAST_START_SHARE, min(_START_SHARE, share))

    def _cut_for_told(self) -> tuple[float, float]:
        """Return the peak and the start share of a told rate, which is believed until refusals are frequent."""
        if self._refused_share >= _SPEED_SHARE or self.told_per_s is None:
            return self._cut()
        borne_per_s = max(self._burst.borne_per_s, _TOLD_PEAK * self._burst.per_s) * self._share_kept
        gap_s = 1 / self.told_per_s
        apart_s = gap_s + min(_APART_S, _APART_SHARE * gap_s)
        return max(min(borne_per_s, 1 / apart_s), _SLOWEST_PER_S), _TOLD_START_SHARE
