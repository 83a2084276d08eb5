"""Loads LangChain and the HTTP client before they are needed. A call that needs them meanwhile waits interruptibly.

Python's own wait for a module that another thread imports is not interruptible: ■ would have no effect until its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

from llm_executor_nb.chain.session import session
from llm_executor_nb.engine.loop import refuse_without_asyncio
from llm_executor_nb.providers.payload import make_payload

_SLICE_S = 0.1
_STEP_S = 0.01
_thread: threading.Thread | None = None


def begin(*, after_s: float = 0.0) -> None:
    """Start loading in a thread of its own, once per process.

    Args:
        after_s: seconds to wait first, so that what is on the screen is drawn before it.
    """
    global _thread  # noqa: PLW0603 - modules are loaded once per process
    if _thread is None:  # two callers at once start two threads, of which one finds everything loaded
        thread = threading.Thread(target=_load, args=(after_s,), name="llm_executor_nb warm-up", daemon=True)
        thread.start()
        _thread = thread


def wait() -> None:
    """Wait for a load that has begun; return at once when none has."""
    if _thread is None or _thread is threading.current_thread():
        return
    while _thread.is_alive():  # false in a forked child too, where no thread of the parent goes on
        _thread.join(_SLICE_S)


async def loaded() -> None:
    """Load in a thread, not on the caller's event loop; return at once when everything is loaded.

    Raises:
        ConfigError: the caller's loop is not asyncio's.
    """
    refuse_without_asyncio()
    begin()
    while _thread is not None and _thread.is_alive():  # noqa: ASYNC110 - a thread has no awaitable end
        await asyncio.sleep(_STEP_S)


def _load(after_s: float) -> None:
    time.sleep(after_s)
    with contextlib.suppress(Exception):  # this only saves time; the first call raises what is wrong
        make_payload("warm up", {})
        session().engine()
