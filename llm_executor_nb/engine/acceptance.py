"""Checks an answer against the user's schema and the user's predicate.

Both may be code of the user's, so they run in a thread, and what they raise ends the run as an error of the user's.
"""

from __future__ import annotations

import asyncio
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, TypeVar

from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.verdicts.answers import LENGTH, finish_meaning
from llm_executor_nb.engine.sender import overruled, with_run_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.records import Route, Verdict
    from llm_executor_nb.engine.run import Run
    from llm_executor_nb.engine.sender import SendResult

T = TypeVar("T")


async def accepted(run: Run, route: Route, result: SendResult) -> tuple[Verdict, AIMessage | None]:
    """Return the final verdict on a reply, and the answer if it is accepted.

    The message gets the parsed object, if there is a schema, and the id of its run.
    """
    message = result.message
    if message is None:
        return result.verdict, None
    if (verdict := await _misfit(run, route, message, result.verdict)) is not None:
        return verdict, None
    if not await _is_accepted(run, message):
        return overruled(result.verdict, Outcome.REJECTED, "accept= rejected this answer"), None
    return result.verdict, with_run_id(message, run.request)


async def _misfit(run: Run, route: Route, message: AIMessage, verdict: Verdict) -> Verdict | None:
    """Parse an answer by its schema; return the verdict if it does not fit."""
    schema = run.request.schema
    # an answer that calls a tool of the request is a step on the way to the object, and is passed on as it is
    if schema is None or (message.tool_calls and run.request.payload.get("tools")):
        return None
    text = str(message.text)
    try:
        parsed = await _in_thread(schema.parse, text)
    except ValueError as error:
        return _verdict_on_misfit(run, route, text, verdict, str(error))
    except Exception as error:  # noqa: BLE001 - a validator of the user's may raise anything
        raised = shorten(f"{type(error).__name__}: {error}")
        run.user_error = ConfigError(f"A validator of your schema= raised {raised}\nFix it and call again.")
        return overruled(verdict, Outcome.INVALID_OUTPUT, f"the schema raised {raised}")
    message.additional_kwargs = {**message.additional_kwargs, "parsed": parsed}
    if run.buffer is not None:
        run.buffer.put_parsed(parsed)
    return None


def _verdict_on_misfit(run: Run, route: Route, text: str, verdict: Verdict, reason: str) -> Verdict:
    """Return the verdict on an answer that does not fit, and have the next request tell the model why."""
    if finish_meaning(verdict.finish_reason) == LENGTH:
        if run.request.payload.get("max_tokens") is not None:
            # design 3.1: truncated ends the run, for under the user's own limit the next answer would be cut as well
            return overruled(verdict, Outcome.TRUNCATED, f"max_tokens cut the answer off: {reason}")
        reason = f"it was cut off because it is too long ({reason}); be brief"
    if run.schema_prompt is not None:
        run.schema_prompt.was_mistaken(route, text, reason)
    return overruled(verdict, Outcome.INVALID_OUTPUT, reason)


async def _is_accepted(run: Run, message: AIMessage) -> bool:
    """Whether the user's predicate accepts an answer."""
    accept = run.request.accept
    if accept is None:
        return True
    try:
        result = await _in_thread(accept, message)
    except Exception as error:  # noqa: BLE001 - a user's own function may raise anything
        raised = shorten(f"{type(error).__name__}: {error}")
        run.user_error = ConfigError(f"Your accept= function raised {raised}\nFix it and call again.")
        return False
    if isawaitable(result):
        if iscoroutine(result):
            result.close()  # Python would warn of a coroutine that was never awaited
        run.user_error = ConfigError(
            "Your accept= function returned an awaitable. Make it a plain function; it may be slow."
        )
        return False
    return bool(result)


async def _in_thread(function: Callable[[T], object], argument: T) -> object:
    """Call a user's function in a thread: it may be slow, or call a model itself, and all runs share one loop."""
    async with clock.current().timeout(None):  # tells a frozen clock that something is in flight
        return await asyncio.to_thread(function, argument)
