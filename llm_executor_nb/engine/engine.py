"""The only retry loop. It asks the policy for the next move, carries it out, and records what came of it.

A run is over with an accepted answer or with one of our errors. The engine knows no store (it is handed `record`),
no pandas and no front end; whatever a provider does ends as a verdict.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never

from llm_executor_nb.core import advice, clock
from llm_executor_nb.core.errors import (
    AllRoutesFailedError,
    DeadlineError,
    RequestError,
    StreamInterruptedError,
)
from llm_executor_nb.core.holds import RouteStatus
from llm_executor_nb.core.policy import Go, Join, Stop, StopReason, Wait, next_move
from llm_executor_nb.engine import paid_calls as guard
from llm_executor_nb.engine import tracing
from llm_executor_nb.engine.acceptance import accepted
from llm_executor_nb.engine.run import Run
from llm_executor_nb.engine.sink import Sink
from llm_executor_nb.engine.waiting import until_changed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from langchain_core.messages import AIMessage, AIMessageChunk

    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.records import Route, Scope, Verdict
    from llm_executor_nb.engine.http import Sender, SendResult
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.settings.options import Options


class Engine:
    """Runs requests down their chains.

    Args:
        exchanges: backend -> what sends to it; bound to the loop the runs are on.
        health: the holds, shared by all runs.
        config: the waits, retries and ceiling in force.
    """

    def __init__(self, *, exchanges: Mapping[str, Sender], health: Health, config: Options) -> None:
        self._exchanges = exchanges
        self._health = health
        self._config = config

    async def run(
        self, ask: RunRequest, *, hand_on: Callable[[AIMessageChunk], Awaitable[None]] | None = None
    ) -> AIMessage:
        """Return the first accepted answer of the chain.

        Args:
            ask: the order.
            hand_on: takes the answer's chunks as they come; None: whole replies are asked for.

        Raises:
            StreamInterruptedError: a stream broke after something was handed on.
            RequestError: a provider refused the request on its merits.
            AllRoutesFailedError: every route was tried and failed, or is held.
            DeadlineError: the deadline passed first.
        """
        sink = None if hand_on is None else Sink(hand_on, is_kept=ask.accept is not None or ask.schema is not None)
        run = Run(ask, self._health, self._config, clock.current().now(), sink)
        try:
            return await self._walk(run)
        finally:
            run.learning.end()

    async def _walk(self, run: Run) -> AIMessage:
        """Go on from move to move until there is an answer."""
        while True:
            seen = self._health.changes
            move = next_move(run.memory, self._health, clock.current().now())
            match move:
                case Go():
                    if (message := await self._go(run)) is not None:
                        return message
                case Wait():
                    await self._wait(run, move, seen)
                case Join():
                    await self._join(run, move)
                case Stop():
                    raise self._failure(run, move)
                case _:
                    assert_never(move)

    # --- sending ------------------------------------------------------------------------------------------------

    async def _go(self, run: Run) -> AIMessage | None:
        """Take a slot, look again where to go now that one is free, and make the attempt."""
        await run.ask.slots.acquire()
        try:
            run.memory.reorder()
            move = next_move(run.memory, self._health, clock.current().now())
            return await self._attempt(run, move) if isinstance(move, Go) else None
        finally:
            run.ask.slots.release()

    async def _attempt(self, run: Run, move: Go) -> AIMessage | None:
        """Make one attempt; and again at once, if the connection had died unused or what we added was refused."""
        route = move.route
        run.begin(route)
        probe = run.learning.begin(move, clock.current().now())
        try:
            came = await self._send(run, route)
            if came.may_resend:
                run.resent(route, came.verdict)
                came = await self._send(run, route)
            while (told := run.to_resend(move, came.verdict)) is not None:
                run.resent(route, told)
                came = await self._send(run, route)
            verdict, message = await accepted(run, route, came)
            self._settle(run, move, probe, verdict, message)
        except asyncio.CancelledError:
            run.cancelled(route)
            raise
        finally:  # a probe without a verdict, whatever ended it, passes to the next run
            self._health.end_probe(probe, clock.current().now(), is_lifted=False)
        if run.sink is not None and message is not None:
            await run.sink.release()
        return message

    async def _send(self, run: Run, route: Route) -> SendResult:
        exchange = self._exchanges[route.backend]
        if guard.is_on() and (place := exchange.paid_at(route, self._config.practice_url)) is not None:
            guard.refuse(place)
        order = run.order(route, takes_extras=exchange.takes_extras)
        now = clock.current().now()
        run.sent(route, now)
        try:
            with tracing.during(run.span):
                if run.sink is None:
                    return await exchange.whole(order, route, timeout_s=run.bound_s(now))
                return await exchange.streamed(
                    order, route, timeout_s=run.ask.timeout_s, until=run.memory.deadline, hand_on=run.sink.take
                )
        finally:
            self._health.returned(route)

    # --- judging ------------------------------------------------------------------------------------------------

    def _settle(
        self, run: Run, move: Go, probe: tuple[Scope, ...], verdict: Verdict, message: AIMessage | None
    ) -> None:
        """Let the run and the holds learn from what came, record it, and raise what ends the run."""
        now = clock.current().now()
        if run.is_cut_by_deadline(verdict):
            run.learning.cut(probe, now)
        else:
            run.learn(move, probe, verdict, now)
        self._record(run, move.route, verdict, now)
        if message is None:
            self._raise_if_over(run, verdict)

    def _raise_if_over(self, run: Run, verdict: Verdict) -> None:
        """Raise what ends the run at once; forget the kept pieces of an attempt that came to nothing."""
        attempts = tuple(run.attempts)
        if run.broken is not None:
            raise run.broken
        if run.is_interrupted and run.sink is not None:
            raise StreamInterruptedError(
                advice.interrupted(run.attempts[-1]), partial=run.sink.partial, attempts=attempts
            )
        if run.memory.is_refused:
            raise RequestError(advice.refused(run.attempts[-1]), outcome=verdict.outcome.value, attempts=attempts)
        if run.sink is not None:
            run.sink.drop()

    def _record(self, run: Run, route: Route, verdict: Verdict, now: float) -> None:
        run.record(route, verdict, lambda: next_move(run.memory, self._health, now))

    # --- waiting ------------------------------------------------------------------------------------------------

    async def _wait(self, run: Run, move: Wait, seen: int) -> None:
        """Wait until a time, or until the holds have changed, whichever comes first."""
        began = clock.current().now()
        run.learning.begin_wait(move)
        await until_changed(self._health, move.until, seen, is_exact=move.is_for_slot)
        now = clock.current().now()
        run.waited_s += now - began
        run.learning.end_wait(move, now)

    async def _join(self, run: Run, move: Join) -> None:
        """Wait for the reply of another run's probe; remember the hold when it failed."""
        began = clock.current().now()
        scopes = {hold.scope for hold in self._health.of(move.route, began, run.memory.needs)}
        end = run.memory.deadline
        while True:
            seen, now = self._health.changes, clock.current().now()
            is_probing = self._health.status(move.route, now, run.memory.needs)[0] is RouteStatus.PROBING
            if not is_probing or (end is not None and now >= end):
                break
            await until_changed(self._health, end, seen)
        run.waited_s += now - began
        run.learning.joined(move.route, scopes, now)

    # --- failing ------------------------------------------------------------------------------------------------

    def _failure(self, run: Run, move: Stop) -> Exception:
        now = clock.current().now()
        attempts = tuple(run.attempts)
        held = list(run.left_out(now))
        if move.why is StopReason.DEADLINE and run.ask.deadline_s is not None:
            return DeadlineError(advice.late(run.ask.deadline_s, attempts, held, now), attempts=attempts)
        if run.refusals:
            last = run.refusals[-1]
            words = advice.refused_by_one(last, attempts)
            return RequestError(words, outcome=last.outcome.value, attempts=attempts)
        outcome, words = run.last_cause(held)
        return AllRoutesFailedError(
            advice.all_failed(run.ask.chain.model, attempts, held, now, run.ask.chain.own_urls),
            outcome=outcome,
            words=words,
            attempts=attempts,
        )
