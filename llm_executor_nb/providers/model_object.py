"""A LangChain chat model object of the user's as a backend.

The object brings its own client, so it is asked directly: with the same messages and parameters as every route, within
the same bounds of time. None of its exceptions leaves this module (style 5: they may hold keys).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from llm_executor_nb.core import clock
from llm_executor_nb.core.records import Fault, FaultKind, Reply
from llm_executor_nb.providers.faults import Watch, make_fault
from llm_executor_nb.providers.foreign_errors import read_error
from llm_executor_nb.providers.langchain import as_last_chunk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

    from llm_executor_nb.core.threads import OwnLoop
    from llm_executor_nb.providers.events import Silence
    from llm_executor_nb.providers.foreign_errors import ErrorReport

T = TypeVar("T")
_NO_CALLBACKS: Final[Mapping[str, Any]] = MappingProxyType({"callbacks": []})
"""The callbacks of the caller's own LangChain run do not apply to the object's run."""


class ChatModelObject:
    """A LangChain chat model of the user's, asked once per call on its own loop, never on the loop of all calls.

    Args:
        chat_model: the object. It is not changed: parameters it has as fields are set on a copy.
        loop: where it runs; a synchronous one runs in a thread of it.
    """

    def __init__(self, chat_model: Any, loop: OwnLoop) -> None:  # noqa: ANN401 - LangChain's Runnable, known by its methods
        self._model = chat_model
        self._loop = loop

    @property
    def kind(self) -> type:
        """The class of the object."""
        return type(self._model)

    async def answer(
        self, payload: Mapping[str, Any], extra: Mapping[str, Any], *, timeout_s: float | None
    ) -> AIMessage | ErrorReport:
        """Ask for a whole answer; return it, or what came instead.

        Args:
            payload: the request as every route gets it.
            extra: further keyword arguments for this object.
            timeout_s: seconds until it is cancelled; None: no bound.
        """
        try:
            async with clock.current().timeout(timeout_s):
                return _returned(await self._loop.run(_outcome(_answer(self._model, payload, extra))))
        except TimeoutError:
            late = "no answer in time" if timeout_s is None else f"no answer within {timeout_s:g} s"
            return make_fault(FaultKind.TIMEOUT, late, Watch())

    def stream(self, payload: Mapping[str, Any], extra: Mapping[str, Any], silence: Silence) -> ObjectStream:
        """Return a stream; iterating it sends the request, closing it ends it.

        Args:
            payload: the request as every route gets it.
            extra: further keyword arguments for this object.
            silence: how long it may send nothing.
        """
        return ObjectStream(_pieces(self._model, payload, extra), silence, self._loop)


class ObjectStream:
    """The chunks of one answer of an object, iterated once; it never raises what the object does.

    Attributes:
        error: once the iteration is over: what ended it; None: the object did.
    """

    def __init__(self, source: AsyncGenerator[AIMessageChunk, None], silence: Silence, loop: OwnLoop) -> None:
        self.error: ErrorReport | None = None
        self._source = source
        self._silence = silence
        self._loop = loop

    def progress(self) -> None:
        """Note that the last chunk brought something: the silence starts again from zero."""
        self._silence.progress()

    def close(self) -> None:
        """Close the stream; it may take its time, so this waits for nothing."""
        self._loop.begin(_outcome(self._source.aclose()))

    def __aiter__(self) -> ObjectStream:
        return self

    async def __anext__(self) -> AIMessageChunk:
        chunk = None
        try:
            if self.error is None:
                coming = self._loop.run(_outcome(_next(self._source)))
                chunk = _returned(await self._silence.wait(coming))
        except TimeoutError:
            self.error = self._silence.fault_of(TimeoutError("no text in time"), Watch())
        if isinstance(chunk, Reply | Fault | dict):
            self.error, chunk = chunk, None
        if chunk is None:
            raise StopAsyncIteration
        return chunk


async def _outcome(work: Awaitable[T]) -> T | ErrorReport | KeyboardInterrupt:
    """Return what an object returns, or what its exception means: none of them may leave the object's loop."""
    try:
        return await work
    except KeyboardInterrupt as error:
        return error
    except BaseException as error:  # a foreign client raises anything, and none of it may pass
        if _ends_this_task(error):
            raise
        return read_error(error)


def _returned(outcome: T | ErrorReport | KeyboardInterrupt) -> T | ErrorReport:
    """Return what came of a call; raise the one exception that means to end the program."""
    if isinstance(outcome, KeyboardInterrupt):
        raise outcome
    return outcome


