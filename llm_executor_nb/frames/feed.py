"""Draws a job's requests from its rows, each once; rows that ask the same share what the first of them comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.frames.prompts import Prompts
    from llm_executor_nb.frames.requests import Request, RequestMaker


class Feed:
    """The requests of a job, in the order of its rows.

    Args:
        prompts: the rows.
        maker: makes the requests.
        share: called with a row and the first row that asks the same.
    """

    def __init__(self, prompts: Prompts, maker: RequestMaker, share: Callable[[int, int], None]) -> None:
        self._prompts, self._maker, self._share = prompts, maker, share
        self._next = 0
        self._firsts: dict[bytes, int] = {}

    @property
    def is_dry(self) -> bool:
        """Say whether all rows were drawn."""
        return self._next >= len(self._prompts)

    def take(self, count: int) -> list[Request]:
        """Return the next requests that no row before asked, at most `count`."""
        found: list[Request] = []
        while len(found) < count and not self.is_dry:
            start, self._next = self._next, min(self._next + count - len(found), len(self._prompts))
            for position, content in enumerate(self._prompts.window(start, self._next), start):
                if content is not None:
                    found += self._drawn(self._maker.make(position, content))
        if self.is_dry:
            self._firsts.clear()  # no row is left that could ask the same
        return found

    def _drawn(self, request: Request) -> list[Request]:
        first = self._firsts.setdefault(request.wanted.digest, request.position)
        if first == request.position:
            return [request]
        self._share(request.position, first)
        return []
