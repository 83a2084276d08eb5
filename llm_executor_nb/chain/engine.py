"""The only retry loop. It asks the policy for the next move, carries it out, and records what came of it.

A run is over with an accepted answer or with one of our errors. The engine knows no store (it is handed `record`),
no pandas and no front end; whatever a provider does ends as a verdict.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, assert_never

from llm_executor_nb.chain.run import Run
from llm_executor_nb.core import advice, clock
from llm_executor_nb.core.classify import classify, shorten
from llm_executor_nb.core.errors import AllRoutesFailedError, ConfigError, DeadlineError, RequestError
from llm_executor_nb.core.holds import Standing
from llm_executor_nb.core.outcomes import RULES, Follow, Outcome
from llm_executor_nb.core.policy import Go, Join, Stop, Wait, Why, next_move
from llm_executor_nb.core.records import Fault, Verdict
from llm_executor_nb.providers.payload import make_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import AIMessage

    from llm_executor_nb.chain.ask import Ask
    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.records import Reply, Route, Scope
    from llm_executor_nb.providers.backend import Backend
    from llm_executor_nb.providers.transport import Transport
    from llm_executor_nb.settings.config import Config

_log = logging.getLogger("llm_executor_nb")


class Engine:
    """Runs requests down their chains.

    Args:
        transport: sends; bound to the loop the runs are on.
        backends: name -> wire.
        health: the holds, shared by all runs.
        config: the waits, retries and ceiling in force.
    """

    def __init__(
        self, *, transport: Transport, backends: Mapping[str, Backend], health: Health, config: Config
    ) -> None:
        self._transport = transport
        self._backends = backends
        self._health = health
        self._config = config

    async def run(self, ask: Ask) -> AIMessage:
        """Return the first accepted answer of the chain.

        Raises:
            RequestError: a provider refused the request on its merits.
            AllRoutesFailedError: every route was tried and failed, or is held.
            DeadlineError: the deadline passed first.
        """
        run = Run(ask, self._health, self._config, clock.current().now())
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
            if not run.attempts:
                run.memory.enter_anew()
            move = next_move(run.memory, self._health, clock.current().now())
            return await self._attempt(run, move) if isinstance(move, Go) else None
        finally:
            run.ask.slots.release()

    async def _attempt(self, run: Run, move: Go) -> AIMessage | None:
        """Make one attempt (and, on a connection that had died unused, the same once more at once)."""
        route = move.route
        run.begin(route)
        probe = self._health.begin_probe(route, clock.current().now()) if move.is_probe else ()
        run.memory.probed.update(probe)
        try:
            came = await self._send(run, route)
            if isinstance(came, Fault) and came.may_resend:
                run.resent(route, classify(came, backend=route.backend, now_utc=clock.current().utc()))
                came = await self._send(run, route)
            return self._settle(run, move, probe, came)
        except asyncio.CancelledError:
            run.cancelled(route)
            raise
        finally:  # a probe without a verdict, whatever ended it, passes to the next run
            self._health.end_probe(probe, clock.current().now(), is_lifted=False)

    async def _send(self, run: Run, route: Route) -> Reply | Fault:
        backend = self._backends[route.backend]
        body = make_body(
            run.ask.payload, model=route.request_model, backend=route.backend, extra_body=run.ask.extra_body
        )
        run.sent()
        self._health.sent(route, clock.current().now())
        try:
            return await self._transport.post(
                backend.url,
                body=body,
                secret=route.key.secret if route.key else None,
                headers=backend.headers(route),
                timeout_s=run.bound_s(clock.current().now()),
            )
        finally:
            self._health.returned(route)

    # --- judging ------------------------------------------------------------------------------------------------

    def _settle(self, run: Run, move: Go, probe: tuple[Scope, ...], came: Reply | Fault) -> AIMessage | None:
        """Judge what came, let the run and the holds learn from it, record it, and say what follows."""
        verdict = classify(came, backend=move.route.backend, now_utc=clock.current().utc())
        message, verdict = self._read(run, move.route, verdict)
        now = clock.current().now()
        if run.is_cut_by_deadline(verdict, now):
            self._health.end_probe(probe, now, is_lifted=False)
        else:
            run.learn(move, verdict, now)
            self._health.end_probe(probe, now, is_lifted=True)
        self._record(run, move.route, verdict, now)
        if RULES[verdict.outcome].follow is Follow.ACCEPT:
            return message
        if run.broken is not None:
            raise run.broken
        if run.is_refused:
            raise RequestError(
                advice.refused(run.attempts[-1]), outcome=verdict.outcome.value, attempts=tuple(run.attempts)
            )
        return None

    def _read(self, run: Run, route: Route, verdict: Verdict) -> tuple[AIMessage | None, Verdict]:
        """Turn an answer into LangChain's message and ask the user's predicate."""
        if verdict.body is None:
            return None, verdict
        try:
            message = self._backends[route.backend].message(verdict.body, route.request_model)
        except ValueError as error:
            return None, _instead(verdict, Outcome.MALFORMED, str(error))
        if not _is_accepted(run, message):
            return None, _instead(verdict, Outcome.REJECTED, "accept= said no to this answer")
        message.response_metadata["llm_run_id"] = run.ask.run_id
        return message, verdict

    def _record(self, run: Run, route: Route, verdict: Verdict, now: float) -> None:
        attempt = run.record(route, verdict, lambda: next_move(run.memory, self._health, now))
        _log.debug("%s: %s, then %s", attempt.route, attempt.outcome.value, attempt.decision.value)

    # --- waiting ------------------------------------------------------------------------------------------------

    async def _wait(self, run: Run, move: Wait, seen: int) -> None:
        """Wait until a time, or until the holds have changed, whichever comes first."""
        began = clock.current().now()
        queue = move.route if move.is_for_pace else None
        with self._health.waiting_for(queue) if queue is not None else nullcontext():
            await _until_changed(self._health, move.until, seen)
        now = clock.current().now()
        run.waited_s += now - began
        if run.ask.is_by_hand and run.memory.current is None and now >= move.until:
            run.memory.has_waited = True

    async def _join(self, run: Run, move: Join) -> None:
        """Wait for the reply of another run's probe; remember the hold when it failed."""
        began = clock.current().now()
        scopes = {hold.scope for hold in self._health.of(move.route, began)}
        end = run.memory.deadline
        while True:
            seen, now = self._health.changes, clock.current().now()
            is_probing = self._health.standing(move.route, now)[0] is Standing.PROBING
            if not is_probing or (end is not None and now >= end):
                break
            await _until_changed(self._health, end, seen)
        run.waited_s += now - began
        standing, hold = self._health.standing(move.route, now)
        has_failed = standing is Standing.HELD and hold is not None and hold.probed_at is not None  # not cancelled
        if run.memory.current is None and has_failed:
            run.memory.probed.update(scopes)
            run.memory.is_over = run.memory.has_waited

    # --- failing ------------------------------------------------------------------------------------------------

    def _failure(self, run: Run, move: Stop) -> Exception:
        now = clock.current().now()
        attempts = tuple(run.attempts)
        if move.why is Why.DEADLINE and run.ask.deadline_s is not None:
            return DeadlineError(advice.late(run.ask.deadline_s, attempts), attempts=attempts)
        if run.context_refusals:
            return RequestError(
                advice.refused(run.context_refusals[-1]), outcome=Outcome.CONTEXT_LENGTH.value, attempts=attempts
            )
        held = list(run.left_out(now))
        outcome, words = run.last_cause(held)
        return AllRoutesFailedError(
            advice.all_failed(run.ask.chain.recipe.model, attempts, held, now),
            outcome=outcome,
            words=words,
            attempts=attempts,
        )


