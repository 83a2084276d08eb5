"""The answers of both backends, as JSON (the sources are the providers' documents).

A practice answer says what it is, repeats the question it answers, and is the same for the same prompt on every route.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.records import OPENROUTER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_executor_nb.rehearsal.requests import ChatRequest

SHOWN_QUESTION = 160
"""How many characters of a question its practice answer repeats."""
PRICE_USD = 1e-7
"""What a practice token costs, so that sums and budgets have something to add."""
PRACTICE = "Practice"
"""The name of the provider that OpenRouter says it asked."""

HTML_PAGE = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser.</body></html>"
)


def answer_text(asked: ChatRequest) -> str:
    """Return the practice answer to a request: never blank, and recognisable as the answer to this one."""
    question = " ".join(asked.question.split())
    if len(question) > SHOWN_QUESTION:
        question = question[:SHOWN_QUESTION] + "…"
    return f"[practice answer {asked.prompt[:6]}] You asked: '{question}' (No model was asked: this is a rehearsal.)"


def completion(
    asked: ChatRequest,
    content: object,
    *,
    finish_reason: str = "stop",
    error: Mapping[str, Any] | None = None,
    **aside: Any,  # noqa: ANN401 - JSON of any shape
) -> dict[str, Any]:
    """Return a whole answer as the backend would send it.

    Args:
        asked: the request.
        content: what is said; anything but a text or None is a fault.
        finish_reason: how it ended.
        error: an error beside it.
        aside: what the message holds besides, such as `reasoning` or `tool_calls`.
    """
    choice: dict[str, Any] = {
        "index": 0,
        "logprobs": None,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": content, **aside},
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


def answer_headers(asked: ChatRequest, body: dict[str, Any]) -> dict[str, str]:
    """Return the headers that come with an answer: the generation's id, or who answered."""
    if asked.backend == OPENROUTER:
        return {"X-Generation-Id": str(body["id"])}
    return {"x-inference-provider": asked.provider} if asked.provider else {}


def _as_openrouter(body: dict[str, Any], asked: ChatRequest) -> dict[str, Any]:
    choice = body["choices"][0]
    usage = body["usage"]
    cost = round(PRICE_USD * usage["total_tokens"], 10)
    return {
        **body,
        "id": f"gen-{body['created']}-{uuid.uuid4().hex[:20]}",
        "provider": PRACTICE,
        "model": asked.model,
        "choices": [
            {
                **choice,
                "native_finish_reason": choice["finish_reason"],
                "message": {"refusal": None, "reasoning": None, **choice["message"]},
            },
        ],
        "usage": {**usage, "cost": cost},
    }


def _usage(asked: ChatRequest, content: object) -> dict[str, int]:
    """Count four characters as one token, which is near enough for English."""
    prompt_tokens = 1 + len(asked.question) // 4
    completion_tokens = len(content.strip()) // 4 if isinstance(content, str) else 0
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
