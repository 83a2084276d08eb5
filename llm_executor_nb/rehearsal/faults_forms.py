"""Answers in other forms than OpenAI's documents have: real servers send each of them, and a client must take it.

Texts in parts, pictures, speech, tool calls in their variants, and streams that go by another name or come unasked. Two
are no answers: tool calls that cannot be made.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.outcomes import Finding, Outcome
from llm_executor_nb.rehearsal.bodies import answer_headers, answer_text, completion
from llm_executor_nb.rehearsal.entry import FaultSpec, Shelf
from llm_executor_nb.rehearsal.examples import tool_calls
from llm_executor_nb.rehearsal.replies import stage_completion
from llm_executor_nb.rehearsal.response import EVENTS, End, Response, stage_events
from llm_executor_nb.rehearsal.sse import DONE, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.rules import Effect
    from llm_executor_nb.rehearsal.sse import Parts

    Body = dict[str, Any]

_PICTURE = {
    "type": "image_url",
    "image_url": {
        "url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAA"
        "SUVORK5CYII="
    },
}
_SPEECH = {"id": "audio_practice", "data": "UklGRiQAAABXQVZF", "transcript": "A practice answer.", "expires_at": 9}
_PLAIN = "text/plain; charset=utf-8"
_LINES = "application/x-ndjson"


def _says(does: str, make: Callable[[ChatRequest], Body]) -> FaultSpec:
    def stage(asked: ChatRequest, effect: Effect) -> Response:
        return stage_completion(asked, make(asked), effect.fault)

    return FaultSpec(does=does, stage=stage, finding=Finding(Outcome.OK))


def _streams(
    does: str, kind: str, edit: Callable[[Parts], Iterable[bytes]], *, end: End = End.WHOLE, is_asked: bool = False
) -> FaultSpec:
    """Return a row whose reply is a stream, also where none was asked for, unless `is_asked`."""

    def stage(asked: ChatRequest, effect: Effect) -> Response:
        body = completion(asked, answer_text(asked))
        staged = stage_events(edit(parts_of(asked, body)), effect.fault, headers=answer_headers(asked, body), end=end)
        return replace(staged, headers={**staged.headers, "Content-Type": kind})

    return FaultSpec(does=does, stage=stage, finding=Finding(Outcome.OK), is_stream_only=is_asked)


def _has_call(asked: ChatRequest) -> bool:
    return tool_calls(asked) is not None


def _calls(
    does: str,
    outcome: Outcome,
    change: Callable[[Body], Body],
    *,
    finish_reason: str = "tool_calls",
    edit: Callable[[bytes], bytes] = bytes,
) -> FaultSpec:
    """Return a row for requests with tools, whose reply is a call in another form."""

    def stage(asked: ChatRequest, effect: Effect) -> Response:
        [call] = tool_calls(asked) or [{}]
        body = completion(asked, None, finish_reason=finish_reason, **change(call))
        staged = stage_completion(asked, body, effect.fault)
        return replace(staged, pieces=tuple(map(edit, staged.pieces))) if asked.is_stream else staged

    return FaultSpec(does=does, stage=stage, finding=Finding(outcome), can_fit=_has_call)


def _halved(call: Body) -> Body:
    arguments = call["function"]["arguments"]
    function = {**call["function"], "arguments": arguments[: len(arguments) // 2]}
    return {"tool_calls": [{**call, "function": function}]}


def _bare(call: Body) -> Body:
    return {"tool_calls": [{"function": call["function"]}]}


def _without_index(event: bytes) -> bytes:
    return event.replace(b'"index": 0, "function"', b'"function"')


def _as_line(event: bytes) -> bytes:
    """Return the JSON of an event alone; comments and `[DONE]` are not JSON."""
    told = event.removeprefix(b"data: ").strip()
    return json.dumps(json.loads(told)).encode() + b"\n" if told.startswith(b"{") else b""


FORMS: Shelf = {
    "text-in-parts": _says(
        "a text in two parts",
        lambda asked: completion(asked, [{"type": "text", "text": half} for half in _halves(asked)]),
    ),
    "images-only": _says("a picture and no text", lambda asked: completion(asked, "", images=[_PICTURE])),
    "audio-only": _says("speech and no text", lambda asked: completion(asked, None, audio=_SPEECH)),
    "tool-call-unindexed": _calls("a tool call without index, id and type", Outcome.OK, _bare, edit=_without_index),
    "tool-call-old": _calls(
        "a tool call in the older form, function_call", Outcome.OK, lambda call: {"function_call": call["function"]}
    ),
    "tool-call-cut": _calls("half a tool call, cut by max_tokens", Outcome.TRUNCATED, _halved, finish_reason="length"),
    "tool-call-broken": _calls("a tool call whose arguments are not JSON", Outcome.INVALID_OUTPUT, _halved),
    "stream-as-text": _streams("a stream that calls itself text/plain", _PLAIN, lambda parts: parts.whole),
    "stream-unasked": _streams("a stream, asked for or not", EVENTS, lambda parts: parts.whole),
    "ndjson": _streams("lines of JSON in place of events", _LINES, lambda parts: map(_as_line, parts.whole)),
    "done-without-finish": _streams(
        "all the text and [DONE], but no finish_reason",
        EVENTS,
        lambda parts: (*parts.opening, *parts.text, DONE),
        is_asked=True,
    ),
    "finish-then-cut": _streams(
        "the connection breaks off behind the finish_reason",
        EVENTS,
        lambda parts: (*parts.opening, *parts.text, *parts.finish),
        end=End.CLOSE,
        is_asked=True,
    ),
}


def _halves(asked: ChatRequest) -> tuple[str, str]:
    text = answer_text(asked)
    return text[: len(text) // 2], text[len(text) // 2 :]
