"""HTTP statuses as faults: a number stands for that status with a plain body, so that the status alone is evidence.

What a provider says with a status in particular cases, with a code or in words that matter, has a name of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import Finding, Outcome, ScopeLevel
from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.rehearsal.entry import FaultSpec, Shelf
from llm_executor_nb.rehearsal.replies import HINTS, Refusal, error_of, phrase, stage_refusal

if TYPE_CHECKING:
    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect

_OPENROUTER_WORDS = {
    400: "Provider rejected a parameter of this request",
    401: "User not found.",
    402: "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
    403: "This key has insufficient permissions for this request",
    404: "No endpoints found for {model}.",
    408: "Your request timed out",
    413: "Request payload is too large",
    422: "This request cannot be processed by the provider",
    429: "Rate limit exceeded",
    502: "Provider returned error",
    503: "There is no available model provider that meets your routing requirements",
    504: "Provider timed out",
    524: "The edge network timed out while waiting for the provider",
    529: "Provider is overloaded, please try again later",
}
_HUGGINGFACE_WORDS = {
    401: "Invalid username or password.",
    403: "This authentication method does not have sufficient permissions to call Inference Providers on behalf of "
    "user rehearsal",
    503: "Service Temporarily Unavailable",
    504: "Gateway Timeout",
}

_BAD = Finding(Outcome.BAD_REQUEST)
_BUSY = Finding(Outcome.OVERLOADED)
_SERVER = Finding(Outcome.SERVER_ERROR)
_MEANT = {
    400: _BAD,
    401: Finding(Outcome.AUTH, ScopeLevel.KEY),
    402: Finding(Outcome.QUOTA, ScopeLevel.KEY),
    403: Finding(Outcome.FORBIDDEN, ScopeLevel.KEY),
    404: Finding(Outcome.NOT_FOUND, ScopeLevel.BACKEND),
    408: Finding(Outcome.TIMEOUT),
    409: _SERVER,
    410: Finding(Outcome.NOT_FOUND, ScopeLevel.BACKEND),
    413: Finding(Outcome.CONTEXT_LENGTH),
    420: Finding(Outcome.RATE_LIMITED, ScopeLevel.KEY),
    422: _BAD,
    424: _SERVER,
    425: _SERVER,
    429: Finding(Outcome.RATE_LIMITED, ScopeLevel.KEY),
    451: Finding(Outcome.UNSUPPORTED, ScopeLevel.MODEL),
    498: _BUSY,
    499: _SERVER,
    500: _SERVER,
    502: _SERVER,
    503: _BUSY,
    504: _SERVER,
    **dict.fromkeys(range(520, 526), _SERVER),
    529: _BUSY,
}
_MEANT_ON_HUGGINGFACE = {
    404: Finding(Outcome.NOT_FOUND, ScopeLevel.PROVIDER),
    410: Finding(Outcome.NOT_FOUND, ScopeLevel.PROVIDER),
    420: Finding(Outcome.RATE_LIMITED, ScopeLevel.ROUTE),
    429: Finding(Outcome.RATE_LIMITED, ScopeLevel.ROUTE),
}


def plain_refusal(asked: ChatRequest, status: int) -> Refusal:
    """Return the plain refusal of a status."""
    words = (_OPENROUTER_WORDS if asked.backend == OPENROUTER else _HUGGINGFACE_WORDS).get(status)
    return Refusal(status=status, error=error_of(asked, status, words))


def status_entry(status: int) -> FaultSpec:
    """Return the row of a status; statuses that no provider is known to send have one too."""
    return FaultSpec(
        does=f"HTTP {status}, {phrase(status)}",
        stage=_stage,
        finding=_MEANT.get(status, _BAD if status < 500 else _SERVER),
        on_huggingface=_MEANT_ON_HUGGINGFACE.get(status),
        options=HINTS,
    )


def _stage(asked: ChatRequest, effect: Effect) -> Response:
    return stage_refusal(asked, effect, plain_refusal(asked, int(effect.fault)))


STATUSES: Shelf = {str(status): status_entry(status) for status in _MEANT}
