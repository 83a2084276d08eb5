"""One OpenTelemetry span per attempt, after the semantic conventions for generative AI, where the user traces at all.

Who traces has imported OpenTelemetry and set a tracer provider; without that it is not imported, and nothing is done.
The names are those of the conventions' client inference span (2026): `gen_ai.system` is not among them any more.

Must not: put a prompt, an answer, a provider's words (they may quote either) or a key into a span.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span, Tracer, TracerProvider

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.records import Route
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.settings.options import Options

_SCOPE: Final = "llm_executor_nb"
_PORTS: Final = {"http": 80, "https": 443}
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
"""What a call parameter is called in a span, and of which type it is there."""


def begin(ask: RunRequest, route: Route, config: Options, *, is_stream: bool) -> Span | None:
    """Begin the span of an attempt, below the one that is current; None: nobody traces."""
    tracer = _tracer()
    if tracer is None:
        return None
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - it is loaded, else there were no tracer

    return tracer.start_span(
        f"chat {route.request_model}",
        kind=SpanKind.CLIENT,
        attributes=_set_only(_asked(ask, route, config, is_stream=is_stream)),
    )


def during(span: Span | None) -> AbstractContextManager[None]:
    """Make a span the current one while its request is under way, so that what the HTTP client traces stands below."""
    return nullcontext() if span is None else _current(span)


def end(span: Span | None, attempt: Attempt) -> None:
    """End the span of an attempt with what came of it."""
    if span is None:
        return
    span.set_attributes(_set_only(_came(attempt)))
    if attempt.outcome is Outcome.OK:
        span.end()
    else:
        _fail(span, attempt.outcome.value)


def _tracer() -> Tracer | None:
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) else _tracer_of(provider)


@lru_cache(maxsize=1)
def _tracer_of(provider: TracerProvider) -> Tracer:
    return provider.get_tracer(_SCOPE)


@contextmanager
def _current(span: Span) -> Iterator[None]:
    from opentelemetry.trace import use_span  # noqa: PLC0415 - it is loaded, else there were no span

    try:
        with use_span(span, record_exception=False, set_status_on_exception=False):
            yield
    except ConfigError as error:  # nothing could be sent, so no attempt will end it
        _fail(span, type(error).__name__)
        raise


def _fail(span: Span, kind: str) -> None:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - it is loaded, else there were no span

    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, kind))
    span.end()


def _asked(ask: RunRequest, route: Route, config: Options, *, is_stream: bool) -> dict[str, Any]:
    address, port = _place(config, route.backend)
    is_json = ask.schema is not None or (ask.payload.get("response_format") or {}).get("type") in {
        "json_object",
        "json_schema",
    }
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": route.backend,
        "gen_ai.request.model": route.request_model,
        "gen_ai.request.stream": is_stream or None,
        "gen_ai.output.type": "json" if is_json else None,
        "server.address": address,
        "server.port": port,
        **_parameters(ask),
        "llm_executor_nb.run_id": ask.run_id,
        "llm_executor_nb.job_id": ask.row.job_id if ask.row else None,
        "llm_executor_nb.route": route.name,
    }


def _parameters(ask: RunRequest) -> dict[str, Any]:
    given = ((names, ask.payload.get(name)) for name, names in _PARAMETERS.items())
    return {name: as_type(value) for (name, as_type), value in given if value is not None}


def _place(config: Options, backend: str) -> tuple[str | None, int | None]:
    """Return the server's host and port; a chat model object of the user's has none."""
    own = config.backends.get(backend)
    url = own.base_url if own else config.base_url(backend)
    if url is None:
        return None, None
    parts = urlsplit(url)
    return parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _came(attempt: Attempt) -> dict[str, Any]:
    return {
        "gen_ai.response.model": attempt.response_model,
        "gen_ai.response.finish_reasons": [attempt.finish_reason] if attempt.finish_reason else None,
        "gen_ai.usage.input_tokens": attempt.input_tokens,
        "gen_ai.usage.output_tokens": attempt.output_tokens,
        "http.response.status_code": attempt.http_status,
        "llm_executor_nb.attempt": attempt.attempt,
        "llm_executor_nb.outcome": attempt.outcome.value,
        "llm_executor_nb.decision": attempt.decision.value,
        "llm_executor_nb.wait_s": attempt.wait_s,
        "llm_executor_nb.cost_usd": attempt.cost_usd,
    }


def _set_only(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
