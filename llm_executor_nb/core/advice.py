"""What to say when no route answered: each attempt, each route left out, and per cause the next step."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from llm_executor_nb.core.advice_own import Trouble, own_step
from llm_executor_nb.core.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.holds import Hold
    from llm_executor_nb.core.records import Route

    OwnUrls = Mapping[str, str | None]
    """The user's own backends: name -> base URL; None: it is a chat model object."""

_NETWORK_CODES = frozenset({"refused", "dns"})
_NEXT_STEP: dict[Outcome, str] = {
    Outcome.CONNECTION: "the connection failed: try again, or check the proxy settings",
    Outcome.TIMEOUT: "no reply in time: try again, or give a longer timeout=",
    Outcome.SERVER_ERROR: "the provider has trouble: try again in a minute",
    Outcome.OVERLOADED: "the provider is overloaded: try again in a minute, or add a provider to the model's row",
    Outcome.EMPTY: "the provider answered with nothing: try again, or another model",
    Outcome.MALFORMED: "the reply could not be read: try again; a login page of a network is a usual cause",
    Outcome.RATE_LIMITED: "the rate limit is reached: wait, lower concurrency=, or add a key",
    Outcome.QUOTA: "the credit is used up: top up at openrouter.ai/settings/credits or "
    "huggingface.co/settings/billing, or add another key",
    Outcome.AUTH: "the key is not accepted: replace it (openrouter.ai/settings/keys, huggingface.co/settings/tokens)",
    Outcome.FORBIDDEN: "the key may not do this: give it the permission to call inference providers",
    Outcome.NOT_FOUND: "the model is not served there any more: take the provider out of the model's row",
    Outcome.UNSUPPORTED: "the model is not supported there: take the provider out of the model's row",
    Outcome.INVALID_OUTPUT: "the answer did not fit the schema or the tool: simplify it, or try a stronger model",
    Outcome.REJECTED: "your accept= said no to every answer: loosen it, or change the prompt",
    Outcome.CONTEXT_LENGTH: "the prompt is too long for the model: shorten it, or take a model with a longer window",
    Outcome.BAD_REQUEST: "the provider refused a parameter or a message: correct it; asking again will not help",
    Outcome.CONTENT_FILTER: "the content was refused: change the prompt",
    Outcome.TRUNCATED: "max_tokens was used up before there was a whole answer: raise max_tokens=",
}

_OTHERWISE = "try again"
_NETWORK = "every host refused or could not be found, so it is the network; check the connection"


def all_failed(
    model: str, attempts: Sequence[Attempt], held: Sequence[tuple[Route, Hold]], now: float, own: OwnUrls
) -> str:
    """Return the message of `AllRoutesFailedError`: per cause the routes, the provider's words, and the next steps."""
    lines = [f"No route to {model} gave an answer ({_counted(len(attempts), 'request')})."]
    if is_network(attempts) and any(attempt.backend not in own for attempt in attempts):
        lines += [*attempt_lines(attempts), *held_lines(held, now)]
        lines.append(f"Next: {_NETWORK}.")
        return "\n".join(lines)
    for cause in dict.fromkeys([*(a.outcome for a in attempts), *(hold.why for _, hold in held)]):
        those = [a for a in attempts if a.outcome is cause]
        left_out = [(route, hold) for route, hold in held if hold.why is cause]
        lines += [*attempt_lines(those), *held_lines(left_out, now)]
        lines += [f"    Next: {step}." for step in dict.fromkeys(_steps(cause, those, left_out, own))]
    return "\n".join(lines)


def _steps(
    cause: Outcome, attempts: Iterable[Attempt], held: Iterable[tuple[Route, Hold]], own: OwnUrls
) -> Iterator[str]:
    """Yield what a user can do about a cause, where it came from backends that differ in that."""
    for attempt in attempts:
        yield next_step(cause, attempt, own)
    for route, hold in held:
        yield _step(cause, route.backend, own, has_key=route.key is not None, words=hold.message)


def refused(attempt: Attempt) -> str:
    """Return the message of `RequestError`."""
    words = attempt.message or f"HTTP {attempt.http_status}"
    return (
        f"{attempt.route} refused this request ({attempt.outcome.value}): {words}\nNext: {_NEXT_STEP[attempt.outcome]}."
    )


