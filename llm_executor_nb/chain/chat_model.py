"""The chain as a LangChain chat model: wherever a BaseChatModel fits, the chain fits.

Tools, structured output, cache, callbacks and tracing come from BaseChatOpenAI; each request goes to the engine. No
SDK client and no key is here, and no OPENAI_* variable is read.

Importing this module loads LangChain, so only `api.chat_model` does, when it is called. Must not: retry, or hold a key.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import ValidationError, model_validator

from llm_executor_nb.chain.model_options import check_call, check_options
from llm_executor_nb.chain.policies import in_force
from llm_executor_nb.chain.request import make_request, ready_for
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError, ModelNotSupportedError
from llm_executor_nb.engine.bridge import stream_async, stream_sync
from llm_executor_nb.engine.loop import refuse_without_asyncio, run_async, run_sync

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
    from langchain_core.tools import BaseTool

    from llm_executor_nb.engine.request import RunRequest

PROVIDER = "llm_executor_nb"
"""What LangChain's tracing calls the provider; the message's `response_metadata` says which one answered."""
_CHARACTERS_PER_TOKEN = 4
_OUR_ID = "lc_run--"
"""How an id begins that no provider gave; LangChain replaces such an id by its own run's."""
_OF_LLM_OUTPUT = ("token_usage", "model_provider", "model_name", "system_fingerprint", "id")
_NOT_OF_A_REQUEST = ("model", "stream", "extra_body")


class _AsyncioOnly(BaseChatOpenAI):
    """A chat model whose async methods refuse any event loop but asyncio's, and say what to use instead.

    LangChain's own callbacks need asyncio before they reach the chain, and fail elsewhere with an error that does not
    help. The methods not listed go through these: `ainvoke` and `agenerate_prompt` through `agenerate`, `atransform`
    through `astream`.
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
        return _under_asyncio(super().abatch_as_completed(*args, **options))

    def astream(self, *args: Any, **options: Any) -> AsyncGenerator[Any, None]:
        """Do what LangChain's `astream` does, under asyncio."""
        return _under_asyncio(super().astream(*args, **options))

    def astream_log(self, *args: Any, **options: Any) -> AsyncGenerator[Any, None]:
        """Do what LangChain's `astream_log` does, under asyncio."""
        return _under_asyncio(super().astream_log(*args, **options))

    def astream_events(self, *args: Any, **options: Any) -> Any:
        """Do what LangChain's `astream_events` does, under asyncio; its version 3 is awaited, the others iterated."""
        events = super().astream_events(*args, **options)
        return _under_asyncio(events) if isinstance(events, AsyncIterator) else _AwaitedUnderAsyncio(events)


