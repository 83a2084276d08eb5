"""What the names and numbers in an error say: a table for each field that has a vocabulary of its own.

A new code is a new row here; codes whose words say what they mean need none, for `words` reads codes too.
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
"""OpenRouter's `excluded_by`, beside an availability code: what left no endpoint; the rest are a policy's clauses."""

LIMIT_SOURCE: dict[str, Finding] = {
    "openrouter_credits": _NO_CREDIT,
    "openrouter_key_limit": _NO_CREDIT,
    "openrouter_in_flight_budget": _IN_FLIGHT,
    "openrouter_free_tier_daily": _NO_CREDIT,
    "upstream_provider_shared_pool": _SHARED_POOL,
    "openrouter_shared_capacity": _SHARED_POOL,
    "openrouter_admission_control": _SHARED_POOL,
}
"""OpenRouter's `error.metadata.limit_source`: which of the several things a 402 or a 429 can mean."""

REASON: dict[str, Finding] = {
    "weight_exceeds_budget": Finding(Outcome.QUOTA, ScopeLevel.REQUEST),
    "in_flight_budget_exhausted": _IN_FLIGHT,
}
"""OpenRouter's `error.metadata.reason`, which says more than the limit_source beside it."""

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
"""Codes that mean one thing whatever stands beside them.

`no_db_connection` is what a litellm proxy without a database says, with a 400, to a key that it does not know;
`exceed_context_size_error` is llama.cpp's; the numbers are Zhipu's, whose words are Chinese.
"""

VAGUE: dict[str, Finding] = {
    **dict.fromkeys(
        (
            "invalid_request",
            "invalid_request_error",
            "invalid_prompt",
            "invalid_image",
            "invalid_argument",
            "invalid_parameter",
            "invalid_params",
            "bad_request",
            "bad_request_error",
            "failed_precondition",
            "unprocessable_entity",
            "unprocessable_entity_error",
            "validation",
            "validation_error",
            "validation_exception",
        ),
        _BAD,
    ),
    **dict.fromkeys(
        ("invalid_api_key", "authentication_error", "auth_error", "unauthenticated", "unauthorized"), _AUTH
    ),
    **dict.fromkeys(
        ("permission_error", "permission_denied", "permission_denied_error", "request_forbidden", "forbidden"),
        _FORBIDDEN,
    ),
    **dict.fromkeys(("not_found", "not_found_error"), Finding(Outcome.NOT_FOUND)),
    **dict.fromkeys(
        (
            "rate_limit_exceeded",
            "rate_limit_error",
            "rate_limited",
            "rate_limit_reached",
            "too_many_requests",
            "too_many_requests_error",
            "throttling_error",
            "throttling_exception",
            "tokens",
            "requests",
        ),
        _LIMITED,
    ),
    **dict.fromkeys(
        ("overloaded", "overloaded_error", "provider_overloaded", "engine_overloaded", "unavailable"), _BUSY
    ),
    **dict.fromkeys(("unavailable_error", "service_unavailable", "service_unavailable_error"), _BUSY),
    **dict.fromkeys(
        (
            "server_error",
            "internal_server_error",
            "internal_error",
            "internal",
            "api_error",
            "generation",
            "incomplete_generation",
            "timeout",
            "timeout_error",
            "unknown_error",
        ),
        _SERVER,
    ),
    "insufficient_quota": _NO_CREDIT,
    "model_not_found": Finding(Outcome.NOT_FOUND, ScopeLevel.PROVIDER),
    "model_not_supported": Finding(Outcome.UNSUPPORTED, ScopeLevel.PROVIDER),
}
"""Types that say little more than a status: they count only where neither words nor the status say anything."""

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
"""HTTP status, where nothing better is known; other 4xx are a bad request, other 5xx a server error.

424 is a server's own failure at TGI and at gateways, 498 is Groq's "no capacity in this tier", 499 a gateway's "the
connection behind me was closed".
"""

MOVED = frozenset({301, 307, 308})
"""Redirects that speak of the address; 302 and 303 mostly lead to a page for logging in, and may pass."""
