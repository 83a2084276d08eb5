"""Brings a stream from the private loop to its reader: a thread that iterates, or another event loop.

The producer runs on the private loop and waits when the reader is far behind. A reader that leaves its loop early
cancels the producer, which closes the connection at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llm_executor_nb.core.errors import ConfigError, JobInterrupted
from llm_executor_nb.engine.interrupts import interruptible, interrupts_told
from llm_executor_nb.engine.loop import (
    WAIT_SLICE_S,
    drained,
    drained_async,
    ending_in_silence,
    loop_from_outside,
    main_loop,
    ticking,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
    from typing import TypeAlias

    from llm_executor_nb.engine.loop import PrivateLoop

T = TypeVar("T")
Produce: TypeAlias = "Callable[[Callable[[T], Awaitable[None]]], Coroutine[Any, Any, object]]"
"""Makes the work of a producer, given the function that takes each of its pieces."""

HIGH_WATER = 64
"""Pieces that wait for the reader before the producer waits."""


class _Channel(Generic[T]):
    """The pieces on their way from a producer to its reader.

    Args:
        thread: whose loop the pieces come from.
        wake: called on that loop when there is something to see.
    """

    def __init__(self, thread: PrivateLoop, wake: Callable[[], object]) -> None:
        self.ended = threading.Event()
        self._wake = wake
        self._pieces: deque[T] = deque()
        self._has_room = asyncio.Event()
        self._thread = thread

    async def fill(self, produce: Produce[T]) -> None:
        """Run the producer to its end."""
        try:
            await produce(self._put)
        finally:
            self.ended.set()
            self._wake()

    @property
    def is_flowing(self) -> bool:
        """Whether more may come.

        Raises:
            ConfigError: this process was forked from the one that reads the connection.
        """
        if not self._thread.is_ours:
            raise ConfigError(
                "This stream belongs to the process that began it, and this process was forked from that one. "
                "Begin another stream here: llm.stream_llm(...).",
            )
        return not self.ended.is_set()

    @property
    def is_to_be_cancelled(self) -> bool:
        """Whether a reader that leaves has to cancel the producer; a forked copy of a reader must not."""
        return self._thread.is_ours and not self.ended.is_set()

    def drain(self) -> Iterator[T]:
        """Yield the pieces there are."""
        while self._pieces:
            piece = self._pieces.popleft()
            # half empty, not one below: the producer would wake for each piece
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


def stream_sync(produce: Produce[T]) -> Iterator[T]:
    """Yield what a producer on the private loop puts, in the calling thread.

    Raises:
        ConfigError: the caller is the private loop itself.
        JobInterrupted: the wait for a piece was interrupted, and the producer is cancelled.
    """
    thread, wake = loop_from_outside(), threading.Semaphore(0)
    channel: _Channel[T] = _Channel(thread, wake.release)
    future = thread.submit(channel.fill(produce))
    try:
        while channel.is_flowing:
            yield from channel.drain()
            with interruptible():
                wake.acquire(timeout=WAIT_SLICE_S)  # not for ever: Ctrl-C arrives between two waits
        yield from channel.drain()
        with ending_in_silence(thread):
            future.result()
    except KeyboardInterrupt:
        raise JobInterrupted from None
    finally:
        if channel.is_to_be_cancelled:
            future.cancel()
            drained(channel.ended)


async def stream_async(produce: Produce[T]) -> AsyncGenerator[T, None]:
    """Yield what a producer on the private loop puts, in the caller's event loop."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the reader's loop may have been closed meanwhile
            loop.call_soon_threadsafe(woken.set)

    thread = main_loop()
    channel: _Channel[T] = _Channel(thread, wake)
    future = thread.submit(channel.fill(produce))
    try:
        with interrupts_told(), ticking():
            while channel.is_flowing:
                for piece in channel.drain():
                    yield piece
                await woken.wait()
                woken.clear()
        for piece in channel.drain():
            yield piece
        with ending_in_silence(thread):
            await asyncio.wrap_future(future)
    finally:
        if channel.is_to_be_cancelled:
            future.cancel()
            await drained_async(channel.ended)
