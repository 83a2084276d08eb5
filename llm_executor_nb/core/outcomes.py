"""The outcomes an attempt can have, what each puts on hold, and what follows: the table of the design, as data.

A reply is an answer, or it is one of the outcomes below; nothing else leaves `classify`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto


class Outcome(StrEnum):
    """What came of one attempt."""

    OK = auto()
    CONNECTION = auto()
    SERVER_ERROR = auto()
    OVERLOADED = auto()
    EMPTY = auto()
    MALFORMED = auto()
    TIMEOUT = auto()
    RATE_LIMITED = auto()
    QUOTA = auto()
    AUTH = auto()
    FORBIDDEN = auto()
    NOT_FOUND = auto()
    UNSUPPORTED = auto()
    INVALID_OUTPUT = auto()
    REJECTED = auto()
    CONTEXT_LENGTH = auto()
    BAD_REQUEST = auto()
    CONTENT_FILTER = auto()
    TRUNCATED = auto()
    CANCELLED = auto()


class Decision(StrEnum):
    """What the run did after an attempt."""

    ACCEPT = auto()
    RETRY = auto()
    WAIT = auto()
    FALL_BACK = auto()
    STOP = auto()


class Reach(StrEnum):
    """What a reply speaks of, and so how far its hold reaches: from this request alone to a backend for a model."""

    REQUEST = auto()
    """This request: nothing is held."""
    ROUTE = auto()
    MODEL = auto()
    """This model on this key, through any provider."""
    KEY = auto()
    PROVIDER = auto()
    BACKEND = auto()


class Need(StrEnum):
    """What a request may need of a route beyond answering a text."""

    IMAGE = auto()
    FILE = auto()
    AUDIO = auto()
    VIDEO = auto()
    TOOLS = auto()
    SCHEMA = auto()
    POLICY = auto()
    """Conditions on who may answer; a request's own need has a digest behind it."""
    PARAM = auto()
    """A call parameter; a request's own need has its name behind it."""


class Follow(StrEnum):
    """What a run does after an outcome, before holds and bounds have their say."""

    ACCEPT = auto()
    RETRY = auto()
    ONCE_MORE = auto()
    """It was paid for: two tries on a route, and few in the whole run."""
    MOVE_THEN_RETRY = auto()
    MOVE = auto()
    NEXT_PROVIDER = auto()
    NEXT_BACKEND = auto()
    REFUSE = auto()
    STOP = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table.

    Attributes:
        follow: what the run does next.
        is_transient: it counts in the route's streak of failures.
        condemns: what is held at once, until further notice; None: nothing.
    """

    follow: Follow
    is_transient: bool = False
    condemns: Reach | None = None


_TRANSIENT = Rule(follow=Follow.RETRY, is_transient=True)
_KEY_IS_DEAD = Rule(follow=Follow.MOVE, condemns=Reach.KEY)
_NOT_SERVED_HERE = Rule(follow=Follow.MOVE, condemns=Reach.PROVIDER)
_PAID_IN_VAIN = Rule(follow=Follow.ONCE_MORE)
_REFUSED = Rule(follow=Follow.REFUSE)

RULES: dict[Outcome, Rule] = {
    Outcome.OK: Rule(follow=Follow.ACCEPT),
    Outcome.CONNECTION: _TRANSIENT,
    Outcome.SERVER_ERROR: _TRANSIENT,
    Outcome.OVERLOADED: _TRANSIENT,
    Outcome.EMPTY: _TRANSIENT,
    Outcome.MALFORMED: _TRANSIENT,
    Outcome.TIMEOUT: Rule(follow=Follow.MOVE_THEN_RETRY, is_transient=True),
    Outcome.RATE_LIMITED: Rule(follow=Follow.RETRY),
    Outcome.QUOTA: _KEY_IS_DEAD,
    Outcome.AUTH: _KEY_IS_DEAD,
    Outcome.FORBIDDEN: _KEY_IS_DEAD,
    Outcome.NOT_FOUND: _NOT_SERVED_HERE,
    Outcome.UNSUPPORTED: _NOT_SERVED_HERE,
    Outcome.INVALID_OUTPUT: _PAID_IN_VAIN,
    Outcome.REJECTED: _PAID_IN_VAIN,
    Outcome.CONTEXT_LENGTH: Rule(follow=Follow.NEXT_BACKEND),
    Outcome.BAD_REQUEST: Rule(follow=Follow.NEXT_PROVIDER),
    Outcome.CONTENT_FILTER: _REFUSED,
    Outcome.TRUNCATED: _REFUSED,
    Outcome.CANCELLED: Rule(follow=Follow.STOP),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a piece of evidence says.

    Attributes:
        outcome: what came of the attempt.
        reach: how far its hold reaches; None: as its rule says.
        need: what of the request it speaks of; requests without this need are not held. None: of every request.
    """

    outcome: Outcome
    reach: Reach | None = None
    need: Need | None = None


_GONE = Finding(Outcome.NOT_FOUND, Reach.BACKEND)
_BUSY = Finding(Outcome.OVERLOADED)
_NO_CREDIT = Finding(Outcome.QUOTA, Reach.KEY)
_SHARED_POOL = Finding(Outcome.RATE_LIMITED, Reach.BACKEND)
_BAD = Finding(Outcome.BAD_REQUEST)
_TOO_LONG = Finding(Outcome.CONTEXT_LENGTH)
_FLAGGED = Finding(Outcome.CONTENT_FILTER)
_SERVER = Finding(Outcome.SERVER_ERROR)
_LIMITED = Finding(Outcome.RATE_LIMITED)