class ChatChain(_AsyncioOnly):
    """A model's fallback chain as a LangChain chat model; `llm_executor_nb.chat_model` makes it.

    Args:
        **options: `model` (a model of the provider table, or an alias), the call parameters of `run_llm`, `timeout`
            (seconds of one attempt), `max_retries` (retries of a route), `deadline` (seconds of one run), `policy`,
            `service_tier_fallback`, `extra_body` (by backend), `streaming`, `output_version`, and what every
            LangChain model takes: cache, callbacks, tags, metadata, rate_limiter, disable_streaming, ...

    Raises:
        ConfigError: an option is unknown or invalid. A key is refused: the key ring has the keys.
    """

    deadline: float | None = None
    policy: Any = None
    service_tier_fallback: bool = False

    def __init__(self, **options: Any) -> None:
        checked = check_options(options, type(self).model_fields, common=BaseChatModel.model_fields)
        try:
            super().__init__(**checked)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]  # its input might be a key
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        else:
            return
        raise ConfigError(f"chat_model cannot be made with this, {reason}.")

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
        """Whether LangChain may serialize it: no, for it depends on keys and settings that stay on this machine."""
        return False

    # --- asking -------------------------------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request, is_parsed = self._request(messages, stop, kwargs)
        engine = session().engine()
        return _result(run_sync(lambda: engine.run(request)), is_parsed=is_parsed)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        await ready_for(kwargs.get("model", self.model_name), self._policy_of(kwargs))
        request, is_parsed = self._request(messages, stop, kwargs)
        engine = session().engine()
        return _result(await run_async(lambda: engine.run(request)), is_parsed=is_parsed)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        request, is_parsed = self._request(messages, stop, kwargs)
        engine, finish = session().engine(), _Generations(is_parsed=is_parsed)
        chunks: Iterator[AIMessageChunk] = stream_sync(lambda on_chunk: engine.run(request, on_chunk=on_chunk))
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
        await ready_for(kwargs.get("model", self.model_name), self._policy_of(kwargs))
        request, is_parsed = self._request(messages, stop, kwargs)
        engine, finish = session().engine(), _Generations(is_parsed=is_parsed)
        chunks: AsyncGenerator[AIMessageChunk, None] = stream_async(
            lambda on_chunk: engine.run(request, on_chunk=on_chunk)
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                yield finish(chunk)

    def _request(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> tuple[RunRequest, bool]:
        """Return what the engine is asked, and whether LangChain's parser will look for the parsed object."""
        bounds, params = check_call(kwargs)
        params = {**self._default_params, **params}
        for name in _NOT_OF_A_REQUEST:  # the route and the engine decide these
            params.pop(name, None)
        # LangChain gives an empty list of stops, or of tools (an agent without tools), where there are none
        params |= {"stop": stop or params.get("stop") or None, "tools": params.get("tools") or None}
        request = make_request(
            bounds.get("model", self.model_name),
            messages,
            policy=self._policy_of(bounds),
            service_tier_fallback=bounds.get("service_tier_fallback", self.service_tier_fallback),
            timeout=bounds.get("timeout", self.request_timeout),
            deadline=bounds.get("deadline", self.deadline),
            extra_body=bounds.get("extra_body", self.extra_body),
            **params,
        )
        retries = bounds.get("max_retries", self.max_retries)
        return replace(request, retries=retries), isinstance(params.get("response_format"), type)

    def _policy_of(self, options: Mapping[str, Any]) -> Any:
        """Return the policy of a call, else the model's own; None: the session's."""
        return self.policy if (given := options.get("policy")) is None else given

    # --- describing -------------------------------------------------------------------------------------

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        """Return what tracing shows and what the cache goes by, with the model that an alias means now."""
        params = super()._get_invocation_params(stop=stop, **kwargs)
        # an answer that was cached under another policy may come from a provider that this one does not allow
        policy = in_force(self._policy_of(kwargs), session().options)
        demanded = {"policy": repr(policy)} if policy else {}
        return {**params, "model": _resolved(params["model"]), **demanded}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        return params

    # --- counting -----------------------------------------------------------------------------------------------

    def get_num_tokens(self, text: str) -> int:
        """Return about how many tokens a text has: a quarter of its characters, unless the model was given a tokenizer.

        Args:
            text: any text.

        `custom_get_token_ids` or `tiktoken_model_name`, given to `chat_model`, make it exact. (tiktoken downloads its
        table at first use, so it is not used unless the user names a model.)
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
        schemas = [json.dumps(convert_to_openai_tool(tool), ensure_ascii=False) for tool in tools or ()]
        if self._has_tokenizer:
            return sum(self.get_num_tokens(text) for text in (*(str(message.text) for message in messages), *schemas))
        return count_tokens_approximately(messages) + sum(map(self.get_num_tokens, schemas))

    @property
    def _has_tokenizer(self) -> bool:
        return self.custom_get_token_ids is not None or self.tiktoken_model_name is not None


async def _under_asyncio(steps: Any) -> AsyncGenerator[Any, None]:
    refuse_without_asyncio()
    async with aclosing(steps):
        async for step in steps:
            yield step


class _AwaitedUnderAsyncio:
    """A coroutine of LangChain's that checks who awaits it.

    It has no frame of its own in between, because LangChain looks for its caller's.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            refuse_without_asyncio()
        except ConfigError:
            self._coroutine.close()  # Python would warn of a coroutine that was never awaited
            raise
        return self._coroutine.__await__()


# --- what LangChain's core takes ------------------------------------------------------------------------------------


class _Generations:
    """Makes LangChain's generations of the chunks of one stream.

    Args:
        is_parsed: whether to put the parsed object into the last chunk.
    """

    def __init__(self, *, is_parsed: bool) -> None:
        self._is_parsed = is_parsed
        self._text = ""

    def __call__(self, chunk: AIMessageChunk) -> ChatGenerationChunk:
        self._text += str(chunk.text)
        is_last = chunk.chunk_position == "last"
        if self._is_parsed and is_last:
            _add_parsed(chunk, self._text)
        _drop_our_id(chunk)
        return ChatGenerationChunk(message=chunk, generation_info=_generation_info(chunk) if is_last else None)


def _result(message: AIMessage, *, is_parsed: bool) -> ChatResult:
    if is_parsed:
        _add_parsed(message, str(message.text))
    _drop_our_id(message)
    metadata = message.response_metadata
    return ChatResult(
        generations=[ChatGeneration(message=message, generation_info=_generation_info(message))],
        llm_output={name: _counts(metadata[name]) for name in _OF_LLM_OUTPUT if name in metadata},
    )


def _counts(value: Any) -> Any:
    """Return a usage without what is not a count, such as a cost: LangChain adds all of it up over several prompts."""
    if not isinstance(value, dict):
        return value
    return {name: _counts(part) for name, part in value.items() if type(part) in (int, dict)}


def _generation_info(message: AIMessage) -> dict[str, Any]:
    metadata = message.response_metadata
    return {name: metadata[name] for name in ("finish_reason", "logprobs") if name in metadata}


def _add_parsed(message: AIMessage, text: str) -> None:
    """Put the object where LangChain's parser looks for it; the parser itself reports a text that is not an object."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return
    if isinstance(parsed, dict):
        message.additional_kwargs["parsed"] = parsed


def _drop_our_id(message: AIMessage) -> None:
    if message.id is not None and message.id.startswith(_OUR_ID):
        message.id = None


def _resolved(name: Any) -> Any:
    try:
        return session().options.models.resolve(name)
    except ModelNotSupportedError:
        return name
