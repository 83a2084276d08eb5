"""The wires: every backend that is reached over HTTP, as one row of data.

All of them speak OpenAI's chat completions. A wire differs in its address, in its own headers, and in the LangChain
model whose code reads its answers. A user's own server is a row too.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core.records import CHAT_COMPLETIONS, HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.verdicts.added_parameters import METADATA
from llm_executor_nb.providers import langchain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.policy import Policy
    from llm_executor_nb.providers.langchain import ChunkReader

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_BILL_TO: Final = "X-HF-Bill-To"
"""Names the organisation that Hugging Face charges."""
_OF_OPENROUTER: Final = MappingProxyType({"X-OpenRouter-Title": "llm_executor_nb", METADATA: "enabled"})
"""Tell OpenRouter which program asks, and nothing about the user; and ask it who answered."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One backend that speaks chat completions.

    Attributes:
        name: the backend's name, as in `Route.backend`.
        url: where chat completions are posted.
        headers: headers that this backend gets beside the key.
        message: reads the parsed body of an answer of `model` and does not change it. It raises ValueError when
            LangChain cannot read the body: the reply is malformed.
        chunk_reader: makes what reads the events of one streamed answer of `model`. Each stream needs its own.
    """

    name: str
    url: str
    headers: Mapping[str, str]
    message: Callable[[dict[str, Any], str], AIMessage]
    chunk_reader: Callable[[str], ChunkReader]

    def headers_for(self, policy: Policy, left_out: frozenset[str]) -> Mapping[str, str]:
        """Return the headers of a request with a policy: Hugging Face is told who pays, and nobody else is.

        Args:
            policy: what the request demands.
            left_out: headers of ours that this backend is not sent.
        """
        if policy.bill_to is not None and self.name == HUGGINGFACE:
            return {**self.headers, _BILL_TO: policy.bill_to}
        return self.headers if not left_out else {name: self.headers[name] for name in self.headers.keys() - left_out}


def make_wire(name: str, base_url: str) -> Wire:
    """Return the wire of a backend.

    Args:
        name: `openrouter`, `huggingface`, or the user's name of a server: Ollama, vLLM, LM Studio, a litellm proxy.
        base_url: where it listens, without `/chat/completions`.
    """
    is_huggingface = name == HUGGINGFACE
    return Wire(
        name=name,
        url=base_url.rstrip("/") + CHAT_COMPLETIONS,
        headers=_OF_OPENROUTER if name == OPENROUTER else _NO_HEADERS,
        message=_huggingface_message if is_huggingface else _openai_message,
        chunk_reader=langchain.huggingface_chunks if is_huggingface else langchain.openai_chunks,
    )


def _openai_message(body: dict[str, Any], _model: str) -> AIMessage:
    return langchain.read(langchain.openai_reader(), body)


def _huggingface_message(body: dict[str, Any], model: str) -> AIMessage:
    """Complete what ChatHuggingFace drops, so that a message looks the same whichever backend it came from.

    It drops the answering model, the reply's id and the details of the usage.
    """
    message = langchain.read(langchain.huggingface_reader(model), body)
    usage = body.get("usage")
    if isinstance(usage, dict) and usage:
        message.usage_metadata = langchain.usage_reader()(usage)
    message.response_metadata |= {"model_provider": HUGGINGFACE, "model_name": body.get("model") or model}
    if body.get("id"):
        message.response_metadata["id"] = body["id"]
    return message
