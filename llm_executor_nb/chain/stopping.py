"""`llm.last`, and the end of a call that is stopped: one line at any moment of it, and what had come is kept.

Each public function that takes time has the decorator `stoppable`. An async one has `with KeptWhenStopped()` in its
body: with a decorator, a wrong call would be refused only when it is awaited. The waits of `engine/` raise
JobInterrupted themselves. Elsewhere, as while a table is read or a frame is made, this module makes one of a
KeyboardInterrupt.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from llm_executor_nb.core.errors import JobInterrupted, LLMExecutorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.messages import AIMessage, AIMessageChunk

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")
_CUT = "Stopped: the connection is closed, and llm.last is the message so far. Run it again to ask again."
_LATE = "Stopped when the result had just come: it is llm.last."
_last: list[Any] = [None]
"""One value: a result, or the chunks of a stream that ended early."""


def keep(value: T) -> T:
    """Keep what a call gave, whole or in part, as `llm.last`; return it."""
    _last[0] = value
    return value


def last() -> Any:  # noqa: ANN401 - a message, a frame or a Series
    """Return what the last call gave: its result, or what had come when it was stopped or failed.

    A call that gave nothing changes nothing.
    """
    if isinstance(_last[0], list):
        keep(message_of(_last[0]))
    return _last[0]


class KeptWhenStopped:
    """Lets an interrupt end a block with JobInterrupted and a short traceback; keeps what an error of ours carries."""

    def __enter__(self) -> None:
        self._before = _last[0]

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, JobInterrupted | LLMExecutorError) and error.result is not None:
            keep(error.result)
        if isinstance(error, KeyboardInterrupt):
            # without the lines of this package where it happened to wait: they help nobody
            raise self._told(error).with_traceback(None) from None

    def _told(self, error: KeyboardInterrupt) -> JobInterrupted:
        told = error if isinstance(error, JobInterrupted) else JobInterrupted()
        if told.result is None and _last[0] is not self._before:
            return JobInterrupted(_LATE, result=last())
        return told


def stoppable(function: Callable[P, R]) -> Callable[P, R]:
    """Run each call of a function within `KeptWhenStopped`."""

    @wraps(function)
    def called(*args: P.args, **options: P.kwargs) -> R:
        with KeptWhenStopped():
            return function(*args, **options)

    return called


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
            keep(came)  # summed when somebody looks: a stream that is collected as Python ends can import nothing
        raise


def message_of(chunks: list[AIMessageChunk]) -> AIMessage:
    """Return the chunks of a stream, one at least, as the message they are."""
    from langchain_core.messages import message_chunk_to_message  # noqa: PLC0415 - it is loaded: there are chunks

    return cast("AIMessage", message_chunk_to_message(chunks[0] + chunks[1:]))
