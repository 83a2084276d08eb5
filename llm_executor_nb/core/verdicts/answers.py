"""Is a reply an answer? One verdict for whole replies, streams and chat model objects, and what the reply cost.

The verdict depends on two things: why the answer ended, and what content there is for the caller. A body is judged
first, so that LangChain does not read what is not an answer. The message that LangChain makes of it is judged last, and
that verdict counts (design 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core.foreign_json import as_object, get_in, number
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Verdict
from llm_executor_nb.core.verdicts.rate_headers import allowance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

# fmt: off
LENGTH, FILTERED, FAILED, UNUSABLE = "length", "content_filter", "error", "malformed_function_call"
_FINISH_REASONS: Final[dict[str, tuple[str, ...]]] = {
    LENGTH: (
        "max_tokens", "max_output_tokens", "max_completion_tokens", "max_length", "model_length", "token_limit",
        "model_context_window_exceeded",
    ),
    FILTERED: (
        "content-filter", "content_filtered", "contentfilter", "safety", "refusal", "sensitive", "recitation",
        "blocklist", "prohibited_content", "spii", "image_safety", "image_recitation", "image_prohibited_content",
        "guardrail_intervened", "model_armor",
    ),
    FAILED: ("network_error", "server_error", "engine_error", "insufficient_system_resource", "abort", "aborted"),
    UNUSABLE: ("malformed_tool_call", "malformed_response", "unexpected_tool_call", "too_many_tool_calls"),
}
"""OpenAI's finish_reasons, and the names of Gemini, Anthropic, Bedrock, Mistral, DeepSeek, Zhipu and vLLM for them."""
_MEANINGS: Final = {name: reason for reason, names in _FINISH_REASONS.items() for name in (reason, *names)}
TEXT_PARTS: Final = frozenset({"text", "output_text"})
MEDIA_PARTS: Final = frozenset({
    "image_url", "image", "output_image", "audio", "audio_url", "input_audio", "output_audio", "video",
    "video_url",
})
THOUGHT_PARTS: Final = frozenset({"thinking", "redacted_thinking", "reasoning"})
"""Types of the parts of a content: text, what the caller can see or hear, and hidden reasoning."""
THOUGHTS: Final = ("reasoning", "reasoning_content", "reasoning_details", "thinking")
"""Fields of a message that hold hidden reasoning."""
MEDIA: Final = ("images", "audio")
"""Fields of a message that hold media."""
_LABELS: Final = frozenset({"type", "id", "index", "format", "detail", "mime_type", "media_type", "role", "object"})
"""Fields of media that only describe it."""
MOST_PARTS: Final = 1_000
"""Parts of one message that are read. More of them would take long, and no model sends them."""
_GENERATION: Final = "gen-"
"""How OpenRouter's ids of generations begin."""
_UPSTREAM: Final = "upstream_inference_cost"
_UPSTREAM_PARTS: Final = (
    ("upstream_inference_prompt_cost", "upstream_inference_completions_cost"),
    ("upstream_inference_input_cost", "upstream_inference_output_cost"),
)
"""The two parts of the upstream's cost, by their names in two of OpenRouter's interfaces."""
# fmt: on
FACTS: Final = (
    *("finish_reason", "response_model", "input_tokens", "output_tokens", "cost_usd"),
    *("upstream", "service_tier", "cached_tokens", "reasoning_tokens", "generation_id"),
)
"""What `facts_of` reads, by the names of a verdict and of an attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a body or a message has for the caller.

    Attributes:
        has_text: text that is not blank.
        has_calls: tool calls that can be made.
        bad_call: what is wrong with the first tool call that cannot be made; None: there is none.
        has_media: a picture, audio or video.
        has_reasoning: hidden reasoning, which is not a part of the answer.
        refusal: the model's own reason for not answering.
        is_readable: the content has a known shape.
    """

    has_text: bool = False
    has_calls: bool = False
    bad_call: str | None = None
    has_media: bool = False
    has_reasoning: bool = False
    refusal: str | None = None
    is_readable: bool = True


_OF_A_TEXT: Final = frozenset({"role", "content"})
"""Fields of a message that is nothing but a text; the others are missing or empty then."""
ONLY_TEXT: Final = Content(has_text=True)
"""Most answers: where there is text and no tool call, nothing else matters."""


def finish_meaning(reason: object) -> str | None:
    """Return what a finish_reason means, one of the four above; None: it is the end of an answer."""
    return _MEANINGS.get(reason.strip().lower()) if isinstance(reason, str) else None


