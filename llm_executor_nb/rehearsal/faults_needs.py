"""Refusals of what only some requests need or carry: a picture, a tool, a parameter, conditions, earlier messages.

Any other request passes these faults by. Words as providers say them (openrouter.ai/docs; public threads).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import Finding, Need, Outcome, ScopeLevel
from llm_executor_nb.rehearsal.entry import BOTH, ONLY_OPENROUTER, FaultSpec, Shelf
from llm_executor_nb.rehearsal.replies import HINTS, Refusal, error_of, stage_refusal

if TYPE_CHECKING:
    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect

_UNSIGNED = (
    "Gemini models require OpenRouter reasoning details to be preserved in each request. Function call is missing a "
    "thought_signature."
)
_FAILED_CALL = "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details."


def _refuses(
    does: str, need: Need, status: int, words: str, *, backends: tuple[str, ...] = BOTH, **error: object
) -> FaultSpec:
    """Return a row that refuses requests with a need: all providers of a backend on OpenRouter, one elsewhere."""

    def stage(asked: ChatRequest, effect: Effect) -> Response:
        told = error_of(asked, status, words)
        told = {**told, **error} if isinstance(told, dict) else told
        return stage_refusal(asked, effect, Refusal(status=status, error=told))

    return FaultSpec(
        does=does,
        stage=stage,
        finding=Finding(Outcome.UNSUPPORTED, ScopeLevel.BACKEND, need),
        on_huggingface=Finding(Outcome.UNSUPPORTED, ScopeLevel.PROVIDER, need),
        backends=backends,
        can_fit=lambda asked: need in asked.needs,
        options=HINTS,
    )


def _openrouter(does: str, need: Need, words: str, **error: object) -> FaultSpec:
    return _refuses(does, need, 404, words, backends=ONLY_OPENROUTER, **error)


def _final(code: str, **more: object) -> dict[str, object]:
    return {"code": code, "retryable": False, **more}


def _failed_call(asked: ChatRequest, effect: Effect) -> Response:
    told = {
        "message": _FAILED_CALL,
        "type": "invalid_request_error",
        "code": "tool_use_failed",
        "failed_generation": "<f>",
    }
    return stage_refusal(asked, effect, Refusal(status=400, error=told))


def _wants_reasoning(asked: ChatRequest, effect: Effect) -> Response:
    metadata = {"provider_name": "Google AI Studio", "raw": _UNSIGNED}
    told = {"code": 400, "message": "Provider returned error", "metadata": metadata}
    return stage_refusal(asked, effect, Refusal(status=400, error=told))


NEED_FAULTS: Shelf = {
    "no-image": _openrouter("no endpoint takes images", Need.IMAGE, "No endpoints found that support image input"),
    "no-file": _openrouter("no endpoint takes files", Need.FILE, "No endpoints found that support file input"),
    "no-audio": _openrouter("no endpoint takes audio", Need.AUDIO, "No endpoints found that support input audio"),
    "no-video": _openrouter("no endpoint takes videos", Need.VIDEO, "No endpoints found that support video input"),
    "no-tools": _openrouter(
        "no endpoint takes tools",
        Need.TOOLS,
        "No endpoints found that support tool use. To learn more about provider routing, visit: https://openrouter.ai",
    ),
    "privacy_restricted": _openrouter(
        "no provider meets the privacy that is asked for",
        Need.POLICY,
        "{model} is not available: the privacy that is asked for leaves no provider.",
        availability=_final("privacy_restricted"),
    ),
    "constraint_filtered": _openrouter(
        "no provider meets the conditions of the request",
        Need.POLICY,
        "{model} is not available: what is asked for leaves no provider.",
        availability=_final("constraint_filtered", excluded_by=["max_price"]),
    ),
    "require_parameters": _openrouter(
        "no provider takes the parameters of the request",
        Need.PARAM,
        "{model} is not available: the parameters leave no provider.",
        availability=_final("constraint_filtered", excluded_by=["require_parameters"]),
    ),
    "text-only": _refuses(
        "the model reads no images, told with a 500",
        Need.IMAGE,
        500,
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
    ),
    "no-functions": _refuses(
        "the model calls no tools", Need.TOOLS, 400, "{model} does not support tools", type="invalid_request_error"
    ),
    "no-temperature": _refuses(
        "the model takes no temperature",
        Need.PARAM,
        400,
        "Unsupported parameter: 'temperature' is not supported with this model.",
    ),
    "tool_use_failed": FaultSpec(
        does="the model's own tool call cannot be read",
        stage=_failed_call,
        finding=Finding(Outcome.INVALID_OUTPUT),
        can_fit=lambda asked: Need.TOOLS in asked.needs,
        options=HINTS,
    ),
}
HISTORY_FAULTS: Shelf = {
    "wants-reasoning": FaultSpec(
        does="an earlier tool call comes back without the reasoning_details it was made with",
        stage=_wants_reasoning,
        finding=Finding(Outcome.BAD_REQUEST),
        backends=ONLY_OPENROUTER,
        can_fit=lambda asked: asked.lacks_reasoning,
        options=HINTS,
    ),
}
