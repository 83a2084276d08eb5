"""The error that a run ends with when no route is left for it, or no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core import advice, clock
from llm_executor_nb.core.errors import AllRoutesFailedError, DeadlineError, LLMExecutorError, RequestError
from llm_executor_nb.core.moves import Stop, StopReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_executor_nb.core.holds import Health, Hold
    from llm_executor_nb.core.records import Route
    from llm_executor_nb.engine.run import Run


def error_at_end(run: Run, stop: Stop, health: Health) -> LLMExecutorError:
    """Return what a run ends with that has no route left, or no time."""
    now, request = clock.current().now(), run.request
    attempts, held = tuple(run.attempts), list(_held_unasked(run, health, now))
    if stop.why is StopReason.DEADLINE and request.deadline_s is not None:
        message = advice.late(request.deadline_s, attempts, held, now)
        return DeadlineError(_with_left_out(run, message), attempts=attempts)
    if run.refusals:  # design 3.1: a refusal is the request's fault also when no second provider is left
        last = run.refusals[-1]
        message = advice.refused_by_one(last, attempts)
        return RequestError(_with_left_out(run, message), outcome=last.outcome.value, attempts=attempts)
    outcome, words = _last_cause(run, held)
    message = advice.all_failed(request.chain.model, attempts, held, now, request.chain.own_urls)
    return AllRoutesFailedError(_with_left_out(run, message), outcome=outcome, words=words, attempts=attempts)


def _with_left_out(run: Run, message: str) -> str:
    """Return the words of an error with the routes that could not promise the policy."""
    return "\n".join([message, *advice.left_out_lines(run.request.chain.left_out)])


def _held_unasked(run: Run, health: Health, now: float) -> Iterator[tuple[Route, Hold]]:
    """Yield the routes that a run never asked, each with the hold that kept it from doing so."""
    for route in run.memory.routes():
        _, hold = health.status(route, now, run.memory.needs)
        if hold is not None and route not in run.asked:
            yield route, hold


def _last_cause(run: Run, held: list[tuple[Route, Hold]]) -> tuple[str, str]:
    """Return the outcome and the message of the last attempt, or of the first hold when no attempt was made."""
    if run.attempts:
        return run.attempts[-1].outcome.value, run.attempts[-1].message or ""
    return (held[0][1].why.value, held[0][1].message) if held else ("", "")
