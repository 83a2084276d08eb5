"""Every form in which a provider says when to ask again, the absurd ones too. A value is the wait in seconds."""

from __future__ import annotations

import math
from email.utils import format_datetime
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Finding, Outcome, ScopeLevel
from llm_executor_nb.rehearsal.entry import BOTH, ONLY_HUGGINGFACE, ONLY_OPENROUTER, FaultSpec, Shelf, is_seconds
from llm_executor_nb.rehearsal.faults_status import plain_refusal
from llm_executor_nb.rehearsal.replies import Refusal, error_of, limit_headers, stage_refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect

    Headers = Callable[[float], dict[str, str]]
    """From seconds to the headers that tell them."""

_ON_KEY = Finding(Outcome.RATE_LIMITED, ScopeLevel.KEY)
_ON_ROUTE = Finding(Outcome.RATE_LIMITED, ScopeLevel.ROUTE)
_BUSY = Finding(Outcome.OVERLOADED)
_TEN_YEARS_S = 315_360_000


def _told(does: str, name: str, headers: Headers, *, backends: tuple[str, ...] = BOTH, status: int = 429) -> FaultSpec:
    def stage(asked: ChatRequest, effect: Effect) -> Response:
        told = plain_refusal(asked, status)
        refusal = Refusal(status=status, error=told.error, headers=headers(float(effect.value or 1)))
        return stage_refusal(asked, effect, refusal)

    is_limit = status == 429
    return FaultSpec(
        does=does,
        stage=stage,
        finding=_ON_KEY if is_limit else _BUSY,
        on_huggingface=_ON_ROUTE if is_limit else None,
        backends=backends,
        names_wait=True,
        is_value=is_seconds,
        example=f"{name}=2",
    )


def _absurd(does: str, value: str, name: str = "Retry-After") -> FaultSpec:
    def stage(asked: ChatRequest, effect: Effect) -> Response:
        told = plain_refusal(asked, 429)
        return stage_refusal(asked, effect, Refusal(status=429, error=told.error, headers={name: value}))

    return FaultSpec(does=does, stage=stage, finding=_ON_KEY, on_huggingface=_ON_ROUTE)


def _reset_in_body(asked: ChatRequest, effect: Effect) -> Response:
    shown = _reset_ms(float(effect.value or 1))
    error = {"code": 429, "message": "Rate limit exceeded", "metadata": {"headers": shown}}
    return stage_refusal(asked, effect, Refusal(status=429, error=error))


def _retry_info(asked: ChatRequest, effect: Effect) -> Response:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{float(effect.value or 1):g}s"}]
    error = {"code": 429, "message": "Resource has been exhausted", "status": "RESOURCE_EXHAUSTED", "details": details}
    return stage_refusal(asked, effect, Refusal(status=429, error=error))


def _in_words(asked: ChatRequest, effect: Effect) -> Response:
    words = f"Rate limit reached for model `{{model}}`. Please try again in {float(effect.value or 1):g}s."
    return stage_refusal(asked, effect, Refusal(status=429, error=error_of(asked, 429, words)))


def _loading_nan(asked: ChatRequest, effect: Effect) -> Response:
    words = "Model {model} is currently loading"
    return stage_refusal(asked, effect, Refusal(status=503, error=words, beside={"estimated_time": math.nan}))


def _reset_ms(wait_s: float) -> dict[str, str]:
    return limit_headers(_epoch_s() + wait_s, limit=20)


def _date(wait_s: float) -> dict[str, str]:
    """Round up: an HTTP date knows whole seconds only, and one in the past would be no wait."""
    now = clock.current().utc()
    return {"Retry-After": format_datetime(now.fromtimestamp(math.ceil(_epoch_s() + wait_s), now.tzinfo), usegmt=True)}


def _epoch_s() -> float:
    return clock.current().utc().timestamp()


WAITS: Shelf = {
    "retry-after": _told(
        "429, Retry-After in whole seconds", "retry-after", lambda s: {"Retry-After": str(math.ceil(s))}
    ),
    "retry-after-float": _told(
        "429, Retry-After as a number like 1.5", "retry-after-float", lambda s: {"Retry-After": f"{s:.3f}"}
    ),
    "retry-after-date": _told("429, Retry-After as an HTTP date", "retry-after-date", _date),
    "retry-after-ms": _told(
        "429, retry-after-ms", "retry-after-ms", lambda s: {"retry-after-ms": str(round(s * 1000))}
    ),
    "retry-after-503": _told(
        "503 with Retry-After", "retry-after-503", lambda s: {"Retry-After": str(math.ceil(s))}, status=503
    ),
    "reset-ms": _told(
        "429, X-RateLimit-Reset in milliseconds since 1970", "reset-ms", _reset_ms, backends=ONLY_OPENROUTER
    ),
    "reset-in-body": FaultSpec(
        does="429, X-RateLimit-Reset in the body only",
        stage=_reset_in_body,
        finding=_ON_KEY,
        backends=ONLY_OPENROUTER,
        names_wait=True,
        is_value=is_seconds,
        example="reset-in-body=2",
    ),
    "ratelimit-header": _told(
        "429, RateLimit: r=0 and seconds to the reset",
        "ratelimit-header",
        lambda s: {
            "RateLimit": f'"api";r=0;t={math.ceil(s)}',
            "RateLimit-Policy": '"fixed window";"api";q=500;w=300',
        },
        backends=ONLY_HUGGINGFACE,
    ),
    "reset-requests": _told(
        "429, x-ratelimit-reset-requests as a span like 1.5s",
        "reset-requests",
        lambda s: {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": f"{s:g}s"},
    ),
    "retry-info": FaultSpec(
        does="429, retryDelay in the details of the error",
        stage=_retry_info,
        finding=_ON_KEY,
        on_huggingface=_ON_ROUTE,
        names_wait=True,
        is_value=is_seconds,
        example="retry-info=2",
    ),
    "retry-in-words": FaultSpec(
        does="429, when to ask again in words only",
        stage=_in_words,
        finding=_ON_KEY,
        on_huggingface=_ON_ROUTE,
        names_wait=True,
        is_value=is_seconds,
        example="retry-in-words=2",
    ),
    "retry-after-zero": _absurd("429, a Retry-After of zero", "0"),
    "retry-after-ms-zero": _absurd("429, a retry-after-ms of zero", "0", "retry-after-ms"),
    "retry-after-past": _absurd("429, a Retry-After in the past", "Wed, 21 Oct 2015 07:28:00 GMT"),
    "retry-after-negative": _absurd("429, a Retry-After below zero", "-5"),
    "retry-after-ten-years": _absurd("429, a Retry-After of ten years", str(_TEN_YEARS_S)),
    "retry-after-words": _absurd("429, a Retry-After that is not a number", "soon"),
    "retry-after-nan": _absurd("429, a Retry-After of NaN", "NaN"),
    "reset-garbage": _absurd("429, an X-RateLimit-Reset that is not a number", "tomorrow", "X-RateLimit-Reset"),
    "loading-nan": FaultSpec(
        does="the model is being loaded, in NaN seconds", stage=_loading_nan, finding=_BUSY, backends=ONLY_HUGGINGFACE
    ),
}
