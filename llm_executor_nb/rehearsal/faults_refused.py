"""Refusals with a reason of their own: credit, limits, models and requests that a provider will not serve.

Sources: openrouter.ai/docs (errors-and-debugging, limits), huggingface.co/docs (inference-providers), and bodies seen
in public threads. Codes and words are the providers' own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Finding, Outcome, ScopeLevel
from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.rehearsal.entry import BOTH, ONLY_HUGGINGFACE, ONLY_OPENROUTER, FaultSpec, Shelf
from llm_executor_nb.rehearsal.replies import HINTS, Refusal, error_of, limit_headers, stage_refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_executor_nb.rehearsal.entry import Stage
    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect

_DAY_S = 86_400.0
_MINUTE_S = 60.0
_QUOTA = Finding(Outcome.QUOTA, ScopeLevel.KEY)
_LIMITED = Finding(Outcome.RATE_LIMITED, ScopeLevel.KEY)
_SHARED = Finding(Outcome.RATE_LIMITED, ScopeLevel.BACKEND)
_GONE = Finding(Outcome.NOT_FOUND, ScopeLevel.BACKEND)
_UNSUPPORTED = Finding(Outcome.UNSUPPORTED, ScopeLevel.BACKEND)
_NOT_HERE = Finding(Outcome.UNSUPPORTED, ScopeLevel.PROVIDER)
_BUSY = Finding(Outcome.OVERLOADED)
_BAD = Finding(Outcome.BAD_REQUEST)
_TOO_LONG = Finding(Outcome.CONTEXT_LENGTH)
_FLAGGED = Finding(Outcome.CONTENT_FILTER)

_CREDITS = "Insufficient credits. Add more using https://openrouter.ai/settings/credits"
_TOO_DEAR = (
    "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford "
    "1333."
)
_DEPLETED = (
    "You have depleted your monthly included credits. Purchase pre-paid credits to continue using Inference Providers "
    "with pay-as-you-go."
)
_EXCEEDED = (
    "You have exceeded your monthly included credits for Inference Providers. Subscribe to PRO to get 20x more "
    "monthly included credits."
)
_LONG = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens."
_PER_DAY = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"


def _openrouter(
    does: str,
    status: int,
    finding: Finding,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
    names_wait: bool = False,
    **error: object,
) -> FaultSpec:
    told = Refusal(status=status, error={"code": status, "message": message, **error}, headers=headers or {})
    return _entry(does, finding, _says(told), backends=ONLY_OPENROUTER, names_wait=names_wait)


def _huggingface(does: str, status: int, finding: Finding, error: object, **beside: object) -> FaultSpec:
    told = Refusal(status=status, error=error, beside=beside)
    return _entry(does, finding, _says(told), backends=ONLY_HUGGINGFACE)


def _entry(
    does: str, finding: Finding, stage: Stage, *, backends: tuple[str, ...], names_wait: bool = False
) -> FaultSpec:
    return FaultSpec(does=does, stage=stage, finding=finding, backends=backends, names_wait=names_wait, options=HINTS)


def _says(told: Refusal) -> Stage:
    return lambda asked, effect: stage_refusal(asked, effect, told)


# --- credit and limits ------------------------------------------------------------------------------------------


def _quota(asked: ChatRequest, effect: Effect) -> Response:
    metadata = {"limit_source": "openrouter_credits"}
    error = {"code": 402, "message": _CREDITS, "metadata": metadata} if asked.backend == OPENROUTER else _DEPLETED
    return stage_refusal(asked, effect, Refusal(status=402, error=error))


def _free_tier(does: str, finding: Finding, message: str, *, per_s: float, limit: int, **metadata: object) -> FaultSpec:
    """Return a row whose limit is used up until a day or a minute ends, as its headers and its body say."""

    def stage(asked: ChatRequest, effect: Effect) -> Response:
        now_s = clock.current().utc().timestamp()
        shown = limit_headers((now_s // per_s + 1) * per_s, limit=limit)
        error = {"code": 429, "message": message, "metadata": {"headers": shown, **metadata}}
        return stage_refusal(asked, effect, Refusal(status=429, error=error, headers=shown))

    return _entry(does, finding, stage, backends=ONLY_OPENROUTER, names_wait=True)


def _context_window(asked: ChatRequest, effect: Effect) -> Response:
    return stage_refusal(asked, effect, Refusal(status=400, error=error_of(asked, 400, _LONG)))


def _limited(does: str, source: str) -> FaultSpec:
    words = "{model} is temporarily rate-limited upstream. Please retry shortly."
    return _openrouter(does, 429, _SHARED, words, metadata={"limit_source": source, "provider_name": "Practice"})


LIMITS: Shelf = {
    "quota": _entry("the credits are used up (openrouter_credits; depleted credits)", _QUOTA, _quota, backends=BOTH),
    "weight_exceeds_budget": _openrouter(
        "this request costs more than the credits that are left",
        402,
        Finding(Outcome.QUOTA, ScopeLevel.REQUEST),
        _TOO_DEAR,
        metadata={"limit_source": "openrouter_credits", "reason": "weight_exceeds_budget"},
    ),
    "openrouter_key_limit": _openrouter(
        "the key's own spending limit is reached",
        402,
        _QUOTA,
        "This key has reached its spending limit.",
        metadata={"limit_source": "openrouter_key_limit"},
    ),
    "openrouter_in_flight_budget": _openrouter(
        "the key's own requests in flight fill its budget; passes",
        402,
        _LIMITED,
        "Your requests in flight use up your remaining budget.",
        headers={"Retry-After": "1"},
        names_wait=True,
        metadata={"limit_source": "openrouter_in_flight_budget", "reason": "in_flight_budget_exhausted"},
    ),
    "openrouter_free_tier_daily": _free_tier(
        "the day's free requests are used up; resets at midnight UTC",
        _QUOTA,
        _PER_DAY,
        per_s=_DAY_S,
        limit=50,
        limit_source="openrouter_free_tier_daily",
        remedy_hint="Add 10 credits",
    ),
    "free-models-per-day": _free_tier("the same, said in words only", _QUOTA, _PER_DAY, per_s=_DAY_S, limit=50),
    "free-models-per-min": _free_tier(
        "the minute's free requests are used up; resets within a minute",
        _LIMITED,
        "Rate limit exceeded: free-models-per-min.",
        per_s=_MINUTE_S,
        limit=20,
    ),
    "key-limit-exceeded": _openrouter(
        "403, the key's own spending limit is reached, said in words only",
        403,
        _QUOTA,
        "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys",
    ),
    "upstream_provider_shared_pool": _limited(
        "a provider's pool, which all keys share, is empty", "upstream_provider_shared_pool"
    ),
    "openrouter_shared_capacity": _limited(
        "OpenRouter's capacity, which all keys share, is used up", "openrouter_shared_capacity"
    ),
    "openrouter_admission_control": _limited(
        "OpenRouter refuses all requests for the moment", "openrouter_admission_control"
    ),
    "exceeded-credits": _huggingface("the credits are used up, in the older words", 402, _QUOTA, _EXCEEDED),
    "pay-as-you-go": _huggingface(
        "this provider must be paid for, and is not",
        402,
        Finding(Outcome.QUOTA, ScopeLevel.PROVIDER),
        "Pay-as-you go is not enabled for provider practice yet.",
    ),
}


# --- models -----------------------------------------------------------------------------------------------------


def _unavailable(does: str, status: int, finding: Finding, code: str, *, is_retryable: bool = False) -> FaultSpec:
    told = {"code": code, "retryable": is_retryable, **({"retry_after": 1} if is_retryable else {})}
    words = "{model} is not available: " + does + "."
    return _openrouter(does, status, finding, words, names_wait=is_retryable, availability=told)


MODELS: Shelf = {
    "model_not_found": _unavailable("no model has this id", 400, _GONE, "model_not_found"),
    "wrong_endpoint": _unavailable("the model is not for chat", 400, _UNSUPPORTED, "wrong_endpoint"),
    "no_endpoints": _unavailable("no provider serves the model", 404, _GONE, "no_endpoints"),
    "model_deprecated": _unavailable("the model was taken out of service", 404, _GONE, "model_deprecated"),
    "model_unavailable_upstream": _unavailable(
        "its provider took the model away", 404, _GONE, "model_unavailable_upstream"
    ),
    "free_variant_ended": _unavailable("the free variant has ended", 404, _GONE, "free_variant_ended"),
    "capacity_exhausted": _unavailable("no provider has room", 429, _BUSY, "capacity_exhausted", is_retryable=True),
    "temporarily_unavailable": _unavailable(
        "the providers are down for a moment", 503, _BUSY, "temporarily_unavailable", is_retryable=True
    ),
    "unknown-retryable": _unavailable(
        "an unknown code of a passing failure", 404, _BUSY, "reserved_for_rehearsal", is_retryable=True
    ),
    "unknown-final": _unavailable("an unknown code of a lasting failure", 503, _UNSUPPORTED, "retired_for_good"),
    "not-a-valid-model": _openrouter(
        "no model has this id, said in words only", 400, _GONE, "{model} is not a valid model ID"
    ),
    "region_restricted": _openrouter(
        "not served in this region",
        403,
        _UNSUPPORTED,
        "{model} is not available in your region.",
        metadata={"error_type": "region_restricted"},
    ),
    "model_not_supported": _huggingface(
        "no enabled provider serves the model",
        400,
        _NOT_HERE,
        {
            "message": "The requested model '{model}' is not supported by any provider you have enabled.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_supported",
        },
    ),
    "not-supported-by-provider": _huggingface(
        "the provider does not serve the model", 400, _NOT_HERE, "Model not supported by provider together"
    ),
    "loading": FaultSpec(
        does="the model is being loaded; the body says how long that takes",
        stage=_says(
            Refusal(status=503, error="Model {model} is currently loading", beside={"estimated_time": 1.0}),
        ),
        finding=_BUSY,
        backends=ONLY_HUGGINGFACE,
        names_wait=True,
        options=HINTS,
    ),
}


# --- requests ---------------------------------------------------------------------------------------------------


def _typed(does: str, finding: Finding, error_type: str, *, status: int = 400, **metadata: object) -> FaultSpec:
    words = f"This request was refused: {does}."
    return _openrouter(does, status, finding, words, metadata={"error_type": error_type, **metadata})


REQUESTS: Shelf = {
    "invalid_request": _typed("a parameter is not what it should be", _BAD, "invalid_request"),
    "invalid_prompt": _typed("the messages are not what they should be", _BAD, "invalid_prompt"),
    "invalid_image": _typed("an image cannot be read", _BAD, "invalid_image"),
    "string_too_long": _typed("a text is too long for its field", _BAD, "string_too_long"),
    "max_tokens_exceeded": _typed("max_tokens is more than the model can give", _BAD, "max_tokens_exceeded"),
    "context_length_exceeded": _typed(
        "the prompt is longer than the model reads", _TOO_LONG, "context_length_exceeded"
    ),
    "token_limit_exceeded": _typed(
        "prompt and max_tokens are more than the model takes", _TOO_LONG, "token_limit_exceeded"
    ),
    "content_policy_violation": _typed("the content is against a policy", _FLAGGED, "content_policy_violation"),
    "refusal": _typed("the provider will not answer this", _FLAGGED, "refusal"),
    "moderation": _openrouter(
        "the prompt was flagged",
        403,
        _FLAGGED,
        "Your chosen model requires moderation and your input was flagged.",
        metadata={
            "reasons": ["harassment"],
            "flagged_input": "What is the…",
            "provider_name": "Practice",
            "model_slug": "{model}",
        },
    ),
    "guardrail": _openrouter(
        "a guardrail of the account stopped the prompt",
        403,
        _FLAGGED,
        "Request blocked by a guardrail.",
        metadata={"patterns": ["email address"]},
    ),
    "validation": _huggingface(
        "the provider's server (TGI) refuses a parameter",
        422,
        _BAD,
        "Input validation error: `top_p` must be > 0.0 and < 1.0",
        error_type="validation",
    ),
    "context-window": _entry("the prompt is too long, said in words only", _TOO_LONG, _context_window, backends=BOTH),
}
