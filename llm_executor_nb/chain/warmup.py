"""Loads LangChain and the HTTP client in a thread, before a call needs them or when it does.

A call that waits for them says so, and is interruptible. An import in the call's own thread is neither: ■ would leave
modules that are loaded in part, or would have no effect while another thread imports the same module.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from llm_executor_nb.chain.session import session
from llm_executor_nb.engine.interrupts import interruptible
from llm_executor_nb.engine.loop import refuse_without_asyncio
from llm_executor_nb.providers.payload import make_payload
from llm_executor_nb.view.live import frontend, noted

if TYPE_CHECKING:
    from collections.abc import Iterator

LOADING = "loading LangChain, once per session …"
SOON_S = 0.3
"""Seconds after the import, or after `%load_ext`: the cell that has it must not wait for LangChain."""
_SLICE_S = 0.1
_STEP_S = 0.01
_thread: threading.Thread | None = None
_is_needed = threading.Event()
_telling = threading.Lock()


def begin_in_a_kernel() -> None:
    """Start loading soon if this process is an IPython kernel: the first call comes in a later cell, if not in this."""
    if frontend() == "kernel":
        begin(after_s=SOON_S)


def begin(*, after_s: float = 0.0) -> None:
    """Start loading in a thread of its own, once per process.

    Args:
        after_s: seconds to wait first, unless a call waits, so that what is on the screen is drawn before it.
    """
    global _thread  # noqa: PLW0603 - modules are loaded once per process
    if _thread is None:  # two callers at once start two threads, of which one finds everything loaded
        thread = threading.Thread(target=_load, args=(after_s,), name="llm_executor_nb warm-up", daemon=True)
        with contextlib.suppress(RuntimeError):  # Python shuts down, and the caller loads in its own thread
            thread.start()
            _thread = thread


def is_loading() -> bool:
    """Whether a call has to wait now."""
    # not in a forked child, where no thread of the parent goes on
    return _thread is None or (_thread.is_alive() and _thread is not threading.current_thread())


def wait(*, is_told: bool = True) -> None:
    """Load in a thread and wait for it; return at once when everything is loaded.

    Args:
        is_told: whether the wait says why it lasts.
    """
    if not is_loading():
        return
    begin()
    _is_needed.set()
    with _told(is_told=is_told), interruptible():
        while _thread is not None and _thread.is_alive():
            _thread.join(_SLICE_S)


async def loaded(*, is_told: bool = True) -> None:
    """Do what `wait` does, awaited from the caller's event loop.

    Raises:
        ConfigError: the caller's loop is not asyncio's.
    """
    refuse_without_asyncio()
    if not is_loading():
        return
    begin()
    _is_needed.set()
    with _told(is_told=is_told):
        while _thread is not None and _thread.is_alive():  # noqa: ASYNC110 - a thread has no awaitable end
            await asyncio.sleep(_STEP_S)


@contextlib.contextmanager
def _told(*, is_told: bool) -> Iterator[None]:
    # a cell's display is made in its own thread, and of many calls at once one says it
    is_told = is_told and threading.current_thread() is threading.main_thread()
    if not is_told or not _telling.acquire(blocking=False):
        yield
        return
    try:
        with noted(LOADING):
            yield
    finally:
        _telling.release()


def _load(after_s: float) -> None:
    _is_needed.wait(after_s)
    with contextlib.suppress(Exception):  # this only saves time; the first call raises what is wrong
        make_payload("warm up", {})
        session().engine()
