"""The free look-ups of a rehearsal: the state of a key, and the lists of models.

The look-up of a key agrees with the key's next request, and does not change the script's counts: a dead key is a 401,
one without credit has none left. A provider whose next request is refused as not served is missing on the model's list.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import ending
from llm_executor_nb.rehearsal.catalogue import EXPIRES, LATENCY, PACE, general_themes
from llm_executor_nb.rehearsal.faults_lists import LISTS, changed
from llm_executor_nb.rehearsal.practice_lists import huggingface_rows, openrouter_rows, retention_rows
from llm_executor_nb.rehearsal.replies import no_key
from llm_executor_nb.rehearsal.requests import ChatRequest, key_of
from llm_executor_nb.rehearsal.response import ResponseWriter, json_response
from llm_executor_nb.rehearsal.upstreams import UPSTREAMS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiohttp import web

    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect, FaultSpec
    from llm_executor_nb.rehearsal.runner import ScriptRunner

_LIMIT_USD, _USED_USD = 10.0, 2.5
_FREE_REQUESTS, _FREE_REQUESTS_ONCE_PAID = 50, 1000
_LATENCY_S, _PER_TOKEN_S = 0.6, 0.02
"""Seconds until the first token, and of each further one, at the provider that is listed first."""
_DOWN = frozenset({Outcome.CONNECTION, Outcome.TIMEOUT, Outcome.SERVER_ERROR, Outcome.OVERLOADED})
_NOT_HERE = frozenset({Outcome.NOT_FOUND, Outcome.UNSUPPORTED})
_DAILY = frozenset({"openrouter_free_tier_daily", "free-models-per-day"})
_INFERENCE = "inference.serverless.write"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupLine:
    """One free look-up that ended.

    Attributes:
        received_s: when it arrived, in seconds of `time.monotonic()`.
        backend: the backend it was sent to.
        key: the key's last characters; None: it had none.
        path: the path of its URL.
        status: the HTTP status of its reply; None: none was sent.
    """

    received_s: float
    backend: str
    key: str | None
    path: str
    status: int | None


class LookupHandlers:
    """Serves the look-ups of both backends.

    Args:
        runner: knows what the next request of a key or a provider meets.
        latency_s: seconds every reply takes.
        number: returns a key's place in the order of its backend's keys.
        models: backend -> the models it lists, each with its providers.
    """

    def __init__(
        self,
        runner: ScriptRunner,
        *,
        latency_s: float,
        number: Callable[[str, str | None], int],
        models: Callable[[str], Mapping[str, Sequence[str]]],
    ) -> None:
        self._runner = runner
        self._latency_s = latency_s
        self._number = number
        self._models = models
        self._lines: list[LookupLine] = []
        self._sent: Counter[str] = Counter()

    @property
    def seen(self) -> tuple[LookupLine, ...]:
        """The look-ups that have ended, in that order."""
        return tuple(self._lines)

    def clear(self) -> None:
        """Drop the look-ups so far."""
        self._lines.clear()

    def key_handler(self, backend: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the aiohttp handler for the look-up of a key."""
        return self._handler(backend, self._describe_key)

    def list_handler(self, backend: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the aiohttp handler that lists a backend's models; it needs no key."""
        return self._handler(backend, self._list_models)

    def _handler(
        self, backend: str, respond: Callable[[ChatRequest], Response]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(http_request: web.Request) -> web.StreamResponse:
            received_s = time.monotonic()
            key = key_of(http_request.headers.get("Authorization", ""))
            request = _bare_request(backend, key, self._number(backend, key))
            writer = ResponseWriter(http_request, respond(request))
            try:
                await asyncio.sleep(self._latency_s)
                return await writer.run()
            finally:
                self._lines.append(
                    LookupLine(
                        received_s=received_s,
                        backend=backend,
                        key=request.key,
                        path=http_request.path,
                        status=writer.status,
                    ),
                )

        return handle

    def zdr_handler(self) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the aiohttp handler that lists the endpoints of OpenRouter that keep nothing; it needs no key."""
        return self._handler(OPENROUTER, self._list_zdr)

    def providers_handler(self) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the aiohttp handler that lists the providers behind OpenRouter; it needs no key."""
        return self._handler(OPENROUTER, self._list_providers)

    def outage_of_openrouter(self) -> Response | None:
        """Return OpenRouter's reply while the script has it down, whatever the key is; None: it is up."""
        return self._outage(_bare_request(OPENROUTER, None, 0))

    def _describe_key(self, request: ChatRequest) -> Response:
        if request.key is None:
            return no_key(request)
        upcoming = self._runner.upcoming(request)
        if upcoming is not None and (refusal := _refusal_of_key(request, *upcoming)) is not None:
            return refusal
        effect, fault = upcoming or (None, None)
        outcome = Outcome.OK
        if fault is not None and fault.expected(request.backend).reach is ScopeLevel.KEY:
            outcome = fault.expected(request.backend).outcome
        is_daily = effect is not None and effect.fault in _DAILY
        if request.backend == OPENROUTER:
            return json_response(_openrouter_key(request, outcome, is_daily=is_daily), None)
        return json_response(_whoami(outcome), None)

    def _list_models(self, request: ChatRequest) -> Response:
        table = self._models(request.backend)
        if request.backend == OPENROUTER:
            days = self._runner.told(EXPIRES, request)
            end = (clock.current().utc() + timedelta(days)).date().isoformat() if days else None
            return self._list(request, openrouter_rows(table, end))
        rows = huggingface_rows(table, status_of=cache(self._status_of), speed_of=self._speed)
        return self._list(request, rows, object="list")

    def _list(self, request: ChatRequest, rows: list[dict[str, Any]], **beside: str) -> Response:
        """Return a list of models as the script has it: changed by a fault of lists, refused, or whole."""
        upcoming = self._runner.upcoming(replace(request, is_list=True))
        if upcoming is None or upcoming[0].fault not in LISTS:
            return self._outage(request) or json_response({**beside, "data": rows}, None)
        number = self._sent[request.backend]
        self._sent[request.backend] += 1
        return json_response({**beside, "data": changed(upcoming[0].fault, rows, number)}, upcoming[0].fault)

    def _list_zdr(self, request: ChatRequest) -> Response:
        return self._outage(request) or json_response({"data": retention_rows(self._models(OPENROUTER))}, None)

    def _list_providers(self, request: ChatRequest) -> Response:
        names = {one.slug: one.name for one in UPSTREAMS}
        rows = [{"slug": slug, "name": name} for slug, name in names.items()]
        return self._outage(request) or json_response({"data": rows}, None)

    def _outage(self, request: ChatRequest) -> Response | None:
        """Return the refusal of a list, if the backend's next request would find it down."""
        upcoming = self._runner.upcoming(request)
        return None if upcoming is None else _outage(request, *upcoming)

    def _speed(self, provider: str, place: int) -> dict[str, float]:
        """Return a provider's latest figures: what its next request would meet. The dearer one is, the faster it is."""
        request = _bare_request(HUGGINGFACE, None, 0, provider)
        latency_s = _LATENCY_S / place + self._runner.told(LATENCY, request)
        per_token_s = _PER_TOKEN_S / place + self._runner.told(PACE, request)
        return {"first_token_latency_ms": round(1000 * latency_s, 3), "throughput": round(1 / per_token_s, 3)}

    def _status_of(self, provider: str) -> str | None:
        """Return a provider's status by the script; None: it does not serve its models."""
        upcoming = self._runner.upcoming(_bare_request(HUGGINGFACE, None, 0, provider))
        outcome = upcoming[1].expected(HUGGINGFACE).outcome if upcoming else Outcome.OK
        return None if outcome in _NOT_HERE else "error" if outcome in _DOWN else "live"


def _bare_request(backend: str, key: str | None, key_number: int, provider: str | None = None) -> ChatRequest:
    return ChatRequest(
        backend=backend,
        key=ending(key) if key else None,
        key_number=key_number,
        provider=provider,
        model="",
        question="",
        prompt="",
    )


def _refusal_of_key(request: ChatRequest, effect: Effect, fault: FaultSpec) -> Response | None:
    """Return the error reply to the look-up of a key; None: it is answered."""
    finding = fault.expected(request.backend)
    if finding.outcome is Outcome.AUTH and request.backend == HUGGINGFACE:
        # the hub's words: its look-up is not the router that sends the fault's own
        return json_response({"error": "Invalid user token."}, effect.fault, status=401)
    if finding.outcome is Outcome.AUTH or (finding.outcome is Outcome.FORBIDDEN and request.backend == OPENROUTER):
        return _error_reply(request, effect, fault)
    if finding.outcome is Outcome.RATE_LIMITED and finding.reach is not ScopeLevel.BACKEND:
        response = _error_reply(request, effect, fault)
        return response if response is not None and response.status == 429 else None
    return _outage(request, effect, fault)


def _outage(request: ChatRequest, effect: Effect, fault: FaultSpec) -> Response | None:
    """Return the reply of a backend that is down; None: it is up, or down for one model only."""
    # one model without room says nothing about the backend (design 3.1, blame)
    if fault.expected(request.backend).outcome not in _DOWN or effect.fault in general_themes()["models"]:
        return None
    return _error_reply(request, effect, fault)


def _error_reply(request: ChatRequest, effect: Effect, fault: FaultSpec) -> Response | None:
    """Return a fault's reply; None: it is a broken answer, which a look-up does not get."""
    response = fault.respond(request, effect) if fault.respond else None
    return response if response is not None and (response.status is None or response.status >= 400) else None


def _openrouter_key(request: ChatRequest, outcome: Outcome, *, is_daily: bool) -> dict[str, Any]:
    is_broke = outcome is Outcome.QUOTA and not is_daily
    free = _FREE_REQUESTS if is_daily else _FREE_REQUESTS_ONCE_PAID
    used = free if outcome is Outcome.QUOTA and is_daily else 0
    return {
        "data": {
            "label": f"sk-or-v1-...{(request.key or '').lstrip('.')}",
            "limit": None if is_daily else _LIMIT_USD,
            "limit_reset": None,
            "limit_remaining": None if is_daily else 0.0 if is_broke else _LIMIT_USD - _USED_USD,
            "include_byok_in_limit": False,
            "usage": 0.0 if is_daily else _LIMIT_USD if is_broke else _USED_USD,
            "is_free_tier": is_daily,
            "is_management_key": False,
            "expires_at": None,
            "free_model_daily_requests": {
                "used": used,
                "limit": free,
                "remaining": free - used,
            },
        },
    }


def _whoami(outcome: Outcome) -> dict[str, Any]:
    """Return the hub's description of a token. It does not show credit; only `canPay` depends on it."""
    permissions = [] if outcome is Outcome.FORBIDDEN else [_INFERENCE]
    fine = {"canReadGatedRepos": False, "global": [], "scoped": [{"entity": {}, "permissions": permissions}]}
    return {
        "type": "user",
        "id": "0" * 24,
        "name": "rehearsal",
        "fullname": "Rehearsal",
        "canPay": outcome is not Outcome.QUOTA,
        "isPro": False,
        "periodEnd": None,
        "orgs": [],
        "auth": {
            "type": "access_token",
            "accessToken": {"displayName": "practice", "role": "fineGrained", "fineGrained": fine},
        },
    }