def judge(answer: Verdict, content: Content) -> Verdict:
    """Return the verdict on what may be an answer.

    Args:
        answer: the verdict if it is one; else it is returned without its body, with another outcome and message.
        content: what there is for the caller.
    """
    # design 3.1: what ended in an error, a filter or a cut call is not an answer, whatever text it has
    end = finish_meaning(answer.finish_reason)
    if end == FAILED:
        return overruled(answer, Outcome.SERVER_ERROR, "the answer ended in an error")
    if end == FILTERED:
        return overruled(answer, Outcome.CONTENT_FILTER, "the answer was filtered")
    if end == UNUSABLE:
        return overruled(answer, Outcome.INVALID_OUTPUT, "the model made a malformed tool call")
    if end == LENGTH and content.bad_call is not None:
        return overruled(answer, Outcome.TRUNCATED, "max_tokens was used up within a tool call")
    if content.has_text or content.has_calls or content.has_media:
        return answer  # design 3.1: text that ended at max_tokens is one too; the log has its finish_reason
    return _judge_no_content(answer, content, end)


def _judge_no_content(answer: Verdict, content: Content, end: str | None) -> Verdict:
    """Return the verdict on a reply that has nothing for the caller."""
    if not content.is_readable:
        return overruled(answer, Outcome.MALFORMED, "the content is not text")
    if content.bad_call is not None:
        return overruled(answer, Outcome.INVALID_OUTPUT, content.bad_call)
    if content.refusal is not None:
        return overruled(answer, Outcome.CONTENT_FILTER, content.refusal)
    if end == LENGTH:
        why = " by hidden reasoning: raise max_tokens, or lower the reasoning effort" if content.has_reasoning else ""
        return overruled(answer, Outcome.TRUNCATED, f"max_tokens was used up before any text{why}")
    if content.has_reasoning:
        message = "hidden reasoning came, and no text: raise max_tokens, or lower the reasoning effort"
        return overruled(answer, Outcome.EMPTY, message)
    return overruled(answer, Outcome.EMPTY, "the answer is blank")


def overruled(facts: Verdict, outcome: Outcome, message: str) -> Verdict:
    """Return the verdict on a reply that looked like an answer and is not one; what else it says stays."""
    return replace(facts, outcome=outcome, body=None, message=shorten(message))


# --- the content --------------------------------------------------------------------------------------------------


def content_of(message: Mapping[str, Any], usage: object) -> Content:
    """Return what a body's message may have for the caller; whether a tool call can be made is checked later."""
    content = message.get("content")
    # the short way for nearly every answer: a column may have a million
    if isinstance(content, str) and content.strip() and not message.get("tool_calls"):
        return ONLY_TEXT
    parts = list(parts_of(content))
    return Content(
        has_text=any(is_text(part) for part in parts),
        has_calls=bool(message.get("tool_calls") or message.get("function_call")),
        has_media=has_media(message) or any(is_media(part) for part in parts),
        has_reasoning=has_reasoning(message, usage) or any(is_thought(part) for part in parts),
        refusal=refusal_in(message, parts),
        is_readable=content is None or isinstance(content, str | list) or bool(parts),
    )


def sole_text(body: dict[str, Any]) -> str | None:
    """Return the text of an answer's body; None: its message has something else too, which may matter to a caller."""
    message = body["choices"][0]["message"]
    text = message.get("content")
    is_alone = not any(value for name, value in message.items() if name not in _OF_A_TEXT)
    return text if is_alone and isinstance(text, str) else None


def parts_of(content: object) -> Iterator[object]:
    """Yield the parts of a content, which may be a text, a single part, or a list of both."""
    if isinstance(content, list):
        yield from content[:MOST_PARTS]
    elif isinstance(content, str) or (isinstance(content, dict) and _type_of(content) is not None):
        yield content


