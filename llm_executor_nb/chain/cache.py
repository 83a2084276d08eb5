"""A cache of look-ups with an end for each reply. One look-up serves all who need the same reply at the same time.

It lives on the private loop, so it needs no lock. It must not send anything itself.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, TypeVar

from llm_executor_nb.core import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

T = TypeVar("T")


class TTLCache:
    """Replies by the question."""

    def __init__(self) -> None:
        self._replies: dict[Hashable, tuple[float, float, Any]] = {}
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}

    async def get(
        self,
        key: Hashable,
        look_up: Callable[[], Coroutine[Any, Any, T]],
        *,
        keep_s: Callable[[T], float],
        fresh: bool = False,
        max_age_s: float = math.inf,
    ) -> T:
        """Return the cached reply, or look it up; join a look-up of the same reply that is under way.

        Args:
            key: what is looked up.
            look_up: sends the question.
            keep_s: returns for how many seconds a reply may be cached.
            fresh: look it up in any case.
            max_age_s: look it up where the cached reply is older.
        """
        now = clock.current().now()
        since, until, reply = self._replies.get(key, (now, now, None))
        if not fresh and since <= now < min(until, since + max_age_s):
            return reply  # type: ignore[no-any-return] # the reply to the same question
        task = self._under_way.get(key)
        # a task of another loop never ends here: that loop may be gone, as after a fork
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._begin(key, look_up, keep_s)
        return await asyncio.shield(task)  # others wait for it too, so the cancellation of one must not end it

    def _begin(
        self, key: Hashable, look_up: Callable[[], Coroutine[Any, Any, T]], keep_s: Callable[[T], float]
    ) -> asyncio.Task[T]:
        async def look_up_and_keep() -> T:
            reply = await look_up()
            now = clock.current().now()
            self._replies[key] = (now, now + keep_s(reply), reply)
            return reply

        task = asyncio.ensure_future(look_up_and_keep())
        self._under_way[key] = task
        task.add_done_callback(lambda done: self._end(key, done))
        return task

    def _end(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        if self._under_way.get(key) is done:
            del self._under_way[key]
        if not done.cancelled():
            done.exception()  # retrieved here too: all who waited may have been cancelled, and asyncio would complain
