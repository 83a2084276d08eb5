"""The outcomes an attempt can have, what each puts on hold, and what follows: the table of the design, as data.

A reply is an answer, or it is one of the outcomes below; nothing else leaves `classify`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto


class Outcome(StrEnum):
    """What came of one attempt."""

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
    STOP = auto()


class ScopeLevel(StrEnum):
    """What a reply speaks of, and so how far its hold reaches: from this request alone to a backend for a model."""

    REQUEST = auto()
    """This request: nothing is held."""
    ROUTE = auto()
    MODEL = auto()
    """This model on this key, through any provider."""
    KEY = auto()
    PROVIDER = auto()
    BACKEND = auto()


class Need(StrEnum):
    """What a request may need of a route beyond answering a text."""

    IMAGE = auto()
    FILE = auto()
    AUDIO = auto()
    VIDEO = auto()
    TOOLS = auto()
    SCHEMA = auto()
    POLICY = auto()
    """Conditions on who may answer; a request's own need has a digest behind it."""
    PARAM = auto()
    """A call parameter; a request's own need has its name behind it."""


class NextStep(StrEnum):
    """What a run does after an outcome, before holds and bounds have their say."""

    ACCEPT = auto()
    RETRY = auto()
    ONCE_MORE = auto()
    """It was paid for: two tries on a route, and few in the whole run."""
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
    """What a piece of evidence says.

    Attributes:
        outcome: what came of the attempt.
        reach: how far its hold reaches; None: as its rule says.
        need: what of the request it speaks of; requests without this need are not held. None: of every request.
    """

    outcome: Outcome
    reach: ScopeLevel | None = None
    need: Need | None = None


REDIRECTED = "it redirects to "
"""What a verdict on a redirect begins with; then where it leads."""
