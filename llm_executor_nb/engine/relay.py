"""Hands the chunks of one attempt on, from the first that says something, and adds them up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core.secret import scrub
from llm_executor_nb.core.verdicts.answers import has_media, is_media

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain_core.messages import AIMessageChunk


class Relay:
    """Where an attempt's chunks go.

    Args:
        hand_on: gives a chunk to the run.

    Attributes:
        whole: the sum of the chunks so far; None: there was none.
    """

    def __init__(self, hand_on: Callable[[AIMessageChunk], Awaitable[None]]) -> None:
        self.whole: AIMessageChunk | None = None
        self._hand_on = hand_on
        self._kept: list[AIMessageChunk] = []
        self._is_begun = False

    async def take(self, chunk: AIMessageChunk, *, is_speaking: bool) -> None:
        """Add a chunk and hand it on; what comes before the first that says something is kept until then.

        Raises:
            ValueError: it does not go with those before it, and was not handed on.
        """
        self.add(chunk)
        if not self._is_begun and not is_speaking:
            self._kept.append(chunk)
            return
        await self.hand_on(chunk)

    def add(self, chunk: AIMessageChunk) -> AIMessageChunk:
        """Add a chunk to the sum, which is returned.

        Raises:
            ValueError: it does not go with those before it.
        """
        self.whole = chunk if self.whole is None else _sum(self.whole, chunk)
        return self.whole

    async def hand_on(self, chunk: AIMessageChunk) -> None:
        """Hand on a chunk that was added, and before it what was kept."""
        self._is_begun = True
        for kept in (*self._kept, chunk):
            await self._hand_on(kept)
        self._kept.clear()


def _sum(whole: AIMessageChunk, chunk: AIMessageChunk) -> AIMessageChunk:
    try:
        return whole + chunk
    except Exception as error:  # noqa: BLE001 - LangChain raises TypeError and others over fields that do not fit
        words = scrub(f"{type(error).__name__}: {error}")[:200]
    raise ValueError(f"LangChain cannot add this piece of a stream ({words}).")


def says_something(chunk: AIMessageChunk) -> bool:
    """Whether a chunk carries text, a piece of a tool call, or media; a role, a comment or blanks alone do not."""
    content = chunk.content
    if isinstance(content, str):
        has_something = bool(content.strip())
    else:
        has_something = bool(str(chunk.text).strip()) or any(is_media(part) for part in content)
    return has_something or bool(chunk.tool_call_chunks) or has_media(chunk.additional_kwargs)
