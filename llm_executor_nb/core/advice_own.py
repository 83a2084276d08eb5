"""What a user can do where a backend of their own failed: its address, its model, its key. A part of `advice`.

The advice for OpenRouter and Hugging Face does not fit there: no page of theirs tops up the credit of a server at
home, and what looks like a model that is gone is mostly a base URL without `/v1`.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_executor_nb.core.outcomes import REDIRECTED, Outcome
from llm_executor_nb.core.records import CHAT_COMPLETIONS

_V1 = "most base URLs end in /v1"
_ELSEWHERE = (
    "{backend} sends elsewhere, and a redirect is not followed, since it would take the key along: "
    f"make base_url what stands there before {CHAT_COMPLETIONS}; if that is a login page, log in"
)
_NOT_SERVED = (Outcome.NOT_FOUND, Outcome.UNSUPPORTED)
_OF_THE_REQUEST = ("response_format", "schema", "tool", "image", "audio", "parameter", "support")
"""Words of a server that knows the model, and does not take something of the request."""
_WANTS_A_KEY = (Outcome.AUTH, Outcome.FORBIDDEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A failure of a backend of the user's.

    Attributes:
        backend: its name.
        base_url: where it listens; None: it is a chat model object.
        has_key: it was asked with a key.
        words: its own.
    """

    backend: str
    base_url: str | None
    has_key: bool
    words: str = ""


_SERVER: dict[Outcome, str] = {
    Outcome.AUTH: "{backend} does not accept the key: give another, {again}",
    Outcome.FORBIDDEN: "the key may not do this at {backend}: give another, {again}",
    Outcome.QUOTA: "the credit at {backend} is used up: top it up there, or give another key, {again}",
    Outcome.RATE_LIMITED: "{backend} limits its rate: wait, lower concurrency=, or raise the limit there",
    Outcome.SERVER_ERROR: "{backend} has trouble: look at its own log, or try again in a minute",
    Outcome.OVERLOADED: "{backend} is overloaded: try again in a minute, or lower concurrency=",
    Outcome.CONNECTION: "the connection to {url} failed: see that {backend} runs and listens there",
    Outcome.MALFORMED: f"the reply could not be read: see that chat completions are at {{url}}; {_V1}",
}
_OBJECT: dict[Outcome, str] = {
    Outcome.NOT_FOUND: "{backend} has not what its chat model asks for: load the model there, or {again}",
    Outcome.UNSUPPORTED: "{backend} does not support what its chat model asks for: {again}",
    Outcome.AUTH: "the key that the chat model of {backend} holds is not accepted: {again}",
    Outcome.FORBIDDEN: "the key that the chat model of {backend} holds may not do this: {again}",
    Outcome.QUOTA: "the credit of the chat model of {backend} is used up: top it up, or {again}",
    Outcome.RATE_LIMITED: "{backend} limits its rate: wait, or lower concurrency=",
    Outcome.SERVER_ERROR: "the chat model of {backend} has trouble: its words say which; try again",
    Outcome.OVERLOADED: "{backend} is overloaded: try again in a minute, or lower concurrency=",
    Outcome.CONNECTION: "the chat model of {backend} could not connect: see that its server runs",
    Outcome.MALFORMED: "the chat model of {backend} gave no answer that can be read: its words say why",
}


def own_step(cause: Outcome, trouble: Trouble) -> str | None:
    """Return what a user can do; None: what holds for every backend holds for this one."""
    name, url = trouble.backend, f"{trouble.base_url}{CHAT_COMPLETIONS}"
    if trouble.base_url is None:
        again = f"make the object anew, and give it to llm.add_backend({name!r}, chat_model=...)"
        words = _OBJECT.get(cause)
        return words and words.format(backend=name, again=again)
    again = f"llm.add_backend({name!r}, base_url={trouble.base_url!r}, keys=[key])"
    if trouble.words.startswith(REDIRECTED):
        return _ELSEWHERE.format(backend=name)
    if cause is Outcome.UNSUPPORTED and any(word in trouble.words.lower() for word in _OF_THE_REQUEST):
        return f"{name} does not take what this request asks for: leave that out, or ask another backend"
    if cause in _NOT_SERVED:
        return _not_served(trouble, url)
    if cause in _WANTS_A_KEY and not trouble.has_key:
        return f"{name} wants a key: {again}"
    words = _SERVER.get(cause)
    return words and words.format(backend=name, url=url, again=again)


def _not_served(trouble: Trouble, url: str) -> str:
    """A server that speaks of a model knows the address; any other 404 is mostly of the address."""
    model = f"load the model there, or say its name there: names={{{trouble.backend!r}: '...'}} in llm.models.add(...)"
    if "model" in trouble.words.lower():
        return f"{trouble.backend} has no model of this name: {model}"
    address = f"{url} was asked, and nothing is there: correct base_url"
    return f"{address}; if it is right, {model}" if str(trouble.base_url).endswith("/v1") else f"{address}; {_V1}"
