"""What the words of an error say: kinds of words in the order they are tried, and the statuses they are believed with.

The words are the texts of an error and its codes written as words, one a line, in lower case, without addresses of
pages (`see .../billing` says nothing of a bill). Specific words beat a status, so they have to mean what they say
whatever stands around them. Where it is not clear how far a refusal reaches, the narrower reach stands here: an unjust
hold loses rows, a missing one costs one request.
"""

from __future__ import annotations

from typing import Final

from llm_executor_nb.core.outcomes import Finding, Need, Outcome, ScopeLevel
from llm_executor_nb.core.verdicts.wording import Phrases, Wording
from llm_executor_nb.core.verdicts.words_access import (
    ACCESS_TO_MODEL,
    ACCOUNT,
    GONE,
    GONE_OR_NO_ACCESS,
    MAY_NOT_EXIST,
    NOT_HERE,
    OF_MODEL,
    REGION,
    WRONG_ADDRESS,
    WRONG_KEY,
)
from llm_executor_nb.core.verdicts.words_money import (
    AFFORDABLE,
    BUSY,
    DAY_OR_MONTH_OF_A_KEY,
    FREE_REQUESTS_OF_THE_DAY,
    FREE_TIER_OF_A_MODEL,
    IN_FLIGHT,
    MONEY,
    MONEY_WITHOUT_SUBJECT,
    NO_FREE_TIER,
    OF_ONE_PROVIDER,
    PER_TIME,
    POOL_OF_ALL,
    QUOTA,
    RATE_OF_ONE_MODEL,
)
from llm_executor_nb.core.verdicts.words_own import NOT_WITH_THIS, OF_NO_ENDPOINT
from llm_executor_nb.core.verdicts.words_requests import (
    AUDIO,
    FILE,
    FLAGGED,
    IMAGE,
    NOT_FOR_ITS_CONTENT,
    OF_A_VALUE,
    OF_MAX_TOKENS,
    OF_ONE_FILE,
    OF_PARALLEL_CALLS,
    OF_THE_ACCOUNT,
    PARAM,
    POLICY,
    SCHEMA,
    SIZE_OF_ONE,
    TOO_LONG,
    TOOLS,
    UNUSABLE,
    VIDEO,
)

_REFUSED: Final = frozenset({None, *range(400, 500)})
_WHATEVER: Final = frozenset({None, *range(400, 600)})
_OF_REQUESTS: Final = frozenset({None, 400, 413, 422, 500, 502})
_OF_MODELS: Final = frozenset({None, 400, 401, 403, 404, 405, 410, 412, 415, 422, 500, 501})
_OF_ACCESS: Final = frozenset({None, 400, 401, 403, 404, 412, 422, 423, 498})
_OF_KEYS: Final = _OF_ACCESS - {401, 404}
_OF_TRAFFIC: Final = frozenset({None, 400, 403, 404, 409, 412, 420, 423, 424, 498, 500, 502, 504})
_OF_MONEY: Final = frozenset({None, 400, 402, 403, 412, 429})
_OF_TIME: Final = frozenset({None, 400, 403, 429})


def _row(
    says: Phrases,
    statuses: frozenset[int | None],
    outcome: Outcome,
    reach: ScopeLevel | None = None,
    need: Need | None = None,
    *,
    unless: Phrases | None = None,
    is_untimed: bool = False,
) -> Wording:
    finding = Finding(outcome, reach, need)
    return Wording(says=says, statuses=statuses, finding=finding, unless=unless, is_untimed=is_untimed)


def _need(says: Phrases, need: Need, unless: Phrases | None = None) -> Wording:
    return _row(says, _OF_MODELS, Outcome.UNSUPPORTED, ScopeLevel.PROVIDER, need, unless=unless)


