"""Hands the chunks of one attempt on, from the first that says something, and adds them up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core.secret import scrub

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
        """Hand a chunk on; what comes before the first that says something is kept until then.

        Raises:
            ValueError: it does not go with those before it, and was not handed on.
        """
        self.whole = chunk if self.whole is None else _sum(self.whole, chunk)
        if not self._is_begun and not is_speaking:
            self._kept.append(chunk)
            return
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
    """Say whether a chunk carries text or a piece of a tool call; a role, a comment or blanks alone do not."""
    content = chunk.content
    return bool((content if isinstance(content, str) else str(chunk.text)).strip() or chunk.tool_call_chunks)
