"""What stands in for `HttpSender` where LangChain lacks a private name: ChatOpenAI sends by its own client.

What it sends is the body that our own transport would have sent. A whole reply is judged as there, by its raw JSON;
what a stream brings, or an exception tells, as that of any chat model object. Makes one request; retries nothing.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.verdicts.classify import classify
from llm_executor_nb.core.verdicts.named import STREAM_OPTIONS
from llm_executor_nb.engine.model_sender import ModelSender
from llm_executor_nb.engine.sender import SendResult, overruled
from llm_executor_nb.providers.own_backends import ChatModelObject
from llm_executor_nb.providers.own_client import own_client
from llm_executor_nb.providers.payload import make_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_executor_nb.core.records import Route
    from llm_executor_nb.engine.http import HttpSender
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.engine.stream import StreamBuffer
    from llm_executor_nb.providers.backend import Backend
    from llm_executor_nb.providers.own_client import Seen


class StandIn:
    """Sends a run's request by LangChain's own client.

    Args:
        exchange: what it stands in for; knows what a request may cost.
        backends: name -> wire.
    """

    takes_extras = True

    def __init__(self, exchange: HttpSender, backends: Mapping[str, Backend]) -> None:
        self._exchange = exchange
        self._backends = backends

    def paid_at(self, route: Route, practice_url: str | None) -> str | None:
        """Return where a request goes, if it may cost something; `HttpSender.paid_at` says when."""
        return self._exchange.paid_at(route, practice_url)

    async def whole(self, request: RunRequest, route: Route, *, timeout_s: float | None) -> SendResult:
        """Ask for a whole answer; `HttpSender.whole` says what the arguments are."""
        asked = _with_whole_body(request, route)
        async with own_client(self._backends[route.backend], route) as (model, seen):
            found = await ModelSender(ChatModelObject(model)).whole(asked, route, timeout_s=timeout_s)
        return _judged(found, seen, route)

    async def streamed(
        self,
        request: RunRequest,
        route: Route,
        *,
        timeout_s: float | None,
        until: float | None,
        buffer: StreamBuffer,
    ) -> SendResult:
        """Ask for a stream; `HttpSender.streamed` says what the arguments are."""
        asked = _with_whole_body(request, route)
        asks_usage = STREAM_OPTIONS not in (
            (request.extra_body or {}).get(route.backend) or {}
        )  # there it can only be None
        async with own_client(self._backends[route.backend], route, asks_usage=asks_usage) as (model, seen):
            found = await ModelSender(ChatModelObject(model)).streamed(
                asked, route, timeout_s=timeout_s, until=until, buffer=buffer
            )
        if found.message is not None and found.verdict.finish_reason is None:
            words = "the stream ended without a finish_reason"
            found = SendResult(overruled(found.verdict, Outcome.MALFORMED, words))
        return _judged(found, seen, route)


def _with_whole_body(ask: RunRequest, route: Route) -> RunRequest:
    """Return the order with the whole body as `extra_body`, which wins over what ChatOpenAI would write."""
    body = json.loads(
        make_body(ask.payload, model=route.request_model, backend=route.backend, extra_body=ask.extra_body)
    )
    return replace(ask, payload={"messages": body["messages"], "extra_body": body}, extra_body=None)


def _judged(found: SendResult, seen: Seen, route: Route) -> SendResult:
    """Return what the raw reply says, which is more than LangChain passes on, and at least its status."""
    if seen.reply is not None:
        verdict = classify(seen.reply, backend=route.backend, now_utc=clock.current().utc())
        if verdict.outcome is not Outcome.OK:
            return SendResult(verdict)
        if found.message is not None:
            return SendResult(verdict, found.message)
    return replace(found, verdict=replace(found.verdict, http_status=seen.status))
