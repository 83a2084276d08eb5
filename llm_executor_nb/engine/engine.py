"""The only retry loop. It asks the policy for the next move, carries it out, and has the run note what came of it.

A run ends with an accepted answer or with one of our errors. Whatever a provider does becomes a verdict. The engine
knows no store (it is handed `record`), no pandas and no front end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, assert_never

from llm_executor_nb.core import clock
from llm_executor_nb.core.moves import Go, Join, Stop, Wait
from llm_executor_nb.engine import paid_calls
from llm_executor_nb.engine.acceptance import accepted
from llm_executor_nb.engine.race import Race, hedge_for
from llm_executor_nb.engine.run import Run
from llm_executor_nb.engine.run_end import error_at_end
from llm_executor_nb.engine.stream import HoldUntil, StreamBuffer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from langchain_core.messages import AIMessage, AIMessageChunk

    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.records import Key, Route
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.engine.sender import Sender, SendResult
    from llm_executor_nb.providers.open_files import OpenFiles
    from llm_executor_nb.settings.options import Options


class Engine:
    """Runs requests down their chains.

    Args:
        senders: backend -> what sends to it; bound to the loop the runs are on.
        health: the holds, shared by all runs.
        config: the waits, retries and ceiling in force.
        open_files: bounds the requests in flight, shared by all engines on the loop.
    """

    def __init__(
        self, *, senders: Mapping[str, Sender], health: Health, config: Options, open_files: OpenFiles
    ) -> None:
        self._senders = senders
        self._open_files = open_files
        self._health = health
        self._config = config

    async def run(
        self, request: RunRequest, *, on_chunk: Callable[[AIMessageChunk], Awaitable[None]] | None = None
    ) -> AIMessage:
        """Return the first accepted answer of the chain.

        Args:
            request: what is asked.
            on_chunk: takes the answer's chunks as they come; None: whole replies are asked for.

        Raises:
            StreamInterruptedError: a stream broke after its reader had some of it.
            RequestError: a provider refused the request on its merits.
            AllRoutesFailedError: every route was tried and failed, or is held.
            DeadlineError: the deadline passed first.
        """
        run = Run(request, self._health, self._config, on_chunk and _buffer_for(request, on_chunk))
        try:
            return await self._walk(run)
        finally:
            run.learning.end()

    async def _walk(self, run: Run) -> AIMessage:
        """Go from move to move until there is an answer."""
        is_first = True
        while True:
            changes = self._health.changes  # read before the move: a change while it is decided must wake the wait
            move = run.next_move()
            match move:
                case Go():
                    if (message := await self._go(run, move, is_first=is_first)) is not None:
                        return message
                case Wait():
                    await self._wait(run, move, changes)
                case Join():
                    await self._join(run, move)
                case Stop():
                    raise error_at_end(run, move, self._health)
                case _:
                    assert_never(move)
            is_first = False

    # --- sending ------------------------------------------------------------------------------------------------

    async def _go(self, run: Run, move: Go, *, is_first: bool) -> AIMessage | None:
        """Take a slot and make the attempt, if it is still the next move."""
        has_waited = await run.request.slots.acquire()
        try:
            if is_first and not has_waited:  # nearly every request: the move was decided just now
                return await self._attempt(run, move)
            run.memory.reorder()  # design 3.4: the free key with the fewest in flight may be another one by now
            again = run.next_move()  # the wait for the slot may have been long, and the route may be on hold by now
            return await self._attempt(run, again) if isinstance(again, Go) else None
        finally:
            run.request.slots.release()

    async def _attempt(self, run: Run, move: Go) -> AIMessage | None:
        """Make one attempt, and let the run settle it."""
        if (hedge := hedge_for(run, move)) is not None:
            return await Race(run, move, hedge, self._health, self._send_until_settled).run()
        run.begin(move)
        verdict = None
        try:
            result = await self._send_until_settled(run, move)
            verdict = result.verdict
            verdict, message = await accepted(run, move.route, result)
            await run.settle(move, verdict, result.message)
            if message is None and (error := run.error_after(verdict)) is not None:
                raise error
        except (asyncio.CancelledError, SystemExit, KeyboardInterrupt):  # the last two: of the user's functions
            run.cancelled(verdict)
            raise
        finally:  # whatever ended it: the other runs wait for this probe (design 3.2)
            run.end_probe()
        if run.buffer is not None and message is not None:
            await run.buffer.release()  # only now: a slow reader is no part of the attempt's time
        return message

    async def _send_until_settled(self, run: Run, move: Go) -> SendResult:
        """Send; and again at once, if the connection had died unused or what we added was refused.

        So it is when the place of a refused key holds another one by now. None of this is the route's or the request's
        fault, so it uses up no retry (design 3.1).
        """
        result = await self._send(run, move.route)
        if result.may_resend:
            run.resent(result.verdict)
            result = await self._send(run, move.route)
        if (key := run.refused_key(result.verdict)) is not None and await self._is_replaced(key):
            run.resent(result.verdict)
            result = await self._send(run, move.route)
        while (verdict := run.without_extras(move, result.verdict)) is not None:
            run.resent(verdict)
            result = await self._send(run, move.route)
        return result

    async def _send(self, run: Run, route: Route) -> SendResult:
        """Send one request."""
        sender = self._senders[route.backend]
        # before anything is noted: a refused call is not an attempt
        if paid_calls.are_forbidden() and (place := sender.paid_at(route, self._config.practice_url)) is not None:
            paid_calls.refuse(place)
        request = run.request_for(route, takes_extras=sender.takes_extras)
        async with self._open_files:  # before it counts as sent: this wait is no part of the attempt
            asked = run.sent(route)
            try:
                if run.buffer is None:
                    return await sender.whole(request, asked, timeout_s=run.attempt_bound_s)
                return await sender.streamed(
                    request, asked, timeout_s=request.timeout_s, until=run.memory.deadline, buffer=run.buffer
                )
            finally:
                self._health.returned(route)

    async def _is_replaced(self, refused: Key) -> bool:
        """Whether the place that a refused key came from holds another one by now: a login may have been refreshed."""
        # in a thread: it may ask a service over the network
        looking = asyncio.get_running_loop().run_in_executor(None, self._config.keys.renewed, refused)
        await asyncio.wait([looking], timeout=self._config.patience.key_place_s)
        return looking.done() and looking.result() is not None

    # --- waiting ------------------------------------------------------------------------------------------------

    async def _wait(self, run: Run, move: Wait, changes: int) -> None:
        """Wait until a time, or until the holds have changed, whichever comes first."""
        began = clock.current().now()
        run.learning.begin_wait(move)
        await until_changed(self._health, move.until, changes, is_exact=move.is_for_slot)
        run.waited(move, began)

    async def _join(self, run: Run, move: Join) -> None:
        """Wait for the reply of another run's probe."""
        began, scopes = clock.current().now(), run.scopes_held(move.route)
        while True:
            changes = self._health.changes
            if not run.is_joining(move.route):
                break
            await until_changed(self._health, run.memory.deadline, changes)
        await run.joined(move.route, scopes, began)


def _buffer_for(request: RunRequest, on_chunk: Callable[[AIMessageChunk], Awaitable[None]]) -> StreamBuffer:
    is_checked = request.accept is not None or request.schema is not None
    return StreamBuffer(on_chunk, hold_until=HoldUntil.ACCEPTED if is_checked else HoldUntil.TEXT)


async def until_changed(health: Health, until: float | None, changes: int, *, is_exact: bool = False) -> None:
    """Sleep until a time on the clock, or until the holds have changed, whichever comes first.

    Args:
        health: the holds.
        until: the time; None: none.
        changes: `health.changes` as the caller read it.
        is_exact: a millisecond matters, and is worth some work.
    """
    has_changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    unwatch = health.watch(lambda: loop.call_soon_threadsafe(has_changed.set))
    if health.changes != changes:  # only now: a change before the watch began would be missed
        has_changed.set()
    waiting: set[asyncio.Future[Any]] = {asyncio.ensure_future(has_changed.wait())}
    if until is not None:
        time = clock.current()
        sleeping = time.sleep_until(until) if is_exact else time.sleep(max(0.0, until - time.now()))
        waiting.add(asyncio.ensure_future(sleeping))
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unwatch()
        for task in waiting:
            task.cancel()
