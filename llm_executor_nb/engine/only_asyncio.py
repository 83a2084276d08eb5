"""LangChain's async methods, refused at their first step where it is not asyncio that awaits them.

LangChain's own callbacks need asyncio before they reach the chain, and end elsewhere in words that help nobody.
Importing this module loads LangChain, so only `chat_model` does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from langchain_openai.chat_models.base import BaseChatOpenAI

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.engine.loop import refuse_without_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Generator


class OnlyAsyncio(BaseChatOpenAI):
    """A chat model whose async methods say what to use instead where they cannot work.

    The others go through these: `ainvoke` and `agenerate_prompt` through `agenerate`, `atransform` through `astream`.
    """

    async def agenerate(self, *args: Any, **options: Any) -> Any:
        """Do what LangChain's `agenerate` does, under asyncio."""
        refuse_without_asyncio()
        return await super().agenerate(*args, **options)

    async def abatch(self, *args: Any, **options: Any) -> Any:
        """Do what LangChain's `abatch` does, under asyncio."""
        refuse_without_asyncio()
        return await super().abatch(*args, **options)

    def abatch_as_completed(self, *args: Any, **options: Any) -> AsyncGenerator[Any, None]:
        """Do what LangChain's `abatch_as_completed` does, under asyncio."""
        return _steps(super().abatch_as_completed(*args, **options))

    def astream(self, *args: Any, **options: Any) -> AsyncGenerator[Any, None]:
        """Do what LangChain's `astream` does, under asyncio."""
        return _steps(super().astream(*args, **options))

    def astream_log(self, *args: Any, **options: Any) -> AsyncGenerator[Any, None]:
        """Do what LangChain's `astream_log` does, under asyncio."""
        return _steps(super().astream_log(*args, **options))

    def astream_events(self, *args: Any, **options: Any) -> Any:
        """Do what LangChain's `astream_events` does, under asyncio: its version 3 is awaited, those before iterated."""
        coming = super().astream_events(*args, **options)
        return _steps(coming) if isinstance(coming, AsyncIterator) else _Awaited(coming)


async def _steps(coming: Any) -> AsyncGenerator[Any, None]:
    refuse_without_asyncio()
    async with aclosing(coming):
        async for one in coming:
            yield one


class _Awaited:
    """A coroutine of LangChain's with a look at who awaits it, and nobody in between: LangChain looks for itself."""

    def __init__(self, coming: Coroutine[Any, Any, Any]) -> None:
        self._coming = coming

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            refuse_without_asyncio()
        except ConfigError:
            self._coming.close()  # one that is never awaited would be warned of
            raise
        return self._coming.__await__()
