"""One exchange with one route: a request goes out, and what comes back is a verdict and, of an answer, a message.

Two forms with one result: whole replies, and streams whose pieces are handed on as they come. Raw JSON is judged
before LangChain sees it. Makes exactly one request; retries nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from llm_executor_nb.chain.relay import Relay, says_something
from llm_executor_nb.core import clock, hints
from llm_executor_nb.core.classify import classify, classify_event, shorten
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Fault, Reply, Verdict
from llm_executor_nb.providers.chunks import Ending, as_last_chunk
from llm_executor_nb.providers.network import is_this_machine
from llm_executor_nb.providers.payload import make_body
from llm_executor_nb.providers.sse import ERROR

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from langchain_core.messages import AIMessage, AIMessageChunk

    from llm_executor_nb.chain.ask import Ask
    from llm_executor_nb.core.records import Route
    from llm_executor_nb.providers.backend import Backend
    from llm_executor_nb.providers.events import Events
    from llm_executor_nb.providers.sse import Event
    from llm_executor_nb.providers.transport import Transport


_NEWS = ("content", "tool_calls", "function_call", "refusal", "reasoning", "reasoning_content", "reasoning_details")
"""Fields of a delta that end a silence."""
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
_DETAIL_COUNTS = ("cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens")
"""What LangChain reads of a usage."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What came of one request.

    Attributes:
        verdict: what it was found to be.
        message: the answer as LangChain reads it; None: it is none.
        may_resend: the request died unseen on an old connection.
    """

    verdict: Verdict
    message: AIMessage | None = None
    may_resend: bool = False


class Exchanging(Protocol):
    """What the engine sends with; each backend has one.

    Attributes:
        takes_extras: what we add to a request may be added; else a schema is asked for in words.
    """

    takes_extras: bool

    def paid_at(self, route: Route, practice_url: str | None) -> str | None:
        """Return where a request to `route` would go, if it may cost something; None: it costs nothing."""

    async def whole(self, ask: Ask, route: Route, *, timeout_s: float | None) -> Exchanged:
        """Ask for a whole reply."""

    async def streamed(
        self,
        ask: Ask,
        route: Route,
        *,
        timeout_s: float | None,
        until: float | None,
        hand_on: Callable[[AIMessageChunk], Awaitable[None]],
    ) -> Exchanged:
        """Ask for a stream, and hand its chunks on."""


class Exchange:
    """Sends a run's request over HTTP.

    Args:
        transport: sends; bound to the loop it is used on.
        backends: name -> wire.
    """

    takes_extras = True

    def __init__(self, transport: Transport, backends: Mapping[str, Backend]) -> None:
        self._transport = transport
        self._backends = backends

    def paid_at(self, route: Route, practice_url: str | None) -> str | None:
        """Return where a request goes, unless it is to a rehearsal, or to a server on this machine without a key."""
        url = self._backends[route.backend].url
        is_practice = practice_url is not None and url.startswith(practice_url)
        is_own = route.key is None and is_this_machine(urlsplit(url).hostname or "")
        return None if is_practice or is_own else url

    async def whole(self, ask: Ask, route: Route, *, timeout_s: float | None) -> Exchanged:
        """Ask for a whole reply.

        Args:
            ask: the run's order.
            route: who is asked.
            timeout_s: seconds until it is given up; None: no bound.
        """
        backend = self._backends[route.backend]
        came = await self._transport.post(
            backend.url,
            body=_body(ask, route, stream=False),
            secret=route.key.secret if route.key else None,
            headers=backend.headers(route),
            timeout_s=timeout_s,
        )
        return self._judge(came, route)

    async def streamed(
        self,
        ask: Ask,
        route: Route,
        *,
        timeout_s: float | None,
        until: float | None,
        hand_on: Callable[[AIMessageChunk], Awaitable[None]],
    ) -> Exchanged:
        """Ask for a stream, and hand its chunks on from the first that says something.

        Args:
            ask: the run's order.
            route: who is asked.
            timeout_s: seconds to the first text and of any silence after it; None: no bound.
            until: the time on the clock at which it is given up; None: never.
            hand_on: takes each chunk; the last one carries usage and finish_reason.
        """
        backend = self._backends[route.backend]
        async with self._transport.stream(
            backend.url,
            body=_body(ask, route, stream=True),
            secret=route.key.secret if route.key else None,
            headers=backend.headers(route),
            timeout_s=timeout_s,
            until=until,
        ) as came:
            if isinstance(came, Reply | Fault):
                return await self._whole_instead(came, ask, route, hand_on)
            return await _Stream(came, self._backends[route.backend], ask, route, hand_on).read()

    async def _whole_instead(
        self, came: Reply | Fault, ask: Ask, route: Route, hand_on: Callable[[AIMessageChunk], Awaitable[None]]
    ) -> Exchanged:
        """Take a whole reply where a stream was asked for: an error, or a server that does not stream."""
        found = self._judge(came, route)
        if found.message is not None:
            await hand_on(signed(as_last_chunk(found.message), ask))
        return found

    def _judge(self, came: Reply | Fault, route: Route) -> Exchanged:
        verdict = classify(came, backend=route.backend, now_utc=clock.current().utc())
        if verdict.body is None:
            return Exchanged(verdict, may_resend=isinstance(came, Fault) and came.may_resend)
        try:
            body = _with_legible_usage(verdict.body)
            return Exchanged(verdict, self._backends[route.backend].message(body, route.request_model))
        except ValueError as error:
            return Exchanged(not_after_all(verdict, Outcome.MALFORMED, str(error)))


def not_after_all(verdict: Verdict, outcome: Outcome, message: str) -> Verdict:
    """Return the verdict on what looked like an answer and was found wanting."""
    return replace(verdict, outcome=outcome, body=None, message=shorten(message))


def _body(ask: Ask, route: Route, *, stream: bool) -> bytes:
    return make_body(
        ask.payload,
        model=route.request_model,
        backend=route.backend,
        extra_body=ask.extra_body,
        stream=stream,
    )


def signed(chunk: AIMessageChunk, ask: Ask) -> AIMessageChunk:
    """Return the last chunk of an answer with the run it came from."""
    chunk.response_metadata["llm_run_id"] = ask.run_id
    return chunk


@dataclass(slots=True)
class _Tally:
    """What the events of a stream add up to, in the form of a whole body."""

    content: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    has_tool_calls: bool = False
    finish_reason: Any = None
    model: Any = None
    usage: Any = None

    def take(self, body: Mapping[str, Any]) -> None:
        """Add one event."""
        self.model = body.get("model") or self.model
        self.usage = body.get("usage") or self.usage
        choices = body.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self.has_tool_calls = self.has_tool_calls or bool(delta.get("tool_calls") or delta.get("function_call"))
            self.content += [delta["content"]] if isinstance(delta.get("content"), str) else []
            self.refusal += [delta["refusal"]] if isinstance(delta.get("refusal"), str) else []

    @property
    def is_silent(self) -> bool:
        """Say whether there was neither text nor a tool call."""
        return not ("".join(self.content).strip() or self.has_tool_calls)

    def as_body(self) -> dict[str, Any]:
        """Return the body that a whole reply would have had."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self.content),
            "refusal": "".join(self.refusal),
            "tool_calls": [{}] if self.has_tool_calls else None,
        }
        choice = {"message": message, "finish_reason": self.finish_reason}
        return {"model": self.model, "choices": [choice], "usage": self.usage}


