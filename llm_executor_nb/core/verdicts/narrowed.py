"""What a refusal means for the request that met it: it is about what that request demanded, and holds no other one.

A refusal for a policy names the clause: OpenRouter's `excluded_by` has it, else the words do. Hugging Face has no words
of its own for an organisation that may not be billed, so there the status decides. A service tier without room has room
for requests at other tiers.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final

from llm_executor_nb.core.foreign_json import get_in
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.needs import SERVICE_TIER, blamed
from llm_executor_nb.core.outcomes import RULES, Need, NextStep, Outcome, ScopeLevel
from llm_executor_nb.core.policy import NO_POLICY, OF_POLICY, Policy
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Verdict
from llm_executor_nb.core.verdicts.phrases import Phrases

if TYPE_CHECKING:
    from collections.abc import Iterator

_ZDR, _NO_TRAINING, _BILL_TO = "zdr", "no_training", "bill_to"
_OF_EXCLUSIONS: Final = {
    "data_policy:zdr": _ZDR,
    "data_policy:training": _NO_TRAINING,
    "max_price": "max_price",
    "quantization": "quantizations",
    "allowed_providers": "only",
    "ignored_providers": "ignore",
}
"""The clause of a policy for each of OpenRouter's `excluded_by`; the others are no clauses of ours."""
_OF_WORDS: Final = (
    (_ZDR, Phrases("zero data retention", ("zdr", r"zdr\b"))),
    (_NO_TRAINING, Phrases("model training", "model publication", ("data", r"data[ _]collection\b"))),
    ("only", Phrases("allowed providers", "provider.only", "allowed provider")),
    ("ignore", Phrases("providers have been ignored", "provider.ignore")),
    ("max_price", Phrases(("price", r"max(imum)?[ _]price"), "price constraint")),
    ("quantizations", Phrases("quantization")),
)
"""The clause for each group of words."""
_DATA_POLICY: Final = Phrases("data polic", "privacy")
"""Words that leave open which of the two clauses about data they are about."""
_ROUTING: Final = Phrases("routing requirements", "routing preferences", "no endpoints", "no_endpoints")
"""OpenRouter says this of the providers that the request allows; others may be there, and up."""
_UPSTREAM: Final = "upstream"
"""In OpenRouter's codes: the error is that of the provider that it asked."""
_ORGANISATION: Final = Phrases("resource group", ("organi", r"organi[sz]ations?\b"), ("bill", r"bill(ed|ing)?\b"))
"""Words about who pays."""
_ROOM: Final = r"(capacity|unavailable|not available|resources?|overload\w*|full\b|busy)"
_TIER_IS_FULL: Final = Phrases(
    "resource unavailable",
    "resource_unavailable",
    *((stem, rf"{stem}\b[^\n]{{0,60}}{_ROOM}|{_ROOM}[^\n]{{0,60}}\b{stem}\b") for stem in ("flex", "tier")),
)
_OF_FULL_TIERS: Final = frozenset({Outcome.OVERLOADED, Outcome.RATE_LIMITED, Outcome.SERVER_ERROR})
_CLAUSES: Final = tuple(one.name for one in fields(Policy) if one.name != _BILL_TO)
_NOT_OF_THE_TOKEN: Final = frozenset(
    {NextStep.REFUSE, NextStep.NEXT_PROVIDER, NextStep.NEXT_BACKEND, NextStep.ONCE_MORE}
)
"""What follows a refusal of the request's own content or size, which holds nothing."""


def clauses_named_in(root: object, words: str) -> frozenset[str]:
    """Return the clauses of a policy that an error is about, by the names of their fields; none: it names none.

    Args:
        root: the object that holds the error's typed fields.
        words: all words of the error, in lower case.
    """
    excluded = get_in(root, "availability", "excluded_by")
    listed = excluded if isinstance(excluded, list) else [excluded]
    typed = frozenset(_OF_EXCLUSIONS.get(one, one) for one in listed if isinstance(one, str))
    return typed or frozenset(_in_words(words))


def _in_words(words: str) -> Iterator[str]:
    named = [clause for clause, phrases in _OF_WORDS if phrases.are_in(words)]
    yield from named
    if not {_ZDR, _NO_TRAINING}.intersection(named) and _DATA_POLICY.are_in(words):
        yield from (_ZDR, _NO_TRAINING)


