"""Replies with status 200 and a completion: some are not an answer, some are one in an unusual form.

A completion is streamed when the request asks for a stream. What only a JSON body can be (`choices: null`) is sent as
JSON, also when the request asks for a stream. Some of these faults meet only requests with tools or with a schema.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.outcomes import Finding, Outcome
from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.rehearsal.examples import formatted_text, tool_calls, unfitting_text
from llm_executor_nb.rehearsal.faults import status_error
from llm_executor_nb.rehearsal.replies import (
    answer_headers,
    answer_text,
    completion,
    completion_response,
    half_answer,
)
from llm_executor_nb.rehearsal.response import EVENTS, End, Response, event_response, json_response
from llm_executor_nb.rehearsal.rules import ONLY_OPENROUTER, FaultSpec, fits_always, is_status
from llm_executor_nb.rehearsal.sse import DONE, event, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.rules import Effect, Faults
    from llm_executor_nb.rehearsal.sse import Parts

    Body = dict[str, Any]

_THOUGHTS = "Let me think about this for a while, and then for a while longer."
_DISCONNECTED = {"code": 502, "message": "Provider disconnected", "metadata": {"error_type": "provider_unavailable"}}
_PICTURE = {
    "type": "image_url",
    "image_url": {
        "url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAA"
        "SUVORK5CYII="
    },
}
_SPEECH = {"id": "audio_practice", "data": "UklGRiQAAABXQVZF", "transcript": "A practice answer.", "expires_at": 9}
_PLAIN_TEXT = "text/plain; charset=utf-8"
_NDJSON = "application/x-ndjson"


def _says(
    does: str,
    outcome: Outcome,
    content: object,
    finish_reason: str = "stop",
    can_fit: Callable[[ChatRequest], bool] = fits_always,
    **more: Any,  # noqa: ANN401 - JSON of any shape
) -> FaultSpec:
    """Return a fault whose reply is a completion with this content; a function makes it of the request."""

    def respond(request: ChatRequest, effect: Effect) -> Response:
        text = content(request) if callable(content) else content
        body = completion(request, text, finish_reason=finish_reason, **more)
        return completion_response(request, body, effect.fault)

    return FaultSpec(does=does, respond=respond, finding=Finding(outcome), can_fit=can_fit)


# --- no answer ----------------------------------------------------------------------------------------------------


def _body(does: str, outcome: Outcome, change: Callable[[Body], Body]) -> FaultSpec:
    """Return a fault whose reply is a completion's JSON, changed in a way that no stream has."""

    def respond(request: ChatRequest, effect: Effect) -> Response:
        body = completion(request, answer_text(request))
        return json_response(change(body), effect.fault, headers=answer_headers(request, body))

    return FaultSpec(does=does, respond=respond, finding=Finding(outcome))


def _without(field: str) -> Callable[[Body], Body]:
    return lambda body: {name: value for name, value in body.items() if name != field}


def _with(**changes: object) -> Callable[[Body], Body]:
    return lambda body: {**body, **changes}


def _choice(**changes: object) -> Callable[[Body], Body]:
    return lambda body: {**body, "choices": [{**body["choices"][0], **changes}]}


def _error_200(request: ChatRequest, effect: Effect) -> Response:
    error = status_error(request, int(effect.value or 502))
    if request.backend == OPENROUTER and isinstance(error, dict):
        error = {**error, "metadata": {"provider_name": request.upstream.name, "raw": "upstream error"}}
    body = completion(request, None)
    headers = answer_headers(request, body)
    return json_response({**body, "choices": None, "error": error}, effect.fault, headers=headers)


