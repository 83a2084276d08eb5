"""A reply as server-sent events: the chunks of the OpenAI form as OpenRouter and the Hugging Face router send them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.rehearsal.examples import call_deltas

if TYPE_CHECKING:
    from llm_executor_nb.rehearsal.requests import ChatRequest

COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"
_FEW_WORDS = re.compile(r"(?:\s*\S+){1,3}\s*|\s+")
_HEAD = ("id", "provider", "model", "created")
_TAIL = ("service_tier", "openrouter_metadata")
"""Fields that only the last chunk of OpenRouter has."""
_OTHER_FIELDS = ("reasoning", "reasoning_content", "refusal", "images", "audio", "function_call")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The events of one streamed reply, by kind.

    Attributes:
        head: the fields that every chunk of the reply has.
        opening: OpenRouter's comment, and the chunk with the role.
        text: the chunks with text, a few words each.
        finish: the chunk with the finish_reason, and with the error where the reply ended in one.
        usage: the last chunk, with the usage.
        done: `[DONE]`.
    """

    head: dict[str, Any]
    opening: tuple[bytes, ...]
    text: tuple[bytes, ...] = ()
    finish: tuple[bytes, ...] = ()
    usage: tuple[bytes, ...] = ()
    done: tuple[bytes, ...] = ()

    @property
    def comments(self) -> tuple[bytes, ...]:
        """The events before the first chunk."""
        return self.opening[:-1]

    @property
    def some(self) -> tuple[bytes, ...]:
        """The events up to the middle of the text."""
        return self.opening + self.text[: len(self.text) // 2]

    @property
    def rest(self) -> tuple[bytes, ...]:
        """The events from the middle of the text on."""
        return self.text[len(self.text) // 2 :] + self.closing

    @property
    def closing(self) -> tuple[bytes, ...]:
        """The events after the text."""
        return self.finish + self.usage + self.done

    @property
    def whole(self) -> tuple[bytes, ...]:
        """All events, in order."""
        return self.opening + self.text + self.closing

    def chunk(self, **fields: Any) -> bytes:  # noqa: ANN401 - JSON of any shape
        """Return one more event of this reply."""
        return event({**self.head, **fields})


def event(body: object) -> bytes:
    """Return one event."""
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def parts_of(request: ChatRequest, body: dict[str, Any]) -> Parts:
    """Return the events of a streamed reply with the content of `body`, a whole reply."""
    head = {name: body[name] for name in _HEAD if name in body} | {"object": "chat.completion.chunk"}
    choice = body["choices"][0]
    message = choice["message"]
    error = {"error": choice["error"]} if "error" in choice else {}

    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:  # noqa: ANN401 - JSON
        native = {"native_finish_reason": reason} if "native_finish_reason" in choice else {}
        choice_delta = {"index": 0, "delta": delta, "finish_reason": reason, **native, "logprobs": None}
        return event({**head, "choices": [choice_delta], **more})

    comment = (COMMENT,) if request.backend == OPENROUTER else ()
    others = [{name: message[name]} for name in _OTHER_FIELDS if message.get(name)]
    content = [{"content": piece} for piece in _pieces(message["content"])]
    parts = Parts(
        head=head,
        opening=(*comment, chunk({"role": "assistant", "content": ""})),
        text=tuple(chunk(delta) for delta in (*others, *content, *call_deltas(message))),
        finish=(chunk({"content": ""}, choice["finish_reason"], **error),),
    )
    if error:  # OpenRouter ends a failed stream without usage and without [DONE]
        return parts
    tail = {name: body[name] for name in _TAIL if name in body}
    usage = (event({**head, "choices": [], "usage": body["usage"], **tail}),) if _sends_usage(request) else ()
    return replace(parts, usage=usage, done=(DONE,))


def _sends_usage(request: ChatRequest) -> bool:
    """Whether the stream includes the usage: OpenRouter always sends it, the others only when asked."""
    return request.backend == OPENROUTER or request.wants_usage


def _pieces(content: object) -> list[Any]:
    if isinstance(content, str):
        return _FEW_WORDS.findall(content) or [""]
    if isinstance(content, list):
        return [[part] for part in content]
    return [] if content is None else [content]
