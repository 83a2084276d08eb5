"""From an error that a server tells to a verdict: what came of the attempt, and how far its hold may reach.

Evidence, strongest first: what OpenRouter types (`availability`, `limit_source`), codes with one meaning, words, a
status that has a meaning of its own, and last the vague types that say no more than a status. Whatever the bytes are,
the result is a verdict; nothing is raised. The data is in `codes` and `words`, the reading in `error_body`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from llm_executor_nb.core.foreign_json import get_in
from llm_executor_nb.core.outcomes import REDIRECTED, RULES, Finding, Outcome, ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, FaultKind, Reply, Verdict
from llm_executor_nb.core.secret import shorten
from llm_executor_nb.core.verdicts.codes import (
    AVAILABILITY,
    DECISIVE,
    EXCLUDED_BY,
    LIMIT_SOURCE,
    MOVED,
    REASON,
    STATUS,
    VAGUE,
)
from llm_executor_nb.core.verdicts.error_body import first_choice, read
from llm_executor_nb.core.verdicts.named import named
from llm_executor_nb.core.verdicts.rate_headers import retry_after_s
from llm_executor_nb.core.verdicts.words import MAY_QUOTE, OF_REQUESTS, OWN_BY_STATUS, RELAYED, UNQUOTED, WORDINGS
from llm_executor_nb.core.verdicts.words_money import FREE_REQUESTS_OF_THE_DAY
from llm_executor_nb.core.verdicts.words_own import OWN_PARTS, unquoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from llm_executor_nb.core.verdicts.error_body import ErrorBody
    from llm_executor_nb.core.verdicts.wording import Wording

_DAY_S: Final = 86_400.0
_ADDRESS: Final = re.compile(r"(?:https?://|www\.)[^\s\"'<>)\]]*")
_CODES_OF_FAULTS: Final = frozenset(kind.value for kind in FaultKind)
"""What an attempt that got no reply has as its code; a server's own "timeout" is another thing."""
_UNCLEAR: Final = frozenset({400, 500, 502})
"""Statuses behind which gateways put another server's error, whose own status then says more."""


def refuse(reply: Reply, body: object, *, backend: str, now_utc: datetime) -> Verdict:
    """Return what a reply that tells an error is. Never raises.

    Args:
        reply: what came.
        body: its parsed JSON; None: it is none.
        backend: who was asked; says how far a hold reaches where the reply does not.
        now_utc: when it came, for reset times.
    """
    error = _error_of(body)
    told = read(reply.body[:20_000].decode("utf-8", "replace") if body is None else body)
    status = _status_of(reply, told)
    told_s = retry_after_s(reply.headers, told, now_utc)
    words = _words_of(told)
    found = _moved(reply, backend) or _find(error, told, status, words, is_timed=told_s is not None)
    if told_s is None and backend == OPENROUTER and FREE_REQUESTS_OF_THE_DAY.are_in(words):
        told_s = _DAY_S - now_utc.timestamp() % _DAY_S
    return Verdict(
        outcome=found.outcome,
        reach=_reach_of(found, backend, status, is_relayed=_is_relayed(error, words, backend)),
        need=found.need,
        retry_after_s=told_s,
        http_status=reply.status,
        error_code=_code_of(error, told),
        message=shorten(_elsewhere(reply) or told.message or _first_words(reply)),
        response_model=_model_of(body),
        names=named(told.message or _first_words(reply)) if body is None else named(error, body),
    )


# --- how far it reaches -------------------------------------------------------------------------------------------


def _reach_of(found: Finding, backend: str, status: int | None, *, is_relayed: bool) -> ScopeLevel | None:
    """Say what an error speaks of: as the evidence says, but no more than the model where a gateway relays it.

    A user's own backend is its only provider. What its words alone say of a model is held for the key that was asked.
    """
    reach = found.reach or RULES[found.outcome].condemns
    if reach is None and found.outcome is Outcome.RATE_LIMITED:
        reach = ScopeLevel.ROUTE if is_relayed or backend != OPENROUTER else ScopeLevel.KEY
    if reach is ScopeLevel.KEY and is_relayed:
        return ScopeLevel.MODEL
    if reach is not ScopeLevel.PROVIDER or backend == HUGGINGFACE:
        return reach
    if backend == OPENROUTER:
        return ScopeLevel.BACKEND
    return reach if status in STATUS or found.need is not None else ScopeLevel.ROUTE


def _is_relayed(error: object, words: str, backend: str) -> bool:
    """Whether a gateway passes on what another server said of the gateway's own key there."""
    if backend == OPENROUTER and get_in(error, "metadata", "limit_source") is not None:
        return False
    return get_in(error, "metadata", "raw") is not None or RELAYED.are_in(words)


# --- what it is ---------------------------------------------------------------------------------------------------


def _find(error: object, told: ErrorBody, status: int | None, words: str, *, is_timed: bool) -> Finding:
    if (found := next(_typed(error, told), None)) is not None:
        return found
    is_own = status in OWN_BY_STATUS and OWN_PARTS.are_in(words)
    if is_own or get_in(error, "availability") is not None:
        found = _said(OF_REQUESTS, words, status, is_timed=is_timed) or (OWN_BY_STATUS[status] if is_own else None)
    found = found or next(_available(error, status), None) or _said(WORDINGS, words, status, is_timed=is_timed)
    if found is not None:
        return found
    return _vague(told, status) or (Finding(Outcome.SERVER_ERROR) if status is None else _by_status(status))


