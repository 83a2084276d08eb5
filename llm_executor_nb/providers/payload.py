"""The body of a request: built once per run by LangChain, the same for every backend except for `model`.

It holds nothing that the user did not set: no defaults of a model class, no nulls. Only the fields that ask for a
stream are ours (design 3.5).
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.needs import needs_of
from llm_executor_nb.core.outcomes import Need
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.providers import langchain
from llm_executor_nb.providers.messages import is_array, tidy_messages
from llm_executor_nb.providers.parameters import check_params, merge_extra_body
from llm_executor_nb.providers.returned import put_back, without_returned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_core.messages import BaseMessage

_WHAT_TO_GIVE = "Give a text, a list of messages, a dict with 'messages', or a LangChain prompt value."
_DROPPED = ("model", "stream")
"""Fields that LangChain's model sets for itself; a route and the engine set them instead."""
_AS_STREAM = {"stream": True, "stream_options": {"include_usage": True}}
"""OpenRouter always sends the usage; other backends send it only when asked."""
_READ_BY_THE_MODEL = [{"id": "file-parser", "pdf": {"engine": "native"}}]
"""Where the model reads no PDF itself, OpenRouter would else send it to a service that does, which no policy covers."""
_as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""`json.dumps` would make the encoder for each request."""


def make_payload(request: object, params: Mapping[str, Any], *, system: str | None = None) -> dict[str, Any]:
    """Return the body of a request, without `model`.

    Args:
        request: a text, a list or an array of messages (LangChain's, pairs, OpenAI dicts), or a LangChain prompt value.
        params: call parameters by name; those that are None are left out.
        system: a system message to put in front; None: none.

    Raises:
        ConfigError: the request is empty or of an unknown kind, a parameter is wrong, or LangChain lacks a private
            name; nothing was sent.
    """
    checked = check_params(params)
    if isinstance(request, str) and request.strip() and system is None and not checked:
        return {"messages": [{**_text_template(langchain.payload_builder()), "content": request}]}
    messages = _messages_of(request)
    if system is not None:
        messages = [_system_message(system), *messages]
    payload = _build(messages, checked)
    return {name: value for name, value in payload.items() if name not in _DROPPED and value is not None}


def make_body(
    payload: Mapping[str, Any],
    *,
    model: str,
    backend: str,
    extra_body: Mapping[str, Mapping[str, Any]] | None = None,
    preferences: Mapping[str, Any] | None = None,
    stream: bool = False,
) -> bytes:
    """Return the bytes that go to one route.

    Args:
        payload: what `make_payload` returned.
        model: the model's name in the request.
        backend: whose part of `extra_body` is merged in.
        extra_body: fields that only one backend knows, under that backend's name.
        preferences: what OpenRouter's `provider` object has to hold; None: nothing.
        stream: ask for the answer as an event stream, with its usage unless `extra_body` leaves that out.

    Raises:
        ConfigError: something in it is not JSON; nothing was sent.
    """
    if backend == HUGGINGFACE:
        # Hugging Face's providers refuse fields that they do not know.
        payload = {**payload, "messages": without_returned(payload["messages"])}
    fields = {**payload, **_AS_STREAM} if stream else payload
    body = {"model": model, **merge_extra_body(fields, extra_body, backend)}
    if preferences is not None and backend == OPENROUTER:
        body["provider"] = {**body.get("provider", {}), **preferences}
        if _is_about_texts(preferences) and Need.FILE in needs_of(payload, None):
            body["plugins"] = _READ_BY_THE_MODEL
    try:
        text = _as_json(body)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"This request cannot be written as JSON: {error}. Nothing was sent.") from None
    return text.encode("utf-8", "replace")  # a lone surrogate from broken input must not fail the request


def _is_about_texts(preferences: Mapping[str, Any]) -> bool:
    """Whether preferences say what may become of the texts."""
    return bool(preferences.get("zdr")) or preferences.get("data_collection") == "deny"


@lru_cache(maxsize=1)
def _text_template(build: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Return the message that LangChain makes of a text; most requests are one, and they differ in the text alone."""
    (message,) = build(_messages_of("any text"))["messages"]
    return dict(message)


def _build(messages: list[BaseMessage], params: dict[str, Any]) -> dict[str, Any]:
    build = langchain.payload_builder()
    try:
        payload = build(messages, **params)
    except (TypeError, ValueError, KeyError, NotImplementedError) as error:
        detail = shorten(f"{type(error).__name__}: {error}")
    else:
        put_back(messages, payload["messages"])
        return payload
    raise ConfigError(f"LangChain cannot write these messages ({detail}). {_WHAT_TO_GIVE}")


def _messages_of(request: object) -> list[BaseMessage]:
    from langchain_core.messages import BaseMessage, HumanMessage  # noqa: PLC0415 - loads on first use
    from langchain_core.prompt_values import PromptValue  # noqa: PLC0415 - loads on first use

    match request:
        case str():
            if not request.strip():
                raise ConfigError(f"The prompt is empty. {_WHAT_TO_GIVE}")
            return [HumanMessage(request)]
        case BaseMessage():
            return [request]
        case PromptValue():
            return _not_empty(request.to_messages())
        case _ if isinstance(request, list) or is_array(request):
            return _not_empty(_converted(tidy_messages(request)))
        case _:
            raise ConfigError(f"A request cannot be of the type {type(request).__name__}. {_WHAT_TO_GIVE}")


def _not_empty(messages: list[BaseMessage]) -> list[BaseMessage]:
    if not messages:
        raise ConfigError(f"The list of messages is empty. {_WHAT_TO_GIVE}")
    return messages


def _converted(request: list[Any]) -> list[BaseMessage]:
    from langchain_core.messages import convert_to_messages  # noqa: PLC0415 - loads on first use

    try:
        return convert_to_messages(request)
    except (TypeError, ValueError, KeyError, NotImplementedError) as error:
        detail = shorten(str(error).partition("\n")[0]).rstrip(".") or type(error).__name__
    raise ConfigError(f"This is not a list of messages ({detail}). {_WHAT_TO_GIVE}")


def _system_message(system: str) -> BaseMessage:
    from langchain_core.messages import SystemMessage  # noqa: PLC0415 - loads on first use

    if not isinstance(system, str):
        raise ConfigError(f"system must be a text, not {type(system).__name__}.")
    return SystemMessage(system)
