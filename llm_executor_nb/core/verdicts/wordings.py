"""What the words of an error mean: the groups of words in the order they are tried, and the statuses that count.

The words are an error's texts, and its codes written as words; one a line, in lower case, without addresses of pages
(`see .../billing` says nothing about a bill). Specific words beat a status (design 3.1), so they must mean the same
whatever stands around them. Where the scope is unclear the narrower one stands here: an unjust hold loses rows, a
missing one costs one request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from llm_executor_nb.core.outcomes import Finding, Need, Outcome, ScopeLevel
from llm_executor_nb.core.verdicts import phrases_accounts as accounts
from llm_executor_nb.core.verdicts import phrases_requests as requests
from llm_executor_nb.core.verdicts.phrases import Phrases


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """One row: a group of words, and what it means.

    Attributes:
        phrases: the words.
        statuses: the HTTP statuses they count with; None among them: an error inside a 200 that names no status.
        finding: what they mean.
        unless: words beside them that take this meaning away; None: there are none.
        is_untimed: they count only where the reply names no time at which to ask again.
    """

    phrases: Phrases
    statuses: frozenset[int | None]
    finding: Finding
    unless: Phrases | None = None
    is_untimed: bool = False

    def fits(self, words: str, status: int | None, *, is_timed: bool) -> bool:
        """Whether an error with these words and this status means this."""
        return (
            status in self.statuses
            and not (is_timed and self.is_untimed)
            and self.phrases.are_in(words)
            and not (self.unless is not None and self.unless.are_in(words))
        )


_ANY_4XX: Final = frozenset({None, *range(400, 500)})
_ANY_ERROR: Final = frozenset({None, *range(400, 600)})
_LENGTH: Final = frozenset({None, 400, 413, 422, 500, 502})
_CONTENT: Final = frozenset({None, 400, 403, 422, 451, 500})
_MODEL: Final = frozenset({None, 400, 401, 403, 404, 405, 410, 412, 415, 422, 500, 501})
_ACCESS: Final = frozenset({None, 400, 401, 403, 404, 412, 422, 423, 498})
_KEY: Final = _ACCESS - {401, 404}
_TRAFFIC: Final = frozenset({None, 400, 403, 404, 409, 412, 420, 423, 424, 498, 500, 502, 504})
_MONEY: Final = frozenset({None, 400, 402, 403, 412, 429})
_RATE: Final = frozenset({None, 400, 403, 429})
"""Statuses that words count with. A gateway's 400 may hide any error; a 500 that speaks of money is about money."""


def _row(
    phrases: Phrases,
    statuses: frozenset[int | None],
    outcome: Outcome,
    reach: ScopeLevel | None = None,
    need: Need | None = None,
    *,
    unless: Phrases | None = None,
    is_untimed: bool = False,
) -> Wording:
    finding = Finding(outcome, reach, need)
    return Wording(phrases=phrases, statuses=statuses, finding=finding, unless=unless, is_untimed=is_untimed)


def _need(phrases: Phrases, need: Need, unless: Phrases | None = None) -> Wording:
    return _row(phrases, _MODEL, Outcome.UNSUPPORTED, ScopeLevel.PROVIDER, need, unless=unless)


