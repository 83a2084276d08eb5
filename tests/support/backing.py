"""A user's own backends in a test: practice providers for the rest of the chain, and a backend as a model's route."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator  # noqa: TC003 - pydantic's models name it
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool

import llm_executor_nb as llm
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.testing import fake_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY, TOKEN = "sk-or-v1-backing-0001", "hf_backingtoken0001"
DEAD_KEY = "openrouter: 401"


@contextmanager
def practice_providers() -> Iterator[Callable[..., RehearsalServer]]:
    """Give a test what starts practice providers; whatever is asked of OpenRouter and Hugging Face goes there."""
    running = []

    def start(script=""):
        server = RehearsalServer(script, openrouter_keys=[KEY], huggingface_tokens=[TOKEN]).start()
        running.append(server)
        llm.configure(openrouter_base_url=server.openrouter_url, huggingface_base_url=server.huggingface_url)
        return server

    yield start
    for server in running:
        server.stop()


def only(name: str, model: str = "m", **kwargs: Any) -> None:
    """Make a backend the only route of a model."""
    llm.add_backend(name, **kwargs)
    llm.models.add(model, providers=[name], openrouter=False)


def behind_a_key(name: str = "mine", **kwargs: Any) -> None:
    """Put a backend behind an OpenRouter key, as the routes of the model `m`."""
    llm.configure(openrouter_keys=[KEY])
    llm.add_backend(name, **kwargs)
    llm.MODEL_INFERENCE_PROVIDERS["m"] = [name]


def failing(error: BaseException) -> Any:
    """Return a chat model object that raises."""

    def answer(_):
        raise error

    return fake_model(answer)


class ResponseError(Exception):
    """As Ollama's client raises it."""

    def __init__(self, error, status_code=-1):
        super().__init__(error)
        self.error, self.status_code = error, status_code


class OllamaLike(BaseChatModel):
    """Speaks as ChatOllama does: `done_reason`, usage at the end, tools bound without a choice, its client's errors.

    Attributes:
        text: what it answers when it calls no tool.
        arguments: what it calls the first of its tools with, unless a tool has answered already.
        error: what it raises instead.
    """

    text: str = "from Ollama"
    arguments: Any = None
    error: Any = None

    @property
    def _llm_type(self) -> str:
        return "chat-ollama"

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:  # noqa: ARG002 - as ChatOllama
        return super().bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise AssertionError("asked on the loop, it is asked by _agenerate")

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        pieces = [piece.message async for piece in self._astream(messages, stop, run_manager, **kwargs)]
        whole = reduce(add, pieces)
        fields = whole.model_dump(include={"content", "tool_calls", "usage_metadata", "response_metadata"})
        return ChatResult(generations=[ChatGeneration(message=AIMessage(**fields))])

    async def _astream(self, messages: Any, *_: Any, tools: Any = (), **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        if self.error is not None:
            raise self.error
        if tools and not any(isinstance(message, ToolMessage) for message in messages):
            name, arguments = tools[0]["function"]["name"], json.dumps(self.arguments)
            call = {"name": name, "args": arguments, "id": "call-1", "index": 0, "type": "tool_call_chunk"}
            yield ChatGenerationChunk(message=AIMessageChunk("", tool_call_chunks=[call]))
        else:
            for character in self.text:
                yield ChatGenerationChunk(message=AIMessageChunk(character))
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                "",
                usage_metadata={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
                response_metadata={"model": "gemma3:27b", "done": True, "done_reason": "stop", "eval_count": 4},
            )
        )
