"""Sends a request over HTTP, and returns a verdict and, of an answer, LangChain's message.

Whole replies and streams have one result. Raw JSON is judged before LangChain reads it, for LangChain would take an
error for an answer. Makes exactly one request; retries nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llm_executor_nb.core import clock
from llm_executor_nb.core.addresses import is_this_machine
from llm_executor_nb.core.clock import share_loop
from llm_executor_nb.core.foreign_json import TOO_LARGE, read_json
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Fault, FaultKind, Reply, Verdict
from llm_executor_nb.core.verdicts.answers import FACTS, MEDIA, facts_of, has_reasoning, judge, overruled, sole_text
from llm_executor_nb.core.verdicts.classify import classify, classify_event
from llm_executor_nb.core.verdicts.error_body import tells_error
from llm_executor_nb.engine.sender import SendResult, content_for_caller, with_run_id
from llm_executor_nb.engine.stream import StreamBuffer
from llm_executor_nb.providers.calls import left_broken
from llm_executor_nb.providers.chunk_sum import sum_of
from llm_executor_nb.providers.events import recorded
from llm_executor_nb.providers.langchain import Ending, as_last_chunk, text_message
from llm_executor_nb.providers.payload import make_body
from llm_executor_nb.providers.sse import ERROR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import AIMessage, AIMessageChunk

    from llm_executor_nb.core.records import Route
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.providers.events import Events, Recorded
    from llm_executor_nb.providers.sse import Event
    from llm_executor_nb.providers.transport import Transport
    from llm_executor_nb.providers.wires import Wire

_AFTER_THE_END = frozenset({FaultKind.CUT, FaultKind.CLOSED, FaultKind.TIMEOUT, FaultKind.DEADLINE})
"""Faults that take nothing away from an answer that has given its finish_reason."""
_PROGRESS = (
    *("content", "tool_calls", "function_call", "refusal", *MEDIA),
    *("reasoning", "reasoning_content", "reasoning_details"),
)
"""Fields of a delta that end a silence."""
_SAID = ("model", "usage", "provider", "service_tier", "openrouter_metadata", "id")
"""Fields of an event that say who answers, and what it costs."""
_LARGE = 2**17
"""Bytes of a body beyond which it is parsed and read in two steps of the loop."""
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
_DETAIL_COUNTS = ("cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens")
"""What LangChain reads of a usage."""
_TYPES_OF_A_COUNT = frozenset({int, type(None)})


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

    async def whole(self, request: RunRequest, route: Route, *, timeout_s: float | None) -> SendResult:
        """Ask for a whole reply; some servers send events all the same."""
        wire = self._wires[route.backend]
        reply = await self._transport.post(
            wire.url,
            body=_body(request, route, stream=False),
            secret=route.key.secret if route.key else None,
            headers=wire.headers_for(request.policy, request.headers_left_out),
            timeout_s=timeout_s,
        )
        if (events := recorded(reply)) is not None:
            result = await _StreamReader(events, wire, request, route, StreamBuffer(_discard)).read()
            return replace(result, message=result.message and _as_whole(result.message))
        return await self._judge(reply, wire, route, takes_text=request.takes_text)

    async def streamed(
        self,
        request: RunRequest,
        route: Route,
        *,
        timeout_s: float | None,
        until: float | None,
        buffer: StreamBuffer,
    ) -> SendResult:
        """Ask for a stream; some servers send a whole reply all the same, and an error is always one."""
        wire = self._wires[route.backend]
        buffer.begin()
        async with self._transport.stream(
            wire.url,
            body=_body(request, route, stream=True),
            secret=route.key.secret if route.key else None,
            headers=wire.headers_for(request.policy, request.headers_left_out),
            timeout_s=timeout_s,
            until=until,
        ) as reply:
            events = recorded(reply) if isinstance(reply, Reply | Fault) else reply
            if events is not None:
                return await _StreamReader(events, wire, request, route, buffer).read()
            assert isinstance(reply, Reply | Fault)  # noqa: S101 - what is none of these is events
            result = await self._judge(reply, wire, route)
            if result.message is not None:
                await buffer.finish(with_run_id(as_last_chunk(result.message), request))
            return result

    async def _judge(self, reply: Reply | Fault, wire: Wire, route: Route, *, takes_text: bool = False) -> SendResult:
        is_large = isinstance(reply, Reply) and len(reply.body) > _LARGE and 200 <= reply.status < 300
        parsed = await read_json(reply.body) if isinstance(reply, Reply) and is_large else None
        verdict = classify(reply, backend=route.backend, now_utc=clock.current().utc(), body=parsed)
        if verdict.body is None:
            return SendResult(verdict, may_resend=isinstance(reply, Fault) and reply.may_resend)
        if takes_text and (text := sole_text(verdict.body)) is not None:
            return SendResult(verdict, text_message(text))
        if is_large:
            await share_loop()
        try:
            message = wire.message(_with_legible_usage(verdict.body), route.request_model)
        except ValueError as error:
            return SendResult(overruled(verdict, Outcome.MALFORMED, str(error)))
        verdict = judge(verdict, content_for_caller(message))
        return SendResult(verdict, message if verdict.outcome is Outcome.OK else None)


def _body(request: RunRequest, route: Route, *, stream: bool) -> bytes:
    return make_body(
        request.payload,
        model=route.request_model,
        backend=route.backend,
        extra_body=request.extra_body,
        preferences=request.chain.preferences,
        stream=stream,
    )


async def _share_if_large(event: Event) -> None:
    """Read an event with a picture in several steps: each copies all of it."""
    if len(event.data) > _LARGE:
        await share_loop()


async def _discard(_: AIMessageChunk) -> None:
    """Take a chunk of a stream that has no reader: a whole answer was asked for."""


def _as_whole(message: AIMessage) -> AIMessage:
    """Return the sum of a stream as the message that a whole reply would have been."""
    from langchain_core.messages import AIMessage, message_chunk_to_message  # noqa: PLC0415 - loads on first use

    whole = message_chunk_to_message(message)
    assert isinstance(whole, AIMessage)  # noqa: S101 - it is of a chunk of one
    return whole


# --- streams --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _StreamFacts:
    """What the events of a stream say that LangChain's chunks leave out.

    Attributes:
        finish_reason: why the answer ended; None: no event said it.
        said: what the events say beside the answer, by the names of `_SAID`; of each the last that is not empty.
        refusal: the pieces of the model's words for why it does not answer.
    """

    finish_reason: Any = None
    said: dict[str, Any] = field(default_factory=dict)
    refusal: list[str] = field(default_factory=list)
    _has_thoughts: bool = False

    def add(self, body: Mapping[str, Any]) -> bool:
        """Add one event; return whether it ends the silence: by text, a tool call, media, or a thought."""
        for name in _SAID:
            if value := body.get(name):
                self.said[name] = value
        choice = _choice_of(body)
        if choice is None:
            return False
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        delta = choice.get("delta") or choice.get("message")
        if not isinstance(delta, dict):
            return False
        if isinstance(refusal := delta.get("refusal"), str):
            self.refusal.append(refusal)
        if not self._has_thoughts and not delta.get("content"):  # not once per piece of text: it takes a while
            self._has_thoughts = has_reasoning(delta, None)
        return any(delta.get(name) for name in _PROGRESS)

    @property
    def had_reasoning(self) -> bool:
        """Whether there was hidden reasoning."""
        return self._has_thoughts or has_reasoning({}, self.said.get("usage"))


class _StreamReader:
    """Reads one stream to its end."""

    def __init__(
        self,
        events: Events | Recorded,
        wire: Wire,
        request: RunRequest,
        route: Route,
        buffer: StreamBuffer,
    ) -> None:
        self._events = events
        self._read_chunk = wire.chunk_reader(route.request_model)
        self._request, self._route = request, route
        self._buffer = buffer
        self._facts = _StreamFacts()
        self._ending = Ending()

    async def read(self) -> SendResult:
        """Read the stream, passing its chunks on; return what it amounts to."""
        async for event in self._events:
            verdict = await self._take(event)
            if verdict is not None:
                return SendResult(verdict)
        try:
            last = self._ending.last()
            self._buffer.sum.add(last)
            pieces = self._buffer.sum.joined()
        except ValueError as error:
            return SendResult(self._malformed(str(error)))
        assert pieces is not None  # noqa: S101 - there is a last chunk
        verdict = await self._judge(pieces)
        if verdict.outcome is not Outcome.OK:
            return SendResult(verdict, may_resend=self._events.fault is not None and self._events.fault.may_resend)
        if pieces.tool_call_chunks:
            await share_loop()  # the arguments may be long, and LangChain parses them again
        if broken := left_broken(pieces):
            self._buffer.sum.add(broken)
            last = sum_of(last, broken)
        await self._buffer.finish(with_run_id(last, self._request))
        whole = self._buffer.sum.whole()
        return SendResult(verdict, whole and with_run_id(whole, self._request))

    async def _take(self, event: Event) -> Verdict | None:
        """Take one event; return a verdict when it ends the attempt."""
        await _share_if_large(event)
        body = await read_json(event.data)
        if body is TOO_LARGE:
            return replace(self._malformed(TOO_LARGE), outcome=Outcome.INVALID_OUTPUT)
        if not isinstance(body, dict):
            if event.name != ERROR:
                return self._malformed(f"a piece of the stream is not a JSON object: {event.data}")
            body = {"error": {"message": event.data}}
        if event.name == ERROR and not body.get("error"):  # the event's name alone says that it is an error
            body = {"error": body}
        if self._facts.add(body):
            self._events.progress()
        if tells_error(body):
            return self._classified(body)
        await _share_if_large(event)
        try:
            chunk = self._read_chunk(_with_legible_usage(body))
            await _share_if_large(event)
            # what ends the answer is kept for the last chunk, since LangChain would add up a usage that is told twice
            if chunk is not None and (chunk := self._ending.take(chunk)) is not None:
                await self._buffer.take(chunk)
        except (ValueError, TypeError, RecursionError) as error:  # LangChain raises them over fields that do not fit
            return self._malformed(str(error))
        return None

    async def _judge(self, whole: AIMessageChunk) -> Verdict:
        """Return the verdict on the sum of a stream."""
        refusal = "".join(self._facts.refusal)
        content = content_for_caller(whole, refusal=refusal, had_reasoning=self._facts.had_reasoning)
        verdict = judge(self._verdict_of_facts(), content)
        if (fault := await self._fault_before_the_end()) is not None:
            return self._with_facts(classify(fault, backend=self._route.backend, now_utc=clock.current().utc()))
        # either mark of an end will do: some servers send no finish_reason, others no `[DONE]`
        is_ended = self._events.is_done or self._facts.finish_reason is not None
        if verdict.outcome in (Outcome.OK, Outcome.INVALID_OUTPUT) and not is_ended:
            return self._malformed("the stream ended without a finish_reason")
        return verdict

    async def _fault_before_the_end(self) -> Fault | None:
        """Return what broke the stream, unless the answer was whole by then."""
        if self._facts.finish_reason is None and self._events.is_done:
            return await self._events.broke_after_done()
        fault = self._events.fault
        is_whole = self._facts.finish_reason is not None and fault is not None and fault.kind in _AFTER_THE_END
        return None if is_whole else fault

    def _classified(self, body: dict[str, Any]) -> Verdict:
        verdict = classify_event(
            body,
            status=self._events.status or 200,
            headers=self._events.headers,
            backend=self._route.backend,
            now_utc=clock.current().utc(),
        )
        return self._with_facts(verdict)

    def _malformed(self, reason: str) -> Verdict:
        verdict = Verdict(outcome=Outcome.MALFORMED, http_status=self._events.status, message=shorten(reason))
        return self._with_facts(verdict)

    def _verdict_of_facts(self) -> Verdict:
        """Return what the stream has said so far of the model, the usage and its end."""
        return facts_of(
            self._facts.said,
            status=self._events.status or 200,
            headers=self._events.headers,
            now_utc=clock.current().utc(),
            finish_reason=self._facts.finish_reason,
        )

    def _with_facts(self, verdict: Verdict) -> Verdict:
        """Add what the stream had said before it ended: a broken answer may have cost something."""
        facts = self._verdict_of_facts()
        return replace(verdict, **{name: getattr(verdict, name) or getattr(facts, name) for name in FACTS})


# --- foreign JSON ---------------------------------------------------------------------------------------------------


def _choice_of(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the choice of an event that LangChain is given; None: there is none."""
    choices = body.get("choices")
    if not isinstance(choices, list):
        return None
    # with n > 1 the choices come mixed; the first one is the answer
    return next((choice for choice in choices if isinstance(choice, dict) and not choice.get("index")), None)


def _with_legible_usage(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out a usage that LangChain cannot read, so that no answer is lost for it."""
    return body if _is_legible(body.get("usage")) else {**body, "usage": None}


def _is_legible(usage: object) -> bool:
    if usage is None:
        return True
    if not isinstance(usage, dict):
        return False
    types = set(map(type, map(usage.get, _COUNTS)))
    for detail in filter(None, map(usage.get, _DETAILS)):
        if not isinstance(detail, dict):
            return False
        types.update(map(type, map(detail.get, _DETAIL_COUNTS)))
    return types <= _TYPES_OF_A_COUNT