WORDINGS: tuple[Wording, ...] = (
    _row(accounts.IN_FLIGHT_BUDGET, _MONEY, Outcome.RATE_LIMITED, ScopeLevel.KEY),
    _row(accounts.UNAFFORDABLE, _MONEY, Outcome.QUOTA, ScopeLevel.REQUEST),
    _row(requests.UNUSABLE_OUTPUT, frozenset({None, 400, 422, 424, 500}), Outcome.INVALID_OUTPUT),
    _row(accounts.FREE_TIER_DAILY, _MONEY, Outcome.QUOTA, ScopeLevel.KEY),
    _row(accounts.KEY_PERIOD_LIMIT, _MONEY, Outcome.QUOTA, ScopeLevel.KEY),
    _row(accounts.NO_FREE_TIER, _MONEY, Outcome.QUOTA, ScopeLevel.MODEL),
    _row(accounts.MODEL_FREE_TIER, _ANY_4XX, Outcome.QUOTA, ScopeLevel.MODEL),
    _row(accounts.PROVIDER_BILLING, _ANY_4XX, Outcome.QUOTA, ScopeLevel.PROVIDER),
    _row(accounts.SHARED_POOL, _RATE, Outcome.RATE_LIMITED, ScopeLevel.BACKEND),
    _row(accounts.MODEL_RATE, _RATE, Outcome.RATE_LIMITED, ScopeLevel.ROUTE),
    _row(accounts.NO_MONEY, _ANY_ERROR, Outcome.QUOTA, ScopeLevel.KEY),
    _row(accounts.MONEY_WORDS, _ANY_ERROR - {400, 404, 422}, Outcome.QUOTA, ScopeLevel.KEY),
    _row(requests.REQUEST_TOO_LARGE, frozenset({400, 413, 429}), Outcome.CONTEXT_LENGTH),
    _row(accounts.RATE, _RATE, Outcome.RATE_LIMITED),
    _row(accounts.QUOTA, _ANY_4XX - {429}, Outcome.QUOTA, ScopeLevel.KEY),
    _row(accounts.QUOTA, frozenset({429}), Outcome.QUOTA, ScopeLevel.KEY, is_untimed=True),
    _row(requests.FLAGGED, _CONTENT, Outcome.CONTENT_FILTER, unless=requests.NOT_ABOUT_CONTENT),
    _row(requests.TOO_LONG, _LENGTH, Outcome.CONTEXT_LENGTH, unless=requests.ABOUT_MAX_TOKENS),
    _row(requests.ACCOUNT_SETTINGS, frozenset({404}), Outcome.UNSUPPORTED, ScopeLevel.MODEL),
    _row(requests.POLICY, frozenset({400, 403, 404, 422}), Outcome.UNSUPPORTED, ScopeLevel.PROVIDER, Need.POLICY),
    _need(requests.IMAGE, Need.IMAGE, requests.ABOUT_ONE_FILE),
    _need(requests.AUDIO, Need.AUDIO, requests.ABOUT_ONE_FILE),
    _need(requests.VIDEO, Need.VIDEO, requests.ABOUT_ONE_FILE),
    _need(requests.FILE, Need.FILE, requests.ABOUT_ONE_FILE),
    _need(requests.SCHEMA, Need.SCHEMA),
    _need(requests.TOOLS, Need.TOOLS, requests.ABOUT_PARALLEL_CALLS),
    _need(requests.PARAM, Need.PARAM, requests.ABOUT_A_VALUE),
    _row(requests.NO_ENDPOINT, frozenset({None, 400, 404, 422}), Outcome.UNSUPPORTED, ScopeLevel.REQUEST),
    _row(accounts.REGION, _ANY_4XX, Outcome.UNSUPPORTED, ScopeLevel.MODEL),
    _row(accounts.MISSING_OR_NO_ACCESS, frozenset({None, 400, 404}), Outcome.NOT_FOUND, ScopeLevel.ROUTE),
    _row(accounts.MAY_NOT_EXIST, frozenset({403}), Outcome.FORBIDDEN, ScopeLevel.ROUTE),
    _row(accounts.MODEL_ACCESS, _ACCESS, Outcome.FORBIDDEN, ScopeLevel.MODEL),
    _row(accounts.WRONG_ADDRESS, frozenset({None, 404}), Outcome.NOT_FOUND, ScopeLevel.BACKEND),
    _row(accounts.MODEL_NOT_SERVED, _MODEL, Outcome.UNSUPPORTED, ScopeLevel.PROVIDER),
    _row(requests.FEATURE_NOT_SUPPORTED, _MODEL, Outcome.UNSUPPORTED, ScopeLevel.REQUEST),
    _row(accounts.MODEL_NOT_FOUND, _MODEL, Outcome.NOT_FOUND, ScopeLevel.PROVIDER),
    _row(accounts.INVALID_KEY, _KEY, Outcome.AUTH, ScopeLevel.KEY),
    _row(accounts.ACCOUNT_FORBIDDEN, _KEY, Outcome.FORBIDDEN, ScopeLevel.KEY, unless=accounts.ABOUT_A_MODEL),
    _row(accounts.RATE, _TRAFFIC, Outcome.RATE_LIMITED),
    _row(accounts.BUSY, _TRAFFIC, Outcome.OVERLOADED),
)
"""Tried in this order; the first row that fits is what the error means.

Money stands before rates: "you exceeded your current quota" comes with a 429 too, and money words win over any status
(design 3.1). Needs stand before models: "model x does not support images" is not a reason to hold the model.
"""

