"""The functions users call: one prompt down a model's chain, and what can be asked about it afterwards.

Thin: they check the arguments, build the payload once, and hand an `Ask` to the engine on the private loop.
"""

from __future__ import annotations

import sys
from asyncio import to_thread
from collections.abc import Mapping
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from llm_executor_nb.chain.ask import Ask
from llm_executor_nb.chain.compile import compiled
from llm_executor_nb.chain.loop import run_async, run_sync
from llm_executor_nb.chain.pump import pump_async, pump_sync
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.unset import UNSET, Unset
from llm_executor_nb.providers.parameters import check_extra_body
from llm_executor_nb.providers.payload import make_payload
from llm_executor_nb.settings.config import (
    check_before_sleep,
    check_bound,
    check_ceiling,
    check_concurrency,
    check_retries,
    check_wait,
)
from llm_executor_nb.store.tables import attempts_frame, holds_frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    import pandas as pd
    from langchain_core.messages import AIMessage, AIMessageChunk
    from tenacity import RetryCallState

    from llm_executor_nb.core.records import Attempt


P = ParamSpec("P")
R = TypeVar("R")


def _door(make: Callable[P, Ask]) -> Callable[[Callable[[Callable[[], Ask]], R]], Callable[P, R]]:
    """Give a function the signature of `make_ask`; it is handed what makes the Ask from the arguments of a call."""

    def build(door: Callable[[Callable[[], Ask]], R]) -> Callable[P, R]:
        @wraps(door)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return door(lambda: make(*args, **kwargs))

        returns = signature(door).return_annotation
        call.__signature__ = signature(make).replace(return_annotation=returns)  # type: ignore[attr-defined] # what inspect reads
        return call

    return build


def make_ask(
    model_name: str,
    request: object,
    *,
    system: str | None = None,
    accept: Callable[[AIMessage], object] | None = None,
    timeout: float | None = None,
    deadline: float | None = None,
    extra_body: Mapping[str, Mapping[str, Any]] | None = None,
    **params: Any,  # noqa: ANN401 - call parameters, checked by name
) -> Ask:
    """Check the arguments of a call and return what the engine is asked; `run_llm` says what they mean."""
    now_in_force = session()
    config = now_in_force.config
    chain = compiled(model_name, config, now_in_force.health)
    request, params = split_request(request, params)
    if accept is not None and not callable(accept):
        raise ConfigError(f"accept={accept!r} must be a function from the message to True or False.")
    return Ask(
        chain=chain,
        payload=make_payload(request, params, system=system),
        extra_body=check_extra_body(extra_body),
        timeout_s=config.timeout_s if timeout is None else check_bound("timeout", timeout),
        deadline_s=config.deadline_s if deadline is None else check_bound("deadline", deadline),
        accept=accept,
        record=now_in_force.log.record,
    )


@_door(make_ask)
def run_llm(make: Callable[[], Ask]) -> AIMessage:  # noqa: D417 - its arguments are make_ask's
    """Send one request down the model's fallback chain and return LangChain's message as it came.

    Every OpenRouter key is asked in turn, then every Hugging Face token with every provider of the model's row; each
    route gets one attempt and up to three retries. Costs what the answering provider asks. Works inside a running
    event loop and from any thread; Ctrl-C cancels what is in flight.

    Args:
        model_name: a model of the provider table, or an alias such as `gemma`.
        request: a text, a dict with `messages` (call parameters beside it), a list of messages, or a prompt value.
        system: a system message to put in front.
        accept: called with each answer; a false result counts it as `rejected` and asks again.
        timeout: seconds one attempt may take; None: as configured (120).
        deadline: seconds the whole run may take; None: as configured (300).
        extra_body: what only one backend knows, `{"openrouter": {...}}`.
        **params: temperature, max_tokens, top_p, seed, stop, presence_penalty, frequency_penalty, tools,
            tool_choice, response_format, logprobs, reasoning_effort. Nothing is sent that is not set.

    Returns:
        The message (`.content`, `.usage_metadata`, `.response_metadata`); `attempts(message)` shows how it came.

    Raises:
        ModelNotSupportedError: the model is not in the table (a ValueError); nothing was sent.
        ConfigError: an argument is wrong or no key was found; nothing was sent.
        RequestError: a provider refused this request on its merits.
        AllRoutesFailedError: every route failed or is on hold; `.attempts` has each request that was made.
        DeadlineError: the deadline passed; `.attempts` has what was tried.
    """
    ask, engine = make(), session().engine()
    return run_sync(lambda: engine.run(ask))


