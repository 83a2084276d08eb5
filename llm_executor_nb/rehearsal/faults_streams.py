"""What goes wrong, or only looks odd, in a stream. A request that does not stream passes these faults by."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import Finding, Outcome, ScopeLevel
from llm_executor_nb.rehearsal.replies import answer, answer_headers, answer_text, completion
from llm_executor_nb.rehearsal.response import End, Response, event_response
from llm_executor_nb.rehearsal.rules import FaultSpec
from llm_executor_nb.rehearsal.sse import COMMENT, DONE, Parts, event, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.rules import Effect, Faults

    Edit = Callable[[Parts], Iterable[bytes]]
    """From the events of a good answer to what is sent in their place."""

_PACE_S = 0.05
_DISCONNECTED = {"code": 502, "message": "Provider disconnected unexpectedly"}
_WORDED = {"code": "server_error", "message": "Provider disconnected unexpectedly"}
_LIMITED = {"code": 429, "message": "Rate limit exceeded"}
_KEY_LIMITED = Finding(Outcome.RATE_LIMITED, ScopeLevel.KEY)
_ROUTE_LIMITED = Finding(Outcome.RATE_LIMITED, ScopeLevel.ROUTE)
_ENDED = [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]


def _row(
    does: str,
    finding: Finding | Outcome,
    edit: Edit,
    *,
    on_huggingface: Finding | None = None,
    end: End = End.WHOLE,
    pace_s: float = 0.0,
) -> FaultSpec:
    """Return a fault whose stream is a good answer's, edited."""

    def respond(request: ChatRequest, effect: Effect) -> Response:
        body = completion(request, answer_text(request))
        pieces = edit(parts_of(request, body))
        return event_response(pieces, effect.fault, headers=answer_headers(request, body), end=end, pace_s=pace_s)

    return FaultSpec(
        does=does,
        respond=respond,
        finding=Finding(finding) if isinstance(finding, Outcome) else finding,
        on_huggingface=on_huggingface,
        is_stream_only=True,
    )


def _ignored(request: ChatRequest, effect: Effect) -> Response:
    return replace(answer(request.unstreamed()), fault=effect.fault)


def _null_delta(parts: Parts) -> tuple[bytes, ...]:
    return (*parts.some, parts.chunk(choices=[{"index": 0, "delta": None, "finish_reason": None}]), *parts.rest)


def _on_many_lines(one: bytes) -> bytes:
    """Write an event's JSON on several lines; a client must join them, by the standard of server-sent events."""
    if not one.startswith(b"data: {"):
        return one
    lines = json.dumps(json.loads(one.removeprefix(b"data: ")), indent=1).splitlines()
    return "".join(f"data: {line}\n" for line in lines).encode() + b"\n"


def _with_fields(one: bytes) -> bytes:
    return b"event: message\nid: 1\nretry: 3000\n" + one


def _usage_on_finish(parts: Parts) -> tuple[bytes, ...]:
    finish = json.loads(parts.finish[0].removeprefix(b"data: "))
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    return (*parts.opening, *parts.text, event({**finish, "usage": usage}), *parts.done)


