"""A request that is late and its twin: the first accepted answer wins, and the other request is cancelled (design 3.4).

The twin is a second request of the same run. It shares all that the run remembers, has a slot of its own, and gets one
attempt. An answer that is refused, or a failure, leaves the other one in the race. If that one is late too, a job sends
one more. Only requests for a whole reply are hedged: what the reader of a stream has seen cannot be taken back. A probe
is alone by its meaning, and tools may have effects.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core import clock
from llm_executor_nb.core.holds import RouteStatus
from llm_executor_nb.core.moves import Go
from llm_executor_nb.core.outcomes import Need, Outcome
from llm_executor_nb.engine.acceptance import accepted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.errors import LLMExecutorError
    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.moves import RunMemory
    from llm_executor_nb.core.records import Route, Verdict
    from llm_executor_nb.engine.request import Hedge
    from llm_executor_nb.engine.run import Run
    from llm_executor_nb.engine.sender import SendResult

    Send = Callable[[Run, Go], Coroutine[Any, Any, SendResult]]


class FixedHedge:
    """Lets a call by hand have its twins after a fixed time.

    Args:
        after_s: seconds after which a request is late.
    """

    replaces_failed = False

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
        self._tasks: list[asyncio.Task[Any]] = []
        self._row: asyncio.Task[Any] | None = None
        self._error: LLMExecutorError | None = None

    async def run(self) -> AIMessage | None:
        """Return the first accepted answer; None: there is none, and the run goes on.

        Raises:
            LLMExecutorError: what ends the run, once no request is in flight that may still be accepted.
        """
        self._run.begin(self._move)
        self._row = asyncio.current_task()
        first = self._start(self._send(self._run, self._move))
        self._start(self._send_twin(self._enter(self._run, self._move, first)))
        try:
            return await self._first_accepted()
        except BaseException:
            self._drop(list(self._entrants), is_lost=False)
            raise
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self._tasks.append(task)
        return task

    def _enter(self, run: Run, move: Go, task: asyncio.Task[Any], *, is_twin: bool = False) -> _Entrant:
        entrant = _Entrant(run, move, task, clock.current().now())
        self._hedge.began(entrant, is_twin=is_twin)
        self._entrants.append(entrant)
        return entrant

    async def _first_accepted(self) -> AIMessage | None:
        while (entrant := await self._next()) is not None:
            if (message := await self._judge(entrant)) is not None:
                return message
            if self._entrants and self._error is None and self._may_replace:
                self._start(self._send_twin(self._entrants[0], replaces=entrant))
        if self._error is not None:
            self._error.attempts = tuple(self._run.attempts)
            raise self._error
        return None

    @property
    def _may_replace(self) -> bool:
        """Whether one more may take the place of a request that has failed: once, for then the chain goes on."""
        return self._hedge.replaces_failed and len(self._tasks) == 2

    async def _next(self) -> _Entrant | None:
        """Return the next request that has a reply; None: none is in flight."""
        while self._entrants:
            for entrant in self._entrants:
                if entrant.task.done():
                    return entrant
            twin = self._tasks[-1]
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

    async def _send_twin(self, late: _Entrant, replaces: _Entrant | None = None) -> SendResult | None:
        """Send the twin of a request once that is late; None: it could not be sent.

        Args:
            late: the request.
            replaces: a request of the race that has failed; its retry is what this one is, so it is no more than that.
        """
        slots = self._run.request.slots
        assert self._row is not None  # noqa: S101 - `run` is a coroutine
        while await self._is_late(late) and await slots.acquire_for_twin(self._row):
            try:
                route = _twin_route(self._run.memory, late.move.route, self._health, clock.current().now())
                if route is None or late.task.done():
                    return None
                if replaces is not None or self._hedge.take():
                    return await self._send(*self._enter_twin(route, is_twin=replaces is None))
            finally:
                slots.release()
        return None

    async def _is_late(self, entrant: _Entrant) -> bool:
        """Wait until a request is late; return whether it is: one whose reply is being checked is not."""
        sent_at = None
        while sent_at != entrant.sent_at:  # it may have gone out again, in another form
            sent_at = entrant.sent_at
            await self._hedge.late(sent_at)
        return entrant.run.is_sent and not entrant.task.done()

    def _enter_twin(self, route: Route, *, is_twin: bool) -> tuple[Run, Go]:
        twin, move = self._run.twin(route), Go(route)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - `_send_twin` is a task
        self._enter(twin, move, task, is_twin=is_twin)
        return twin, move


def _twin_route(run: RunMemory, late: Route, health: Health, now: float) -> Route | None:
    """Return the least busy free route of a late request's tier, this one only if it is the last; None: none is free.

    Args:
        run: the run's memory.
        late: the route that the late request was sent to.
        health: the holds, and what is in flight.
        now: the time on the clock.
    """
    tier = next(keys for keys in run.tiers if any(late in routes for routes in keys))
    free = [route for routes in tier for route in routes if _is_free(run, route, health, now)]
    others = [route for route in free if route is not late]
    return min(others or free, key=health.traffic.in_flight, default=None)


def _is_free(run: RunMemory, route: Route, health: Health, now: float) -> bool:
    """Whether a route can be asked now, by one that probes no hold and takes no other request's turn."""
    is_left = route in run.used_up or run.ready_at.get(route, now) > now
    is_free = not is_left and health.status(route, now, run.needs)[0] is RouteStatus.FREE
    return is_free and health.traffic.can_send(route, now, run)
