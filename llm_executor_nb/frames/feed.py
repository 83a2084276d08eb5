"""Draws a job's requests from its rows, each once; rows that ask the same share what the first of them comes to.

In the order of the rows, so that a frame fills from its top. While a route is in doubt, at random: rows that fail by
themselves may stand together, and one from elsewhere then shows that the route answers.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llm_executor_nb.frames.prompts import Prompts
    from llm_executor_nb.frames.requests import Request, RequestMaker


_TRIES = 32
"""Random looks for a row that was not drawn, before the next in order is taken."""


class Feed:
    """The requests of a job.

    Args:
        prompts: the rows.
        maker: makes the requests.
        share: called with a row and the first row that asks the same.
    """

    def __init__(self, prompts: Prompts, maker: RequestMaker, share: Callable[[int, int], None]) -> None:
        self._prompts, self._maker, self._share = prompts, maker, share
        self._next = 0
        self._out_of_order: set[int] = set()
        self._put_back: deque[Request] = deque()
        self._firsts: dict[bytes, int] = {}
        self._dice = random.Random(len(prompts))  # noqa: S311 - no secret; the same frame is drawn the same way

    @property
    def is_dry(self) -> bool:
        """Whether all rows were drawn."""
        return self._next >= len(self._prompts) and not self._put_back

    def put_back(self, requests: Iterable[Request]) -> None:
        """Take back requests that were not begun."""
        self._put_back.extend(requests)

    def take(self, count: int) -> list[Request]:
        """Return the next requests that no row before asked, at most `count`."""
        found = [self._put_back.popleft() for _ in range(min(count, len(self._put_back)))]
        while len(found) < count and self._next < len(self._prompts):
            start, self._next = self._next, min(self._next + count - len(found), len(self._prompts))
            for position, content in enumerate(self._prompts.window(start, self._next), start):
                if content is not None and position not in self._out_of_order:
                    found += self._drawn(self._maker.make(position, content))
        if self._next >= len(self._prompts):
            self._firsts.clear()  # no row is left that could ask the same
        return found

    def take_at_random(self) -> list[Request]:
        """Return one request of those that are left; none if the row that was drawn shares another's."""
        left = len(self._prompts) - self._next
        if self._dice.randrange(left + len(self._put_back)) < len(self._put_back):
            self._put_back.rotate(self._dice.randrange(len(self._put_back)))
            return [self._put_back.popleft()]
        for _ in range(_TRIES):
            position = self._next + self._dice.randrange(left)
            if self._prompts.is_asked[position] and position not in self._out_of_order:
                self._out_of_order.add(position)
                (content,) = self._prompts.window(position, position + 1)
                return self._drawn(self._maker.make(position, content))
        return self.take(1)

    def _drawn(self, request: Request) -> list[Request]:
        first = self._firsts.setdefault(request.wanted.digest, request.position)
        if first == request.position:
            return [request]
        self._share(request.position, first)
        return []
