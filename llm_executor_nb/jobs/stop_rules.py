"""When a job ends before all its rows were asked: a hopeless cause, silence, holds without end, or a budget.

It only says that the job is to end and why; the job lets what is in flight come to its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core import advice, clock
from llm_executor_nb.core.errors import BudgetError, ConfigError, PaidCallForbiddenError
from llm_executor_nb.core.holds import HoldKind, RouteStatus
from llm_executor_nb.core.outcomes import RULES, Outcome
from llm_executor_nb.engine.waiting import until_changed
from llm_executor_nb.jobs.rows import ended_by
from llm_executor_nb.view.text import dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.errors import LLMExecutorError
    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.jobs.options import JobOptions

SAME_CAUSE_ROWS = 20
NO_ANSWER_S = 600.0
_PAID_IN_VAIN = frozenset({Outcome.INVALID_OUTPUT, Outcome.REJECTED})
_GRACE_S, _GRACE_SHARE = 0.5, 0.1
"""How long after `budget_s` what is in flight may still come in."""


class StopRules:
    """Watches over one job.

    Args:
        order: what all its rows share.
        health: the holds.
        stir: called when the job is to end.

    Attributes:
        is_set: the job is to end.
        is_hopeless: nothing more was to be had from the providers; it was no bound of the user's.
        note: why; empty: the error says it.
        error: what the job ends with; None: its frame.
        cut_at: the time on the clock after which nothing in flight is waited for; None: there is none.
        spent_usd: what its attempts have cost, as far as it is known.
        silent_since: the time on the clock of the last answer, or of the job's beginning.
    """

    def __init__(self, order: JobOptions, health: Health, stir: Callable[[], None]) -> None:
        self.is_set = self.is_hopeless = False
        self.note = ""
        self.error: LLMExecutorError | None = None
        self.spent_usd = 0.0
        self._order, self._health, self._stir = order, health, stir
        self._began = self._answered_at = clock.current().now()
        self.silent_since = self._began
        self._answers = 0
        self._last_cause: Outcome | None = None
        self._causes: dict[Outcome, Attempt] = {}
        self._same_cause: tuple[Outcome | None, int] = (None, 0)
        budget = order.budget_s
        self._ends_at = None if budget is None else self._began + budget
        self.cut_at = None if budget is None else self._began + budget + max(_GRACE_S, _GRACE_SHARE * budget)

    # --- what the job tells -------------------------------------------------------------------------------------

    def attempted(self, attempt: Attempt) -> None:
        """Take in an attempt."""
        if attempt.outcome is not Outcome.CANCELLED:
            self._last_cause = attempt.outcome
            self._causes[attempt.outcome] = attempt
        self.spent_usd += self._order.prices.at_most_usd(attempt)

    def answered(self) -> None:
        """Take in an answer."""
        self._answered_at = self.silent_since = clock.current().now()
        self._same_cause = (None, 0)
        self._answers += 1

    def failed(self, error: LLMExecutorError, attempts: Sequence[Attempt]) -> None:
        """Take in that a row failed."""
        is_settings = isinstance(error, ConfigError) and bool(attempts)  # a strategy or predicate: every row would fail
        if self._order.is_raising or is_settings or isinstance(error, PaidCallForbiddenError):
            self.error = error
            self.end("")
            return
        cause = _cause_of(error, attempts)
        if cause is None or (RULES[cause].condemns is None and cause not in _PAID_IN_VAIN):
            self._same_cause = (None, 0)
            return
        is_same = self._same_cause[0] is cause or {self._same_cause[0], cause} <= _PAID_IN_VAIN
        count = self._same_cause[1] + 1 if is_same else 1
        self._same_cause = (cause, count)
        if count >= SAME_CAUSE_ROWS:
            self.give_up(f"ended early: {count} rows in a row failed for the same reason, {cause.value}", cause)

    def pardon(self) -> None:
        """Forget the silence so far: it was not the providers'."""
        self._answered_at = clock.current().now()

    def has_money_for(self, in_flight: int) -> bool:
        """Say whether one more request fits the budget, beside those in flight; end the job when none ever will."""
        budget = self._order.budget_usd
        if budget is None:
            return True
        if not self._answers:  # nobody knows yet what an answer costs, so the first is asked for alone
            return not in_flight and self.spent_usd < budget
        each = self.spent_usd / self._answers
        if self.spent_usd < budget and self.spent_usd + each * (in_flight + 1) <= budget:
            return True
        if not in_flight:
            self.use_up()
        return False

    @property
    def is_used_up(self) -> bool:
        """Say whether the dollars are spent."""
        return self._order.budget_usd is not None and self.spent_usd >= self._order.budget_usd

    def use_up(self) -> None:
        """End the job because its dollars are spent, or too few for one more request."""
        budget, spent = dollars(self._order.budget_usd), dollars(self.spent_usd)
        self._over_budget(f"ended early: its budget of {budget} is used up, {spent} spent")

    @property
    def silence_bound_s(self) -> float:
        """Seconds without an answer after which the job ends."""
        return max(NO_ANSWER_S, 2 * (self._order.timeout_s or 0.0))

    def budget_left_s(self, now: float) -> float | None:
        """Return the seconds until `budget_s` ends the job; None: it has none."""
        return None if self._ends_at is None else max(0.0, self._ends_at - now)

    # --- ending -------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """End the job when its time is over, no answer has come for too long, or none can come for too long."""
        longest = self.silence_bound_s
        while not self.is_set:
            seen, now = self._health.changes, clock.current().now()
            if self._ends_at is not None and now >= self._ends_at:
                self._over_budget(f"ended early: its {self._order.budget_s:g} s are over")
                return
            if now >= self._answered_at + longest:
                self.give_up(f"ended early: no answer for {longest / 60:.0f} minutes", self._last_cause)
                return
            if (soonest := self._soonest(now)) - now > NO_ANSWER_S:
                words = f"ended early: every route is on hold, the soonest for {(soonest - now) / 60:.0f} minutes"
                self.give_up(words, self._last_cause)
                return
            ends = [self._answered_at + longest, *([] if self._ends_at is None else [self._ends_at])]
            await until_changed(self._health, min(ends), seen)

    def give_up(self, note: str, cause: Outcome | None) -> None:
        """Let the job end because its providers bring nothing more; rows that were tried have failed."""
        self.is_hopeless = self.is_hopeless or not self.is_set
        self.end(note if cause is None else f"{note} ({cause.value}: {self._step(cause)})")

    def end(self, note: str) -> None:
        """Let the job end; the first reason counts."""
        if not self.is_set:
            self.is_set, self.note = True, note
            self._stir()

    def was_in_time(self) -> None:
        """Take back that a bound ended the job: every row had come to its end."""
        if not self.is_hopeless and (self.error is None or isinstance(self.error, BudgetError)):
            self.note, self.error = "", None

    def _step(self, cause: Outcome) -> str:
        return advice.next_step_after(cause, list(self._causes.values()), self._order.chain.own_urls)

    def _over_budget(self, words: str) -> None:
        if self._order.is_raising and not self.is_set:
            self.error = BudgetError(f"The job {words}. What was bought is kept; .result is the frame with it.")
        self.end(words)

    def _soonest(self, now: float) -> float:
        """Return when the next route can be asked: now, at the end of a hold, or (all condemned) now, to fail."""
        ends = []
        for route in self._order.chain.routes():
            standing, hold = self._health.status(route, now)
            if hold is None or standing is not RouteStatus.HELD:
                return now
            ends += [hold.until] if hold.kind is not HoldKind.CONDEMNED else []
        return min(ends, default=now)


def _cause_of(error: LLMExecutorError, attempts: Sequence[Attempt]) -> Outcome | None:
    cause = ended_by(error, attempts).outcome.value if attempts else getattr(error, "outcome", "")
    return Outcome(cause) if cause else None
