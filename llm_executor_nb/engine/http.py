"""One exchange with one route: a request goes out, and what comes back is a verdict and, of an answer, a message.

Two forms with one result: whole replies, and streams whose pieces are handed on as they come. Raw JSON is judged
before LangChain sees it. Makes exactly one request; retries nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from llm_executor_nb.core import clock
from llm_executor_nb.core.foreign_json import parse_json
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Fault, FaultKind, Reply, Verdict
from llm_executor_nb.core.secret import shorten
from llm_executor_nb.core.verdicts.answers import facts_of, judge
from llm_executor_nb.core.verdicts.classify import classify, classify_event
from llm_executor_nb.core.verdicts.error_body import tells_error
from llm_executor_nb.engine.delivered import said_to_caller
from llm_executor_nb.engine.relay import Relay, says_something
from llm_executor_nb.engine.tally import Tally, with_legible_usage
from llm_executor_nb.providers.calls import left_broken
from llm_executor_nb.providers.events import recorded
from llm_executor_nb.providers.langchain import Ending, as_last_chunk
from llm_executor_nb.providers.network import is_this_machine
from llm_executor_nb.providers.payload import make_body
from llm_executor_nb.providers.sse import ERROR, after_comments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from langchain_core.messages import AIMessage, AIMessageChunk

    from llm_executor_nb.core.records import Route
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.providers.events import Events, Recorded
    from llm_executor_nb.providers.sse import Event
    from llm_executor_nb.providers.transport import Transport
    from llm_executor_nb.providers.wires import Wire


_AFTER_THE_END = frozenset({FaultKind.CUT, FaultKind.CLOSED, FaultKind.TIMEOUT, FaultKind.DEADLINE})
"""Faults that take nothing away from an answer which had said why it ended."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """What came of one request.

    Attributes:
        verdict: what it was found to be.
        message: the answer as LangChain reads it; None: it is none.
        may_resend: the request died unseen on an old connection.
    """

    verdict: Verdict
    message: AIMessage | None = None
    may_resend: bool = False


class Sender(Protocol):
    """What the engine sends with; each backend has one.

    Attributes:
        takes_extras: what we add to a request may be added; else a schema is asked for in words.
    """

    takes_extras: bool

    def paid_at(self, route: Route, practice_url: str | None) -> str | None:
        """Return where a request to `route` would go, if it may cost something; None: it costs nothing."""

    async def whole(self, ask: RunRequest, route: Route, *, timeout_s: float | None) -> SendResult:
        """Ask for a whole reply."""

    async def streamed(
        self,
        ask: RunRequest,
        route: Route,
        *,
        timeout_s: float | None,
        until: float | None,
        hand_on: Callable[[AIMessageChunk], Awaitable[None]],
    ) -> SendResult:
        """Ask for a stream, and hand its chunks on."""


class HttpSender:
    """Sends a run's request over HTTP.

    Args:
        transport: sends; bound to the loop it is used on.
        wires: by the name of the backend.
    """

    takes_extras = True

    def __init__(self, transport: Transport, wires: Mapping[str, Wire]) -> None:
        self._transport = transport
        self._wires = wires

    def paid_at(self, route: Route, practice_url: str | None) -> str | None:
        """Return where a request goes, unless it is to a rehearsal, or to a server on this machine without a key."""
        url = self._wires[route.backend].url
        is_practice = practice_url is not None and url.startswith(practice_url)
        is_own = route.key is None and is_this_machine(urlsplit(url).hostname or "")
        return None if is_practice or is_own else url

    async def whole(self, ask: RunRequest, route: Route, *, timeout_s: float | None) -> SendResult:
        """Ask for a whole reply.

        Args:
            ask: the run's order.
            route: who is asked.
            timeout_s: seconds until it is given up; None: no bound.
        """
        wire = self._wires[route.backend]
        came = await self._transport.post(
            wire.url,
            body=_body(ask, route, stream=False),
            secret=route.key.secret if route.key else None,
            headers=wire.headers,
            timeout_s=timeout_s,
        )
        if (events := recorded(came)) is not None:
            found = await _Stream(events, wire, ask, route, _to_nobody).read()
            return replace(found, message=found.message and _as_whole(found.message))
        return _judge(came, wire, route)

    async def streamed(
        self,
        ask: RunRequest,
        route: Route,
        *,
        timeout_s: float | None,
        until: float | None,
        hand_on: Callable[[AIMessageChunk], Awaitable[None]],
    ) -> SendResult:
        """Ask for a stream, and hand its chunks on from the first that says something.

        Args:
            ask: the run's order.
            route: who is asked.
            timeout_s: seconds to the first text and of any silence after it; None: no bound.
            until: the time on the clock at which it is given up; None: never.
            hand_on: takes each chunk; the last one carries usage and finish_reason.
        """
        wire = self._wires[route.backend]
        async with self._transport.stream(
            wire.url,
            body=_body(ask, route, stream=True),
            secret=route.key.secret if route.key else None,
            headers=wire.headers,
            timeout_s=timeout_s,
            until=until,
        ) as came:
            if not isinstance(came, Reply | Fault):
                return await _Stream(came, wire, ask, route, hand_on).read()
            if (events := recorded(came)) is not None:
                return await _Stream(events, wire, ask, route, hand_on).read()
            result = _judge(came, wire, route)  # an error, or a server that does not stream
            if result.message is not None:
                await hand_on(signed(as_last_chunk(result.message), ask))
            return result


def _judge(came: Reply | Fault, wire: Wire, route: Route) -> SendResult:
    if isinstance(came, Reply) and came.body.lstrip().startswith(b":"):
        came = replace(came, body=after_comments(came.body))
    verdict = classify(came, backend=route.backend, now_utc=clock.current().utc())
    if verdict.body is None:
        return SendResult(verdict, may_resend=isinstance(came, Fault) and came.may_resend)
    try:
        message = wire.message(with_legible_usage(verdict.body), route.request_model)
    except ValueError as error:
        return SendResult(not_after_all(verdict, Outcome.MALFORMED, str(error)))
    verdict = judge(verdict, said_to_caller(message))
    if verdict.outcome is not Outcome.OK:
        return SendResult(replace(verdict, body=None))
    return SendResult(verdict, message)


def not_after_all(verdict: Verdict, outcome: Outcome, message: str) -> Verdict:
    """Return the verdict on what looked like an answer and was found wanting."""
    return replace(verdict, outcome=outcome, body=None, message=shorten(message))


def _body(ask: RunRequest, route: Route, *, stream: bool) -> bytes:
    return make_body(
        ask.payload,
        model=route.request_model,
        backend=route.backend,
        extra_body=ask.extra_body,
        stream=stream,
    )


def signed(chunk: AIMessageChunk, ask: RunRequest) -> AIMessageChunk:
    """Return the last chunk of an answer with the run it came from."""
    chunk.response_metadata["llm_run_id"] = ask.run_id
    return chunk


async def _to_nobody(_: AIMessageChunk) -> None:
    """Take a chunk of a stream that nobody reads: a whole answer was asked for."""


def _as_whole(message: AIMessage) -> AIMessage:
    """Return the sum of a stream as the message that a whole reply would have been."""
    from langchain_core.messages import AIMessage, message_chunk_to_message  # noqa: PLC0415 - loads on first use

    whole = message_chunk_to_message(message)
    assert isinstance(whole, AIMessage)  # noqa: S101 - it is of a chunk of one
    return whole


class _Stream:
    """Reads one stream to its end."""

    def __init__(
        self,
        events: Events | Recorded,
        wire: Wire,
        ask: RunRequest,
        route: Route,
        hand_on: Callable[[AIMessageChunk], Awaitable[None]],
    ) -> None:
        self._events = events
        self._read_chunk = wire.chunk_reader(route.request_model)
        self._ask, self._route = ask, route
        self._relay = Relay(hand_on)
        self._tally = Tally()
        self._ending = Ending()

    async def read(self) -> SendResult:
        """Read it, handing on what says something; return what it was found to be."""
        async for event in self._events:
            wrong = await self._take(event)
            if wrong is not None:
                return SendResult(wrong)
        last = self._ending.last()
        try:
            whole = self._relay.add(last)
        except ValueError as error:
            return SendResult(self._malformed(str(error)))
        verdict = await self._verdict_on(whole)
        if verdict.outcome is not Outcome.OK:
            return SendResult(verdict, may_resend=self._events.fault is not None and self._events.fault.may_resend)
        if broken := left_broken(whole):
            last, whole = last + broken, self._relay.add(broken)
        await self._relay.hand_on(signed(last, self._ask))
        return SendResult(verdict, signed(whole, self._ask))

    async def _take(self, event: Event) -> Verdict | None:
        """Take one event; return a verdict when it ends the attempt."""
        body = parse_json(event.data)
        if not isinstance(body, dict):
            body = {"error": {"message": event.data}} if event.name == ERROR else None
        if body is None:
            return self._malformed(f"a piece of the stream is no JSON object: {event.data[:200]}")
        if event.name == ERROR and not body.get("error"):
            body = {"error": body}
        if self._tally.take(body):
            self._events.progress()
        if tells_error(body):
            return self._classified(body)
        try:
            chunk = self._read_chunk(with_legible_usage(body))
            if chunk is not None:
                await self._take_chunk(chunk)
        except (ValueError, TypeError) as error:  # LangChain adds chunks up, and raises over fields that do not fit
            return self._malformed(str(error))
        return None

    async def _take_chunk(self, chunk: AIMessageChunk) -> None:
        is_speaking = says_something(chunk)
        now = self._ending.take(chunk)
        if now is not None:
            await self._relay.take(now, is_speaking=is_speaking)

    async def _verdict_on(self, whole: AIMessageChunk) -> Verdict:
        """Return the verdict on the sum of a stream; either mark of an end will do, a finish_reason or `[DONE]`."""
        refusal = "".join(self._tally.refusal)
        found = judge(self._facts(), said_to_caller(whole, refusal=refusal, had_reasoning=self._tally.had_reasoning))
        if self._tally.finish_reason is None and self._events.is_done:
            fault = await self._events.broke_after_done()
        else:
            fault = self._events.fault
            if self._tally.finish_reason is not None and fault is not None and fault.kind in _AFTER_THE_END:
                fault = None
        if fault is not None:
            return self._with_facts(classify(fault, backend=self._route.backend, now_utc=clock.current().utc()))
        is_ended = self._events.is_done or self._tally.finish_reason is not None
        if found.outcome in (Outcome.OK, Outcome.INVALID_OUTPUT) and not is_ended:
            return self._malformed("the stream ended without a finish_reason")
        return found

    def _classified(self, body: dict[str, Any]) -> Verdict:
        verdict = classify_event(
            body,
            status=self._events.status or 200,
            headers=self._events.headers,
            backend=self._route.backend,
            now_utc=clock.current().utc(),
        )
        return self._with_facts(verdict)

    def _malformed(self, words: str) -> Verdict:
        verdict = Verdict(outcome=Outcome.MALFORMED, http_status=self._events.status, message=shorten(words))
        return self._with_facts(verdict)

    def _facts(self) -> Verdict:
        """Return what the stream has told so far of the model, the usage and its end."""
        return facts_of(
            {"model": self._tally.model, "usage": self._tally.usage},
            status=self._events.status or 200,
            headers=self._events.headers,
            now_utc=clock.current().utc(),
            finish_reason=self._tally.finish_reason,
        )

    def _with_facts(self, verdict: Verdict) -> Verdict:
        """Add what the stream had told before it ended."""
        facts = self._facts()
        return replace(
            verdict,
            finish_reason=verdict.finish_reason or facts.finish_reason,
            response_model=verdict.response_model or facts.response_model,
            input_tokens=facts.input_tokens,
            output_tokens=facts.output_tokens,
            cost_usd=facts.cost_usd,
        )
