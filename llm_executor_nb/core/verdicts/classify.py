"""From a reply to a verdict: is it an answer, and if not, which outcome is it and how far may its hold reach.

A fault of the transport has its outcome here. A reply that may be an answer is judged in `answers`. An error is read in
`error_body`, and judged here by its evidence, strongest first (design 3.1):
1. fields with a vocabulary of their own, and codes with one meaning (`codes`);
2. its words (`wordings`);
3. a status with a meaning of its own, and last the vague types that say no more than a status (`codes`).
Whatever the bytes are, the result is a verdict; nothing is raised.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from llm_executor_nb.core.foreign_json import TOO_LARGE, get_in, parse_json
from llm_executor_nb.core.foreign_text import beginning, shorten
from llm_executor_nb.core.outcomes import REDIRECTED, RULES, Finding, Need, Outcome, ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Fault, FaultKind, Reply, Verdict
from llm_executor_nb.core.verdicts.added_parameters import parameters_named_in
from llm_executor_nb.core.verdicts.answers import content_of, facts_of, generation_id_of, judge, overruled, upstream_of
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
from llm_executor_nb.core.verdicts.error_body import first_choice, read_error, tells_error
from llm_executor_nb.core.verdicts.narrowed import clauses_named_in
from llm_executor_nb.core.verdicts.phrases_accounts import FREE_TIER_DAILY
from llm_executor_nb.core.verdicts.phrases_requests import REQUEST_PARTS
from llm_executor_nb.core.verdicts.rate_headers import retry_after_s
from llm_executor_nb.core.verdicts.wordings import PARTS_BY_STATUS, RELAYED, REQUEST_WORDINGS, finding_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from llm_executor_nb.core.verdicts.error_body import ErrorBody

_FAULTS: Final[dict[FaultKind, Outcome]] = {
    **dict.fromkeys(FaultKind, Outcome.CONNECTION),
    FaultKind.TIMEOUT: Outcome.TIMEOUT,
    FaultKind.DEADLINE: Outcome.TIMEOUT,
    FaultKind.MALFORMED: Outcome.MALFORMED,
    FaultKind.TOO_LARGE: Outcome.INVALID_OUTPUT,  # design 3.3: it was paid for, and the next may be as large
}
_FAULT_CODES: Final = frozenset(kind.value for kind in FaultKind)
"""Codes of attempts that got no reply. A server's own code "timeout" means something else, so it is not shown."""
_LONGEST_ERROR: Final = 2 * 1024 * 1024
"""Bytes; a longer error repeats the request, so only its status counts."""
_UNCLEAR: Final = frozenset({400, 500, 502})
"""Gateways put another server's error behind these; that server's own status then says more."""
_NO_CLAUSES: Final[frozenset[str]] = frozenset()
_DAY_S: Final = 86_400.0
_ADDRESS: Final = re.compile(r"(?:https?://|www\.)[^\s\"'<>)\]]*")


def classify(reply: Reply | Fault, *, backend: str, now_utc: datetime, body: object = None) -> Verdict:
    """Return what a reply or a fault is. Never raises.

    Args:
        reply: what the transport returned.
        backend: who was asked; decides how far a hold reaches where the reply does not say.
        now_utc: when it arrived, for reset times.
        body: its parsed JSON, where the caller has it already.
    """
    if isinstance(reply, Fault):
        # an error without end was not paid for, so its status counts and not its size
        if reply.kind is FaultKind.TOO_LARGE and reply.status is not None and reply.status >= 300:
            return _refusal(Reply(status=reply.status, headers={}, body=b""), {}, backend, now_utc)
        outcome, code = _FAULTS[reply.kind], reply.kind.value
        return Verdict(outcome=outcome, http_status=reply.status, error_code=code, message=shorten(reply.detail))
    if 200 <= reply.status < 300:
        return _answer(reply, parse_json(reply.body) if body is None else body, backend, now_utc)
    body = parse_json(reply.body) if len(reply.body) <= _LONGEST_ERROR else {}
    return _refusal(reply, body, backend, now_utc)


def classify_event(
    body: dict[str, Any], *, status: int, headers: Mapping[str, str], backend: str, now_utc: datetime
) -> Verdict:
    """Return what an event of a stream is, or the body that the events of a whole stream add up to. Never raises.

    Args:
        body: its parsed JSON.
        status: of the stream.
        headers: of the stream, names in lower case.
        backend: who was asked.
        now_utc: when it arrived, for reset times.
    """
    return _answer(Reply(status=status, headers=headers, body=b""), body, backend, now_utc)


