"""From a reply to a verdict: is it an answer, and if not, which outcome is it.

A reply that tells an error, with whatever status, is read in `refusals`; a fault of the transport has its outcome here.
Whatever the bytes are, the result is a verdict; nothing is raised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.foreign_json import get_in, parse_json
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Fault, FaultKind, Reply, Verdict
from llm_executor_nb.core.shorten import MESSAGE_LENGTH, shorten
from llm_executor_nb.core.verdicts.error_body import first_choice, tells_error
from llm_executor_nb.core.verdicts.judging import facts_of, judge, said_in
from llm_executor_nb.core.verdicts.refusals import refuse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["MESSAGE_LENGTH", "classify", "classify_event", "shorten"]
_FAULTS: dict[FaultKind, Outcome] = {
    FaultKind.REFUSED: Outcome.CONNECTION,
    FaultKind.DNS: Outcome.CONNECTION,
    FaultKind.TLS: Outcome.CONNECTION,
    FaultKind.CONNECT: Outcome.CONNECTION,
    FaultKind.CLOSED: Outcome.CONNECTION,
    FaultKind.CUT: Outcome.CONNECTION,
    FaultKind.TIMEOUT: Outcome.TIMEOUT,
    FaultKind.DEADLINE: Outcome.TIMEOUT,
    FaultKind.MALFORMED: Outcome.MALFORMED,
    FaultKind.TOO_LARGE: Outcome.MALFORMED,
}
_LARGEST_ERROR = 2 * 1024 * 1024
"""Bytes of an error up to which it is read; a larger one repeats the request, and its status alone counts."""


def classify(came: Reply | Fault, *, backend: str, now_utc: datetime) -> Verdict:
    """Return what a reply or a fault is. Never raises.

    Args:
        came: what the transport brought.
        backend: who was asked; says how far a hold reaches where the reply does not.
        now_utc: when it came, for reset times.
    """
    if isinstance(came, Fault):
        return Verdict(
            outcome=_FAULTS[came.kind],
            http_status=came.status,
            error_code=came.kind.value,
            message=shorten(came.detail),
        )
    if 200 <= came.status < 300:
        return _answer(came, parse_json(came.body), backend, now_utc)
    body = parse_json(came.body) if len(came.body) <= _LARGEST_ERROR else {}
    return refuse(came, body, backend=backend, now_utc=now_utc)


def classify_event(
    body: dict[str, Any], *, status: int, headers: Mapping[str, str], backend: str, now_utc: datetime
) -> Verdict:
    """Return what an event of a stream is, or the body that the events of a whole stream add up to. Never raises.

    Args:
        body: its parsed JSON.
        status: of the stream.
        headers: of the stream, names in lower case.
        backend: who was asked.
        now_utc: when it came, for reset times.
    """
    return _answer(Reply(status=status, headers=headers, body=b""), body, backend, now_utc)


# --- a reply that may be an answer ------------------------------------------------------------------------------


def _answer(reply: Reply, body: object, backend: str, now_utc: datetime) -> Verdict:
    if not isinstance(body, dict):
        words = reply.body[:2000].decode("utf-8", "replace").strip() or "the body is blank"
        return Verdict(outcome=Outcome.MALFORMED, http_status=reply.status, message=shorten(words))
    if tells_error(body):
        return refuse(reply, body, backend=backend, now_utc=now_utc)
    choice = first_choice(body)
    reason = get_in(choice, "finish_reason")
    facts = facts_of(body, status=reply.status, headers=reply.headers, now_utc=now_utc, finish_reason=reason)
    message = get_in(choice, "message")
    if not isinstance(message, dict):
        return replace(facts, outcome=Outcome.MALFORMED, message="the reply has no message")
    return judge(facts, said_in(message, body.get("usage")), body)
