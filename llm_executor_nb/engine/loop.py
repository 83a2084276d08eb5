"""One private event loop in one daemon thread, on which everything is sent.

A sync call submits its work and waits; an async call awaits it from its own loop. Ctrl-C or ■ cancels the work. The
loop is made at first need. It belongs to this process (a fork makes its own), and ends with it without a message.

The globals below are needed because a process has one loop: `_main` is that loop, `_lock` guards its making, `_is_over`
says that Python shuts down, and `_last_calls` are made at its end.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llm_executor_nb.core.errors import ConfigError, JobInterrupted
from llm_executor_nb.core.threads import LoopThread
from llm_executor_nb.engine.interrupts import interruptible, interrupts_told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from types import FrameType

T = TypeVar("T")

WAIT_SLICE_S = 0.2
"""Seconds of one wait; Ctrl-C arrives between two waits where a lock cannot be interrupted (Windows)."""
_TICK_S = 0.1
"""Seconds between ticks in a user's loop, so that an interrupt reaches an await there."""
_DRAIN_S = 1.0
_DRAIN_STEP_S = 0.002
"""Seconds that cancelled work may take to end, and between two looks at whether it has."""
_ASYNCIO, _TRIO = "asyncio.", "trio."
"""How the names of the modules begin that drive a coroutine."""


class PrivateLoop(LoopThread):
    """The loop that everything is sent on, and what is closed with it."""

    def __init__(self) -> None:
        self.is_ending = False
        self._closers: list[Callable[[], Awaitable[None]]] = []
        super().__init__("llm_executor_nb")

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Register what is awaited before the loop ends, such as closing a session."""
        self._closers.append(close)

    def cancel_work(self) -> None:
        """Cancel what runs and wait for it to end, a second at most."""
        self.is_ending = True
        self._wait_for(_cancelled())

    def end(self) -> None:
        """Close what is open, stop the loop; takes two seconds at most."""
        self._wait_for(self._closed())
        self.stop(_DRAIN_S)

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(Exception):  # at the end of the process an error helps nobody
            self.submit(work).result(timeout=_DRAIN_S)

    async def _closed(self) -> None:
        await _cancelled()  # what other threads have begun meanwhile
        for close in self._closers:
            await close()


async def _cancelled() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_lock = threading.Lock()
_main: PrivateLoop | None = None
_is_over = False
_last_calls: list[Callable[[], object]] = []


def main_loop() -> PrivateLoop:
    """Return the process's loop thread, started at first need.

    Raises:
        ConfigError: Python is shutting down.
    """
    global _main  # noqa: PLW0603 - one loop a process is the point
    with _lock:
        if _main is None or not _main.is_alive:
            _main = _started()
        return _main


def _started() -> PrivateLoop:
    if not _is_over:
        try:
            return PrivateLoop()
        except RuntimeError:  # no thread can be started: there are too many, or Python shuts down (from 3.12 on)
            if threading.main_thread().is_alive():
                raise
    raise ConfigError(
        "Python is shutting down, and llm_executor_nb's event loop with it; nothing was sent. Make the call before "
        "the program ends; an atexit handler may make one if a call was made before, and it was registered after that.",
    )


def run_sync(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run work on the private loop and wait for it in the calling thread.

    Raises:
        ConfigError: the caller is the private loop itself, so waiting would never end.
        JobInterrupted: the wait was interrupted, and the work is cancelled.
    """
    thread = loop_from_outside()
    call = _Call(work, thread.loop)
    try:
        with ending_in_silence(thread), interruptible():
            return call.result()
    except KeyboardInterrupt:
        raise JobInterrupted from None
    finally:
        call.give_up()


