"""LangChain's models as translators only: they build a payload and read replies. They never see a key or a socket.

Each translator is made once, at first use, with its client set-up switched off: no SDK client, no OPENAI_* or gateway
environment, no hub look-up. Translators are reached by private names, so each name is checked before it is used.

A whole answer becomes one message. Of a streamed answer, one event becomes one chunk, and the last chunk carries what
ends the answer. Both are what LangChain's own models give for the same bytes. Hugging Face's chunks are completed from
the events. An event that reports an error would pass as an ordinary chunk, so the caller judges it first.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from types import new_class
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import uuid4

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.install_line import upgrade_line
from llm_executor_nb.core.records import HUGGINGFACE
from llm_executor_nb.providers.calls import put_arguments, replaced
from llm_executor_nb.providers.chunk_sum import ChunkSum
from llm_executor_nb.providers.returned import JoinedExtras, ThoughtNotes, returned_of
from llm_executor_nb.providers.tidy import Deltas, complete, misfits_in, tidy_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessageChunk
    from langchain_core.messages.ai import UsageMetadata
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

ChunkReader: TypeAlias = "Callable[[dict[str, Any]], AIMessageChunk | None]"
"""Reads the parsed JSON of one event and does not change it; None: the event says nothing.

It raises ValueError when LangChain cannot read the event: the stream is malformed.
"""
REQUIREMENTS: Final = ("langchain-core>=1.4.9,<2", "langchain-openai>=1.1.14,<2", "langchain-huggingface>=1.0.1,<2")
"""The versions that this package declares in pyproject.toml. CI tests the lowest and the newest of them."""
_PACKAGES = ("langchain-core", "langchain-openai", "langchain-huggingface", "openai", "huggingface_hub")
_ANY_MODEL = "any/model"
_PLACEHOLDER = "hf_none"
"""Stands where a token would: without one, ChatHuggingFace reads the saved login."""


# --- LangChain's private names --------------------------------------------------------------------------------------


def require(owner: Any, name: str) -> Any:  # noqa: ANN401 - a class, a module, and whatever it holds
    """Return `owner.name`, a private name of LangChain's.

    Raises:
        ConfigError: the installed version does not have it; the message names the versions and the pip line.
    """
    value = getattr(owner, name, None)
    if value is None:
        where = getattr(owner, "__qualname__", owner.__name__)
        needs = " ".join(f'"{requirement}"' for requirement in REQUIREMENTS)
        # design 5: no second client for this day; the bounds and the contract tests in CI watch over the names.
        raise ConfigError(
            f"The installed LangChain has no {where}.{name} ({_installed()}). Nothing was sent. "
            f"Type: {upgrade_line()} {needs}\nThen restart the kernel.",
        )
    return value


@cache
def payload_builder() -> Callable[..., dict[str, Any]]:
    """Return the method that builds a payload: the base class's, which sends `max_tokens` by that name.

    Raises:
        ConfigError: LangChain lacks a private name that is needed to build a payload or to read an answer.
    """
    from langchain_openai.chat_models.base import BaseChatOpenAI  # noqa: PLC0415 - loads on first use

    builder: Callable[..., dict[str, Any]] = _method(BaseChatOpenAI, "_get_request_payload")
    # The readers are made here too. A missing name is found before a request is paid for, and they load in the caller's
    # thread, not on the private loop.
    for make_reader in (openai_reader, openai_chunk_reader, huggingface_chunk_reader, usage_reader):
        make_reader()
    huggingface_reader(_ANY_MODEL)
    return builder


@cache
def openai_reader() -> Callable[[dict[str, Any]], ChatResult]:
    """Return ChatOpenAI's method that reads the body of an answer."""
    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - loads on first use

    reader: Callable[[dict[str, Any]], ChatResult] = _method(ChatOpenAI, "_create_chat_result")
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

    return _method(BaseChatOpenAI, "_convert_chunk_to_generation_chunk")  # type: ignore[no-any-return] # a private name


@cache
def huggingface_chunk_reader() -> Callable[[dict[str, Any], type], BaseMessageChunk]:
    """Return ChatHuggingFace's function that reads one event of a streamed answer."""
    from langchain_huggingface.chat_models import huggingface  # noqa: PLC0415 - loads on first use

    return require(huggingface, "_convert_chunk_to_message_chunk")  # type: ignore[no-any-return] # a private name


@cache
def usage_reader() -> Callable[..., Any]:
    """Return the function that turns a body's `usage` into LangChain's, details included."""
    from langchain_openai.chat_models import base  # noqa: PLC0415 - loads on first use

    return require(base, "_create_usage_metadata")  # type: ignore[no-any-return] # a private name