STREAMS: Faults = {
    "stream-error-first": _row(
        "an error is the first event",
        Outcome.SERVER_ERROR,
        lambda parts: (*parts.comments, event({"error": _DISCONNECTED})),
    ),
    "stream-error-first-429": _row(
        "an error with the code 429 is the first event",
        _KEY_LIMITED,
        lambda parts: (*parts.comments, event({"error": _LIMITED})),
        on_huggingface=_ROUTE_LIMITED,
    ),
    "stream-error-no-choices": _row(
        "an error beside choices of none, before any text",
        Outcome.SERVER_ERROR,
        lambda parts: (*parts.opening, parts.chunk(choices=[], error=_DISCONNECTED)),
    ),
    "stream-error-midway": _row(
        "an error alone, after some text",
        Outcome.SERVER_ERROR,
        lambda parts: (*parts.some, event({"error": _DISCONNECTED})),
    ),
    "stream-error-midway-word": _row(
        "an error whose code is a word, after some text",
        Outcome.SERVER_ERROR,
        lambda parts: (*parts.some, parts.chunk(error=_WORDED, choices=_ENDED)),
    ),
    "stream-error-midway-429": _row(
        "an error with the code 429, after some text",
        _KEY_LIMITED,
        lambda parts: (*parts.some, parts.chunk(error=_LIMITED, choices=_ENDED)),
        on_huggingface=_ROUTE_LIMITED,
    ),
    "stream-error-text": _row(
        "an error that is a text, after some text",
        Outcome.SERVER_ERROR,
        lambda parts: (*parts.some, event({"error": "Request failed during generation"})),
    ),
    "stream-no-end": _row(
        "all the text, but neither finish_reason nor [DONE]",
        Outcome.MALFORMED,
        lambda parts: (*parts.opening, *parts.text),
    ),
    "stream-done-unfinished": _row(
        "half the text and [DONE], but no finish_reason; then the connection breaks before the end of its framing",
        Outcome.CONNECTION,
        lambda parts: (*parts.some, DONE),
        end=End.CLOSE,
    ),
    "stream-empty": _row("no event", Outcome.EMPTY, lambda _: ()),
    "stream-only-done": _row("nothing but [DONE]", Outcome.EMPTY, lambda _: (DONE,)),
    "stream-bad-json": _row(
        "an event that is not JSON",
        Outcome.MALFORMED,
        lambda parts: (*parts.some, b'data: {"id": "gen-\n\n', *parts.rest),
    ),
    "stream-bad-utf8": _row(
        "an event that is not UTF-8",
        Outcome.MALFORMED,
        lambda parts: (*parts.some, parts.text[0].replace(b"practice", b"\xff\xfe\xc3("), *parts.rest),
    ),
    "stream-json-list": _row(
        "an event that is a list",
        Outcome.MALFORMED,
        lambda parts: (*parts.some, event(["an event?"]), *parts.rest),
    ),
    "stream-cut-early": _row(
        "the connection breaks off before any text", Outcome.CONNECTION, lambda parts: parts.opening, end=End.CLOSE
    ),
    "stream-role-stall": _row(
        "silence after the chunk with the role", Outcome.TIMEOUT, lambda parts: parts.opening, end=End.STALL
    ),
    "stream-stall": _row("silence after some text", Outcome.TIMEOUT, lambda parts: parts.some, end=End.STALL),
    "stream-comments": _row("endless comments", Outcome.TIMEOUT, lambda _: (COMMENT,), end=End.REPEAT, pace_s=_PACE_S),
    "stream-comments-midway": _row(
        "endless comments after some text",
        Outcome.TIMEOUT,
        lambda parts: (*parts.some, COMMENT),
        end=End.REPEAT,
        pace_s=_PACE_S,
    ),
    "stream-empty-chunks": _row(
        "endless chunks without text", Outcome.TIMEOUT, lambda parts: parts.opening, end=End.REPEAT, pace_s=_PACE_S
    ),
}

FINE_STREAMS: Faults = {
    "stream-ignored": FaultSpec(
        does="JSON in place of a stream, the whole answer",
        respond=_ignored,
        finding=Finding(Outcome.OK),
        is_stream_only=True,
    ),
    "stream-no-done": _row(
        "no [DONE]", Outcome.OK, lambda parts: (*parts.opening, *parts.text, *parts.finish, *parts.usage)
    ),
    "stream-done-stall": _row(
        "[DONE], and the connection stays open", Outcome.OK, lambda parts: parts.whole, end=End.STALL
    ),
    "stream-crlf": _row(
        "lines that end in CRLF", Outcome.OK, lambda parts: [one.replace(b"\n", b"\r\n") for one in parts.whole]
    ),
    "stream-many-lines": _row(
        "events on several data lines", Outcome.OK, lambda parts: map(_on_many_lines, parts.whole)
    ),
    "stream-tight": _row(
        "no space after `data:`", Outcome.OK, lambda parts: [one.replace(b"data: ", b"data:") for one in parts.whole]
    ),
    "stream-fields": _row(
        "events with event, id and retry lines", Outcome.OK, lambda parts: map(_with_fields, parts.whole)
    ),
    "stream-bytes": _row(
        "one byte at a time",
        Outcome.OK,
        lambda parts: [bytes((byte,)) for byte in b"".join(parts.whole)],
    ),
    "stream-null-choices": _row(
        "a chunk with choices null", Outcome.OK, lambda parts: (*parts.some, parts.chunk(choices=None), *parts.rest)
    ),
    "stream-null-delta": _row("a chunk with delta null", Outcome.OK, _null_delta),
    "stream-late-comments": _row(
        "comments between the text",
        Outcome.OK,
        lambda parts: (*parts.some, COMMENT, b": ping\n\n", *parts.rest),
    ),
    "stream-usage-on-finish": _row("the usage on the chunk that ends the text", Outcome.OK, _usage_on_finish),
}