@_door(make_ask)
async def arun_llm(make: Callable[[], Ask]) -> AIMessage:
    """Do what `run_llm` does, awaited from the caller's own event loop; cancelling it cancels the request."""
    if "langchain_openai" not in sys.modules:
        await to_thread(make_payload, "warm up", {})
    ask, engine = make(), session().engine()
    return await run_async(lambda: engine.run(ask))


@_door(make_ask)
def stream_llm(make: Callable[[], Ask]) -> Iterator[AIMessageChunk]:
    """Send one request down the model's fallback chain and yield LangChain's chunks as they come.

    Takes what `run_llm` takes. Other routes take over until the first text was handed on; `timeout` bounds the time to
    the first text and any silence after it; with `accept` nothing is handed on before the whole answer is accepted.
    Closing the iterator, an exception in the loop's body or Ctrl-C closes the connection at once.

    Yields:
        AIMessageChunk; the last one carries `usage_metadata` and the finish_reason, and their sum is the message.

    Raises:
        StreamInterruptedError: it broke after text was handed on; `.partial` is that text.
        LLMExecutorError: as `run_llm`. A wrong argument is refused at the call, not at the first chunk.
    """
    ask, engine = make(), session().engine()
    return pump_sync(lambda hand_on: engine.run(ask, hand_on=hand_on))


@_door(make_ask)
def astream_llm(make: Callable[[], Ask]) -> AsyncIterator[AIMessageChunk]:
    """Do what `stream_llm` does, for `async for` in the caller's own event loop."""
    ask, engine = make(), session().engine()
    return pump_async(lambda hand_on: engine.run(ask, hand_on=hand_on))


def attempts(of: object = None) -> pd.DataFrame:
    """Return the attempt log: who was asked, what came back, how long it took, what it cost.

    Args:
        of: a reply, an exception of this package, a frame or Series that a job returned, a job, or a run id;
            None: all that this process made (of calls by hand the last 10,000).

    Returns:
        One row per request, by the time it was sent; the columns of `Attempt`.

    Raises:
        ConfigError: it is nothing that has attempts.
    """
    return attempts_frame(_attempts_of(of))


def health() -> pd.DataFrame:
    """Return what is on hold: one row per hold, why, and the seconds left. Sends nothing."""
    now = clock.current().now()
    return holds_frame(session().health.holds(now), now)


def reset_health() -> None:
    """Drop every hold, so that every route is asked again."""
    session().health.reset()


