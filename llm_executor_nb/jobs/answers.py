"""What the ledger has already, and what another job asks now: nothing stored is asked again.

Failures are never stored as answers, so they are never reused; a stored answer that `accept=` or the schema refuses
today is asked anew.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.jobs.results import RowResult, Status
from llm_executor_nb.store.records import Answer, LedgerBusyError, Turn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from llm_executor_nb.jobs.options import JobOptions
    from llm_executor_nb.jobs.requests import Request, RequestMaker
    from llm_executor_nb.jobs.rows import RowRun
    from llm_executor_nb.store.ledger_store import LedgerStore
    from llm_executor_nb.store.records import Lookup

_PATIENCE_S = 1.0
"""Seconds that one try to claim takes at most; a process that ends waits for the thread that is at it."""
_SMALLEST, _LARGEST = 32, 4096
_SHORT_S, _LONG_S = 0.5, 2.0
"""A window that was used up sooner than this is too small, later than that too large."""


class AnswerCache:
    """The ledger as one job sees it.

    Args:
        order: what all rows share.
        ledger: where answers are.
        job_id: who claims.

    Attributes:
        window: how many requests are looked up, and claimed, at once.
        saved_usd: what the reused answers had cost, as far as it is known.
        oldest_utc: when the oldest of them was bought; None: none was reused.
    """

    def __init__(self, order: JobOptions, ledger: LedgerStore, job_id: str) -> None:
        self.window = _SMALLEST
        self.saved_usd = 0.0
        self.oldest_utc: datetime | None = None
        self._order, self._ledger, self._job_id = order, ledger, job_id
        self._claimed_at = time.monotonic()
        self._lapses = 0

    @property
    def is_held(self) -> bool:
        """Say whether what was claimed last is this job's still: this process was not stopped for a lease since."""
        return not self._order.reuse or self._ledger.lease_lapses == self._lapses

    async def claimed(self, under_way: Sequence[Request], window: Sequence[Request]) -> list[Answer | Turn] | None:
        """Return what is known of each request of a window, and claim what nobody has; None: not possible now.

        Args:
            under_way: what stays claimed beside it.
            window: what comes next.
        """
        if not self._order.reuse or not window:
            return [Turn.YOURS] * len(window)
        self._fit_window()
        self._lapses = self._ledger.lease_lapses
        wants = [*(_sent(request.wanted) for request in under_way), *(request.wanted for request in window)]
        try:
            async with clock.current().timeout(None):
                age, patience = self._order.max_age_s, _PATIENCE_S
                turns = await asyncio.to_thread(
                    self._ledger.claim, self._job_id, wants, max_age_s=age, patience_s=patience
                )
        except LedgerBusyError:
            return None
        return turns[len(under_way) :]

    async def result(self, answer: Answer) -> RowResult | None:
        """Return a row's result from a stored answer; None: today it would be refused."""
        parsed = None
        if self._order.schema is not None:
            try:
                parsed = self._order.schema.parse(answer.text)
            except ValueError:
                return None
        if self._order.accept is not None and not await self._is_accepted(answer, parsed):
            return None
        self.saved_usd += answer.cost_usd or 0.0
        self.oldest_utc = min(self.oldest_utc or answer.answered_utc, answer.answered_utc)
        return RowResult(
            status=Status.CACHED, answer=answer.text, parsed=parsed, route=answer.route, run_id=answer.run_id
        )

    def answer(self, run: RowRun, result: RowResult, maker: RequestMaker) -> Answer:
        """Return what the ledger keeps of an answered row."""
        last = run.attempts[-1]
        route = next(route for route in self._order.chain.routes() if route.name == last.route)
        return Answer(
            key=maker.key_of(run.request, route),
            text=result.answer or "",
            run_id=run.run_id,
            job_id=self._job_id,
            route=last.route,
            finish_reason=last.finish_reason,
            input_tokens=last.input_tokens,
            output_tokens=last.output_tokens,
            cost_usd=last.cost_usd,
            answered_utc=clock.current().utc(),
        )

    async def _is_accepted(self, answer: Answer, parsed: object) -> bool:
        from langchain_core.messages import AIMessage  # noqa: PLC0415 - loads on first use

        extra = {} if parsed is None else {"parsed": parsed}
        told = {"finish_reason": answer.finish_reason, "llm_run_id": answer.run_id}
        message = AIMessage(answer.text, additional_kwargs=extra, response_metadata=told)
        accept = self._order.accept
        try:
            async with clock.current().timeout(None):
                return bool(accept is None or await asyncio.to_thread(accept, message))
        except Exception:  # noqa: BLE001 - a user's own function, which may want more than is stored; so it is asked anew
            return False

    def _fit_window(self) -> None:
        now = time.monotonic()
        took, self._claimed_at = now - self._claimed_at, now
        if took < _SHORT_S:
            self.window = min(_LARGEST, 2 * self.window)
        elif took > _LONG_S:
            self.window = max(_SMALLEST, self.window // 2)


def _sent(want: Lookup) -> Lookup:
    """Return what stays claimed of a request in flight: a draw looks for no answer any more, its own is on its way."""
    return want if want.copy is None else replace(want, keys=())
