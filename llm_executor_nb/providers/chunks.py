"""A streamed answer as LangChain's chunks: one event in, one chunk out, and the last of them with what ends an answer.

Both readers give what LangChain's own streams give for the same bytes; Hugging Face's chunks are completed from the
events. An event that tells of an error would pass as an ordinary chunk, so it has to be judged before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from llm_executor_nb.core.records import HUGGINGFACE
from llm_executor_nb.core.secret import scrub
from llm_executor_nb.providers import langchain
from llm_executor_nb.providers.returned import Joined, Thoughts
from llm_executor_nb.providers.tidy import Deltas

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.messages.ai import UsageMetadata

ChunkReader: TypeAlias = "Callable[[dict[str, Any]], AIMessageChunk | None]"
"""Reads the parsed JSON of one event, which it does not change; None: the event says nothing.

It raises ValueError when LangChain cannot read the event: the stream is malformed.
"""


def openai_chunks() -> ChunkReader:
    """Return a reader for one stream that gives ChatOpenAI's chunks."""
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

    convert = langchain.openai_chunk_reader()

    def read(event: dict[str, Any]) -> AIMessageChunk | None:
        generation = convert(event, AIMessageChunk, {})
        if generation is None:
            return None
        chunk = _as_ai(generation.message)
        chunk.response_metadata = {**(generation.generation_info or {}), **chunk.response_metadata}
        return chunk

    return _reader(read)


def huggingface_chunks(model: str) -> ChunkReader:
    """Return a reader for one stream that gives ChatHuggingFace's chunks, completed from the events.

    Args:
        model: the model that was asked; an event that names who answers wins.
    """
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

    convert, usage_of = langchain.huggingface_chunk_reader(), langchain.usage_reader()

    def read(event: dict[str, Any]) -> AIMessageChunk | None:
        choice = event["choices"][0] if event["choices"] else None
        if choice is None:
            chunk = AIMessageChunk(content="") if event["usage"] else None
        else:
            chunk = None if choice["delta"] is None else _as_ai(convert(event, AIMessageChunk))
        if chunk is not None:
            chunk.response_metadata = {**_facts(event, choice or {}, model), "model_provider": HUGGINGFACE}
            chunk.usage_metadata = usage_of(event["usage"]) if event["usage"] else None
        return chunk

    return _reader(read)


class Ending:
    """Keeps back what ends an answer, so that its last chunk carries finish_reason and usage, and each of them once.

    Some servers repeat the usage so far, or the finish_reason; LangChain would add them up. So it would with what the
    provider asks to get back.
    """

    def __init__(self) -> None:
        self._kept: AIMessageChunk | None = None
        self._usage: UsageMetadata | None = None
        self._facts: dict[str, Any] = {}
        self._returned = Joined()

    def take(self, chunk: AIMessageChunk) -> AIMessageChunk | None:
        """Return a chunk that can be handed on now; None when it is kept for the last one."""
        self._usage = chunk.usage_metadata or self._usage
        chunk.usage_metadata = None
        if chunk.additional_kwargs:
            self._returned.take(chunk.additional_kwargs)
        if self._kept is None and "finish_reason" not in chunk.response_metadata:
            return chunk
        self._facts |= chunk.response_metadata
        chunk.response_metadata = {}
        self._kept = chunk if self._kept is None else self._kept + chunk
        return None

    def last(self) -> AIMessageChunk:
        """Return the last chunk: what was kept, with all that is known of the answer."""
        from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

        last = self._kept or AIMessageChunk(content="")
        last.usage_metadata, last.response_metadata = self._usage, self._facts
        last.additional_kwargs.update(self._returned.whole)
        last.chunk_position = "last"
        return last


def as_last_chunk(message: AIMessage) -> AIMessageChunk:
    """Return a whole message as a stream of one chunk, for a server that answers without streaming."""
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

    return AIMessageChunk(**{**message.model_dump(exclude={"type"}), "chunk_position": "last"})


def _reader(read: ChunkReader) -> ChunkReader:
    """Return `read` with one id for all chunks, what is to go back noted on them, and one kind of error."""
    run_id, thoughts, deltas = f"lc_run--{uuid4()}", Thoughts(), Deltas()

    def read_tidily(event: dict[str, Any]) -> AIMessageChunk | None:
        try:
            tidy = _tidy(event, deltas)
            chunk = read(tidy)
            if chunk is not None and tidy["choices"]:
                delta = tidy["choices"][0]["delta"]
                if media := deltas.media(delta):
                    chunk.additional_kwargs = {**chunk.additional_kwargs, **media}
                thoughts.note(delta or {}, chunk)
        except Exception as error:  # noqa: BLE001 - the readers raise whatever the missing piece gives: KeyError, TypeError, ...
            words = scrub(f"{type(error).__name__}: {error}")[:200]
        else:
            if chunk is not None:
                chunk.id = chunk.id or run_id
            return chunk
        raise ValueError(f"LangChain cannot read this piece of a stream ({words}).")

    return read_tidily


def first_choice(event: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return the choice of an event that counts; None: there is none."""
    return next((choice for choice in event.get("choices") or [] if not choice.get("index")), None)


def _tidy(event: dict[str, Any], deltas: Deltas) -> dict[str, Any]:
    """The first choice only, of the role that answers; what ends an answer counts also without a delta."""
    usage = event["usage"] if isinstance(event.get("usage"), dict) else None
    first = first_choice(event)
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
