"""One line of the attempt log."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from llm_executor_nb.core.outcomes import Decision, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request to one route, with its outcome: a line of the attempt log, in the order of its columns.

    Attributes:
        run_id, job_id: the run (one request until its answer) and its job; job_id None: a call by hand.
        row, position, column: index label as text, row number from 0, prompt column; None by hand.
        attempt: the number of this request within its run, from 1.
        route, backend, key, provider, request_model: the route that was asked.
        response_model: the model that answered, as the reply says.
        started_utc: when the request was sent.
        wait_s: seconds that the run had waited just before it.
        duration_s: seconds until the outcome was known.
        outcome, http_status, error_code, message, retry_after_s: the outcome; messages are scrubbed.
        decision: what the run did next.
        finish_reason, input_tokens, output_tokens, cost_usd: as the provider says; None: unknown, never 0.
        upstream: the provider that served it, as the reply says, else the Hugging Face provider that was asked.
        service_tier, cached_tokens, reasoning_tokens, generation_id: as the provider says; None: it does not.
    """

    run_id: str
    job_id: str | None
    row: str | None
    position: int | None
    column: str | None
    attempt: int
    route: str
    backend: str
    key: str | None
    provider: str | None
    request_model: str
    response_model: str | None
    started_utc: datetime
    wait_s: float
    duration_s: float
    outcome: Outcome
    http_status: int | None
    error_code: str | None
    message: str | None
    retry_after_s: float | None
    decision: Decision
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    upstream: str | None = None
    service_tier: str | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    generation_id: str | None = None


ATTEMPT_COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(Attempt))
"""The columns of `attempts()`, in order."""
