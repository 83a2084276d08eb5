"""What a practice provider reads in a request: who asks, for which model, and a digest of what is asked.

The digest covers model, messages and parameters in a form that is the same on every route, so that a practice answer
depends on the question alone. The text of a prompt lives no longer than its request; nothing here holds a key.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.foreign_json import get_in
from llm_executor_nb.core.outcomes import Need
from llm_executor_nb.core.records import HUGGINGFACE
from llm_executor_nb.core.secret import ending
from llm_executor_nb.schemas.prompting import as_asked

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARAMETERS = (
    "temperature",
    "max_tokens",
    "top_p",
    "seed",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "tools",
    "tool_choice",
    "response_format",
    "logprobs",
    "reasoning_effort",
)
_NEEDS_OF_PARTS = {
    "image_url": Need.IMAGE,
    "file": Need.FILE,
    "input_audio": Need.AUDIO,
    "video_url": Need.VIDEO,
}
"""What a part of a message needs, by its type."""
_NEEDS_OF_FIELDS = {
    "tools": Need.TOOLS,
    "response_format": Need.SCHEMA,
    "provider": Need.POLICY,
    "temperature": Need.PARAM,
}
"""What a field of a request needs; of the parameters, one stands for all."""
_ROUTING_WORDS = frozenset({"auto", "fastest", "cheapest", "preferred"})
"""What may stand behind a Hugging Face model's colon without being a provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request for a chat completion.

    Attributes:
        backend: `openrouter` or `huggingface`.
        key: the key's last characters, `..a1b2`; None: the request brought none.
        key_number: the key's place among the backend's keys, from 1; 0: the request brought none.
        provider: the Hugging Face provider behind the model's colon; None: the backend chooses.
        model: the model as it stands in the request.
        question: the text of the last user message.
        prompt: the digest of model, messages and parameters.
        is_stream: the answer shall come as server-sent events.
        wants_usage: the usage shall come with them.
        tools, tool_choice, response_format: as they stand in the request.
        told_schema: the JSON Schema that its words ask for; they are not in `question`, nor what it was told of an
            earlier answer.
        has_tool_result: a tool's answer stands behind the last user message.
        last_text: the text of the last message, whoever said it; without what a schema added to it.
        lacks_reasoning: an earlier message with tool calls has no `reasoning_details`.
        needs: what it needs of a route beyond answering a text.
    """

    backend: str
    key: str | None
    key_number: int
    provider: str | None
    model: str
    question: str
    prompt: str
    is_stream: bool = False
    wants_usage: bool = False
    tools: tuple[Any, ...] = ()
    tool_choice: Any = None
    response_format: Any = None
    told_schema: Any = None
    has_tool_result: bool = False
    last_text: str = ""
    lacks_reasoning: bool = False
    needs: frozenset[Need] = frozenset()

    @property
    def plain_model(self) -> str:
        """The model without what stands behind its colon."""
        return self.model.partition(":")[0]

    @property
    def schema(self) -> Any:  # noqa: ANN401 - JSON of any shape
        """The JSON Schema that the answer must fit, however it is asked for; None: there is none."""
        return self.told_schema or get_in(self.response_format, "json_schema", "schema")

    def unstreamed(self) -> ChatRequest:
        """Return the same request as one that wants its answer in one piece."""
        return replace(self, is_stream=False)


def read_asked(body: dict[str, Any], *, backend: str, key: str | None, key_number: int) -> ChatRequest:
    """Return what a request's JSON body asks. `key` is the whole key; only its ending is kept."""
    model = str(body.get("model", ""))
    messages, told_schema = body.get("messages"), None
    if isinstance(messages, list):
        messages, told_schema = as_asked(messages)
    return ChatRequest(
        backend=backend,
        key=ending(key) if key else None,
        key_number=key_number,
        provider=_provider_of(model) if backend == HUGGINGFACE else None,
        model=model,
        question=_last_question(messages),
        last_text=_last_text(messages),
        prompt=_digest(model, body),
        is_stream=body.get("stream") is True,
        wants_usage=get_in(body, "stream_options", "include_usage") is True,
        tools=tuple(tools) if isinstance(tools := body.get("tools"), list) else (),
        tool_choice=body.get("tool_choice"),
        response_format=body.get("response_format"),
        told_schema=told_schema,
        has_tool_result=_ends_in_tool_result(body.get("messages")),
        lacks_reasoning=_lacks_reasoning(messages),
        needs=frozenset(_needs_of(body)),
    )


def _provider_of(model: str) -> str | None:
    suffix = model.partition(":")[2]
    return suffix if suffix and suffix not in _ROUTING_WORDS else None


def _needs_of(body: dict[str, Any]) -> Iterator[Need]:
    yield from (need for name, need in _NEEDS_OF_FIELDS.items() if body.get(name) is not None)
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = get_in(message, "content")
        for part in content if isinstance(content, list) else ():
            kind = get_in(part, "type")
            if isinstance(kind, str) and kind in _NEEDS_OF_PARTS:
                yield _NEEDS_OF_PARTS[kind]


def _digest(model: str, body: dict[str, Any]) -> str:
    parameters = {name: body[name] for name in _PARAMETERS if body.get(name) is not None}
    if "max_completion_tokens" in body:
        parameters["max_tokens"] = body["max_completion_tokens"]
    told = [model.partition(":")[0].lower(), body.get("messages"), parameters]
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=6).hexdigest()


def _last_question(messages: object) -> str:
    if not isinstance(messages, list):
        return ""
    spoken = [message for message in messages if isinstance(message, dict)]
    asked = [message for message in spoken if message.get("role") == "user"] or spoken
    return _text_of(asked[-1].get("content")) if asked else ""


def _last_text(messages: object) -> str:
    return _text_of(get_in(messages[-1], "content")) if isinstance(messages, list) and messages else ""


def _lacks_reasoning(messages: object) -> bool:
    """Whether a call of a tool comes back without the reasoning that it was made with."""
    calls = [one for one in messages if get_in(one, "tool_calls")] if isinstance(messages, list) else []
    return any(get_in(one, "role") == "assistant" and not get_in(one, "reasoning_details") for one in calls)


def _ends_in_tool_result(messages: object) -> bool:
    return isinstance(messages, list) and bool(messages) and get_in(messages[-1], "role") == "tool"


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict)).strip()
    return ""
