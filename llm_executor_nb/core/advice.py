"""The messages of errors about routes: each failed attempt, each route left out, and the next step for each cause.

A backend of the user's own has its own steps: its address, its model and its key are the user's to change.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import (
    CERTIFICATE_EARLY,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_OF_ANOTHER,
    CERTIFICATE_UNKNOWN,
    REDIRECTED,
    Outcome,
)
from llm_executor_nb.core.policy import OF_POLICY
from llm_executor_nb.core.records import CHAT_COMPLETIONS, HUGGINGFACE, OPENROUTER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.chain import LeftOut
    from llm_executor_nb.core.holds import Hold
    from llm_executor_nb.core.records import Route

    OwnUrls = Mapping[str, str | None]
    """The user's own backends: name -> base URL; None: a chat model object."""

_NETWORK_CODES = frozenset({"refused", "dns"})
_NEXT_STEP: dict[Outcome, str] = {
    Outcome.CONNECTION: "the connection failed: try again, or check the proxy settings",
    Outcome.TIMEOUT: "no reply in time: try again, or give a longer timeout=",
    Outcome.SERVER_ERROR: "the provider has trouble: try again in a minute",
    Outcome.OVERLOADED: "the provider is overloaded: try again in a minute, or add a provider to the model's row",
    Outcome.EMPTY: "the provider answered with nothing: try again, or another model",
    Outcome.MALFORMED: "the reply could not be read: try again; a login page of a network is a usual cause",
    Outcome.RATE_LIMITED: "the rate limit is reached: wait, or add a key; concurrency= slows a column down",
    Outcome.QUOTA: "the credit is used up: top it up, or add another key",
    Outcome.AUTH: "the key is not accepted: replace it",
    Outcome.FORBIDDEN: "the key may not do this: give it the permission, or add another key",
    Outcome.NOT_FOUND: "the model is not served there: try another",
    Outcome.UNSUPPORTED: "the model is not supported there: try another",
    Outcome.INVALID_OUTPUT: "the answer did not fit the schema or the tool, or was too large: simplify it, set "
    "max_tokens=, or try a stronger model",
    Outcome.REJECTED: "your accept= function rejected every answer: loosen it, or change the prompt",
    Outcome.CONTEXT_LENGTH: "the prompt is too long for the model: shorten it, or take a model with a longer window",
    Outcome.BAD_REQUEST: "the provider refused a parameter or a message: correct it, or it is refused again",
    Outcome.CONTENT_FILTER: "the content was refused: change the prompt",
    Outcome.TRUNCATED: "max_tokens was used up before there was a whole answer: raise max_tokens=",
}

_OF_BACKEND: dict[str, dict[Outcome, str]] = {
    OPENROUTER: {
        Outcome.QUOTA: "the credit is used up: top it up at openrouter.ai/settings/credits, or add another key",
        Outcome.AUTH: "the key is not accepted: replace it (openrouter.ai/settings/keys), or sign in: llm.login()",
        Outcome.NOT_FOUND: "OpenRouter does not have this model: compare its id with openrouter.ai/models, or leave "
        "OpenRouter out: llm.models.off_openrouter.add({model})",
        Outcome.UNSUPPORTED: "no provider of the model at OpenRouter takes this request: change it, or try another "
        "model",
    },
    HUGGINGFACE: {
        Outcome.QUOTA: "the credit is used up: top it up at huggingface.co/settings/billing, or add another token",
        Outcome.AUTH: "the token is not accepted: sign in again, llm.login('huggingface'), or replace it "
        "(huggingface.co/settings/tokens)",
        Outcome.FORBIDDEN: "the token may not do this: tick 'Make calls to Inference Providers' at "
        "huggingface.co/settings/tokens",
        Outcome.NOT_FOUND: "the provider does not serve the model any more: take it out of the row, or let "
        "llm.sync_models({model}, apply=True) do so",
        Outcome.UNSUPPORTED: "the provider does not support this: take it out of the model's row",
    },
}
"""What the user has to do where that differs by backend. A page of one does nothing for a key of another."""

