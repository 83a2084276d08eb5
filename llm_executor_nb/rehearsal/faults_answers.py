"""Replies with status 200 that are not an answer, and a few odd ones that are.

What a completion can say is said in a stream too; what only a JSON body can be (`choices: null`) comes as a JSON body,
also when a stream was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.outcomes import Finding, Outcome
from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.rehearsal.bodies import answer_headers, answer_text, completion
from llm_executor_nb.rehearsal.entry import FaultSpec, Shelf, is_status
from llm_executor_nb.rehearsal.faults_status import plain_refusal, status_entry
from llm_executor_nb.rehearsal.replies import stage_completion
from llm_executor_nb.rehearsal.response import stage_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect

    Body = dict[str, Any]

_THOUGHTS = "Let me think about this for a while, and then for a while longer."
_DISCONNECTED = {"code": 502, "message": "Provider disconnected", "metadata": {"error_type": "provider_unavailable"}}


def _half(asked: ChatRequest) -> str:
    text = answer_text(asked)
    return text[: len(text) // 2]


def _completes(does: str, outcome: Outcome, make: Callable[[ChatRequest], Body]) -> FaultSpec:
    """Return a row whose reply is a completion, streamed when a stream is asked for."""

    def stage(asked: ChatRequest, effect: Effect) -> Response:
        return stage_completion(asked, make(asked), effect.fault)

    return FaultSpec(does=does, stage=stage, finding=Finding(outcome))


def _body(does: str, outcome: Outcome, change: Callable[[Body], Body]) -> FaultSpec:
    """Return a row whose reply is a completion's JSON, changed in a way no stream has."""

    def stage(asked: ChatRequest, effect: Effect) -> Response:
        body = completion(asked, answer_text(asked))
        return stage_json(change(body), effect.fault, headers=answer_headers(asked, body))

    return FaultSpec(does=does, stage=stage, finding=Finding(outcome))


def _without(name: str) -> Callable[[Body], Body]:
    return lambda body: {key: value for key, value in body.items() if key != name}


def _choice(**changes: object) -> Callable[[Body], Body]:
    return lambda body: {**body, "choices": [{**body["choices"][0], **changes}]}


def _error(error: object) -> Callable[[Body], Body]:
    return lambda body: {**body, "choices": None, "error": error}


def _error_200(asked: ChatRequest, effect: Effect) -> Response:
    told = plain_refusal(asked, int(effect.value or 502))
    error = told.error
    if asked.backend == OPENROUTER and isinstance(error, dict):
        error = {**error, "metadata": {"provider_name": "Practice", "raw": "upstream error"}}
    body = completion(asked, None)
    return stage_json(_error(error)(body), effect.fault, headers=answer_headers(asked, body))


NO_ANSWERS: Shelf = {
    "empty": _completes("content null", Outcome.EMPTY, lambda asked: completion(asked, None)),
    "empty-text": _completes("content of no characters", Outcome.EMPTY, lambda asked: completion(asked, "")),
    "blank": _completes("content that is only spaces", Outcome.EMPTY, lambda asked: completion(asked, "  \n")),
    "only-reasoning": _completes(
        "reasoning, and no content", Outcome.EMPTY, lambda asked: completion(asked, None, reasoning=_THOUGHTS)
    ),
    "truncated": _completes(
        "max_tokens reached before any text",
        Outcome.TRUNCATED,
        lambda asked: completion(asked, "", finish_reason="length"),
    ),
    "truncated-reasoning": _completes(
        "max_tokens used up by reasoning",
        Outcome.TRUNCATED,
        lambda asked: completion(asked, None, finish_reason="length", reasoning=_THOUGHTS),
    ),
    "content_filter": _completes(
        "the answer was filtered",
        Outcome.CONTENT_FILTER,
        lambda asked: completion(asked, "", finish_reason="content_filter"),
    ),
    "content_filter-midway": _completes(
        "the answer was filtered after half of it",
        Outcome.CONTENT_FILTER,
        lambda asked: completion(asked, _half(asked), finish_reason="content_filter"),
    ),
    "message-refusal": _completes(
        "the model refuses, in the message's refusal",
        Outcome.CONTENT_FILTER,
        lambda asked: completion(asked, None, refusal="I cannot help with that."),
    ),
    "finish_error": _completes(
        "half an answer that ended in an error",
        Outcome.SERVER_ERROR,
        lambda asked: completion(asked, _half(asked), finish_reason="error", error=_DISCONNECTED),
    ),
    "finish_error-bare": _completes(
        "half an answer with finish_reason error and no more",
        Outcome.SERVER_ERROR,
        lambda asked: completion(asked, _half(asked), finish_reason="error"),
    ),
    "content-number": _completes("content is a number", Outcome.MALFORMED, lambda asked: completion(asked, 42)),
    "content-object": _completes(
        "content is an object", Outcome.MALFORMED, lambda asked: completion(asked, {"answer": answer_text(asked)})
    ),
    "200-error": FaultSpec(
        does="HTTP 200 with choices null and an error that has a status's code",
        stage=_error_200,
        finding=status_entry(502).finding,
        is_value=is_status,
        example="200-error=502",
    ),
    "200-error-string-code": _body(
        "HTTP 200 with an error whose code is a word",
        Outcome.SERVER_ERROR,
        _error({"code": "server_error", "message": "The provider had an error"}),
    ),
    "200-error-no-code": _body(
        "HTTP 200 with an error without a code", Outcome.SERVER_ERROR, _error({"message": "Something went wrong"})
    ),
    "200-error-text": _body("HTTP 200 with an error that is a text", Outcome.SERVER_ERROR, _error("Something broke")),
    "200-error-beside-text": _body(
        "HTTP 200 with an error beside a text that looks whole",
        Outcome.SERVER_ERROR,
        lambda body: {**body, "error": _DISCONNECTED},
    ),
    "no-usage": _body("an answer whose tokens and cost are not told", Outcome.OK, _without("usage")),
    "missing-choices": _body("no choices", Outcome.MALFORMED, _without("choices")),
    "null-choices": _body("choices null", Outcome.MALFORMED, lambda body: {**body, "choices": None}),
    "empty-choices": _body("choices of none", Outcome.MALFORMED, lambda body: {**body, "choices": []}),
    "null-choice": _body("a choice that is null", Outcome.MALFORMED, lambda body: {**body, "choices": [None]}),
    "no-message": _body(
        "a choice without a message",
        Outcome.MALFORMED,
        lambda body: {**body, "choices": [{"index": 0, "finish_reason": "stop"}]},
    ),
    "null-message": _body("a message that is null", Outcome.MALFORMED, _choice(message=None)),
    "length": _completes(
        "an answer that max_tokens cut off; it is one",
        Outcome.OK,
        lambda asked: completion(asked, answer_text(asked), finish_reason="length"),
    ),
}
