"""What there is for the caller in a message as LangChain made it: the last look before an answer is called one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.verdicts.answers import (
    ONLY_TEXT,
    Content,
    has_media,
    has_reasoning,
    is_media,
    is_thought,
    refusal_in,
)
from llm_executor_nb.providers.calls import are_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import AIMessage


def said_to_caller(message: AIMessage, *, refusal: str | None = None, had_reasoning: bool = False) -> Content:
    """Return what a caller has of a message.

    Args:
        message: the answer, or the sum of the chunks of one.
        refusal: the words of a refusal that LangChain dropped.
        had_reasoning: LangChain dropped hidden reasoning.
    """
    content, more = message.content, message.additional_kwargs
    if isinstance(content, str) and content.strip() and not _has_calls(message):
        return ONLY_TEXT
    text, parts = (content, []) if isinstance(content, str) else (str(message.text), list[Any](content))
    calls = list(_calls_of(message))
    wrong = [words for words in calls if words]
    return Content(
        has_text=bool(text.strip()),
        has_calls=len(calls) > len(wrong),
        bad_call=wrong[0] if wrong else None,
        has_media=has_media(more) or any(is_media(part) for part in parts),
        has_reasoning=had_reasoning or has_reasoning(more, None) or any(is_thought(part) for part in parts),
        refusal=refusal_in({**more, "refusal": more.get("refusal") or refusal}, parts),
    )


def _has_calls(message: AIMessage) -> bool:
    return bool(message.tool_calls or message.invalid_tool_calls or _pieces_of(message))


def _pieces_of(message: AIMessage) -> list[Any]:
    """Return the pieces of the tool calls of a stream's sum; a whole message has none."""
    return vars(message).get("tool_call_chunks") or []


def _calls_of(message: AIMessage) -> Iterator[str]:
    """Yield for each tool call what is wrong with it, "" if it can be made.

    The sum of a stream is looked at by its pieces: LangChain mends half a call, and then it seems whole.
    """
    if pieces := _pieces_of(message):
        for piece in pieces:
            yield _wrong_with(piece["name"], piece["args"], is_whole=are_arguments(piece["args"]))
        return
    for call in message.tool_calls:
        yield _wrong_with(call["name"], None, is_whole=True)
    for wrong in message.invalid_tool_calls:
        yield _wrong_with(wrong.get("name"), wrong.get("args"), is_whole=False)


def _wrong_with(name: str | None, arguments: str | None, *, is_whole: bool) -> str:
    if not (name or "").strip():
        return "the model called a tool without a name"
    return "" if is_whole else f"the arguments of the model's call of {name} are no JSON object: {arguments}"