def refused_by_one(refusal: Attempt, attempts: Sequence[Attempt]) -> str:
    """Return the message of `RequestError` where one provider refused, and what others did instead of answering."""
    lines = attempt_lines(attempt for attempt in attempts if attempt.outcome is not refusal.outcome)
    return "\n".join([refused(refusal), *(["The others gave no answer:"] if lines else []), *lines])


def interrupted(attempt: Attempt) -> str:
    """Return the message of `StreamInterruptedError`."""
    words = attempt.message or attempt.outcome.value
    return (
        f"{attempt.route} broke off after part of its answer ({attempt.outcome.value}): {words}\n"
        "Next: what came is in .partial; call again for a whole answer (routes take over before the first text only)."
    )


def late(deadline_s: float, attempts: Sequence[Attempt], held: Sequence[tuple[Route, Hold]], now: float) -> str:
    """Return the message of `DeadlineError`."""
    lines = [f"No answer within the deadline of {deadline_s:g} s, or the next wait would have outlasted it."]
    lines += [*attempt_lines(attempts), *held_lines(held, now)]
    lines.append("    Next: give a longer deadline=, or call again: what is on hold now will be tried again.")
    return "\n".join(lines)


def attempt_lines(attempts: Iterable[Attempt]) -> list[str]:
    """Return a line for each kind of failure: what came back, from which routes, and how often from each."""
    alike: dict[str, Counter[str]] = {}
    for attempt in attempts:
        alike.setdefault(f"{attempt.outcome.value}{_detail(attempt)}", Counter())[attempt.route] += 1
    return [f"  {words}: {', '.join(map(_times, routes.items()))}" for words, routes in alike.items()]


def held_lines(held: Iterable[tuple[Route, Hold]], now: float) -> list[str]:
    """Return a line for each route that was left out, and why."""
    return [f"  left out: {route.name}, {hold_words(hold, now)}" for route, hold in held]


def _times(entry: tuple[str, int]) -> str:
    route, count = entry
    return route if count == 1 else f"{route} x{count}"


def _counted(count: int, word: str) -> str:
    return f"{count or 'no'} {word}{'' if count == 1 else 's'}"


def hold_words(hold: Hold, now: float) -> str:
    """Return a hold in words: why, and how long still."""
    is_lasting = math.isinf(hold.until)
    left = "until the model's row changes" if is_lasting else f"{max(0.0, hold.until - now):.0f} s left"
    return f"on hold for {hold.why.value}, {left}"


def is_network(attempts: Sequence[Attempt]) -> bool:
    """Say whether every attempt failed before any host could be reached."""
    return bool(attempts) and all(a.outcome is Outcome.CONNECTION and a.error_code in _NETWORK_CODES for a in attempts)


def _detail(attempt: Attempt) -> str:
    status = f"HTTP {attempt.http_status}" if attempt.http_status is not None else attempt.error_code or ""
    words = ": ".join(part for part in (status, attempt.message) if part)
    return f" ({words[:120]})" if words else ""


def next_step(cause: Outcome, attempt: Attempt | None, own: OwnUrls) -> str:
    """Return what a user can do about an outcome.

    Args:
        cause: the outcome.
        attempt: one that had it; None: none is known.
        own: the user's own backends.
    """
    if attempt is None:
        return _NEXT_STEP.get(cause, _OTHERWISE)
    return _step(
        cause,
        attempt.backend,
        own,
        has_key=attempt.key is not None,
        words=attempt.message or "",
    )


def next_step_after(cause: Outcome, attempts: Sequence[Attempt], own: OwnUrls) -> str:
    """Return what a user can do about the outcome that ended a job.

    Args:
        cause: the outcome.
        attempts: one for each outcome there was.
        own: the user's own backends.
    """
    if is_network(attempts) and any(attempt.backend not in own for attempt in attempts):
        return _NETWORK
    return next_step(cause, next((one for one in attempts if one.outcome is cause), None), own)


def _step(cause: Outcome, backend: str, own: OwnUrls, *, has_key: bool, words: str) -> str:
    found = None
    if backend in own:
        trouble = Trouble(backend=backend, base_url=own[backend], has_key=has_key, words=words)
        found = own_step(cause, trouble)
    return found or _NEXT_STEP.get(cause, _OTHERWISE)
