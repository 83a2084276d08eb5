"""The replies of both backends: practice answers, refusals, and answers to requests that cannot be served.

A practice answer says what it is, repeats the question, and is the same for the same prompt on every route. The shapes
are those of the providers' documents.
"""

from __future__ import annotations

import math
import time
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.rehearsal.examples import formatted_text, tool_calls
from llm_executor_nb.rehearsal.response import Response, event_response, json_response
from llm_executor_nb.rehearsal.rules import RETRY_AFTER, SOURCE
from llm_executor_nb.rehearsal.sse import parts_of
from llm_executor_nb.rehearsal.upstreams import UPSTREAMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.rules import Effect

SHOWN_QUESTION = 160
"""How many characters of a question its practice answer repeats."""


# --- answers ------------------------------------------------------------------------------------------------------


def answer(request: ChatRequest) -> Response:
    """Return the practice answer: text, the JSON of a response format, or the call of a tool."""
    if calls := tool_calls(request):
        body = completion(request, None, finish_reason="tool_calls", tool_calls=calls)
    else:
        body = completion(request, formatted_text(request) or answer_text(request))
    return completion_response(request, body, None)


def answer_text(request: ChatRequest) -> str:
    """Return the text of a practice answer: not blank, and recognisable as the answer to this request."""
    question = " ".join(request.question.split())
    if len(question) > SHOWN_QUESTION:
        question = question[:SHOWN_QUESTION] + "…"
    return f"[practice answer {request.prompt[:6]}] You asked: '{question}' (No model was asked: this is a rehearsal.)"


def half_answer(request: ChatRequest) -> str:
    """Return the first half of the answer's text."""
    text = answer_text(request)
    return text[: len(text) // 2]


def completion(
    request: ChatRequest,
    content: object,
    *,
    finish_reason: str = "stop",
    error: Mapping[str, Any] | None = None,
    **more: Any,  # noqa: ANN401 - JSON of any shape
) -> dict[str, Any]:
    """Return a whole answer as the backend would send it.

    Args:
        request: the request.
        content: the content of the message; anything but a text or None is a fault.
        finish_reason: how it ended.
        error: an error in the choice.
        more: further fields of the message, such as `reasoning` or `tool_calls`.
    """
    choice: dict[str, Any] = {
        "index": 0,
        "logprobs": None,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": content, **more},
    }
    if error is not None:
        choice["error"] = error
    body = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.plain_model,
        "choices": [choice],
        "usage": _usage(request, content),
    }
    return _as_openrouter(body, request) if request.backend == OPENROUTER else body


def completion_response(request: ChatRequest, body: dict[str, Any], fault: str | None) -> Response:
    """Return a completion in the form that the request asks for: in one piece, or as a stream."""
    headers = answer_headers(request, body)
    if request.is_stream:
        return event_response(parts_of(request, body).whole, fault, headers=headers)
    return json_response(body, fault, headers=headers)


def answer_headers(request: ChatRequest, body: dict[str, Any]) -> dict[str, str]:
    """Return the headers of an answer: the id of the generation, or the provider."""
    if request.backend == OPENROUTER:
        return {"X-Generation-Id": str(body["id"])}
    return {"x-inference-provider": request.provider} if request.provider else {}


def _as_openrouter(body: dict[str, Any], request: ChatRequest) -> dict[str, Any]:
    choice = body["choices"][0]
    usage = body["usage"]
    tokens = usage["prompt_tokens"], usage["completion_tokens"]
    cost = 0.0 if request.is_free else request.upstream.cost_usd(*tokens, request.tier)
    message = {"refusal": None, "reasoning": None, **choice["message"]}
    details = {
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": len(message["reasoning"] or "") // 4},
    }
    return {
        **body,
        "id": f"gen-{body['created']}-{uuid.uuid4().hex[:20]}",
        "provider": request.upstream.name,
        "model": request.model,
        "choices": [{**choice, "native_finish_reason": choice["finish_reason"], "message": message}],
        "usage": {**usage, **details, "cost": cost},
        **({"service_tier": request.tier} if request.tier else {}),
        **router_metadata(request, is_answered=True),
    }


def router_metadata(request: ChatRequest, *, is_answered: bool) -> dict[str, Any]:
    """Return the field in which OpenRouter says who was considered and who answers, if the request asks for it."""
    if not request.wants_metadata or request.backend != OPENROUTER:
        return {}
    available = [
        {"provider": one.name, "model": request.plain_model, "selected": is_answered and one is request.upstream}
        for one in UPSTREAMS
    ]
    metadata = {
        "requested": request.model,
        "strategy": "direct",
        "attempt": int(is_answered),
        "is_byok": False,
        "endpoints": {"total": len(available), "available": available},
        "pipeline": [],
    }
    return {"openrouter_metadata": metadata}


