"""When a job ends before all its rows were asked: a hopeless cause, silence, long holds, or a budget.

The rules only say that the job must end and why. The runner then lets the requests in flight finish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core import advice, clock
from llm_executor_nb.core.errors import BudgetError, ConfigError, MachineError, PaidCallForbiddenError
from llm_executor_nb.core.holds import HoldKind, RouteStatus
from llm_executor_nb.core.outcomes import RULES, Outcome
from llm_executor_nb.engine.engine import until_changed
from llm_executor_nb.jobs.budget import Budget
from llm_executor_nb.jobs.rows import final_attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.errors import LLMExecutorError
    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.jobs.options import JobOptions
    from llm_executor_nb.jobs.rows import RowRun

# design 3.3: the bounds of a job that has none of its own
SAME_CAUSE_ROWS = 20
NO_ANSWER_S = 600.0
_PAID_IN_VAIN = frozenset({Outcome.INVALID_OUTPUT, Outcome.REJECTED})
_GRACE_S, _GRACE_SHARE = 0.5, 0.1
"""How long after `budget_s` a request in flight may still be answered: it may be paid for already."""


class StopRules:
    """The rules for one job.

    Args:
        options: what all its rows share.
        health: the holds.
        notify: called when the job must end.

    Attributes:
        is_ending: the job must end.
        is_hopeless: the providers had nothing more to give; no bound of the user ended the job.
        note: why the job ends; empty: the error says it.
        error: the error that the job raises; None: it returns its frame.
        cut_at: the time on the clock after which requests in flight are cancelled; None: never.
        budget: its dollars.
        silent_since: the time on the clock of the last answer, or of the job's start.
    """

    def __init__(self, options: JobOptions, health: Health, notify: Callable[[], None]) -> None:
        self.is_ending = self.is_hopeless = False
        self.note = ""
        self.error: LLMExecutorError | None = None
        self.budget = Budget(options)
        self._options, self._health, self._notify = options, health, notify
        self._began = self._answered_at = clock.current().now()
        self.silent_since = self._began
        self._last_cause: Outcome | None = None
        self._causes: dict[Outcome, Attempt] = {}
        self._same_cause: tuple[Outcome | None, int] = (None, 0)
        self._in_vain: set[int | None] = set()
        budget = options.budget_s
        self._ends_at = None if budget is None else self._began + budget
        self.cut_at = None if budget is None else self._began + budget + max(_GRACE_S, _GRACE_SHARE * budget)

    def began_before(self, elapsed_s: float) -> None:
        """Count `budget_s` from the start of the whole job, which was so many seconds ago."""
        if self._ends_at is not None and self.cut_at is not None:
            self._ends_at -= elapsed_s
            self.cut_at -= elapsed_s

    # --- events of the job --------------------------------------------------------------------------------------

    def attempted(self, attempt: Attempt) -> None:
        """Record an attempt."""
        # a request that we cancelled says nothing of why rows fail
        if attempt.outcome is not Outcome.CANCELLED:
            self._last_cause = attempt.outcome
            self._causes[attempt.outcome] = attempt
        if attempt.outcome in _PAID_IN_VAIN:
            # by row and not by attempt: one row may pay in vain several times (design 3.1)
            self._in_vain.add(attempt.position)

    def answered(self) -> None:
        """Record an answer."""
        self._answered_at = self.silent_since = clock.current().now()
        self._forget_causes()

    def failed(self, error: LLMExecutorError, attempts: Sequence[Attempt]) -> None:
        """Record a failed row; end the job if the error would meet every other row too."""
        is_users_function = isinstance(error, ConfigError) and bool(attempts)  # a wait strategy or `accept=` raised
        is_local = isinstance(error, MachineError | PaidCallForbiddenError)
        if self._options.is_raising or is_users_function or is_local:
            self.error = error
            self.end("")
            return
        cause = _cause_of(error, attempts)
        if cause is None:  # it was not sent, so it tells nothing of the others
            return
        # design 3.3: only a cause that condemns, or answers that were paid for and useless, make a job hopeless.
        # Other failures may be the row's own, and one row never takes another row down (3.1).
        if RULES[cause].condemns is None and cause not in _PAID_IN_VAIN:
            self._forget_causes()
            return
        last, count = self._same_cause
        # invalid and rejected answers are one cause: both were paid for in vain (design 3.3)
        if last not in (None, cause) and not {last, cause} <= _PAID_IN_VAIN:
            self._forget_causes()
            count = 0
        self._same_cause = (cause, count + 1)
        if count + 1 >= SAME_CAUSE_ROWS:
            self.give_up(f"ended early: {count + 1} rows in a row failed for the same reason, {cause.value}", cause)

    def reset_silence(self) -> None:
        """Start the silence bound again: the wait so far was not caused by the providers."""
        self._answered_at = clock.current().now()

    @property
    def has_doubts(self) -> bool:
        """Whether no more rows may begin: those that paid in vain show first whether any answer is of use."""
        return len(self._in_vain) >= SAME_CAUSE_ROWS

    def has_money_for(self, run: RowRun, in_flight: Collection[RowRun]) -> bool:
        """Whether the budget lets a row send a request beside those in flight; ends the job when none ever will."""
        if self.budget.has_room_for(run, in_flight):
            return True
        if not in_flight and not self.budget.may_have_room_for(run):
            self.end_by_dollars(run)
        return False

    def end_by_dollars(self, run: RowRun | None = None) -> None:
        """End the job because its dollars are spent, or too few for the next request of a row."""
        self._end_over_budget(f"ended early: {self.budget.words(run)}")

    @property
    def silence_bound_s(self) -> float:
        """Seconds without an answer after which the job ends."""
        return max(NO_ANSWER_S, 2 * (self._options.timeout_s or 0.0))  # one slow attempt is not a silence

    def budget_left_s(self, now: float) -> float | None:
        """Return the seconds until `budget_s` ends the job; None: it has none."""
        return None if self._ends_at is None else max(0.0, self._ends_at - now)

    # --- ending -------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """End the job when its time is over, or when no answer has come or can come for too long."""
        longest = self.silence_bound_s
        while not self.is_ending:
            seen, now = self._health.changes, clock.current().now()
            if self._ends_at is not None and now >= self._ends_at:
                self._end_over_budget(f"ended early: its {self._options.budget_s:g} s are over")
                return
            if now >= self._answered_at + longest:
                self.give_up(f"ended early: no answer for {longest / 60:.0f} minutes", self._last_cause)
                return
            if (soonest := self._next_try_at(now)) - now > NO_ANSWER_S:
                note = f"ended early: every route is on hold, the soonest for {(soonest - now) / 60:.0f} minutes"
                self.give_up(note, self._last_cause)
                return
            ends = [self._answered_at + longest, *([] if self._ends_at is None else [self._ends_at])]
            await until_changed(self._health, min(ends), seen)

    def give_up(self, note: str, cause: Outcome | None) -> None:
        """End the job because the providers have nothing more to give; rows that were tried have failed."""
        # design 3.3: rows that were tried count as failed only if no bound of the user ended the job first
        self.is_hopeless = self.is_hopeless or not self.is_ending
        self.end(note if cause is None else f"{note} ({cause.value}: {self.next_step(cause)})")

    def end(self, note: str) -> None:
        """End the job; only the first reason counts."""
        if not self.is_ending:
            self.is_ending, self.note = True, note
            self._notify()

    def next_step(self, cause: Outcome) -> str:
        """Return what the user can do about an outcome of the job."""
        chain = self._options.chain
        return advice.next_step_after(cause, list(self._causes.values()), chain.own_urls, chain.model)

    def was_in_time(self) -> None:
        """Take back that a bound ended the job: all rows had a result by then."""
        if not self.is_hopeless and (self.error is None or isinstance(self.error, BudgetError)):
            self.note, self.error = "", None

    def _forget_causes(self) -> None:
        self._same_cause = (None, 0)
        self._in_vain.clear()

    def _end_over_budget(self, note: str) -> None:
        if self._options.is_raising and not self.is_ending:
            self.error = BudgetError(f"The job {note}. What was bought is stored; .result is the frame with it.")
        self.end(note)

    def _next_try_at(self, now: float) -> float:
        """Return when the next route can be asked: now, or at the end of a hold."""
        ends = []
        for route in self._options.chain.routes():
            status, hold = self._health.status(route, now)
            if hold is None or status is not RouteStatus.HELD:
                return now
            ends += [hold.until] if hold.kind is not HoldKind.CONDEMNED else []
        return min(ends, default=now)  # all are condemned: rows fail at once, and that needs no wait


def _cause_of(error: LLMExecutorError, attempts: Sequence[Attempt]) -> Outcome | None:
    """Return why a row failed; None: it was not sent. A useless answer counts before failures that cost nothing."""
    if not attempts:
        return Outcome(told) if (told := getattr(error, "outcome", "")) else None
    cause = final_attempt(error, attempts).outcome
    if RULES[cause].condemns is not None:
        return cause
    return next((one.outcome for one in reversed(attempts) if one.outcome in _PAID_IN_VAIN), cause)
