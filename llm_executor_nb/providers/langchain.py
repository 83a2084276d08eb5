"""LangChain's models as translators only: they build a payload or read a body, and never see a key or a socket.

Each is made once, at first use, with its client set-up switched off: no SDK client, no OPENAI_* or gateway environment,
no hub look-up. They are reached by private names, so each name is checked when it is first asked for.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from types import new_class
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.secret import scrub
from llm_executor_nb.providers.returned import kept_of
from llm_executor_nb.providers.tidy import complete, misfits_in, tidy_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessage, BaseMessage, BaseMessageChunk
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

_PACKAGES = ("langchain-core", "langchain-openai", "langchain-huggingface", "openai", "huggingface_hub")
_PLACEHOLDER = "hf_none"
"""Stands where a token would: without one, the saved login would be read."""


def require(owner: Any, name: str) -> Any:  # noqa: ANN401 - a class, a module, and whatever it holds
    """Return `owner.name`, a private name of LangChain's.

    Raises:
        ConfigError: the installed version has no such name; the message says which versions are installed.
    """
    found = getattr(owner, name, None)
    if found is None:
        where = getattr(owner, "__qualname__", owner.__name__)
        raise ConfigError(
            f"The installed LangChain has no {where}.{name} ({_installed()}). "
            "Update this package, or install langchain-core, langchain-openai and langchain-huggingface below 2.",
        )
    return found


@cache
def payload_builder() -> Callable[..., dict[str, Any]]:
    """Return the method that builds a payload: the base class's, which sends `max_tokens` by that name."""
    import langchain_huggingface  # noqa: F401, PLC0415 - reads answers later, on the loop; so it is loaded here already
    from langchain_openai.chat_models.base import BaseChatOpenAI  # noqa: PLC0415 - loads on first use

    require(BaseChatOpenAI, "_get_request_payload")
    builder: Callable[..., dict[str, Any]] = _keyless(BaseChatOpenAI)._get_request_payload  # noqa: SLF001 - see module
    return builder


