"""What a practice provider reads in a request: the key, the model, and a digest of the question.

The digest covers model, messages and parameters in a form that is the same on every route, so that a practice answer
depends on the question alone. The text of a prompt is dropped with its request; nothing here holds a key.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.foreign_json import get_in
from llm_executor_nb.core.outcomes import Need
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import ending
from llm_executor_nb.rehearsal.upstreams import TIERS, UPSTREAMS, Upstream, choose
from llm_executor_nb.schemas.prompting import as_asked
from llm_executor_nb.settings.provider_names import is_chosen_there

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
_BEARER = "bearer "
_BILL_TO = "X-HF-Bill-To"
_METADATA = "X-OpenRouter-Metadata"
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request for a chat completion.

    Attributes:
        backend: `openrouter` or `huggingface`.
        key: the key's last characters, `..a1b2`; None: the request has none.
        key_number: the key's place among the backend's keys, from 1; 0: the request has none.
        provider: the Hugging Face provider after the model's colon; None: the backend chooses.
        model: the model as it stands in the request.
        question: the text of the last user message.
        prompt: the digest of model, messages and parameters.
        is_stream: whether the answer should be server-sent events.
        wants_usage: whether the stream should include the usage.
        tools, tool_choice, response_format: as they stand in the request.
        prompted_schema: the JSON Schema that the messages ask for in words. `question` has neither these words nor the
            report about an earlier answer.
        has_tool_result: whether a tool's answer is the last message.
        last_text: the text of the last message of any role, without the words about a schema.
        lacks_reasoning: whether an earlier message with tool calls has no `reasoning_details`.
        needs: what it needs of a route beyond a text answer.
        preferences: its `provider` field, as it stands in the request.
        upstream: who answers it behind practice OpenRouter.
        barred_by: the fault that it meets because its preferences leave nobody; None: somebody is left.
        bill_to: the organisation that the header for Hugging Face names; None: there is no such header.
        wants_metadata: whether the header asks OpenRouter who was considered and who answered.
        service_tier: as it stands in the request.
        is_list: whether it is a look-up of a list of models, and not a request for an answer.
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
    prompted_schema: Any = None
    has_tool_result: bool = False
    last_text: str = ""
    lacks_reasoning: bool = False
    needs: frozenset[Need] = frozenset()
    preferences: Any = None
    upstream: Upstream = UPSTREAMS[0]
    barred_by: str | None = None
    bill_to: str | None = None
    wants_metadata: bool = False
    service_tier: Any = None
    is_list: bool = False

    @property
    def plain_model(self) -> str:
        """The model without its colon and what follows it."""
        return self.model.partition(":")[0]

    @property
    def is_free(self) -> bool:
        """Whether it asks for the free variant of a model."""
        return "free" in self.model.split(":")[1:]

    @property
    def schema(self) -> Any:  # noqa: ANN401 - JSON of any shape
        """The JSON Schema of the answer, from the response format or from words; None: there is none."""
        return self.prompted_schema or get_in(self.response_format, "json_schema", "schema")

    @property
    def tier(self) -> str | None:
        """The service tier that practice OpenRouter serves it at; None: it asks for none."""
        return self.service_tier if self.backend == OPENROUTER and self.service_tier in tuple(TIERS) else None

    @property
    def is_flex(self) -> bool:
        """Whether it asks for the flex tier."""
        return bool(self.service_tier == "flex")

    def unstreamed(self) -> ChatRequest:
        """Return the same request without streaming."""
        return replace(self, is_stream=False)


def read_request(
    body: dict[str, Any],
    *,
    backend: str,
    key: str | None,
    key_number: int,
    headers: Mapping[str, str] = _NO_HEADERS,
) -> ChatRequest:
    """Read a request's JSON body and its headers. `key` is the whole key; only its ending is kept."""
    model = str(body.get("model", ""))
    messages, prompted_schema = body.get("messages"), None
    if isinstance(messages, list):
        messages, prompted_schema = as_asked(messages)
    upstream, barred_by = choose(body.get("provider") if backend == OPENROUTER else None)
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
        prompted_schema=prompted_schema,
        has_tool_result=_ends_in_tool_result(body.get("messages")),
        lacks_reasoning=_lacks_reasoning(messages),
        needs=frozenset(_needs_of(body)),
        preferences=body.get("provider"),
        upstream=upstream,
        barred_by=barred_by,
        bill_to=headers.get(_BILL_TO),
        wants_metadata=headers.get(_METADATA) == "enabled",
        service_tier=body.get("service_tier"),
    )


def key_of(authorization: str) -> str | None:
    """Return the key of an Authorization header; None: it has none."""
    key = authorization[len(_BEARER) :].strip() if authorization.lower().startswith(_BEARER) else ""
    return key or None


def _provider_of(model: str) -> str | None:
    suffix = model.partition(":")[2]
    return suffix if suffix and not is_chosen_there(suffix) else None


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
    if "max_completion_tokens" in body:  # design 3.5: the same parameter under its newer name
        parameters["max_tokens"] = body["max_completion_tokens"]
    # without the provider after the colon, so that every route answers the same
    digested = [model.partition(":")[0].lower(), body.get("messages"), parameters]
    return hashlib.blake2b(json.dumps(digested, sort_keys=True).encode(), digest_size=6).hexdigest()


def _last_question(messages: object) -> str:
    if not isinstance(messages, list):
        return ""
    known = [message for message in messages if isinstance(message, dict)]
    users = [message for message in known if message.get("role") == "user"] or known
    return _text_of(users[-1].get("content")) if users else ""


def _last_text(messages: object) -> str:
    return _text_of(get_in(messages[-1], "content")) if isinstance(messages, list) and messages else ""


def _lacks_reasoning(messages: object) -> bool:
    """Whether an earlier tool call is sent back without the reasoning that it was made with."""
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
