"""A request that is late and its twin: the first accepted answer wins, and the other request is cancelled (design 3.4).

The twin is a second request of the same run. It shares all that the run remembers, has a slot of its own, and gets one
attempt. An answer that is refused, or a failure, leaves the other one in the race. Only requests for a whole reply are
hedged: what the reader of a stream has seen cannot be taken back. A probe is alone by its meaning, and tools may have
effects.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core import clock
from llm_executor_nb.core.moves import Go
from llm_executor_nb.core.outcomes import Need, Outcome
from llm_executor_nb.core.twins import twin_route
from llm_executor_nb.engine.acceptance import accepted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.errors import LLMExecutorError
    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.records import Route, Verdict
    from llm_executor_nb.engine.request import Hedge
    from llm_executor_nb.engine.run import Run
    from llm_executor_nb.engine.sender import SendResult

    Send = Callable[[Run, Go], Awaitable[SendResult]]


class FixedHedge:
    """Lets a call by hand have its twins after a fixed time.

    Args:
        after_s: seconds after which a request is late.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s

    def began(self, request: object, *, is_twin: bool = False) -> None:
        """Do nothing: the time is fixed."""

    def ended(self, request: object, *, is_answer: bool) -> None:
        """Do nothing: the time is fixed."""

    async def late(self, sent_at: float) -> None:
        """Wait until a request is late."""
        await clock.current().sleep(max(0.0, sent_at + self._after_s - clock.current().now()))

    def take(self) -> bool:
        """Allow every twin: a call by hand asks for its own."""
        return True


def hedge_for(run: Run, move: Go) -> Hedge | None:
    """Return what says when an attempt is late; None: it has no twin."""
    hedge = run.request.hedge
    if hedge is None or move.is_probe or run.buffer is not None or Need.TOOLS in run.memory.needs:
        return None
    return hedge


@dataclass(slots=True, eq=False)
class _Entrant:
    """One request in the race."""

    run: Run
    move: Go
    task: asyncio.Task[Any]
    began: float
    verdict: Verdict | None = None

    @property
    def sent_at(self) -> float:
        """When it went out; until then, when it began to wait for that."""
        return max(self.began, self.run.sent_at)

    @property
    def has_reply(self) -> bool:
        """Whether a reply came that was not looked at yet."""
        is_over = self.verdict is None and self.task.done() and not self.task.cancelled()
        return is_over and self.task.exception() is None

    def take_reply(self) -> SendResult:
        """Return the reply, and note the verdict on it: it may be paid for, whatever happens while it is checked."""
        result: SendResult = self.task.result()
        self.verdict = result.verdict
        return result


class Race:
    """One attempt, and its twin once it is late.

    Args:
        run: the run.
        move: the attempt.
        hedge: says when it is late.
        health: the holds.
        send: sends one request until it is settled.
    """

    def __init__(self, run: Run, move: Go, hedge: Hedge, health: Health, send: Send) -> None:
        self._run, self._move = run, move
        self._hedge, self._health, self._send = hedge, health, send
        self._entrants: list[_Entrant] = []
        self._error: LLMExecutorError | None = None

    async def run(self) -> AIMessage | None:
        """Return the first accepted answer; None: there is none, and the run goes on.

        Raises:
            LLMExecutorError: what ends the run, once no request is in flight that may still be accepted.
        """
        self._run.begin(self._move)
        first = self._enter(self._run, self._move, asyncio.ensure_future(self._send(self._run, self._move)))
        row = asyncio.current_task()
        assert row is not None  # noqa: S101 - this is a coroutine
        twin = asyncio.ensure_future(self._send_twin(first, row))
        try:
            return await self._first_accepted(twin)
        except BaseException:
            self._drop(list(self._entrants), is_lost=False)
            raise
        finally:
            first.task.cancel()
            twin.cancel()
            await asyncio.gather(first.task, twin, return_exceptions=True)

    def _enter(self, run: Run, move: Go, task: asyncio.Task[Any]) -> _Entrant:
        entrant = _Entrant(run, move, task, clock.current().now())
        self._hedge.began(entrant, is_twin=bool(self._entrants))
        self._entrants.append(entrant)
        return entrant

    async def _first_accepted(self, twin: asyncio.Task[SendResult | None]) -> AIMessage | None:
        while (entrant := await self._next(twin)) is not None:
            if (message := await self._judge(entrant)) is not None:
                return message
        if self._error is not None:
            self._error.attempts = tuple(self._run.attempts)
            raise self._error
        return None

    async def _next(self, twin: asyncio.Task[SendResult | None]) -> _Entrant | None:
        """Return the next request that has a reply; None: none is in flight."""
        while self._entrants:
            for entrant in self._entrants:
                if entrant.task.done():
                    return entrant
            tasks = {twin, *(entrant.task for entrant in self._entrants)}
            if twin.done():
                twin.result()  # what went wrong before it was sent must not be lost
                tasks.discard(twin)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return None

    async def _judge(self, entrant: _Entrant) -> AIMessage | None:
        """Settle a request that has a reply; return its answer if it is accepted."""
        result, run, move = entrant.take_reply(), entrant.run, entrant.move
        self._hedge.ended(entrant, is_answer=result.verdict.outcome is Outcome.OK)
        verdict, message = await accepted(run, move.route, result)
        others = [other for other in self._entrants if other is not entrant]
        if message is not None or run.user_error is not None:  # no other answer can put that right
            self._drop(others, is_lost=message is not None)
            others = []
        await run.settle(move, verdict, result.message, is_racing=bool(others))
        self._entrants.remove(entrant)
        if message is None and (error := run.error_after(verdict)) is not None:
            self._error = self._error or error
            if run.user_error is not None:
                raise error
        return message

    def _drop(self, losers: list[_Entrant], *, is_lost: bool) -> None:
        """Cancel the other requests and record them: what ends the race is the last record."""
        for loser in losers:
            if loser.has_reply:
                loser.take_reply()
            loser.task.cancel()
            self._hedge.ended(loser, is_answer=False)
            (loser.run.lost if is_lost else loser.run.cancelled)(loser.verdict)
            self._entrants.remove(loser)

    async def _send_twin(self, first: _Entrant, row: asyncio.Task[Any]) -> SendResult | None:
        """Send the twin once the first request is late; None: it could not be sent."""
        slots = self._run.request.slots
        while await self._is_late(first) and await slots.acquire_for_twin(row):
            try:
                route = twin_route(self._run.memory, self._move.route, self._health, clock.current().now())
                if route is None or first.task.done():
                    return None
                if self._hedge.take():
                    return await self._send(*self._enter_twin(route))
            finally:
                slots.release()
        return None

    async def _is_late(self, first: _Entrant) -> bool:
        """Wait until the first request is late; return whether it is: one whose reply is being checked is not."""
        sent_at = None
        while sent_at != first.sent_at:  # it may have gone out again, in another form
            sent_at = first.sent_at
            await self._hedge.late(sent_at)
        return first.run.is_sent and not first.task.done()

    def _enter_twin(self, route: Route) -> tuple[Run, Go]:
        twin, move = self._run.twin(route), Go(route)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - `_send_twin` is a task
        self._enter(twin, move, task)
        return twin, move