NO_ANSWERS: Faults = {
    "empty": _says("content null", Outcome.EMPTY, None),
    "empty-text": _says("content of no characters", Outcome.EMPTY, ""),
    "blank": _says("content that is only spaces", Outcome.EMPTY, "  \n"),
    "only-reasoning": _says("reasoning, and no content", Outcome.EMPTY, None, reasoning=_THOUGHTS),
    "truncated": _says("max_tokens reached before any text", Outcome.TRUNCATED, "", "length"),
    "truncated-reasoning": _says(
        "max_tokens used up by reasoning", Outcome.TRUNCATED, None, "length", reasoning=_THOUGHTS
    ),
    "content_filter": _says("the answer was filtered", Outcome.CONTENT_FILTER, "", "content_filter"),
    "content_filter-midway": _says(
        "the answer was filtered after half of it", Outcome.CONTENT_FILTER, half_answer, "content_filter"
    ),
    "message-refusal": _says(
        "the model refuses, in the message's refusal", Outcome.CONTENT_FILTER, None, refusal="I cannot help with that."
    ),
    "finish_error": _says(
        "half an answer that ended in an error", Outcome.SERVER_ERROR, half_answer, "error", error=_DISCONNECTED
    ),
    "finish_error-bare": _says(
        "half an answer with finish_reason error and no more", Outcome.SERVER_ERROR, half_answer, "error"
    ),
    "content-number": _says("content is a number", Outcome.MALFORMED, 42),
    "content-object": _says(
        "content is an object", Outcome.MALFORMED, lambda request: {"answer": answer_text(request)}
    ),
    "200-error": FaultSpec(
        does="HTTP 200 with choices null and an error that has a status's code",
        respond=_error_200,
        finding=Finding(Outcome.SERVER_ERROR),
        is_value=is_status,
        example="200-error=502",
    ),
    "200-error-string-code": _body(
        "HTTP 200 with an error whose code is a word",
        Outcome.SERVER_ERROR,
        _with(choices=None, error={"code": "server_error", "message": "The provider had an error"}),
    ),
    "200-error-no-code": _body(
        "HTTP 200 with an error without a code",
        Outcome.SERVER_ERROR,
        _with(choices=None, error={"message": "Something went wrong"}),
    ),
    "200-error-text": _body(
        "HTTP 200 with an error that is a text", Outcome.SERVER_ERROR, _with(choices=None, error="Something broke")
    ),
    "200-error-beside-text": _body(
        "HTTP 200 with an error beside a text that looks whole", Outcome.SERVER_ERROR, _with(error=_DISCONNECTED)
    ),
    "missing-choices": _body("no choices", Outcome.MALFORMED, _without("choices")),
    "null-choices": _body("choices null", Outcome.MALFORMED, _with(choices=None)),
    "empty-choices": _body("choices of none", Outcome.MALFORMED, _with(choices=[])),
    "null-choice": _body("a choice that is null", Outcome.MALFORMED, _with(choices=[None])),
    "no-message": _body(
        "a choice without a message", Outcome.MALFORMED, _with(choices=[{"index": 0, "finish_reason": "stop"}])
    ),
    "null-message": _body("a message that is null", Outcome.MALFORMED, _choice(message=None)),
    "length": _says("an answer that max_tokens cut off; it is one", Outcome.OK, answer_text, "length"),
}


# --- bills, and who served the answer -----------------------------------------------------------------------------


def _changed(does: str, change: Callable[[Body], Body]) -> FaultSpec:
    """Return a fault of OpenRouter's whose reply is an answer, whole or streamed, with other fields beside it."""

    def respond(request: ChatRequest, effect: Effect) -> Response:
        return completion_response(request, change(completion(request, answer_text(request))), effect.fault)

    return FaultSpec(does=does, respond=respond, finding=Finding(Outcome.OK), backends=ONLY_OPENROUTER)


def _with_usage(more: Callable[[Body], Body]) -> Callable[[Body], Body]:
    return lambda body: {**body, "usage": {**body["usage"], **more(body["usage"])}}


def _unnamed(body: Body) -> Body:
    return _without("provider")(_without("openrouter_metadata")(body))


