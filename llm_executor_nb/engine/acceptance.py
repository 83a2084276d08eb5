"""Is an answer the one that was asked for: does it fit the schema, and does the user's own predicate take it.

Both are code of the user's, so they run in a thread, and what they raise ends the run as an error of the user's.
"""

from __future__ import annotations

import asyncio
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.secret import shorten
from llm_executor_nb.core.verdicts.answers import LENGTH, finish_meaning
from llm_executor_nb.engine.http import not_after_all

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.records import Route, Verdict
    from llm_executor_nb.engine.http import SendResult
    from llm_executor_nb.engine.run import Run


async def accepted(run: Run, route: Route, came: SendResult) -> tuple[Verdict, AIMessage | None]:
    """Return the verdict on what came once all have had their say, and the answer if it is accepted.

    The message gets the parsed object, if there is a schema, and the id of its run.
    """
    message = came.message
    if message is None:
        return came.verdict, None
    if (verdict := await _unfit(run, route, message, came.verdict)) is not None:
        return verdict, None
    if not await _is_accepted(run, message):
        return not_after_all(came.verdict, Outcome.REJECTED, "accept= said no to this answer"), None
    message.response_metadata["llm_run_id"] = run.ask.run_id
    return came.verdict, message


async def _unfit(run: Run, route: Route, message: AIMessage, verdict: Verdict) -> Verdict | None:
    """Read an answer as its schema says; return the verdict if it does not fit.

    One that calls a tool of the request is no answer yet, but a step on the way to it: it is passed on, not parsed.
    """
    schema, phrasing = run.ask.schema, run.phrasing
    if schema is None or phrasing is None or (message.tool_calls and run.ask.payload.get("tools")):
        return None
    text = str(message.text)
    try:
        async with clock.current().timeout(None):
            parsed = await asyncio.to_thread(schema.parse, text)
    except ValueError as error:
        words = str(error)
    except Exception as error:  # noqa: BLE001 - a validator of the user's may raise anything
        told = shorten(f"{type(error).__name__}: {error}")
        run.broken = ConfigError(f"A validator of your schema= raised {told}\nMend it and call again.")
        return not_after_all(verdict, Outcome.INVALID_OUTPUT, f"the schema raised {told}")
    else:
        message.additional_kwargs = {**message.additional_kwargs, "parsed": parsed}
        if run.sink is not None:
            run.sink.complete(parsed)
        return None
    if finish_meaning(verdict.finish_reason) == LENGTH:
        if run.ask.payload.get("max_tokens") is not None:
            return not_after_all(verdict, Outcome.TRUNCATED, f"max_tokens cut the answer off: {words}")
        words = f"it was cut off because it is too long ({words}); be brief"
    phrasing.was_mistaken(route, text, words)
    return not_after_all(verdict, Outcome.INVALID_OUTPUT, words)


async def _is_accepted(run: Run, message: AIMessage) -> bool:
    """Ask the user's predicate, in a thread, so that it may take its time or ask a model itself."""
    accept = run.ask.accept
    if accept is None:
        return True
    try:
        async with clock.current().timeout(None):
            said = await asyncio.to_thread(accept, message)
    except Exception as error:  # noqa: BLE001 - a user's own function may raise anything
        run.broken = ConfigError(f"Your accept= raised {type(error).__name__}: {error}\nMend it and call again.")
        return False
    if isawaitable(said):
        if iscoroutine(said):
            said.close()
        run.broken = ConfigError("Your accept= returned an awaitable. Make it a plain function; it may take its time.")
        return False
    return bool(said)
