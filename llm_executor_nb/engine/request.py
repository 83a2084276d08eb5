"""What the engine is asked: one request, the chain it goes down, its bounds, and who records its attempts."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llm_executor_nb.core.policy import NO_POLICY

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.chain import Chain
    from llm_executor_nb.core.policy import Policy
    from llm_executor_nb.schemas.schema import Schema


def make_run_id() -> str:
    """Return a new run id: 16 hexadecimal digits."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Which row of which job a run is for."""

    job_id: str
    row: str
    position: int
    column: str


class Slots(Protocol):
    """Bounds the requests in flight; each needs a slot."""

    async def acquire(self) -> bool:
        """Wait for a slot and take it; return whether it had to be waited for."""

    async def acquire_for_twin(self, row: asyncio.Task[Any]) -> bool:
        """Wait for a slot for a second request of a row's run; return whether there is one."""

    def release(self) -> None:
        """Give a slot back."""


class Unbounded:
    """Has a slot for every request, for calls by hand."""

    async def acquire(self) -> bool:
        """Take a slot at once."""
        return False

    async def acquire_for_twin(self, row: asyncio.Task[Any]) -> bool:  # noqa: ARG002 - the protocol's signature
        """Take a slot at once."""
        return True

    def release(self) -> None:
        """Give the slot back."""


class Hedge(Protocol):
    """Says when a request is late, and how many late ones may get a twin.

    Attributes:
        replaces_failed: a request of a race that fails is followed by another at once, if the one left is late.
    """

    replaces_failed: bool

    def began(self, request: object, *, is_twin: bool = False) -> None:
        """Note that a request begins."""

    def ended(self, request: object, *, is_answer: bool) -> None:
        """Note that a request is over; one without an answer might have taken longer."""

    async def late(self, sent_at: float) -> None:
        """Wait until a request that was sent at this time on the clock may get a twin."""

    def take(self) -> bool:
        """Count one more twin; return whether there may be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """One run's request, and what the run is bound by.

    Attributes:
        chain: the routes.
        payload: the body of the request without `model`, built once.
        extra_body: fields that only one backend knows, by backend.
        headers_left_out: headers of ours that the backend is not sent.
        policy: what the request demands of the provider; the chain has only routes that can promise it.
        has_tier_fallback: a service tier that refuses the request may be left out.
        timeout_s: seconds that one attempt may take; None: no bound.
        deadline_s: seconds that the run may take; None: no bound.
        retries: the retries of one route; None: as configured.
        schema: what an answer must fit; it is not in `payload`. None: every answer fits.
        accept: a predicate on the message; None: every answer is accepted.
        takes_text: of an answer that is nothing but a text, the caller takes the text; the message holds no more then.
        record: called with each attempt, in order.
        bill: called before `record` with an attempt and the answer it brought; returns the attempt with what it cost.
        row: the row the run is for; None: a call by hand.
        slots: what bounds the requests in flight.
        hedge: says when a late request gets a twin; None: no request does.
        rows_left: how many rows of the job have no answer yet.
        has_fresh: tells whether a row that has not failed yet waits in the job; such a row probes first.
        run_id: joins the reply to its attempts.
    """

    chain: Chain
    payload: Mapping[str, Any]
    extra_body: Mapping[str, Mapping[str, Any]] | None = None
    headers_left_out: frozenset[str] = frozenset()
    policy: Policy = NO_POLICY
    has_tier_fallback: bool = False
    timeout_s: float | None
    deadline_s: float | None
    retries: int | None = None
    schema: Schema | None = None
    accept: Callable[[AIMessage], object] | None = None
    takes_text: bool = False
    record: Callable[[Attempt], None]
    bill: Callable[[Attempt, AIMessage | None], Attempt] | None = None
    row: Row | None = None
    slots: Slots = field(default_factory=Unbounded)
    hedge: Hedge | None = None
    rows_left: Callable[[], int] = lambda: 1
    has_fresh: Callable[[], bool] = lambda: False
    run_id: str = field(default_factory=make_run_id)

    @property
    def is_by_hand(self) -> bool:
        """Whether it is a call by hand, not a row of a job."""
        return self.row is None
