"""Checks an answer against the user's schema and the user's predicate; a stored answer is checked like a fresh one.

Both may be code of the user's, so they run behind the door of `core/user_functions`. What they raise ends the run as an
error of the user's.
"""

from __future__ import annotations

from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import ConfigError, DeadlineError, LLMExecutorError
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.user_functions import call
from llm_executor_nb.core.verdicts.answers import LENGTH, finish_meaning, overruled
from llm_executor_nb.engine.sender import with_run_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.records import Route, Verdict
    from llm_executor_nb.core.user_functions import Bounds
    from llm_executor_nb.engine.run import Run
    from llm_executor_nb.engine.sender import SendResult
    from llm_executor_nb.schemas.schema import Schema

    Accept = Callable[[AIMessage], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a schema and a predicate say of an answer.

    Attributes:
        outcome: OK, INVALID_OUTPUT or REJECTED.
        reason: why it is not OK.
        parsed: the object that the schema reads the answer as; None: there is no schema.
        error: what a function of the user's did wrong; the answer is not to blame then.
    """

    outcome: Outcome = Outcome.OK
    reason: str = ""
    parsed: object = None
    error: LLMExecutorError | None = None


async def checked(message: AIMessage, schema: Schema | None, accept: Accept | None, bounds: Bounds) -> Finding:
    """Return what a schema and a predicate say of an answer; the message gets the parsed object before the predicate.

    Args:
        message: the answer.
        schema: what it must fit; None: every answer fits.
        accept: the predicate; None: every answer is accepted.
        bounds: how long each of the two may take.
    """
    outcome, parsed = Outcome.INVALID_OUTPUT, None
    try:
        if schema is not None:
            read = await call("A validator of your schema=", _read, schema, str(message.text), bounds=bounds)
            if isinstance(read, _Misfit):
                return Finding(outcome=outcome, reason=read.reason)
            parsed = read.parsed
            message.additional_kwargs = {**message.additional_kwargs, "parsed": parsed}
        outcome = Outcome.REJECTED
        if accept is not None and not await call("Your accept= function", _said, accept, message, bounds=bounds):
            return Finding(outcome=outcome, reason="accept= rejected this answer")
    except (ConfigError, DeadlineError) as error:
        if isinstance(error, DeadlineError):
            error.outcome = outcome.value
        return Finding(outcome=outcome, reason=str(error).partition("\n")[0], error=error)
    return Finding(parsed=parsed)


async def accepted(run: Run, route: Route, result: SendResult) -> tuple[Verdict, AIMessage | None]:
    """Return the final verdict on a reply, and the answer if it is accepted.

    The message gets the parsed object, if there is a schema, and the id of its run.
    """
    message, request = result.message, run.request
    if message is None:
        return result.verdict, None
    # an answer that calls a tool of the request is a step on the way to the object, and is passed on as it is
    schema = None if message.tool_calls and request.payload.get("tools") else request.schema
    if schema is not None or request.accept is not None:
        finding = await checked(message, schema, request.accept, run.function_bounds)
        if finding.outcome is not Outcome.OK:
            return _overruled(run, route, message, result.verdict, finding), None
        if schema is not None and run.buffer is not None:
            run.buffer.put_parsed(finding.parsed)
    return result.verdict, with_run_id(message, request)


def _overruled(run: Run, route: Route, message: AIMessage, verdict: Verdict, finding: Finding) -> Verdict:
    """Return the verdict on an answer that is not accepted."""
    run.user_error = finding.error
    if finding.error is not None or finding.outcome is Outcome.REJECTED:
        return overruled(verdict, finding.outcome, finding.reason)
    return _verdict_on_misfit(run, route, str(message.text), verdict, finding.reason)


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


@dataclass(frozen=True, slots=True)
class _Parsed:
    parsed: object


@dataclass(frozen=True, slots=True)
class _Misfit:
    reason: str


def _read(schema: Schema, text: str) -> _Parsed | _Misfit:
    """Read an answer by its schema, in a thread."""
    try:
        return _Parsed(schema.parse(text))
    except LLMExecutorError:  # a validator asked a model in vain; some of these are ValueErrors
        raise
    except ValueError as error:
        return _Misfit(str(error))


def _said(accept: Accept, message: AIMessage) -> object:
    """Return what a predicate says, in a thread: its truth may be code of the user's too, or not be defined."""
    said = accept(message)
    return said if isawaitable(said) else bool(said)
