"""What the codes and the status of an error mean: a table for each field that has a vocabulary of its own.

A new code is a new row here. A code whose words already say what it means needs no row, for `wordings` reads codes too.
Sources: openrouter.ai/docs (errors-and-debugging, limits), huggingface.co/docs (inference-providers), the documents and
public threads of the other providers, as collected on 2026-11-24 and 2026-11-29.
"""

from __future__ import annotations

from llm_executor_nb.core.outcomes import Finding, Need, Outcome, ScopeLevel

_GONE = Finding(Outcome.NOT_FOUND, ScopeLevel.BACKEND)
_BUSY = Finding(Outcome.OVERLOADED)
_NO_CREDIT = Finding(Outcome.QUOTA, ScopeLevel.KEY)
_SHARED_POOL = Finding(Outcome.RATE_LIMITED, ScopeLevel.BACKEND)
_IN_FLIGHT = Finding(Outcome.RATE_LIMITED, ScopeLevel.KEY)
_NO_SUCH_POLICY = Finding(Outcome.UNSUPPORTED, ScopeLevel.BACKEND, Need.POLICY)
_BAD = Finding(Outcome.BAD_REQUEST)
_TOO_LONG = Finding(Outcome.CONTEXT_LENGTH)
_FLAGGED = Finding(Outcome.CONTENT_FILTER)
_SERVER = Finding(Outcome.SERVER_ERROR)
_LIMITED = Finding(Outcome.RATE_LIMITED)
_UNUSABLE = Finding(Outcome.INVALID_OUTPUT)
_AUTH = Finding(Outcome.AUTH)
_FORBIDDEN = Finding(Outcome.FORBIDDEN)

AVAILABILITY: dict[str, Finding] = {
    "model_not_found": _GONE,
    "wrong_endpoint": Finding(Outcome.UNSUPPORTED, ScopeLevel.BACKEND),
    "no_endpoints": _GONE,
    "model_deprecated": _GONE,
    "model_unavailable_upstream": _GONE,
    "privacy_restricted": _NO_SUCH_POLICY,
    "constraint_filtered": _NO_SUCH_POLICY,
    "region_restricted": Finding(Outcome.UNSUPPORTED, ScopeLevel.BACKEND),
    "free_variant_ended": _GONE,
    "capacity_exhausted": _BUSY,
    "temporarily_unavailable": _BUSY,
}
"""OpenRouter's `error.availability.code`."""

EXCLUDED_BY: dict[str, Finding] = {
    "context_length": _TOO_LONG,
    "require_parameters": Finding(Outcome.UNSUPPORTED, ScopeLevel.BACKEND, Need.PARAM),
}
"""OpenRouter's `excluded_by`, beside an availability code: what excluded all endpoints. Others are policy clauses."""

LIMIT_SOURCE: dict[str, Finding] = {
    "openrouter_credits": _NO_CREDIT,
    "openrouter_key_limit": _NO_CREDIT,
    "openrouter_in_flight_budget": _IN_FLIGHT,
    "openrouter_free_tier_daily": _NO_CREDIT,
    "upstream_provider_shared_pool": _SHARED_POOL,
    "openrouter_shared_capacity": _SHARED_POOL,
    "openrouter_admission_control": _SHARED_POOL,
}
"""OpenRouter's `error.metadata.limit_source`: which of several limits a 402 or a 429 is about."""

REASON: dict[str, Finding] = {
    "weight_exceeds_budget": Finding(Outcome.QUOTA, ScopeLevel.REQUEST),
    "in_flight_budget_exhausted": _IN_FLIGHT,
}
"""OpenRouter's `error.metadata.reason`, which is more precise than the limit_source beside it."""

