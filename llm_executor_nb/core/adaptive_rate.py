"""How fast one key is asked in a job: as fast as it bears, learnt from its refusals, or as the user told.

There is no pace until the first refusal, and a burst of refusals counts once: a hold of a second or more follows it,
and what was sent until the first one came back tells more than that one alone.

1. *How much too fast?* A burst's requests went out at a known pace and a share of them was answered; the pace times
   that share is what the key bears. The new pace begins a tenth below, lower (by the answers since the last burst,
   time spent held included) when refusals follow one another quickly.
2. *And then?* After a first burst too small to tell, it doubles quickly until the second one; else it climbs back
   along a cubic: soon back near what was borne, long at it, then faster and faster, so a limit that rose fourfold is
   found in half a minute. Only answers that came while the pace was what held the job back raise it, never time
   spent held.
3. *Was it about speed at all?* Refusals that come as often after two cuts as before them do not depend on our pace (a
   shared pool, chance). The cuts are taken back then, and each such refusal doubles the pace, which leaves nothing but
   the holds; until a burst is refused by half: then it was about speed, and the next such finding needs four cuts.
4. A told pace is the ceiling; its first refusal adds 3 ms to the time between two requests for a minute, and only
   until then is lateness made up for.

Halving the pace at each burst and climbing by 1 % a second (the rule before) ended at 1 row/s when 5 % of requests
were refused by chance; `tests/core/test_core_simulation.py` has the numbers of both.
"""

from __future__ import annotations

import math
from collections import deque

_FIRST_PER_S = 1.0
"""What a first refusal finds at least: how slowly one asks by hand says nothing of a limit."""
_SLOWEST_PER_S = 0.05
_CATCH_UP_S = 0.05
"""Seconds of lateness a sender may make up for at a told pace that was never refused; else none: it is refused."""
_LONGEST_STEP_S = 0.5
"""Seconds between two answers that count for raising, if the pace is no slower; longer ones were spent held or idle."""

_BEGIN_AT = 0.9
_BEGIN_AT_LEAST = 0.7
_STEEP = 6
"""By this power of the pace refusals are taken to grow, where a hold costs more than the time between two of them."""
_SEARCHING = 2
"""Bursts that belong to the search for the limit, and tell nothing of how often a pace near it is refused."""
_SHORTEST_HOLD_S = 0.5
_PLATEAU_S = 8.0
"""Seconds until the climb is back at what was borne; four latencies are added, since a refusal costs so much more."""
_ABOVE = 0.1
_DOUBLE_S = 0.7
_LATENCIES_TO_DOUBLE = 3.0
_BORNE_S = 3.0
"""Seconds (and four latencies) at a pace after which its refusal means that it is just above the limit."""

_LARGE_BURST = 4
_SURE = 12
"""So many replies to a first burst tell what the key bears; fewer let the pace search by doubling."""
_LOOK_BACK = 16
_SMALL_SAMPLE = 6
_SHARE_OVER = 20
_SPEED_SHARE = 0.35
"""Above this share of refusals among the last replies, they are taken to be about speed."""

_MORE_SELDOM = 2
_CUTS, _CUTS_AFTER_AN_ERROR = 2, 4
_RAISE = 2.0
_RAISES, _MORE_OFTEN = 4, 2.5
"""After so many bursts since the cuts were taken back, so many times fewer answers a burst show that to be an error."""
_ERROR_BURST, _ERROR_SHARE = 9, 0.5

_TOLD_TOP = 0.97
_TOLD_BEGIN_AT = 1.0
_TOLD_PLATEAU_S = 60.0
_APART_S = 0.003
"""Seconds to keep beyond what a told pace says once it was refused: requests may arrive closer than they were sent."""


