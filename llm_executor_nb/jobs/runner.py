"""Runs a job: many requests down one chain, concurrently, each with its own result.

One loop draws requests window by window and asks the ledger which of them are answered, or asked by another job now. It
starts a row only when a slot is free for it, so the number of rows under way is bounded. A failure is a result too.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.outcomes import Decision
from llm_executor_nb.engine.request import Row, RunRequest
from llm_executor_nb.jobs.answers import AnswerCache
from llm_executor_nb.jobs.hedging import Hedging
from llm_executor_nb.jobs.part import Part, Workings
from llm_executor_nb.jobs.requests import RequestMaker, RequestQueue
from llm_executor_nb.jobs.results import Results, RowResult, Status
from llm_executor_nb.jobs.rows import RowRun
from llm_executor_nb.jobs.slots import ConcurrencyLimit
from llm_executor_nb.jobs.state import Standing, snapshot_of
from llm_executor_nb.jobs.stop_rules import StopRules
from llm_executor_nb.store.records import Answer, JobStart, Turn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.errors import LLMExecutorError
    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.engine.engine import Engine
    from llm_executor_nb.jobs.options import JobOptions, PartOf
    from llm_executor_nb.jobs.requests import PromptSource, Request
    from llm_executor_nb.store.ledger_store import LedgerStore
    from llm_executor_nb.view.snapshot import Snapshot

_LOOK_AGAIN_S = 0.25
"""Seconds between looks at what another job asks, or at a ledger that cannot be written."""


class JobRunner:
    """Runs one job on the private loop.

    When a rule ends the job early, requests in flight finish; when the job is cancelled, they are cancelled.

    Args:
        options: what all rows share.
        prompts: the rows.
        engine: runs each request.
        health: the holds, which all jobs share.
        ledger: stores each attempt and each answer.
        taken: runs whose answers other rows of the frame have already.
        part: what this is of a job that runs in several processes; None: it is the whole job.
    """

    def __init__(
        self,
        options: JobOptions,
        prompts: PromptSource,
        *,
        engine: Engine,
        health: Health,
        ledger: LedgerStore,
        taken: Iterable[str] = (),
        part: PartOf | None = None,
    ) -> None:
        number = secrets.token_hex(4)
        self.job_id = secrets.token_hex(6) if part is None else part.job_id
        self._entry = self.job_id if part is None else f"{self.job_id}.{number}"
        self._offset = 0 if part is None else part.offset
        self.run_ids = f"{self.job_id}-{'' if part is None else number}"
        self.options = options
        self.results = Results(prompts.is_asked)
        self.began_at = clock.current().now()
        self.ended_at: float | None = None
        self._prompts, self._engine, self._health, self._ledger = prompts, engine, health, ledger
        self._routes = tuple(options.chain.routes())
        self._slots = ConcurrencyLimit(options.concurrency, None if options.budget_usd is None else self._may_send)
        self._hedging = None if options.hedge is None else Hedging(options.hedge)
        self.stop_rules = StopRules(options, health, self._must_end)
        maker = RequestMaker(options, taken, None if part is None else part.copies)
        is_drawn = bool(options.params.get("temperature"))
        self._queue = RequestQueue(prompts, maker, self.results.share, keeps_order=is_drawn)
        self.reuse = AnswerCache(options, ledger, self.job_id, maker, entry=self._entry, part=part)
        self._part = None if part is None else self._as_part(part)
        self._asked_elsewhere: deque[Request] = deque()
        self._rows: dict[asyncio.Task[None], RowRun] = {}
        self._feeding: asyncio.Task[None] | None = None
        self._running: asyncio.Task[Any] | None = None
        self._runs = self._asked = 0
        self._crash: BaseException | None = None

    def enter(self) -> None:
        """Enter the job in the ledger; in the caller's thread, so that an error of the ledger is raised there."""
        self._ledger.begin_job(
            JobStart(
                job_id=self._entry,
                model=self.options.chain.model,
                column=self.options.column,
                rows=len(self.results),
                requests=self.results.rows_left,
                started_utc=clock.current().utc(),
                part_of=None if self._part is None else self.job_id,
            )
        )

    async def run(self) -> None:
        """Run the job; on the private loop. Cancelling it cancels requests in flight and keeps the results so far."""
        beside: list[asyncio.Task[None]] = []
        self._running = asyncio.current_task()
        status = "stopped"
        try:
            if self._part is not None:
                await self._part.meet()  # before that it has no share of anything
                beside.append(asyncio.ensure_future(self._part.keep_meeting()))
                beside[-1].add_done_callback(self._end_if_crashed)
            beside.append(asyncio.ensure_future(self.stop_rules.watch()))  # a part knows its time from that meeting
            self._feeding = asyncio.ensure_future(self._feed_all())
            await asyncio.wait({self._feeding})
            if not self._feeding.cancelled():
                self._feeding.result()  # raises what it raised
            while self._rows and not self.stop_rules.is_ending:
                await self._slots.changed()
            await self._let_finish()
            if not self.results.rows_left:
                self.stop_rules.was_in_time()
            status = self._status()
        finally:
            for task in (*beside, *([self._feeding] if self._feeding else [])):
                task.cancel()
            await self._cancel_rows()
            if self._part is not None:
                await self._part.end()
            self._ledger.end_job(self._entry, status)
            self.results.close()
            self.ended_at = clock.current().now()
        if self._crash is not None:
            raise self._crash

    def snapshot(self) -> Snapshot:
        """Return how the job stands; from any thread."""
        standing = Standing(
            routes=self._routes,
            health=self._health,
            began_at=self.began_at,
            ended_at=self.ended_at,
            asked=self._asked,
            waiting=len(self._asked_elsewhere),
            trouble=self._ledger.trouble,
            in_flight=self._slots.state if self.ended_at is None else "",
        )
        return snapshot_of(self.results, self.stop_rules, self.reuse, standing)

    def _as_part(self, part: PartOf) -> Part:
        workings = Workings(
            ledger=self._ledger,
            health=self._health,
            results=self.results,
            slots=self._slots,
            rules=self.stop_rules,
            snapshot=self.snapshot,
            reserved_usd=lambda: self.stop_rules.budget.reserved_usd(
                [run for row, run in self._rows.items() if self._slots.is_in_flight(row)]
            ),
            cancel=self._cancel,
        )
        return Part(part, self._entry, self.options, workings)

    def _cancel(self) -> None:
        """Cancel requests in flight and keep the results so far."""
        if self._running is not None:
            self._running.cancel()

    def _status(self) -> str:
        if self.stop_rules.error is not None:
            return "failed"
        return "stopped" if self.stop_rules.is_ending else "done"

    def _must_end(self) -> None:
        """Begin no more rows: a look at a slow ledger, or at a stored answer, must not outlast the job's bounds."""
        if self._feeding is not None:
            self._feeding.cancel()
        self._slots.notify()

    # --- feeding ------------------------------------------------------------------------------------------------

    async def _feed_all(self) -> None:
        """Begin every row in turn; a request of another job comes back to the queue until it has an answer."""
        while not self.stop_rules.is_ending and not (self._queue.is_empty and not self._asked_elsewhere):
            drawn = self._draw()
            waiting = self._asked_elsewhere
            if not drawn and waiting and not await self._pause():
                return
            window = [waiting.popleft() for _ in range(min(len(waiting), self.reuse.window))]
            await self._feed_window([*window, *drawn])

    def _draw(self) -> list[Request]:
        """Return the next requests: a window of them, or one at random while a route is in doubt."""
        if self._queue.is_empty:
            return []
        return self._queue.take_at_random() if self._is_in_doubt() else self._queue.take(self.reuse.window)

    def _is_in_doubt(self) -> bool:
        """Whether a route has failures that no answer explains, or is on hold for a streak of them."""
        routes, now = self._routes, clock.current().now()
        # Rows that keep their order wait for the hold: out of order, two processes would buy the same draws twice.
        if not self._queue.keeps_order and self._health.evidence.is_in_doubt(routes):
            return True
        return self._health.has_streak(routes, now)

    def _has_fresh(self) -> bool:
        """Whether a row waits to be asked that has not failed yet."""
        return not self._queue.is_empty or self._slots.has_unsent

    async def _feed_window(self, window: list[Request]) -> None:
        waiting = [request for request in window if request.error is None]
        turns = await self._turns(waiting)
        for request in (request for request in window if request.error is not None):
            self._begin(request)
        pairs = list(zip(waiting, turns, strict=False))
        to_ask = await self.reuse.take(pairs, self.results, at_once=self._slots.limit, failed=self._check_failed)
        for place, (request, turn) in enumerate(to_ask):
            if len(waiting) > 1 and self._is_in_doubt():
                # design 3.2: from now on the next row must be one drawn at random, not the next of this window
                self._queue.put_back(request for request, _ in to_ask[place:])
                return
            if self._part is not None and self._part.is_over:
                continue  # what is stored was taken
            if turn is not Turn.THEIRS and not await self._has_room():
                continue
            if turn is Turn.THEIRS or not self.reuse.is_claim_valid:
                self._asked_elsewhere.append(request)
            else:
                self._begin(request)
                await asyncio.sleep(0)  # lets the row take its slot before the next one looks for room

    async def _turns(self, window: list[Request]) -> list[Answer | Turn]:
        """Ask the ledger whose turn each request is; wait while the ledger cannot store what would be bought."""
        under_way = [run.request for run in self._rows.values()]
        while not self.stop_rules.is_ending:
            turns = await self.reuse.claimed(under_way, window)
            if turns is not None:
                return turns
            if not await self._pause():
                break
        return []

    async def _has_room(self) -> bool:
        """Wait until one more row may begin; False when the job must end."""
        while not self.stop_rules.is_ending:
            is_full = not self._slots.has_room or self._is_full()
            if not is_full and self._ledger.trouble:
                await self._pause()  # an answer that cannot be stored would be paid for twice
            elif not is_full:
                return True
            else:
                await self._slots.changed()
        return False

    def _is_full(self) -> bool:
        """Whether no more rows may be under way."""
        # design 3.2: a place is always kept free for the probe of a hold, however many failed rows wait
        is_for_probe = self._is_in_doubt() and not self._slots.has_unsent
        return (self._slots.is_full_of(len(self._rows)) or self.stop_rules.has_doubts) and not is_for_probe

    def _may_send(self, row: asyncio.Task[None], in_flight: Collection[asyncio.Task[None]]) -> bool:
        return self.stop_rules.has_money_for(self._rows[row], [self._rows[one] for one in in_flight])

    async def _pause(self) -> bool:
        """Wait in real time for something outside this process; return whether the job goes on."""
        async with clock.current().timeout(None):
            await asyncio.sleep(_LOOK_AGAIN_S)
        if not self._rows:
            self.stop_rules.reset_silence()
        return not self.stop_rules.is_ending

    def _begin(self, request: Request) -> None:
        self._runs += 1
        run = RowRun(request, f"{self.run_ids}{self._runs:x}")
        row = asyncio.create_task(self._run_row(run))
        self._rows[row] = run
        self._slots.enter(row)
        row.add_done_callback(self._row_ended)

    def _row_ended(self, row: asyncio.Task[None]) -> None:
        self._rows.pop(row, None)
        self._end_if_crashed(row)
        if self.stop_rules.budget.is_used_up and not all(map(self._slots.is_in_flight, self._rows)):
            self.stop_rules.end_by_dollars()  # rows that wait for a retry would be sent although nothing is left
        self._slots.leave(row)

    def _end_if_crashed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (crash := task.exception()) is not None:
            self._crash = crash
            self.stop_rules.end("ended early by an error in llm_executor_nb itself")

    async def _let_finish(self) -> None:
        """Let requests in flight finish, since they may be paid for already; cancel rows that only wait."""
        self._slots.close()
        cut_at = self.stop_rules.cut_at
        while self._rows:
            is_late = cut_at is not None and clock.current().now() >= cut_at
            for row in self._rows:
                if is_late or not self._slots.is_in_flight(row):
                    row.cancel()
            await self._changed_until(None if is_late else cut_at)

    async def _changed_until(self, end: float | None) -> None:
        """Wait until a row has ended, or until a time on the clock."""
        if end is None:
            await self._slots.changed()
            return
        left = max(0.0, end - clock.current().now())
        waiting = [asyncio.ensure_future(wait) for wait in (self._slots.changed(), clock.current().sleep(left))]
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

    async def _run_row(self, run: RowRun) -> None:
        if run.request.error is not None:
            self._failed(run, run.refused(run.request.error), run.request.error)
            return
        try:
            result = await run.run(self._run_request(run), self._engine)
        except asyncio.CancelledError:
            if (cancelled := run.cancelled(is_hopeless=self.stop_rules.is_hopeless)) is not None:
                self.results.put(run.request.position, cancelled)
            raise
        if run.failure is not None:
            self._failed(run, result, run.failure)
        else:
            self._answered(run, result)

    def _answered(self, run: RowRun, result: RowResult) -> None:
        self._ledger.keep(run.attempts[-1:], self.reuse.new_answer(run, result))
        self.results.put(run.request.position, result)
        self.results.fallbacks += run.is_via_fallback
        self.stop_rules.answered()

    def _failed(self, run: RowRun, result: RowResult, error: LLMExecutorError) -> None:
        self.results.put(run.request.position, result)
        self.stop_rules.failed(error, run.attempts)

    def _check_failed(self, request: Request, error: LLMExecutorError) -> None:
        """Note that a function of the user's failed on a stored answer; what ends a job on a fresh one ends it too."""
        self.results.put(request.position, RowResult(status=Status.FAILED, error=shorten(str(error))))
        if isinstance(error, ConfigError):
            self.stop_rules.error = error
            self.stop_rules.end("")
        else:
            self.stop_rules.failed(error, ())

    def _run_request(self, run: RowRun) -> RunRequest:
        options, position = self.options, run.request.position
        label = self._prompts.label(position)
        return RunRequest(
            chain=options.chain,
            payload=run.request.payload or {},
            schema=options.schema,
            extra_body=options.extra_body,
            policy=options.policy,
            has_tier_fallback=options.has_tier_fallback,
            timeout_s=options.timeout_s,
            deadline_s=options.deadline_s,
            accept=options.accept,
            takes_text=options.accept is None,
            record=lambda attempt: self._attempted(run, attempt),
            bill=lambda attempt, message: self.stop_rules.budget.bill(attempt, run, message),
            row=Row(job_id=self.job_id, row=label, position=self._offset + position, column=options.column),
            slots=self._slots,
            hedge=self._hedging,
            rows_left=lambda: self.results.rows_left,
            has_fresh=self._has_fresh,
            run_id=run.run_id,
        )

    def _attempted(self, run: RowRun, attempt: Attempt) -> None:
        """Store an attempt at once; an accepted one is stored together with its answer."""
        run.attempts.append(attempt)
        self._asked += len(run.attempts) == 1
        self.stop_rules.attempted(attempt)
        self._slots.replied(attempt.outcome, attempt.duration_s)
        if attempt.decision is not Decision.ACCEPT:
            self._ledger.keep([attempt], None)
