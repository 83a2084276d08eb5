"""What one process does of a job, as the other processes see it: it meets them in the ledger four times a second.

At each meeting it tells how it stands and takes its shares: of the requests in flight, of each key's requests a second,
of the dollars. It hears of the holds that the others have met, and whether the whole job goes on. What it gives back it
may still use until the meeting is over, so it counts as held until the next one.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core import clock
from llm_executor_nb.core.holds import HoldKind
from llm_executor_nb.jobs.budget import MOST_UNBOUNDED
from llm_executor_nb.jobs.growth import LARGEST
from llm_executor_nb.jobs.shares import rate_taken, slots_taken, usd_taken
from llm_executor_nb.jobs.told_holds import hold_heard, hold_told, joined_holds, until_of
from llm_executor_nb.jobs.totals import added, answers_of, report_of
from llm_executor_nb.store.claims import this_process
from llm_executor_nb.store.parts import Told
from llm_executor_nb.store.records import LedgerBusyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.records import Route
    from llm_executor_nb.jobs.options import JobOptions, PartOf
    from llm_executor_nb.jobs.results import Results
    from llm_executor_nb.jobs.slots import ConcurrencyLimit
    from llm_executor_nb.jobs.stop_rules import StopRules
    from llm_executor_nb.store.ledger_store import LedgerStore
    from llm_executor_nb.store.parts import Decide
    from llm_executor_nb.view.snapshot import Snapshot

MEETING_S = 0.25
"""Seconds between two meetings."""
_SHORT_S = 0.05
"""The same while it waits for dollars: near the end of a budget each meeting may free those of one request."""
_SAME_S = 0.5
"""Two ends of one hold that lie no further apart are the same: clocks are not read at one moment."""
_LAST_MEETINGS = 3
"""Times that a part tries to leave what it has done, for a second each, while the ledger cannot be written."""
_AHEAD = 4
"""Dollars are taken for so many requests per slot: a slot may send several until the next meeting."""
_TRAVELS = (HoldKind.CONDEMNED, HoldKind.TOLD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workings:
    """What a part bears on, and reports.

    Attributes:
        ledger, health: shared with all that runs in this process.
        results, slots, rules: of this part.
        snapshot: how it stands.
        reserved_usd: what its requests in flight may still cost.
        cancel: ends it at once.
    """

    ledger: LedgerStore
    health: Health
    results: Results
    slots: ConcurrencyLimit
    rules: StopRules
    snapshot: Callable[[], Snapshot]
    reserved_usd: Callable[[], float]
    cancel: Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shares:
    """What a part has of what is divided; `rates` by key."""

    slots: int = 0
    rates: dict[str, float]
    usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """How a part stands at a meeting, read before it on the loop's thread."""

    rows_left: int
    in_flight: int
    spent_usd: float
    least_usd: float
    unit_usd: float
    holds: dict[str, dict[str, Any]]
    state: dict[str, Any]
    error: dict[str, str] | None
    is_hopeless: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What a meeting came to."""

    shares: _Shares
    rates_here: dict[str, float]
    reach_usd: float
    parts: int
    holds: dict[str, dict[str, Any]]
    resets: int
    answers: int
    elapsed_s: float
    is_stopped: bool


class Part:
    """One part of a job.

    Args:
        part: which one.
        entry: its name in the ledger.
        options: what all rows of the job share.
        workings: what it bears on.

    Attributes:
        is_over: the whole job was over when this part began: stored answers are taken, and nothing is bought.
    """

    def __init__(self, part: PartOf, entry: str, options: JobOptions, workings: Workings) -> None:
        self._job_id, self._entry, self._options, self._is = part.job_id, entry, options, workings
        self._process = f"{os.getpid()} {this_process().born} {this_process().host}"
        self._routes = {_name_of(route): route for route in options.chain.routes() if route.key is not None}
        self._told = {name: route for name, route in self._routes.items() if route.key and route.key.rpm}
        self._shares = _Shares(rates=dict.fromkeys(self._told, 0.0))
        self._heard_of: dict[str, float] = {}
        self._resets = self._answers = 0
        self._has_met = self.is_over = False
        workings.slots.set_ceiling(0)
        if options.budget_usd is not None:
            workings.rules.budget.limit_usd = 0.0

    async def keep_meeting(self) -> None:
        """Meet the others again and again."""
        while not self.is_over:
            await clock.current().sleep(_SHORT_S if self._is_short else MEETING_S)
            await self.meet()

    @property
    def _is_short(self) -> bool:
        """Whether rows wait for dollars that the others may give back."""
        budget, is_idle = self._is.rules.budget, not self._is.slots.in_flight
        is_lent = budget.limit_usd is not None and budget.reach_usd is not None and budget.limit_usd < budget.reach_usd
        return is_lent and is_idle and self._is.results.rows_left > 0

    async def meet(self) -> None:
        """Meet the others once; while the ledger cannot be written, the shares stay as they are."""
        standing, heard = self._standing(), []

        def decide(told: Told) -> Told:
            answer, came = self._decide(standing, told)
            heard.append(came)
            return answer

        try:
            goes_on = await self._met(decide)
        except LedgerBusyError:
            return
        self._heard_of.update({name: until_of(hold) for name, hold in standing.holds.items()})
        self._take(heard[-1] if heard else None, goes_on=goes_on)

    async def end(self) -> None:
        """Leave what it has done to the whole job, and give its shares back."""
        standing = self._standing()
        rates_here: dict[str, float] = {}

        def decide(told: Told) -> Told:
            rates_here.update(self._rates_here({}, told.others))
            whole = self._with_lost(told, spent=standing.spent_usd)
            whole["state"] = added(whole.get("state"), standing.state)
            return Told(whole={**whole, "holds": joined_holds(whole, standing.holds), **self._end_of(whole, standing)})

        for _ in range(_LAST_MEETINGS):
            with suppress(LedgerBusyError):
                await self._met(decide, is_last=True)
                break
        # the last part here gives the process back to whatever else it sends
        self._share_rates({name: rates_here.get(name) or _per_s(route) for name, route in self._told.items()})

    async def _met(self, decide: Decide, *, is_last: bool = False) -> bool:
        async with clock.current().timeout(None):
            return await asyncio.to_thread(
                self._is.ledger.meet, self._job_id, decide, part_id=self._entry, is_last=is_last
            )

    # --- what is told -------------------------------------------------------------------------------------------

    def _standing(self) -> _Standing:
        rules, now = self._is.rules, clock.current().now()
        budget = rules.budget
        spent = budget.spent_usd + budget.unknown_usd
        return _Standing(
            rows_left=0 if rules.is_ending else self._is.results.rows_left,
            in_flight=self._is.slots.in_flight,
            spent_usd=spent,
            least_usd=spent + self._is.reserved_usd(),
            unit_usd=budget.unit_usd,
            holds={name: told for name, told in self._holds_at(now) if self._is_news(name, told)},
            state=report_of(self._is.snapshot(), self._is.slots.in_flight),
            error=None if rules.error is None else {"kind": type(rules.error).__name__, "words": str(rules.error)},
            is_hopeless=rules.is_hopeless,
        )

    def _holds_at(self, now: float) -> list[tuple[str, dict[str, Any]]]:
        keys = {route.key.secret: name for name, route in self._routes.items() if route.key is not None}
        since_1970 = clock.current().utc().timestamp() - now
        return [
            hold_told(hold, keys, since_1970)
            for hold in self._is.health.holds(now)
            if hold.kind in _TRAVELS
            and hold.is_active(now)
            and (hold.scope.secret is None or hold.scope.secret in keys)
        ]

    def _is_news(self, name: str, told: dict[str, Any]) -> bool:
        return until_of(told) > self._heard_of.get(name, 0.0) + _SAME_S

    # --- at the meeting, on the writer's thread -----------------------------------------------------------------

    def _decide(self, standing: _Standing, told: Told) -> tuple[Told, _Heard]:
        whole = self._with_lost(told)
        shares = self._shares_of(standing, whole, told)
        before = self._shares
        mine = {
            "process": self._process,
            "wants": standing.rows_left,
            # until the meeting is over it may use what it had: that is free for the others at the next one
            "slots": max(shares.slots, before.slots, standing.in_flight if self._has_met else 0),
            "rates": {name: max(rate, before.rates[name]) for name, rate in shares.rates.items()},
            "usd": max(shares.usd, before.usd),
            "spent": standing.spent_usd,
            "state": standing.state,
        }
        is_reset = whole.get("resets", 0) > self._resets  # what is held here from before that is dropped
        holds = joined_holds(whole, {} if is_reset else standing.holds)
        whole = {**whole, "holds": holds, **self._end_of(whole, standing)}
        heard = _Heard(
            shares=shares,
            rates_here=self._rates_here(shares.rates, told.others),
            reach_usd=(self._options.budget_usd or 0.0)
            - whole["usd"]
            - told.silent_usd
            - sum(other.get("spent", 0.0) for other in told.others),
            parts=1 + len(told.others),
            holds=whole["holds"],
            resets=whole.get("resets", 0),
            answers=sum(map(answers_of, [whole.get("state", {}), *(other.get("state", {}) for other in told.others)])),
            elapsed_s=whole.get("elapsed_s", 0.0),
            is_stopped=bool(whole.get("is_stopped")),
        )
        return Told(whole=whole, mine=mine), heard

    def _rates_here(self, own: dict[str, float], others: list[dict[str, Any]]) -> dict[str, float]:
        """Return what all parts in this process together may send with each key."""
        here = [other.get("rates", {}) for other in others if other.get("process") == self._process]
        return {name: own.get(name, 0.0) + sum(rates.get(name, 0.0) for rates in here) for name in self._told}

    def _share_rates(self, rates: dict[str, float]) -> None:
        for name, rate in rates.items():
            self._is.health.share_rate(self._told[name], rate)

    def _with_lost(self, told: Told, spent: float = 0.0) -> dict[str, Any]:
        """Return the whole job's report with what ended parts have spent; of a lost one that is not known exactly."""
        usd = told.whole.get("usd", 0.0) + spent + sum(lost.get("usd", 0.0) for lost in told.lost)
        return {**told.whole, "usd": usd}

    def _end_of(self, whole: dict[str, Any], standing: _Standing) -> dict[str, Any]:
        """Return what ends the whole job early: an error that this part would raise, or that nothing helps any row."""
        if standing.error is not None and not whole.get("error"):
            return {"error": standing.error, "is_stopped": True}
        return {"is_stopped": True} if standing.is_hopeless else {}

    def _shares_of(self, standing: _Standing, whole: dict[str, Any], told: Told) -> _Shares:
        others = told.others
        total = self._options.concurrency or LARGEST
        wanted = [(other.get("wants", 0), other.get("slots", 0)) for other in others]
        if not self._has_met:  # parts that begin with this one get their shares at once
            wanted += [(total, 0)] * max(0, whole.get("at_once", 1) - 1 - len(others))
        slots = slots_taken(total, standing.rows_left, wanted)
        senders = 1 + sum(1 for want, _ in wanted if want)
        rates = {
            name: rate_taken(_per_s(route), [other.get("rates", {}).get(name, 0.0) for other in others], parts=senders)
            for name, route in self._told.items()
        }
        return _Shares(slots=slots, rates=rates, usd=self._usd_of(standing, whole, told, slots))

    def _usd_of(self, standing: _Standing, whole: dict[str, Any], told: Told, slots: int) -> float:
        if self._options.budget_usd is None:
            return 0.0
        return usd_taken(
            self._options.budget_usd,
            standing.least_usd,
            standing.unit_usd,
            requests=_AHEAD * min(slots, standing.rows_left),
            held=whole.get("usd", 0.0) + told.silent_usd + sum(other.get("usd", 0.0) for other in told.others),
            others=sum(1 for other in told.others if other.get("wants")),
        )

    # --- after the meeting, on the loop -------------------------------------------------------------------------

    def _take(self, heard: _Heard | None, *, goes_on: bool) -> None:
        if heard is None or not goes_on or heard.is_stopped:
            if self._has_met:
                self._is.rules.end("")
                self._is.cancel()
            self.is_over = not self._has_met
            return
        if not self._has_met:
            self._is.rules.began_before(heard.elapsed_s)
        elif heard.answers > self._answers:  # rows of all parts are each other's evidence
            self._is.rules.answered()
        self._answers = heard.answers
        self._has_met = True
        self._shares = heard.shares
        self._hear_resets(heard)
        self._share_rates(heard.rates_here)
        if self._options.budget_usd is not None:
            budget = self._is.rules.budget
            budget.limit_usd, budget.reach_usd = heard.shares.usd, heard.reach_usd
            budget.most_unbounded = max(1, MOST_UNBOUNDED // heard.parts)
        self._hear_holds(heard)
        self._is.slots.set_ceiling(heard.shares.slots)

    def _hear_resets(self, heard: _Heard) -> None:
        known = self._is.health.resets_told
        if known.setdefault(self._job_id, heard.resets) < heard.resets:  # another part here may have done it
            known[self._job_id] = heard.resets
            self._is.health.reset()
        if self._resets < heard.resets:
            self._resets = heard.resets
            self._heard_of.clear()  # what was dropped is news again

    def _hear_holds(self, heard: _Heard) -> None:
        keys = {name: route.key.secret for name, route in self._routes.items() if route.key is not None}
        now = clock.current().now()
        since_1970 = clock.current().utc().timestamp() - now
        for name, told in heard.holds.items():
            if self._is_news(name, told):
                self._heard_of[name] = until_of(told)
                if (hold := hold_heard(told, keys, now, since_1970)) is not None:
                    self._is.health.adopt(hold)


def _name_of(route: Route) -> str:
    """Return a key's name in all processes, which never shows the key."""
    return f"{route.backend} {route.key.label}" if route.key else route.backend


def _per_s(route: Route) -> float:
    return (route.key.rpm or 0.0) / 60 if route.key else 0.0