def _method(owner: type[Any], name: str) -> Any:  # noqa: ANN401 - a private name
    require(owner, name)
    return getattr(_keyless(owner), name)


def _keyless(base: type[Any]) -> Any:  # noqa: ANN401 - a subclass made here of a class loaded late
    """Make an object of `base` that has no client and no key, and takes nothing from the environment."""
    from pydantic import model_validator  # noqa: PLC0415 - loads on first use

    def validate_environment(self: Any) -> Any:  # noqa: ANN401 - pydantic's own shape
        return self

    body = {
        "__module__": __name__,
        "__doc__": f"{base.__name__} without its clients: a validator of the same name replaces its own.",
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


# --- a whole answer -------------------------------------------------------------------------------------------------


def read(reader: Callable[[dict[str, Any]], ChatResult], body: dict[str, Any]) -> AIMessage:
    """Read the first choice of an answer with one of LangChain's readers, and finish it as LangChain's core does.

    Raises:
        ValueError: the reader cannot make a message of it.
    """
    try:
        message = tidy_message(body["choices"][0]["message"])
        misfits = misfits_in(message)
        return _finished(reader(_readable(body, message, misfits)), message, misfits)
    except Exception as error:  # noqa: BLE001 - the readers raise whatever the missing piece gives: KeyError, TypeError, ...
        detail = _detail_of(error)
    raise ValueError(f"LangChain cannot read this answer ({detail}).")


def text_message(text: str) -> AIMessage:
    """Return a message with nothing but a text, for a caller who takes nothing else of an answer."""
    from langchain_core.messages import AIMessage  # noqa: PLC0415 - loads on first use

    return AIMessage(text)


def _finished(result: ChatResult, sent: dict[str, Any], misfits: list[dict[str, Any]]) -> AIMessage:
    """Return the message of a result, with what the server `sent` and LangChain's reader left out."""
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
    message.additional_kwargs.update(returned_of(sent))
    if refusal := sent.get("refusal"):
        message.additional_kwargs.setdefault("refusal", refusal)  # lost by langchain-openai before 1.7.4
    complete(message, sent, misfits)
    return message


def _readable(body: dict[str, Any], message: dict[str, Any], misfits: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a body with its first choice only, and with what some servers leave out: a role, logprobs, a usage."""
    others = {id(call) for call in misfits}  # to compare each with each would be quadratic
    fitting = {"tool_calls": [call for call in message["tool_calls"] if id(call) not in others]} if misfits else {}
    choice = {"logprobs": None, **body["choices"][0], "message": {**message, **fitting}}
    tidy = {**body, "choices": [choice]}
    if not isinstance(tidy.get("usage", {}), dict):
        tidy["usage"] = None
    return tidy


def _detail_of(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {error}")


# --- a streamed answer ----------------------------------------------------------------------------------------------


def openai_chunks(_model: str) -> ChunkReader:
    """Return a reader for one stream that gives ChatOpenAI's chunks; the chunks say which model answers."""
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

    convert = openai_chunk_reader()

    def read_chunk(event: dict[str, Any]) -> AIMessageChunk | None:
        generation = convert(event, AIMessageChunk, {})
        if generation is None:
            return None
        chunk = _as_ai(generation.message)
        chunk.response_metadata = {**(generation.generation_info or {}), **chunk.response_metadata}
        return chunk

    return _completed(read_chunk)


def huggingface_chunks(model: str) -> ChunkReader:
    """Return a reader for one stream that gives ChatHuggingFace's chunks, completed from the events.

    Args:
        model: the model that was asked; the name in an event wins.
    """
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

    convert, usage_of = huggingface_chunk_reader(), usage_reader()

    def read_chunk(event: dict[str, Any]) -> AIMessageChunk | None:
        choice = event["choices"][0] if event["choices"] else None
        if choice is None:
            chunk = AIMessageChunk(content="") if event["usage"] else None
        else:
            chunk = None if choice["delta"] is None else _as_ai(convert(event, AIMessageChunk))
        if chunk is not None:
            chunk.response_metadata = {**_facts(event, choice or {}, model), "model_provider": HUGGINGFACE}
            chunk.usage_metadata = usage_of(event["usage"]) if event["usage"] else None
        return chunk

    return _completed(read_chunk)


class Ending:
    """Holds back what ends an answer, so that its last chunk carries finish_reason and usage, each of them once.

    Some servers repeat the finish_reason, or the usage so far. LangChain would add them up. It would do the same with
    what the provider asks to get back.
    """

    def __init__(self) -> None:
        self._held: ChunkSum | None = None
        self._usage: UsageMetadata | None = None
        self._facts: dict[str, Any] = {}
        self._returned = JoinedExtras()

    def take(self, chunk: AIMessageChunk) -> AIMessageChunk | None:
        """Return a chunk that can be handed on now; None when it is held back for the last one."""
        self._usage = chunk.usage_metadata or self._usage
        chunk.usage_metadata = None
        if chunk.additional_kwargs:
            self._returned.take(chunk.additional_kwargs)
        if self._held is None and "finish_reason" not in chunk.response_metadata:
            return chunk
        self._facts |= chunk.response_metadata
        chunk.response_metadata = {}
        self._held = self._held or ChunkSum()
        self._held.add(chunk)
        return None

    def last(self) -> AIMessageChunk:
        """Return the last chunk: what was held back, with all that is known of the answer.

        Raises:
            ValueError: the chunks do not fit together.
        """
        from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

        last = (self._held and self._held.whole()) or AIMessageChunk(content="")
        last.usage_metadata, last.response_metadata = self._usage, self._facts
        last.additional_kwargs.update(self._returned.whole)
        last.chunk_position = "last"
        return last


def as_last_chunk(message: AIMessage) -> AIMessageChunk:
    """Return a whole message as a stream of one chunk, for a server that answers without streaming."""
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

    fields = {name: getattr(message, name) for name in type(message).model_fields if name != "type"}
    return AIMessageChunk(**fields, chunk_position="last")


def _completed(read_chunk: ChunkReader) -> ChunkReader:
    """Return `read_chunk` with one id for all chunks, with media and what is to go back, and one kind of error."""
    run_id, thoughts, deltas = f"lc_run--{uuid4()}", ThoughtNotes(), Deltas()

    def read_completed(event: dict[str, Any]) -> AIMessageChunk | None:
        try:
            tidy = _tidy_event(event, deltas)
            chunk = _read_in_linear_time(read_chunk, tidy)
            if chunk is not None and tidy["choices"]:
                delta = tidy["choices"][0]["delta"]
                if media := deltas.media(delta):
                    chunk.additional_kwargs = {**chunk.additional_kwargs, **media}
                thoughts.note(delta or {}, chunk)
        except Exception as error:  # noqa: BLE001 - the readers raise whatever the missing piece gives: KeyError, TypeError, ...
            detail = _detail_of(error)
        else:
            if chunk is not None:
                chunk.id = chunk.id or run_id
            return chunk
        raise ValueError(f"LangChain cannot read this piece of a stream ({detail}).")

    return read_completed


def _read_in_linear_time(read_chunk: ChunkReader, tidy: dict[str, Any]) -> AIMessageChunk | None:
    """Read a tidy event. LangChain would take long to repair the broken arguments of tool calls."""
    calls = tidy["choices"] and (tidy["choices"][0]["delta"] or {}).get("tool_calls")
    if not calls:
        return read_chunk(tidy)
    functions = [call["function"] for call in calls]
    arguments = [function.get("arguments") for function in functions]
    legible = replaced(arguments)
    if legible is None:
        return read_chunk(tidy)
    told = [
        {**call, "function": {**function, "arguments": text}}
        for call, function, text in zip(calls, functions, legible, strict=True)
    ]
    choice = tidy["choices"][0]
    chunk = read_chunk({**tidy, "choices": [{**choice, "delta": {**choice["delta"], "tool_calls": told}}]})
    return chunk and put_arguments(chunk, arguments)


def _tidy_event(event: dict[str, Any], deltas: Deltas) -> dict[str, Any]:
    """Return an event with its first choice only, in the assistant's role.

    What ends an answer counts without a delta too. Of several choices, those of a higher index are other answers.
    """
    usage = event["usage"] if isinstance(event.get("usage"), dict) else None
    first = next((choice for choice in event.get("choices") or [] if not choice.get("index")), None)
    if first is None:
        return {**event, "choices": [], "usage": usage}
    delta = deltas.of(first)
    if delta is None and (usage or first.get("finish_reason")):
        delta = {}
    if delta is not None:
        delta = deltas.tidy(delta)
    return {**event, "choices": [{**first, "delta": delta}], "usage": usage}


def _facts(event: dict[str, Any], choice: dict[str, Any], model: str) -> dict[str, Any]:
    facts = {"logprobs": choice["logprobs"]} if choice.get("logprobs") else {}
    if reason := choice.get("finish_reason"):
        facts |= {"finish_reason": reason, "model_name": event.get("model") or model}
        facts |= {name: event[name] for name in ("id", "system_fingerprint") if event.get(name)}
    return facts


def _as_ai(chunk: Any) -> AIMessageChunk:  # noqa: ANN401 - a message chunk of any role
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

    if not isinstance(chunk, AIMessageChunk):
        raise TypeError(f"a chunk of the role {chunk.type!r}")
    return chunk
