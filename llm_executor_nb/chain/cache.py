"""What look-ups found, each kept for a while; one look-up serves all who ask for the same at the same time.

Lives on the private loop, so nothing here locks. Must not: ask anybody itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from llm_executor_nb.core import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

T = TypeVar("T")


class TTLCache:
    """A memory of findings by what was asked."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[float, float, Any]] = {}
        self._asking: dict[Hashable, asyncio.Task[Any]] = {}

    async def get(
        self,
        what: Hashable,
        ask: Callable[[], Coroutine[Any, Any, T]],
        *,
        keep_s: Callable[[T], float],
        fresh: bool = False,
    ) -> T:
        """Return what was found before, or ask; who asks while somebody else does waits for the same answer.

        Args:
            what: what is asked.
            ask: asks it.
            keep_s: says for how many seconds a finding may be kept.
            fresh: ask in any case.
        """
        now = clock.current().now()
        since, until, found = self._kept.get(what, (now, now, None))
        if not fresh and since <= now < until:
            return found  # type: ignore[no-any-return] # it was found for the same `what`
        asking = self._asking.get(what)
        if asking is None or asking.done() or asking.get_loop() is not asyncio.get_running_loop():
            asking = self._begin(what, ask, keep_s)
        return await asyncio.shield(asking)

    def _begin(
        self, what: Hashable, ask: Callable[[], Coroutine[Any, Any, T]], keep_s: Callable[[T], float]
    ) -> asyncio.Task[T]:
        async def find() -> T:
            found = await ask()
            now = clock.current().now()
            self._kept[what] = (now, now + keep_s(found), found)
            return found

        asking = asyncio.ensure_future(find())
        self._asking[what] = asking
        asking.add_done_callback(lambda done: self._end(what, done))
        return asking

    def _end(self, what: Hashable, done: asyncio.Task[Any]) -> None:
        if self._asking.get(what) is done:
            del self._asking[what]
        if not done.cancelled():
            done.exception()  # seen here too, in case everybody who waited for it was cancelled
