"""Sends a request to a chat model object of the user's; the counterpart of `http`, with the same rules.

The object brings its own client, so what it says is judged as the body that a server would have sent. Asks exactly
once; retries nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core import clock
from llm_executor_nb.core.foreign_json import get_in
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Fault, Reply, Verdict
from llm_executor_nb.core.verdicts.answers import facts_of, judge
from llm_executor_nb.core.verdicts.classify import classify, classify_event
from llm_executor_nb.engine.sender import SendResult, content_for_caller, with_run_id
from llm_executor_nb.providers.calls import left_broken, old_call
from llm_executor_nb.providers.chunk_sum import sum_of
from llm_executor_nb.providers.events import Silence
from llm_executor_nb.providers.foreign_errors import CLASS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import AIMessage, AIMessageChunk

    from llm_executor_nb.core.records import Route
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.engine.stream import StreamBuffer
    from llm_executor_nb.providers.foreign_errors import ErrorReport
    from llm_executor_nb.providers.model_object import ChatModelObject

_REASONS: Final = ("finish_reason", "stop_reason", "done_reason")
"""Where the clients of providers say why an answer ended."""
_FREE: Final = "langchain_core.language_models.fake"
"""Where LangChain's own models are that send nothing; ours say so by `asks_nobody`."""


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

    async def whole(self, request: RunRequest, route: Route, *, timeout_s: float | None) -> SendResult:
        """Ask for a whole answer."""
        reply = await self._model.answer(request.payload, _extra(request, route), timeout_s=timeout_s)
        if isinstance(reply, Reply | Fault | dict):
            return SendResult(_verdict_on_error(reply, route))
        if (call := old_call(reply)) is not None:
            reply.tool_calls, reply.invalid_tool_calls = call.tool_calls, call.invalid_tool_calls
        return _judged(reply)

    async def streamed(
        self,
        request: RunRequest,
        route: Route,
        *,
        timeout_s: float | None,
        until: float | None,
        buffer: StreamBuffer,
    ) -> SendResult:
        """Ask for a stream; its chunks pass unchanged, and one of ours that is empty ends them."""
        buffer.begin()
        chunks = self._model.stream(request.payload, _extra(request, route), Silence(timeout_s, until))
        try:
            async for chunk in chunks:
                chunk.chunk_position = None  # the last one is ours; LangChain does at each last one what it does once
                if chunk.content or chunk.tool_call_chunks or chunk.additional_kwargs:
                    chunks.progress()
                await buffer.take(chunk)
            if chunks.error is not None:
                return SendResult(_verdict_on_error(chunks.error, route))
            if (whole := buffer.sum.whole()) is None:
                return SendResult(Verdict(outcome=Outcome.EMPTY, message="the stream brought nothing"))
            last = _last_chunk(whole, request)
            result = _judged(sum_of(whole, last))
        except ValueError as error:
            return SendResult(Verdict(outcome=Outcome.MALFORMED, message=shorten(str(error))))
        finally:
            chunks.close()
        if result.message is not None:
            await buffer.finish(last)
        return result


def _extra(request: RunRequest, route: Route) -> Mapping[str, Any]:
    fields = (request.extra_body or {}).get(route.backend) or {}
    return {name: value for name, value in fields.items() if value is not None}


def _last_chunk(whole: AIMessageChunk, request: RunRequest) -> AIMessageChunk:
    """Return a chunk that has only the id of its run, and the tool calls that the sum of the others left broken."""
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

    last = AIMessageChunk(content="", id=whole.id)  # one id for all chunks, as LangChain's own streams have
    last.chunk_position = "last"
    for call in (old_call(whole), left_broken(whole)):
        last = last if call is None else last + call
    return with_run_id(last, request)


def _verdict_on_error(error: ErrorReport, route: Route) -> Verdict:
    """Return what an exception meant; the log shows no status that the exception did not have."""
    now = clock.current().utc()
    if not isinstance(error, dict):
        return classify(error, backend=route.backend, now_utc=now)
    verdict = classify_event(error, status=200, headers={}, backend=route.backend, now_utc=now)
    return replace(verdict, http_status=None, error_code=get_in(error, "error", CLASS) or verdict.error_code)


def _judged(message: AIMessage) -> SendResult:
    """Judge a message as a server's is judged: by what there is in it for the caller."""
    metadata, usage = message.response_metadata, message.usage_metadata
    tier = metadata.get("service_tier")
    reasoning_tokens = _detail(usage, "output_token_details", "reasoning", tier)
    counts = {
        "prompt_tokens": get_in(usage, "input_tokens"),
        "completion_tokens": get_in(usage, "output_tokens"),
        "prompt_tokens_details": {"cached_tokens": _detail(usage, "input_token_details", "cache_read", tier)},
        "completion_tokens_details": {"reasoning_tokens": reasoning_tokens},
    }
    model = metadata.get("model_name") or metadata.get("model")
    facts = facts_of(
        {**metadata, "model": model, "usage": counts},
        status=None,
        headers={},
        now_utc=clock.current().utc(),
        finish_reason=_finish_reason_of(message),
    )
    verdict = judge(facts, content_for_caller(message, had_reasoning=bool(reasoning_tokens)))
    return SendResult(verdict, message if verdict.outcome is Outcome.OK else None)


def _detail(usage: object, group: str, name: str, tier: object) -> Any:  # noqa: ANN401 - whatever the client counted
    """Return a detail of LangChain's usage; ChatOpenAI puts the name of the tier before it."""
    plain = get_in(usage, group, name)
    return get_in(usage, group, f"{tier}_{name}") if plain is None else plain


def _finish_reason_of(message: AIMessage) -> str | None:
    reasons = (message.response_metadata.get(name) for name in _REASONS)
    return next((reason for reason in reasons if isinstance(reason, str) and reason), None)
