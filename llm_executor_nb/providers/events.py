"""An open event stream: its events one by one, and why it ended. It is bounded by silence and by a deadline.

Only what the reader calls progress ends a silence: comments, keep-alives and empty events do not (design 3.3). Only
time spent in waiting for the provider counts, so a slow reader loses nothing.

Must not: raise what the network does, or judge an event.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from llm_executor_nb.core import clock
from llm_executor_nb.core.clock import Turn
from llm_executor_nb.core.records import Fault, FaultKind
from llm_executor_nb.providers.faults import Watch, fault_of, make_fault
from llm_executor_nb.providers.sse import BLANK, Event, Shape, parser_of, shape_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

    import aiohttp

    from llm_executor_nb.core.records import Reply
    from llm_executor_nb.providers.sse import LineParser, Parser

_DONE: Final = "[DONE]"
_LINGER_S: Final = 0.05
"""Real seconds that a stream is given to end after `[DONE]`, so that its connection can be used again."""
_LONGER_S: Final = 0.5
"""The same for an answer without a finish_reason: only a broken connection shows that it was cut."""
_SLICE: Final = 4096
"""Bytes that are parsed before other tasks may go on: a network piece of 256 kB may hold as many lines."""
_T = TypeVar("_T")


class Silence:
    """How long a stream may be silent, and until when it may go on at all.

    Args:
        timeout_s: seconds of waiting to the first progress, and from one to the next; None: no bound.
        until: the time on the clock at which it is given up, progress or not; None: never.
    """

    def __init__(self, timeout_s: float | None, until: float | None = None) -> None:
        self._timeout_s = timeout_s
        self._until = until
        self._left_s = timeout_s

    def progress(self) -> None:
        """Start the silence again from zero."""
        self._left_s = self._timeout_s

    async def wait(self, coming: Coroutine[Any, Any, _T]) -> _T:
        """Wait for what comes.

        Raises:
            TimeoutError: the silence or the deadline ended first.
        """
        began = clock.current().in_flight()  # the wall's seconds: a frozen test clock still bounds a real socket
        try:
            async with clock.current().timeout(self._bound_s()):
                return await coming
        finally:
            if self._left_s is not None:
                self._left_s -= clock.current().in_flight() - began

    def fault_of(self, error: Exception, watch: Watch) -> Fault:
        """Return what `error`, raised while waiting, was."""
        if not isinstance(error, TimeoutError):
            return fault_of(error, watch)
        left_s, remaining_s = self._left_s, self._remaining_s()
        if remaining_s is not None and (left_s is None or remaining_s < left_s):
            return make_fault(FaultKind.DEADLINE, "the deadline passed", watch)
        return make_fault(FaultKind.TIMEOUT, str(error) or f"no text for {self._timeout_s:g} s", watch)

    def _bound_s(self) -> float | None:
        return min((bound for bound in (self._left_s, self._remaining_s()) if bound is not None), default=None)

    def _remaining_s(self) -> float | None:
        return None if self._until is None else self._until - clock.current().now()


class Events:
    """An event stream that a provider has begun, iterated once; it never raises what the network does.

    Attributes:
        status: the HTTP status, a 2xx.
        headers: by name in lower case.
        fault: once the iteration is over: what ended it; None: the provider did.
        is_done: whether `[DONE]` was seen, which ends the iteration.
    """

    def __init__(
        self,
        content: aiohttp.StreamReader,
        *,
        head: bytes,
        headers: Mapping[str, str],
        body_cap: int,
        silence: Silence,
        watch: Watch,
        shape: Shape = Shape.EVENTS,
        size: int | None = None,
    ) -> None:
        self.status = watch.status
        self.headers = headers
        self.fault: Fault | None = None
        self.is_done = False
        self._content = content
        self._body_cap = body_cap
        self._silence = silence
        self._watch = watch
        self._parser = parser_of(shape)
        self._slices = _slices(head)
        self._ready: Iterator[Event] = iter(())
        self._turn = Turn()
        self._size = len(head) if size is None else size
        self._is_at_end = False
        self._is_over = False
        self._after_done: Fault | None = None

    def progress(self) -> None:
        """Note that the last event brought text: the silence starts again from zero."""
        self._silence.progress()

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        event = None
        try:
            if not self._is_over:
                event = await self._next()
        except Exception as error:  # noqa: BLE001 - whatever the network does is a Fault, and nothing is raised with a request in it
            self.fault = self._silence.fault_of(error, self._watch)
        if event is None:
            self._is_over = True
            raise StopAsyncIteration
        return event

    async def _next(self) -> Event | None:
        """Return the next event; None when the stream is over."""
        while True:
            for event in self._ready:
                if event.data.strip() != _DONE:
                    return event
                self.is_done = True
                await self._linger()  # a connection that is not read to its end cannot be used again
                return None
            if (part := next(self._slices, None)) is not None:
                await self._turn.share()
                self._ready = self._parser.feed(part)
            elif self._is_at_end or self._is_too_large():
                return None
            else:
                await self._read_on()

    async def _read_on(self) -> None:
        piece = await self._silence.wait(self._content.readany())
        self._turn.begin()
        self._size += len(piece)
        self._slices, self._is_at_end = _slices(piece), not piece
        if not piece:
            self._ready = self._parser.end()

    def _is_too_large(self) -> bool:
        if self._size > self._body_cap:
            self.fault = make_fault(
                FaultKind.TOO_LARGE, f"the stream is larger than {self._body_cap} bytes", self._watch
            )
        return self.fault is not None

    async def broke_after_done(self) -> Fault | None:
        """Return how the connection broke after `[DONE]`; None: it ended as it should.

        Some servers send `[DONE]` whatever happens, also where they fail.
        """
        if self._after_done is None and not self._is_at_end:
            await self._linger(_LONGER_S)
        return self._after_done

    async def _linger(self, for_s: float = _LINGER_S) -> None:
        """Read what follows `[DONE]`, which is the end of the body if anything; what is sent there is dropped."""
        try:
            async with asyncio.timeout(for_s):  # real time, since it is the network's and not the run's
                while await self._content.readany():
                    pass
                self._is_at_end = True
        except TimeoutError:
            pass
        except Exception as error:  # noqa: BLE001 - as in `__anext__`
            self._after_done = fault_of(error, self._watch)


class Recorded:
    """The events of a body that came as a whole, iterated like those of an open stream.

    Args:
        body: the whole body, or the part of it that came.
        shape: how it is to be read.
        status: the HTTP status.
        headers: by name in lower case.
        broke: how the connection broke after it; None: it did not.
    """

    def __init__(
        self, body: bytes, shape: Shape, *, status: int | None, headers: Mapping[str, str], broke: Fault | None = None
    ) -> None:
        self.status, self.headers = status, headers
        self.fault: Fault | None = None
        self.is_done = False
        self._broke = broke
        self._turn = Turn()
        self._feeds = _feeds(body.lstrip(BLANK), parser_of(shape))
        self._ready: Iterator[Event] = iter(())

    def progress(self) -> None:
        """Do nothing: no one waits for the next event."""

    async def broke_after_done(self) -> Fault | None:
        """Return how the connection broke after `[DONE]`; None: it did not."""
        return self._broke

    def __aiter__(self) -> Recorded:
        return self

    async def __anext__(self) -> Event:
        event = None
        try:
            event = await self._next()
        except UnicodeDecodeError as error:
            self.fault = fault_of(error, Watch(status=self.status))
        self.is_done = event is not None and event.data.strip() == _DONE
        if event is None and self.fault is None:
            self.fault = self._broke
        if event is None or self.is_done:
            raise StopAsyncIteration
        return event

    async def _next(self) -> Event | None:
        while (event := next(self._ready, None)) is None and (ready := next(self._feeds, None)) is not None:
            await self._turn.share()
            self._ready = ready
        return event


def _slices(piece: bytes) -> Iterator[bytes]:
    return (piece[at : at + _SLICE] for at in range(0, len(piece), _SLICE))


def _feeds(body: bytes, parser: Parser | LineParser) -> Iterator[Iterator[Event]]:
    """Yield the events of each slice of a body, and those that its end completes."""
    yield from map(parser.feed, _slices(body))
    yield parser.end()


def recorded(reply: Reply | Fault) -> Recorded | None:
    """Return the events in what should have been a whole reply, when its bytes are a stream; None: they are not."""
    if isinstance(reply, Fault):
        shape = shape_of(reply.begun, is_all=True) if reply.begun else None
        return shape and Recorded(reply.begun, shape, status=reply.status, headers={}, broke=reply)
    shape = shape_of(reply.body, is_all=True) if 200 <= reply.status < 300 else Shape.WHOLE
    if shape is None or shape is Shape.WHOLE:
        return None
    return Recorded(reply.body, shape, status=reply.status, headers=reply.headers)