_CERTIFICATES = {
    CERTIFICATE_EXPIRED: "check this machine's clock; if it is right, whoever runs the server must renew that",
    CERTIFICATE_EARLY: "check this machine's clock: by it, the server's certificate is from the future",
    CERTIFICATE_OF_ANOTHER: "check the host name in the base URL; if it is right, log in to this network, or ask who "
    "runs it: something else answers in place of the server",
    CERTIFICATE_UNKNOWN: "if a company's proxy or authority signs here, name its certificate (a PEM file) in "
    "REQUESTS_CA_BUNDLE and restart the kernel; if none does, something else answers in place of the server",
}
"""What can be done about a certificate, by the beginning of the message."""
_OTHERWISE = "try again"
_OF_POLICIES = {
    f"{OF_POLICY}bill_to=": "the token may not bill this organisation, or it has no credit: check both at "
    "huggingface.co, or leave bill_to out",
    OF_POLICY: "no provider there meets the policy: loosen the clause, or try another model",
}
"""What can be done about a refusal for a policy, by the beginning of the message."""
_V1 = "most base URLs end in /v1"
_ELSEWHERE = (
    "{backend} redirects to another address, and a redirect is not followed, because it would take the key along: "
    f"set base_url to that address, without {CHAT_COMPLETIONS}; if it is a login page, log in"
)
_NOT_SERVED = (Outcome.NOT_FOUND, Outcome.UNSUPPORTED)
_OF_THE_REQUEST = ("response_format", "schema", "tool", "image", "audio", "parameter", "support")
"""Words of a server that knows the model, and does not take a part of the request."""
_WANTS_A_KEY = (Outcome.AUTH, Outcome.FORBIDDEN)
_SERVER: dict[Outcome, str] = {
    Outcome.AUTH: "{backend} does not accept the key: give another, {again}",
    Outcome.FORBIDDEN: "the key may not do this at {backend}: give another, {again}",
    Outcome.QUOTA: "the credit at {backend} is used up: top it up there, or give another key, {again}",
    Outcome.RATE_LIMITED: "{backend} limits its rate: wait, or raise the limit there; concurrency= slows a column down",
    Outcome.SERVER_ERROR: "{backend} has trouble: look at its own log, or try again in a minute",
    Outcome.OVERLOADED: "{backend} is overloaded: try again in a minute; concurrency= slows a column down",
    Outcome.CONNECTION: "the connection to {url} failed: check that {backend} runs and listens there",
    Outcome.MALFORMED: f"the reply could not be read: check that chat completions are at {{url}}; {_V1}",
}
_OBJECT: dict[Outcome, str] = {
    Outcome.NOT_FOUND: "{backend} does not have what its chat model asks for: load the model there, or {again}",
    Outcome.UNSUPPORTED: "{backend} does not support what its chat model asks for: {again}",
    Outcome.AUTH: "the key that the chat model of {backend} holds is not accepted: {again}",
    Outcome.FORBIDDEN: "the key that the chat model of {backend} holds may not do this: {again}",
    Outcome.QUOTA: "the credit of the chat model of {backend} is used up: top it up, or {again}",
    Outcome.RATE_LIMITED: "{backend} limits its rate: wait; concurrency= slows a column down",
    Outcome.SERVER_ERROR: "the chat model of {backend} has trouble: its message says which; try again",
    Outcome.OVERLOADED: "{backend} is overloaded: try again in a minute; concurrency= slows a column down",
    Outcome.CONNECTION: "the chat model of {backend} could not connect: check that its server runs",
    Outcome.MALFORMED: "the chat model of {backend} gave no readable answer: its message says why",
}
_NETWORK = "every host refused or could not be found, so it is the network; check the connection"


