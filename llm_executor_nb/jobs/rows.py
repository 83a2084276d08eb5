"""One row of a job: its request goes down the chain, and a failure is a result too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.advice import left_out_note
from llm_executor_nb.core.errors import AllRoutesFailedError, LLMExecutorError, RequestError
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.outcomes import Decision, Outcome
from llm_executor_nb.core.verdicts.answers import MEDIA, is_media
from llm_executor_nb.jobs.results import RowResult, Status
from llm_executor_nb.store.rows import clean_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.engine.engine import Engine
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.jobs.requests import Request


class RowRun:
    """The run of one row.

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

    async def run(self, request: RunRequest, engine: Engine) -> RowResult:
        """Send the request and return the result. A cancellation is passed on; then `cancelled` has the result."""
        try:
            message = await engine.run(request)
        except LLMExecutorError as error:
            self.failure = error
            words = _error_text(error, self.attempts) + left_out_note(request.chain.left_out)
            return RowResult(status=Status.FAILED, error=words, **self._log())
        return RowResult(
            status=Status.OK,
            answer=text_of(message),
            parsed=message.additional_kwargs.get("parsed"),
            route=self.attempts[-1].route,
            **self._log(),
        )

    def refused(self, error: LLMExecutorError) -> RowResult:
        """Return the result of a cell that is not a request."""
        self.failure = error
        return RowResult(status=Status.FAILED, error=shorten(str(error)))

    def cancelled(self, *, is_hopeless: bool) -> RowResult | None:
        """Return the result of a row that was cancelled; None: it had not been sent.

        Args:
            is_hopeless: the job has given up.
        """
        if not self.attempts:
            return None
        # design 3.3: when a job gives up, rows that were tried are `failed`, the others `cancelled`
        status = Status.FAILED if is_hopeless else Status.CANCELLED
        last = next((one for one in reversed(self.attempts) if one.outcome is not Outcome.CANCELLED), None)
        return RowResult(status=status, error=None if last is None else _attempt_text(last), **self._log())

    @property
    def is_via_fallback(self) -> bool:
        """Whether more than one route was asked; a twin is no fallback."""
        return len({attempt.route for attempt in self.attempts if attempt.decision != Decision.HEDGE}) > 1

    def _log(self) -> dict[str, Any]:
        return {"run_id": self.run_id, "outcomes": tuple(attempt.outcome.value for attempt in self.attempts)}


def text_of(message: AIMessage) -> str:
    """Return an answer's text; tool calls or media as JSON where there is no text.

    What a table cannot hold (half a surrogate pair) becomes U+FFFD.
    """
    text = str(message.text)
    if not text.strip() and message.tool_calls:
        text = json.dumps([{"name": call["name"], "args": call["args"]} for call in message.tool_calls])
    if not text.strip() and (media := _media_of(message)):
        text = json.dumps(media, ensure_ascii=False)
    return clean_text(text)


def _media_of(message: AIMessage) -> dict[str, Any]:
    """Return the images and audio of an answer, uncut: they were paid for and are stored nowhere else."""
    media = {name: message.additional_kwargs[name] for name in MEDIA if message.additional_kwargs.get(name)}
    parts = [] if isinstance(message.content, str) else [part for part in message.content if is_media(part)]
    return {**media, "content": parts} if parts else media


def final_attempt(error: LLMExecutorError, attempts: Sequence[Attempt]) -> Attempt:
    """Return the attempt that caused a row's error: the one that refused the request, else the last."""
    outcome = error.outcome if isinstance(error, RequestError) else None
    return next((one for one in reversed(attempts) if one.outcome == outcome), attempts[-1])


def _error_text(error: LLMExecutorError, attempts: Sequence[Attempt]) -> str:
    """Return the outcome and the provider's message; for a row that was never sent, the reason."""
    if attempts:
        return _attempt_text(final_attempt(error, attempts))
    if isinstance(error, AllRoutesFailedError) and error.outcome:
        return shorten(f"{error.outcome}: {error.words} (every route is on hold)")
    return shorten(str(error))


def _attempt_text(attempt: Attempt) -> str:
    status = f"HTTP {attempt.http_status}" if attempt.http_status is not None else attempt.error_code or "no reply"
    return shorten(f"{attempt.outcome.value}: {attempt.message or status}")
