"""The work of a job: many requests down one chain, concurrently, each with its own line in the result.

One feeder draws requests from a list and starts a row only when a slot is free for it, so there are never more rows
under way than may be in flight or parked. What a row comes to is kept by its position; a failure is a result too.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.api import split_request
from llm_executor_nb.chain.ask import Ask, Row
from llm_executor_nb.chain.waiting import until_changed
from llm_executor_nb.core import advice, clock
from llm_executor_nb.core.classify import shorten
from llm_executor_nb.core.errors import AllRoutesFailedError, ConfigError, LLMExecutorError, PaidCallForbiddenError
from llm_executor_nb.core.holds import Kind, Standing, describe
from llm_executor_nb.core.outcomes import RULES, Outcome
from llm_executor_nb.frames.slots import Slots
from llm_executor_nb.providers.payload import make_payload
from llm_executor_nb.view.progress import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.messages import AIMessage

    from llm_executor_nb.chain.compile import Chain
    from llm_executor_nb.chain.engine import Engine
    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.records import Attempt

SAME_CAUSE_ROWS = 20
NO_ANSWER_S = 600.0


class Status(StrEnum):
    """What became of a row."""

    OK = auto()
    CACHED = auto()
    FAILED = auto()
    SKIPPED = auto()
    CANCELLED = auto()


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and the rows that share it: their positions and the first one's index label."""

    request: object
    positions: tuple[int, ...]
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """What one request came to.

    Attributes:
        status: ok, failed or cancelled.
        answer: the text; None: there is none.
        outcomes: of its attempts, in order.
        route: who answered; None: nobody.
        error: the outcome and the provider's words; None: none.
        run_id: joins it to its attempts.
    """

    status: Status
    answer: str | None = None
    outcomes: tuple[str, ...] = ()
    route: str | None = None
    error: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What all rows of a job share: the arguments of `run`, checked."""

    chain: Chain
    column: str
    params: Mapping[str, Any]
    system: str | None
    accept: Callable[[AIMessage], object] | None
    extra_body: Mapping[str, Mapping[str, Any]] | None
    timeout_s: float | None
    deadline_s: float | None
    concurrency: int | None
    is_raising: bool


class Work:
    """What one job does on the private loop.

    When it ends early by a rule, requests in flight come to their end; when it is cancelled, they are cancelled.

    Args:
        order: what all rows share.
        requests: what is asked, each once.
        total, skipped: rows of the frame, and those without input.
        engine: runs each request.
        health: for the progress line.
        record: keeps each attempt.
    """

    def __init__(
        self,
        order: Order,
        requests: Sequence[Request],
        *,
        total: int,
        skipped: int,
        engine: Engine,
        health: Health,
        record: Callable[[Attempt], None],
    ) -> None:
        self.job_id = secrets.token_hex(8)
        self.results: dict[int, RowResult] = {}
        self.error: LLMExecutorError | None = None
        self.note = ""
        self._order = order
        self._requests = requests
        self._total, self._skipped = total, skipped
        self._engine, self._health, self._record = engine, health, record
        self._slots = Slots(order.concurrency)
        self._rows: set[asyncio.Task[None]] = set()
        self._left = len(requests)
        self._began = self._answered_at = clock.current().now()
        self._counts: Counter[str] = Counter()
        self._last_cause: Outcome | None = None
        self._same_cause: tuple[Outcome | None, int] = (None, 0)
        self._crash: BaseException | None = None
        self._is_ending = False
        self._is_over = False

    async def work(self) -> None:
        """Do the work; on the private loop. Cancelling it cancels what is in flight and keeps what is done."""
        watch = asyncio.ensure_future(self._watch())
        try:
            for request in self._requests:
                await self._wait_for_room()
                if self._is_ending:
                    break
                self._begin(request)
                await asyncio.sleep(0)
            while self._rows and not self._is_ending:
                await self._slots.stirred()
            await self._let_finish()
        finally:
            watch.cancel()
            await self._cancel_rows()
            self._is_over = True
        if self._crash is not None:
            raise self._crash

    def snapshot(self) -> Snapshot:
        """Return how the job stands; from any thread."""
        now = clock.current().now()
        return Snapshot(
            total=self._total,
            done=self._skipped + self._counts["done"],
            failed=self._counts["failed"],
            skipped=self._skipped,
            fallbacks=self._counts["fallback"],
            held=tuple(describe(hold.scope) for hold in self._health.holds(now) if hold.is_active(now)),
            elapsed_s=now - self._began,
            is_over=self._is_over,
            note=self.note,
        )

    # --- feeding ------------------------------------------------------------------------------------------------

    async def _wait_for_room(self) -> None:
        while not self._is_ending and (not self._slots.has_room or self._slots.is_full_of(len(self._rows))):
            await self._slots.stirred()

    def _begin(self, request: Request) -> None:
        row = asyncio.ensure_future(self._row(request))
        self._rows.add(row)
        row.add_done_callback(self._ended)

    def _ended(self, row: asyncio.Task[None]) -> None:
        self._rows.discard(row)
        if not row.cancelled() and (crash := row.exception()) is not None:
            self._crash = crash
            self._end("ended early by an error in llm_executor_nb itself")
        self._slots.stir()

    async def _let_finish(self) -> None:
        """Let what is in flight come to its end, for it may be paid already; what waits is cancelled."""
        self._slots.close()
        while self._rows:
            for row in self._rows:
                if not self._slots.holds(row):
                    row.cancel()
            await self._slots.stirred()

    async def _cancel_rows(self) -> None:
        for row in self._rows:
            row.cancel()
        await asyncio.gather(*self._rows, return_exceptions=True)

    # --- one row ------------------------------------------------------------------------------------------------

    async def _row(self, request: Request) -> None:
        attempts: list[Attempt] = []
        try:
            ask = self._make_ask(request, attempts)
        except ConfigError as error:  # this cell is no request; the other rows are not to blame
            self._keep(request, attempts, RowResult(status=Status.FAILED, error=shorten(str(error))))
            self._failed(error, attempts)
            return
        try:
            message = await self._engine.run(ask)
        except asyncio.CancelledError:
            if attempts:
                last = next((a for a in reversed(attempts) if a.outcome is not Outcome.CANCELLED), None)
                error_words = None if last is None else _words_of(last)
                result = RowResult(status=Status.CANCELLED, error=error_words, **_log_of(ask, attempts))
                self._keep(request, attempts, result)
            raise
        except LLMExecutorError as error:
            result = RowResult(status=Status.FAILED, error=_words(error, attempts), **_log_of(ask, attempts))
            self._keep(request, attempts, result)
            self._failed(error, attempts)
        else:
            result = RowResult(
                status=Status.OK, answer=_text_of(message), route=attempts[-1].route, **_log_of(ask, attempts)
            )
            self._keep(request, attempts, result)
            self._answered()

    def _make_ask(self, request: Request, attempts: list[Attempt]) -> Ask:
        order = self._order
        content, params = split_request(request.request, order.params)

        def record(attempt: Attempt) -> None:
            attempts.append(attempt)
            self._last_cause = attempt.outcome if attempt.outcome is not Outcome.CANCELLED else self._last_cause
            self._record(attempt)

        return Ask(
            chain=order.chain,
            payload=make_payload(content, params, system=order.system),
            extra_body=order.extra_body,
            timeout_s=order.timeout_s,
            deadline_s=order.deadline_s,
            accept=order.accept,
            record=record,
            row=Row(job_id=self.job_id, row=request.label, position=request.positions[0], column=order.column),
            slots=self._slots,
            rows_left=lambda: self._left,
        )

    def _keep(self, request: Request, attempts: Sequence[Attempt], result: RowResult) -> None:
        for position in request.positions:
            self.results[position] = result
        self._left -= 1
        if result.status is Status.CANCELLED:
            return
        self._counts["done"] += len(request.positions)
        if result.status is Status.FAILED:
            self._counts["failed"] += len(request.positions)
        elif len({attempt.route for attempt in attempts}) > 1:
            self._counts["fallback"] += len(request.positions)

    # --- ending early -------------------------------------------------------------------------------------------

    def _answered(self) -> None:
        self._answered_at = clock.current().now()
        self._same_cause = (None, 0)
        self._slots.grow()

    def _failed(self, error: LLMExecutorError, attempts: Sequence[Attempt]) -> None:
        is_settings = isinstance(error, ConfigError) and bool(attempts)  # a strategy or predicate: every row would fail
        if self._order.is_raising or is_settings or isinstance(error, PaidCallForbiddenError):
            self.error = error
            self._end("")
            return
        cause = _cause_of(error, attempts)
        if cause is None or RULES[cause].condemns is None:
            self._same_cause = (None, 0)
            return
        count = self._same_cause[1] + 1 if self._same_cause[0] is cause else 1
        self._same_cause = (cause, count)
        if count >= SAME_CAUSE_ROWS:
            self._end(f"ended early: {count} rows in a row failed for the same reason, {cause.value}", cause)

    async def _watch(self) -> None:
        """End the job when no answer has come for too long, or when none can come for too long."""
        longest = max(NO_ANSWER_S, 2 * (self._order.timeout_s or 0.0))
        while True:
            seen, now = self._health.changes, clock.current().now()
            if now >= self._answered_at + longest:
                self._end(f"ended early: no answer for {longest / 60:.0f} minutes", self._last_cause)
                return
            if (soonest := self._soonest(now)) - now > NO_ANSWER_S:
                words = f"ended early: every route is on hold, the soonest for {(soonest - now) / 60:.0f} minutes"
                self._end(words, self._last_cause)
                return
            await until_changed(self._health, self._answered_at + longest, seen)

    def _soonest(self, now: float) -> float:
        """Return when the next route can be asked: now, at the end of a hold, or (all condemned) now, to fail."""
        ends = []
        for route in self._order.chain.routes():
            standing, hold = self._health.standing(route, now)
            if hold is None or standing is not Standing.HELD:
                return now
            ends += [hold.until] if hold.kind is not Kind.CONDEMNED else []
        return min(ends, default=now)

    def _end(self, note: str, cause: Outcome | None = None) -> None:
        if not self._is_ending:
            self._is_ending = True
            self.note = note if cause is None else f"{note} ({cause.value}: {advice.next_step(cause)})"
            self._slots.stir()


def _log_of(ask: Ask, attempts: Sequence[Attempt]) -> dict[str, Any]:
    return {"run_id": ask.run_id, "outcomes": tuple(attempt.outcome.value for attempt in attempts)}


def _cause_of(error: LLMExecutorError, attempts: Sequence[Attempt]) -> Outcome | None:
    cause = attempts[-1].outcome.value if attempts else getattr(error, "outcome", "")
    return Outcome(cause) if cause else None


def _words(error: LLMExecutorError, attempts: Sequence[Attempt]) -> str:
    """Return the outcome and the provider's words; of a row that was never sent, why it was not."""
    if attempts:
        return _words_of(attempts[-1])
    if isinstance(error, AllRoutesFailedError) and error.outcome:
        return shorten(f"{error.outcome}: {error.words} (every route is on hold)")
    return shorten(str(error))


def _words_of(attempt: Attempt) -> str:
    status = f"HTTP {attempt.http_status}" if attempt.http_status is not None else attempt.error_code or "no reply"
    return shorten(f"{attempt.outcome.value}: {attempt.message or status}")


def _text_of(message: AIMessage) -> str:
    """Return an answer's text; of one that only calls tools, the calls as JSON."""
    content = message.content
    parts = [content] if isinstance(content, str) else content
    text = "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in parts)
    if text.strip() or not message.tool_calls:
        return text
    return json.dumps([{"name": call["name"], "args": call["args"]} for call in message.tool_calls])
