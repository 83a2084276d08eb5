"""Is a reply an answer? One verdict for whole replies, streams and chat model objects.

It is a function of two things: why the answer ended, and what there is for the caller to have. A body is judged first,
so that LangChain need not read what is none; the message that LangChain makes of it is judged last, and that counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core.foreign_json import get_in, number
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Verdict
from llm_executor_nb.core.secret import shorten
from llm_executor_nb.core.verdicts.cost import cost_usd
from llm_executor_nb.core.verdicts.rate_headers import allowance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

LENGTH, FILTERED, FAILED, UNUSABLE = "length", "content_filter", "error", "malformed_function_call"
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    LENGTH: (
        "max_tokens",
        "max_output_tokens",
        "max_completion_tokens",
        "max_length",
        "model_length",
        "token_limit",
        "model_context_window_exceeded",
    ),
    FILTERED: (
        "content-filter",
        "content_filtered",
        "contentfilter",
        "safety",
        "refusal",
        "sensitive",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "image_safety",
        "image_recitation",
        "image_prohibited_content",
        "guardrail_intervened",
        "model_armor",
    ),
    FAILED: ("network_error", "server_error", "engine_error", "insufficient_system_resource", "abort", "aborted"),
    UNUSABLE: ("malformed_tool_call", "malformed_response", "unexpected_tool_call", "too_many_tool_calls"),
}
_MEANINGS: Final = {word: meaning for meaning, words in _WORDS.items() for word in (meaning, *words)}
"""What a finish_reason means in the words of Gemini, Anthropic, Bedrock, Mistral, DeepSeek, Zhipu and vLLM."""
TEXT_PARTS: Final = frozenset({"text", "output_text"})
MEDIA_PARTS: Final = frozenset(
    {"image_url", "image", "output_image", "audio", "audio_url", "input_audio", "output_audio", "video", "video_url"}
)
"""Types of the parts of a content that the caller can read, and can see or hear."""
THOUGHT_PARTS: Final = frozenset({"thinking", "redacted_thinking", "reasoning"})
THOUGHTS: Final = ("reasoning", "reasoning_content", "reasoning_details", "thinking")
"""Fields of a message in which servers tell hidden reasoning."""
MEDIA: Final = ("images", "audio")
"""Fields of a message that hold media."""
_LABELS: Final = frozenset({"type", "id", "index", "format", "detail", "mime_type", "media_type", "role", "object"})
"""Fields of media that only describe it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What there is for the caller in a body or a message.

    Attributes:
        has_text: text that is not blank.
        has_calls: a tool call that can be made.
        bad_call: what is wrong with a tool call that cannot; None: there is no such call.
        has_media: a picture, or speech.
        has_reasoning: thoughts that are not a part of the answer.
        refusal: the model's own words for why it does not answer.
        is_text: the content is of a kind that can be read.
    """

    has_text: bool = False
    has_calls: bool = False
    bad_call: str | None = None
    has_media: bool = False
    has_reasoning: bool = False
    refusal: str | None = None
    is_text: bool = True


ONLY_TEXT: Final = Said(has_text=True)
"""Most answers: with a text and no tool call, nothing else counts."""


def meaning(reason: object) -> str | None:
    """Return what a finish_reason means, one of the four above; None: an answer may end so."""
    return _MEANINGS.get(reason.strip().lower()) if isinstance(reason, str) else None


def judge(facts: Verdict, said: Said, body: dict[str, Any] | None = None) -> Verdict:
    """Return the verdict on what may be an answer.

    Args:
        facts: what the reply tells besides, or an earlier verdict; it is returned with another outcome and message.
        said: what there is for the caller.
        body: goes with the verdict if it is an answer.
    """
    end = meaning(facts.finish_reason)
    if end == FAILED:
        return replace(facts, outcome=Outcome.SERVER_ERROR, message="the answer ended in an error")
    if end == FILTERED:
        return replace(facts, outcome=Outcome.CONTENT_FILTER, message="the answer was filtered")
    if end == UNUSABLE:
        return replace(facts, outcome=Outcome.INVALID_OUTPUT, message="the model made a tool call that is none")
    if end == LENGTH and said.bad_call is not None:
        return replace(facts, outcome=Outcome.TRUNCATED, message="max_tokens was used up within a tool call")
    if said.has_text or said.has_calls or said.has_media:
        return facts if facts.outcome is Outcome.OK else replace(facts, outcome=Outcome.OK, body=body)
    return _judge_silence(facts, said, end)


def _judge_silence(facts: Verdict, said: Said, end: str | None) -> Verdict:
    """Say what a reply is that has nothing for the caller."""
    if not said.is_text:
        return replace(facts, outcome=Outcome.MALFORMED, message="the content is no text")
    if said.bad_call is not None:
        return replace(facts, outcome=Outcome.INVALID_OUTPUT, message=shorten(said.bad_call))
    if said.refusal is not None:
        return replace(facts, outcome=Outcome.CONTENT_FILTER, message=shorten(said.refusal))
    if end == LENGTH:
        by = " by hidden reasoning: raise max_tokens, or lower the reasoning effort" if said.has_reasoning else ""
        return replace(facts, outcome=Outcome.TRUNCATED, message=f"max_tokens was used up before any text{by}")
    if said.has_reasoning:
        words = "hidden reasoning came, and no text: raise max_tokens, or lower the reasoning effort"
        return replace(facts, outcome=Outcome.EMPTY, message=words)
    return replace(facts, outcome=Outcome.EMPTY, message="the answer is blank")


def said_in(message: Mapping[str, Any], usage: object) -> Said:
    """Return what a message of a body may have for the caller, judged kindly: a tool call is read later."""
    content = message.get("content")
    if isinstance(content, str) and content.strip() and not message.get("tool_calls"):
        return ONLY_TEXT
    parts = list(parts_of(content))
    return Said(
        has_text=any(is_text(part) for part in parts),
        has_calls=bool(message.get("tool_calls") or message.get("function_call")),
        has_media=has_media(message) or any(is_media(part) for part in parts),
        has_reasoning=has_reasoning(message, usage) or any(is_thought(part) for part in parts),
        refusal=refusal_in(message, parts),
        is_text=content is None or isinstance(content, str | list) or bool(parts),
    )


def parts_of(content: object) -> Iterator[object]:
    """Yield the parts of a content, which may be one text, one part alone, or a list of both."""
    if isinstance(content, list):
        yield from content
    elif isinstance(content, str) or (isinstance(content, dict) and _kind_of(content) is not None):
        yield content


def text_of_part(part: object) -> str | None:
    """Return the text of a part of a content; None: it is of another type."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or _kind_of(part) not in TEXT_PARTS:
        return None
    text = part.get("text")
    text = text.get("value") if isinstance(text, dict) else text
    return text if isinstance(text, str) else ""


