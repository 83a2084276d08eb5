"""From a reply to a verdict: is it an answer, and if not, which outcome is it.

Evidence in this order: the body's `availability`, `limit_source`, error type, the HTTP status (or the code of an
error inside a 200), the kind of a transport fault, and words last. Whatever the bytes are, the result is a verdict;
nothing is raised. The tables are in `outcomes`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llm_executor_nb.core.hints import field, number, retry_after_s
from llm_executor_nb.core.judging import facts_of, judge, said_in
from llm_executor_nb.core.outcomes import (
    AVAILABILITY,
    ERROR_TYPE,
    LIMIT_SOURCE,
    MOVED,
    REDIRECTED,
    RULES,
    STATUS,
    WORDINGS,
    Finding,
    Outcome,
    Reach,
)
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Fault, FaultKind, Reply, Verdict
from llm_executor_nb.core.shorten import MESSAGE_LENGTH, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
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
    body = _parse(came.body)
    if not 200 <= came.status < 300:
        return _refusal(came, body, came.status, backend, now_utc)
    return _answer(came, body, backend, now_utc)


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


def _parse(body: bytes) -> Any:  # noqa: ANN401 - foreign JSON has any shape
    try:
        return json.loads(body)
    except (ValueError, RecursionError, MemoryError):
        return None


# --- a reply that says no ---------------------------------------------------------------------------------------


def _refusal(reply: Reply, body: object, status: int | None, backend: str, now_utc: datetime) -> Verdict:
    error = _error_of(body)
    elsewhere = _elsewhere(reply) if status is not None and 300 <= status < 400 else None
    message = elsewhere or _message_of(body, error) or reply.body[:2000].decode("utf-8", "replace")
    found = _find(reply, body, error, status, message)
    if elsewhere and status in MOVED and backend not in (OPENROUTER, HUGGINGFACE):
        found = Finding(Outcome.NOT_FOUND, Reach.BACKEND)
    reach = found.reach or _default_reach(found.outcome, backend)
    if reach is Reach.PROVIDER and backend == OPENROUTER:
        reach = Reach.BACKEND
    return Verdict(
        outcome=found.outcome,
        reach=reach,
        retry_after_s=retry_after_s(reply.headers, body, now_utc),
        http_status=reply.status,
        error_code=_code_of(error),
        message=shorten(message),
        response_model=_text(field(body, "model")),
    )


def _find(reply: Reply, body: object, error: object, status: int | None, message: str) -> Finding:
    findings = _typed(body, error, status)
    if (found := next(findings, None)) is not None:
        return found
    if status == 403 and _is_html(reply):
        return Finding(Outcome.FORBIDDEN, Reach.BACKEND)
    lower = message.lower()
    for wording in WORDINGS:
        if status in wording.statuses and wording.words in lower:
            return wording.finding
    return Finding(Outcome.SERVER_ERROR) if status is None else _by_status(status)


def _elsewhere(reply: Reply) -> str | None:
    """Return where a reply redirects to, without what may hold a secret: query, fragment, user and password."""
    try:
        parts = urlsplit(reply.headers.get("location", ""))
        host = parts.hostname or ""
        place = f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        return None
    whole = f"{parts.scheme}://{place}{parts.path}" if host and parts.scheme else f"{place}{parts.path}"
    return f"{REDIRECTED}{whole}" if whole else None


def _typed(body: object, error: object, status: int | None) -> Iterator[Finding]:
    """Yield what the typed fields of an error say, strongest first."""
    by_status = _by_status(status) if status is not None else None
    retryable = field(error, "availability", "retryable")
    code = field(error, "availability", "code")
    if isinstance(code, str) and code in AVAILABILITY:
        yield AVAILABILITY[code]
    elif retryable is False and (by_status is None or not RULES[by_status.outcome].condemns):
        yield Finding(Outcome.UNSUPPORTED, Reach.BACKEND)
    elif retryable is True and (by_status is None or not _may_pass(by_status.outcome)):
        yield Finding(Outcome.OVERLOADED)
    limit = field(error, "metadata", "limit_source")
    if isinstance(limit, str) and limit in LIMIT_SOURCE:
        yield LIMIT_SOURCE[limit]
    if field(error, "metadata", "flagged_input") or field(error, "metadata", "patterns"):
        yield Finding(Outcome.CONTENT_FILTER)
    for name in (
        field(error, "metadata", "error_type"),
        field(error, "code"),
        field(error, "type"),
        field(body, "error_type"),
    ):
        if isinstance(name, str) and name in ERROR_TYPE and _is_vague(status, ERROR_TYPE[name]):
            yield ERROR_TYPE[name]


def _may_pass(outcome: Outcome) -> bool:
    return RULES[outcome].is_transient or outcome is Outcome.RATE_LIMITED


def _is_vague(status: int | None, finding: Finding) -> bool:
    """A generic type such as invalid_request_error says less than a status that has a meaning of its own."""
    return status is None or status not in STATUS or finding.outcome is not Outcome.BAD_REQUEST


def _by_status(status: int) -> Finding:
    if status in STATUS:
        return STATUS[status]
    if status >= 500:
        return Finding(Outcome.SERVER_ERROR)
    return Finding(Outcome.BAD_REQUEST if status >= 400 else Outcome.MALFORMED)


def _default_reach(outcome: Outcome, backend: str) -> Reach | None:
    """A limit that names no scope speaks of the key on OpenRouter, of the route elsewhere."""
    if outcome is Outcome.RATE_LIMITED:
        return Reach.KEY if backend == OPENROUTER else Reach.ROUTE
    return RULES[outcome].condemns


def _is_html(reply: Reply) -> bool:
    return "html" in reply.headers.get("content-type", "") or reply.body.lstrip()[:1] == b"<"


def _error_of(body: object) -> object:
    return field(body, "error") or field(_first_choice(body), "error") or body


def _message_of(body: object, error: object) -> str | None:
    for found in (
        field(error, "message"),
        error,
        field(error, "detail"),
        field(body, "message"),
        field(body, "error"),
    ):
        if isinstance(found, str) and found.strip():
            raw = field(error, "metadata", "raw")
            return f"{found}: {raw}" if isinstance(raw, str) else found
    return None


def _code_of(error: object) -> str | None:
    for found in (
        field(error, "availability", "code"),
        field(error, "metadata", "limit_source"),
        field(error, "metadata", "error_type"),
        field(error, "code"),
        field(error, "type"),
        field(error, "error_type"),
    ):
        if found is not None and isinstance(found, str | int) and not isinstance(found, bool):
            return shorten(str(found))[:80]
    return None


# --- a reply that may be an answer ------------------------------------------------------------------------------


def _answer(reply: Reply, body: object, backend: str, now_utc: datetime) -> Verdict:
    if not isinstance(body, dict):
        words = reply.body[:2000].decode("utf-8", "replace").strip() or "the body is blank"
        return Verdict(outcome=Outcome.MALFORMED, http_status=reply.status, message=shorten(words))
    choice = _first_choice(body)
    error = body.get("error") or field(choice, "error")
    if error:
        return _refusal(reply, body, _status_in(error), backend, now_utc)
    reason = field(choice, "finish_reason")
    facts = facts_of(body, status=reply.status, headers=reply.headers, now_utc=now_utc, finish_reason=reason)
    message = field(choice, "message")
    if not isinstance(message, dict):
        return replace(facts, outcome=Outcome.MALFORMED, message="the reply has no message")
    return judge(facts, said_in(message, body.get("usage")), body)


def _first_choice(body: object) -> object:
    choices = field(body, "choices")
    return choices[0] if isinstance(choices, list) and choices else None


def _status_in(error: object) -> int | None:
    code = number(field(error, "code"))
    return int(code) if code is not None and 400 <= code <= 599 else None


def _text(value: object) -> str | None:
    return shorten(value) if isinstance(value, str) else None