def configure(
    *,
    openrouter_keys: Iterable[str | None] | Unset = UNSET,
    huggingface_tokens: Iterable[str | None] | Unset = UNSET,
    models: dict[str, list[str]] | Unset = UNSET,
    openrouter_base_url: str | Unset | None = UNSET,
    huggingface_base_url: str | Unset | None = UNSET,
    retry_wait_strategy: Callable[[RetryCallState], float] | Unset = UNSET,
    retries: int | Callable[[RetryCallState], bool] | Unset = UNSET,
    before_sleep: Callable[[RetryCallState], Any] | Unset | None = UNSET,
    timeout: float | Unset | None = UNSET,
    deadline: float | Unset | None = UNSET,
    retry_after_ceiling_s: float | Unset | None = UNSET,
    concurrency: int | Unset | None = UNSET,
) -> None:
    """Change settings; what is left out stays, and an explicit None means no bound (of a URL: its default).

    Args:
        openrouter_keys: the keys, in the order they are asked; a list ends the search for keys.
        huggingface_tokens: the same for Hugging Face.
        models: model -> Hugging Face providers, in order.
        openrouter_base_url: where OpenRouter is.
        huggingface_base_url: where the Hugging Face router is.
        retry_wait_strategy: a tenacity wait strategy for retries on one route.
        retries: retries of one route, or a tenacity stop object.
        before_sleep: called before each wait, as tenacity does.
        timeout: seconds of one attempt.
        deadline: seconds of one run by hand.
        retry_after_ceiling_s: the longest time named by a provider that is waited for, in seconds.
        concurrency: requests in flight of one job.

    Raises:
        ConfigError: a value cannot be right; nothing was changed.
    """
    config = session().config
    changes: list[Callable[[], None]] = []
    for backend, values in ((OPENROUTER, openrouter_keys), (HUGGINGFACE, huggingface_tokens)):
        if not isinstance(values, Unset):
            changes.append(config.keys_setter(backend, values))
    if not isinstance(models, Unset):
        changes.append(config.providers_setter(models))
    for backend, url in ((OPENROUTER, openrouter_base_url), (HUGGINGFACE, huggingface_base_url)):
        if not isinstance(url, Unset):
            changes.append(config.url_setter(backend, url))
    plain = {
        "retry_wait_strategy": retry_wait_strategy
        if isinstance(retry_wait_strategy, Unset)
        else check_wait(retry_wait_strategy),
        "retries": retries if isinstance(retries, Unset) else check_retries(retries),
        "before_sleep": before_sleep if isinstance(before_sleep, Unset) else check_before_sleep(before_sleep),
        "timeout_s": timeout if isinstance(timeout, Unset) else check_bound("timeout", timeout),
        "deadline_s": deadline if isinstance(deadline, Unset) else check_bound("deadline", deadline),
        "retry_after_ceiling_s": retry_after_ceiling_s
        if isinstance(retry_after_ceiling_s, Unset)
        else check_ceiling(retry_after_ceiling_s),
        "concurrency": concurrency if isinstance(concurrency, Unset) else check_concurrency(concurrency),
    }
    for change in changes:
        change()
    for name, value in plain.items():
        if not isinstance(value, Unset):
            setattr(config, name, value)


def split_request(request: object, params: Mapping[str, Any]) -> tuple[object, dict[str, Any]]:
    """Take a dict request apart: its messages, and the call parameters beside them; explicit ones win."""
    if not isinstance(request, Mapping):
        return request, dict(params)
    if "messages" not in request:
        raise ConfigError(f"A dict request needs 'messages'; this one has {', '.join(map(str, request)) or 'nothing'}.")
    beside = {str(name): value for name, value in request.items() if name != "messages"}
    return request["messages"], {**beside, **params}


# --- what has attempts ---------------------------------------------------------------------------------------------


def _attempts_of(of: object) -> Iterable[Attempt]:
    if of is None:
        return session().log.all()
    if isinstance(of, BaseException) and isinstance(found := getattr(of, "attempts", None), tuple):
        return found
    if (run_ids := run_ids_of(of)) is not None:
        return session().attempts_of(run_ids)
    raise ConfigError(
        f"A {type(of).__name__} has no attempts. Give a reply, an exception of this package, a frame that "
        "df.llm.run returned, or a run id; without an argument all attempts are shown.",
    )


def run_ids_of(of: object) -> list[str] | None:
    """Return the run ids that a reply, a frame with `*_run` columns, or a run id stands for; None: it has none."""
    if isinstance(of, str):
        return [of]
    metadata = getattr(of, "response_metadata", None)
    if isinstance(metadata, dict) and "llm_run_id" in metadata:
        return [metadata["llm_run_id"]]
    columns = [name for name in getattr(of, "columns", ()) if isinstance(name, str) and name.endswith("_run")]
    frame: Any = of
    return [run for name in columns for run in frame[name].dropna()] if columns else None
