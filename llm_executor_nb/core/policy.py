"""What a request demands of whoever answers it: no storage, named providers, a price, who is billed. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from numbers import Real
from typing import Any

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import scrub
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.core.outcomes import Need
from llm_executor_nb.core.secret import door

QUANTIZATIONS = ("int4", "int8", "fp4", "fp6", "fp8", "fp16", "bf16", "fp32", "unknown")
OF_POLICY = "policy "
"""The beginning of a message about a refusal for a policy; the clause follows."""
_DIGEST_SIZE = 4
_MAX_PRICE_FORM = "(input, output) in dollars per million tokens, such as (0.10, 0.30)"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What every request demands of the provider that answers it. A route that cannot promise it is not asked.

    Attributes:
        zdr: zero data retention: the provider stores neither prompts nor answers.
        no_training: the provider does not train on them.
        only: the upstream providers that may answer, such as `together` or `deepinfra/turbo`; empty: all.
        ignore: the upstream providers that may not.
        max_price: the highest price, `(input, output)` in dollars per million tokens; None: any.
        bill_to: the Hugging Face organisation that is charged; None: the token's own account.
        quantizations: the number formats that the weights may have, such as `fp8`; empty: all.

    Raises:
        ConfigError: a value is not valid.
    """

    zdr: bool = False
    no_training: bool = False
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    max_price: tuple[float, float] | None = None
    bill_to: str | None = None
    quantizations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks = {
            "zdr": _switch,
            "no_training": _switch,
            "only": _names,
            "ignore": _names,
            "max_price": lambda _, value: check_max_price(value, where="Policy: "),
            "bill_to": _organisation,
            "quantizations": _formats,
        }
        for name, check in checks.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))

    def __bool__(self) -> bool:
        """Whether anything is demanded."""
        return self is not NO_POLICY and self != NO_POLICY

    def __repr__(self) -> str:
        demanded = [self.clause(one.name) for one in fields(self) if getattr(self, one.name) != one.default]
        return f"Policy({', '.join(demanded)})"

    def clause(self, name: str) -> str:
        """Return a clause in words, as `zdr=True`."""
        return f"{name}={getattr(self, name)!r}"

    @cached_property
    def need(self) -> str:
        """The need that requests with this policy have in common: `policy:` and a digest."""
        text = json.dumps([getattr(self, one.name) for one in fields(self)])
        return f"{Need.POLICY}:{blake2b(text.encode(), digest_size=_DIGEST_SIZE).hexdigest()}"


def _switch(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigError(f"Policy: {name}={value!r} must be True or False.")


def _names(name: str, value: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever the user gave
    """Return providers as OpenRouter writes them: in lower case, each once, in an order that does not matter."""
    is_group = isinstance(value, list | tuple | set | frozenset)
    listed = [value] if isinstance(value, str) else list(value) if is_group else None
    _refuse_key(name, *(listed or ()))
    if listed is None or not all(isinstance(one, str) and _slug(one) for one in listed):
        raise ConfigError(f"Policy: {name}={value!r} must be names of providers, such as {name}=('together',).")
    return tuple(sorted(set(map(_slug, listed))))


def _slug(name: str) -> str:
    parts = ("-".join(part.split()) for part in name.lower().split("/"))
    return "/".join(filter(None, parts))


def check_max_price(value: Any, *, where: str = "") -> tuple[float, float] | None:  # noqa: ANN401 - whatever the user gave
    """Return a highest price, `(input, output)` in dollars per million tokens, if it is one; None: any.

    Raises:
        ConfigError: it is not.
    """
    if value is None:
        return None
    if isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_dollars, value)):
        return float(value[0]), float(value[1])
    raise ConfigError(f"{where}max_price={value!r} must be {_MAX_PRICE_FORM}.")


def _is_dollars(value: object) -> bool:
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < math.inf
    except OverflowError:
        return False


def _organisation(name: str, value: object) -> str | None:
    _refuse_key(name, value)
    if value is None or (
        isinstance(value, str) and value.strip().isascii() and value.strip().isprintable() and value.strip()
    ):
        return value if value is None else value.strip()
    raise ConfigError(f"Policy: {name}={value!r} must be the name of an organisation on Hugging Face.")


def _formats(name: str, value: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever the user gave
    formats = _names(name, value)
    if unknown := [one for one in formats if one not in QUANTIZATIONS]:
        raise ConfigError(f"Policy: {name} has {unknown[0]!r}; there are {', '.join(QUANTIZATIONS)}.")
    return formats


def _refuse_key(name: str, *values: object) -> None:
    """Refuse a key that was given as a name: a policy is shown."""
    if any(isinstance(value, str) and scrub(value) != value for value in values):
        raise ConfigError(f"Policy: {name} looks like a key, and a policy is shown. Add keys with llm.keys.add(...).")


# near names for its arguments, and no frame of ours that holds a key given in their place
Policy.__init__ = door(noted_as("llm.Policy")(Policy.__init__))  # type: ignore[method-assign] # the decorated one
NO_POLICY = Policy()
"""Demands nothing."""


def check_policy(policy: object) -> Policy:
    """Return a policy; None: the one that demands nothing.

    Raises:
        ConfigError: it is something else.
    """
    if policy is None:
        return NO_POLICY
    if isinstance(policy, Policy):
        return policy
    raise ConfigError(f"policy must be an llm.Policy, such as llm.Policy(zdr=True), not {type(policy).__name__}.")
