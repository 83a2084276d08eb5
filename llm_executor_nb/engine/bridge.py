"""A stream from the private loop to whoever reads it: a thread that iterates, or another event loop.

The producer runs on the private loop and waits when the reader is far behind. Leaving the reader's loop early cancels
the producer, which closes the connection at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.engine.loop import (
    WAIT_SLICE_S,
    drained,
    drained_async,
    ending_in_silence,
    main_loop,
    refuse_own_loop,
    ticking,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator

    from llm_executor_nb.engine.loop import LoopThread

T = TypeVar("T")

HIGH_WATER = 64
"""Pieces that wait for the reader before the producer waits."""


class _Pipe(Generic[T]):
    """The pieces on their way, and who is told of them.

    Args:
        thread: whose loop the pieces come from.
        wake: called from that loop when there is something to see.
    """

    def __init__(self, thread: LoopThread, wake: Callable[[], object]) -> None:
        self.ended = threading.Event()
        self._wake = wake
        self._pieces: deque[T] = deque()
        self._has_room = asyncio.Event()
        self._thread = thread

    async def fill(self, produce: Callable[[Callable[[T], Awaitable[None]]], Coroutine[Any, Any, object]]) -> None:
        """Run the producer to its end."""
        try:
            await produce(self._put)
        finally:
            self.ended.set()
            self._wake()

    @property
    def is_flowing(self) -> bool:
        """Say whether more may come.

        Raises:
            ConfigError: not in this process, which was forked from the one that reads the connection.
        """
        if not self._thread.is_ours:
            raise ConfigError(
                "This stream belongs to the process that began it, not to this one, which was forked from it. "
                "Begin another here: llm.stream_llm(...).",
            )
        return not self.ended.is_set()

    @property
    def is_to_be_cancelled(self) -> bool:
        """Say whether the producer is still at work, for a reader that leaves; a forked copy of one has no say."""
        return self._thread.is_ours and not self.ended.is_set()

    def drain(self) -> Iterator[T]:
        """Yield the pieces there are."""
        while self._pieces:
            piece = self._pieces.popleft()
            if len(self._pieces) == HIGH_WATER // 2:
                self._thread.loop.call_soon_threadsafe(self._has_room.set)
            yield piece

    async def _put(self, piece: T) -> None:
        self._pieces.append(piece)
        self._wake()
        if len(self._pieces) >= HIGH_WATER:
            self._has_room.clear()
            while len(self._pieces) >= HIGH_WATER:
                await self._has_room.wait()


def pump_sync(produce: Callable[[Callable[[T], Awaitable[None]]], Coroutine[Any, Any, object]]) -> Iterator[T]:
    """Yield what a producer on the private loop puts, in the calling thread.

    Args:
        produce: called with the function that takes each piece.

    Raises:
        ConfigError: the caller is the private loop itself.
    """
    refuse_own_loop()
    thread, told = main_loop(), threading.Semaphore(0)
    pipe: _Pipe[T] = _Pipe(thread, told.release)
    future = thread.submit(pipe.fill(produce))
    try:
        while pipe.is_flowing:
            yield from pipe.drain()
            told.acquire(timeout=WAIT_SLICE_S)
        yield from pipe.drain()
        with ending_in_silence(thread):
            future.result()
    finally:
        if pipe.is_to_be_cancelled:
            future.cancel()
            drained(pipe.ended)


async def pump_async(
    produce: Callable[[Callable[[T], Awaitable[None]]], Coroutine[Any, Any, object]],
) -> AsyncGenerator[T, None]:
    """Yield what a producer on the private loop puts, in the caller's event loop.

    Args:
        produce: called with the function that takes each piece.
    """
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the reader's loop may have been closed meanwhile
            loop.call_soon_threadsafe(told.set)

    thread = main_loop()
    pipe: _Pipe[T] = _Pipe(thread, wake)
    future = thread.submit(pipe.fill(produce))
    try:
        with ticking():
            while pipe.is_flowing:
                for piece in pipe.drain():
                    yield piece
                await told.wait()
                told.clear()
        for piece in pipe.drain():
            yield piece
        with ending_in_silence(thread):
            await asyncio.wrap_future(future)
    finally:
        if pipe.is_to_be_cancelled:
            future.cancel()
            await drained_async(pipe.ended)
