"""One run's books: where it stands, what it made of each attempt, and the error it ends with.

The rules are in core: `moves` decides what comes next, `learning` takes in a verdict. `engine` does what was decided.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from llm_executor_nb.core import advice, clock
from llm_executor_nb.core.attempt import Attempt
from llm_executor_nb.core.backoff import Backoff
from llm_executor_nb.core.errors import (
    ConfigError,
    DeadlineError,
    LLMExecutorError,
    RequestError,
    StreamInterruptedError,
)
from llm_executor_nb.core.holds import RouteStatus
from llm_executor_nb.core.learning import Learning
from llm_executor_nb.core.moves import Go, Join, RunMemory, Stop, Wait, next_move
from llm_executor_nb.core.needs import needs_of, without_tier
from llm_executor_nb.core.outcomes import RULES, Decision, NextStep, Outcome, ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE, FaultKind, Verdict
from llm_executor_nb.core.traffic import SendRecord
from llm_executor_nb.core.user_functions import Bounds
from llm_executor_nb.core.verdicts.answers import overruled
from llm_executor_nb.core.verdicts.narrowed import narrowed
from llm_executor_nb.engine.extras import Extras
from llm_executor_nb.engine.observers import observers_of
from llm_executor_nb.engine.tier import Tier
from llm_executor_nb.schemas.prompting import SchemaPrompt
from llm_executor_nb.settings.key_ring import OWN_SOURCES
from llm_executor_nb.settings.provider_names import is_chosen_there

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from langchain_core.messages import AIMessage
    from tenacity import RetryCallState

    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.moves import Move
    from llm_executor_nb.core.records import Key, Route, Scope
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.engine.stream import StreamBuffer
    from llm_executor_nb.settings.options import Options

_PAID_IN_VAIN = 3
"""Answers that may be paid for in vain after the first, where a tenacity stop object bounds the retries."""
_REFUSALS = (Outcome.BAD_REQUEST, Outcome.CONTEXT_LENGTH)


class Run:
    """One request on its way down a chain.

    Args:
        request: what is asked.
        health: the holds, shared by all runs.
        config: the waits and retries in force.
        buffer: holds the chunks of a stream; None: whole replies are asked for.

    Attributes:
        memory: what the policy goes by.
        learning: what changes the memory and the holds.
        attempts: the record of each request that was sent.
        refusals: those of them that refused the request.
        asked: the routes that were asked.
        is_sent: whether the request of the attempt that has begun went out.
        user_error: what a function of the user's did wrong, or that it took too long; it ends the run.
    """

    def __init__(self, request: RunRequest, health: Health, config: Options, buffer: StreamBuffer | None) -> None:
        now = clock.current().now()
        self.request = request
        self.buffer = buffer
        self.attempts: list[Attempt] = []
        self.user_error: LLMExecutorError | None = None
        self.extras = Extras(request, health, is_stream=buffer is not None)
        self.schema_prompt = (
            None if request.schema is None else SchemaPrompt(request.schema, request.payload, self.extras)
        )
        self._needs = needs = needs_of(request.payload, request.extra_body, request.policy)
        self._tier = Tier(request, needs, config)
        self.memory = RunMemory(
            tiers=request.chain.tiers,
            is_by_hand=request.is_by_hand,
            ceiling_s=config.retry_after_ceiling_s,
            deadline=None if request.deadline_s is None else now + request.deadline_s,
            # design 3.2: a hold with a need stops only the requests that have it
            needs=without_tier(needs) if request.has_tier_fallback else needs,
            has_fresh=request.has_fresh,
        )
        self._health, self._keys = health, config.keys
        self._retries = config.retries if request.retries is None else request.retries
        self.learning = Learning(
            self.memory,
            health,
            make_backoff=partial(_backoff, config, self._retries),  # no method: a circle would keep the run alive
            retries=self._retries if isinstance(self._retries, int) else _PAID_IN_VAIN,
            rows_left=request.rows_left,
        )
        self._observers = observers_of(request, config, is_stream=buffer is not None)
        self.refusals: list[Attempt] = []
        self.asked: set[Route] = set()
        self._probe: tuple[Scope, ...] = ()
        self.is_sent = False
        self._sent = SendRecord(now)
        self._sent_utc: datetime  # of the request that went out last
        self._sent_route: Route  # of the attempt that has begun, with the key that it is sent
        self._waited_s = self._wait_before_s = 0.0

    def next_move(self) -> Move:
        """Return what to do now."""
        return next_move(self.memory, self._health, clock.current().now())

    # --- sending ------------------------------------------------------------------------------------------------

    def begin(self, move: Go) -> None:
        """Note that an attempt begins."""
        self._wait_before_s, self._waited_s = self._waited_s, 0.0
        self.asked.add(move.route)
        self._sent_route = move.route
        self.is_sent = False
        self._probe = self.learning.begin(move, clock.current().now())

    def twin(self, route: Route) -> Run:
        """Return the run as its second request sees it: all is shared but what belongs to one request."""
        twin = copy(self)
        twin._wait_before_s = 0.0  # noqa: SLF001 - it is one of us
        twin.asked.add(route)
        twin._sent_route, twin.is_sent = route, False  # noqa: SLF001
        # each request is judged by what it was sent itself
        twin.extras, twin._tier = copy(self.extras), copy(self._tier)  # noqa: SLF001
        twin.schema_prompt = self.schema_prompt and self.schema_prompt.beside(twin.extras)
        return twin

    @property
    def sent_at(self) -> float:
        """When the request went out, on the clock."""
        return self._sent.at

    def request_for(self, route: Route, *, takes_extras: bool) -> RunRequest:
        """Return the request as a route is sent it: with what we add, and with a schema in words where needed."""
        self.extras.choose(route, takes_extras=takes_extras)
        # the plain case makes no copy: it is on the path of every request
        payload = self.request.payload if self.schema_prompt is None else self.schema_prompt.payload(route)
        payload = self._tier.payload(payload, route)
        extra_body = self.extras.extra_body(route)
        left_out = self.extras.headers_left_out(route)
        if payload is self.request.payload and extra_body is self.request.extra_body and not left_out:
            return self.request
        return replace(self.request, payload=payload, extra_body=extra_body, headers_left_out=left_out)

    def sent(self, route: Route) -> Route:
        """Note that the request goes out; return the route with the key that it is sent.

        That is another key than the chain's if one has taken its place since: what was learnt of the one holds on.
        """
        self._sent = self.learning.sent(route, clock.current().now())
        self._sent_utc = clock.current().utc()
        later = None if route.key is None else self._keys.in_place_of(route.key)
        self._sent_route = route if later is None else replace(route, key=later)
        self.is_sent = True
        return self._sent_route

    def refused_key(self, verdict: Verdict) -> Key | None:
        """Return the key that a reply refuses, if its place may hold another one by now; None: there is none."""
        if verdict.outcome is not Outcome.AUTH or (verdict.reach or ScopeLevel.KEY) is not ScopeLevel.KEY:
            return None
        key = self._sent_route.key
        return None if key is None or key.source in OWN_SOURCES else key

    @property
    def attempt_bound_s(self) -> float | None:
        """Seconds that the attempt may take: the timeout, or what the deadline leaves; None: no bound."""
        left = None if self.memory.deadline is None else max(0.0, self.memory.deadline - self._sent.at)
        bounds = [bound for bound in (self.request.timeout_s, left) if bound is not None]
        return min(bounds, default=None)

    @property
    def function_bounds(self) -> Bounds:
        """How long a function of the user's may take."""
        return Bounds(self.request.timeout_s, self.memory.deadline)

    def without_extras(self, move: Go, verdict: Verdict) -> Verdict | None:
        """Return the verdict to record if the request goes out again at once without an extra; None: it does not."""
        recorded = self._tier.refused(move.route, verdict) or self.extras.judge(
            move.route, verdict, is_probe=move.is_probe
        )
        return None if self._is_begun else recorded

    # --- waiting ------------------------------------------------------------------------------------------------

    def waited(self, move: Wait, began: float) -> None:
        """Note that a wait is over."""
        now = clock.current().now()
        self._waited_s += now - began
        self.learning.end_wait(move, now)

    def scopes_held(self, route: Route) -> set[Scope]:
        """Return what is held of a route."""
        return {hold.scope for hold in self._health.of(route, clock.current().now(), self.memory.needs)}

    def is_joining(self, route: Route) -> bool:
        """Whether another run's probe of a route is still in flight, and this run has time to wait for its reply."""
        now = clock.current().now()
        is_probing = self._health.status(route, now, self.memory.needs)[0] is RouteStatus.PROBING
        return is_probing and (self.memory.deadline is None or now < self.memory.deadline)

    async def joined(self, route: Route, scopes: set[Scope], began: float) -> None:
        """Note the end of another run's probe.

        Raises:
            ConfigError, DeadlineError: a function of the user's failed, or took too long.
        """
        now = clock.current().now()
        self._waited_s += now - began
        self.learning.joined(route, scopes, now)
        await self._plan_retry()

    # --- settling -----------------------------------------------------------------------------------------------

    async def settle(self, move: Go, verdict: Verdict, message: AIMessage | None, *, is_racing: bool = False) -> None:
        """Let the run and the holds learn from the verdict on an answer, and record the attempt.

        Args:
            move: the move that was carried out.
            verdict: the verdict.
            message: the answer, accepted or not; None: there is none.
            is_racing: the run's other request is in flight, so that a failure does not decide what comes next.
        """
        now = clock.current().now()
        verdict = narrowed(verdict, self.request.policy, self._needs, move.route.backend)
        if self._is_cut_by_deadline(verdict):  # it says nothing of the route, so nothing is learnt from it
            self.learning.cut(self._probe, now)
        else:
            self.learning.learn(move, self._probe, verdict, self._sent, now)
        self._probe = ()
        if self.memory.plan is not None and self.user_error is None:
            try:
                await self._plan_retry()
            except (ConfigError, DeadlineError) as error:  # the attempt is recorded first
                self.user_error = error
            now = clock.current().now()
        is_hedged = is_racing and self.user_error is None
        self._record(verdict, Decision.HEDGE if is_hedged else self._decision(move.route, verdict, now), message)

    def resent(self, verdict: Verdict) -> None:
        """Record a request that goes out again at once: it died unseen, or is now made in another form."""
        self._record(verdict, Decision.RETRY)
        self._wait_before_s = 0.0  # the wait is in the record before; the next request waited for nothing
        self.is_sent = False

    def cancelled(self, verdict: Verdict | None) -> None:
        """Record a request that was cancelled in flight (no verdict), or while a function of the user's ran."""
        self._cut(verdict, Decision.STOP, "stopped while a function of yours checked the answer")

    def lost(self, verdict: Verdict | None) -> None:
        """Record a request that is cancelled because the run's other request was answered first."""
        self._cut(verdict, Decision.HEDGE, "the other request of this run was answered first")

    def _cut(self, verdict: Verdict | None, decision: Decision, why: str) -> None:
        if not self.is_sent:
            return
        if verdict is None:
            verdict = Verdict(outcome=Outcome.CANCELLED)
        elif verdict.outcome is Outcome.OK:  # it may be paid for, so what it cost stays in the record
            verdict = overruled(verdict, Outcome.CANCELLED, why)
        self._record(verdict, decision)

    def end_probe(self) -> None:
        """Pass a probe without a verdict on to the next run."""
        self._health.end_probe(self._probe, clock.current().now(), is_lifted=False)
        self._probe = ()

    def _is_cut_by_deadline(self, verdict: Verdict) -> bool:
        """Whether the run's own deadline, not the provider's silence, ended the attempt; the run is over then."""
        # of a whole reply the transport knows one bound, and calls it a timeout: the shorter of the two was met
        if self.buffer is None and verdict.error_code == FaultKind.TIMEOUT.value and self.memory.deadline is not None:
            return self.request.timeout_s is None or self.request.timeout_s > self.memory.deadline - self._sent.at
        return verdict.error_code == FaultKind.DEADLINE.value

    async def _plan_retry(self) -> None:
        """Ask the strategies for the wait before a retry that is planned."""
        if (plan := self.memory.plan) is None:
            return
        backoff = self.memory.backoffs[plan.route]
        seconds = await backoff.next_wait_s(self.function_bounds, retry_after_s=plan.retry_after_s)
        self.learning.plan_made(seconds, clock.current().now())

    def _decision(self, route: Route, verdict: Verdict, now: float) -> Decision:
        if RULES[verdict.outcome].follow is NextStep.ACCEPT:
            return Decision.ACCEPT
        if self.memory.is_refused or self._is_begun or self.user_error is not None:
            return Decision.STOP
        match next_move(self.memory, self._health, now):
            case Join() | Wait(route=None) | Wait(is_told=True):
                return Decision.WAIT
            case Stop():
                return Decision.STOP
            case Go(route=chosen) | Wait(route=chosen):
                return Decision.RETRY if chosen is route else Decision.FALL_BACK

    def _record(self, verdict: Verdict, decision: Decision, message: AIMessage | None = None) -> None:
        route, row = self._sent_route, self.request.row
        attempt = Attempt(
            run_id=self.request.run_id,
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
            wait_s=round(self._wait_before_s, 3),
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
            upstream=_upstream(route, verdict),
            service_tier=verdict.service_tier,
            cached_tokens=verdict.cached_tokens,
            reasoning_tokens=verdict.reasoning_tokens,
            generation_id=verdict.generation_id,
        )
        if self.request.bill is not None:
            attempt = self.request.bill(attempt, message)
        self.attempts.append(attempt)
        if verdict.outcome in _REFUSALS:
            self.refusals.append(attempt)
        self._health.traffic.ended(route, verdict.outcome, attempt.upstream)
        for observe in self._observers:
            observe(attempt)

    # --- ending -------------------------------------------------------------------------------------------------

    def error_after(self, verdict: Verdict) -> LLMExecutorError | None:
        """Return what ends the run right after an attempt that was not accepted; None: it goes on."""
        attempts = tuple(self.attempts)
        if self.user_error is not None:  # no other route can put it right
            self.user_error.attempts = attempts
            return self.user_error
        if self.buffer is not None and self.buffer.is_begun:
            message = advice.interrupted(attempts[-1])
            return StreamInterruptedError(message, partial=self.buffer.partial, attempts=attempts)
        if self.memory.is_refused:
            return RequestError(advice.refused(attempts[-1]), outcome=verdict.outcome.value, attempts=attempts)
        return None

    @property
    def _is_begun(self) -> bool:
        """Whether the reader of a stream has something of the answer, so that no other answer can follow."""
        return self.buffer is not None and self.buffer.is_begun


def _upstream(route: Route, verdict: Verdict) -> str | None:
    """Return who served a reply: as it says, else the Hugging Face provider that was asked; None: unknown."""
    is_answer = 200 <= (verdict.http_status or 0) < 300
    if verdict.upstream is None and route.backend == HUGGINGFACE and is_answer and not is_chosen_there(route.provider):
        return route.provider
    return verdict.upstream


def _backoff(config: Options, retries: int | Callable[[RetryCallState], bool], route: Route, sent_at: float) -> Backoff:
    return Backoff(
        route, wait=config.retry_wait_strategy, retries=retries, before_sleep=config.before_sleep, now=sent_at
    )