def all_failed(
    model: str, attempts: Sequence[Attempt], held: Sequence[tuple[Route, Hold]], now: float, own: OwnUrls
) -> str:
    """Return the message of `AllRoutesFailedError`: for each cause the routes, the provider's words, the next steps."""
    lines = [f"No route to {model} gave an answer ({counted(len(attempts), 'request')})."]
    if is_network(attempts) and any(attempt.backend not in own for attempt in attempts):
        lines += [*attempt_lines(attempts), *held_lines(held, now)]
        lines.append(f"Next: {_NETWORK}.")
        return "\n".join(lines)
    for cause in dict.fromkeys([*(a.outcome for a in attempts), *(hold.why for _, hold in held)]):
        alike = [a for a in attempts if a.outcome is cause]
        left_out = [(route, hold) for route, hold in held if hold.why is cause]
        lines += [*attempt_lines(alike), *held_lines(left_out, now)]
        lines += [f"    Next: {step}." for step in dict.fromkeys(_steps(cause, alike, left_out, own, model))]
    return "\n".join(lines)


def _steps(
    cause: Outcome, attempts: Iterable[Attempt], held: Iterable[tuple[Route, Hold]], own: OwnUrls, model: str
) -> Iterator[str]:
    """Yield the next steps for a cause; backends of the user's own may need others than OpenRouter does."""
    for attempt in attempts:
        yield _next_step(cause, attempt, own, model)
    for route, hold in held:
        yield _step(cause, route.backend, own, model, has_key=route.key is not None, message=hold.message)


def refused(attempt: Attempt) -> str:
    """Return the message of `RequestError`."""
    message = attempt.message or f"HTTP {attempt.http_status}"
    step = _NEXT_STEP[attempt.outcome]
    return f"{attempt.route} refused this request ({attempt.outcome.value}): {message}\nNext: {step}."


def refused_by_one(refusal: Attempt, attempts: Sequence[Attempt]) -> str:
    """Return the message of `RequestError` if one provider refused and the others failed in other ways."""
    lines = attempt_lines(attempt for attempt in attempts if attempt.outcome is not refusal.outcome)
    return "\n".join([refused(refusal), *(["The others gave no answer:"] if lines else []), *lines])


def interrupted(attempt: Attempt) -> str:
    """Return the message of `StreamInterruptedError`."""
    message = attempt.message or attempt.outcome.value
    return (
        f"{attempt.route} broke off after part of its answer ({attempt.outcome.value}): {message}\n"
        "Next: .partial has that part; call again for a whole answer (routes take over before the first text only)."
    )


def late(deadline_s: float, attempts: Sequence[Attempt], held: Sequence[tuple[Route, Hold]], now: float) -> str:
    """Return the message of `DeadlineError`."""
    lines = [f"No answer within the deadline of {deadline_s:g} s, or the next wait would have outlasted it."]
    lines += [*attempt_lines(attempts), *held_lines(held, now)]
    lines.append("    Next: give a longer deadline=, or call again: what is on hold now will be tried again.")
    return "\n".join(lines)


def attempt_lines(attempts: Iterable[Attempt]) -> list[str]:
    """Return a line for each kind of failure: the outcome, its routes, and how often each had it."""
    alike: dict[str, Counter[str]] = {}
    for attempt in attempts:
        alike.setdefault(f"{attempt.outcome.value}{_detail(attempt)}", Counter())[attempt.route] += 1
    return [f"  {failure}: {', '.join(map(_times, routes.items()))}" for failure, routes in alike.items()]


def held_lines(held: Iterable[tuple[Route, Hold]], now: float) -> list[str]:
    """Return a line for each route that was left out, with the reason."""
    return [f"  left out: {route.name}, {hold_words(hold, now)}" for route, hold in held]


def left_out_lines(left_out: Iterable[LeftOut]) -> list[str]:
    """Return a line for each reason why routes cannot promise a policy, with these routes."""
    routes: dict[tuple[str, str], list[str]] = {}
    for one in left_out:
        routes.setdefault((one.clause, one.why), []).append(one.route.name)
    return [f"  left out by {clause}: {', '.join(names)} ({why})" for (clause, why), names in routes.items()]


def left_out_note(left_out: Sequence[LeftOut]) -> str:
    """Return the same in few words, behind a failure; empty: nothing was left out."""
    counts = Counter(one.clause for one in left_out)
    return "".join(f"; left out by {clause}: {counted(count, 'route')}" for clause, count in counts.items())


def _times(entry: tuple[str, int]) -> str:
    route, count = entry
    return route if count == 1 else f"{route} x{count}"


