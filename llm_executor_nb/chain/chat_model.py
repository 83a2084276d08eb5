"""The chain as a LangChain chat model: wherever a BaseChatModel fits, the chain fits.

Tools, structured output, cache, callbacks and tracing come from BaseChatOpenAI; each request goes to the engine. There
is no SDK client and no key here, and no OPENAI_* variable is read.

Importing this module loads LangChain, so only `api.chat_model` does, when it is called. Must not: retry, or hold a key.
"""

from __future__ import annotations

import json
import math
from contextlib import aclosing, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ValidationError, model_validator

from llm_executor_nb.chain import warmup
from llm_executor_nb.chain.model_options import check_call, check_options
from llm_executor_nb.chain.request import make_request
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError, ModelNotSupportedError
from llm_executor_nb.engine.bridge import pump_async, pump_sync
from llm_executor_nb.engine.loop import run_async, run_sync
from llm_executor_nb.engine.only_asyncio import OnlyAsyncio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
    from langchain_core.tools import BaseTool

    from llm_executor_nb.engine.request import RunRequest

PROVIDER = "llm_executor_nb"
"""What tracing calls the provider; who answered stands in the message's `response_metadata`."""
_CHARACTERS_PER_TOKEN = 4
_OURS = "lc_run--"
"""What an id begins with that no provider gave; LangChain then puts its own run's id there."""
_OF_LLM_OUTPUT = ("token_usage", "model_provider", "model_name", "system_fingerprint", "id")
_NOT_OF_A_REQUEST = ("model", "stream", "extra_body")


