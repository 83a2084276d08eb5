"""How many requests may be in flight at once in this process: each connection takes a file descriptor.

Without this bound, many calls at once would use up the descriptors, and their failures would look like the providers'.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Final

_FREE: Final = 32
"""Requests that need no look at the limit: every process may open so many connections."""
_MOST: Final = 4096
"""Requests at once, whatever the process may open: a machine has some 28,000 ports for all its programs."""
_MOST_ON_WINDOWS: Final = 200
"""The same where an event loop takes 512 sockets."""
_SHARE: Final = 0.4
"""The part of the free descriptors that is used: a call may leave an idle connection and open one to another host."""


class OpenFiles:
    """Lets a request wait while as many are in flight as the process may open connections; of one event loop."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._most = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if not self._queue and self._has_room():
            self._in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the turn came together with the cancellation
                self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._in_flight -= 1
        while self._queue and self._has_room():
            turn = self._queue.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)

    def _has_room(self) -> bool:
        if self._in_flight == _FREE:  # not for each request: to count the open files takes a while
            self._most = _free_connections()
        return self._in_flight < _FREE or self._in_flight < self._most


def _free_connections() -> int:
    """Return how many connections this process may open now."""
    if sys.platform == "win32":
        return _MOST_ON_WINDOWS
    import resource  # noqa: PLC0415 - Windows has none

    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - loads at the first burst

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _MOST
    return min(_MOST, int((limit - psutil.Process().num_fds()) * _SHARE))