def counted(count: int, word: str) -> str:
    """Return a count with its word: `no routes`, `1 route`, `1,000 routes`."""
    return f"{f'{count:,}' if count else 'no'} {word}{'' if count == 1 else 's'}"


def hold_words(hold: Hold, now: float) -> str:
    """Return a hold in words, as `on hold for auth, 600 s left`."""
    return f"on hold for {hold.why.value}, {hold.left(now)}"


def is_network(attempts: Sequence[Attempt]) -> bool:
    """Whether every attempt failed before any host was reached."""
    return bool(attempts) and all(a.outcome is Outcome.CONNECTION and a.error_code in _NETWORK_CODES for a in attempts)


def _detail(attempt: Attempt) -> str:
    status = f"HTTP {attempt.http_status}" if attempt.http_status is not None else attempt.error_code or ""
    detail = ": ".join(part for part in (status, attempt.message) if part)
    return f" ({detail[:120]})" if detail else ""


def _next_step(cause: Outcome, attempt: Attempt | None, own: OwnUrls, model: str) -> str:
    if attempt is None:
        return _NEXT_STEP.get(cause, _OTHERWISE)
    return _step(cause, attempt.backend, own, model, has_key=attempt.key is not None, message=attempt.message or "")


def next_step_after(cause: Outcome, attempts: Sequence[Attempt], own: OwnUrls, model: str) -> str:
    """Return what a user can do about an outcome of a job.

    Args:
        cause: the outcome.
        attempts: one for each outcome in the job.
        own: the user's own backends.
        model: its name in the provider table.
    """
    if is_network(attempts) and any(attempt.backend not in own for attempt in attempts):
        return _NETWORK
    return _next_step(cause, next((one for one in attempts if one.outcome is cause), None), own, model)


def _step(cause: Outcome, backend: str, own: OwnUrls, model: str, *, has_key: bool, message: str) -> str:
    by_words = _CERTIFICATES | _OF_POLICIES
    step = next((step for words, step in by_words.items() if message.startswith(words)), None)
    if step is None and backend in own:
        step = _own_step(cause, backend, own[backend], has_key=has_key, message=message)
    step = step or _OF_BACKEND.get(backend, {}).get(cause) or _NEXT_STEP.get(cause, _OTHERWISE)
    return step.replace("{model}", repr(model))


# --- backends of the user's own -----------------------------------------------------------------------------------


def _own_step(cause: Outcome, backend: str, base_url: str | None, *, has_key: bool, message: str) -> str | None:
    """Return the next step for a backend of the user's own; None: the general step fits."""
    # no page of OpenRouter's tops up the credit of a server at home, and a 404 there is mostly a missing "/v1"
    if base_url is None:
        again = f"make a new object, and give it to llm.add_backend({backend!r}, chat_model=...)"
        step = _OBJECT.get(cause)
        return step and step.format(backend=backend, again=again)
    url = f"{base_url}{CHAT_COMPLETIONS}"
    again = f"llm.add_backend({backend!r}, base_url={base_url!r}, keys=[key])"
    if message.startswith(REDIRECTED):
        return _ELSEWHERE.format(backend=backend)
    if cause is Outcome.UNSUPPORTED and any(word in message.lower() for word in _OF_THE_REQUEST):
        return f"{backend} does not take what this request asks for: leave that out, or ask another backend"
    if cause in _NOT_SERVED:
        return _not_served(backend, url, message)
    if cause in _WANTS_A_KEY and not has_key:
        return f"{backend} wants a key: {again}"
    step = _SERVER.get(cause)
    return step and step.format(backend=backend, url=url, again=again)


def _not_served(backend: str, url: str, message: str) -> str:
    """Tell a missing model from a wrong address: a server that mentions the model is at the right address."""
    model = f"load the model there, or say its name there: names={{{backend!r}: '...'}} in llm.models.add(...)"
    if "model" in message.lower():
        return f"{backend} has no model of this name: {model}"
    address = f"{url} was asked, and nothing is there: correct base_url"
    is_v1 = url.removesuffix(CHAT_COMPLETIONS).endswith("/v1")
    return f"{address}; if it is right, {model}" if is_v1 else f"{address}; {_V1}"
