"""One row of a job: its request goes down the chain, and what comes of it is a result, whatever comes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import AllRoutesFailedError, LLMExecutorError, RequestError
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.secret import shorten
from llm_executor_nb.core.verdicts.answers import MEDIA, is_media
from llm_executor_nb.engine.request import Row, RunRequest
from llm_executor_nb.jobs.results import RowResult, Status
from llm_executor_nb.store.rows import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.engine.engine import Engine
    from llm_executor_nb.engine.request import Slots
    from llm_executor_nb.jobs.options import JobOptions
    from llm_executor_nb.jobs.requests import Request


class RowRun:
    """One request of a job on its way.

    Args:
        request: what is asked.
        run_id: joins it to its attempts.

    Attributes:
        attempts: the requests made for it, in order.
        failure: our error, when it failed.
    """

    def __init__(self, request: Request, run_id: str) -> None:
        self.request, self.run_id = request, run_id
        self.attempts: list[Attempt] = []
        self.failure: LLMExecutorError | None = None

    async def run(self, ask: RunRequest, engine: Engine) -> RowResult:
        """Send it; return what came of it. A cancellation is passed on; `cancelled` then says what came."""
        try:
            message = await engine.run(ask)
        except LLMExecutorError as error:
            self.failure = error
            return RowResult(status=Status.FAILED, error=_words(error, self.attempts), **self._log())
        return RowResult(
            status=Status.OK,
            answer=text_of(message),
            parsed=message.additional_kwargs.get("parsed"),
            route=self.attempts[-1].route,
            **self._log(),
        )

    def refused(self, error: LLMExecutorError) -> RowResult:
        """Return the result of a cell that is no request; the other rows are not to blame."""
        self.failure = error
        return RowResult(status=Status.FAILED, error=shorten(str(error)))

    def cancelled(self, *, is_hopeless: bool) -> RowResult | None:
        """Return the result of a row that was cancelled; None: it had not been sent.

        Args:
            is_hopeless: the job has given up, so a row that was tried has failed.
        """
        if not self.attempts:
            return None
        status = Status.FAILED if is_hopeless else Status.CANCELLED
        last = next((one for one in reversed(self.attempts) if one.outcome is not Outcome.CANCELLED), None)
        return RowResult(status=status, error=None if last is None else _words_of(last), **self._log())

    @property
    def is_via_fallback(self) -> bool:
        """Say whether more than one route was asked."""
        return len({attempt.route for attempt in self.attempts}) > 1

    def _log(self) -> dict[str, Any]:
        return {"run_id": self.run_id, "outcomes": tuple(attempt.outcome.value for attempt in self.attempts)}


def make_ask(
    order: JobOptions,
    run: RowRun,
    *,
    job_id: str,
    index: pd.Index[Any],
    slots: Slots,
    rows_left: Callable[[], int],
    has_fresh: Callable[[], bool],
    record: Callable[[Attempt], None],
) -> RunRequest:
    """Return what the engine is asked for one row.

    Args:
        order: what all rows share.
        run: the row's run; its attempts are kept there.
        job_id: the job.
        index: the frame's, for the row's label.
        slots: what bounds the requests in flight.
        rows_left: how many rows have no result yet.
        has_fresh: tells whether a row waits to be asked that has not failed yet.
        record: takes each attempt, with its cost where the price is known.
    """
    position = run.request.position

    def keep(attempt: Attempt) -> None:
        cost_usd = order.prices.cost_usd(attempt)
        priced = attempt if cost_usd == attempt.cost_usd else replace(attempt, cost_usd=cost_usd)
        run.attempts.append(priced)
        record(priced)

    return RunRequest(
        chain=order.chain,
        payload=run.request.payload or {},
        schema=order.schema,
        extra_body=order.extra_body,
        timeout_s=order.timeout_s,
        deadline_s=order.deadline_s,
        accept=order.accept,
        record=keep,
        row=Row(job_id=job_id, row=_label(index[position]), position=position, column=order.column),
        slots=slots,
        rows_left=rows_left,
        has_fresh=has_fresh,
        run_id=run.run_id,
    )


def _label(label: object) -> str:
    """Return an index label as text; of several levels, each as Python shows it."""
    if isinstance(label, tuple):
        return str(tuple(part.item() if hasattr(part, "item") else part for part in label))
    return str(label)


def text_of(message: AIMessage) -> str:
    """Return an answer's text; of one that only calls tools or only has media, these as JSON.

    What no table can hold (half a surrogate pair) becomes U+FFFD.
    """
    text = str(message.text)
    if not text.strip() and message.tool_calls:
        text = json.dumps([{"name": call["name"], "args": call["args"]} for call in message.tool_calls])
    if not text.strip() and (media := _media_of(message)):
        text = json.dumps(media, ensure_ascii=False)
    return clean_text(text)


def _media_of(message: AIMessage) -> dict[str, Any]:
    """Return the pictures and the speech of an answer: whole, since they were paid for and are nowhere else."""
    media = {name: message.additional_kwargs[name] for name in MEDIA if message.additional_kwargs.get(name)}
    parts = [] if isinstance(message.content, str) else [part for part in message.content if is_media(part)]
    return {**media, "content": parts} if parts else media


def _words(error: LLMExecutorError, attempts: Sequence[Attempt]) -> str:
    """Return the outcome and the provider's words; of a row that was never sent, why it was not."""
    if attempts:
        return _words_of(ended_by(error, attempts))
    if isinstance(error, AllRoutesFailedError) and error.outcome:
        return shorten(f"{error.outcome}: {error.words} (every route is on hold)")
    return shorten(str(error))


def ended_by(error: LLMExecutorError, attempts: Sequence[Attempt]) -> Attempt:
    """Return the attempt that a row's error speaks of: the one that refused the request, else the last."""
    outcome = error.outcome if isinstance(error, RequestError) else None
    return next((one for one in reversed(attempts) if one.outcome == outcome), attempts[-1])


def _words_of(attempt: Attempt) -> str:
    status = f"HTTP {attempt.http_status}" if attempt.http_status is not None else attempt.error_code or "no reply"
    return shorten(f"{attempt.outcome.value}: {attempt.message or status}")