def _answer(reply: Reply, body: object, backend: str, now_utc: datetime) -> Verdict:
    """Return the verdict on a reply whose status says that all is well."""
    if body is TOO_LARGE:
        return Verdict(outcome=Outcome.INVALID_OUTPUT, http_status=reply.status, message=TOO_LARGE)
    if not isinstance(body, dict):
        text = beginning(reply.body).strip() or "the body is blank"
        return Verdict(outcome=Outcome.MALFORMED, http_status=reply.status, message=shorten(text))
    if tells_error(body):  # gateways send errors with a 200 too
        return _refusal(reply, body, backend, now_utc)
    choice = first_choice(body)
    reason = get_in(choice, "finish_reason")
    facts = facts_of(body, status=reply.status, headers=reply.headers, now_utc=now_utc, finish_reason=reason)
    message = get_in(choice, "message")
    if not isinstance(message, dict):
        return overruled(facts, Outcome.MALFORMED, "the reply has no message")
    return judge(facts, content_of(message, body.get("usage")))


def _refusal(reply: Reply, body: object, backend: str, now_utc: datetime) -> Verdict:
    """Return the verdict on an error; `body` is its parsed JSON, None if it is not JSON."""
    root = _root_of(body)
    error = read_error(beginning(reply.body) if body is None else body)
    status = _status_of(reply, error)
    wait_s = retry_after_s(reply.headers, error, now_utc)
    words = _words_of(error)
    finding = _moved(reply, backend) or _find(root, error, status, words, is_timed=wait_s is not None)
    # OpenRouter's free requests of a day come back at midnight UTC, which its reply does not always say
    if wait_s is None and backend == OPENROUTER and FREE_TIER_DAILY.are_in(words):
        wait_s = _DAY_S - now_utc.timestamp() % _DAY_S
    text = error.message or beginning(reply.body)
    model = get_in(body, "model")
    return Verdict(
        outcome=finding.outcome,
        reach=_reach_of(finding, backend, status, is_relayed=_is_relayed(root, words, backend)),
        need=finding.need,
        retry_after_s=wait_s,
        http_status=reply.status,
        error_code=_code_of(root, error),
        message=shorten(_new_address(reply) or text),
        response_model=shorten(model) if isinstance(model, str) else None,
        upstream=upstream_of(body, get_in(root, "metadata", "provider_name")),
        generation_id=generation_id_of(body, reply.headers),
        names=parameters_named_in(text) if body is None else parameters_named_in(root, body),
        clauses=clauses_named_in(root, words) if finding.need is Need.POLICY else _NO_CLAUSES,
    )


# --- what an error is ---------------------------------------------------------------------------------------------


def _find(root: object, error: ErrorBody, status: int | None, words: str, *, is_timed: bool) -> Finding:
    """Return what the strongest evidence says."""
    # design 3.1: evidence is read strongest first: fields with a vocabulary, words, then type and status
    if (finding := next(_typed(root, error), None)) is not None:
        return finding
    is_about_parts = status in PARTS_BY_STATUS and REQUEST_PARTS.are_in(words)
    # design 3.1, blame: what happened to this request's parts may not hold a key or a model, whatever it quotes
    if is_about_parts or get_in(root, "availability") is not None:
        finding = finding_in(words, status, is_timed=is_timed, among=REQUEST_WORDINGS)
        finding = finding or (PARTS_BY_STATUS[status] if is_about_parts else None)
    finding = finding or next(_available(root, status), None) or finding_in(words, status, is_timed=is_timed)
    if finding is not None:
        return finding
    return _vague(error, status) or (Finding(Outcome.SERVER_ERROR) if status is None else _by_status(status))


def _typed(root: object, error: ErrorBody) -> Iterator[Finding]:
    """Yield what fields with a vocabulary of their own say, strongest first; `_available` reads the rest of one."""
    if _availability_code(root) is not None:
        clause = get_in(root, "availability", "excluded_by")
        clauses = clause if isinstance(clause, list) else [clause]
        yield from (EXCLUDED_BY[one] for one in clauses[:1] if isinstance(one, str) and one in EXCLUDED_BY)
    for name, table in (("reason", REASON), ("limit_source", LIMIT_SOURCE)):
        value = get_in(root, "metadata", name)
        if isinstance(value, str) and value in table:
            yield table[value]
    yield from (DECISIVE[code] for code in error.names if code in DECISIVE)


def _availability_code(root: object) -> str | None:
    code = get_in(root, "availability", "code")
    return code if isinstance(code, str) and code in AVAILABILITY else None


def _available(root: object, status: int | None) -> Iterator[Finding]:
    """Yield what OpenRouter's `availability` says; `retryable` counts only where the status does not agree already."""
    by_status = _by_status(status) if status is not None else None
    retryable = get_in(root, "availability", "retryable")
    if (code := _availability_code(root)) is not None:
        yield AVAILABILITY[code]
    elif retryable is False and (by_status is None or not RULES[by_status.outcome].condemns):
        yield Finding(Outcome.UNSUPPORTED, ScopeLevel.BACKEND)
    elif retryable is True and (by_status is None or not _may_pass(by_status.outcome)):
        yield Finding(Outcome.OVERLOADED)


def _may_pass(outcome: Outcome) -> bool:
    return RULES[outcome].is_transient or outcome is Outcome.RATE_LIMITED


