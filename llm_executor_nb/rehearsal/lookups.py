"""The free look-ups of a rehearsal: what the providers say of a key, and which models they list.

A key is told what its next request would be told, and the script's counts stay as they are: a dead key is a 401, one
without credit has none left. A provider that the script lets refuse a model is not on that model's list.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import ending
from llm_executor_nb.rehearsal.bodies import PRICE_USD
from llm_executor_nb.rehearsal.catalogue import entry_of
from llm_executor_nb.rehearsal.faults_refused import MODELS
from llm_executor_nb.rehearsal.handlers import key_of
from llm_executor_nb.rehearsal.replies import no_key
from llm_executor_nb.rehearsal.requests import ChatRequest
from llm_executor_nb.rehearsal.response import stage_json
from llm_executor_nb.rehearsal.send import Sending
from llm_executor_nb.settings.models import LEFT, SHIPPED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiohttp import web

    from llm_executor_nb.rehearsal.entry import FaultSpec
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect
    from llm_executor_nb.rehearsal.runner import ScriptRunner
    from llm_executor_nb.settings.options import Options

MORE = "practice"
"""A provider that serves every model of a rehearsal, so that there is one that a row does not name."""
_LIMIT_USD, _USED_USD = 10.0, 2.5
_FREE_REQUESTS = 50
_CONTEXT = 131_072
_DOWN = frozenset({Outcome.CONNECTION, Outcome.TIMEOUT, Outcome.SERVER_ERROR, Outcome.OVERLOADED})
_NOT_HERE = frozenset({Outcome.NOT_FOUND, Outcome.UNSUPPORTED})
_DAILY = frozenset({"openrouter_free_tier_daily", "free-models-per-day"})
_INFERENCE = "inference.serverless.write"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupLine:
    """One free look-up that ended.

    Attributes:
        received_s: when it came, in seconds of `time.monotonic()`.
        backend: whom it asked.
        key: the key's last characters; None: it brought none.
        path: what it asked for.
        status: the HTTP status it got; None: none was sent.
    """

    received_s: float
    backend: str
    key: str | None
    path: str
    status: int | None


class LookupDesk:
    """Serves the look-ups of both backends.

    Args:
        play: tells what a key's or a provider's next request meets.
        latency_s: seconds every reply takes.
        number: tells a key's place in the order of its backend's keys.
        models: backend -> the models it lists, each with its providers.
    """

    def __init__(
        self,
        play: ScriptRunner,
        *,
        latency_s: float,
        number: Callable[[str, str | None], int],
        models: Callable[[str], Mapping[str, Sequence[str]]],
    ) -> None:
        self._play = play
        self._latency_s = latency_s
        self._number = number
        self._models = models
        self._lines: list[LookupLine] = []

    @property
    def seen(self) -> tuple[LookupLine, ...]:
        """The look-ups that have ended, in that order."""
        return tuple(self._lines)

    def clear(self) -> None:
        """Forget them."""
        self._lines.clear()

    def key_handler(self, backend: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the aiohttp handler that tells what a key is worth."""
        return self._handler(backend, self._tell_key)

    def list_handler(self, backend: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the aiohttp handler that lists a backend's models; it asks for no key."""
        return self._handler(backend, self._tell_models)

    def _handler(
        self, backend: str, tell: Callable[[ChatRequest], Response]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            key, received_s = key_of(request), time.monotonic()
            asked = _asked(backend, key, self._number(backend, key))
            sending = Sending(request, tell(asked))
            try:
                await asyncio.sleep(self._latency_s)
                return await sending.run()
            finally:
                self._lines.append(
                    LookupLine(
                        received_s=received_s,
                        backend=backend,
                        key=asked.key,
                        path=request.path,
                        status=sending.status,
                    ),
                )

        return handle

    def _tell_key(self, asked: ChatRequest) -> Response:
        if asked.key is None:
            return no_key(asked)
        meets = self._upcoming(asked)
        if meets is not None and (staged := _refusal_of_key(asked, *meets)) is not None:
            return staged
        effect, entry = meets or (None, None)
        outcome = Outcome.OK
        if entry is not None and entry.expected(asked.backend).reach is ScopeLevel.KEY:
            outcome = entry.expected(asked.backend).outcome
        is_daily = effect is not None and effect.fault in _DAILY
        body = _openrouter_key(asked, outcome, is_daily=is_daily) if asked.backend == OPENROUTER else _whoami(outcome)
        return stage_json(body, None)

    def _tell_models(self, asked: ChatRequest) -> Response:
        meets = self._upcoming(asked)
        if meets is not None and (staged := _outage(asked, *meets)) is not None:
            return staged
        listed = self._models(asked.backend)
        if asked.backend == OPENROUTER:
            return stage_json({"data": [_openrouter_model(model) for model in listed]}, None)
        rows = [self._huggingface_model(model, providers) for model, providers in listed.items()]
        return stage_json({"object": "list", "data": rows}, None)

    def _huggingface_model(self, model: str, providers: Sequence[str]) -> dict[str, Any]:
        told = {provider: self._status_of(provider) for provider in providers}
        return {
            "id": model,
            "object": "model",
            "created": 0,
            "owned_by": model.partition("/")[0],
            "providers": [_provider(name, status) for name, status in told.items() if status is not None],
        }

    def _status_of(self, provider: str) -> str | None:
        """Return how a provider stands by the script; None: it does not serve its models."""
        meets = self._upcoming(_asked(HUGGINGFACE, None, 0, provider))
        outcome = meets[1].expected(HUGGINGFACE).outcome if meets else Outcome.OK
        return None if outcome in _NOT_HERE else "error" if outcome in _DOWN else "live"

    def _upcoming(self, asked: ChatRequest) -> tuple[Effect, FaultSpec] | None:
        effect = self._play.upcoming(asked)
        entry = entry_of(effect.fault) if effect else None
        return (effect, entry) if effect and entry and entry.can_meet(asked) else None


def shipped_models(backend: str) -> dict[str, list[str]]:
    """Return the models of the shipped table, with the providers that serve them."""
    return {model: _serving(row) if backend == HUGGINGFACE else [] for model, row in SHIPPED.items()}


def practice_models(config: Options, backend: str) -> dict[str, list[str]]:
    """Return the models of the user's table as a backend calls them, with the providers that serve them."""
    table = config.models
    listed = {}
    for model in tuple(table):
        try:
            row = [name for name in table.row(model) if name not in config.backends]
        except ConfigError:  # a row that is not a list; its user gets the error
            continue
        if backend == HUGGINGFACE or model not in table.off_openrouter:
            called = table.names.get(model, {}).get(backend, model)
            listed[called] = _serving(row) if backend == HUGGINGFACE else []
    return listed


def _serving(row: Sequence[str]) -> list[str]:
    """Return the providers of a row that have not left, and one more."""
    return list(dict.fromkeys([*(name for name in row if name not in LEFT), MORE]))


def _asked(backend: str, key: str | None, key_number: int, provider: str | None = None) -> ChatRequest:
    return ChatRequest(
        backend=backend,
        key=ending(key) if key else None,
        key_number=key_number,
        provider=provider,
        model="",
        question="",
        prompt="",
    )


def _refusal_of_key(asked: ChatRequest, effect: Effect, entry: FaultSpec) -> Response | None:
    """Return the error reply to the look-up of a key; None: it is answered."""
    found = entry.expected(asked.backend)
    if found.outcome is Outcome.AUTH and asked.backend == HUGGINGFACE:
        return stage_json({"error": "Invalid user token."}, effect.fault, status=401)
    if found.outcome is Outcome.AUTH or (found.outcome is Outcome.FORBIDDEN and asked.backend == OPENROUTER):
        return _staged(asked, effect, entry)
    if found.outcome is Outcome.RATE_LIMITED and found.reach is not ScopeLevel.BACKEND:
        staged = _staged(asked, effect, entry)
        return staged if staged is not None and staged.status == 429 else None
    return _outage(asked, effect, entry)


def _outage(asked: ChatRequest, effect: Effect, entry: FaultSpec) -> Response | None:
    """Return the reply of a backend that is down; None: it is not, or only for a model."""
    if entry.expected(asked.backend).outcome not in _DOWN or effect.fault in MODELS:
        return None
    return _staged(asked, effect, entry)


def _staged(asked: ChatRequest, effect: Effect, entry: FaultSpec) -> Response | None:
    """Return a fault's reply, unless it is a broken answer: a look-up asks for none."""
    staged = entry.stage(asked, effect) if entry.stage else None
    return staged if staged is not None and (staged.status is None or staged.status >= 400) else None


def _openrouter_key(asked: ChatRequest, outcome: Outcome, *, is_daily: bool) -> dict[str, Any]:
    is_broke = outcome is Outcome.QUOTA and not is_daily
    used = _FREE_REQUESTS if outcome is Outcome.QUOTA and is_daily else 0
    return {
        "data": {
            "label": f"sk-or-v1-...{(asked.key or '').lstrip('.')}",
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
                "limit": _FREE_REQUESTS,
                "remaining": _FREE_REQUESTS - used,
            },
        },
    }


def _whoami(outcome: Outcome) -> dict[str, Any]:
    """The hub tells no credit; who has used it up cannot be told from who has not, but by the means to pay."""
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


def _openrouter_model(model: str) -> dict[str, Any]:
    price = f"{PRICE_USD:.10f}"
    return {
        "id": model,
        "name": model,
        "context_length": _CONTEXT,
        "pricing": {"prompt": price, "completion": price, "request": "0", "image": "0"},
        "supported_parameters": ["max_tokens", "response_format", "seed", "structured_outputs", "temperature", "tools"],
    }


def _provider(name: str, status: str) -> dict[str, Any]:
    return {
        "provider": name,
        "status": status,
        "context_length": _CONTEXT,
        "pricing": {"input": round(PRICE_USD * 1e6, 6), "output": round(PRICE_USD * 1e6, 6)},
        "supports_tools": True,
        "supports_structured_output": True,
    }
