"""What goes into the ledger and comes out of it: answers, wants, a job's beginning. No pandas, no SQLite."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import LLMExecutorError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from datetime import datetime


class LedgerBusyError(LLMExecutorError):
    """The ledger cannot write at the moment; nothing was claimed, and what was kept is still queued."""


class Turn(StrEnum):
    """Whose turn it is to ask for what nobody has answered yet."""

    YOURS = auto()
    THEIRS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One accepted answer.

    Attributes:
        key: 16 bytes, the request key: a digest of the request, the backend, the provider and the model.
        text: what was answered.
        run_id, job_id: who bought it.
        route: who answered, as the attempt log shows it.
        finish_reason, input_tokens, output_tokens, cost_usd: as the provider said; None: unknown.
        answered_utc: when it was accepted.
    """

    key: bytes
    text: str
    run_id: str
    job_id: str
    route: str
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    answered_utc: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """One request that a job is about to send.

    Attributes:
        digest: 16 bytes of the request without a route, and of the copy's number where answers are drawn; this is
            what a job claims.
        keys: its request keys, one per entry of the chain, in chain order.
        copy: None: equal requests share one answer, the newest of the first key that has one. 0, 1, 2 ..: answers are
            drawn, and this takes the one of that number among all answers of the keys (chain order, then oldest first).
        taken: the runs whose answers other copies have, where the job keeps count of them: then a copy takes the first
            answer that none has. None: it goes by its number.
    """

    digest: bytes
    keys: tuple[bytes, ...]
    copy: int | None
    taken: AbstractSet[str] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStart:
    """A job as it begins; the ledger adds which process it runs in.

    Attributes:
        job_id: its name in attempts and answers.
        model, column: what was asked for; column None: a template alone.
        rows, requests: how many rows it has, and how many distinct requests they make.
        started_utc: when it began.
    """

    job_id: str
    model: str
    column: str | None
    rows: int
    requests: int
    started_utc: datetime
