"""A practice provider that keeps the bodies it was sent, and answers each as a function says."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from refusing import served

import llm_executor_nb as llm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY, TOKEN = "sk-or-v1-recording-0001", "hf_recordingtoken0001"
MODEL = "my/model"


@contextmanager
def recorded(answer: Callable[[dict[str, Any]], Any], backend: str = "openrouter") -> Iterator[list[dict[str, Any]]]:
    """Let a server be the only route of MODEL, and give the bodies it was sent.

    Args:
        answer: returns the JSON of a whole reply, or the text of an event stream.
        backend: openrouter, huggingface, or the name of a backend of one's own.
    """

    def told(body: dict[str, Any]) -> tuple[int, Any]:
        found = answer(body)
        return 200, found.encode() if isinstance(found, str) else found

    with served(told) as server:
        _be_the_only_route(backend, server.url)
        yield server.bodies


def _be_the_only_route(backend: str, url: str) -> None:
    is_own = backend not in ("openrouter", "huggingface")
    llm.configure(
        openrouter_keys=[KEY] if backend == "openrouter" else [],
        huggingface_tokens=[TOKEN] if backend == "huggingface" else [],
        openrouter_base_url=url,
        huggingface_base_url=url,
    )
    if is_own:
        llm.add_backend(backend, base_url=url, keys=["sk-recording-0002"])
    row = {"openrouter": [], "huggingface": ["a"]}.get(backend, [backend])
    llm.models.add(MODEL, providers=row, openrouter=not is_own)


def said(text: str = "fine", **message: Any) -> dict[str, Any]:
    """Return a whole reply; `message` has more of its message."""
    reason = "tool_calls" if message.get("tool_calls") else "stop"
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text, **message}}
    return {"id": "r", "model": "m", "choices": [choice]}


def streamed(*deltas: dict[str, Any], reason: str = "stop") -> str:
    """Return an event stream of deltas."""
    events = [*({"delta": delta, "finish_reason": None} for delta in deltas), {"delta": {}, "finish_reason": reason}]
    pieces = [{"id": "r", "model": "m", "choices": [{"index": 0, **event}]} for event in events]
    return "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"
