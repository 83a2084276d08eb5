"""Replies as they are staged: practice answers, refusals, and what a request gets that cannot be served."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.rehearsal.bodies import answer_headers, answer_text, completion
from llm_executor_nb.rehearsal.examples import formatted_text, tool_calls
from llm_executor_nb.rehearsal.response import Response, stage_events, stage_json
from llm_executor_nb.rehearsal.sse import parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.rules import Effect

RETRY_AFTER = "retry-after"
SOURCE = "source"
_FULL = "server busy, please try again.  maximum pending requests exceeded"
HINTS = (RETRY_AFTER, SOURCE)
"""The options of every refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error reply.

    Attributes:
        status: its HTTP status.
        error: the `error` in its JSON; `{model}` in its texts becomes the model that was asked.
        beside: what stands beside the `error`.
        headers: beside its Content-Type.
    """

    status: int
    error: object
    beside: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(asked: ChatRequest) -> Response:
    """Return the practice answer: text, the JSON a response format asks for, or the call of a tool."""
    if calls := tool_calls(asked):
        body = completion(asked, None, finish_reason="tool_calls", tool_calls=calls)
    else:
        body = completion(asked, formatted_text(asked) or answer_text(asked))
    return stage_completion(asked, body, None)


def stage_completion(asked: ChatRequest, body: dict[str, Any], fault: str | None) -> Response:
    """Return a completion as the request wants it: in one piece, or as a stream."""
    headers = answer_headers(asked, body)
    if asked.is_stream:
        return stage_events(parts_of(asked, body).whole, fault, headers=headers)
    return stage_json(body, fault, headers=headers)


def stage_refusal(asked: ChatRequest, effect: Effect, told: Refusal) -> Response:
    """Return an error reply with the effect's options in it. It is the same for a request that streams."""
    error, headers = _filled(told.error, asked), dict(told.headers)
    wait, source = effect.option(RETRY_AFTER), effect.option(SOURCE)
    if source is not None and asked.backend == OPENROUTER:
        error = {**error, "metadata": {**error.get("metadata", {}), "limit_source": source}}
    if wait is not None:
        headers["Retry-After"] = wait
        if isinstance(error, dict) and "availability" in error:
            error["availability"]["retry_after"] = float(wait)
    return stage_json({"error": error, **told.beside}, effect.fault, status=told.status, headers=headers)


def error_of(asked: ChatRequest, status: int, words: str | None = None) -> object:
    """Return an `error` of the backend that tells nothing but its status, in the status's words or in others."""
    message = words or phrase(status)
    return {"code": status, "message": message} if asked.backend == OPENROUTER else message


def too_many(asked: ChatRequest, effect: Effect, wait_s: float, *, limit: int, epoch_s: float) -> Response:
    """Return the 429 of a rate limit: when to come again, in the headers and, on OpenRouter, once more in the body.

    Args:
        asked: the request.
        effect: the `rate` that refuses.
        wait_s: seconds until the key has a slot again.
        limit: how many requests the key may make at once.
        epoch_s: the time of day, in seconds since 1970; OpenRouter names its reset in milliseconds.
    """
    after = max(1, math.ceil(wait_s))
    if asked.backend != OPENROUTER:
        headers = {"Retry-After": str(after), "RateLimit": f'"api";r=0;t={after}'}
        return stage_refusal(asked, effect, Refusal(status=429, error=phrase(429), headers=headers))
    shown = limit_headers(epoch_s + after, limit=limit)
    error = {"code": 429, "message": "Rate limit exceeded", "metadata": {"headers": shown}}
    return stage_refusal(asked, effect, Refusal(status=429, error=error, headers={"Retry-After": str(after), **shown}))


def too_many_untimed(asked: ChatRequest, effect: Effect) -> Response:
    """Return the 429 of a rate limit that does not say when to come again."""
    return stage_refusal(asked, effect, Refusal(status=429, error=error_of(asked, 429)))


def too_many_at_once(asked: ChatRequest, effect: Effect, status: int) -> Response:
    """Return the refusal of a server that has as many requests as it takes at once, in Ollama's words."""
    return stage_refusal(asked, effect, Refusal(status=status, error=error_of(asked, status, _FULL)))


def limit_headers(reset_epoch_s: float, *, limit: int, remaining: int = 0) -> dict[str, str]:
    """Return the headers with which OpenRouter says how much of a limit is left until a time."""
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": str(round(reset_epoch_s * 1000)),
    }


def left_headers(asked: ChatRequest, left: float, full_s: float, *, limit: int, epoch_s: float) -> dict[str, str]:
    """Return the headers with which an answer of the backend tells what is left of a limit.

    Args:
        asked: the request.
        left: how many requests the key may still make at once.
        full_s: seconds until it may make all of them again.
        limit: how many these are.
        epoch_s: the time of day, in seconds since 1970.
    """
    if asked.backend == OPENROUTER:
        return limit_headers(epoch_s + full_s, limit=limit, remaining=int(left))
    return {
        "RateLimit": f'"api";r={int(left)};t={math.ceil(full_s)}',
        "RateLimit-Policy": f'"token bucket";"api";q={limit}',
    }


def no_key(asked: ChatRequest) -> Response:
    """Return the 401 to a request without an Authorization header."""
    words = "Missing Authentication header" if asked.backend == OPENROUTER else "Invalid username or password."
    return stage_json({"error": error_of(asked, 401, words)}, "no key", status=401)


def bad_request(asked: ChatRequest, words: str) -> Response:
    """Return the 400 to a request that a practice provider cannot serve."""
    return stage_json({"error": error_of(asked, 400, words)}, "bad request", status=400)


def phrase(status: int) -> str:
    """Return what HTTP calls a status."""
    known = status in HTTPStatus._value2member_map_
    return HTTPStatus(status).phrase if known else f"Error {status}"


def _filled(told: Any, asked: ChatRequest) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a copy in which every `{model}` is the model that was asked."""
    match told:
        case dict():
            return {name: _filled(value, asked) for name, value in told.items()}
        case list():
            return [_filled(value, asked) for value in told]
        case str():
            return told.replace("{model}", asked.plain_model)
        case _:
            return told
