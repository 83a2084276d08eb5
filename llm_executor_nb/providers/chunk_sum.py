"""The sum of a stream's chunks, in linear time.

LangChain's `+` copies the whole answer and reads all its tool calls again, for each chunk. So the texts and the pieces
of tool calls are put together once, at the end. What else a chunk has is rare, and is added up in groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.providers.calls import JoinedCalls, with_calls

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk

_GROUP: Final = 8
"""Chunks that are added up in one go. Each has been added up a few times at the end, however many there are."""
_ONCE: Final[dict[str, Any]] = {"content": "", "tool_call_chunks": [], "tool_calls": [], "invalid_tool_calls": []}
"""Fields that are put together once."""


class ChunkSum:
    """Adds up the chunks of one stream."""

    def __init__(self) -> None:
        self._contents: list[Any] = []
        self._calls = JoinedCalls()
        self._levels: list[list[AIMessageChunk]] = []
        self._first: AIMessageChunk | None = None

    def add(self, chunk: AIMessageChunk) -> None:
        """Add a chunk.

        Raises:
            ValueError: LangChain cannot add it to those before it; a later call may say so too.
        """
        self._contents.append(chunk.content)
        for piece in chunk.tool_call_chunks:
            self._calls.take(piece)
        if self._first is None or _has_more(chunk, self._first):
            self._put(chunk.model_copy(update=_ONCE))
        self._first = self._first or chunk

    def joined(self) -> AIMessageChunk | None:
        """Return the sum, with its tool calls as pieces only; None: there was no chunk.

        Raises:
            ValueError: the chunks do not fit together.
        """
        newest: list[AIMessageChunk] = []
        for level in self._levels:  # the first level has the newest chunks
            newest = [_added([*level, *newest])] if level or newest else []
        if not newest:
            return None
        last = newest[0]
        own = {"additional_kwargs": {**last.additional_kwargs}, "response_metadata": {**last.response_metadata}}
        whole = last.model_copy(update=own)
        whole.content, whole.tool_call_chunks = _joined_content(self._contents), self._calls.pieces()
        return whole

    def whole(self) -> AIMessageChunk | None:
        """Return the sum as LangChain would have it; None: there was no chunk.

        Raises:
            ValueError: the chunks do not fit together.
        """
        whole = self.joined()
        return whole and with_calls(whole, whole.tool_call_chunks)

    def _put(self, chunk: AIMessageChunk) -> None:
        """Put a chunk on the first level; a full level becomes one chunk of the next."""
        for level in self._levels:
            level.append(chunk)
            if len(level) < _GROUP:
                return
            chunk = _added(level)
            level.clear()
        self._levels.append([chunk])


def sum_of(*chunks: AIMessageChunk) -> AIMessageChunk:
    """Return the sum of some chunks as LangChain would have it.

    Raises:
        ValueError: they do not fit together.
    """
    total = ChunkSum()
    for chunk in chunks:
        total.add(chunk)
    whole = total.whole()
    assert whole is not None  # noqa: S101 - there was a chunk
    return whole


def _has_more(chunk: AIMessageChunk, first: AIMessageChunk) -> bool:
    """Whether a chunk has anything beside text and tool calls that the first one has not."""
    has_more = chunk.additional_kwargs or chunk.usage_metadata or chunk.chunk_position
    return bool(has_more) or chunk.id != first.id or chunk.response_metadata != first.response_metadata


def _joined_content(contents: list[Any]) -> Any:  # noqa: ANN401 - a text, or a list of parts
    from langchain_core.messages import merge_content  # noqa: PLC0415 - loads on first use

    first, *others = contents
    return merge_content(list(first) if isinstance(first, list) else first, *others)


def _added(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    if len(chunks) == 1:
        return chunks[0]
    try:
        first, *others = chunks
        return first + others
    except Exception as error:  # noqa: BLE001 - LangChain raises TypeError and others over fields that do not fit
        reason = shorten(f"{type(error).__name__}: {error}")
    raise ValueError(f"LangChain cannot add this piece of a stream ({reason}).")