class _Stream:
    """Reads one open stream to its end."""

    def __init__(
        self,
        events: Events,
        backend: Backend,
        ask: Ask,
        route: Route,
        hand_on: Callable[[AIMessageChunk], Awaitable[None]],
    ) -> None:
        self._events = events
        self._read_chunk = backend.chunk_reader(route.request_model)
        self._ask, self._route = ask, route
        self._relay = Relay(hand_on)
        self._tally = _Tally()
        self._ending = Ending()

    async def read(self) -> Exchanged:
        """Read it, handing on what says something; return what it was found to be."""
        async for event in self._events:
            wrong = await self._take(event)
            if wrong is not None:
                return Exchanged(wrong)
        verdict = self._verdict_at_end()
        if verdict.outcome is not Outcome.OK:
            return Exchanged(verdict, may_resend=self._events.fault is not None and self._events.fault.may_resend)
        try:
            await self._relay.take(signed(self._ending.last(), self._ask), is_speaking=True)
        except (ValueError, TypeError) as error:
            return Exchanged(self._malformed(str(error)))
        return Exchanged(verdict, self._relay.whole)

    async def _take(self, event: Event) -> Verdict | None:
        """Take one event; return a verdict when it ends the attempt."""
        body = _parse(event.data)
        if not isinstance(body, dict):
            body = {"error": {"message": event.data}} if event.name == ERROR else None
        if body is None:
            return self._malformed(f"a piece of the stream is no JSON object: {event.data[:200]}")
        if event.name == ERROR and not body.get("error"):
            body = {"error": body}
        self._tally.take(body)
        if _brings_news(body):
            self._events.progress()
        if _tells_error(body):
            return self._classified(body)
        try:
            chunk = self._read_chunk(_with_legible_usage(body))
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

    def _verdict_at_end(self) -> Verdict:
        if (fault := self._events.fault) is not None:
            verdict = classify(fault, backend=self._route.backend, now_utc=clock.current().utc())
            return self._with_facts(verdict)
        if self._tally.finish_reason is None and not self._tally.is_silent:
            return self._malformed("the stream ended without a finish_reason")
        return self._classified(self._tally.as_body())

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

    def _with_facts(self, verdict: Verdict) -> Verdict:
        """Add what the stream had told of the model and the usage before it ended."""
        facts = classify_event(
            self._tally.as_body(),
            status=self._events.status or 200,
            headers={},
            backend=self._route.backend,
            now_utc=clock.current().utc(),
        )
        return replace(
            verdict,
            finish_reason=verdict.finish_reason or facts.finish_reason,
            response_model=verdict.response_model or facts.response_model,
            input_tokens=facts.input_tokens,
            output_tokens=facts.output_tokens,
            cost_usd=facts.cost_usd,
        )


def _tells_error(body: Mapping[str, Any]) -> bool:
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    return bool(body.get("error") or (isinstance(choice, dict) and choice.get("error")))


def _brings_news(body: Mapping[str, Any]) -> bool:
    """Say whether an event ends the silence: by text, a tool call, or a thought, even if LangChain drops that."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    delta = choice.get("delta") if isinstance(choice, dict) else None
    return isinstance(delta, dict) and any(delta.get(name) for name in _NEWS)


def _with_legible_usage(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out a usage that is no counts, so that no answer is lost for it."""
    return body if _is_legible(body.get("usage")) else {**body, "usage": None}


def _is_legible(usage: object) -> bool:
    if usage is None:
        return True
    counts = [hints.field(usage, name) for name in _COUNTS]
    details = [hints.field(usage, name) for name in _DETAILS]
    counts += [hints.field(detail, name) for detail in details for name in _DETAIL_COUNTS]
    are_objects = all(isinstance(one, dict) for one in (usage, *(detail for detail in details if detail)))
    return are_objects and all(count is None or type(count) is int for count in counts)


def _parse(text: str) -> Any:  # noqa: ANN401 - foreign JSON has any shape
    try:
        return json.loads(text)
    except (ValueError, RecursionError, MemoryError):
        return None
