"""The bodies the two backends really send: answers, and errors by status (the sources are the providers' documents).

A practice answer says what it is, repeats the question it answers, and is the same for the same prompt on every route.
"""

from __future__ import annotations

import time
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.records import OPENROUTER

if TYPE_CHECKING:
    from llm_executor_nb.rehearsal.asked import Asked

SHOWN_QUESTION = 160
"""How many characters of a question its practice answer repeats."""
_PRICE_USD = 1e-7
"""What a practice token costs, so that sums and budgets have something to add."""
_PRACTICE = "Practice"
"""The name of the provider that OpenRouter says it asked."""

_Told = tuple[str, dict[str, Any]]

_OPENROUTER: dict[int, _Told] = {
    400: ("Provider rejected a parameter of this request", {"metadata": {"error_type": "invalid_request"}}),
    401: ("User not found.", {}),
    402: (
        "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
        {"metadata": {"limit_source": "openrouter_credits"}},
    ),
    403: ("This key has insufficient permissions for this request", {}),
    404: ("No endpoints found for {model}.", {"availability": {"code": "no_endpoints", "retryable": False}}),
    408: ("Your request timed out", {}),
    413: ("Request payload is too large", {}),
    422: ("This request cannot be processed by the provider", {}),
    429: ("Rate limit exceeded", {}),
    502: ("Provider returned error", {"metadata": {"provider_name": _PRACTICE, "raw": "upstream connect error"}}),
    503: (
        "There is no available model provider that meets your routing requirements",
        {"availability": {"code": "temporarily_unavailable", "retryable": True}},
    ),
    504: ("Provider timed out", {}),
    524: ("The edge network timed out while waiting for the provider", {}),
    529: ("Provider is overloaded, please try again later", {}),
}

_HUGGINGFACE: dict[int, str | dict[str, Any]] = {
    400: {
        "message": "The requested model '{model}' is not supported by any provider you have enabled.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_supported",
    },
    401: "Invalid username or password.",
    402: (
        "You have depleted your monthly included credits. Purchase pre-paid credits to continue using Inference "
        "Providers with pay-as-you-go."
    ),
    403: (
        "This authentication method does not have sufficient permissions to call Inference Providers on behalf of "
        "user rehearsal"
    ),
    404: "Model {model} is not supported by this provider",
    503: "Service Temporarily Unavailable",
    504: "Gateway Timeout",
}

HTML_PAGE = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser.</body></html>"
)


def answer_text(asked: Asked) -> str:
    """Return the practice answer to a request: never blank, and recognisable as the answer to this one."""
    question = " ".join(asked.question.split())
    if len(question) > SHOWN_QUESTION:
        question = question[:SHOWN_QUESTION] + "…"
    return f"[practice answer {asked.prompt[:6]}] You asked: '{question}' (No model was asked: this is a rehearsal.)"


def completion(
    asked: Asked, content: str | None, *, finish_reason: str = "stop", error: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a whole answer as the backend would send it, with `content` in it and, where given, an error beside it."""
    choice: dict[str, Any] = {
        "index": 0,
        "logprobs": None,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": content},
    }
    if error is not None:
        choice["error"] = error
    body = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.plain_model,
        "choices": [choice],
        "usage": _usage(asked, content),
    }
    return _as_openrouter(body, asked) if asked.backend == OPENROUTER else body


def error_body(
    asked: Asked, status: int, *, source: str | None = None, retry_after_s: float | None = None
) -> dict[str, Any]:
    """Return the error body of `status`; `source` is OpenRouter's `limit_source`, which Hugging Face does not know."""
    if asked.backend != OPENROUTER:
        told = _filled(_HUGGINGFACE.get(status, _phrase(status)), asked)
        return (
            {"error": told, "error_type": "validation"}
            if status == HTTPStatus.UNPROCESSABLE_ENTITY
            else {"error": told}
        )
    message, more = _OPENROUTER.get(status, (_phrase(status), {}))
    error: dict[str, Any] = {"code": status, "message": _filled(message, asked), **more}
    if source is not None:
        error["metadata"] = {**error.get("metadata", {}), "limit_source": source}
    if retry_after_s is not None and "availability" in error:
        error["availability"] = {**error["availability"], "retry_after": retry_after_s}
    return {"error": error}


def spoken_error(backend: str, status: int, message: str) -> dict[str, Any]:
    """Return an error body with words of its own."""
    return {"error": {"code": status, "message": message} if backend == OPENROUTER else message}


def answer_headers(asked: Asked, body: dict[str, Any]) -> dict[str, str]:
    """Return the headers that come with an answer: the generation's id, or who answered."""
    if asked.backend == OPENROUTER:
        return {"X-Generation-Id": str(body["id"])}
    return {"x-inference-provider": asked.provider} if asked.provider else {}


def _as_openrouter(body: dict[str, Any], asked: Asked) -> dict[str, Any]:
    choice = body["choices"][0]
    usage = body["usage"]
    cost = round(_PRICE_USD * usage["total_tokens"], 10)
    return {
        **body,
        "id": f"gen-{body['created']}-{uuid.uuid4().hex[:20]}",
        "provider": _PRACTICE,
        "model": asked.model,
        "choices": [
            {
                **choice,
                "native_finish_reason": choice["finish_reason"],
                "message": {**choice["message"], "refusal": None, "reasoning": None},
            },
        ],
        "usage": {**usage, "cost": cost},
    }


def _usage(asked: Asked, content: str | None) -> dict[str, int]:
    """Count four characters as one token, which is near enough for English."""
    prompt_tokens = 1 + len(asked.question) // 4
    completion_tokens = len(content.strip()) // 4 if content else 0
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _filled(told: Any, asked: Asked) -> Any:  # noqa: ANN401 - a text, or an object of texts
    if isinstance(told, dict):
        return {name: _filled(value, asked) for name, value in told.items()}
    return told.replace("{model}", asked.plain_model)


def _phrase(status: int) -> str:
    known = status in HTTPStatus._value2member_map_
    return HTTPStatus(status).phrase if known else f"Error {status}"
