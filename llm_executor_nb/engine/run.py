"""One run as it goes: what it has tried, what it has learnt, and the lines it leaves in the attempt log."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.core.attempt import Attempt
from llm_executor_nb.core.backoff import Backoff
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.learning import Learning
from llm_executor_nb.core.needs import needs_of
from llm_executor_nb.core.outcomes import RULES, Decision, NextStep, Outcome
from llm_executor_nb.core.policy import Go, Join, RunMemory, Stop, Wait
from llm_executor_nb.core.records import FaultKind, Verdict
from llm_executor_nb.core.traffic import SendRecord
from llm_executor_nb.engine import tracing
from llm_executor_nb.engine.extras import Extras
from llm_executor_nb.schemas.prompting import SchemaPrompt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from opentelemetry.trace import Span

    from llm_executor_nb.core.holds import Health, Hold
    from llm_executor_nb.core.policy import Move
    from llm_executor_nb.core.records import Route, Scope
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.engine.sink import Sink
    from llm_executor_nb.settings.options import Options

_log = logging.getLogger("llm_executor_nb")
_PAID_IN_VAIN = 3
"""Answers that may be paid for in vain after the first, where a tenacity stop object bounds the retries."""
_REFUSALS = (Outcome.BAD_REQUEST, Outcome.CONTEXT_LENGTH)


class Run:
    """The state of one request on its way down a chain."""

    def __init__(self, ask: RunRequest, health: Health, config: Options, now: float, sink: Sink | None = None) -> None:
        self.ask = ask
        self.sink = sink
        self.is_interrupted = False
        self.attempts: list[Attempt] = []
        self.refusals: list[Attempt] = []
        self.broken: ConfigError | None = None
        self.waited_s = 0.0
        self.span: Span | None = None
        self.extras = Extras(ask, health, is_stream=sink is not None)
        self.phrasing = None if ask.schema is None else SchemaPrompt(ask.schema, ask.payload, self.extras)
        self.memory = RunMemory(
            tiers=ask.chain.tiers,
            is_by_hand=ask.is_by_hand,
            ceiling_s=config.retry_after_ceiling_s,
            deadline=None if ask.deadline_s is None else now + ask.deadline_s,
            needs=needs_of(ask.payload, ask.extra_body),
            has_fresh=ask.has_fresh,
        )
        self._health = health
        self._config = config
        self._retries = config.retries if ask.retries is None else ask.retries
        self.learning = Learning(
            self.memory,
            health,
            make_backoff=self._backoff,
            retries=self._retries if isinstance(self._retries, int) else _PAID_IN_VAIN,
            rows_left=ask.rows_left,
        )
        self._asked: set[Route] = set()
        self._sent = SendRecord(now)
        self._sent_utc: datetime = clock.current().utc()
        self._wait_before = 0.0

    # --- sending ------------------------------------------------------------------------------------------------

    def begin(self, route: Route) -> None:
        """Note that an attempt on a route begins."""
        self._wait_before, self.waited_s = self.waited_s, 0.0
        self._asked.add(route)

    def order(self, route: Route, *, takes_extras: bool) -> RunRequest:
        """Return what a route is asked now: with what we add, if it may be sent that, and a schema in words else."""
        self.extras.choose(route, takes_extras=takes_extras)
        payload = self.ask.payload if self.phrasing is None else self.phrasing.payload(route)
        extra_body = self.extras.extra_body(route)
        if payload is self.ask.payload and extra_body is self.ask.extra_body:
            return self.ask
        return replace(self.ask, payload=payload, extra_body=extra_body)

    def to_resend(self, move: Go, verdict: Verdict) -> Verdict | None:
        """Return what a reply is in the log if the request goes out again at once without something that we added."""
        told = self.extras.judge(move.route, verdict, is_probe=move.is_probe)
        return None if self.sink is not None and self.sink.is_begun else told

    def sent(self, route: Route, now: float) -> None:
        """Note when the request goes out."""
        self._sent, self._sent_utc = self.learning.sent(route, now), clock.current().utc()
        self.span = tracing.begin(self.ask, route, self._config, is_stream=self.sink is not None)

    def bound_s(self, now: float) -> float | None:
        """Return how long the attempt may take: the timeout, or what the deadline leaves."""
        left = None if self.memory.deadline is None else max(0.0, self.memory.deadline - now)
        bounds = [bound for bound in (self.ask.timeout_s, left) if bound is not None]
        return min(bounds, default=None)

    def is_cut_by_deadline(self, verdict: Verdict) -> bool:
        """Whether the run's own deadline, not the provider's silence, ended an attempt."""
        is_cut = verdict.error_code == FaultKind.DEADLINE.value
        if self.sink is None and verdict.error_code == FaultKind.TIMEOUT.value and self.memory.deadline is not None:
            is_cut = self.ask.timeout_s is None or self.ask.timeout_s > self.memory.deadline - self._sent.at
        return is_cut

    # --- learning -----------------------------------------------------------------------------------------------

    def learn(self, move: Go, probe: tuple[Scope, ...], verdict: Verdict, now: float) -> None:
        """Let the holds and the run's own memory take in a verdict."""
        try:
            self.learning.learn(move, probe, verdict, self._sent, now)
        except ConfigError as error:  # the user's wait strategy, stop object or hook; the attempt is recorded first
            self.broken = error

    def _backoff(self, route: Route, sent_at: float) -> Backoff:
        return Backoff(
            route,
            wait=self._config.retry_wait_strategy,
            retries=self._retries,
            before_sleep=self._config.before_sleep,
            now=sent_at,
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
        if RULES[verdict.outcome].follow is NextStep.ACCEPT:
            return Decision.ACCEPT
        self.is_interrupted = self.sink is not None and self.sink.is_begun
        if self.memory.is_refused or self.is_interrupted or self.broken is not None:
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
            duration_s=round(clock.current().now() - self._sent.at, 4),
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
        if verdict.outcome in _REFUSALS:
            self.refusals.append(attempt)
        tracing.end(self.span, attempt)
        _log.debug("%s: %s, then %s", attempt.route, attempt.outcome.value, attempt.decision.value)
        self.ask.record(attempt)

    def left_out(self, now: float) -> Iterator[tuple[Route, Hold]]:
        """Yield the routes this run never asked, each with the hold that kept it from doing so."""
        for route in self.memory.routes():
            _, hold = self._health.status(route, now, self.memory.needs)
            if hold is not None and route not in self._asked:
                yield route, hold

    def last_cause(self, held: Sequence[tuple[Route, Hold]]) -> tuple[str, str]:
        """Return the outcome and the words of the last attempt, or of the first hold when none was made."""
        if self.attempts:
            return self.attempts[-1].outcome.value, self.attempts[-1].message or ""
        return (held[0][1].why.value, held[0][1].message) if held else ("", "")
