"""Who gets each attempt as one frozen record: the log, the ledger or the log in memory, and a span for who traces.

A span is made when the attempt is over, with the attempt's times, after OpenTelemetry's semantic conventions for
generative AI (the client inference span of 2026; `gen_ai.system` is not in them any more). A user who traces has
imported OpenTelemetry and set a tracer provider; without that it is not imported, and no span is made.

Must not: put a prompt, an answer, a provider's words (they may quote either) or a key into a span.
"""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from llm_executor_nb.core.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Tracer, TracerProvider

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.settings.options import Options

Observer: TypeAlias = "Callable[[Attempt], object]"

_log = logging.getLogger("llm_executor_nb")
_SCOPE: Final = "llm_executor_nb"
_PORTS: Final = {"http": 80, "https": 443}
_JSON_FORMATS: Final = ("json_object", "json_schema")
_PARAMETERS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "temperature": ("gen_ai.request.temperature", float),
    "max_tokens": ("gen_ai.request.max_tokens", int),
    "top_p": ("gen_ai.request.top_p", float),
    "seed": ("gen_ai.request.seed", int),
    "presence_penalty": ("gen_ai.request.presence_penalty", float),
    "frequency_penalty": ("gen_ai.request.frequency_penalty", float),
    "stop": ("gen_ai.request.stop_sequences", lambda stop: [stop] if isinstance(stop, str) else list(stop)),
    "n": ("gen_ai.request.choice.count", int),
    "reasoning_effort": ("gen_ai.request.reasoning.level", str),
}
"""Call parameter -> its name and its type in a span."""
_FIELDS: Final = {
    "gen_ai.provider.name": "backend",
    "gen_ai.request.model": "request_model",
    "gen_ai.response.model": "response_model",
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "http.response.status_code": "http_status",
    **{
        f"{_SCOPE}.{name}": name
        for name in ("run_id", "job_id", "route", "attempt", "outcome", "decision", "wait_s", "cost_usd")
    },
}
"""Attribute of a span -> field of the attempt."""


def observers_of(request: RunRequest, config: Options, *, is_stream: bool) -> tuple[Observer, ...]:
    """Return who observes the attempts of a run, in the order in which they are called."""
    # the record comes before the span: what a tracer does wrong must not cost a row of the ledger
    observers: tuple[Observer, ...] = (_write_debug_line, request.record)
    if (tracer := _tracer()) is None:
        return observers
    return (*observers, lambda attempt: _trace(tracer, attempt, request, config, is_stream=is_stream))


def _write_debug_line(attempt: Attempt) -> None:
    _log.debug("%s: %s, then %s", attempt.route, attempt.outcome.value, attempt.decision.value)


# --- spans ----------------------------------------------------------------------------------------------------------


def _tracer() -> Tracer | None:
    trace = sys.modules.get("opentelemetry.trace")  # the user's import, never ours
    if trace is None:
        return None
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) else _tracer_of(provider)


@lru_cache(maxsize=1)
def _tracer_of(provider: TracerProvider) -> Tracer:
    return provider.get_tracer(_SCOPE)


def _trace(tracer: Tracer, attempt: Attempt, request: RunRequest, config: Options, *, is_stream: bool) -> None:
    """Make the span of an attempt, below the one that is current for the caller of the run."""
    from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415 - it is loaded, for there is a tracer

    attributes = {
        **_of_request(request, is_stream=is_stream),
        **_of_server(config, attempt.backend),
        **_of_attempt(attempt),
    }
    began_ns = int(attempt.started_utc.timestamp() * 1e9)
    span = tracer.start_span(
        f"chat {attempt.request_model}",
        kind=SpanKind.CLIENT,
        attributes={name: value for name, value in attributes.items() if value is not None},
        start_time=began_ns,
    )
    if attempt.outcome is not Outcome.OK:
        span.set_attribute("error.type", attempt.outcome.value)
        span.set_status(Status(StatusCode.ERROR, attempt.outcome.value))
    span.end(end_time=began_ns + int(attempt.duration_s * 1e9))


def _of_request(request: RunRequest, *, is_stream: bool) -> dict[str, Any]:
    response_format = request.payload.get("response_format") or {}
    is_json = request.schema is not None or response_format.get("type") in _JSON_FORMATS
    given = ((attribute, request.payload.get(name)) for name, attribute in _PARAMETERS.items())
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.stream": is_stream or None,
        "gen_ai.output.type": "json" if is_json else None,
        **{name: as_type(value) for (name, as_type), value in given if value is not None},
    }


def _of_server(config: Options, backend: str) -> dict[str, Any]:
    """Return the server's host and port; a chat model object of the user's has none."""
    own = config.backends.get(backend)
    url = own.base_url if own else config.base_url(backend)
    if url is None:
        return {}
    parts = urlsplit(url)
    return {"server.address": parts.hostname, "server.port": parts.port or _PORTS.get(parts.scheme)}


def _of_attempt(attempt: Attempt) -> dict[str, Any]:
    fields = {attribute: getattr(attempt, name) for attribute, name in _FIELDS.items()}
    reasons = [attempt.finish_reason] if attempt.finish_reason else None
    return {**fields, "gen_ai.response.finish_reasons": reasons}
