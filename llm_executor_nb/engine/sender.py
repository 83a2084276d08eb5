"""What the two senders share: their protocol, their result, and the last look at a message before it is an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

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

    from llm_executor_nb.core.records import Route, Verdict
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.engine.stream import StreamBuffer

M = TypeVar("M", bound="AIMessage")


@dataclass(frozen=True, slots=True)
class SendResult:
    """What one request brought.

    Attributes:
        verdict: what it means.
        message: the answer as LangChain reads it; None: no answer came.
        may_resend: whether the request died unseen on an old connection.
    """

    verdict: Verdict
    message: AIMessage | None = None
    may_resend: bool = False


class Sender(Protocol):
    """Sends one request to one route; each backend has one, and none retries.

    Attributes:
        takes_extras: whether what we add to a request may be sent; if not, a schema is asked for in words.
    """

    takes_extras: bool

    def paid_at(self, route: Route, practice_url: str | None) -> str | None:
        """Return where a request to `route` would go, if it may cost something; None: it costs nothing."""

    async def whole(self, request: RunRequest, route: Route, *, timeout_s: float | None) -> SendResult:
        """Ask for a whole reply.

        Args:
            request: what is asked.
            route: the route that is asked.
            timeout_s: seconds until the attempt is given up; None: no bound.
        """

    async def streamed(
        self,
        request: RunRequest,
        route: Route,
        *,
        timeout_s: float | None,
        until: float | None,
        buffer: StreamBuffer,
    ) -> SendResult:
        """Ask for a stream.

        Args:
            request: what is asked.
            route: the route that is asked.
            timeout_s: seconds to the first text, and of any silence after it; None: no bound.
            until: the time on the clock at which the attempt is given up; None: never.
            buffer: takes each chunk; the last one carries usage and finish_reason.
        """


def with_run_id(message: M, request: RunRequest) -> M:
    """Return a message, or the last chunk of one, with the id of its run: `attempts(message)` looks it up."""
    message.response_metadata["llm_run_id"] = request.run_id
    return message


def content_for_caller(message: AIMessage, *, refusal: str | None = None, had_reasoning: bool = False) -> Content:
    """Return what the caller has of a message as LangChain made it; design 3.1: the verdict is passed on that.

    Args:
        message: the answer, or the sum of the chunks of one.
        refusal: the words of a refusal that LangChain dropped.
        had_reasoning: whether LangChain dropped hidden reasoning.
    """
    content, more = message.content, message.additional_kwargs
    if isinstance(content, str) and content.strip() and not _has_calls(message):  # nearly every answer
        return ONLY_TEXT
    text, parts = (content, []) if isinstance(content, str) else (str(message.text), list[Any](content))
    faults = list(_faults_of_calls(message))
    broken = [fault for fault in faults if fault]
    return Content(
        has_text=bool(text.strip()),
        has_calls=len(faults) > len(broken),
        bad_call=broken[0] if broken else None,
        has_media=has_media(more) or any(is_media(part) for part in parts),
        has_reasoning=had_reasoning or has_reasoning(more, None) or any(is_thought(part) for part in parts),
        refusal=refusal_in({**more, "refusal": more.get("refusal") or refusal}, parts),
    )


def _has_calls(message: AIMessage) -> bool:
    return bool(message.tool_calls or message.invalid_tool_calls or _pieces_of(message))


def _pieces_of(message: AIMessage) -> list[Any]:
    """Return the pieces of the tool calls of a stream's sum; a whole message has none."""
    return vars(message).get("tool_call_chunks") or []


def _faults_of_calls(message: AIMessage) -> Iterator[str]:
    """Yield for each tool call what is wrong with it, "" if it can be made."""
    if pieces := _pieces_of(message):  # not `tool_calls`: LangChain completes half a call, and then it seems whole
        for piece in pieces:
            yield _fault_of_call(piece["name"], piece["args"], is_whole=are_arguments(piece["args"]))
        return
    for call in message.tool_calls:
        yield _fault_of_call(call["name"], None, is_whole=True)
    for invalid in message.invalid_tool_calls:
        yield _fault_of_call(invalid.get("name"), invalid.get("args"), is_whole=False)


def _fault_of_call(name: object, arguments: object, *, is_whole: bool) -> str:
    if not (isinstance(name, str) and name.strip()):  # LangChain keeps a name of any type
        return "the model called a tool without a name"
    return "" if is_whole else f"the arguments of the model's call of {name} are not a JSON object: {arguments}"
