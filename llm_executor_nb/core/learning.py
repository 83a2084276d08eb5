"""What a verdict does to a run's memory and to the holds: the counterpart of `policy`, which only reads them.

`policy.next_move` decides where a run goes, `Learning.learn` takes in what came of it. The rules are those of the
design (3.1 to 3.3): a hold rests only on what is true of the next request too, and rows of a job are each other's
evidence. Nothing is sent, waited for or recorded here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.core.holds import HoldKind
from llm_executor_nb.core.needs import blamed
from llm_executor_nb.core.outcomes import RULES, NextStep, Outcome, ScopeLevel
from llm_executor_nb.core.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.core.backoff import Backoff
    from llm_executor_nb.core.holds import Health, Hold
    from llm_executor_nb.core.policy import Go, RunMemory
    from llm_executor_nb.core.records import Route, Scope

_STREAK = 8
_STREAK_ON_LAST_ROUTE = 16
_TRIES_PAID_IN_VAIN = 2
"""Answers of one route that may be paid for and be of no use."""
_SPARED = 5
"""Rate limits of a row that use up no retry although others were answered since its first one."""
_SPARED_FOR_TOO_MUCH = 2
"""Refusals for too much at once that use up none; if the row fails by itself then, they are counted after all."""
_OF_THE_KEY = (Outcome.AUTH, Outcome.FORBIDDEN)
_OF_TOO_MUCH = (Outcome.OVERLOADED, Outcome.CONNECTION)
"""What a server says or does that takes no more at once; for a rate limit there is the pace."""


@dataclass(frozen=True, slots=True)
class SendRecord:
    """When a request went out, and how many were in flight on its route then, itself included."""

    at: float
    in_flight: int


class Learning:
    """Lets one run's verdicts be learnt from.

    Args:
        run: the run's memory.
        health: the holds, shared by all runs.
        make_backoff: makes the retries of a route, given when its first request was sent.
        retries: how many times more an answer may be paid for in vain, in the whole run.
        rows_left: how many rows of the job have no result yet.
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

    def learn(self, move: Go, verdict: Verdict, sent: SendRecord, now: float) -> None:
        """Take in a verdict.

        Args:
            move: what was done.
            verdict: what came of it.
            sent: of the request.
            now: when the verdict came.

        Raises:
            ConfigError: the user's wait strategy, stop object or hook failed.
        """
        route, rule = move.route, RULES[verdict.outcome]
        if rule.follow is NextStep.ACCEPT:
            self._answered(route, verdict, sent, now)
            return
        self._run.failures += 1
        self._learn_failure(move, verdict, sent, now)
        self._run.first_failed_at.setdefault(route, sent.at)

    def joined_in_vain(self, route: Route, hold: Hold, now: float) -> None:
        """Count a probe that this run waited for in the midst of its retries, and that failed, as one of them."""
        verdict = Verdict(outcome=hold.why, message=hold.message)
        self._plan_retry(route, verdict, now, now, told_s=max(0.0, hold.until - now))

    def _learn_failure(self, move: Go, verdict: Verdict, sent: SendRecord, now: float) -> None:
        route, rule = move.route, RULES[verdict.outcome]
        if verdict.outcome is Outcome.RATE_LIMITED or (verdict.retry_after_s is not None and rule.is_transient):
            self._told(move, verdict, sent, now)
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
                self._paid_in_vain(route, verdict, sent, now)
            case _:
                self._failed(move, verdict, sent, now)

    # --- answers --------------------------------------------------------------------------------------------------

    def _answered(self, route: Route, verdict: Verdict, sent: SendRecord, now: float) -> None:
        health, traffic = self._health, self._health.traffic
        health.evidence.answered(route, sent.at, now)
        traffic.answered(route, now, sent.at, sent.in_flight)
        wanted = math.inf if self._run.is_by_hand else self._rows_left()
        traffic.told(route, verdict.allowance, now, sent.at, wanted=wanted, ceiling_s=self._run.ceiling_s)
        held = health.of(route, sent.at, self._run.needs)
        if held and all(hold.kind is HoldKind.STREAK for hold in held):
            traffic.return_slowly(route)
            health.lift([hold.scope for hold in held if sent.at >= hold.since], now)

    # --- refusals with a time -------------------------------------------------------------------------------------

    def _told(self, move: Go, verdict: Verdict, sent: SendRecord, now: float) -> None:
        """A provider asked to wait: hold what it speaks of, then wait within the ceiling, else move on."""
        route, run, told = move.route, self._run, verdict.retry_after_s
        if verdict.outcome is not Outcome.RATE_LIMITED and self._is_for_this_row_alone(move):
            self._failed(move, verdict, sent, now)
            return
        if told is None and run.is_by_hand:
            self._failed(move, verdict, sent, now)
            return
        is_limit = verdict.outcome is Outcome.RATE_LIMITED
        if is_limit:
            self._slow_down(move, verdict, sent, now)
        hold = self._health.tell(
            self._scope(route, verdict) or route.scope(ScopeLevel.ROUTE),
            now,
            why=verdict.outcome,
            message=verdict.message or "",
            seconds=told,
            is_probe=move.is_probe,
        )
        run.own_holds.add(hold.scope)
        if not run.is_by_hand and is_limit and self._is_spared(route):
            return
        self._end_round(move)
        if told is not None and told > run.ceiling_s:
            run.leave(route)
            return
        self._plan_retry(route, verdict, sent.at, now, told_s=told)

    def _is_for_this_row_alone(self, move: Go) -> bool:
        """Whether the time that goes with a failure is kept by this row alone: nobody shows yet that others fail too.

        One row that a server chokes on must not hold up the others for as long as the server says each time.
        """
        if self._run.is_by_hand or move.is_probe:
            return False
        others = self._health.traffic.in_flight(move.route, ScopeLevel.ROUTE)
        return others > 0 or self._is_own_fault() or not self._health.evidence.is_in_doubt((move.route,))

    def _slow_down(self, move: Go, verdict: Verdict, sent: SendRecord, now: float) -> None:
        """Let a rate limit slow the key down, unless others fill the limit, or a failed probe met it."""
        self._run.keeps_pace = True
        if not move.is_probe and verdict.reach is not ScopeLevel.BACKEND:
            self._health.traffic.refused(move.route, sent.at, now, sent.in_flight)

    def _is_too_much(self, move: Go, verdict: Verdict, sent: SendRecord, now: float) -> bool:
        """Whether a refusal only says that too much was in flight: others were, or are, answered beside it."""
        run, traffic, route = self._run, self._health.traffic, move.route
        is_spared = run.spared[route] < _SPARED_FOR_TOO_MUCH and route not in run.backoffs
        if verdict.outcome not in _OF_TOO_MUCH or run.is_by_hand or move.is_probe or not is_spared:
            return False
        is_explained = traffic.overloaded(route, now, sent.in_flight)
        is_alive = traffic.in_flight(route, ScopeLevel.ROUTE) > 0 or self._health.evidence.answered_at(route) >= sent.at
        return is_explained and is_alive

    def _is_spared(self, route: Route) -> bool:
        """Whether a rate limit uses up no retry: none does, but those of a row that meets it while others do not."""
        if self._is_own_fault():
            self._run.spared[route] += 1
        return self._run.spared[route] <= _SPARED

    def _is_own_fault(self) -> bool:
        """Whether the row has failed on a route, this one or another, that has answered others since."""
        answered_at = self._health.evidence.answered_at
        return any(answered_at(route) >= first for route, first in self._run.first_failed_at.items())

    # --- refusals that stand --------------------------------------------------------------------------------------

    def _condemned(self, move: Go, verdict: Verdict, now: float) -> None:
        route = move.route
        if (scope := self._scope(route, verdict)) is not None:
            self._health.condemn(
                scope,
                now,
                why=verdict.outcome,
                message=verdict.message or "",
                reset_s=verdict.retry_after_s,
                is_probe=move.is_probe,
            )
            self._run.own_holds.add(scope)
        self._end_round(move)
        self._run.leave(route)

    def _scope(self, route: Route, verdict: Verdict) -> Scope | None:
        """Return what a verdict speaks of beyond this request; None: of nothing."""
        reach = verdict.reach or RULES[verdict.outcome].condemns or ScopeLevel.ROUTE
        need = None
        if verdict.need is not None:
            need = blamed(verdict.need, self._run.needs, verdict.message or "")
            if need is None:
                return None
        if reach is ScopeLevel.REQUEST:
            return route.scope(ScopeLevel.KEY) if self._is_out_of_money(route, verdict) else None
        is_key = reach is ScopeLevel.KEY and verdict.outcome in _OF_THE_KEY
        if is_key and self._health.evidence.has_answered_another_model(route):
            reach = ScopeLevel.MODEL  # a gateway speaks of what is behind it
        return route.scope(reach).for_need(need)

    def _is_out_of_money(self, route: Route, verdict: Verdict) -> bool:
        """Whether a key could not pay for so many in a row that it is empty; what is in flight may yet be answered."""
        is_alone = verdict.outcome is Outcome.QUOTA and not self._health.traffic.in_flight(route, ScopeLevel.KEY)
        return is_alone and self._health.evidence.is_out_of_money(route)

    def _refused(self, route: Route) -> None:
        """Ask the next provider, who may take what this one refused; when two refuse, it is the request."""
        run = self._run
        run.refused_by.add((route.backend, route.provider))
        run.is_refused = len(run.refused_by) > 1
        for other in run.routes():
            if (other.backend, other.provider) == (route.backend, route.provider):
                run.leave(other)

    def _too_long(self, route: Route) -> None:
        """Ask the next backend, whose window may be longer; when two agree, it is the request."""
        run = self._run
        run.too_long_for.add(route.backend)
        run.is_refused = len(run.too_long_for) > 1
        for other in run.routes():
            if other.backend == route.backend:
                run.leave(other)

    # --- failures -------------------------------------------------------------------------------------------------

    def _paid_in_vain(self, route: Route, verdict: Verdict, sent: SendRecord, now: float) -> None:
        """Ask once more here, then elsewhere, and not more often than the retries of one route: each was paid for."""
        run = self._run
        run.paid_in_vain[route] += 1
        if run.paid_in_vain.total() > self._retries:
            run.is_over = True
        elif run.paid_in_vain[route] >= _TRIES_PAID_IN_VAIN:
            run.leave(route)
        else:
            self._plan_retry(route, verdict, sent.at, now)

    def _failed(self, move: Go, verdict: Verdict, sent: SendRecord, now: float) -> None:
        """Count a failure, and plan the retry or leave the route."""
        route, run = move.route, self._run
        is_transient = RULES[verdict.outcome].is_transient or verdict.outcome is Outcome.RATE_LIMITED
        if is_transient and move.is_probe and not run.is_by_hand:
            self._probed_in_vain(route, verdict, now)
            self._plan_retry(route, verdict, sent.at, now, told_s=self._told_s(verdict))
            return
        if is_transient and move.is_probe and route not in run.backoffs:
            self._strike(route, verdict, now, is_probe=True)
            self._end_round(move)
            run.leave(route)
            return
        if self._is_too_much(move, verdict, sent, now):
            run.spared[route] += 1
            run.ready_at[route] = now + (self._told_s(verdict) or 0.0)
            return
        if is_transient and not run.is_by_hand:
            self._count(route, verdict, sent, now)
        if RULES[verdict.outcome].follow is NextStep.MOVE_THEN_RETRY and self._has_another(route, now):
            run.leave(route)
            return
        told = verdict.retry_after_s
        if told is not None and told > run.ceiling_s:
            run.leave(route)
            return
        is_planned = self._plan_retry(route, verdict, sent.at, now, told_s=self._told_s(verdict))
        if not is_planned and is_transient and run.is_by_hand:
            self._strike(route, verdict, now)

    def _told_s(self, verdict: Verdict) -> float | None:
        """Return the time that a row of a job keeps to alone; by hand a told time is a hold."""
        return None if self._run.is_by_hand else verdict.retry_after_s

    def _probed_in_vain(self, route: Route, verdict: Verdict, now: float) -> None:
        """Hold a route for longer, unless only rows are left to probe it that fail by themselves: then it is theirs."""
        if self._is_own_fault():
            self._health.lift([hold.scope for hold in self._health.of(route, now)], now)
        else:
            self._strike(route, verdict, now, is_probe=True)

    def _count(self, route: Route, verdict: Verdict, sent: SendRecord, now: float) -> None:
        """Count a failure in the route's streak, unless it is the row's own.

        It is when the route answered a request that was sent after this one, and of a row that fails again when a
        route where it failed has answered anybody since.
        """
        if self._health.evidence.proved_until(route) >= sent.at or self._is_own_fault():
            return
        is_last = not self._has_another(route, now)
        limit = max(
            _STREAK_ON_LAST_ROUTE if is_last else _STREAK, self._health.traffic.in_flight(route, ScopeLevel.ROUTE) + 1
        )
        limit = max(1, min(limit, 2 * self._rows_left()))
        if self._health.count_failure(route, now, limit=limit):
            self._strike(route, verdict, now)

    def _strike(self, route: Route, verdict: Verdict, now: float, *, is_probe: bool = False) -> None:
        scope = route.scope(ScopeLevel.ROUTE)
        self._health.strike(scope, now, why=verdict.outcome, message=verdict.message or "", is_probe=is_probe)
        self._run.own_holds.add(scope)

    def _end_round(self, move: Go) -> None:
        """By hand, let a failed probe be the last one if the run has had its round of waiting."""
        if move.is_probe and move.route not in self._run.backoffs and self._run.has_waited:
            self._run.is_over = True

    def _plan_retry(
        self, route: Route, verdict: Verdict, sent_at: float, now: float, *, told_s: float | None = None
    ) -> bool:
        """Plan the next retry on a route; leave it, and say so, when its retries are used up."""
        run = self._run
        if route not in run.backoffs:
            run.backoffs[route] = self._make_backoff(route, sent_at)
            run.backoffs[route].charge(min(run.spared[route], _SPARED_FOR_TOO_MUCH))
        seconds = run.backoffs[route].after_failure(verdict, now, told_s=told_s)
        if seconds is None:
            run.leave(route)
            return False
        run.ready_at[route] = now + seconds
        return True

    def _has_another(self, route: Route, now: float) -> bool:
        """Whether a route other than this one is still to be asked and not held."""
        return any(
            other is not route and other not in self._run.used_up and not self._health.of(other, now, self._run.needs)
            for other in self._run.routes()
        )