WORDINGS: tuple[Wording, ...] = (
    _row(IN_FLIGHT, _OF_MONEY, Outcome.RATE_LIMITED, ScopeLevel.KEY),
    _row(AFFORDABLE, _OF_MONEY, Outcome.QUOTA, ScopeLevel.REQUEST),
    _row(UNUSABLE, frozenset({None, 400, 422, 424, 500}), Outcome.INVALID_OUTPUT),
    _row(FREE_REQUESTS_OF_THE_DAY, _OF_MONEY, Outcome.QUOTA, ScopeLevel.KEY),
    _row(DAY_OR_MONTH_OF_A_KEY, _OF_MONEY, Outcome.QUOTA, ScopeLevel.KEY),
    _row(NO_FREE_TIER, _OF_MONEY, Outcome.QUOTA, ScopeLevel.MODEL),
    _row(FREE_TIER_OF_A_MODEL, _REFUSED, Outcome.QUOTA, ScopeLevel.MODEL),
    _row(OF_ONE_PROVIDER, _REFUSED, Outcome.QUOTA, ScopeLevel.PROVIDER),
    _row(POOL_OF_ALL, _OF_TIME, Outcome.RATE_LIMITED, ScopeLevel.BACKEND),
    _row(RATE_OF_ONE_MODEL, _OF_TIME, Outcome.RATE_LIMITED, ScopeLevel.ROUTE),
    _row(MONEY, _WHATEVER, Outcome.QUOTA, ScopeLevel.KEY),
    _row(MONEY_WITHOUT_SUBJECT, _WHATEVER - {400, 404, 422}, Outcome.QUOTA, ScopeLevel.KEY),
    _row(SIZE_OF_ONE, frozenset({400, 413, 429}), Outcome.CONTEXT_LENGTH),
    _row(PER_TIME, _OF_TIME, Outcome.RATE_LIMITED),
    _row(QUOTA, _REFUSED - {429}, Outcome.QUOTA, ScopeLevel.KEY),
    _row(QUOTA, frozenset({429}), Outcome.QUOTA, ScopeLevel.KEY, is_untimed=True),
    _row(FLAGGED, frozenset({None, 400, 403, 422, 451, 500}), Outcome.CONTENT_FILTER, unless=NOT_FOR_ITS_CONTENT),
    _row(TOO_LONG, _OF_REQUESTS, Outcome.CONTEXT_LENGTH, unless=OF_MAX_TOKENS),
    _row(OF_THE_ACCOUNT, frozenset({404}), Outcome.UNSUPPORTED, ScopeLevel.MODEL),
    _row(POLICY, frozenset({400, 403, 404, 422}), Outcome.UNSUPPORTED, ScopeLevel.PROVIDER, Need.POLICY),
    _need(IMAGE, Need.IMAGE, OF_ONE_FILE),
    _need(AUDIO, Need.AUDIO, OF_ONE_FILE),
    _need(VIDEO, Need.VIDEO, OF_ONE_FILE),
    _need(FILE, Need.FILE, OF_ONE_FILE),
    _need(SCHEMA, Need.SCHEMA),
    _need(TOOLS, Need.TOOLS, OF_PARALLEL_CALLS),
    _need(PARAM, Need.PARAM, OF_A_VALUE),
    _row(OF_NO_ENDPOINT, frozenset({None, 400, 404, 422}), Outcome.UNSUPPORTED, ScopeLevel.REQUEST),
    _row(REGION, _REFUSED, Outcome.UNSUPPORTED, ScopeLevel.MODEL),
    _row(GONE_OR_NO_ACCESS, frozenset({None, 400, 404}), Outcome.NOT_FOUND, ScopeLevel.ROUTE),
    _row(MAY_NOT_EXIST, frozenset({403}), Outcome.FORBIDDEN, ScopeLevel.ROUTE),
    _row(ACCESS_TO_MODEL, _OF_ACCESS, Outcome.FORBIDDEN, ScopeLevel.MODEL),
    _row(WRONG_ADDRESS, frozenset({None, 404}), Outcome.NOT_FOUND, ScopeLevel.BACKEND),
    _row(NOT_HERE, _OF_MODELS, Outcome.UNSUPPORTED, ScopeLevel.PROVIDER),
    _row(NOT_WITH_THIS, _OF_MODELS, Outcome.UNSUPPORTED, ScopeLevel.REQUEST),
    _row(GONE, _OF_MODELS, Outcome.NOT_FOUND, ScopeLevel.PROVIDER),
    _row(WRONG_KEY, _OF_KEYS, Outcome.AUTH, ScopeLevel.KEY),
    _row(ACCOUNT, _OF_KEYS, Outcome.FORBIDDEN, ScopeLevel.KEY, unless=OF_MODEL),
    _row(PER_TIME, _OF_TRAFFIC, Outcome.RATE_LIMITED),
    _row(BUSY, _OF_TRAFFIC, Outcome.OVERLOADED),
)
"""Tried in this order; the first that fits says what the error is."""

_OF_THE_REQUEST: Final = frozenset({Outcome.CONTEXT_LENGTH, Outcome.CONTENT_FILTER, Outcome.INVALID_OUTPUT})
OF_REQUESTS: Final = tuple(
    one
    for one in WORDINGS
    if one.finding.need is not None
    or one.finding.outcome in _OF_THE_REQUEST
    or (one.finding.reach is ScopeLevel.REQUEST and one.finding.outcome is Outcome.UNSUPPORTED)
)
"""What may be said of a request's own parts; the rest speaks of keys, accounts, rates and models."""
OWN_BY_STATUS: Final[dict[int | None, Finding]] = {
    **dict.fromkeys((None, 400, 404, 410, 415, 422, 424), Finding(Outcome.BAD_REQUEST)),
    402: Finding(Outcome.QUOTA, ScopeLevel.REQUEST),
    403: Finding(Outcome.FORBIDDEN, ScopeLevel.REQUEST),
    500: Finding(Outcome.SERVER_ERROR),
    502: Finding(Outcome.SERVER_ERROR),
}
"""What words of a request's own parts mean with a status, where nothing better is known."""
UNQUOTED: Final = frozenset({Outcome.AUTH, Outcome.FORBIDDEN, Outcome.OVERLOADED, Outcome.QUOTA, Outcome.RATE_LIMITED})
"""What is not read from quotes where the status speaks of the request."""
MAY_QUOTE: Final = frozenset({None, 400, 404, 415, 422})
"""Statuses that speak of the request, so that what stands in quotes is the request's."""

RELAYED: Final = Phrases(
    "provider returned error",
    "error from provider",
    ("litellm.", r"litellm\.\w+(error|exception)"),
    ("exception - ", r"\w{3,}exception - "),
    ("upstream", r"upstream (provider|error|returned|request|responded)|(error|response) from upstream"),
)
"""Words of a gateway that passes on what another server said."""
