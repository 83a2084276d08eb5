"""From the arguments of a call to what the engine is asked."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain import warmup
from llm_executor_nb.chain.compile import compiled
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.engine.request import RunRequest
from llm_executor_nb.providers.parameters import check_extra_body
from llm_executor_nb.providers.payload import make_payload
from llm_executor_nb.schemas.schema import make_schema
from llm_executor_nb.settings.options import check_bound

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessage


def make_request(
    model_name: str,
    request: object,
    *,
    system: str | None = None,
    schema: object = None,
    accept: Callable[[AIMessage], object] | None = None,
    timeout: float | None = None,
    deadline: float | None = None,
    extra_body: Mapping[str, Mapping[str, Any]] | None = None,
    **params: Any,  # noqa: ANN401 - call parameters, checked by name
) -> RunRequest:
    """Check the arguments of a call and return what the engine is asked; `run_llm` says what they mean."""
    warmup.wait()
    now_in_force = session()
    config = now_in_force.options
    chain = compiled(model_name, config, now_in_force.health)
    request, params = split_request(request, params)
    checked = make_schema(schema)
    if checked is not None:
        check_alone(params, extra_body)
    return RunRequest(
        chain=chain,
        payload=make_payload(request, params, system=system),
        extra_body=check_extra_body(extra_body, config.backend_names),
        timeout_s=config.timeout_s if timeout is None else check_bound("timeout", timeout),
        deadline_s=config.deadline_s if deadline is None else check_bound("deadline", deadline),
        schema=checked,
        accept=check_accept(accept),
        record=now_in_force.log.record,
    )


def check_accept(accept: Callable[[AIMessage], object] | None) -> Callable[[AIMessage], object] | None:
    """Return a predicate on the message, if it is one; None: every answer is accepted."""
    if accept is None or (callable(accept) and not iscoroutinefunction(accept)):
        return accept
    raise ConfigError(f"accept={accept!r} must be a plain function from the message to True or False.")


def check_alone(params: Mapping[str, Any], extra_body: Mapping[str, Any] | None) -> None:
    """Refuse a response format beside a schema, which sets it.

    Raises:
        ConfigError: one of them has a `response_format`; nothing was sent.
    """
    sorted_fields = [fields for fields in (extra_body or {}).values() if isinstance(fields, Mapping)]
    if any(fields.get("response_format") is not None for fields in (params, *sorted_fields)):
        raise ConfigError("schema= sets the response format: leave out response_format, or leave out schema=.")


def split_request(request: object, params: Mapping[str, Any]) -> tuple[object, dict[str, Any]]:
    """Take a dict request apart: its messages, and the call parameters beside them; explicit ones win."""
    if not isinstance(request, Mapping):
        return request, dict(params)
    if "messages" not in request:
        raise ConfigError(f"A dict request needs 'messages'; this one has {', '.join(map(str, request)) or 'nothing'}.")
    beside = {str(name): value for name, value in request.items() if name != "messages"}
    return request["messages"], {**beside, **params}
