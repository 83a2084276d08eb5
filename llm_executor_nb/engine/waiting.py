"""Waiting for the holds to change, or for a time on the clock, whichever comes first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core import clock

if TYPE_CHECKING:
    from llm_executor_nb.core.holds import Health


async def until_changed(health: Health, until: float | None, seen: int, *, is_exact: bool = False) -> None:
    """Sleep until a time on the clock, or until the holds are other than they were when `seen` was read.

    Args:
        health: the holds.
        until: the time; None: none.
        seen: how often the holds had changed.
        is_exact: a millisecond matters, and is worth some work.
    """
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    unwatch = health.watch(lambda: loop.call_soon_threadsafe(changed.set))
    if health.changes != seen:
        changed.set()
    watching = asyncio.ensure_future(changed.wait())
    waiting: set[asyncio.Future[Any]] = {watching}
    if until is not None:
        time = clock.current()
        sleeping = time.sleep_until(until) if is_exact else time.sleep(max(0.0, until - time.now()))
        waiting.add(asyncio.ensure_future(sleeping))
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unwatch()
        for task in waiting:
            task.cancel()
