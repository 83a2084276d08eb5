"""`llm.last`, and the end of a call that is stopped: one line at any moment of it, and what had come is kept.

Each public function that takes time is stoppable. That adds nothing to what is raised below it, except where an
interrupt comes between the waits of `engine/`, as in a table that is read or a frame that is made.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from llm_executor_nb.core.errors import JobInterrupted, LLMExecutorError
from llm_executor_nb.engine.interrupts import interrupts_told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.messages import AIMessage, AIMessageChunk

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")
_CUT = "Stopped: the connection is closed, and llm.last is the message so far. Run it again to ask again."
_last: list[Any] = [None]


def keep(value: T) -> T:
    """Keep what a call gave, whole or in part, as `llm.last`; return it."""
    _last[0] = value
    return value


def last() -> Any:  # noqa: ANN401 - a message, a frame or a Series
    """Return what the last call gave: its result, or what had come when it was stopped or failed.

    A call that gave nothing changes nothing.
    """
    return _last[0]


def stoppable(function: Callable[P, R]) -> Callable[P, R]:
    """Let an interrupt end a function with JobInterrupted and a short traceback; keep what an error of ours carries."""
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def awaited(*args: P.args, **options: P.kwargs) -> Any:  # noqa: ANN401 - what the function returns
            try:
                with interrupts_told():
                    return await function(*args, **options)
            except (JobInterrupted, LLMExecutorError) as error:
                _keep_part(error)
                raise

        return cast("Callable[P, R]", awaited)

    @wraps(function)
    def called(*args: P.args, **options: P.kwargs) -> R:
        try:
            return function(*args, **options)
        except (JobInterrupted, LLMExecutorError) as error:
            _keep_part(error)
            raise
        except KeyboardInterrupt:
            raise JobInterrupted from None

    return called


def _keep_part(error: JobInterrupted | LLMExecutorError) -> None:
    if isinstance(error, JobInterrupted):
        error.__traceback__ = None  # the lines of this package where it happened to wait help nobody
    if error.result is not None:
        keep(error.result)


@contextmanager
def kept_in_part() -> Iterator[list[AIMessageChunk]]:
    """Yield a list for the chunks of a stream. When the stream ends early, `llm.last` is their sum."""
    came: list[AIMessageChunk] = []
    try:
        yield came
    except KeyboardInterrupt:
        if not came:
            raise JobInterrupted from None
        raise JobInterrupted(_CUT, result=keep(message_of(came))) from None
    except BaseException:
        if came:
            keep(message_of(came))
        raise


def message_of(chunks: list[AIMessageChunk]) -> AIMessage:
    """Return the chunks of a stream, one at least, as the message they are."""
    from langchain_core.messages import message_chunk_to_message  # noqa: PLC0415 - it is loaded: there are chunks

    return cast("AIMessage", message_chunk_to_message(chunks[0] + chunks[1:]))
