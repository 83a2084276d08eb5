"""The work of a job: many requests down one chain, concurrently, each with its own line in the result.

One feeder draws requests a window at a time, asks the ledger which of them are answered already or asked by another
job now, and starts a row only when a slot is free for it; so there are never more rows under way than may be in flight
or parked. What a row comes to is kept by its position; a failure is a result too.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.core.holds import Kind
from llm_executor_nb.core.outcomes import Decision
from llm_executor_nb.frames.ending import Ending
from llm_executor_nb.frames.feed import Feed
from llm_executor_nb.frames.requests import RequestMaker
from llm_executor_nb.frames.results import Results, Status
from llm_executor_nb.frames.reuse import Reuse
from llm_executor_nb.frames.rows import RowRun, make_ask
from llm_executor_nb.frames.slots import Slots
from llm_executor_nb.frames.standing import snapshot_of
from llm_executor_nb.store.records import Answer, JobStart, Turn

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from llm_executor_nb.chain.ask import Ask
    from llm_executor_nb.chain.engine import Engine
    from llm_executor_nb.core.errors import LLMExecutorError
    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.records import Attempt
    from llm_executor_nb.frames.order import Order
    from llm_executor_nb.frames.prompts import Prompts
    from llm_executor_nb.frames.requests import Request
    from llm_executor_nb.frames.results import RowResult
    from llm_executor_nb.store.ledger import Ledger
    from llm_executor_nb.view.snapshot import Snapshot

_LOOK_AGAIN_S = 0.25
"""Seconds between looks at what another job asks, or at a ledger that cannot be written."""


class Work:
    """What one job does on the private loop.

    When it ends early by a rule, requests in flight come to their end; when it is cancelled, they are cancelled.

    Args:
        order: what all rows share.
        prompts: the rows.
        index: the frame's.
        engine: runs each request.
        health: the holds, which all jobs share.
        ledger: keeps each attempt and each answer.
        taken: runs whose answers other rows of the frame have already.
    """

    def __init__(
        self,
        order: Order,
        prompts: Prompts,
        *,
        index: pd.Index[str],
        engine: Engine,
        health: Health,
        ledger: Ledger,
        taken: Iterable[str] = (),
    ) -> None:
        self.job_id = secrets.token_hex(6)
        self.order = order
        self.results = Results(prompts.is_asked)
        self.counts: Counter[str] = Counter(skipped=prompts.is_asked.count(0))
        self.is_over = False
        self.ended: float | None = None
        self.began = clock.current().now()
        self._index, self._engine, self._health, self._ledger = index, engine, health, ledger
        self._slots = Slots(order.concurrency)
        self.ending = Ending(order, health, self._slots.stir)
        self._maker = RequestMaker(order, taken)
        self._routes = tuple(order.chain.routes())
        self._feed = Feed(prompts, self._maker, self._share, keeps_order=bool(order.params.get("temperature")))
        self.reuse = Reuse(order, ledger, self.job_id)
        self._later: deque[Request] = deque()
        self._rows: dict[asyncio.Task[None], RowRun] = {}
        self._left = sum(prompts.is_asked)
        self._runs = 0
        self._crash: BaseException | None = None

    def enter(self) -> None:
        """Enter the job in the ledger, in the caller's thread: what is wrong with it is told there."""
        self._ledger.begin_job(
            JobStart(
                job_id=self.job_id,
                model=self.order.chain.recipe.model,
                column=self.order.column,
                rows=len(self.results),
                requests=self._left,
                started_utc=clock.current().utc(),
            )
        )

    async def work(self) -> None:
        """Do the work; on the private loop. Cancelling it cancels what is in flight and keeps what is done."""
        watch = asyncio.ensure_future(self.ending.watch())
        status = "stopped"
        try:
            await self._feed_all()
            while self._rows and not self.ending.is_set:
                await self._slots.stirred()
            await self._let_finish()
            if not self._left:
                self.ending.was_in_time()
            status = "failed" if self.ending.error is not None else "stopped" if self.ending.is_set else "done"
        finally:
            watch.cancel()
            await self._cancel_rows()
            self._ledger.end_job(self.job_id, status)
            self.ended, self.is_over = clock.current().now(), True
        if self._crash is not None:
            raise self._crash

    def snapshot(self) -> Snapshot:
        """Return how the job stands; from any thread."""
        return snapshot_of(self, self._health, self._ledger, waiting=len(self._later))

    # --- feeding ------------------------------------------------------------------------------------------------

    async def _feed_all(self) -> None:
        """Begin every row in turn; what another job asks comes back to the queue until it has an answer."""
        while not self.ending.is_set and not (self._feed.is_dry and not self._later):
            drawn = self._draw()
            if not drawn and self._later and not await self._pause():
                return
            window = [self._later.popleft() for _ in range(min(len(self._later), self.reuse.window))]
            await self._feed_window([*window, *drawn])

    def _draw(self) -> list[Request]:
        """Return the next requests: a window in order, or one at random while a route is in doubt."""
        if self._feed.is_dry:
            return []
        return self._feed.take_at_random() if self._is_in_doubt() else self._feed.take(self.reuse.window)

    def _is_in_doubt(self) -> bool:
        """Whether a route has failures that no answer explains, or is held for a streak of them.

        Rows that keep their order wait for the hold: out of turn, two processes buy more of the same draws.
        """
        routes, now = self._routes, clock.current().now()
        if not self._feed.keeps_order and self._health.evidence.is_in_doubt(routes):
            return True
        return any(hold.kind is Kind.STREAK for route in routes for hold in self._health.of(route, now))

    def _has_fresh(self) -> bool:
        """Whether a row waits to be asked that has not failed yet."""
        return not self._feed.is_dry or self._slots.has_unsent

    async def _feed_window(self, window: list[Request]) -> None:
        waiting = [request for request in window if request.error is None]
        turns = await self._turns(waiting)
        for request in (request for request in window if request.error is not None):
            self._begin(request)
        for place, (request, turn) in enumerate(zip(waiting, turns, strict=False)):
            if len(waiting) > 1 and self._is_in_doubt():
                self._feed.put_back(waiting[place:])
                return
            if isinstance(turn, Answer):
                self._maker.take(request, turn.run_id)
                found = await self.reuse.result(turn)
                if found is not None:
                    self._reused(request, found)
                    continue
            if turn is not Turn.THEIRS and not await self._has_room():
                continue
            if turn is Turn.THEIRS or not self.reuse.is_held:
                self._later.append(request)
            else:
                self._begin(request)
                await asyncio.sleep(0)

    async def _turns(self, window: list[Request]) -> list[Answer | Turn]:
        """Ask the ledger whose turn each request is; wait while it cannot keep what would be bought."""
        under_way = [run.request for run in self._rows.values()]
        while not self.ending.is_set:
            turns = await self.reuse.claimed(under_way, window)
            if turns is not None:
                return turns
            if not await self._pause():
                break
        return []

    async def _has_room(self) -> bool:
        """Wait until one more row may begin; say no when the job is to end."""
        while not self.ending.is_set:
            is_full = not self._slots.has_room or self._is_full()
            if not is_full and self._ledger.trouble:
                await self._pause()
            elif not is_full and self.ending.has_money_for(len(self._rows)):
                return True
            elif not self.ending.is_set:
                await self._slots.stirred()
        return False

    def _is_full(self) -> bool:
        """Whether no more rows may be under way; a probe has a place, however many rows wait that have failed."""
        is_for_probe = self._is_in_doubt() and not self._slots.has_unsent
        return self._slots.is_full_of(len(self._rows)) and not is_for_probe

    async def _pause(self) -> bool:
        """Wait for something outside this process, in real time; say whether the job goes on."""
        async with clock.current().timeout(None):
            await asyncio.sleep(_LOOK_AGAIN_S)
        if not self._rows:
            self.ending.pardon()
        return not self.ending.is_set

    def _begin(self, request: Request) -> None:
        self._runs += 1
        run = RowRun(request, f"{self.job_id}-{self._runs:x}")
        row = asyncio.ensure_future(self._row(run))
        self._rows[row] = run
        self._slots.enter(row)
        row.add_done_callback(self._ended)

    def _ended(self, row: asyncio.Task[None]) -> None:
        self._rows.pop(row, None)
        if not row.cancelled() and (crash := row.exception()) is not None:
            self._crash = crash
            self.ending.end("ended early by an error in llm_executor_nb itself")
        if self.ending.is_used_up and not all(map(self._slots.holds, self._rows)):
            self.ending.use_up()  # what waits would be sent although nothing is left
        self._slots.leave(row)

    async def _let_finish(self) -> None:
        """Let what is in flight come to its end, for it may be paid already; what waits is cancelled."""
        self._slots.close()
        while self._rows:
            is_late = self.ending.cut_at is not None and clock.current().now() >= self.ending.cut_at
            for row in self._rows:
                if is_late or not self._slots.holds(row):
                    row.cancel()
            await self._stirred_until(None if is_late else self.ending.cut_at)

    async def _stirred_until(self, end: float | None) -> None:
        """Wait until a row has ended, or until a time on the clock."""
        if end is None:
            await self._slots.stirred()
            return
        left = max(0.0, end - clock.current().now())
        waiting = [asyncio.ensure_future(wait) for wait in (self._slots.stirred(), clock.current().sleep(left))]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _cancel_rows(self) -> None:
        rows = list(self._rows)
        for row in rows:
            row.cancel()
        await asyncio.gather(*rows, return_exceptions=True)

    # --- one row ------------------------------------------------------------------------------------------------

    async def _row(self, run: RowRun) -> None:
        if run.request.error is not None:
            self._failed(run, run.refused(run.request.error), run.request.error)
            return
        try:
            result = await run.run(self._ask(run), self._engine)
        except asyncio.CancelledError:
            if (left := run.cancelled(is_hopeless=self.ending.is_hopeless)) is not None:
                rows = self.results.put(run.request.position, left)
                if left.status is Status.FAILED:
                    self._count(rows, "failed")
            raise
        if run.failure is not None:
            self._failed(run, result, run.failure)
        else:
            self._answered(run, result)

    def _ask(self, run: RowRun) -> Ask:
        return make_ask(
            self.order,
            run,
            job_id=self.job_id,
            index=self._index,
            slots=self._slots,
            rows_left=lambda: self._left,
            has_fresh=self._has_fresh,
            record=self._attempted,
        )

    def _attempted(self, attempt: Attempt) -> None:
        """Keep an attempt at once; an accepted one together with its answer."""
        self.ending.attempted(attempt)
        if attempt.decision is not Decision.ACCEPT:
            self._ledger.keep([attempt], None)

    def _answered(self, run: RowRun, result: RowResult) -> None:
        self._maker.take(run.request, run.run_id)
        self._ledger.keep(run.attempts[-1:], self.reuse.answer(run, result, self._maker))
        self._count(self.results.put(run.request.position, result), "ok")
        self.counts["fallback"] += run.is_via_fallback
        self.ending.answered()
        self._slots.grow()

    def _failed(self, run: RowRun, result: RowResult, error: LLMExecutorError) -> None:
        self._count(self.results.put(run.request.position, result), "failed")
        self.ending.failed(error, run.attempts)

    def _reused(self, request: Request, result: RowResult) -> None:
        self._count(self.results.put(request.position, result), "cached")

    def _share(self, position: int, first: int) -> None:
        """Let a row share what the first one with its request comes to, or has come to."""
        status = self.results.share(position, first)
        if status is not None and status is not Status.CANCELLED:
            self._count(1, status.value)

    def _count(self, rows: int, what: str) -> None:
        self._left -= rows
        self.counts[what] += rows