class ChatChain(OnlyAsyncio):
    """A model's fallback chain as a LangChain chat model; `llm_executor_nb.chat_model` makes it.

    Args:
        **options: `model` (a model of the provider table, or an alias), the call parameters of `run_llm`, `timeout`
            (seconds of one attempt), `max_retries` (retries of a route), `deadline` (seconds of one run),
            `extra_body` (by backend), `streaming`, `output_version`, and what every LangChain model takes: cache,
            callbacks, tags, metadata, rate_limiter, disable_streaming, ...

    Raises:
        ConfigError: an option is unknown or cannot be right. A key is refused: keys are kept by the key ring.
    """

    deadline: float | None = None

    def __init__(self, **options: Any) -> None:
        checked = check_options(options, type(self).model_fields, common=BaseChatModel.model_fields)
        try:
            super().__init__(**checked)
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False)[0]
            words = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
        else:
            return
        raise ConfigError(f"chat_model cannot be made with this, {words}.")

    @model_validator(mode="before")
    @classmethod
    def validate_temperature(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take the place of a validator that changes the temperature of some OpenAI models."""
        return values

    @model_validator(mode="after")
    def validate_environment(self) -> ChatChain:
        """Take the place of the validator that makes SDK clients and reads OPENAI_*."""
        return self

    @property
    def _llm_type(self) -> str:
        return PROVIDER

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Say no: what it does depends on keys and settings that stay on this machine."""
        return False

    # --- asking -------------------------------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        ask, is_parsed = self._ask(messages, stop, kwargs)
        engine = session().engine()
        return _result(run_sync(lambda: engine.run(ask)), is_parsed=is_parsed)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        await warmup.loaded()
        ask, is_parsed = self._ask(messages, stop, kwargs)
        engine = session().engine()
        return _result(await run_async(lambda: engine.run(ask)), is_parsed=is_parsed)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        ask, is_parsed = self._ask(messages, stop, kwargs)
        engine, finish = session().engine(), _Finisher(is_parsed=is_parsed)
        chunks: Iterator[AIMessageChunk] = pump_sync(lambda hand_on: engine.run(ask, hand_on=hand_on))
        with closing(chunks):  # type: ignore[type-var] # a generator
            for chunk in chunks:
                yield finish(chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        await warmup.loaded()
        ask, is_parsed = self._ask(messages, stop, kwargs)
        engine, finish = session().engine(), _Finisher(is_parsed=is_parsed)
        chunks: AsyncGenerator[AIMessageChunk, None] = pump_async(lambda hand_on: engine.run(ask, hand_on=hand_on))
        async with aclosing(chunks):
            async for chunk in chunks:
                yield finish(chunk)

    def _ask(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> tuple[RunRequest, bool]:
        """Return the engine's order, and whether LangChain's parser will look for the parsed object.

        LangChain gives an empty list where there is none: of stops, and of tools (an agent without tools).
        """
        bounds, params = check_call(kwargs)
        params = {**self._default_params, **params}
        for name in _NOT_OF_A_REQUEST:
            params.pop(name, None)
        params |= {"stop": stop or params.get("stop") or None, "tools": params.get("tools") or None}
        ask = make_request(
            bounds.get("model", self.model_name),
            messages,
            timeout=bounds.get("timeout", self.request_timeout),
            deadline=bounds.get("deadline", self.deadline),
            extra_body=bounds.get("extra_body", self.extra_body),
            **params,
        )
        retries = bounds.get("max_retries", self.max_retries)
        return replace(ask, retries=retries), isinstance(params.get("response_format"), type)

    # --- what is told of it -------------------------------------------------------------------------------------

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        """What tracing shows and the cache goes by: an alias is told with the model it means now."""
        params = super()._get_invocation_params(stop=stop, **kwargs)
        return {**params, "model": _resolved(params["model"])}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        return params

    # --- counting -----------------------------------------------------------------------------------------------

    def get_num_tokens(self, text: str) -> int:
        """Return about how many tokens a text has: four characters are one, unless the model was given a tokenizer.

        Args:
            text: any text.

        `custom_get_token_ids` or `tiktoken_model_name`, given to `chat_model`, make it exact. (tiktoken downloads its
        table at first use; nothing is looked up without having been asked for.)
        """
        if self._has_tokenizer:
            return len(self.get_token_ids(text))
        return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the tokens of a text.

        Raises:
            ConfigError: the model was given no tokenizer.
        """
        if not self._has_tokenizer:
            raise ConfigError(
                "The chain has no tokenizer of its own. Give one: llm.chat_model(name, custom_get_token_ids=function), "
                "or tiktoken_model_name='gpt-4o' if its tokens are near enough.",
            )
        return super().get_token_ids(text)

    def get_num_tokens_from_messages(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
        **_: Any,
    ) -> int:
        """Return about how many tokens messages have, and tools with them.

        Args:
            messages: the messages; an image counts as LangChain counts one.
            tools: anything `bind_tools` takes.
        """
        told = [json.dumps(convert_to_openai_tool(tool), ensure_ascii=False) for tool in tools or ()]
        if self._has_tokenizer:
            return sum(self.get_num_tokens(text) for text in (*(str(one.text) for one in messages), *told))
        return count_tokens_approximately(messages) + sum(map(self.get_num_tokens, told))

    @property
    def _has_tokenizer(self) -> bool:
        return self.custom_get_token_ids is not None or self.tiktoken_model_name is not None


class _Finisher:
    """Makes of the engine's chunks what LangChain's core takes.

    Args:
        is_parsed: put the parsed object into the last chunk.
    """

    def __init__(self, *, is_parsed: bool) -> None:
        self._is_parsed = is_parsed
        self._text = ""

    def __call__(self, chunk: AIMessageChunk) -> ChatGenerationChunk:
        self._text += str(chunk.text)
        is_last = chunk.chunk_position == "last"
        if self._is_parsed and is_last:
            _add_parsed(chunk, self._text)
        _give_up_our_id(chunk)
        return ChatGenerationChunk(message=chunk, generation_info=_generation_info(chunk) if is_last else None)


def _result(message: AIMessage, *, is_parsed: bool) -> ChatResult:
    if is_parsed:
        _add_parsed(message, str(message.text))
    _give_up_our_id(message)
    told = message.response_metadata
    return ChatResult(
        generations=[ChatGeneration(message=message, generation_info=_generation_info(message))],
        llm_output={name: _counts(told[name]) for name in _OF_LLM_OUTPUT if name in told},
    )


def _counts(told: Any) -> Any:
    """Return a usage without what is no count, such as a cost: LangChain adds all of it up over several prompts."""
    if not isinstance(told, dict):
        return told
    return {name: _counts(value) for name, value in told.items() if type(value) in (int, dict)}


def _generation_info(message: AIMessage) -> dict[str, Any]:
    told = message.response_metadata
    return {name: told[name] for name in ("finish_reason", "logprobs") if name in told}


def _add_parsed(message: AIMessage, text: str) -> None:
    """Put the object where LangChain's parser looks for it; what is none, the parser reports."""
    try:
        found = json.loads(text)
    except ValueError:
        return
    if isinstance(found, dict):
        message.additional_kwargs["parsed"] = found


def _give_up_our_id(message: AIMessage) -> None:
    if message.id is not None and message.id.startswith(_OURS):
        message.id = None


def _resolved(name: Any) -> Any:
    try:
        return session().options.models.resolve(name)
    except ModelNotSupportedError:
        return name
