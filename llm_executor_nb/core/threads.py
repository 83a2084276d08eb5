"""Daemon threads: for functions that may never return, and for an event loop.

Python waits for the threads of its own executors before it ends. These threads it leaves behind, so the process ends
although a function hangs in one of them. Must not: know what is run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Work: TypeAlias = "tuple[Future[Any], Callable[[], Any]]"

_loops: weakref.WeakSet[LoopThread] = weakref.WeakSet()
_left_behind: list[LoopThread] = []
"""Loops of the parent in a forked child; they are kept, because collecting one would close the parent's sockets."""
_CLEAN_UP_S = 1.0
"""Seconds that work may take to end when its loop ends."""
T = TypeVar("T")
P = ParamSpec("P")


class DaemonThreads(ThreadPoolExecutor):
    """An executor of daemon threads; it starts one for each function that finds no idle thread.

    Their number has no bound. A function that hangs keeps its thread, and must not take the place of another. A
    function that asks a model waits for others, so a small pool would lock up.

    Args:
        name: the name of the threads.
    """

    def __init__(self, name: str) -> None:
        super().__init__(1)  # asyncio insists on this class; nothing of it is used
        self._name = name
        self._waiting: SimpleQueue[Work] = SimpleQueue()
        self._idle = threading.Semaphore(0)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in an idle thread, or in a new one."""
        future: Future[T] = Future()
        self._waiting.put((future, partial(fn, *args, **kwargs)))
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        return future

    def _serve(self) -> None:
        while True:
            _carry_out(*self._waiting.get())
            self._idle.release()


def _carry_out(future: Future[T], function: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the result
        future.set_exception(error)
        del future  # the error's traceback holds this frame: a circle would keep all that it refers to


def _give_up(work: Coroutine[Any, Any, Any]) -> None:
    """Cancel the task that work has become on this loop; close work that has become none."""
    for task in asyncio.all_tasks():
        if task.get_coro() is work:
            task.cancel()
            return
    work.close()


class LoopThread:
    """An event loop in a daemon thread of its own.

    Args:
        name: the name of the thread; threads for functions are called the same, and "callback".
    """

    def __init__(self, name: str) -> None:
        self.pid = os.getpid()
        self._selector = selectors.DefaultSelector()  # ours, so that a forked child can close its copy
        self.loop = asyncio.SelectorEventLoop(self._selector)
        self.loop.set_default_executor(DaemonThreads(f"{name} callback"))
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self.loop.close()
            raise
        _loops.add(self)

    def _serve(self) -> None:
        """Run the loop until it is stopped.

        A user's own function may raise SystemExit or KeyboardInterrupt, and asyncio lets these out of the loop. Their
        caller gets them from the work that they ended; all other work still needs the loop.
        """
        asyncio.set_event_loop(self.loop)
        while True:
            with contextlib.suppress(SystemExit, KeyboardInterrupt):
                self.loop.run_forever()
                break
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            self._end_tasks()
        self.loop.close()

    def _end_tasks(self) -> None:
        """Cancel what still runs, such as a model object whose backend was removed, and let it clean up."""
        if tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=_CLEAN_UP_S))

    @property
    def is_alive(self) -> bool:
        """Whether it can take work."""
        return self._thread.is_alive() and not self.loop.is_closed()

    @property
    def is_ours(self) -> bool:
        """Whether it belongs to this process, not to the one that this was forked from."""
        return self.pid == os.getpid()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this very thread."""
        return threading.get_ident() == self._thread.ident

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start work on the loop, with the context variables of the caller; interrupted in here, it is cancelled."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self.loop)
        except KeyboardInterrupt:
            # nobody has its future, and it may run already: a job would go on, and cost money, unseen
            self.loop.call_soon_threadsafe(_give_up, work)
            raise

    def stop(self, wait_s: float = 0.0) -> None:
        """Stop the loop and close it; wait no longer than `wait_s` seconds for what it does at the moment."""
        if self.is_ours and self.is_alive:
            self.loop.call_soon_threadsafe(self.loop.stop)
        if wait_s:
            self._thread.join(wait_s)

    def forget(self) -> None:
        """In a forked child: give up the parent's loop without touching the parent's sockets."""
        # the parent's tasks are collected here too, and asyncio would report each as destroyed while pending
        self.loop.set_exception_handler(lambda *_: None)
        self._selector.close()


class OwnLoop:
    """An event loop for one object of the user's, started at first need: the object may block it, and no other."""

    def __init__(self) -> None:
        self._thread: LoopThread | None = None

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await work that runs on this loop. Who leaves does not wait for it: it is cancelled there when it can be."""
        return await asyncio.wrap_future(self.begin(work))

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start work on this loop; always call it from the same thread."""
        if self._thread is None or not self._thread.is_ours:
            self._thread = LoopThread("llm_executor_nb chat model")
            weakref.finalize(self, self._thread.stop).atexit = False
        return self._thread.submit(work)


def _after_fork() -> None:
    for thread in list(_loops):
        thread.forget()
        _left_behind.append(thread)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