def _vague(error: ErrorBody, status: int | None) -> Finding | None:
    """Return what a vague type says, where the status says less."""
    if status in STATUS:
        return None
    findings = [VAGUE[code] for code in error.names if code in VAGUE]
    if status is not None and status >= 500:  # "invalid_request_error" with a 500 is the server's failure
        findings = [one for one in findings if one.outcome is not Outcome.BAD_REQUEST]
    return next(iter(findings), None)


def _by_status(status: int) -> Finding:
    if status in STATUS:
        return STATUS[status]
    if status >= 500:
        return Finding(Outcome.SERVER_ERROR)
    return Finding(Outcome.BAD_REQUEST if status >= 400 else Outcome.MALFORMED)


# --- how far its hold may reach -----------------------------------------------------------------------------------


def _reach_of(finding: Finding, backend: str, status: int | None, *, is_relayed: bool) -> ScopeLevel | None:
    """Return what an error is about: as the evidence says, but at most the model where a gateway relays it.

    A 401 that a gateway relays is about the gateway's key there, not about the user's (design 3.1). A user's own
    backend is its only provider. What its words alone say about a model is held for the key that was asked.
    """
    reach = finding.reach or RULES[finding.outcome].condemns
    if reach is None and finding.outcome is Outcome.RATE_LIMITED:
        # design 3.2: a reply that names no scope is about the key on OpenRouter, about the route elsewhere
        reach = ScopeLevel.ROUTE if is_relayed or backend != OPENROUTER else ScopeLevel.KEY
    if reach is ScopeLevel.KEY and is_relayed:  # design 3.1: the dead key is the gateway's own
        return ScopeLevel.MODEL
    if reach is not ScopeLevel.PROVIDER or backend == HUGGINGFACE:
        return reach
    if backend == OPENROUTER:
        return ScopeLevel.BACKEND
    # words alone may name any model: an unjust hold loses rows, a missing one costs one request (design 3.1)
    return reach if status in STATUS or finding.need is not None else ScopeLevel.ROUTE


def _is_relayed(root: object, words: str, backend: str) -> bool:
    """Whether a gateway relays what another server said about the gateway's own key there."""
    # the field names whose limit it is, so nothing has to be guessed from the words
    if backend == OPENROUTER and get_in(root, "metadata", "limit_source") is not None:
        return False
    return get_in(root, "metadata", "raw") is not None or RELAYED.are_in(words)


# --- parts of an error --------------------------------------------------------------------------------------------


def _root_of(body: object) -> object:
    """Return the object that holds an error's typed fields."""
    # design 3.1: errors may be lists; the first one explains the status
    if isinstance(body, list) and body:
        body = body[0]
    return get_in(body, "error") or get_in(first_choice(body), "error") or body


def _status_of(reply: Reply, error: ErrorBody) -> int | None:
    """Return the status that counts: the reply's, unless it is unclear or says that all is well."""
    if 200 <= reply.status < 300:
        return error.status
    # only a status with a meaning replaces another: a 500 around a 400 says nothing new
    if reply.status in _UNCLEAR and error.status in STATUS:
        return error.status
    return reply.status


def _words_of(error: ErrorBody) -> str:
    """Return all words of an error in lower case: its texts, and its codes written as words unless they are vague."""
    # without addresses: a link to ".../billing" stands in many errors that are not about money
    lines = [_ADDRESS.sub("", " ".join(text.lower().split())) for text in error.texts]
    # a vague code must not count as words, which would outweigh the status
    lines += [code.replace("_", " ") for code in error.names if code not in VAGUE]
    return "\n".join(lines)


def _code_of(root: object, error: ErrorBody) -> str | None:
    typed = (
        get_in(root, "availability", "code"),
        get_in(root, "metadata", "limit_source"),
        get_in(root, "metadata", "error_type"),
        *(get_in(root, name) for name in ("code", "type", "error_type")),
    )
    for code in (*typed, *error.codes[:1]):
        if isinstance(code, str | int) and not isinstance(code, bool) and code not in _FAULT_CODES:
            return shorten(str(code))[:80]
    return None


def _moved(reply: Reply, backend: str) -> Finding | None:
    """Return what a permanent redirect says about a user's own backend: its base URL is out of date."""
    is_own = backend not in (OPENROUTER, HUGGINGFACE)
    is_moved = is_own and reply.status in MOVED and _new_address(reply) is not None
    return Finding(Outcome.NOT_FOUND, ScopeLevel.BACKEND) if is_moved else None


def _new_address(reply: Reply) -> str | None:
    """Return where a reply redirects to, without what may hold a secret: query, fragment, user and password."""
    if not 300 <= reply.status < 400:
        return None
    try:
        parts = urlsplit(reply.headers.get("location", ""))
        host = parts.hostname or ""
        place = f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        return None
    address = f"{parts.scheme}://{place}{parts.path}" if host and parts.scheme else f"{place}{parts.path}"
    return f"{REDIRECTED}{address}" if address else None
