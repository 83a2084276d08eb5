"""Makes a `RunRequest` of the arguments of a call. `make_request` has the parameters of `run_llm` and its siblings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain import warmup
from llm_executor_nb.chain.compile import compiled
from llm_executor_nb.chain.live_rows import alook_again
from llm_executor_nb.chain.policies import prices_known, under_policy
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.engine.race import FixedHedge
from llm_executor_nb.engine.request import RunRequest
from llm_executor_nb.providers.parameters import check_extra_body
from llm_executor_nb.providers.payload import make_payload
from llm_executor_nb.schemas.schema import make_schema
from llm_executor_nb.settings.options import check_bound

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.policy import Policy


@noted_as("llm.run_llm")
def make_request(
    model_name: str,
    request: object,
    *,
    system: str | None = None,
    schema: object = None,
    accept: Callable[[AIMessage], object] | None = None,
    policy: Policy | None = None,
    service_tier_fallback: bool = False,
    timeout: float | None = None,
    deadline: float | None = None,
    hedge_s: float | None = None,
    extra_body: Mapping[str, Mapping[str, Any]] | None = None,
    **params: Any,  # noqa: ANN401 - call parameters, checked by name
) -> RunRequest:
    """Check the arguments of a call and return what the engine is asked; `run_llm` explains them."""
    warmup.wait()  # Python's own wait for an import in another thread cannot be interrupted
    current = session()
    config = current.options
    extra_body = check_extra_body(extra_body, config.backend_names)
    request, params = split_request(request, params)
    checked = make_schema(schema)
    if checked is not None:
        check_alone(params, extra_body)
    payload = make_payload(request, params, system=system)
    has_tier_fallback, accept = check_tier_fallback(service_tier_fallback), check_accept(accept)
    timeout_s = config.timeout_s if timeout is None else check_bound("timeout", timeout)
    deadline_s = config.deadline_s if deadline is None else check_bound("deadline", deadline)
    hedge_after_s = check_bound("hedge_s", hedge_s)
    # last: who has no key yet is told what else is wrong
    chain, policy = under_policy(
        policy, compiled(model_name, current, is_asking=True), config, payload=payload, extra_body=extra_body
    )
    return RunRequest(
        chain=chain,
        payload=payload,
        extra_body=extra_body,
        policy=policy,
        has_tier_fallback=has_tier_fallback,
        timeout_s=timeout_s,
        deadline_s=deadline_s,
        schema=checked,
        accept=accept,
        hedge=None if hedge_after_s is None else FixedHedge(hedge_after_s),
        record=current.log.record,
    )


async def ready_for(model_name: str, policy: Policy | None) -> None:
    """Wait for what `make_request` needs, without blocking the caller's event loop."""
    await warmup.loaded()
    if (keys := session().options.keys).must_ask():
        await asyncio.to_thread(lambda: [keys.all_of(backend) for backend in tuple(keys.code)])
    await prices_known(policy, model_name, session().options)
    await alook_again(model_name)


def check_accept(accept: Callable[[AIMessage], object] | None) -> Callable[[AIMessage], object] | None:
    """Return a predicate on the message as it is; refuse what cannot be one. None: every answer is accepted."""
    # a coroutine function would return a coroutine, which is true: it would accept every answer
    if accept is None or (callable(accept) and not iscoroutinefunction(accept)):
        return accept
    raise ConfigError(f"accept={accept!r} must be a plain function from the message to True or False.")


def check_tier_fallback(value: object) -> bool:
    """Return whether a service tier without room may be left out.

    Raises:
        ConfigError: it is neither True nor False; nothing was sent.
    """
    if isinstance(value, bool):
        return value
    raise ConfigError(f"service_tier_fallback={value!r} must be True or False.")


def check_alone(params: Mapping[str, Any], extra_body: Mapping[str, Any] | None) -> None:
    """Refuse a response format beside a schema, which sets the format itself.

    Raises:
        ConfigError: one of them has a `response_format`; nothing was sent.
    """
    by_backend = [fields for fields in (extra_body or {}).values() if isinstance(fields, Mapping)]
    if any(fields.get("response_format") is not None for fields in (params, *by_backend)):
        raise ConfigError("schema= sets the response format: leave out response_format, or leave out schema=.")


def split_request(request: object, params: Mapping[str, Any]) -> tuple[object, dict[str, Any]]:
    """Split a dict request into its messages and the call parameters beside them; explicit parameters win."""
    if not isinstance(request, Mapping):
        return request, dict(params)
    if "messages" not in request:
        raise ConfigError(f"A dict request needs 'messages'; this one has {', '.join(map(str, request)) or 'nothing'}.")
    beside = {str(name): value for name, value in request.items() if name != "messages"}
    return request["messages"], {**beside, **params}
