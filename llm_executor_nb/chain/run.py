"""One run as it goes: what it has tried, what it has learnt, and the lines it leaves in the attempt log."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_executor_nb.chain import tracing
from llm_executor_nb.chain.phrasing import Phrasing
from llm_executor_nb.core import clock
from llm_executor_nb.core.backoff import Backoff
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.holds import Kind
from llm_executor_nb.core.outcomes import RULES, Decision, Follow, Outcome, Reach
from llm_executor_nb.core.policy import Go, Join, RunMemory, Stop, Wait
from llm_executor_nb.core.records import Attempt, FaultKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from opentelemetry.trace import Span

    from llm_executor_nb.chain.ask import Ask
    from llm_executor_nb.chain.sink import Sink
    from llm_executor_nb.core.holds import Health, Hold
    from llm_executor_nb.core.policy import Move
    from llm_executor_nb.core.records import Route
    from llm_executor_nb.settings.config import Config

_log = logging.getLogger("llm_executor_nb")
_STREAK = 8
_STREAK_ON_LAST_ROUTE = 16


class Run:
    """The state of one request on its way down a chain."""

    def __init__(self, ask: Ask, health: Health, config: Config, now: float, sink: Sink | None = None) -> None:
        self.ask = ask
        self.sink = sink
        self.is_interrupted = False
        self.attempts: list[Attempt] = []
        self.context_refusals: list[Attempt] = []
        self.is_refused = False
        self.broken: ConfigError | None = None
        self.waited_s = 0.0
        self.span: Span | None = None
        self.phrasing = None if ask.schema is None else Phrasing(ask.schema, ask.payload, health.declined)
        self.memory = RunMemory(
            tiers=ask.chain.tiers,
            is_by_hand=ask.is_by_hand,
            ceiling_s=config.retry_after_ceiling_s,
            deadline=None if ask.deadline_s is None else now + ask.deadline_s,
        )
        self._health = health
        self._config = config
        self._backoffs: dict[Route, Backoff] = {}
        self._asked: set[Route] = set()
        self._too_long_for: set[str] = set()
        self._queued_for: Route | None = None
        self._sent_at = now
        self._sent_utc: datetime = clock.current().utc()
        self._wait_before = 0.0

    # --- sending ------------------------------------------------------------------------------------------------

    def begin(self, route: Route) -> None:
        """Note that an attempt on a route begins."""
        self._wait_before, self.waited_s = self.waited_s, 0.0
        self._asked.add(route)
        if self.ask.is_by_hand:
            self.memory.current = route

    def order(self, route: Route, *, is_native: bool) -> Ask:
        """Return what a route is asked now: a schema natively, if it may be, or in words."""
        if self.phrasing is None:
            return self.ask
        return replace(self.ask, payload=self.phrasing.payload(route, is_native=is_native))

    def sent(self, route: Route, now: float) -> None:
        """Note when the request goes out."""
        self._sent_at, self._sent_utc = now, clock.current().utc()
        self._health.traffic.sent(route, now, self.memory)
        self.span = tracing.begin(self.ask, route, self._config, is_stream=self.sink is not None)

    def queue_for(self, route: Route | None) -> None:
        """Wait in the queue for the pace of a route's key, and in no other; None: in none."""
        if self._queued_for is not None and self._queued_for is not route:
            self._health.traffic.leave_queue(self._queued_for, self.memory)
        if route is not None:
            self._health.traffic.join_queue(route, self.memory)
        self._queued_for = route

    def bound_s(self, now: float) -> float | None:
        """Return how long the attempt may take: the timeout, or what the deadline leaves."""
        left = None if self.memory.deadline is None else max(0.0, self.memory.deadline - now)
        bounds = [bound for bound in (self.ask.timeout_s, left) if bound is not None]
        return min(bounds, default=None)

    def is_cut_by_deadline(self, verdict: Verdict, now: float) -> bool:
        """Say whether the run's own deadline, not the provider's silence, ended an attempt; the run is over then."""
        is_cut = verdict.error_code == FaultKind.DEADLINE.value
        if self.sink is None and verdict.error_code == FaultKind.TIMEOUT.value and self.memory.deadline is not None:
            is_cut = self.ask.timeout_s is None or self.ask.timeout_s > self.memory.deadline - self._sent_at
        if is_cut:
            self.memory.deadline = now
        return is_cut

    # --- learning -----------------------------------------------------------------------------------------------

    def learn(self, move: Go, verdict: Verdict, now: float) -> None:
        """Let the holds and the run's own memory take in a verdict."""
        if self.phrasing is not None:
            self.phrasing.learn(move.route, verdict)
        try:
            self._learn(move, verdict, now)
        except ConfigError as error:  # a wait strategy, stop object or hook of the user's
            self.broken = error

    def _learn(self, move: Go, verdict: Verdict, now: float) -> None:
        route, rule = move.route, RULES[verdict.outcome]
        self.memory.failures += rule.follow is not Follow.ACCEPT
        if rule.follow is Follow.ACCEPT:
            self._answered(route, verdict, now)
        elif verdict.outcome is Outcome.RATE_LIMITED or (verdict.retry_after_s is not None and rule.is_transient):
            self._told(move, verdict, now)
        elif rule.condemns is not None:
            self._condemned(move, verdict, now)
        elif rule.follow is Follow.NEXT_BACKEND:
            self._too_long(route)
        elif rule.follow is Follow.REFUSE:
            self.is_refused = True
        else:
            self._failed(move, verdict, now)

    def _answered(self, route: Route, verdict: Verdict, now: float) -> None:
        self._health.count_answer(route, self._sent_at)
        self._health.traffic.answered(route, now, self._sent_at)
        self._health.traffic.told(
            route,
            verdict.allowance,
            now,
            self._sent_at,
            wanted=math.inf if self.ask.is_by_hand else self.ask.rows_left(),
            ceiling_s=self._config.retry_after_ceiling_s,
        )
        held = self._health.of(route, self._sent_at)
        if held and all(hold.kind is Kind.STREAK for hold in held):
            self._health.lift([h.scope for h in held if self._sent_at >= h.since], now)

    def _told(self, move: Go, verdict: Verdict, now: float) -> None:
        """A provider asked to wait: hold what it speaks of, then wait within the ceiling, else move on."""
        route, told = move.route, verdict.retry_after_s
        is_limit = verdict.outcome is Outcome.RATE_LIMITED
        if told is None and self.ask.is_by_hand:
            self._failed(move, verdict, now)
            return
        if is_limit:
            self.memory.keeps_pace = True
            is_of_pool = verdict.reach is Reach.BACKEND  # others fill it; our pace has nothing to do with it
            if not move.is_probe and not is_of_pool:  # nor does a failed probe say that the pace was too high
                self._health.traffic.refused(route, self._sent_at, now)
        hold = self._health.tell(
            route.scope(verdict.reach or Reach.ROUTE),
            now,
            why=verdict.outcome,
            message=verdict.message or "",
            seconds=told,
            is_probe=move.is_probe,
        )
        self.memory.own_holds.add(hold.scope)
        if not self.ask.is_by_hand and is_limit:
            return
        self._end_round(move)
        if told is not None and told > self._config.retry_after_ceiling_s:
            self.memory.leave(route)
            return
        self._plan_retry(route, verdict, now, told_s=told)

    def _condemned(self, move: Go, verdict: Verdict, now: float) -> None:
        route = move.route
        reach = verdict.reach or RULES[verdict.outcome].condemns or Reach.ROUTE
        if reach is Reach.REQUEST or verdict.need is not None:
            self.memory.leave(route)
            return
        hold = self._health.condemn(
            route.scope(reach),
            now,
            why=verdict.outcome,
            message=verdict.message or "",
            reset_s=verdict.retry_after_s,
            is_probe=move.is_probe,
        )
        self.memory.own_holds.add(hold.scope)
        self._end_round(move)
        self.memory.leave(route)

    def _too_long(self, route: Route) -> None:
        """Ask the next backend, whose window may be longer; when two agree, it is the request."""
        self._too_long_for.add(route.backend)
        self.is_refused = len(self._too_long_for) > 1
        for other in self.memory.routes():
            if other.backend == route.backend:
                self.memory.leave(other)

    def _failed(self, move: Go, verdict: Verdict, now: float) -> None:
        """Count a failure, and plan the retry or leave the route."""
        route = move.route
        is_transient = RULES[verdict.outcome].is_transient or verdict.outcome is Outcome.RATE_LIMITED
        is_first_here = route not in self._backoffs
        if is_transient and move.is_probe and not self.ask.is_by_hand:
            self._strike(route, verdict, now, is_probe=True)
            self._plan_retry(route, verdict, now)
            return
        if is_transient and move.is_probe and is_first_here:
            self._strike(route, verdict, now, is_probe=True)
            self._end_round(move)
            self.memory.leave(route)
            return
        if is_transient and not self.ask.is_by_hand:
            self._count(route, verdict, now)
        if RULES[verdict.outcome].follow is Follow.MOVE_THEN_RETRY and self._has_another(route, now):
            self.memory.leave(route)
            return
        if not self._plan_retry(route, verdict, now) and is_transient and self.ask.is_by_hand:
            self._strike(route, verdict, now)

    def _end_round(self, move: Go) -> None:
        """By hand, let a failed probe be the last one if the run has had its round of waiting."""
        if move.is_probe and move.route not in self._backoffs and self.memory.has_waited:
            self.memory.is_over = True

    def joined_in_vain(self, route: Route, hold: Hold, now: float) -> None:
        """Count a probe that this run waited for in the midst of its retries, and that failed, as one of them."""
        verdict = Verdict(outcome=hold.why, message=hold.message)
        try:
            self._plan_retry(route, verdict, now, told_s=max(0.0, hold.until - now))
        except ConfigError as error:
            self.broken = error

    def _plan_retry(self, route: Route, verdict: Verdict, now: float, *, told_s: float | None = None) -> bool:
        """Plan the next retry on a route; leave it, and say so, when its retries are used up."""
        if route not in self._backoffs:
            self._backoffs[route] = Backoff(
                route,
                wait=self._config.retry_wait_strategy,
                retries=self._config.retries if self.ask.retries is None else self.ask.retries,
                before_sleep=self._config.before_sleep,
                now=self._sent_at,
            )
        seconds = self._backoffs[route].after_failure(verdict, now, told_s=told_s)
        if seconds is None:
            self.memory.leave(route)
            return False
        self.memory.ready_at[route] = now + seconds
        return True

    def _count(self, route: Route, verdict: Verdict, now: float) -> None:
        is_last = not self._has_another(route, now)
        limit = max(
            _STREAK_ON_LAST_ROUTE if is_last else _STREAK, self._health.traffic.in_flight(route, Reach.ROUTE) + 1
        )
        limit = max(1, min(limit, 2 * self.ask.rows_left()))
        if self._health.count_failure(route, now, limit=limit):
            self._strike(route, verdict, now)

    def _strike(self, route: Route, verdict: Verdict, now: float, *, is_probe: bool = False) -> None:
        scope = route.scope(Reach.ROUTE)
        self._health.strike(scope, now, why=verdict.outcome, message=verdict.message or "", is_probe=is_probe)
        self.memory.own_holds.add(scope)

    def _has_another(self, route: Route, now: float) -> bool:
        """Say whether a route other than this one is still to be asked and not held."""
        return any(
            other is not route and other not in self.memory.used_up and not self._health.of(other, now)
            for other in self.memory.routes()
        )

    # --- recording ----------------------------------------------------------------------------------------------

    def record(self, route: Route, verdict: Verdict, next_move: Callable[[], Move]) -> None:
        """Leave a line in the attempt log."""
        self._record(route, verdict, self._decision(route, verdict, next_move))

    def resent(self, route: Route, verdict: Verdict) -> None:
        """Record a request that goes out again at once: it died unseen, or is now made in another form."""
        self._record(route, verdict, Decision.RETRY)
        if self.sink is not None:
            self.sink.drop()
        self._wait_before = 0.0

    def cancelled(self, route: Route) -> None:
        """Record a request that was cancelled in flight."""
        self._record(route, Verdict(outcome=Outcome.CANCELLED), Decision.STOP)

    def _decision(self, route: Route, verdict: Verdict, next_move: Callable[[], Move]) -> Decision:
        if RULES[verdict.outcome].follow is Follow.ACCEPT:
            return Decision.ACCEPT
        self.is_interrupted = self.sink is not None and self.sink.is_begun
        if self.is_refused or self.is_interrupted or self.broken is not None:
            return Decision.STOP
        match next_move():
            case Join() | Wait(route=None) | Wait(is_told=True):
                return Decision.WAIT
            case Stop():
                return Decision.STOP
            case Go(route=chosen) | Wait(route=chosen):
                return Decision.RETRY if chosen is route else Decision.FALL_BACK

    def _record(self, route: Route, verdict: Verdict, decision: Decision) -> None:
        row = self.ask.row
        attempt = Attempt(
            run_id=self.ask.run_id,
            job_id=row.job_id if row else None,
            row=row.row if row else None,
            position=row.position if row else None,
            column=row.column if row else None,
            attempt=len(self.attempts) + 1,
            route=route.name,
            backend=route.backend,
            key=route.key.shown if route.key else None,
            provider=route.provider,
            request_model=route.request_model,
            response_model=verdict.response_model,
            started_utc=self._sent_utc,
            wait_s=round(self._wait_before, 3),
            duration_s=round(clock.current().now() - self._sent_at, 4),
            outcome=verdict.outcome,
            http_status=verdict.http_status,
            error_code=verdict.error_code,
            message=verdict.message,
            retry_after_s=verdict.retry_after_s,
            decision=decision,
            finish_reason=verdict.finish_reason,
            input_tokens=verdict.input_tokens,
            output_tokens=verdict.output_tokens,
            cost_usd=verdict.cost_usd,
        )
        self.attempts.append(attempt)
        self._health.traffic.ended(route, verdict.outcome)
        if verdict.outcome is Outcome.CONTEXT_LENGTH:
            self.context_refusals.append(attempt)
        tracing.end(self.span, attempt)
        _log.debug("%s: %s, then %s", attempt.route, attempt.outcome.value, attempt.decision.value)
        self.ask.record(attempt)

    def left_out(self, now: float) -> Iterator[tuple[Route, Hold]]:
        """Yield the routes this run never asked, each with the hold that kept it from doing so."""
        for route in self.memory.routes():
            _, hold = self._health.standing(route, now)
            if hold is not None and route not in self._asked:
                yield route, hold

    def last_cause(self, held: Sequence[tuple[Route, Hold]]) -> tuple[str, str]:
        """Return the outcome and the words of the last attempt, or of the first hold when none was made."""
        if self.attempts:
            return self.attempts[-1].outcome.value, self.attempts[-1].message or ""
        return (held[0][1].why.value, held[0][1].message) if held else ("", "")
