"""The records that travel between the rooms: keys, routes, replies, verdicts. Frozen, and without a plain key."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.outcomes import Need, Outcome, ScopeLevel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_executor_nb.core.secret import Secret

OPENROUTER = "openrouter"
HUGGINGFACE = "huggingface"
CHAT_COMPLETIONS = "/chat/completions"
"""What every backend has behind its base URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a backend, with where it came from.

    Attributes:
        backend: the backend that takes it: `openrouter`, `huggingface` or a user's own.
        secret: the value.
        label: what the user calls it, `key 1` without a name of theirs; empty while the search for keys goes on.
        source: where it was found: `code`, `session`, an environment variable's name, `.env`, ...
        rpm: requests per minute that the user named; None: unknown.
        is_enabled: whether it is asked.
        saved_in: `keyring` or `file` where this package saved it; looked up only to be shown.
    """

    backend: str
    secret: Secret
    label: str
    source: str = "code"
    rpm: float | None = None
    is_enabled: bool = True
    saved_in: str = field(default="", compare=False)

    @property
    def shown(self) -> str:
        """The label and the last four characters, `key 1 ..a1b2`."""
        return f"{self.label} {self.secret.ending}"

    @property
    def state(self) -> str:
        """Whether it is asked, and how often it may be: `on`, `disabled, 20 a minute`."""
        pace = "" if self.rpm is None else f", {self.rpm:g} a minute"
        return ("on" if self.is_enabled else "disabled") + pace


@dataclass(frozen=True, slots=True)
class Scope:
    """What a hold holds: a key, a route, a model on a key, a provider or a backend for a model.

    Attributes:
        need: only requests that need this are held, such as `image` or `param:seed`; None: every request is held.
    """

    reach: ScopeLevel
    backend: str
    secret: Secret | None = None
    provider: str | None = None
    model: str | None = None
    need: str | None = None
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # computed once: every move of every row looks scopes up
        parts = (self.reach, self.backend, self.secret, self.provider, self.model, self.need)
        object.__setattr__(self, "_hash", hash(parts))

    def __hash__(self) -> int:
        return self._hash

    @property
    def place(self) -> str:
        """The backend, and the provider behind it if there is one: `huggingface/scaleway`."""
        return f"{self.backend}/{self.provider}" if self.provider else self.backend

    def for_need(self, need: str | None) -> Scope:
        """Return the same scope for requests with a need; None: for every request."""
        return self if need is None else replace(self, need=need)

    def for_any_need(self) -> Scope:
        """Return the same scope for every request."""
        return self if self.need is None else replace(self, need=None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route:
    """One way to reach a model: backend, key, provider and model, and the tier that it belongs to.

    Two routes are equal only if they are one object; what must outlast a chain is kept by their scopes.

    Attributes:
        backend: the backend to ask.
        key: the key to ask it with; None for a server that needs none.
        provider: the provider behind the backend that must answer; None: the backend chooses.
        model: the model's name in the user's table; holds are kept under it.
        request_model: the model's name in the request, as `google/gemma-3-27b-it:scaleway`.
        tier: 1 or 2.
        scopes: what can be held of the route, by how far the hold reaches.
        name: as the attempt log shows it, `openrouter ..a1b2` or `huggingface/scaleway ..c3d4`.
    """

    backend: str
    key: Key | None
    provider: str | None
    model: str
    request_model: str
    tier: int
    scopes: Mapping[ScopeLevel, Scope] = field(init=False, repr=False)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        secret = self.key.secret if self.key else None
        scopes = {
            ScopeLevel.ROUTE: Scope(ScopeLevel.ROUTE, self.backend, secret, self.provider, self.model),
            ScopeLevel.MODEL: Scope(ScopeLevel.MODEL, self.backend, secret, None, self.model),
            ScopeLevel.KEY: Scope(ScopeLevel.KEY, self.backend, secret),
            ScopeLevel.PROVIDER: Scope(ScopeLevel.PROVIDER, self.backend, None, self.provider, self.model),
            ScopeLevel.BACKEND: Scope(ScopeLevel.BACKEND, self.backend, None, None, self.model),
        }
        object.__setattr__(self, "scopes", scopes)
        place = scopes[ScopeLevel.ROUTE].place
        object.__setattr__(self, "name", f"{place} {self.key.secret.ending}" if self.key else place)

    def scope(self, reach: ScopeLevel) -> Scope:
        """Return what a hold that reaches so far would hold."""
        return self.scopes[reach]


class FaultKind(StrEnum):
    """How a request can fail before its whole reply has come."""

    REFUSED = auto()
    DNS = auto()
    TLS = auto()
    CONNECT = auto()
    CLOSED = auto()
    CUT = auto()
    TIMEOUT = auto()
    DEADLINE = auto()
    MALFORMED = auto()
    TOO_LARGE = auto()
    LOCAL = auto()
    """This machine's own fault; the transport raises it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """No whole reply came.

    Attributes:
        kind: how the request failed.
        detail: the failure in words, scrubbed.
        status: the HTTP status, if a reply had begun.
        may_resend: a kept-alive connection died before any byte of a reply, so it may have gone unseen.
        begun: the part of a body of events that had come; it may hold a whole answer.
    """

    kind: FaultKind
    detail: str
    status: int | None = None
    may_resend: bool = False
    begun: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole HTTP reply, whatever it says. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How many more requests a provider says it takes: `remaining` within the next `reset_s` seconds."""

    remaining: float
    reset_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a reply or a fault means.

    Attributes:
        outcome: the outcome of the attempt.
        body: the parsed JSON of an answer; None otherwise.
        reach: how far a hold reaches; None: as the outcome's rule says.
        need: the need of the request that it is about; None: it is about every request.
        retry_after_s: seconds that the provider asks to wait, from its reply's arrival; None: it named no time.
        http_status, error_code, message: the provider's own words, scrubbed, at most 300 characters.
        finish_reason, response_model, input_tokens, output_tokens, cost_usd: as the reply says; None: it does not.
        upstream, service_tier, cached_tokens, reasoning_tokens, generation_id: as in an `Attempt`.
        allowance: what an answer says is left of a limit; None: nothing, or nothing credible.
        names: what we add to requests that an error mentions; `core.verdicts.added_parameters` has the words.
        clauses: the clauses of a policy that a refusal for a policy names; empty: it names none.
    """

    outcome: Outcome
    body: dict[str, Any] | None = None
    reach: ScopeLevel | None = None
    need: Need | None = None
    retry_after_s: float | None = None
    http_status: int | None = None
    error_code: str | None = None
    message: str | None = None
    finish_reason: str | None = None
    response_model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    upstream: str | None = None
    service_tier: str | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    generation_id: str | None = None
    allowance: Allowance | None = None
    names: frozenset[str] = frozenset()
    clauses: frozenset[str] = frozenset()