def is_text(part: object) -> bool:
    """Whether a part of a content has text that is not blank."""
    return bool((text_of_part(part) or "").strip())


def is_media(part: object) -> bool:
    """Whether a part of a content is a picture or sound."""
    return isinstance(part, dict) and part.get("type") in MEDIA_PARTS and _is_filled(part)


def is_thought(part: object) -> bool:
    """Whether a part of a content is hidden reasoning."""
    return isinstance(part, dict) and part.get("type") in THOUGHT_PARTS


def has_media(fields: Mapping[str, Any]) -> bool:
    """Whether a message, or LangChain's additional fields of one, holds a picture or speech."""
    return any(_is_filled(fields.get(name)) for name in MEDIA)


def has_reasoning(fields: Mapping[str, Any], usage: object) -> bool:
    """Whether a message holds hidden reasoning, or its usage counts some."""
    spent = number(get_in(usage, "completion_tokens_details", "reasoning_tokens"))
    return bool(spent) or any(fields.get(name) for name in THOUGHTS)


def refusal_in(fields: Mapping[str, Any], parts: list[object]) -> str | None:
    """Return the words of a refusal, which stand in a field or in a part of the content."""
    told = (fields.get("refusal"), *(get_in(part, "refusal") for part in parts))
    return next((words for words in told if isinstance(words, str) and words.strip()), None)


def _kind_of(part: Mapping[str, Any]) -> str | None:
    """Return the type of a part; one that has only a text needs none."""
    kind = part.get("type")
    if kind is None and isinstance(part.get("text"), str):
        return "text"
    return kind if isinstance(kind, str) else None


def _is_filled(value: object) -> bool:
    """Whether there is anything in a medium but labels."""
    if isinstance(value, dict):
        return any(_is_filled(inner) for name, inner in value.items() if name not in _LABELS)
    if isinstance(value, list):
        return any(_is_filled(inner) for inner in value)
    return isinstance(value, str) and bool(value.strip())


# --- what else a reply tells ------------------------------------------------------------------------------------


def facts_of(
    body: Mapping[str, Any], *, status: int | None, headers: Mapping[str, str], now_utc: datetime, finish_reason: object
) -> Verdict:
    """Return what a reply tells of who answered and what it cost; the outcome is not yet known.

    Args:
        body: its parsed JSON, or what stands for it.
        status: the HTTP status.
        headers: names in lower case.
        now_utc: when it came, for reset times.
        finish_reason: why the answer ended.
    """
    usage = body.get("usage")
    return Verdict(
        outcome=Outcome.MALFORMED,
        http_status=status,
        finish_reason=_text(finish_reason),
        response_model=_text(body.get("model")),
        input_tokens=_count(get_in(usage, "prompt_tokens")),
        output_tokens=_count(get_in(usage, "completion_tokens")),
        cost_usd=cost_usd(usage),
        allowance=allowance(headers, now_utc),
    )


def _text(value: object) -> str | None:
    return shorten(value) if isinstance(value, str) else None


def _count(value: object) -> int | None:
    found = number(value)
    return int(found) if found is not None and 0 <= found < 2**53 else None