def _said(wordings: tuple[Wording, ...], words: str, status: int | None, *, is_timed: bool) -> Finding | None:
    """Return what the words of an error say; what stands in quotes is mostly the request's, and no account's."""
    plain = unquoted(words) if status in MAY_QUOTE else words
    for wording in wordings:
        if wording.fits(plain if wording.finding.outcome in UNQUOTED else words, status, is_timed=is_timed):
            return wording.finding
    return None


def _typed(error: object, told: ErrorBody) -> Iterator[Finding]:
    """Yield what the fields with a vocabulary of their own say, strongest first; `availability` has its own reading."""
    metadata = get_in(error, "metadata")
    code = get_in(error, "availability", "code")
    if isinstance(code, str) and code in AVAILABILITY:
        clause = get_in(error, "availability", "excluded_by")
        clauses = clause if isinstance(clause, list) else [clause]
        yield from (EXCLUDED_BY[one] for one in clauses[:1] if isinstance(one, str) and one in EXCLUDED_BY)
    for name, table in (("reason", REASON), ("limit_source", LIMIT_SOURCE)):
        value = get_in(metadata, name)
        if isinstance(value, str) and value in table:
            yield table[value]
    yield from (DECISIVE[code] for code in told.names if code in DECISIVE)


def _available(error: object, status: int | None) -> Iterator[Finding]:
    """Yield what OpenRouter's `availability` says."""
    by_status = _by_status(status) if status is not None else None
    retryable = get_in(error, "availability", "retryable")
    code = get_in(error, "availability", "code")
    if isinstance(code, str) and code in AVAILABILITY:
        yield AVAILABILITY[code]
    elif retryable is False and (by_status is None or not RULES[by_status.outcome].condemns):
        yield Finding(Outcome.UNSUPPORTED, ScopeLevel.BACKEND)
    elif retryable is True and (by_status is None or not _may_pass(by_status.outcome)):
        yield Finding(Outcome.OVERLOADED)


def _may_pass(outcome: Outcome) -> bool:
    return RULES[outcome].is_transient or outcome is Outcome.RATE_LIMITED


def _vague(told: ErrorBody, status: int | None) -> Finding | None:
    """Return what a vague type says, where the status says less: a 5xx says more than "invalid request"."""
    if status in STATUS:
        return None
    found = [VAGUE[code] for code in told.names if code in VAGUE]
    if status is not None and status >= 500:
        found = [one for one in found if one.outcome is not Outcome.BAD_REQUEST]
    return next(iter(found), None)


def _by_status(status: int) -> Finding:
    if status in STATUS:
        return STATUS[status]
    if status >= 500:
        return Finding(Outcome.SERVER_ERROR)
    return Finding(Outcome.BAD_REQUEST if status >= 400 else Outcome.MALFORMED)


def _status_of(reply: Reply, told: ErrorBody) -> int | None:
    """Return the status that counts: the reply's, unless it is unclear or says that all is well."""
    if 200 <= reply.status < 300:
        return told.status
    if reply.status in _UNCLEAR and told.status in STATUS:
        return told.status
    return reply.status


# --- what is read -------------------------------------------------------------------------------------------------


def _words_of(told: ErrorBody) -> str:
    """Return all words of an error as they are judged: its texts, and its codes that are not vague as words."""
    lines = [_ADDRESS.sub("", " ".join(text.lower().split())) for text in told.texts]
    lines += [code.replace("_", " ") for code in told.names if code not in VAGUE]
    return "\n".join(lines)


def _error_of(body: object) -> object:
    if isinstance(body, list) and body:
        body = body[0]
    return get_in(body, "error") or get_in(first_choice(body), "error") or body


def _code_of(error: object, told: ErrorBody) -> str | None:
    typed = (
        get_in(error, "availability", "code"),
        get_in(error, "metadata", "limit_source"),
        get_in(error, "metadata", "error_type"),
        get_in(error, "code"),
        get_in(error, "type"),
        get_in(error, "error_type"),
    )
    for found in (*typed, *told.codes[:1]):
        if isinstance(found, str | int) and not isinstance(found, bool) and found not in _CODES_OF_FAULTS:
            return shorten(str(found))[:80]
    return None


def _model_of(body: object) -> str | None:
    model = get_in(body, "model")
    return shorten(model) if isinstance(model, str) else None


def _first_words(reply: Reply) -> str:
    return reply.body[:2000].decode("utf-8", "replace")


# --- redirects ----------------------------------------------------------------------------------------------------


def _moved(reply: Reply, backend: str) -> Finding | None:
    """Return what a lasting redirect says of a user's own backend: its address is another."""
    is_own = backend not in (OPENROUTER, HUGGINGFACE)
    is_moved = is_own and reply.status in MOVED and _elsewhere(reply) is not None
    return Finding(Outcome.NOT_FOUND, ScopeLevel.BACKEND) if is_moved else None


def _elsewhere(reply: Reply) -> str | None:
    """Return where a reply redirects to, without what may hold a secret: query, fragment, user and password."""
    if not 300 <= reply.status < 400:
        return None
    try:
        parts = urlsplit(reply.headers.get("location", ""))
        host = parts.hostname or ""
        place = f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        return None
    whole = f"{parts.scheme}://{place}{parts.path}" if host and parts.scheme else f"{place}{parts.path}"
    return f"{REDIRECTED}{whole}" if whole else None