def _instead(verdict: Verdict, outcome: Outcome, message: str) -> Verdict:
    """Return the verdict on an answer that was found wanting after all."""
    return Verdict(
        outcome=outcome,
        http_status=verdict.http_status,
        message=shorten(message),
        finish_reason=verdict.finish_reason,
        response_model=verdict.response_model,
        input_tokens=verdict.input_tokens,
        output_tokens=verdict.output_tokens,
        cost_usd=verdict.cost_usd,
    )


def _is_accepted(run: Run, message: AIMessage) -> bool:
    """Ask the user's predicate; when it raises, the run ends with that, told as the user's to mend."""
    if run.ask.accept is None:
        return True
    try:
        return bool(run.ask.accept(message))
    except Exception as error:  # noqa: BLE001 - a user's own function may raise anything
        run.broken = ConfigError(f"Your accept= raised {type(error).__name__}: {error}. Mend it and call again.")
        return False


async def _until_changed(health: Health, until: float | None, seen: int) -> None:
    """Sleep until a time on the clock, or until the holds are other than they were when `seen` was read."""
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    unwatch = health.watch(lambda: loop.call_soon_threadsafe(changed.set))
    if health.changes != seen:
        changed.set()
    watching = asyncio.ensure_future(changed.wait())
    waiting: set[asyncio.Future[Any]] = {watching}
    if until is not None:
        waiting.add(asyncio.ensure_future(_sleep_until(until)))
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unwatch()
        for task in waiting:
            task.cancel()


async def _sleep_until(until: float) -> None:
    await clock.current().sleep(max(0.0, until - clock.current().now()))
