"""The functions users call: one prompt goes down a model's chain.

Thin: `make_request` has the parameters of all four and checks the arguments, hence the bare `Any` of their options. The
engine does the rest on the private loop.
"""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, cast

from llm_executor_nb.chain import warmup
from llm_executor_nb.chain.request import make_request, ready_for
from llm_executor_nb.chain.session import session
from llm_executor_nb.chain.stopping import KeptWhenStopped, keep, kept_in_part, stoppable
from llm_executor_nb.core.secret import door
from llm_executor_nb.core.signatures import takes
from llm_executor_nb.engine.bridge import stream_async, stream_sync
from llm_executor_nb.engine.interrupts import interrupts_told
from llm_executor_nb.engine.loop import run_async, run_sync

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk


@takes(make_request)
@door
@stoppable
def run_llm(model_name: str, request: object, **options: Any) -> AIMessage:  # noqa: ANN401, D417
    """Send one request down the model's fallback chain and return LangChain's message as it came.

    Every OpenRouter key is asked in turn, then every Hugging Face token with every provider of the model's row; each
    route gets one attempt and up to three retries. Costs what the answering provider charges. Works inside a running
    event loop and from any thread; Ctrl-C cancels what is in flight.

    Args:
        model_name: a model of the provider table, or an alias such as `gemma`.
        request: a text, a dict with `messages` (call parameters beside it), a list of messages, or a prompt value.
        system: a system message to put in front.
        schema: what the answer must fit: a pydantic class, a dataclass, a TypedDict, a dict of types
            (`{"name": str, "tags": list[str]}`), a list of names (texts; any scalar is taken as a text, null
            as missing), or a JSON Schema (all of it is checked but `format`). A value that converts to a dict's
            types without loss is taken. The object is `message.additional_kwargs["parsed"]`: of the class, else a
            dict. An answer that does not fit is `invalid_output`; the model is asked again and told what is wrong.
            Providers that take a `response_format` are sent one, others get the schema in words.
        accept: called with each answer; after a false result the answer is `rejected`, and the model is asked again.
        policy: what is demanded of the providers, a `Policy`; None: the session's, `Policy()`: nothing.
        service_tier_fallback: ask at the default tier when `service_tier` has no room.
        timeout: seconds one attempt may take; None: as configured (120).
        deadline: seconds the whole run may take; None: as configured (300).
        hedge_s: seconds after which a request that has no reply yet gets a twin on another free route of its tier. The
            first accepted answer wins, and the other request is cancelled. Both may be paid for. A stream and a
            request with tools get none.
        extra_body: fields that only one backend knows, `{"openrouter": {...}}`.
        **params: temperature, max_tokens, top_p, seed, stop, presence_penalty, frequency_penalty, tools,
            tool_choice, response_format, logprobs, reasoning_effort. Nothing is sent that is not set.

    Returns:
        The message (`.content`, `.usage_metadata`, `.response_metadata`); `attempts(message)` shows how it came.

    Raises:
        ModelNotSupportedError: the model is not in the table (a ValueError); nothing was sent.
        ConfigError: an argument is wrong or no key was found; nothing was sent.
        RequestError: a provider refused this request on its merits.
        AllRoutesFailedError: every route failed or is on hold; `.attempts` has each request that was made.
        DeadlineError: the deadline passed; `.attempts` has what was tried.
        JobInterrupted: ■ or Ctrl-C.
    """
    run_request = make_request(model_name, request, **options)
    engine = session().engine()
    return run_sync(lambda: _whole(engine.run(run_request)))


@takes(make_request)
async def arun_llm(model_name: str, request: object, **options: Any) -> AIMessage:  # noqa: ANN401
    """Do what `run_llm` does, awaited from the caller's own event loop; cancelling it cancels the request."""
    with KeptWhenStopped(), interrupts_told():
        await ready_for(model_name, options.get("policy"))
        run_request = make_request(model_name, request, **options)
        engine = session().engine()
        return await run_async(lambda: _whole(engine.run(run_request)))


