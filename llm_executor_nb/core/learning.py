"""What a run's moves and their verdicts do to its memory and to the holds: the counterpart of `moves`.

`moves.next_move` decides where a run goes, and only reads. `Learning` writes: what a probe marks, what a wait or a
verdict changes. Rules are those of design 3.1 to 3.3. A hold rests only on what is true of the next request too, and
rows of a job are each other's evidence. Pure: nothing is sent, waited for or recorded here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llm_executor_nb.core.holds import HoldKind, RouteStatus
from llm_executor_nb.core.moves import RetryPlan
from llm_executor_nb.core.needs import is_about_another
from llm_executor_nb.core.outcomes import RULES, NextStep, Outcome, ScopeLevel
from llm_executor_nb.core.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llm_executor_nb.core.backoff import Backoff
    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.moves import Go, RunMemory, Wait
    from llm_executor_nb.core.records import Route, Scope
    from llm_executor_nb.core.traffic import SendRecord

_STREAK = 8
_STREAK_ON_LAST_ROUTE = 16
_USELESS_ANSWERS = 2
"""Answers of one route that may be paid for and be of no use (design 3.1)."""
_UNCHARGED_LIMITS = 5
"""Rate limits of a row that use up no retry although others were answered since its first one."""
_UNCHARGED_OVERLOADS = 2
"""Refusals for too much at once that use up no retry; they are charged later if the row fails by itself."""
_OF_TOO_MUCH = (Outcome.OVERLOADED, Outcome.CONNECTION)
"""How a server fails that takes no more at once; a rate limit slows the key instead."""


class Learning:
    """Lets one run's memory, and the holds, learn from what the run does.

    Args:
        run: the run's memory.
        health: the holds, shared by all runs.
        make_backoff: makes the retries of a route from it and the time its first request was sent.
        retries: how many answers may be paid for in vain after the first, in the whole run.
        rows_left: returns how many rows of the job have no result yet.
    """

    def __init__(
        self,
        run: RunMemory,
        health: Health,
        *,
        make_backoff: Callable[[Route, float], Backoff],
        retries: int,
        rows_left: Callable[[], int],
    ) -> None:
        self._run, self._health = run, health
        self._make_backoff, self._retries, self._rows_left = make_backoff, retries, rows_left

    # --- moves ----------------------------------------------------------------------------------------------------

    def begin(self, move: Go, now: float) -> tuple[Scope, ...]:
        """Begin an attempt; return the scopes that it probes."""
        run = self._run
        if run.is_by_hand:
            run.current = move.route
        probe = self._health.begin_probe(move.route, now, run.needs) if move.is_probe else ()
        run.probed.update(probe)
        return probe

    def sent(self, route: Route, now: float) -> SendRecord:
        """Note that a request goes out."""
        return self._health.traffic.sent(route, now, self._run)

    def cut(self, probe: Iterable[Scope], now: float) -> None:
        """Take in that the run's own deadline ended an attempt: nothing is known about the route, the run is over."""
        self._run.deadline = now
        self._health.end_probe(probe, now, is_lifted=False)

    def begin_wait(self, move: Wait) -> None:
        """Begin a wait: in the queue for a slot of the route's key, or in no queue."""
        self._queue_for(move.route if move.is_for_slot else None)

    def end_wait(self, move: Wait, now: float) -> None:
        """Take in a wait that is over; a change of the holds may have ended it early."""
        run = self._run
        run.keeps_rate = run.keeps_rate or move.is_told
        # design 3.2: by hand a run waits for held routes for one round only
        if run.is_by_hand and run.current is None and now >= move.until and not move.is_for_slot:
            run.has_waited = True

    def joined(self, route: Route, scopes: Iterable[Scope], now: float) -> None:
        """Take in the end of another run's probe, for which this run waited: if it failed, it was this run's too.

        Args:
            route: the route that was probed.
            scopes: what was held when the wait began.
            now: when it ended.
        """
        run = self._run
        run.keeps_rate = True
        status, hold = self._health.status(route, now, run.needs)
        # a hold without a time of its probe: the probe was cancelled, and nothing is known
        if status is not RouteStatus.HELD or hold is None or hold.probed_at is None:
            return
        if run.current is None:
            run.probed.update(scopes)
            run.is_over = run.has_waited
        else:
            verdict = Verdict(outcome=hold.why, message=hold.message)
            self._plan_retry(route, verdict, now, now, retry_after_s=hold.left_s(now))

    def end(self) -> None:
        """Take the run out of the queue that it waits in."""
        self._queue_for(None)

    def _queue_for(self, route: Route | None) -> None:
        run, traffic = self._run, self._health.traffic
        if run.queued_for is not None and run.queued_for is not route:
            traffic.leave_queue(run.queued_for, run)
        if route is not None:
            traffic.join_queue(route, run)
        run.queued_for = route

    # --- verdicts -------------------------------------------------------------------------------------------------

    def learn(self, move: Go, probe: Iterable[Scope], verdict: Verdict, sent: SendRecord, now: float) -> None:
        """Take in a verdict.

        Args:
            move: the move that was carried out.
            probe: what `begin` returned for it.
            verdict: its verdict.
            sent: the request, as `sent` returned it.
            now: when the verdict came.
        """
        rule = RULES[verdict.outcome]
        try:
            if rule.follow is NextStep.ACCEPT:
                self._answered(move.route, verdict, sent, now)
                return
            self._run.failures += 1
            self._learn_failure(move, verdict, sent, now)
            self._run.first_failed_at.setdefault(move.route, sent.at)
        finally:
            # design 3.2: a reply that gives no reason for a hold lifts it
            self._health.end_probe(probe, now, is_lifted=True, has_failed=rule.is_transient)

    def _learn_failure(self, move: Go, verdict: Verdict, sent: SendRecord, now: float) -> None:
        route, rule = move.route, RULES[verdict.outcome]
        if rule.is_transient and is_about_another(verdict, self._run.needs):  # it holds nothing (design 3.1, blame)
            self._plan_retry(route, verdict, sent.at, now, retry_after_s=verdict.retry_after_s)
            return
        if verdict.outcome is Outcome.RATE_LIMITED or (verdict.retry_after_s is not None and rule.is_transient):
            self._asked_to_wait(move, verdict, sent, now)
            return
        match rule.follow:
            case NextStep.MOVE:
                self._condemned(move, verdict, now)
            case NextStep.NEXT_PROVIDER:
                self._refused(route)
            case NextStep.NEXT_BACKEND:
                self._too_long(route)
            case NextStep.REFUSE:
                self._run.is_refused = True
            case NextStep.ONCE_MORE:
                self._unusable(route, verdict, sent, now)
            case _:
                self._failed(move, verdict, sent, now)

    # --- answers --------------------------------------------------------------------------------------------------

    def _answered(self, route: Route, verdict: Verdict, sent: SendRecord, now: float) -> None:
        health, traffic = self._health, self._health.traffic
        health.evidence.answered(route, sent.at, now)
        traffic.answered(route, sent, now)
        # a call by hand does not know how many more will follow it
        wanted = math.inf if self._run.is_by_hand else self._rows_left()
        traffic.learn_allowance(route, verdict.allowance, sent, now, wanted=wanted, ceiling_s=self._run.ceiling_s)
        held = health.of(route, sent.at, self._run.needs)
        if held and all(hold.kind is HoldKind.STREAK for hold in held):
            traffic.return_slowly(route)
            # an answer to a request that was sent before the streak says nothing about the route since
            health.lift([hold.scope for hold in held if sent.at >= hold.since], now)

    # --- refusals with a time -------------------------------------------------------------------------------------

    def _asked_to_wait(self, move: Go, verdict: Verdict, sent: SendRecord, now: float) -> None:
        """Hold what a provider asked to be left alone, then wait within the ceiling, else move on."""
        route, run, retry_after_s = move.route, self._run, verdict.retry_after_s
        is_limit = verdict.outcome is Outcome.RATE_LIMITED
        is_for_one_row = not is_limit and self._is_for_this_row_alone(move)
        # design 3.2: by hand a 429 without a time is a transient failure
        if is_for_one_row or (retry_after_s is None and run.is_by_hand):
            self._failed(move, verdict, sent, now)
            return
        if is_limit:
            self._slow_down(move, verdict, sent, now)
        scope = self._scope(route, verdict) or route.scope(ScopeLevel.ROUTE)
        self._health.tell(scope, verdict, now, is_probe=move.is_probe)
        run.own_holds.add(scope)
        if is_limit and not run.is_by_hand and self._is_uncharged(route):
            return
        self._end_round(move)
        if retry_after_s is not None and retry_after_s > run.ceiling_s:
            run.leave(route)
            return
        self._plan_retry(route, verdict, sent.at, now, retry_after_s=retry_after_s)

    def _is_for_this_row_alone(self, move: Go) -> bool:
        """Whether only this row keeps the time that a failure names, as nothing shows yet that others fail too."""
        # one row that a server chokes on must not hold up the others for as long as the server says each time
        if self._run.is_by_hand or move.is_probe:
            return False
        others = self._health.traffic.in_flight(move.route, ScopeLevel.ROUTE)
        return others > 0 or self._is_own_fault() or not self._health.evidence.is_in_doubt((move.route,))

    def _slow_down(self, move: Go, verdict: Verdict, sent: SendRecord, now: float) -> None:
        """Let a rate limit slow the key down, unless others fill the limit, or a failed probe met it."""
        self._run.keeps_rate = True
        if not move.is_probe and verdict.reach is not ScopeLevel.BACKEND:
            self._health.traffic.refused(move.route, sent, now)

    def _is_too_much(self, move: Go, verdict: Verdict, sent: SendRecord, now: float) -> bool:
        """Whether a refusal only says that too much was in flight: others were, or are, answered beside it."""
        run, traffic, route = self._run, self._health.traffic, move.route
        is_uncharged = run.uncharged[route] < _UNCHARGED_OVERLOADS and route not in run.backoffs
        if verdict.outcome not in _OF_TOO_MUCH or run.is_by_hand or move.is_probe or not is_uncharged:
            return False
        is_explained = traffic.overloaded(route, sent, now)
        is_alive = traffic.in_flight(route, ScopeLevel.ROUTE) > 0 or self._health.evidence.answered_at(route) >= sent.at
        return is_explained and is_alive

    def _is_uncharged(self, route: Route) -> bool:
        """Whether a rate limit uses up no retry; it does for a row that meets it often while others do not."""
        if self._is_own_fault():
            self._run.uncharged[route] += 1
        return self._run.uncharged[route] <= _UNCHARGED_LIMITS

    def _is_own_fault(self) -> bool:
        """Whether the row has failed on a route, this one or another, that has answered others since."""
        answered_at = self._health.evidence.answered_at
        return any(answered_at(route) >= first for route, first in self._run.first_failed_at.items())

    # --- refusals that stand --------------------------------------------------------------------------------------

    def _condemned(self, move: Go, verdict: Verdict, now: float) -> None:
        route = move.route
        if (scope := self._scope(route, verdict)) is not None:
            self._health.condemn(scope, verdict, now, is_probe=move.is_probe)
            self._run.own_holds.add(scope)
        self._end_round(move)
        self._run.leave(route)

    def _scope(self, route: Route, verdict: Verdict) -> Scope | None:
        is_alone = not self._health.traffic.in_flight(route, ScopeLevel.KEY)
        return self._health.evidence.scope(route, verdict, self._run.needs, is_alone=is_alone)

    def _refused(self, route: Route) -> None:
        """Ask the next provider, which may take what this one refused; if two refuse, the request is at fault."""
        run = self._run
        run.refused_by.add((route.backend, route.provider))
        run.is_refused = len(run.refused_by) > 1
        for other in run.routes():
            if (other.backend, other.provider) == (route.backend, route.provider):
                run.leave(other)

    def _too_long(self, route: Route) -> None:
        """Ask the next backend, whose context window may be longer; if two agree, the request is at fault."""
        run = self._run
        run.too_long_for.add(route.backend)
        run.is_refused = len(run.too_long_for) > 1
        for other in run.routes():
            if other.backend == route.backend:
                run.leave(other)

    # --- failures -------------------------------------------------------------------------------------------------

    def _unusable(self, route: Route, verdict: Verdict, sent: SendRecord, now: float) -> None:
        """Ask once more here, then elsewhere, within the retries of one route for the whole run: each was paid for."""
        run = self._run
        run.unusable[route] += 1
        if sum(run.unusable.values()) > self._retries:
            run.is_over = True
        elif run.unusable[route] >= _USELESS_ANSWERS:
            run.leave(route)
        else:
            self._plan_retry(route, verdict, sent.at, now)

    def _failed(self, move: Go, verdict: Verdict, sent: SendRecord, now: float) -> None:
        """Count a failure, and plan the retry or leave the route."""
        route, run = move.route, self._run
        is_transient = RULES[verdict.outcome].is_transient or verdict.outcome is Outcome.RATE_LIMITED
        # by hand a named time is a hold; a row keeps to it alone
        retry_after_s = None if run.is_by_hand else verdict.retry_after_s
        if is_transient and move.is_probe and not run.is_by_hand:
            self._row_probed_in_vain(route, verdict, now)
            self._plan_retry(route, verdict, sent.at, now, retry_after_s=retry_after_s)
            return
        if is_transient and move.is_probe and route not in run.backoffs:
            self._strike(route, verdict, now, is_probe=True)
            self._end_round(move)
            run.leave(route)
            return
        if self._is_too_much(move, verdict, sent, now):  # design 3.2: it uses up no retry of a row
            if not self._is_of_the_row(route, sent):
                self._health.evidence.excuse(route)
            run.uncharged[route] += 1
            run.ready_at[route] = now + (retry_after_s or 0.0)
            return
        if is_transient and not run.is_by_hand:
            self._count_in_streak(route, verdict, sent, now)
        is_too_long = verdict.retry_after_s is not None and verdict.retry_after_s > run.ceiling_s
        is_for_another = RULES[verdict.outcome].follow is NextStep.MOVE_THEN_RETRY and self._has_another(route, now)
        if is_too_long or is_for_another:
            run.leave(route)
            return
        # a hold that this very request probes is not set again by it
        is_held_at_end = is_transient and run.is_by_hand and not self._is_probed(route, verdict, now)
        self._plan_retry(route, verdict, sent.at, now, retry_after_s=retry_after_s, is_held_at_end=is_held_at_end)

    def _row_probed_in_vain(self, route: Route, verdict: Verdict, now: float) -> None:
        """Hold a route for longer, unless the only rows left to probe it fail by themselves."""
        # design 3.2: such rows use up their tries and end as failed, never with "on hold"
        if self._is_own_fault():
            self._health.lift([hold.scope for hold in self._health.of(route, now, self._run.needs)], now)
        else:
            self._strike(route, verdict, now, is_probe=True)

    def _count_in_streak(self, route: Route, verdict: Verdict, sent: SendRecord, now: float) -> None:
        """Count a failure in the route's streak, unless the row itself is at fault."""
        if self._is_of_the_row(route, sent):
            return
        streak = _STREAK if self._has_another(route, now) else _STREAK_ON_LAST_ROUTE
        others = self._health.traffic.in_flight(route, ScopeLevel.ROUTE)
        limit = max(1, min(max(streak, others + 1), 2 * self._rows_left()))
        if self._health.count_failure(route, now, limit=limit, is_last=not others):
            self._strike(route, verdict, now)

    def _is_of_the_row(self, route: Route, sent: SendRecord) -> bool:
        """Whether a failure says nothing of its route, because the row itself is at fault.

        It is if the route answered a request that was sent after this one. So is a row that fails again after a route
        where it failed has answered any other.
        """
        return self._health.evidence.proved_until(route) >= sent.at or self._is_own_fault()

    def _strike(self, route: Route, verdict: Verdict, now: float, *, is_probe: bool = False) -> None:
        scope = self._health.evidence.failing(route, verdict, self._run.needs)
        self._health.strike(scope, verdict, now, is_probe=is_probe)
        self._run.own_holds.add(scope)

    def _end_round(self, move: Go) -> None:
        """By hand, end the run after a failed probe if it has had its round of waiting."""
        if move.is_probe and move.route not in self._run.backoffs and self._run.has_waited:
            self._run.is_over = True

    def _plan_retry(
        self,
        route: Route,
        verdict: Verdict,
        sent_at: float,
        now: float,
        *,
        retry_after_s: float | None = None,
        is_held_at_end: bool = False,
    ) -> None:
        """Plan the next retry on a route. When it goes out, `plan_made` says: the wait strategy may be the user's."""
        run = self._run
        if route not in run.backoffs:
            run.backoffs[route] = self._make_backoff(route, sent_at)
            run.backoffs[route].charge(min(run.uncharged[route], _UNCHARGED_OVERLOADS))
        run.backoffs[route].failed(verdict, now)
        run.plan = RetryPlan(route, retry_after_s, held_at_end=verdict if is_held_at_end else None)

    def plan_made(self, seconds: float | None, now: float) -> None:
        """Take in how long the planned retry waits; None: the retries are used up, so the route is left."""
        run, plan = self._run, self._run.plan
        run.plan = None
        if plan is not None and seconds is not None:
            run.ready_at[plan.route] = now + seconds
        elif plan is not None:
            run.leave(plan.route)
            if plan.held_at_end is not None:
                self._strike(plan.route, plan.held_at_end, now)

    def _is_probed(self, route: Route, verdict: Verdict, now: float) -> bool:
        """Whether a request that is not settled yet probes the hold that a failure would set."""
        scope = self._health.evidence.failing(route, verdict, self._run.needs)
        return any(hold.is_probing and hold.scope == scope for hold in self._health.of(route, now, self._run.needs))

    def _has_another(self, route: Route, now: float) -> bool:
        """Whether a route other than this one can still be asked and is not held."""
        return any(
            other is not route and other not in self._run.used_up and not self._health.of(other, now, self._run.needs)
            for other in self._run.routes()
        )