def _in_one_event(does: str, place: int) -> FaultSpec:
    """Return a fault of OpenRouter's whose stream names the provider in one event only."""

    def respond(request: ChatRequest, effect: Effect) -> Response:
        body = completion(request, answer_text(request))
        bare = parts_of(request, _unnamed(body))
        events = [one for one in bare.whole if one.startswith(b"data: {")]
        events[place] = event({**json.loads(events[place].removeprefix(b"data: ")), "provider": body["provider"]})
        return event_response((*events, DONE), effect.fault, headers=answer_headers(request, body))

    return FaultSpec(
        does=does,
        respond=respond,
        finding=Finding(Outcome.OK),
        backends=ONLY_OPENROUTER,
        is_stream_only=True,
    )


BILLS: Faults = {
    "no-usage": _body("an answer that does not say its tokens and cost", Outcome.OK, _without("usage")),
    "own-provider-key": _changed(
        "an answer that the user's own provider key paid: its cost is 0, and a field beside it has what was spent",
        _with_usage(
            lambda usage: {
                "cost": 0,
                "is_byok": True,
                "cost_details": {"upstream_inference_cost": usage["cost"]},
            }
        ),
    ),
}
SERVED: Faults = {
    "provider-in-metadata": _changed("an answer whose provider only the router's metadata names", _without("provider")),
    "no-provider": _changed(
        "an answer that names no provider",
        _unnamed,
    ),
    "provider-first": _in_one_event("a stream that names its provider in the first event only", 0),
    "provider-last": _in_one_event("a stream that names its provider in the last event only", -1),
    "default-tier": _changed(
        "an answer at the default tier, whatever was asked for", lambda body: {**body, "service_tier": "default"}
    ),
    "cached-and-thought": _changed(
        "an answer whose prompt was in a cache, after 7 tokens of hidden reasoning",
        _with_usage(
            lambda usage: {
                "prompt_tokens_details": {"cached_tokens": usage["prompt_tokens"]},
                "completion_tokens_details": {"reasoning_tokens": 7},
            }
        ),
    ),
}


# --- answers to requests for a schema -------------------------------------------------------------------------------


def _wants_schema(request: ChatRequest) -> bool:
    return request.schema is not None


def _wants_native_schema(request: ChatRequest) -> bool:
    return request.response_format is not None


def _fitting(request: ChatRequest) -> str:
    return formatted_text(request) or ""