@takes(make_request)
@door
@stoppable
def stream_llm(model_name: str, request: object, **options: Any) -> Iterator[AIMessageChunk]:  # noqa: ANN401
    """Send one request down the model's fallback chain and yield LangChain's chunks as they come.

    Takes what `run_llm` takes. Other routes take over until the first text was yielded. `timeout` bounds the time to
    the first text and any silence after it. With `schema` or `accept` nothing is yielded before the whole answer is
    accepted; the parsed object is in the last chunk, and so in their sum. Closing the iterator, an exception in the
    loop's body or Ctrl-C closes the connection at once; `llm.last` is the sum of the chunks that had come.

    Yields:
        AIMessageChunk; the last one carries `usage_metadata` and the finish_reason, and their sum is the message.

    Raises:
        StreamInterruptedError: the stream broke after text was yielded; `.partial` is that text.
        LLMExecutorError, JobInterrupted: as `run_llm`. A wrong argument raises at the call, not at the first chunk.
    """
    run_request = make_request(model_name, request, **options)
    engine = session().engine()
    return _read(stream_sync(lambda on_chunk: _whole(engine.run(run_request, on_chunk=on_chunk))))


@takes(make_request)
async def astream_llm(model_name: str, request: object, **options: Any) -> AsyncIterator[AIMessageChunk]:  # noqa: ANN401
    """Do what `stream_llm` does, for `async for` in the caller's loop; arguments are checked at its first step."""
    with kept_in_part() as came:
        with interrupts_told():
            await ready_for(model_name, options.get("policy"))
        run_request = make_request(model_name, request, **options)
        engine = session().engine()
        chunks: AsyncGenerator[AIMessageChunk, None] = stream_async(
            lambda on_chunk: _whole(engine.run(run_request, on_chunk=on_chunk))
        )
        async with aclosing(chunks):  # a reader that leaves ends the request now, not when the generator is collected
            async for chunk in chunks:
                came.append(chunk)
                yield chunk


def _read(chunks: Iterator[AIMessageChunk]) -> Iterator[AIMessageChunk]:
    with kept_in_part() as came, closing(cast("Generator[AIMessageChunk, None, None]", chunks)):
        for chunk in chunks:
            came.append(chunk)
            yield chunk


async def _whole(work: Coroutine[Any, Any, AIMessage]) -> AIMessage:
    # on the private loop: a caller that is stopped now must not lose what was paid for
    return keep(await work)


@door
@stoppable
def chat_model(name: str, **params: Any) -> BaseChatModel:  # noqa: ANN401 - call parameters, checked by name
    """Return the model's fallback chain as a LangChain chat model, for LCEL, agents, tools and structured output.

        prompt | llm.chat_model("gemma", temperature=0) | parser
        langchain.agents.create_agent(llm.chat_model("gemma"), tools=[...])

    Sends nothing yet. Each call walks the chain as `run_llm` does, with the keys and settings of that moment, and
    raises the errors that `run_llm` raises; `attempts(message)` shows how a message came.

    Args:
        name: a model of the provider table, or an alias; `model=` in a call asks another one.
        **params: the call parameters of `run_llm`; `timeout` (seconds of one attempt), `max_retries` (retries of one
            route), `deadline` (seconds of one run), `policy`, `service_tier_fallback`, `extra_body`; and LangChain's
            own: streaming, cache, rate_limiter (once per run, not per attempt), callbacks, tags, metadata,
            output_version, custom_get_token_ids, ...

    Raises:
        ModelNotSupportedError: the model is not in the table.
        ConfigError: an option is unknown or invalid. `api_key` is refused: the key ring has the keys.
    """
    warmup.wait()
    from llm_executor_nb.chain.chat_model import ChatChain  # noqa: PLC0415 - loads LangChain

    session().options.models.resolve(name)  # an unknown name is an error here, not at the first call
    return ChatChain(**{**params, "model": name})
