"""The chunks of a run's stream on their way to its reader, and their sum, on which the verdict is passed."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from llm_executor_nb.core.verdicts.answers import has_media, is_media
from llm_executor_nb.providers.chunk_sum import ChunkSum

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain_core.messages import AIMessageChunk


class HoldUntil(Enum):
    """What a stream's chunks are held back for."""

    TEXT = auto()
    ACCEPTED = auto()


class StreamBuffer:
    """Holds the chunks of each attempt until they may go to the reader.

    Args:
        on_chunk: the reader; it may let the sender wait.
        hold_until: TEXT: until a chunk has text, a tool call or media. ACCEPTED: until the answer is accepted.

    Attributes:
        sum: adds up this attempt's chunks.
        is_begun: whether the reader has a chunk, so no other route can take over.
    """

    def __init__(
        self,
        on_chunk: Callable[[AIMessageChunk], Awaitable[None]],
        *,
        hold_until: HoldUntil = HoldUntil.TEXT,
    ) -> None:
        self.sum = ChunkSum()
        self.is_begun = False
        self._on_chunk = on_chunk
        self._hold_until = hold_until
        self._held: list[AIMessageChunk] = []
        self._texts: list[str] = []
        self._is_open = False

    @property
    def partial(self) -> str:
        """The text that the reader has."""
        return "".join(self._texts)

    def begin(self) -> None:
        """Begin an attempt: the chunks of the one before came to nothing."""
        self.sum, self._is_open = ChunkSum(), False
        self._held.clear()

    async def take(self, chunk: AIMessageChunk) -> None:
        """Add a chunk to the sum, and pass it on unless it has to be held.

        Raises:
            ValueError: the chunks do not fit together, and this one was not passed on.
        """
        self.sum.add(chunk)
        self._held.append(chunk)
        # a role or white space alone may still turn out to be an empty answer, after which another route is asked
        if not self._is_open and self._hold_until is HoldUntil.TEXT and has_content(chunk):
            self.sum.joined()  # a piece that does not fit must not begin an answer: another route can still give one
            self._is_open = True
        if self._is_open:
            await self.release()

    async def finish(self, last: AIMessageChunk) -> None:
        """Take the last chunk of an answer, which is in the sum already."""
        self._held.append(last)
        if self._hold_until is HoldUntil.TEXT:
            await self.release()

    def put_parsed(self, parsed: object) -> None:
        """Put the parsed object into the last chunk, so that the sum of the chunks has it."""
        last = self._held[-1]  # it is held: a run with a schema waits for the verdict
        last.additional_kwargs = {**last.additional_kwargs, "parsed": parsed}

    async def release(self) -> None:
        """Pass on what is held."""
        held, self._held = self._held, []
        for chunk in held:
            self.is_begun = True
            self._texts.append(str(chunk.text))
            await self._on_chunk(chunk)


def has_content(chunk: AIMessageChunk) -> bool:
    """Whether a chunk has text, a piece of a tool call, or media; a role, a comment or white space is not enough."""
    content = chunk.content
    if isinstance(content, str):
        has_text = bool(content.strip())
    else:
        has_text = bool(str(chunk.text).strip()) or any(is_media(part) for part in content)
    return has_text or bool(chunk.tool_call_chunks) or has_media(chunk.additional_kwargs)