def narrowed(verdict: Verdict, policy: Policy, needs: frozenset[str], backend: str) -> Verdict:
    """Return a verdict as it is for one request; its message begins with what the refusal is about.

    Args:
        verdict: on the reply alone.
        policy: what the request demands.
        needs: what the request needs.
        backend: who was asked.
    """
    if verdict.outcome is Outcome.OK:
        return verdict
    if policy.bill_to is not None and backend == HUGGINGFACE and _is_of_the_bill(verdict):
        return _begun(_of_the_pair(verdict), f"{OF_POLICY}{policy.clause(_BILL_TO)}")
    if backend == OPENROUTER and _is_of_the_routing(verdict) and blamed(Need.POLICY, needs, "") is not None:
        verdict = replace(verdict, need=Need.POLICY)
    if backend == OPENROUTER and verdict.need is Need.FILE and (policy.zdr or policy.no_training):
        # under these clauses only the model itself may read a PDF; without them others may, so nothing is held
        verdict = replace(verdict, reach=ScopeLevel.REQUEST, need=None)
    if verdict.need is Need.POLICY and policy:
        demanded = [name for name in _CLAUSES if getattr(policy, name) != getattr(NO_POLICY, name)]
        named = ", ".join(policy.clause(name) for name in demanded if name in (verdict.clauses or demanded))
        return _begun(verdict, f"{OF_POLICY}{named}") if named else verdict
    if verdict.outcome in _OF_FULL_TIERS and f"{Need.PARAM}:{SERVICE_TIER}" in needs and _is_of_the_tier(verdict):
        return _begun(
            replace(verdict, outcome=Outcome.OVERLOADED, reach=ScopeLevel.ROUTE, need=Need.PARAM), SERVICE_TIER
        )
    if backend == OPENROUTER and _is_of_the_upstream(verdict) and blamed(Need.POLICY, needs, "") is not None:
        return replace(verdict, need=Need.POLICY)
    return verdict


def _is_of_the_routing(verdict: Verdict) -> bool:
    is_open = verdict.need is None and verdict.outcome in (Outcome.OVERLOADED, Outcome.NOT_FOUND)
    return is_open and _ROUTING.are_in(_words_of(verdict))


def _is_of_the_upstream(verdict: Verdict) -> bool:
    """Whether a failure is that of the provider that OpenRouter asked; without the policy others may be asked."""
    is_named = verdict.upstream is not None or _UPSTREAM in (verdict.error_code or "")
    return is_named and verdict.need is None and verdict.reach is not ScopeLevel.KEY


def _is_of_the_tier(verdict: Verdict) -> bool:
    return _TIER_IS_FULL.are_in(_words_of(verdict))


def _is_of_the_bill(verdict: Verdict) -> bool:
    """Whether a refusal may be about the organisation that is billed: a 403 is, whatever its words."""
    if RULES[verdict.outcome].follow in _NOT_OF_THE_TOKEN:
        return False
    is_refused = verdict.http_status == 403 or verdict.outcome in (Outcome.QUOTA, Outcome.FORBIDDEN)
    return is_refused or (verdict.http_status is not None and _ORGANISATION.are_in(_words_of(verdict)))


def _of_the_pair(verdict: Verdict) -> Verdict:
    """Return a verdict that is about the token together with the organisation."""
    is_passing = RULES[verdict.outcome].condemns is None
    outcome = Outcome.FORBIDDEN if is_passing and verdict.http_status == 403 else verdict.outcome
    reach = verdict.reach if outcome is Outcome.QUOTA and verdict.http_status != 403 else ScopeLevel.KEY
    return replace(verdict, outcome=outcome, reach=reach, need=Need.BILL_TO)


def _words_of(verdict: Verdict) -> str:
    return f"{verdict.message}\n{verdict.error_code}".lower()


def _begun(verdict: Verdict, beginning: str) -> Verdict:
    """Return a verdict whose message has this beginning; the provider's words follow."""
    return replace(verdict, message=shorten(f"{beginning}: {verdict.message}" if verdict.message else beginning))