async def _answer(chat_model: Any, payload: Mapping[str, Any], extra: Mapping[str, Any]) -> AIMessage:  # noqa: ANN401 - see above
    return _own_copy(await _Call(chat_model, payload, extra).whole())


async def _pieces(
    chat_model: Any,  # noqa: ANN401 - see above
    payload: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> AsyncGenerator[AIMessageChunk, None]:
    async with _closing(_Call(chat_model, payload, extra).pieces()) as pieces:
        async for piece in pieces:
            yield _as_chunk(piece)


async def _next(source: AsyncGenerator[T, None]) -> T | None:
    return await anext(source, None)


class _Call:
    """One request, in the form that the object takes. It raises whatever the object raises."""

    def __init__(self, chat_model: Any, payload: Mapping[str, Any], extra: Mapping[str, Any]) -> None:  # noqa: ANN401 - see above
        params = {name: value for name, value in {**payload, **extra}.items() if name != "messages"}
        tools, choice = params.pop("tools", None), params.pop("tool_choice", None)
        fields = getattr(type(chat_model), "model_fields", {})
        # LangChain's models read a parameter that is a field of theirs from the field; `stop` is an argument of all.
        settings = {name: params.pop(name) for name in list(params) if name in fields and name != "stop"}
        self._model = chat_model.model_copy(update=settings) if settings else chat_model
        if tools:
            self._model = _with_tools(self._model, tools, choice)
        self._messages = _messages_of(payload)
        self._params = {**params, "config": dict(_NO_CALLBACKS)}

    async def whole(self) -> Any:  # noqa: ANN401 - whatever the object returns
        if hasattr(self._model, "ainvoke"):
            return await self._model.ainvoke(self._messages, **self._params)
        return await _in_thread(lambda: self._model.invoke(self._messages, **self._params))

    async def pieces(self) -> AsyncGenerator[Any, None]:
        if hasattr(self._model, "astream"):
            async with _closing(self._model.astream(self._messages, **self._params)) as source:
                async for piece in source:
                    yield piece
        elif hasattr(self._model, "stream"):
            iterator = self._model.stream(self._messages, **self._params)
            while (piece := await _in_thread(lambda: next(iterator, None))) is not None:
                yield piece
        else:
            yield await self.whole()


def _messages_of(payload: Mapping[str, Any]) -> list[BaseMessage]:
    from langchain_core.messages import convert_to_messages  # noqa: PLC0415 - loads on first use

    return convert_to_messages(payload["messages"])


def _with_tools(chat_model: Any, tools: Any, choice: Any) -> Any:  # noqa: ANN401 - a Runnable, known by its methods
    if not hasattr(chat_model, "bind_tools"):
        raise NotImplementedError("this chat model takes no tools")
    if choice is None:
        return chat_model.bind_tools(tools)
    # LangChain's clients take a tool's name and "any"; each writes its own provider's form of them.
    if isinstance(choice, Mapping):
        choice = choice.get("function", {}).get("name", choice)
    return chat_model.bind_tools(tools, tool_choice="any" if choice == "required" else choice)


def _own_copy(message: Any) -> AIMessage:  # noqa: ANN401 - whatever the object returned
    """Return a copy of the message: the run writes its metadata on it, and the object may keep its own message."""
    from langchain_core.messages import AIMessage  # noqa: PLC0415 - loads on first use

    if not isinstance(message, AIMessage):
        what = "; give a chat model, not a plain LLM" if isinstance(message, str) else ""
        raise TypeError(f"the chat model returned {type(message).__name__}, not an AIMessage{what}")
    return message.model_copy(update={"response_metadata": dict(message.response_metadata)})


def _as_chunk(piece: Any) -> AIMessageChunk:  # noqa: ANN401 - whatever the object yielded
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

    message = _own_copy(piece)
    return message if isinstance(message, AIMessageChunk) else as_last_chunk(message)


async def _in_thread(function: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it returns
    def call() -> Any:  # noqa: ANN401 - the same
        try:
            return function()
        except (StopIteration, GeneratorExit) as error:
            # A future refuses the first, and the second would end the generator that waits for it.
            raise RuntimeError(f"the chat model raised {type(error).__name__}") from error

    return await asyncio.to_thread(call)


@contextlib.asynccontextmanager
async def _closing(source: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - an async iterator of the object's
    try:
        yield source
    finally:
        if hasattr(source, "aclose"):
            await source.aclose()


def _ends_this_task(error: BaseException) -> bool:
    """Whether an exception ends this task: it was cancelled from outside, and the object did not raise it."""
    task = asyncio.current_task()  # the object's own client may raise CancelledError too
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)