def _half_fitting(request: ChatRequest) -> str:
    text = _fitting(request)
    return text[: len(text) // 2]


def _fenced(request: ChatRequest) -> str:
    return f"Here it is:\n```json\n{_fitting(request)}\n```\nI hope this {{all of it}} helps."


SCHEMA_ANSWERS: Faults = {
    "invalid_json": _says(
        "JSON that breaks off in the middle", Outcome.INVALID_OUTPUT, _half_fitting, can_fit=_wants_schema
    ),
    "wrong_schema": _says(
        "a JSON object that does not fit the schema", Outcome.INVALID_OUTPUT, unfitting_text, can_fit=_wants_schema
    ),
    "cut-json": _says(
        "JSON that max_tokens, or the provider's own limit, cut off",
        Outcome.INVALID_OUTPUT,
        _half_fitting,
        "length",
        can_fit=_wants_schema,
    ),
    "ignored-response_format": _says(
        "prose, because the provider ignores a response format",
        Outcome.INVALID_OUTPUT,
        answer_text,
        can_fit=_wants_native_schema,
    ),
    "fenced-json": _says(
        "the JSON that is wanted, in a fence and with words around it; it is an answer",
        Outcome.OK,
        _fenced,
        can_fit=_wants_schema,
    ),
}


# --- answers in other forms than OpenAI's documents have: real servers send each, and a client must take it ---------


def _streams(
    does: str,
    content_type: str,
    edit: Callable[[Parts], Iterable[bytes]],
    *,
    end: End = End.WHOLE,
    is_stream_only: bool = False,
) -> FaultSpec:
    """Return a fault whose reply is a stream, also when the request asks for none, unless `is_stream_only`."""

    def respond(request: ChatRequest, effect: Effect) -> Response:
        body = completion(request, answer_text(request))
        headers = answer_headers(request, body)
        response = event_response(edit(parts_of(request, body)), effect.fault, headers=headers, end=end)
        return replace(response, headers={**response.headers, "Content-Type": content_type})

    return FaultSpec(does=does, respond=respond, finding=Finding(Outcome.OK), is_stream_only=is_stream_only)


def _has_call(request: ChatRequest) -> bool:
    return tool_calls(request) is not None


def _calls(
    does: str,
    outcome: Outcome,
    change: Callable[[Body], Body],
    *,
    finish_reason: str = "tool_calls",
    edit: Callable[[bytes], bytes] = bytes,
) -> FaultSpec:
    """Return a fault for requests with tools, whose reply is a call in another form."""

    def respond(request: ChatRequest, effect: Effect) -> Response:
        [call] = tool_calls(request) or [{}]
        body = completion(request, None, finish_reason=finish_reason, **change(call))
        response = completion_response(request, body, effect.fault)
        return replace(response, pieces=tuple(map(edit, response.pieces))) if request.is_stream else response

    return FaultSpec(does=does, respond=respond, finding=Finding(outcome), can_fit=_has_call)


def _halved_call(call: Body) -> Body:
    arguments = call["function"]["arguments"]
    function = {**call["function"], "arguments": arguments[: len(arguments) // 2]}
    return {"tool_calls": [{**call, "function": function}]}


def _without_index(event: bytes) -> bytes:
    return event.replace(b'"index": 0, "function"', b'"function"')


def _as_line(event: bytes) -> bytes:
    """Return the JSON of an event alone; comments and `[DONE]` are not JSON."""
    data = event.removeprefix(b"data: ").strip()
    return json.dumps(json.loads(data)).encode() + b"\n" if data.startswith(b"{") else b""


def _text_in_parts(request: ChatRequest) -> list[Body]:
    first = half_answer(request)
    return [{"type": "text", "text": half} for half in (first, answer_text(request)[len(first) :])]


FORMS: Faults = {
    "text-in-parts": _says("a text in two parts", Outcome.OK, _text_in_parts),
    "images-only": _says("a picture and no text", Outcome.OK, "", images=[_PICTURE]),
    "audio-only": _says("speech and no text", Outcome.OK, None, audio=_SPEECH),
    "tool-call-unindexed": _calls(
        "a tool call without index, id and type",
        Outcome.OK,
        lambda call: {"tool_calls": [{"function": call["function"]}]},
        edit=_without_index,
    ),
    "tool-call-old": _calls(
        "a tool call in the older form, function_call", Outcome.OK, lambda call: {"function_call": call["function"]}
    ),
    "tool-call-cut": _calls(
        "half a tool call, cut by max_tokens", Outcome.TRUNCATED, _halved_call, finish_reason="length"
    ),
    "tool-call-broken": _calls("a tool call whose arguments are not JSON", Outcome.INVALID_OUTPUT, _halved_call),
    "stream-as-text": _streams("a stream that calls itself text/plain", _PLAIN_TEXT, lambda parts: parts.whole),
    "stream-unasked": _streams("a stream, asked for or not", EVENTS, lambda parts: parts.whole),
    "ndjson": _streams("lines of JSON in place of events", _NDJSON, lambda parts: map(_as_line, parts.whole)),
    "done-without-finish": _streams(
        "all the text and [DONE], but no finish_reason",
        EVENTS,
        lambda parts: (*parts.opening, *parts.text, DONE),
        is_stream_only=True,
    ),
    "finish-then-cut": _streams(
        "the connection breaks off after the finish_reason",
        EVENTS,
        lambda parts: (*parts.opening, *parts.text, *parts.finish),
        end=End.CLOSE,
        is_stream_only=True,
    ),
}