def _usage(request: ChatRequest, content: object) -> dict[str, int]:
    """Count four characters as one token, which is close enough for English."""
    prompt_tokens = 1 + len(request.question) // 4
    completion_tokens = len(content.strip()) // 4 if isinstance(content, str) else 0
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


# --- refusals -----------------------------------------------------------------------------------------------------


def refuse(
    request: ChatRequest,
    effect: Effect,
    status: int,
    error: Any,  # noqa: ANN401 - JSON of any shape
    *,
    beside: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error reply with the effect's options in it. It is the same for a request that streams.

    Args:
        request: the request.
        effect: the effect that refuses it.
        status: the HTTP status.
        error: the `error` of the JSON body.
        beside: what stands beside the `error`.
        headers: further HTTP headers.
    """
    headers = dict(headers or {})
    wait, source = effect.option(RETRY_AFTER), effect.option(SOURCE)
    if source is not None and request.backend == OPENROUTER:
        error = {**error, "metadata": {**error.get("metadata", {}), "limit_source": source}}
    if wait is not None:  # a client must find the same wait in either place
        headers["Retry-After"] = wait
        if isinstance(error, dict) and "availability" in error:
            error = {**error, "availability": {**error["availability"], "retry_after": float(wait)}}
    body = {"error": error, **(beside or {}), **router_metadata(request, is_answered=False)}
    return json_response(body, effect.fault, status=status, headers=headers)


def error_of(request: ChatRequest, status: int, message: str | None = None) -> object:
    """Return a plain `error` in the backend's form; without a message, it has the words of the status."""
    message = message or phrase(status)
    return {"code": status, "message": message} if request.backend == OPENROUTER else message


def refuse_rate(request: ChatRequest, effect: Effect, wait_s: float, *, limit: int, epoch_s: float) -> Response:
    """Return the 429 of a rate limit. It names the wait in the headers and, on OpenRouter, again in the body.

    Args:
        request: the request.
        effect: the `rate` that refuses.
        wait_s: seconds until the key may send again.
        limit: how many requests the key may send at once.
        epoch_s: the time of day, in seconds since 1970; OpenRouter names its reset in milliseconds.
    """
    after = max(1, math.ceil(wait_s))  # whole seconds, and 0 would be no hint (design 3.1)
    if request.backend != OPENROUTER:
        headers = {"Retry-After": str(after), "RateLimit": f'"api";r=0;t={after}'}
        return refuse(request, effect, 429, phrase(429), headers=headers)
    shown = limit_headers(request, 0, after, limit=limit, epoch_s=epoch_s)
    error = {"code": 429, "message": "Rate limit exceeded", "metadata": {"headers": shown}}
    return refuse(request, effect, 429, error, headers={"Retry-After": str(after), **shown})


def limit_headers(request: ChatRequest, left: float, full_s: float, *, limit: int, epoch_s: float) -> dict[str, str]:
    """Return the headers in which the backend says what is left of a limit.

    Args:
        request: the request.
        left: how many requests the key may still send at once.
        full_s: seconds until the limit is full again.
        limit: how many requests a full limit allows.
        epoch_s: the time of day, in seconds since 1970.
    """
    if request.backend == OPENROUTER:
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(int(left)),
            "X-RateLimit-Reset": str(round((epoch_s + full_s) * 1000)),
        }
    return {
        "RateLimit": f'"api";r={int(left)};t={math.ceil(full_s)}',
        "RateLimit-Policy": f'"token bucket";"api";q={limit}',
    }


def no_key(request: ChatRequest) -> Response:
    """Return the 401 to a request without an Authorization header."""
    message = "Missing Authentication header" if request.backend == OPENROUTER else "Invalid username or password."
    return json_response({"error": error_of(request, 401, message)}, "no key", status=401)


def bad_request(request: ChatRequest, message: str) -> Response:
    """Return the 400 to a request that a practice provider cannot serve."""
    return json_response({"error": error_of(request, 400, message)}, "bad request", status=400)


def phrase(status: int) -> str:
    """Return the words of HTTP for a status."""
    known = status in HTTPStatus._value2member_map_
    return HTTPStatus(status).phrase if known else f"Error {status}"
