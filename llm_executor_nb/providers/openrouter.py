"""OpenRouter: one key, many providers behind it; its answers are read by ChatOpenAI's own code."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.providers import chunks, langchain
from llm_executor_nb.providers.backend import chat_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.records import Route
    from llm_executor_nb.providers.chunks import ChunkReader

_ATTRIBUTION: Final = MappingProxyType({"X-OpenRouter-Title": "llm_executor_nb"})


class OpenRouter:
    """The wire of OpenRouter.

    Args:
        base_url: where it listens, without `/chat/completions`.
    """

    name: Final = OPENROUTER

    def __init__(self, base_url: str) -> None:
        self.url = chat_url(base_url)

    def headers(self, route: Route) -> Mapping[str, str]:  # noqa: ARG002 - the same for every route
        """Return the attribution header: which program asks, and nothing of the user."""
        return _ATTRIBUTION

    def message(self, body: dict[str, Any], model: str) -> AIMessage:  # noqa: ARG002 - the body says who answered
        """Return the message of an answer, as ChatOpenAI reads it.

        Raises:
            ValueError: LangChain cannot read it as a message; the reply is malformed.
        """
        return langchain.read(langchain.openai_reader(), body)

    def chunk_reader(self, model: str) -> ChunkReader:  # noqa: ARG002 - the chunks say who answers
        """Return what reads the events of one answer as ChatOpenAI does."""
        return chunks.openai_chunks()