DECISIVE: dict[str, Finding] = {
    "string_too_long": _BAD,
    "max_tokens_exceeded": _BAD,
    "context_length_exceeded": _TOO_LONG,
    "token_limit_exceeded": _TOO_LONG,
    "exceed_context_size_error": _TOO_LONG,
    "payload_too_large": _TOO_LONG,
    "content_policy_violation": _FLAGGED,
    "content_filter": _FLAGGED,
    "refusal": _FLAGGED,
    "flagged_input": _FLAGGED,
    "patterns": _FLAGGED,
    "tool_use_failed": _UNUSABLE,
    "json_validate_failed": _UNUSABLE,
    "output_parse_failed": _UNUSABLE,
    "failed_generation": _UNUSABLE,
    "region_restricted": Finding(Outcome.UNSUPPORTED, ScopeLevel.BACKEND),
    "no_db_connection": _AUTH,
    "api_key_invalid": _AUTH,
    "1113": _NO_CREDIT,
    "1261": _TOO_LONG,
    "1301": _FLAGGED,
}
"""Codes with one meaning, whatever stands beside them.

A litellm proxy without a database answers an unknown key with `no_db_connection` and a 400. llama.cpp sends
`exceed_context_size_error`. The numbers are Zhipu's, whose messages are in Chinese.
"""

# Names of one meaning stand together.
# fmt: off
_VAGUE: dict[Finding, tuple[str, ...]] = {
    _BAD: (
        "invalid_request", "invalid_request_error", "invalid_prompt", "invalid_image", "invalid_argument",
        "invalid_parameter", "invalid_params", "bad_request", "bad_request_error", "failed_precondition",
        "unprocessable_entity", "unprocessable_entity_error", "validation", "validation_error", "validation_exception",
    ),
    _AUTH: ("invalid_api_key", "authentication_error", "auth_error", "unauthenticated", "unauthorized"),
    _FORBIDDEN: (
        "permission_error", "permission_denied", "permission_denied_error", "request_forbidden", "forbidden",
    ),
    Finding(Outcome.NOT_FOUND): ("not_found", "not_found_error"),
    _LIMITED: (
        "rate_limit_exceeded", "rate_limit_error", "rate_limited", "rate_limit_reached", "too_many_requests",
        "too_many_requests_error", "throttling_error", "throttling_exception", "tokens", "requests",
    ),
    _BUSY: (
        "overloaded", "overloaded_error", "provider_overloaded", "engine_overloaded", "unavailable",
        "unavailable_error", "service_unavailable", "service_unavailable_error",
    ),
    _SERVER: (
        "server_error", "internal_server_error", "internal_error", "internal", "api_error", "generation",
        "incomplete_generation", "timeout", "timeout_error", "unknown_error",
    ),
    _NO_CREDIT: ("insufficient_quota",),
    Finding(Outcome.NOT_FOUND, ScopeLevel.PROVIDER): ("model_not_found",),
    Finding(Outcome.UNSUPPORTED, ScopeLevel.PROVIDER): ("model_not_supported",),
}
# fmt: on
VAGUE: dict[str, Finding] = {name: finding for finding, names in _VAGUE.items() for name in names}
"""Types that say little more than a status. They count only where neither the words nor the status say anything.

Vague types never hide specific words (design 3.1): many servers send every error as `invalid_request_error`.
"""

STATUS: dict[int, Finding] = {
    401: _AUTH,
    402: _NO_CREDIT,
    403: _FORBIDDEN,
    404: Finding(Outcome.NOT_FOUND),
    405: Finding(Outcome.UNSUPPORTED),
    408: Finding(Outcome.TIMEOUT),
    409: _SERVER,
    410: Finding(Outcome.NOT_FOUND),
    413: _TOO_LONG,
    420: _LIMITED,
    424: _SERVER,
    425: _SERVER,
    429: _LIMITED,
    451: Finding(Outcome.UNSUPPORTED, ScopeLevel.MODEL),
    498: _BUSY,
    499: _SERVER,
    503: _BUSY,
    529: _BUSY,
}
"""HTTP statuses, where nothing more specific is known. Other 4xx are a bad request, other 5xx a server error.

424 is TGI's and gateways' own failure. 498 is Groq's "no capacity in this tier". 499 is a gateway's "the server
behind me closed the connection".
"""

MOVED = frozenset({301, 307, 308})
"""Permanent redirects. 302 and 303 mostly lead to a login page, and may pass."""
