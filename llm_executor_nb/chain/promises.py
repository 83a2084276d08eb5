"""Whether a policy held for an answer: by what its request demanded, by who served it, and by OpenRouter's catalogue.

It fails closed: what is not known does not hold. `max_price` and `bill_to` are about what a request costs, so they say
nothing about an answer that is there already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.chain.lookups import keeping_nothing
from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.settings.provider_names import base_of, canonical, is_chosen_there

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from llm_executor_nb.core.policy import Policy
    from llm_executor_nb.store.records import Origin

_RETENTION = ("zdr", "no_training")
"""The clauses that the catalogue's list of endpoints without retention proves too."""
_PROVABLE = (*_RETENTION, "only", "ignore", "quantizations")


@dataclass(frozen=True, slots=True)
class ReuseRule:
    """Says whether a stored answer may be reused. An object, so that a job can take it to another process.

    Attributes:
        policy: what is demanded.
        listed: the providers that keep nothing, by OpenRouter's list.
    """

    policy: Policy
    listed: frozenset[str]

    def __call__(self, origin: Origin) -> bool:
        """Whether the policy holds for an answer."""
        return not broken(self.policy, origin, self.listed)


def reuse_rule(policy: Policy, model: str) -> ReuseRule | None:
    """Return a function that says whether a stored answer may be reused under a policy; None: every answer may.

    Under `zdr` and `no_training` it needs OpenRouter's list, which is free and is kept for an hour.
    """
    if not any(getattr(policy, name) for name in _PROVABLE):
        return None
    return ReuseRule(policy, frozenset(keeping_nothing(model)) if needs_list(policy) else frozenset())


def needs_list(policy: Policy) -> bool:
    """Whether the catalogue's list can prove a clause of a policy."""
    return any(getattr(policy, name) for name in _RETENTION)


def broken(policy: Policy, origin: Origin, listed: Collection[str] = ()) -> list[str]:
    """Return the clauses of a policy that do not hold for an answer, or of which that is not known.

    Args:
        policy: what is demanded.
        origin: where the answer is from.
        listed: the providers that keep nothing of what its model is sent, by OpenRouter's list.
    """
    bought, who = origin.policy, _who_served(origin)
    is_listed = _backend_of(origin) == OPENROUTER and who in listed
    holds = {
        "zdr": bought.zdr or is_listed,
        "no_training": bought.no_training or is_listed,
        "only": _is_among(who, policy.only, otherwise=_is_within(bought.only, policy.only)),
        "ignore": not _is_among(who, policy.ignore, otherwise=not _is_within(policy.ignore, bought.ignore)),
        "quantizations": _is_within(bought.quantizations, policy.quantizations),
    }
    return [name for name in _PROVABLE if getattr(policy, name) and not holds[name]]


def _is_among(who: str | None, names: Iterable[str], *, otherwise: bool) -> bool:
    """Whether names have a provider; `otherwise` where that is not known: names may have a variant of it alone."""
    known = {canonical(name) for name in names}
    if who is None or (who not in known and who in map(base_of, known)):
        return otherwise
    return who in known


def _is_within(some: Collection[str], others: Collection[str]) -> bool:
    """Whether there are names, and all of them are among others."""
    return bool(some) and set(some) <= set(others)


def _who_served(origin: Origin) -> str | None:
    """Return the provider that served an answer, or the user's own backend; None: unknown."""
    if origin.upstream:
        return canonical(origin.upstream)
    backend, _, provider = _place_of(origin).partition("/")
    is_known = backend not in ("", OPENROUTER) and not is_chosen_there(provider)
    return canonical(provider or backend) if is_known else None


def _backend_of(origin: Origin) -> str:
    return _place_of(origin).partition("/")[0]


def _place_of(origin: Origin) -> str:
    """Return the backend of a route's name, and the provider behind it."""
    return origin.route.partition(" ")[0]
