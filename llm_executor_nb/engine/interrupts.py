"""What ■ and Ctrl-C do to a caller that waits: one JobInterrupted, whether it blocks a thread or awaits.

An event loop that owns the main thread, as a kernel's or `asyncio.run`'s, has a handler of SIGINT of its own. It turns
an interrupt into a cancellation of what is awaited. Only a handler of ours above it tells that cancellation from one by
a timeout or by the user's code.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import signal
import threading
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import JobInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


@contextlib.contextmanager
def interrupts_told() -> Iterator[None]:
    """Raise JobInterrupted where an interrupt cancels what the caller awaits; a cancellation by code stays one."""
    with _interrupts.counted() as told:
        try:
            yield
        except asyncio.CancelledError as error:
            if isinstance(error, JobInterrupted) or not (_interrupts.count > told or _interrupts.is_of_kernel()):
                raise
            _interrupts.told = _interrupts.count
            raise JobInterrupted from None


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let an interrupt end a wait that blocks a running event loop, whose handler takes effect only after the wait."""
    if not _has_loop() or not _interrupts.is_needed():
        yield
        return
    with _interrupts.counted():
        before, _interrupts.is_raised = _interrupts.is_raised, True
        try:
            yield
        finally:
            _interrupts.is_raised = before


class _Interrupts:
    """A handler of SIGINT that counts, above the one of a running event loop.

    Attributes:
        count: the interrupts that came.
        told: how many of them a caller was told of. One that came at the end of a call cancels the next await.
        is_raised: whether the next one raises KeyboardInterrupt too.
    """

    def __init__(self) -> None:
        self.count = self.told = 0
        self.is_raised = False
        self._users = 0
        self._below: Callable[[int, FrameType | None], Any] = signal.default_int_handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self._below(number, frame)
        if self.is_raised:
            raise KeyboardInterrupt

    def is_needed(self) -> bool:
        """Whether an interrupt does something else than raise KeyboardInterrupt here."""
        handler = signal.getsignal(signal.SIGINT)
        is_here = threading.current_thread() is threading.main_thread()
        return is_here and callable(handler) and handler is not signal.default_int_handler

    def is_of_kernel(self) -> bool:
        """Whether ipykernel took an interrupt in this cell, perhaps before this handler stood above its own."""
        if not self.is_needed() or not inspect.isfunction(self._below):
            return False
        # private: where it is missing, such an interrupt stays the cancellation that the kernel makes of it
        taken = inspect.getclosurevars(self._below).nonlocals.get("sigint_future")
        return isinstance(taken, asyncio.Future) and taken.done() and not taken.cancelled()

    @contextlib.contextmanager
    def counted(self) -> Iterator[int]:
        """Count the interrupts meanwhile; yield how many of those that came sooner were told."""
        if not self.is_needed():
            yield self.count
            return
        self._users += 1
        handler: Any = signal.getsignal(signal.SIGINT)
        if handler is not self:
            if handler is not self._below:  # a kernel sets a new one for each cell that awaits
                self._below, self.told = handler, self.count
            signal.signal(signal.SIGINT, self)
        try:
            yield self.told
        finally:
            self._users -= 1
            handler = signal.getsignal(signal.SIGINT)
            if not self._users and handler is self:
                signal.signal(signal.SIGINT, self._below)


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


_interrupts = _Interrupts()