def public_payload(messages: list[BaseMessage], **params: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON of any shape
    """Build a payload by LangChain's public function, for a version that lacks the private method."""
    from langchain_core.messages import convert_to_openai_messages  # noqa: PLC0415 - loads on first use

    return {"messages": convert_to_openai_messages(messages), **params}


@cache
def openai_reader() -> Callable[[dict[str, Any]], ChatResult]:
    """Return ChatOpenAI's method that reads the body of an answer."""
    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - loads on first use

    require(ChatOpenAI, "_create_chat_result")
    reader: Callable[[dict[str, Any]], ChatResult] = _keyless(ChatOpenAI)._create_chat_result  # noqa: SLF001 - see module
    return reader


@lru_cache(maxsize=256)
def huggingface_reader(model: str) -> Callable[[dict[str, Any]], ChatResult]:
    """Return ChatHuggingFace's method that reads the body of an answer, on one object per model."""
    from langchain_huggingface import ChatHuggingFace, HuggingFaceEndpoint  # noqa: PLC0415 - loads on first use

    require(ChatHuggingFace, "_create_chat_result")
    settings: dict[str, Any] = {"repo_id": model, "provider": "auto", "huggingfacehub_api_token": _PLACEHOLDER}
    endpoint = HuggingFaceEndpoint(**settings)
    reader: Callable[[dict[str, Any]], ChatResult] = ChatHuggingFace(llm=endpoint)._create_chat_result  # noqa: SLF001 - see module
    return reader


@cache
def openai_chunk_reader() -> Callable[[dict[str, Any], type, dict[str, Any]], ChatGenerationChunk | None]:
    """Return ChatOpenAI's method that reads one event of a streamed answer."""
    from langchain_openai.chat_models.base import BaseChatOpenAI  # noqa: PLC0415 - loads on first use

    require(BaseChatOpenAI, "_convert_chunk_to_generation_chunk")
    return _keyless(BaseChatOpenAI)._convert_chunk_to_generation_chunk  # type: ignore[no-any-return] # noqa: SLF001 - see module


@cache
def huggingface_chunk_reader() -> Callable[[dict[str, Any], type], BaseMessageChunk]:
    """Return ChatHuggingFace's function that reads one event of a streamed answer."""
    from langchain_huggingface.chat_models import huggingface  # noqa: PLC0415 - loads on first use

    return require(huggingface, "_convert_chunk_to_message_chunk")  # type: ignore[no-any-return] # a private name


@cache
def usage_reader() -> Callable[..., Any]:
    """Return the function that turns a body's `usage` into LangChain's, details included."""
    from langchain_openai.chat_models import base  # noqa: PLC0415 - loads on first use

    reader: Callable[..., Any] = require(base, "_create_usage_metadata")
    return reader


def read(reader: Callable[[dict[str, Any]], ChatResult], body: dict[str, Any]) -> AIMessage:
    """Read the first choice of an answer with one of LangChain's readers, and finish it as LangChain's core does.

    Raises:
        ValueError: the reader cannot make a message of it.
    """
    try:
        told = tidy_message(body["choices"][0]["message"])
        misfits = misfits_in(told)
        return _finish(reader(_readable(body, told, misfits)), told, misfits)
    except Exception as error:  # noqa: BLE001 - the readers raise whatever the missing piece gives: KeyError, TypeError, ...
        words = scrub(f"{type(error).__name__}: {error}")[:200]
    raise ValueError(f"LangChain cannot read this answer ({words}).")


def _finish(result: ChatResult, told: dict[str, Any], misfits: list[dict[str, Any]]) -> AIMessage:
    from langchain_core.messages import AIMessage  # noqa: PLC0415 - loads on first use

    generation = result.generations[0]
    message = generation.message
    if not isinstance(message, AIMessage):
        raise TypeError(f"a message of the role {message.type!r}")
    message.response_metadata = {
        **(result.llm_output or {}),
        **(generation.generation_info or {}),
        **message.response_metadata,
    }
    message.id = message.id or f"lc_run--{uuid4()}-0"
    message.additional_kwargs.update(kept_of(told))
    if refusal := told.get("refusal"):
        message.additional_kwargs.setdefault("refusal", refusal)  # lost by langchain-openai before 1.7.4
    complete(message, told, misfits)
    return message


def _readable(body: dict[str, Any], told: dict[str, Any], misfits: list[dict[str, Any]]) -> dict[str, Any]:
    """The first choice only, with what some servers leave out: a role, null logprobs, a usage that is one."""
    fitting = {"tool_calls": [call for call in told["tool_calls"] if call not in misfits]} if misfits else {}
    choice = {"logprobs": None, **body["choices"][0], "message": {**told, **fitting}}
    tidy = {**body, "choices": [choice]}
    if not isinstance(tidy.get("usage", {}), dict):
        tidy["usage"] = None
    return tidy


def _keyless(base: type[Any]) -> Any:  # noqa: ANN401 - a subclass made here of a class loaded late
    """Make an object of `base` that has no client, no key, and takes nothing from the environment."""
    from pydantic import model_validator  # noqa: PLC0415 - loads on first use

    def validate_environment(self: Any) -> Any:  # noqa: ANN401 - pydantic's own shape
        return self

    body = {
        "__module__": __name__,
        "__doc__": f"{base.__name__} without its clients: a validator of the same name takes the place of its own.",
        "validate_environment": model_validator(mode="after")(validate_environment),
    }
    keyless = new_class(f"Keyless{base.__name__}", (base,), exec_body=lambda names: names.update(body))
    return keyless(
        model="",
        api_key="none",
        base_url="",
        openai_proxy="",
        use_responses_api=False,
        output_version="v0",
    )


def _installed() -> str:
    return ", ".join(f"{name} {_version_of(name)}" for name in _PACKAGES)


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
