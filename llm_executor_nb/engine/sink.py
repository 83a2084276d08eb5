"""Where a streamed run's chunks go: to the reader at once, or kept until the whole answer is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain_core.messages import AIMessageChunk


class Sink:
    """Takes the chunks of one run.

    Args:
        hand_on: gives a chunk to the reader.
        is_kept: keep the chunks of an attempt until `release`, because the answer has still to be accepted.

    Attributes:
        partial: the text that was handed on.
        is_begun: something was handed on, so no other route can take over.
    """

    def __init__(self, hand_on: Callable[[AIMessageChunk], Awaitable[None]], *, is_kept: bool) -> None:
        self.partial = ""
        self.is_begun = False
        self._hand_on = hand_on
        self._is_kept = is_kept
        self._kept: list[AIMessageChunk] = []

    async def take(self, chunk: AIMessageChunk) -> None:
        """Take the next chunk of an attempt."""
        if self._is_kept:
            self._kept.append(chunk)
        else:
            await self._give(chunk)

    def complete(self, parsed: object) -> None:
        """Put the object that an answer was read as into its last chunk, so that the sum of the chunks has it."""
        last = self._kept[-1]
        last.additional_kwargs = {**last.additional_kwargs, "parsed": parsed}

    async def release(self) -> None:
        """Hand on what was kept: the answer was accepted."""
        for chunk in self._kept:
            await self._give(chunk)
        self._kept.clear()

    def drop(self) -> None:
        """Forget what was kept: the attempt came to nothing."""
        self._kept.clear()

    async def _give(self, chunk: AIMessageChunk) -> None:
        self.is_begun = True
        self.partial += str(chunk.text)
        await self._hand_on(chunk)
