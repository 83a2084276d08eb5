"""What only a request for a schema can meet: answers that do not fit it, and providers that take no response format.

Any other request passes these faults by. The words of the refusals are the providers' own (openrouter.ai/docs,
structured outputs; public threads about Hugging Face's providers, Google's, Groq's, Cerebras' and llama.cpp's models).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import Finding, Need, Outcome, ScopeLevel
from llm_executor_nb.rehearsal.bodies import answer_text, completion
from llm_executor_nb.rehearsal.entry import BOTH, ONLY_OPENROUTER, FaultSpec, Shelf
from llm_executor_nb.rehearsal.examples import formatted_text, unfitting_text
from llm_executor_nb.rehearsal.replies import HINTS, Refusal, error_of, stage_completion, stage_refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.rehearsal.entry import Stage
    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect

_NO_ENDPOINT = (
    "No endpoints found that can handle the requested parameters. To learn more about provider routing, visit: "
    "https://openrouter.ai/docs/guides/routing/provider-selection"
)


_STATES = {
    "code": 400,
    "message": "The specified schema produces a constraint that has too many states for serving.",
    "status": "INVALID_ARGUMENT",
}
_WRAPPED = {
    "code": 400,
    "message": "Provider returned error",
    "metadata": {"provider_name": "Google AI Studio", "raw": json.dumps({"error": _STATES})},
}
_BY_PARAM = {"message": "Unsupported value.", "type": "invalid_request_error", "param": "response_format", "code": 400}
_LITERAL = (
    "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), "
    "'msg': \"Input should be 'text' or 'json_object'\", 'input': 'json_schema'}"
)
_FAILED_OUTPUT = {
    "message": "Failed to generate JSON. Please adjust your prompt. See 'failed_generation' for more details.",
    "type": "invalid_request_error",
    "code": "json_validate_failed",
    "failed_generation": '{"colour": "re',
}


def _wants_schema(asked: ChatRequest) -> bool:
    return asked.schema is not None


def _is_native(asked: ChatRequest) -> bool:
    return asked.response_format is not None


def _fitting(asked: ChatRequest) -> str:
    return formatted_text(asked) or ""


def _half(asked: ChatRequest) -> str:
    text = _fitting(asked)
    return text[: len(text) // 2]


def _says(
    does: str,
    outcome: Outcome,
    text: Callable[[ChatRequest], str],
    *,
    finish_reason: str = "stop",
    can_fit: Callable[[ChatRequest], bool] = _wants_schema,
) -> FaultSpec:
    def stage(asked: ChatRequest, effect: Effect) -> Response:
        return stage_completion(asked, completion(asked, text(asked), finish_reason=finish_reason), effect.fault)

    return FaultSpec(does=does, stage=stage, finding=Finding(outcome), can_fit=can_fit)


def _refuses(does: str, finding: Finding, stage: Stage, *, backends: tuple[str, ...] = BOTH) -> FaultSpec:
    return FaultSpec(does=does, stage=stage, finding=finding, backends=backends, can_fit=_is_native, options=HINTS)


def _told(status: int, words: str) -> Stage:
    return lambda asked, effect: stage_refusal(
        asked, effect, Refusal(status=status, error=error_of(asked, status, words))
    )


def _says_no(status: int, error: object) -> Stage:
    return lambda asked, effect: stage_refusal(asked, effect, Refusal(status=status, error=error))


SCHEMA_FAULTS: Shelf = {
    "invalid_json": _says("JSON that breaks off in the middle", Outcome.INVALID_OUTPUT, _half),
    "wrong_schema": _says("a JSON object that does not fit the schema", Outcome.INVALID_OUTPUT, unfitting_text),
    "cut-json": _says(
        "JSON that max_tokens, or the provider's own limit, cut off",
        Outcome.INVALID_OUTPUT,
        _half,
        finish_reason="length",
    ),
    "ignored-response_format": _says(
        "prose, because the provider ignores a response format", Outcome.INVALID_OUTPUT, answer_text, can_fit=_is_native
    ),
    "fenced-json": _says(
        "the JSON that is wanted, in a fence and with words around it; it is an answer",
        Outcome.OK,
        lambda asked: f"Here it is:\n```json\n{_fitting(asked)}\n```\nI hope this {{all of it}} helps.",
    ),
    "refused-response_format": _refuses(
        "the provider does not take a response format; one that is asked in words gets its answer",
        Finding(Outcome.UNSUPPORTED, ScopeLevel.BACKEND, Need.SCHEMA),
        _told(400, "`response_format` of type json_schema is not supported by this model"),
    ),
    "refused-parameters": _refuses(
        "no endpoint of OpenRouter's takes the response format; one that is asked in words gets its answer",
        Finding(Outcome.UNSUPPORTED, ScopeLevel.BACKEND, Need.PARAM),
        _told(404, _NO_ENDPOINT),
        backends=ONLY_OPENROUTER,
    ),
    "refused-schema": _refuses(
        "the provider finds the schema too complex, in words that name no parameter",
        Finding(Outcome.BAD_REQUEST),
        _says_no(400, _WRAPPED),
    ),
    "refused-response_format-param": _refuses(
        "the provider names the response format in the field `param` alone",
        Finding(Outcome.BAD_REQUEST),
        _says_no(400, _BY_PARAM),
    ),
    "refused-response_format-500": _refuses(
        "a server that does not know the response format says so with a 500",
        Finding(Outcome.SERVER_ERROR),
        _says_no(500, {"message": _LITERAL, "type": "internal_server_error", "param": None, "code": None}),
    ),
    "response_format-500": _refuses(
        "a server fails on the response format without a word of it",
        Finding(Outcome.SERVER_ERROR),
        _told(500, "Internal Server Error"),
    ),
    "json_validate_failed": _refuses(
        "the provider threw the model's answer away, because it did not keep to the response format",
        Finding(Outcome.INVALID_OUTPUT),
        _says_no(400, _FAILED_OUTPUT),
    ),
}
