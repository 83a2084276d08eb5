"""What goes into the ledger and comes out of it: answers, look-ups, the start of a job. No pandas, no SQLite."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import LLMExecutorError
from llm_executor_nb.core.policy import NO_POLICY, Policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet
    from datetime import datetime


class LedgerBusyError(LLMExecutorError):
    """The ledger cannot write at the moment. Nothing was claimed, and everything that was handed in is still queued."""


class Turn(StrEnum):
    """Which job sends a request that has no answer yet."""

    YOURS = auto()
    THEIRS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One accepted answer.

    Attributes:
        key: 16 bytes, the request key: a digest of the request, the backend, the provider and the model.
        text: the text of the answer.
        run_id, job_id: the run and the job that paid for it.
        route: the route that answered, as in the attempt log.
        finish_reason, input_tokens, output_tokens, cost_usd: as the provider reported them; None: unknown.
        answered_utc: when it was accepted.
        upstream, service_tier, cached_tokens, reasoning_tokens, generation_id: as in an `Attempt`.
        policy: what the request demanded of whoever answered.
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
    upstream: str | None = None
    service_tier: str | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    generation_id: str | None = None
    policy: Policy = NO_POLICY


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a stored answer is from, as far as it is known.

    Attributes:
        route: the route that answered, as in the attempt log.
        upstream: who served it.
        policy: what its request demanded.
    """

    route: str
    upstream: str | None
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """One request that a job is about to send, as it is looked up and claimed.

    Attributes:
        digest: 16 bytes of the request without a route; for a drawn answer also of the copy's number. A job claims it.
        keys: its request keys, one per entry of the chain, in chain order.
        copy: None: equal requests share one answer, the newest of the first key that has one. 0, 1, 2 ..: answers are
            drawn, and this is the number of one among all answers of the keys (chain order, then oldest first).
        taken: the runs whose answers other copies already have; the first answer of another run is taken then.
            None: the job does not count them, and `copy` decides.
        may_take: whether an answer may be taken, by where it is from; None: every answer may.
    """

    digest: bytes
    keys: tuple[bytes, ...]
    copy: int | None
    taken: AbstractSet[str] | None = field(default=None, compare=False)
    may_take: Callable[[Origin], bool] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStart:
    """A job as it begins; the ledger adds the process that it runs in.

    Attributes:
        job_id: its name in attempts and answers.
        model, column: the model and the prompt column; column None: a template alone.
        rows, requests: the number of rows, and of the distinct requests that they make.
        started_utc: when it began.
        part_of: the whole job, of which this is what one process does; None: it is a whole job.
    """

    job_id: str
    model: str
    column: str | None
    rows: int
    requests: int
    started_utc: datetime
    part_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times and sizes that a ledger works with.

    Attributes:
        beat_s: seconds between two heartbeats of the open jobs.
        lease_s: a job of another process keeps its claims for so long after its last heartbeat.
        lock_wait_s: how long one statement waits for another program's lock. Whoever can wait longer tries again.
        fork_wait_s: how long a fork waits for the writer threads to leave their files.
        page_rows: attempts that are read at once, so that a long log does not delay a commit.
    """

    beat_s: float = 5.0
    lease_s: float = 30.0
    lock_wait_s: float = 0.5
    fork_wait_s: float = 5.0
    page_rows: int = 20_000


USUAL_LIMITS = Limits()