def text_of_part(part: object) -> str | None:
    """Return the text of a part of a content; None: the part is of another type."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or _type_of(part) not in TEXT_PARTS:
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
    tokens = number(get_in(usage, "completion_tokens_details", "reasoning_tokens"))
    return bool(tokens) or any(fields.get(name) for name in THOUGHTS)


def refusal_in(fields: Mapping[str, Any], parts: list[object]) -> str | None:
    """Return the text of a refusal, which is in a field of the message or in a part of its content."""
    texts = (fields.get("refusal"), *(get_in(part, "refusal") for part in parts))
    return next((text for text in texts if isinstance(text, str) and text.strip()), None)


def _type_of(part: Mapping[str, Any]) -> str | None:
    """Return the type of a part; a part with nothing but a text needs none."""
    kind = part.get("type")
    if kind is None and isinstance(part.get("text"), str):
        return "text"
    return kind if isinstance(kind, str) else None


def _is_filled(medium: object) -> bool:
    """Whether a medium holds anything but labels, as far as its first values show."""
    values = [medium]
    for _ in range(MOST_PARTS):  # a loop: JSON may be nested deeper than Python calls
        if not values:
            break
        value = values.pop()
        if isinstance(value, str) and value.strip():
            return True
        if isinstance(value, dict):
            values += [inner for name, inner in value.items() if name not in _LABELS]
        elif isinstance(value, list):
            values += value
    return False


# --- what else a reply says: who answered, tokens, cost ------------------------------------------------------------


def facts_of(
    body: dict[str, Any], *, status: int | None, headers: Mapping[str, str], now_utc: datetime, finish_reason: object
) -> Verdict:
    """Return what a reply says about who answered and what it cost, as the verdict if it is an answer.

    Args:
        body: its parsed JSON, or a substitute for it.
        status: the HTTP status.
        headers: names in lower case.
        now_utc: when it arrived, for reset times.
        finish_reason: why the answer ended.
    """
    usage = as_object(body.get("usage"))
    return Verdict(
        outcome=Outcome.OK,
        body=body,
        http_status=status,
        finish_reason=_text(finish_reason),
        response_model=_text(body.get("model")),
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cost_usd=cost_usd(usage),
        upstream=upstream_of(body),
        service_tier=_word(body.get("service_tier")),
        cached_tokens=_count(get_in(usage, "prompt_tokens_details", "cached_tokens")),
        reasoning_tokens=_count(get_in(usage, "completion_tokens_details", "reasoning_tokens")),
        generation_id=generation_id_of(body, headers),
        allowance=allowance(headers, now_utc),
    )


def upstream_of(body: object, in_error: object = None) -> str | None:
    """Return the provider that a reply, or an error, says it is from; None: it does not say.

    OpenRouter names it in `provider`, and beside the selected endpoint in the metadata that our requests ask for.

    Args:
        body: the parsed JSON, of any shape.
        in_error: the provider that the error itself names, if the reply is one.
    """
    if named := _word(get_in(body, "provider")) or _word(in_error):
        return named
    endpoints = get_in(body, "openrouter_metadata", "endpoints", "available")
    selected = [one for one in endpoints if get_in(one, "selected") is True] if isinstance(endpoints, list) else []
    # never guessed: with two of them nothing tells which one answered
    return _word(get_in(selected[0], "provider")) if len(selected) == 1 else None


def generation_id_of(body: object, headers: Mapping[str, str]) -> str | None:
    """Return OpenRouter's id of a generation; None: there is none. Other ids of replies cannot be looked up."""
    named, own = headers.get("x-generation-id"), get_in(body, "id")
    return _word(named) or (_word(own) if isinstance(own, str) and own.startswith(_GENERATION) else None)


def cost_usd(usage: object) -> float | None:
    """Return the dollars that were spent on one reply; None: the reply does not say, which is not 0 (design 3.1).

    Where the user's own provider key paid (OpenRouter calls it BYOK), `cost` is only the gateway's share; the
    provider's price stands beside it. If the reply does not say whose key paid, and `cost` is missing or 0, it was the
    user's key.

    Args:
        usage: the reply's `usage`, of any shape.
    """
    usage = as_object(usage)
    details = as_object(usage.get("cost_details"))
    cost, upstream = _dollars(usage.get("cost")), _upstream_cost(details) if details else None
    is_own_key = usage.get("is_byok")
    if is_own_key is True or (is_own_key is None and not cost and upstream):
        return None if upstream is None else (cost or 0.0) + upstream
    return cost


def _upstream_cost(details: Mapping[str, Any]) -> float | None:
    whole = _dollars(details.get(_UPSTREAM))
    if whole is not None:
        return whole
    for names in _UPSTREAM_PARTS:
        parts = [part for name in names if (part := _dollars(details.get(name))) is not None]
        if len(parts) == len(names):  # one half is not the price; unknown is missing, never less (design 3.1)
            return sum(parts)
    return None


def _dollars(value: object) -> float | None:
    dollars = number(value)
    return dollars if dollars is not None and dollars >= 0 else None


def _text(value: object) -> str | None:
    return shorten(value) if isinstance(value, str) else None


def _word(value: object) -> str | None:
    """Return a text that is not blank."""
    return _text(value) or None


def _count(value: object) -> int | None:
    count = value if type(value) is int else number(value)  # nearly all of them are ints
    # a count that a float cannot hold exactly is noise
    return int(count) if count is not None and 0 <= count < 2**53 else None
