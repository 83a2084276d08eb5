"""One exchange with a chat model object of the user's: it is asked, and what came is a verdict and, if so, an answer.

The counterpart of `exchange`, with the same two forms and the same rules of what is an answer; the object brings its
own client, so what it says is judged as the body that a server would have sent. Asks exactly once; retries nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core import clock
from llm_executor_nb.core.foreign_json import get_in
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Fault, Reply, Verdict
from llm_executor_nb.core.secret import shorten
from llm_executor_nb.core.verdicts.answers import facts_of, judge
from llm_executor_nb.core.verdicts.classify import classify, classify_event
from llm_executor_nb.engine.delivered import said_to_caller
from llm_executor_nb.engine.http import SendResult, signed
from llm_executor_nb.engine.relay import Relay, says_something
from llm_executor_nb.providers.calls import left_broken, old_call
from llm_executor_nb.providers.events import Silence
from llm_executor_nb.providers.foreign_errors import CLASS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from langchain_core.messages import AIMessage, AIMessageChunk

    from llm_executor_nb.core.records import Route
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.providers.foreign_errors import ErrorReport
    from llm_executor_nb.providers.model_object import ChatModelObject

_REASONS: Final = ("finish_reason", "stop_reason", "done_reason")
"""Where the clients of providers say why an answer ended."""
_FREE: Final = "langchain_core.language_models.fake"
"""Where LangChain's own models are that ask nobody; ours say so by `asks_nobody`."""


class ModelSender:
    """Sends a run's request to a chat model object.

    Args:
        chat_model: asks the object.
    """

    takes_extras = False

    def __init__(self, chat_model: ChatModelObject) -> None:
        self._model = chat_model

    def paid_at(self, route: Route, practice_url: str | None) -> str | None:  # noqa: ARG002 - the same for every route
        """Return where a request goes, if it may cost something: to any object but a fake one."""
        kind = self._model.kind
        is_fake = any(base.__module__.startswith(_FREE) or "asks_nobody" in vars(base) for base in kind.__mro__)
        return None if is_fake else f"the chat model object {kind.__name__}"

    async def whole(self, ask: RunRequest, route: Route, *, timeout_s: float | None) -> SendResult:
        """Ask for a whole answer; `Exchange.whole` says what the arguments are."""
        came = await self._model.answer(ask.payload, _extra(ask, route), timeout_s=timeout_s)
        if isinstance(came, Reply | Fault | dict):
            return SendResult(_refused(came, route))
        if (more := old_call(came)) is not None:
            came.tool_calls, came.invalid_tool_calls = more.tool_calls, more.invalid_tool_calls
        return _judged(came)

    async def streamed(
        self,
        ask: RunRequest,
        route: Route,
        *,
        timeout_s: float | None,
        until: float | None,
        hand_on: Callable[[AIMessageChunk], Awaitable[None]],
    ) -> SendResult:
        """Ask for a stream; `Exchange.streamed` says what the arguments are. Its chunks pass as they come."""
        relay = Relay(hand_on)
        pieces = self._model.stream(ask.payload, _extra(ask, route), Silence(timeout_s, until))
        try:
            async for chunk in pieces:
                chunk.chunk_position = None  # the last one is ours; LangChain does at each last one what it does once
                if chunk.content or chunk.tool_call_chunks or chunk.additional_kwargs:
                    pieces.progress()
                await relay.take(chunk, is_speaking=says_something(chunk))
        except ValueError as error:
            return SendResult(Verdict(outcome=Outcome.MALFORMED, message=shorten(str(error))))
        finally:
            await pieces.close()
        if pieces.error is not None:
            return SendResult(_refused(pieces.error, route))
        if relay.whole is None:
            return SendResult(Verdict(outcome=Outcome.EMPTY, message="the stream brought nothing"))
        last = _last(relay.whole, ask)
        for more in (old_call(relay.whole), left_broken(relay.whole)):
            last = last if more is None else last + more
        found = _judged(relay.add(last))
        if found.message is None:
            return found
        await relay.hand_on(last)
        return SendResult(found.verdict, relay.whole)


def _extra(ask: RunRequest, route: Route) -> Mapping[str, Any]:
    fields = (ask.extra_body or {}).get(route.backend) or {}
    return {name: value for name, value in fields.items() if value is not None}


def _last(whole: AIMessageChunk, ask: RunRequest) -> AIMessageChunk:
    """Return a chunk that says nothing but which run it was."""
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

    last = AIMessageChunk(content="", id=whole.id)
    last.chunk_position = "last"
    return signed(last, ask)


def _refused(told: ErrorReport, route: Route) -> Verdict:
    """Return what an exception meant. A status that it did not tell is not logged as if it had."""
    if not isinstance(told, dict):
        return classify(told, backend=route.backend, now_utc=clock.current().utc())
    now = clock.current().utc()
    verdict = classify_event(told, status=200, headers={}, backend=route.backend, now_utc=now)
    return replace(verdict, http_status=None, error_code=get_in(told, "error", CLASS) or verdict.error_code)


def _judged(message: AIMessage) -> SendResult:
    """Judge a message as the engine's own: by what there is in it for the caller."""
    told, usage = message.response_metadata, message.usage_metadata
    counts = {"prompt_tokens": get_in(usage, "input_tokens"), "completion_tokens": get_in(usage, "output_tokens")}
    facts = facts_of(
        {"model": told.get("model_name") or told.get("model"), "usage": counts},
        status=None,
        headers={},
        now_utc=clock.current().utc(),
        finish_reason=_reason_of(message),
    )
    spent = get_in(usage, "output_token_details", "reasoning")
    verdict = judge(facts, said_to_caller(message, had_reasoning=bool(spent)))
    return SendResult(verdict, message if verdict.outcome is Outcome.OK else None)


def _reason_of(message: AIMessage) -> str | None:
    found = (message.response_metadata.get(name) for name in _REASONS)
    return next((reason for reason in found if isinstance(reason, str) and reason), None)