class _Call(Generic[T]):
    """Work on a loop, for which one thread waits.

    A lock is all that the two share: a future of `concurrent.futures` and its callbacks would cost each call by hand a
    fifteenth of its CPU.

    Args:
        work: makes the coroutine.
        loop: where it runs, with the context variables of the caller.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop) -> None:
        self._work, self._loop = work, loop
        self._task: asyncio.Task[T] | None = None
        self._is_given_up = False
        self._running = threading.Lock()
        self._running.acquire()  # until the work is over

    def result(self) -> T:
        """Start the work, wait for it, and return or raise what came of it."""
        self._loop.call_soon_threadsafe(self._begin)
        while not self._running.acquire(timeout=WAIT_SLICE_S):
            pass
        assert self._task is not None  # noqa: S101 - it is over
        if self._task.cancelled():
            raise CancelledError
        return self._task.result()

    def give_up(self) -> None:
        """Cancel the work if it runs, and wait, a second at most, until it has closed its connections."""
        if self._task is not None and self._task.done():
            return
        self._loop.call_soon_threadsafe(self._cancel)
        self._running.acquire(timeout=_DRAIN_S)

    def _begin(self) -> None:
        if not self._is_given_up:
            self._task = self._loop.create_task(self._run())
            self._task.add_done_callback(self._over)

    async def _run(self) -> T:
        return await self._work()

    def _cancel(self) -> None:
        self._is_given_up = True
        if self._task is None:
            self._running.release()
        else:
            self._task.cancel()

    def _over(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # else asyncio would complain if the caller has left
        self._running.release()


async def _tracked(work: Callable[[], Coroutine[Any, Any, T]], ended: threading.Event) -> T:
    try:
        return await work()
    finally:
        ended.set()  # the future is cancelled at once, the work itself only here


async def run_async(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run work on the private loop and await it in the caller's loop; cancelling one cancels the other.

    Raises:
        ConfigError: asyncio is not what awaits it.
        JobInterrupted: an interrupt cancelled it.
    """
    refuse_without_asyncio()
    thread = main_loop()
    if thread.is_current:  # a callback of ours awaits another call
        return await work()
    ended = threading.Event()
    future = thread.submit(_tracked(work, ended))
    try:
        with interrupts_told(), ending_in_silence(thread), ticking():
            return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        await drained_async(ended)
        raise


@contextlib.contextmanager
def ending_in_silence(thread: PrivateLoop) -> Iterator[None]:
    """End a waiting daemon thread without a traceback when the process ends and its work is cancelled."""
    try:
        yield
    except (CancelledError, asyncio.CancelledError):
        if thread.is_ending:
            raise SystemExit from None
        raise


def loop_from_outside() -> PrivateLoop:
    """Return the process's loop thread to a caller that will wait for it.

    Raises:
        ConfigError: the caller is the private loop itself.
    """
    if not (thread := main_loop()).is_current:
        return thread
    raise ConfigError(
        "llm_executor_nb's own event loop runs this callback and cannot wait for itself. Use `await "
        "llm.arun_llm(...)` here; in a function that cannot await, such as a handler of the log, "
        "`asyncio.ensure_future(llm.arun_llm(...))`, or ask in another thread.",
    )


def refuse_without_asyncio() -> None:
    """Refuse to be awaited by anything but asyncio: nothing else understands its futures.

    Raises:
        ConfigError: trio awaits it, or plain code drives it.
    """
    if not _is_on_asyncio():
        raise ConfigError(
            "llm_executor_nb's async functions need asyncio, and something else awaits here; nothing was sent. "
            "Under trio use `await trio.to_thread.run_sync(llm.run_llm, model, request)` (with df.llm.run or another "
            "function that is not async in the same way); in plain code llm.run_llm, or asyncio.run(...).",
        )


def _is_on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return "trio" not in sys.modules or _is_asyncio_nearest()


def _is_asyncio_nearest() -> bool:
    """Whether asyncio awaits, not trio, where one may run inside the other: a notebook cell may call `trio.run`."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - only the frames say who awaits
    while frame is not None:
        name = frame.f_globals.get("__name__") or ""
        if name.startswith((_ASYNCIO, _TRIO)):
            return name.startswith(_ASYNCIO)
        frame = frame.f_back
    return True


def drained(ended: threading.Event) -> None:
    """Wait, a second at most, until cancelled work on the private loop has closed its connections."""
    ended.wait(_DRAIN_S)


async def drained_async(ended: threading.Event) -> None:
    """Do what `drained` does, in an event loop."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while not ended.is_set():  # noqa: ASYNC110 - it is set by another thread
                await asyncio.sleep(_DRAIN_STEP_S)


@contextlib.contextmanager
def ticking() -> Iterator[None]:
    """Keep the caller's event loop ticking, so that an interrupt reaches what it awaits."""
    ticker = asyncio.ensure_future(_tick())
    try:
        yield
    finally:
        ticker.cancel()


async def _tick() -> None:
    while True:  # noqa: ASYNC110 - the ticking is the purpose
        await asyncio.sleep(_TICK_S)


def _after_fork() -> None:
    global _main, _lock  # noqa: PLW0603 - a fork copies them in an unusable state
    _lock = threading.Lock()
    _main = None


def between_work_and_loop(close: Callable[[], object]) -> None:
    """Register what is called when the process ends: after all work has ended, and before the loop does."""
    _last_calls.append(close)


@atexit.register
def _at_exit() -> None:
    """End in the order that loses nothing: jobs, then the ledgers that take their last answers, then the loop."""
    global _is_over  # noqa: PLW0603 - a process ends once
    _is_over = True
    thread = _main if _main is not None and _main.is_alive and _main.is_ours else None
    if thread is not None:
        thread.cancel_work()
    for close in _last_calls:
        close()
    if thread is not None:
        thread.end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
