"""Loads LangChain and the HTTP client before they are needed; who needs them meanwhile waits, and can be interrupted.

Python's own wait for a module that another thread is loading cannot: ■ would have to wait for it, or be lost in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time

from llm_executor_nb.chain.session import session
from llm_executor_nb.engine.loop import refuse_without_asyncio
from llm_executor_nb.providers.payload import make_payload

_SLICE_S = 0.1
_STEP_S = 0.01
_lock = threading.Lock()
_thread: threading.Thread | None = None
_is_loaded = threading.Event()


def begin(*, after_s: float = 0.0) -> None:
    """Begin to load, in a thread of its own; once per process.

    Args:
        after_s: seconds to wait first, so that what is on screen comes before it.
    """
    global _thread  # noqa: PLW0603 - it is loaded once
    with _lock:
        if _thread is None:
            _thread = threading.Thread(target=_load, args=(after_s,), name="llm_executor_nb warm-up", daemon=True)
            _thread.start()


def wait() -> None:
    """Wait for a load that has begun; return at once when none has."""
    if _thread is None or _thread is threading.current_thread():
        return
    while not _is_loaded.wait(_SLICE_S):
        pass


async def loaded() -> None:
    """Load in a thread, not on the caller's event loop; return at once when that was done before.

    Raises:
        ConfigError: there is no such loop, since it is not asyncio that awaits.
    """
    refuse_without_asyncio()
    begin()
    while not _is_loaded.is_set():  # noqa: ASYNC110 - it is set by another thread
        await asyncio.sleep(_STEP_S)


def _load(after_s: float) -> None:
    time.sleep(after_s)
    try:
        with contextlib.suppress(Exception):  # it only saves time; the first call says what is wrong
            make_payload("warm up", {})
            session().engine()
    finally:
        _is_loaded.set()


def _after_fork() -> None:
    global _thread, _lock, _is_loaded
    _thread, _lock, _is_loaded = None, threading.Lock(), threading.Event()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
