"""A LangChain chat model object of the user's as a backend.

The object brings its own client, so it is asked directly: with the same messages and parameters as every route, within
the same bounds of time. None of its exceptions leaves this module (style 5: they may hold keys).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core import clock
from llm_executor_nb.core.records import FaultKind
from llm_executor_nb.providers.faults import Watch, make_fault
from llm_executor_nb.providers.foreign_errors import read_error
from llm_executor_nb.providers.langchain import as_last_chunk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

    from llm_executor_nb.providers.events import Silence
    from llm_executor_nb.providers.foreign_errors import ErrorReport

_NO_CALLBACKS: Final[Mapping[str, Any]] = MappingProxyType({"callbacks": []})
"""The callbacks of the caller's own LangChain run do not apply to the object's run."""


class ChatModelObject:
    """A LangChain chat model of the user's, asked once per call; in a thread where it is only synchronous.

    Args:
        chat_model: the object. It is not changed: parameters it has as fields are set on a copy.
    """

    def __init__(self, chat_model: Any) -> None:  # noqa: ANN401 - LangChain's Runnable, known by its methods
        self._model = chat_model

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
        late = "no answer in time" if timeout_s is None else f"no answer within {timeout_s:g} s"
        try:
            async with clock.current().timeout(timeout_s):
                return _own_copy(await _Call(self._model, payload, extra).whole())
        except TimeoutError as error:
            return make_fault(FaultKind.TIMEOUT, str(error) or late, Watch())
        except BaseException as error:  # a foreign client raises anything, and none of it may pass
            if _ends_this_task(error):
                raise
            return read_error(error)

    def stream(self, payload: Mapping[str, Any], extra: Mapping[str, Any], silence: Silence) -> ObjectStream:
        """Return a stream; iterating it sends the request, closing it ends it.

        Args:
            payload: the request as every route gets it.
            extra: further keyword arguments for this object.
            silence: how long it may send nothing.
        """
        return ObjectStream(lambda: _Call(self._model, payload, extra).pieces(), silence)


class ObjectStream:
    """The chunks of one answer of an object, iterated once; it never raises what the object does.

    Attributes:
        error: once the iteration is over: what ended it; None: the object did.
    """

    def __init__(self, begin: Callable[[], AsyncGenerator[Any, None]], silence: Silence) -> None:
        self.error: ErrorReport | None = None
        self._begin = begin
        self._silence = silence
        self._source: AsyncGenerator[Any, None] | None = None

    def progress(self) -> None:
        """Note that the last chunk brought something: the silence starts again from zero."""
        self._silence.progress()

    async def close(self) -> None:
        """Close the stream."""
        if self._source is not None:
            with contextlib.suppress(Exception):  # a foreign clean-up may raise anything
                await self._source.aclose()

    def __aiter__(self) -> ObjectStream:
        return self

    async def __anext__(self) -> AIMessageChunk:
        chunk = None
        try:
            if self.error is None:
                chunk = await self._silence.wait(self._next())
        except TimeoutError as error:
            self.error = self._silence.fault_of(TimeoutError(str(error) or "no text in time"), Watch())
        except BaseException as error:  # a foreign client raises anything, and none of it may pass
            if _ends_this_task(error):
                raise
            self.error = read_error(error)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def _next(self) -> AIMessageChunk | None:
        if self._source is None:
            self._source = self._begin()
        piece = await anext(self._source, None)
        return None if piece is None else _as_chunk(piece)


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
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()  # the object's own client may raise CancelledError too
        return task is None or task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | GeneratorExit)
