"""Answers whose bill is told in another way than usual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.outcomes import Finding, Outcome
from llm_executor_nb.rehearsal.bodies import answer_text, completion
from llm_executor_nb.rehearsal.entry import ONLY_OPENROUTER, FaultSpec, Shelf
from llm_executor_nb.rehearsal.replies import stage_completion

if TYPE_CHECKING:
    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect


def _paid_elsewhere(asked: ChatRequest, effect: Effect) -> Response:
    body = completion(asked, answer_text(asked))
    usage: dict[str, Any] = body["usage"]
    bill = {"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": usage["cost"]}}
    return stage_completion(asked, {**body, "usage": {**usage, **bill}}, effect.fault)


BILLS: Shelf = {
    "own-provider-key": FaultSpec(
        does="an answer that the user's own provider key paid: its cost is 0, and what was spent stands beside it",
        stage=_paid_elsewhere,
        finding=Finding(Outcome.OK),
        backends=ONLY_OPENROUTER,
    ),
}
