"""Stored answers: what the ledger has is not bought again, and what another job asks now is not asked twice.

Failures are not stored as answers, so they are never reused. A stored answer that today's `accept=` or schema refuses
is bought again. One of these that fails ends the job, as it does on a fresh answer.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.user_functions import Bounds
from llm_executor_nb.engine.acceptance import Finding, checked
from llm_executor_nb.jobs.results import RowResult, Status
from llm_executor_nb.store.records import Answer, LedgerBusyError, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.errors import LLMExecutorError
    from llm_executor_nb.jobs.options import JobOptions, PartOf
    from llm_executor_nb.jobs.requests import Request, RequestMaker
    from llm_executor_nb.jobs.results import Results
    from llm_executor_nb.jobs.rows import RowRun
    from llm_executor_nb.store.ledger_store import LedgerStore
    from llm_executor_nb.store.records import Lookup

    Pair = tuple[Request, Answer | Turn]

_PATIENCE_S = 1.0
"""The longest that one claim may take."""
_WAS_STORED = (
    "\nThis was a stored answer, which lacks what its provider said beside the text; reuse=False asks for new ones."
)
_FITS = Finding()
_SMALLEST, _LARGEST = 32, 4096
_SHORT_S, _LONG_S = 0.5, 2.0
"""A window that lasted less than this was too small; one that lasted longer was too large."""


class AnswerCache:
    """The ledger as one job sees it.

    Args:
        options: what all rows share.
        ledger: where answers are stored.
        job_id: who buys.
        maker: knows the request keys, and which answers rows have already.
        entry: who claims: the job, or the part of it that runs here.
        part: the part that runs here; None: the whole job does.

    Attributes:
        window: how many requests are looked up, and claimed, at once.
        saved_usd: what the reused answers had cost, as far as it is known.
        oldest_utc: when the oldest of them was bought; None: none was reused.
    """

    def __init__(
        self,
        options: JobOptions,
        ledger: LedgerStore,
        job_id: str,
        maker: RequestMaker,
        *,
        entry: str,
        part: PartOf | None = None,
    ) -> None:
        self.window = _SMALLEST
        self.saved_usd = 0.0
        self.oldest_utc: datetime | None = None
        self._options, self._ledger, self._job_id, self._maker = options, ledger, job_id, maker
        self._entry, self._part = entry, part
        self._looks_up = options.reuse or part is not None
        self._claimed_at = time.monotonic()
        self._lapses = 0

    @property
    def is_claim_valid(self) -> bool:
        """Whether this job still holds its last claims; it lost them if the process was stopped for a lease."""
        return not self._looks_up or self._ledger.lease_lapses == self._lapses

    async def claimed(self, under_way: Sequence[Request], window: Sequence[Request]) -> list[Answer | Turn] | None:
        """Return what is known of each request of a window, and claim the unknown ones; None: not possible now.

        Args:
            under_way: what stays claimed beside the window.
            window: what comes next.
        """
        if not self._looks_up or not window:
            return [Turn.YOURS] * len(window)
        self._fit_window()
        self._lapses = self._ledger.lease_lapses
        lookups = [*(_while_sent(request.wanted) for request in under_way), *(request.wanted for request in window)]
        try:
            async with clock.current().timeout(None):
                age, patience = self._oldest_s(), _PATIENCE_S
                turns = await asyncio.to_thread(
                    self._ledger.claim, self._entry, lookups, max_age_s=age, patience_s=patience
                )
        except LedgerBusyError:
            return None
        return turns[len(under_way) :]

    async def take(
        self,
        window: Sequence[Pair],
        results: Results,
        *,
        at_once: int,
        failed: Callable[[Request, LLMExecutorError], None],
    ) -> list[Pair]:
        """Take the stored answers of a window, and return what has to be asked: the rest, and what is refused today.

        Args:
            window: requests, and what the ledger knows of each.
            results: takes the answers.
            at_once: how many answers are checked at once; a validator may ask a model itself.
            failed: called with a request on whose answer a function of the user's failed.
        """
        refused: set[int] = set()
        places = asyncio.Semaphore(at_once)

        def settle(request: Request, answer: Answer, finding: Finding) -> None:
            self._maker.mark_taken(request, answer.run_id)
            if finding.error is not None:
                failed(request, finding.error)
            elif finding.outcome is Outcome.OK:
                results.put(request.position, self._reused(answer, finding.parsed))
            else:
                refused.add(request.position)

        async def check(request: Request, answer: Answer) -> None:
            async with places:
                finding = await self._checked(answer)
            settle(request, answer, finding)

        is_checked = self._options.schema is not None or self._options.accept is not None
        async with asyncio.TaskGroup() as checks:
            for request, turn in window:
                if isinstance(turn, Answer) and is_checked:
                    checks.create_task(check(request, turn))
                elif isinstance(turn, Answer):
                    settle(request, turn, _FITS)
        return [pair for pair in window if not isinstance(pair[1], Answer) or pair[0].position in refused]

    async def _checked(self, answer: Answer) -> Finding:
        """Return what today's schema and predicate say of a stored answer, as they would of a fresh one."""
        options, deadline_s = self._options, self._options.deadline_s
        deadline = None if deadline_s is None else clock.current().now() + deadline_s
        bounds = Bounds(options.timeout_s, deadline)
        finding = await checked(_message_of(answer), options.schema, options.accept, bounds)
        if not isinstance(finding.error, ConfigError):
            return finding
        return replace(finding, error=ConfigError(f"{finding.error}{_WAS_STORED}"))

    def _reused(self, answer: Answer, parsed: object) -> RowResult:
        self.saved_usd += answer.cost_usd or 0.0
        self.oldest_utc = min(self.oldest_utc or answer.answered_utc, answer.answered_utc)
        return RowResult(
            status=Status.CACHED, answer=answer.text, parsed=parsed, route=answer.route, run_id=answer.run_id
        )

    def new_answer(self, run: RowRun, result: RowResult) -> Answer:
        """Return the record of an answer that a row has just received."""
        self._maker.mark_taken(run.request, run.run_id)
        last = run.attempts[-1]
        return Answer(
            key=self._maker.key_of(run.request, last),
            text=result.answer or "",
            run_id=run.run_id,
            job_id=self._job_id,
            route=last.route,
            finish_reason=last.finish_reason,
            input_tokens=last.input_tokens,
            output_tokens=last.output_tokens,
            cost_usd=last.cost_usd,
            answered_utc=clock.current().utc(),
            upstream=last.upstream,
            service_tier=last.service_tier,
            cached_tokens=last.cached_tokens,
            reasoning_tokens=last.reasoning_tokens,
            generation_id=last.generation_id,
            policy=self._options.policy,
        )

    def _oldest_s(self) -> float | None:
        """Return how old a stored answer may be, in seconds; None: of any age. A part takes those of its own job."""
        longest = self._options.max_age_s
        if self._part is None or (self._options.reuse and longest is None):
            return longest
        own = max(0.0, clock.current().utc().timestamp() - self._part.began)
        return max(own, longest or 0.0) if self._options.reuse else own

    def _fit_window(self) -> None:
        """Let one window last about a second: a claim is one transaction, and a crash leaves its window claimed."""
        now = time.monotonic()
        took, self._claimed_at = now - self._claimed_at, now
        if took < _SHORT_S:
            self.window = min(_LARGEST, 2 * self.window)
        elif took > _LONG_S:
            self.window = max(_SMALLEST, self.window // 2)


def _message_of(answer: Answer) -> AIMessage:
    from langchain_core.messages import AIMessage  # noqa: PLC0415 - loads on first use

    usage, asked, said = None, answer.input_tokens, answer.output_tokens
    if asked is not None and said is not None:
        usage = {"input_tokens": asked, "output_tokens": said, "total_tokens": asked + said}
    metadata = {"finish_reason": answer.finish_reason, "llm_run_id": answer.run_id}
    return AIMessage(answer.text, response_metadata=metadata, usage_metadata=usage)


def _while_sent(lookup: Lookup) -> Lookup:
    """Return what stays claimed of a request in flight; a copy looks for no stored answer, its own is on its way."""
    return lookup if lookup.copy is None else replace(lookup, keys=())
