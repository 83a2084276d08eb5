"""Hugging Face's router: one token, the provider named in the model; answers are read by ChatHuggingFace's own code.

ChatHuggingFace drops what ChatOpenAI keeps: the answering model, the reply's id and the details of its usage. These
are completed from the body, so that a message says the same whichever backend it came from.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core.records import HUGGINGFACE
from llm_executor_nb.providers import chunks, langchain
from llm_executor_nb.providers.backend import chat_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.records import Route
    from llm_executor_nb.providers.chunks import ChunkReader

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class HuggingFace:
    """The wire of Hugging Face's router. No hub look-up is made and no telemetry sent.

    Args:
        base_url: where it listens, without `/chat/completions`.
    """

    name: Final = HUGGINGFACE

    def __init__(self, base_url: str) -> None:
        self.url = chat_url(base_url)

    def headers(self, route: Route) -> Mapping[str, str]:  # noqa: ARG002 - the same for every route
        """Return no headers: the router needs none beside the token."""
        return _NO_HEADERS

    def message(self, body: dict[str, Any], model: str) -> AIMessage:
        """Return the message of an answer, as ChatHuggingFace reads it, completed from the body.

        Raises:
            ValueError: LangChain cannot read it as a message; the reply is malformed.
        """
        message = langchain.read(langchain.huggingface_reader(model), body)
        usage = body.get("usage")
        if isinstance(usage, dict) and usage:
            message.usage_metadata = langchain.usage_reader()(usage)
        message.response_metadata |= {"model_provider": HUGGINGFACE, "model_name": body.get("model") or model}
        if body.get("id"):
            message.response_metadata["id"] = body["id"]
        return message

    def chunk_reader(self, model: str) -> ChunkReader:
        """Return what reads the events of one answer as ChatHuggingFace does, completed from their bodies."""
        return chunks.huggingface_chunks(model)
