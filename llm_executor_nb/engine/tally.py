"""What the events of a stream tell beside the answer: how it ended, who answered, what it cost, what is hidden."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.foreign_json import get_in
from llm_executor_nb.core.verdicts.answers import MEDIA, has_reasoning

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEWS = (
    *("content", "tool_calls", "function_call", "refusal", *MEDIA),
    *("reasoning", "reasoning_content", "reasoning_details"),
)
"""Fields of a delta that end a silence."""
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
_DETAIL_COUNTS = ("cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens")
"""What LangChain reads of a usage."""


@dataclass(slots=True)
class Tally:
    """What the events of a stream tell that LangChain's chunks do not.

    Attributes:
        finish_reason: why the answer ended; None: no event said it.
        model: who answers.
        usage: what it cost, as the last event that told it.
        refusal: the pieces of the model's words for why it does not answer.
    """

    finish_reason: Any = None
    model: Any = None
    usage: Any = None
    refusal: list[str] = field(default_factory=list)
    _has_thoughts: bool = False

    def take(self, body: Mapping[str, Any]) -> bool:
        """Add one event; return whether it ends the silence: by text, a tool call, media, or a thought."""
        self.model = body.get("model") or self.model
        self.usage = body.get("usage") or self.usage
        choice = _choice_of(body)
        if choice is None:
            return False
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        delta = choice.get("delta") or choice.get("message")
        if not isinstance(delta, dict):
            return False
        if isinstance(refusal := delta.get("refusal"), str):
            self.refusal.append(refusal)
        if not self._has_thoughts and not delta.get("content"):
            self._has_thoughts = has_reasoning(delta, None)
        return any(delta.get(name) for name in _NEWS)

    @property
    def had_reasoning(self) -> bool:
        """Whether there was hidden reasoning."""
        return self._has_thoughts or has_reasoning({}, self.usage)


def with_legible_usage(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out a usage that is no counts, so that no answer is lost for it."""
    return body if _is_legible(body.get("usage")) else {**body, "usage": None}


def _choice_of(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the choice that LangChain is given of an event; None: there is none."""
    choices = body.get("choices")
    if not isinstance(choices, list):
        return None
    return next((one for one in choices if isinstance(one, dict) and not one.get("index")), None)


def _is_legible(usage: object) -> bool:
    if usage is None:
        return True
    counts = [get_in(usage, name) for name in _COUNTS]
    details = [get_in(usage, name) for name in _DETAILS]
    counts += [get_in(detail, name) for detail in details for name in _DETAIL_COUNTS]
    are_objects = all(isinstance(one, dict) for one in (usage, *(detail for detail in details if detail)))
    return are_objects and all(count is None or type(count) is int for count in counts)