_REQUEST_OUTCOMES: Final = frozenset({Outcome.CONTEXT_LENGTH, Outcome.CONTENT_FILTER, Outcome.INVALID_OUTPUT})
REQUEST_WORDINGS: Final = tuple(
    one
    for one in WORDINGS
    if one.finding.need is not None
    or one.finding.outcome in _REQUEST_OUTCOMES
    or (one.finding.reach is ScopeLevel.REQUEST and one.finding.outcome is Outcome.UNSUPPORTED)
)
"""The rows that may be about a request's own parts; the others are about keys, accounts, rates and models."""
PARTS_BY_STATUS: Final[dict[int | None, Finding]] = {
    **dict.fromkeys((None, 400, 404, 410, 415, 422, 424), Finding(Outcome.BAD_REQUEST)),
    402: Finding(Outcome.QUOTA, ScopeLevel.REQUEST),
    403: Finding(Outcome.FORBIDDEN, ScopeLevel.REQUEST),
    500: Finding(Outcome.SERVER_ERROR),
    502: Finding(Outcome.SERVER_ERROR),
}
"""What an error about a request's own parts means by its status, where none of the rows above fits."""

_QUOTED: Final = re.compile(r"(?<!\w)(?<!['\"]: )(['\"`])[^'\"`\n]{1,200}\1(?!\w)(?!:)")
_MAY_QUOTE: Final = frozenset({None, 400, 404, 415, 422})
"""Statuses that are about the request, so that an error may quote the request's names and values."""
_UNQUOTED: Final = frozenset({Outcome.AUTH, Outcome.FORBIDDEN, Outcome.OVERLOADED, Outcome.QUOTA, Outcome.RATE_LIMITED})
"""Outcomes that a quoted name or value of the request never proves: a field may be called "billing"."""

RELAYED: Final = Phrases(
    "provider returned error",
    "error from provider",
    ("litellm.", r"litellm\.\w+(error|exception)"),
    ("exception - ", r"\w{3,}exception - "),
    ("upstream", r"upstream (provider|error|returned|request|responded)|(error|response) from upstream"),
)
"""A gateway says this when it relays another server's error."""


def finding_in(
    words: str, status: int | None, *, is_timed: bool, among: tuple[Wording, ...] = WORDINGS
) -> Finding | None:
    """Return what the words of an error mean; None: no row fits.

    Args:
        words: of the error, in lower case.
        status: the status that counts.
        is_timed: the reply names a time at which to ask again.
        among: the rows to try.
    """
    plain = _without_quotes(words) if status in _MAY_QUOTE else words
    for wording in among:
        if wording.fits(plain if wording.finding.outcome in _UNQUOTED else words, status, is_timed=is_timed):
            return wording.finding
    return None


def _without_quotes(words: str) -> str:
    """Return words without quoted names and values of the request.

    The values of an object in a text stay, for they are the error's own words: `{'message': 'no credit'}`.
    """
    return _QUOTED.sub("''", words)