class AdaptiveRate:
    """The pace of one key.

    Args:
        told_per_s: requests per second the user told; None: to be learnt.
    """

    __slots__ = (
        "_answers",
        "_begin_at",
        "_borne_per_s",
        "_burst_answers",
        "_burst_from",
        "_burst_refusals",
        "_burst_until",
        "_climbed_s",
        "_cut_answers",
        "_cuts",
        "_cuts_in_vain",
        "_first_answers",
        "_first_per_s",
        "_is_binding",
        "_is_long_borne",
        "_latency_s",
        "_looked_back",
        "_per_cut",
        "_probe_sent_at",
        "_raise_answers",
        "_raised_at",
        "_raises",
        "_refused_per_s",
        "_sends",
        "_share",
        "_slot",
        "_top",
        "_worth",
        "is_about_speed",
        "per_s",
        "refusals",
        "told_per_s",
    )

    def __init__(self, told_per_s: float | None = None) -> None:
        self.per_s = told_per_s
        self.refusals = 0
        self.is_about_speed = True
        self.told_per_s = told_per_s
        self._sends: deque[float] = deque(maxlen=256)
        self._slot = -math.inf
        self._is_binding = False
        # the last burst of refusals: what was sent from its first refused request until that one's reply
        self._burst_from = math.inf
        self._burst_until = -math.inf
        self._burst_answers = self._burst_refusals = self._looked_back = 0
        self._latency_s = 0.0
        self._refused_per_s = self._borne_per_s = 0.0
        self._is_long_borne = False
        # since then
        self._answers = 0
        self._share = 0.0
        self._worth = 1.0
        self._probe_sent_at: float | None = None
        # the climb
        self._top = told_per_s or 0.0
        self._begin_at = _BEGIN_AT
        self._climbed_s = 0.0
        self._raised_at = -math.inf
        # whether cuts help
        self._first_per_s: float | None = None
        self._first_answers = 0
        self._cuts_in_vain = 0
        self._cuts = _CUTS
        self._cut_answers = self._raises = self._raise_answers = 0
        self._per_cut = 0.0

    def room_at(self, now: float, ahead: int = 0) -> float:
        """Return when the next request may go out, with so many waiting ahead of it."""
        return now if self.per_s is None else max(now, self._slot + (1 + ahead) / self.per_s)

    def sent(self, now: float) -> None:
        """Note that a request goes out."""
        self._sends.append(now)
        if self._probe_sent_at is None:
            self._probe_sent_at = now
        if self.per_s is None:
            return
        gap_s = 1 / self.per_s
        self._is_binding = now - self._slot - gap_s < max(gap_s, 0.02)
        catch_up_s = _CATCH_UP_S if self.told_per_s is not None and not self.refusals else 0.0
        self._slot = max(self._slot + gap_s, now - catch_up_s)

    def answered(self, now: float, sent_at: float) -> None:
        """Note an answer; it raises the pace by the time since the last one."""
        if sent_at != self._probe_sent_at:
            self._share -= self._share / _SHARE_OVER
        if sent_at <= self._burst_until:
            if sent_at >= self._burst_from:
                self._burst_answers += 1
                self._settle()
            return
        self._answers += 1
        if self.per_s is None:
            return
        step_s = min(max(0.0, now - self._raised_at), max(_LONGEST_STEP_S, 2 / self.per_s))
        self._raised_at = now
        if self._is_binding:
            self._climbed_s += step_s
            raised = max(self.per_s, self._climbed(self.per_s, step_s))
            self.per_s = raised if self.told_per_s is None else min(raised, self.told_per_s)

    def refused(self, sent_at: float, now: float) -> None:
        """Note a refusal by a rate limit that did not meet a probe; one burst counts once."""
        self._share += (1 - self._share) / _SHARE_OVER
        if sent_at <= self._burst_until:
            if sent_at >= self._burst_from:
                self._burst_refusals += 1
                self._settle()
            return
        self.refusals += 1
        self._latency_s = now - sent_at
        self._refused_per_s = self.per_s if self.per_s is not None else self._sent_per_s(sent_at, now)
        self._borne_per_s = self._answers / (now - self._burst_until) if self.refusals > 1 else math.inf
        self._is_long_borne = self._climbed_s >= _BORNE_S + 4 * self._latency_s
        self._worth = self._worth_of_it(sent_at)
        self._compare()
        self._looked_back = min(self._answers, _LOOK_BACK)
        self._burst_from, self._burst_until = sent_at, now
        self._burst_answers, self._burst_refusals, self._answers = 0, 1, 0
        self._probe_sent_at = None
        self._raised_at = self._slot = now
        self._settle()

    def _worth_of_it(self, sent_at: float) -> float:
        """Return the share of the refused pace that yields most answers in sending and holding time together.

        At the share x of a pace that is refused after `sending_s`, refusals come after sending_s / x**(n + 1) where
        their chance per request grows by the power n; answers per second are largest at the x below.
        """
        if self._probe_sent_at is None or self.refusals <= _SEARCHING:
            return 1.0
        held_s = max(self._probe_sent_at - self._burst_until, _SHORTEST_HOLD_S)
        sending_s = max(sent_at - self._probe_sent_at - self._latency_s, 1 / self._refused_per_s)
        return min(1.0, math.pow(sending_s / (_STEEP * held_s), 1 / (_STEEP + 1)))

    def _sent_per_s(self, since: float, now: float) -> float:
        return max(sum(sent >= since for sent in self._sends) / max(now - since, 0.001), _FIRST_PER_S)

    def _climbed(self, per_s: float, step_s: float) -> float:
        """Return what the climb has come to."""
        is_search = self.refusals == 1 and self._burst_answers + self._burst_refusals < _SURE
        if is_search and self.told_per_s is None:
            return per_s * 2 ** (step_s / max(_DOUBLE_S, _LATENCIES_TO_DOUBLE * self._latency_s))
        plateau_s = _TOLD_PLATEAU_S if self.told_per_s is not None else _PLATEAU_S + 4 * self._latency_s
        away = self._climbed_s / plateau_s - 1
        return self._top * (1 + (1 - self._begin_at if away < 0 else _ABOVE) * away**3)

    def _compare(self) -> None:
        """Find out whether the cuts since the first refused pace have made refusals any rarer."""
        if not self.is_about_speed:
            self._watch_raise()
        is_rarer = self._answers >= _MORE_SELDOM * self._first_answers or self._is_long_borne
        if self._first_per_s is None or is_rarer or self._share > _SPEED_SHARE:
            self._first_per_s, self._first_answers = self._refused_per_s, self._answers
            self._cuts_in_vain, self._cut_answers = 0, self._answers
            self.is_about_speed = True
            return
        self._cuts_in_vain += 1
        if not self.is_about_speed:
            return
        self._cut_answers += self._answers
        if self._cuts_in_vain >= self._cuts:
            self.is_about_speed = False
            self._per_cut = self._cut_answers / (1 + self._cuts_in_vain)
            self._raises = self._raise_answers = 0

    def _watch_raise(self) -> None:
        """Find out whether taking the cuts back has made refusals more frequent: then they were about speed."""
        self._raises += 1
        self._raise_answers += self._answers
        if self._raises >= _RAISES:
            if self._raise_answers * _MORE_OFTEN <= self._per_cut * self._raises:
                self._admit_error()
            self._raises = self._raise_answers = 0

    def _admit_error(self) -> None:
        self.is_about_speed, self._first_per_s = True, None
        self._cuts_in_vain, self._cuts = 0, _CUTS_AFTER_AN_ERROR

    def _settle(self) -> None:
        """Set the pace by what has come back of the burst so far."""
        replies = self._burst_answers + self._burst_refusals
        others = replies - 1  # of the first it was known that it was refused
        if not self.is_about_speed and replies >= _ERROR_BURST and others * _ERROR_SHARE <= self._burst_refusals - 1:
            self._admit_error()
        self._climbed_s = 0.0
        if not self.is_about_speed:
            self._top = max(self._first_per_s or 0.0, self._refused_per_s) * _RAISE
            self._begin_at = 1.0
        else:
            self._cut(replies)
        per_s = self._top * self._begin_at
        self.per_s = per_s if self.told_per_s is None else min(per_s, self.told_per_s)

    def _cut(self, replies: int) -> None:
        if replies >= _LARGE_BURST:
            refused_share = (self._burst_refusals - 0.5) / replies
        else:
            refused_share = self._burst_refusals / max(replies + self._looked_back, _SMALL_SAMPLE)
        self._top = max(self._refused_per_s * (1 - refused_share), _SLOWEST_PER_S)
        self._begin_at = _BEGIN_AT
        is_seldom = self._share < _SPEED_SHARE
        if self.told_per_s is not None and is_seldom:
            self._begin_at = _TOLD_BEGIN_AT
            borne_per_s = max(self._top, _TOLD_TOP * self._refused_per_s) * self._worth
            self._top = max(min(borne_per_s, 1 / (1 / self.told_per_s + _APART_S)), _SLOWEST_PER_S)
        elif self._is_long_borne and is_seldom:
            self._top = max(self._top, _BEGIN_AT * self._refused_per_s)
        elif self.refusals > 1:
            self._top = max(min(self._top, self._worth * self._refused_per_s), _SLOWEST_PER_S)
            lower = math.sqrt(self._refused_per_s * self._borne_per_s) / self._top
            self._begin_at = max(_BEGIN_AT_LEAST, min(_BEGIN_AT, lower))
