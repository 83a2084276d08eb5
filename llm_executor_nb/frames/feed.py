"""Draws a job's requests from its rows, each once; rows that ask the same share what the first of them comes to.

A frame fills from its top, a block of rows at a time. Within a block the rows are drawn at random: rows that fail by
themselves mostly stand together, and those among them that are answered show that the route is well. While a route is
in doubt, rows are drawn from anywhere.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llm_executor_nb.frames.prompts import Prompts
    from llm_executor_nb.frames.requests import Request, RequestMaker

_BLOCK = 512
_TRIES = 32
"""Random looks for a row that was not drawn, before the next in turn is taken."""


class Feed:
    """The requests of a job.

    Args:
        prompts: the rows.
        maker: makes the requests.
        share: called with a row and the first row that asks the same.
        keeps_order: draw the rows of a block in turn. Answers that are drawn anew are numbered as they are stored, so
            that two processes at one frame buy the fewest twice when they go through it alike. `take_at_random` draws
            from anywhere all the same.
    """

    def __init__(
        self, prompts: Prompts, maker: RequestMaker, share: Callable[[int, int], None], *, keeps_order: bool
    ) -> None:
        self._prompts, self._maker, self._share = prompts, maker, share
        self._next = 0
        self._block: list[tuple[int, object]] = []
        self._out_of_turn: set[int] = set()
        self._put_back: deque[Request] = deque()
        self._firsts: dict[bytes, int] = {}
        self._dice = random.Random(len(prompts))  # noqa: S311 - no secret; the same frame is drawn the same way
        self.keeps_order = keeps_order

    @property
    def is_dry(self) -> bool:
        """Whether all rows were drawn."""
        return self._is_at_end and not self._block and not self._put_back

    def put_back(self, requests: Iterable[Request]) -> None:
        """Take back requests that were not begun."""
        self._put_back.extend(requests)

    def take(self, count: int) -> list[Request]:
        """Return the next requests that no row before asked, at most `count`."""
        found = [self._put_back.popleft() for _ in range(min(count, len(self._put_back)))]
        while len(found) < count and (self._block or not self._is_at_end):
            if not self._block:
                self._open_block()
            while self._block and len(found) < count:
                found += self._drawn(*self._block.pop())
        self._forget_at_end()
        return found

    def take_at_random(self) -> list[Request]:
        """Return one request of those that are left; none if the row that was drawn shares another's."""
        beyond = len(self._prompts) - self._next
        number = self._dice.randrange(len(self._put_back) + len(self._block) + beyond)
        if number < len(self._put_back):
            self._put_back.rotate(-number)
            return [self._put_back.popleft()]
        number -= len(self._put_back)
        if number >= len(self._block):
            for _ in range(_TRIES):
                position = self._next + self._dice.randrange(beyond)
                if self._prompts.is_asked[position] and position not in self._out_of_turn:
                    self._out_of_turn.add(position)
                    return self._drawn(position, self._prompts.window(position, position + 1)[0])
            return self.take(1)
        drawn = self._drawn(*self._block.pop(number))
        self._forget_at_end()
        return drawn

    @property
    def _is_at_end(self) -> bool:
        return self._next >= len(self._prompts)

    def _open_block(self) -> None:
        """Make the next rows ready to be drawn."""
        start, self._next = self._next, min(self._next + _BLOCK, len(self._prompts))
        contents = enumerate(self._prompts.window(start, self._next), start)
        self._block = [one for one in contents if one[1] is not None and one[0] not in self._out_of_turn]
        self._out_of_turn -= set(range(start, self._next))
        if self.keeps_order:
            self._block.reverse()  # they are taken from its end
        else:
            self._dice.shuffle(self._block)

    def _forget_at_end(self) -> None:
        if self._is_at_end and not self._block:
            self._firsts.clear()  # no row is left that could ask the same

    def _drawn(self, position: int, content: object) -> list[Request]:
        request = self._maker.make(position, content)
        first = self._firsts.setdefault(request.wanted.digest, request.position)
        if first == request.position:
            return [request]
        self._share(request.position, first)
        return []
