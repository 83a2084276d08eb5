"""The outcomes of an attempt, what each puts on hold, and what follows: the table of design 3.1, as data.

A reply is an answer or one of the other outcomes; `classify` returns nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto


class Outcome(StrEnum):
    """The result of one attempt."""

    OK = auto()
    CONNECTION = auto()
    SERVER_ERROR = auto()
    OVERLOADED = auto()
    EMPTY = auto()
    MALFORMED = auto()
    TIMEOUT = auto()
    RATE_LIMITED = auto()
    QUOTA = auto()
    AUTH = auto()
    FORBIDDEN = auto()
    NOT_FOUND = auto()
    UNSUPPORTED = auto()
    INVALID_OUTPUT = auto()
    REJECTED = auto()
    CONTEXT_LENGTH = auto()
    BAD_REQUEST = auto()
    CONTENT_FILTER = auto()
    TRUNCATED = auto()
    CANCELLED = auto()


class Decision(StrEnum):
    """What the run did after an attempt."""

    ACCEPT = auto()
    RETRY = auto()
    WAIT = auto()
    FALL_BACK = auto()
    HEDGE = auto()
    """The run goes on with its other request: this one lost to its twin, or failed while the twin was in flight."""
    STOP = auto()


class ScopeLevel(StrEnum):
    """What a reply is about, and so how far its hold reaches: from this request alone to a backend for a model."""

    REQUEST = auto()
    """This request: nothing is held."""
    ROUTE = auto()
    MODEL = auto()
    """This model on this key, through any provider."""
    KEY = auto()
    PROVIDER = auto()
    BACKEND = auto()


class Need(StrEnum):
    """What a request may need of a route beyond a text answer."""

    IMAGE = auto()
    FILE = auto()
    AUDIO = auto()
    VIDEO = auto()
    TOOLS = auto()
    SCHEMA = auto()
    POLICY = auto()
    """Conditions on who may answer; followed by a digest of them in a request's needs."""
    PARAM = auto()
    """A call parameter; followed by its name in a request's needs."""
    BILL_TO = auto()
    """An organisation that is billed; followed by its name in a request's needs."""


class NextStep(StrEnum):
    """What a run does after an outcome if no hold and no bound stops it."""

    ACCEPT = auto()
    RETRY = auto()
    ONCE_MORE = auto()
    """Two tries on a route, and few in the whole run: each was paid for (design 3.3)."""
    MOVE_THEN_RETRY = auto()
    MOVE = auto()
    NEXT_PROVIDER = auto()
    NEXT_BACKEND = auto()
    REFUSE = auto()
    STOP = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRule:
    """One row of the table.

    Attributes:
        follow: what the run does next.
        is_transient: it counts in the route's streak of failures.
        condemns: what is held at once, until further notice; None: nothing.
    """

    follow: NextStep
    is_transient: bool = False
    condemns: ScopeLevel | None = None


_TRANSIENT = OutcomeRule(follow=NextStep.RETRY, is_transient=True)
_KEY_IS_DEAD = OutcomeRule(follow=NextStep.MOVE, condemns=ScopeLevel.KEY)
_NOT_ALLOWED = OutcomeRule(follow=NextStep.MOVE, condemns=ScopeLevel.ROUTE)
_NOT_SERVED_HERE = OutcomeRule(follow=NextStep.MOVE, condemns=ScopeLevel.PROVIDER)
_PAID_IN_VAIN = OutcomeRule(follow=NextStep.ONCE_MORE)
_REFUSED = OutcomeRule(follow=NextStep.REFUSE)

RULES: dict[Outcome, OutcomeRule] = {
    Outcome.OK: OutcomeRule(follow=NextStep.ACCEPT),
    Outcome.CONNECTION: _TRANSIENT,
    Outcome.SERVER_ERROR: _TRANSIENT,
    Outcome.OVERLOADED: _TRANSIENT,
    Outcome.EMPTY: _TRANSIENT,
    Outcome.MALFORMED: _TRANSIENT,
    Outcome.TIMEOUT: OutcomeRule(follow=NextStep.MOVE_THEN_RETRY, is_transient=True),
    Outcome.RATE_LIMITED: OutcomeRule(follow=NextStep.RETRY),
    Outcome.QUOTA: _KEY_IS_DEAD,
    Outcome.AUTH: _KEY_IS_DEAD,
    Outcome.FORBIDDEN: _NOT_ALLOWED,
    Outcome.NOT_FOUND: _NOT_SERVED_HERE,
    Outcome.UNSUPPORTED: _NOT_SERVED_HERE,
    Outcome.INVALID_OUTPUT: _PAID_IN_VAIN,
    Outcome.REJECTED: _PAID_IN_VAIN,
    Outcome.CONTEXT_LENGTH: OutcomeRule(follow=NextStep.NEXT_BACKEND),
    Outcome.BAD_REQUEST: OutcomeRule(follow=NextStep.NEXT_PROVIDER),
    Outcome.CONTENT_FILTER: _REFUSED,
    Outcome.TRUNCATED: _REFUSED,
    Outcome.CANCELLED: OutcomeRule(follow=NextStep.STOP),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a piece of evidence means.

    Attributes:
        outcome: the outcome of the attempt.
        reach: how far its hold reaches; None: as the outcome's rule says.
        need: the need of the request that it is about; None: it is about every request.
    """

    outcome: Outcome
    reach: ScopeLevel | None = None
    need: Need | None = None


CERTIFICATE_EXPIRED = "its certificate has expired"
CERTIFICATE_EARLY = "its certificate is not valid yet"
CERTIFICATE_OF_ANOTHER = "its certificate is for another host"
CERTIFICATE_UNKNOWN = "its certificate is from an authority that is unknown here"
"""The beginnings of the messages about a server's certificate."""
REDIRECTED = "it redirects to "
"""The beginning of the message about a redirect; the new address follows."""