# Evidence, strongest first. Source of each table: the providers' own documentation and public threads as collected
# on 2026-11-24 (openrouter.ai/docs: errors-and-debugging, limits; huggingface.co/docs: inference-providers).

AVAILABILITY: dict[str, Finding] = {
    "model_not_found": _GONE,
    "wrong_endpoint": Finding(Outcome.UNSUPPORTED, Reach.BACKEND),
    "no_endpoints": _GONE,
    "model_deprecated": _GONE,
    "model_unavailable_upstream": _GONE,
    "privacy_restricted": Finding(Outcome.UNSUPPORTED, Reach.BACKEND),
    "constraint_filtered": Finding(Outcome.UNSUPPORTED, Reach.BACKEND),
    "free_variant_ended": _GONE,
    "capacity_exhausted": _BUSY,
    "temporarily_unavailable": _BUSY,
}
"""OpenRouter's `error.availability.code`."""

LIMIT_SOURCE: dict[str, Finding] = {
    "openrouter_credits": _NO_CREDIT,
    "openrouter_key_limit": _NO_CREDIT,
    "openrouter_in_flight_budget": Finding(Outcome.RATE_LIMITED, Reach.KEY),
    "openrouter_free_tier_daily": _NO_CREDIT,
    "upstream_provider_shared_pool": _SHARED_POOL,
    "openrouter_shared_capacity": _SHARED_POOL,
    "openrouter_admission_control": _SHARED_POOL,
}
"""OpenRouter's `error.metadata.limit_source`: which of the several things a 402 or a 429 can mean."""

ERROR_TYPE: dict[str, Finding] = {
    "invalid_request": _BAD,
    "invalid_request_error": _BAD,
    "invalid_prompt": _BAD,
    "invalid_image": _BAD,
    "string_too_long": _BAD,
    "max_tokens_exceeded": _BAD,
    "validation": _BAD,
    "context_length_exceeded": _TOO_LONG,
    "token_limit_exceeded": _TOO_LONG,
    "exceed_context_size_error": _TOO_LONG,
    "content_policy_violation": _FLAGGED,
    "content_filter": _FLAGGED,
    "refusal": _FLAGGED,
    "json_validate_failed": Finding(Outcome.INVALID_OUTPUT),
    "region_restricted": Finding(Outcome.UNSUPPORTED, Reach.BACKEND),
    "model_not_supported": Finding(Outcome.UNSUPPORTED, Reach.PROVIDER),
    "model_not_found": Finding(Outcome.NOT_FOUND, Reach.PROVIDER),
    "invalid_api_key": Finding(Outcome.AUTH),
    "authentication_error": Finding(Outcome.AUTH),
    "no_db_connection": Finding(Outcome.AUTH),
    "insufficient_quota": _NO_CREDIT,
    "rate_limit_exceeded": _LIMITED,
    "rate_limit_error": _LIMITED,
    "overloaded_error": _BUSY,
    "provider_overloaded": _BUSY,
    "server_error": _SERVER,
    "internal_server_error": _SERVER,
    "timeout": _SERVER,
}
"""Typed errors: OpenRouter's `metadata.error_type`, the OpenAI form's `code` and `type`, TGI's `error_type`.

`no_db_connection` is what a litellm proxy without a database says, with a 400, to a key that it does not know;
`exceed_context_size_error` is llama.cpp's.
"""

STATUS: dict[int, Finding] = {
    401: Finding(Outcome.AUTH),
    402: _NO_CREDIT,
    403: Finding(Outcome.FORBIDDEN),
    404: Finding(Outcome.NOT_FOUND),
    405: Finding(Outcome.UNSUPPORTED),
    408: Finding(Outcome.TIMEOUT),
    409: _SERVER,
    425: _SERVER,
    429: _LIMITED,
    503: _BUSY,
    529: _BUSY,
}
"""HTTP status, where nothing better is known; other 4xx are a bad request, other 5xx a server error."""

MOVED = frozenset({301, 307, 308})
"""Redirects that speak of the address; 302 and 303 mostly lead to a page for logging in, and may pass."""
REDIRECTED = "it redirects to "
"""What a verdict on a redirect begins with; then where it leads."""


@dataclass(frozen=True, slots=True)
class Wording:
    """Text that tells apart what a vague status does not; read last, and only with these statuses.

    Attributes:
        statuses: where it is looked for; None: in an error inside a 200 that names no status.
        words: what is looked for, in lower case.
        finding: what it says.
    """

    statuses: frozenset[int | None]
    words: str
    finding: Finding


WORDINGS: tuple[Wording, ...] = (
    Wording(frozenset({None, 404}), "unexpected endpoint or method", Finding(Outcome.NOT_FOUND, Reach.BACKEND)),
    Wording(frozenset({402}), "not enabled for provider", Finding(Outcome.QUOTA, Reach.PROVIDER)),
    Wording(frozenset({400, 404, 422}), "not supported by", Finding(Outcome.UNSUPPORTED, Reach.PROVIDER)),
    Wording(frozenset({400, 404, 422}), "not a valid model id", _GONE),
    Wording(frozenset({400, 413, 422}), "context length", _TOO_LONG),
    Wording(frozenset({400, 413, 422}), "context window", _TOO_LONG),
    Wording(frozenset({400, 413, 422}), "context size", _TOO_LONG),
    Wording(frozenset({400, 413, 422}), "`inputs` tokens + `max_new_tokens` must be", _TOO_LONG),
    Wording(frozenset({403}), "key limit exceeded", _NO_CREDIT),
    Wording(frozenset({429}), "free-models-per-day", _NO_CREDIT),
)
