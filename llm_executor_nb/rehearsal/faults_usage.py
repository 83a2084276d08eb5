"""What only a stream that shall bring its usage can meet: a provider that does not take `stream_options`.

Any other request passes these faults by. The body is Mistral's (openai/openai-agents-python#442).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import Finding, Outcome
from llm_executor_nb.rehearsal.entry import FaultSpec, Shelf
from llm_executor_nb.rehearsal.response import stage_json

if TYPE_CHECKING:
    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect

_FORBIDDEN = {
    "type": "extra_forbidden",
    "loc": ["body", "stream_options", "include_usage"],
    "msg": "Extra inputs are not permitted",
    "input": True,
}


def _refused(_: ChatRequest, effect: Effect) -> Response:
    told = {"object": "error", "message": {"detail": [_FORBIDDEN]}, "type": "invalid_request_error", "code": None}
    return stage_json(told, effect.fault, status=422)


USAGE_FAULTS: Shelf = {
    "refused-stream_options": FaultSpec(
        does="the provider does not take stream_options; one that is asked without them streams its answer",
        stage=_refused,
        finding=Finding(Outcome.BAD_REQUEST),
        is_stream_only=True,
        can_fit=lambda asked: asked.wants_usage,
    ),
}
