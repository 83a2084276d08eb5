"""What a policy makes of a model's chain: the routes that can promise it, and why each of the others cannot.

A policy fails closed (design 3.5): a route that cannot promise it is not asked. OpenRouter is told the policy in its
`provider` object and applies it itself. Hugging Face has no such switches, so its routes are judged here by what is
known of their providers. Backends of the user's own are judged by what the user says of them. `routes_under` is pure.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.lookups import aprices_of, prices_of, providers_listed
from llm_executor_nb.core.advice import left_out_lines
from llm_executor_nb.core.chain import LeftOut
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_json import get_in
from llm_executor_nb.core.near_names import did_you_mean, near_names
from llm_executor_nb.core.policy import NO_POLICY, check_policy
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.providers.catalog import PER_MILLION
from llm_executor_nb.settings.provider_names import SLUGS, base_of, canonical, is_chosen_there, is_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llm_executor_nb.chain.lookups import Prices
    from llm_executor_nb.core.chain import Chain
    from llm_executor_nb.core.policy import Policy
    from llm_executor_nb.core.records import Route
    from llm_executor_nb.settings.backends import OwnBackend
    from llm_executor_nb.settings.options import Options

    Backends = Mapping[str, OwnBackend]
    Against = tuple[str, str] | None
    """The clauses that a route cannot promise, in words, and why; None: it promises all."""

_log = logging.getLogger("llm_executor_nb")
_ROUNDING = 1 + 1e-9
"""A price per token is a fraction that has no exact form, so a price at the limit may seem to be above it."""
_PROVIDER = "provider"
_CHOOSE = ("order", "only")
"""Fields of OpenRouter's `provider` object that name who may answer."""
_ELSEWHERE = ("plugins", "web_search_options", "preset")
"""Fields of OpenRouter that send, or may send, text to others than the provider, whatever the policy says."""
_ONLINE, _PRESET = "online", "@preset/"
"""Parts of a model's name at OpenRouter that do the same."""
_OF_THE_CALLER = ("function", "custom")
"""Types of tools that the caller runs. OpenRouter, or somebody for it, runs the others, such as a web search."""
_NAMED, _NOT_NAMED = "it is among them", "it is not among them"
_NO_SWITCH = "Hugging Face has no switch for this; name the providers that you trust with it in only=(...)"
_NEXT = (
    "change the clause, add a route that can promise it (OpenRouter applies policies itself), or give "
    "policy=llm.Policy() to a call that demands nothing"
)


def under_policy(
    given: Policy | None,
    chain: Chain,
    config: Options,
    *,
    payload: Mapping[str, Any],
    extra_body: Mapping[str, Mapping[str, Any]],
) -> tuple[Chain, Policy]:
    """Return the part of a chain that can promise a policy, and the policy in force.

    Args:
        given: the policy of a call; None: the session's.
        chain: all routes of the model.
        config: the settings in force.
        payload: what every route is sent.
        extra_body: what only one backend is sent, by its name.

    Raises:
        ConfigError: it is not a policy, it names an unknown provider, `extra_body` contradicts it, or no route can
            promise it; nothing was sent.
    """
    policy = in_force(given, config)
    if not policy:
        return chain, NO_POLICY
    _check_names(policy, config)
    narrowed = routes_under(policy, chain, config.backends, _prices(policy, chain))
    fields = extra_body.get(OPENROUTER, {})
    # design 3.5: it fails closed, so an extra_body that says otherwise is refused and not merged
    _check_agreement(policy, narrowed, fields)
    check_texts_stay(policy, narrowed, {**payload, **fields})
    if narrowed.left_out and _log.isEnabledFor(logging.DEBUG):
        _log.debug("%s:\n%s", chain.model, "\n".join(left_out_lines(narrowed.left_out)))
    if not narrowed.tiers:
        raise ConfigError(_no_route(policy, narrowed))
    return narrowed, policy


def in_force(given: Policy | None, config: Options) -> Policy:
    """Return a call's policy, else the session's, with each provider under its one name."""
    policy = config.policy if given is None else check_policy(given)
    # a policy without names needs no other spelling, and this runs at every call
    if not (policy.only or policy.ignore):
        return policy
    only, ignore = (tuple(map(canonical, names)) for names in (policy.only, policy.ignore))
    return replace(policy, only=only, ignore=ignore)


async def prices_known(given: Policy | None, model: str, config: Options) -> None:
    """Look up the prices that a policy needs, so that the caller's event loop does not wait for them later."""
    policy = config.policy if given is None else given
    if getattr(policy, "max_price", None) is not None:  # what is not a policy is refused later
        await aprices_of(model)


def routes_under(policy: Policy, chain: Chain, backends: Backends, prices: Prices | None) -> Chain:
    """Return the part of a chain that can promise a policy; `left_out` has the rest.

    Args:
        policy: what is demanded, with each provider under its one name.
        chain: all routes.
        backends: the user's own backends.
        prices: what the routes cost; None: prices are not judged.
    """
    against = {route: _against(route, policy, backends, prices) for route in chain.routes()}
    tiers = (
        tuple(kept for of_key in tier if (kept := tuple(route for route in of_key if against[route] is None)))
        for tier in chain.tiers
    )
    return replace(
        chain,
        tiers=tuple(filter(None, tiers)),
        left_out=tuple(LeftOut(route, *found) for route, found in against.items() if found is not None),
        preferences=_preferences(policy, backends) or None,
    )


# --- what each backend can promise --------------------------------------------------------------------------------


def _against(route: Route, policy: Policy, backends: Backends, prices: Prices | None) -> Against:
    if route.backend == OPENROUTER:
        return _against_openrouter(route, policy, backends)
    if route.backend == HUGGINGFACE:
        return _against_huggingface(route, policy, prices)
    return _against_own(route, policy, backends[route.backend])


def _against_openrouter(route: Route, policy: Policy, backends: Backends) -> Against:
    named = _at_openrouter(policy.only, backends)
    if policy.only and not named:
        return policy.clause("only"), "OpenRouter has none of them"
    # told here and not by the provider's refusal: nothing has to be sent to know it
    if named and all(is_named(name, policy.ignore) for name in named):
        return policy.clause("ignore"), f"nothing is left of {policy.clause('only')}"
    if (clauses := _privacy(policy)) and _sends_on(route.request_model):
        return clauses, f"{route.request_model} may send text to others than the provider"
    return None


def _against_huggingface(route: Route, policy: Policy, prices: Prices | None) -> Against:
    name = canonical(route.provider or "")
    if is_chosen_there(name) and (policy.only or policy.ignore):
        return policy.clause("only" if policy.only else "ignore"), "Hugging Face chooses the provider itself there"
    if policy.only and name not in policy.only:
        variant = next((one for one in policy.only if base_of(one) == name), None)
        why = f"Hugging Face cannot be asked for {variant}" if variant else _NOT_NAMED
        return policy.clause("only"), why
    if any(base_of(one) == name for one in policy.ignore):
        why = _NAMED if name in policy.ignore else "Hugging Face does not say which variant answers"
        return policy.clause("ignore"), why
    # design 3.5: a route that cannot promise a clause is not asked, also if it may keep it
    if policy.quantizations:
        return policy.clause("quantizations"), "Hugging Face does not say which number format answers"
    # who names a provider vouches for it: the router has no switch for these clauses
    if (clauses := _privacy(policy)) and name not in policy.only:
        return clauses, _NO_SWITCH
    return None if prices is None else _against_price(route, policy, prices)


def _against_price(route: Route, policy: Policy, prices: Prices) -> Against:
    if policy.max_price is None:
        return None
    # an unknown price is never 0 (design 3.1, cost), so it promises nothing
    price = prices.get((route.backend, route.provider))
    if price is None:
        return policy.clause("max_price"), "the price there is not known"
    asked, answered = price.input_usd * PER_MILLION, price.output_usd * PER_MILLION
    if asked <= policy.max_price[0] * _ROUNDING and answered <= policy.max_price[1] * _ROUNDING:
        return None
    return policy.clause("max_price"), f"it costs ({asked:g}, {answered:g}) there"


def _against_own(route: Route, policy: Policy, backend: OwnBackend) -> Against:
    name = canonical(route.backend)
    if policy.only and name not in policy.only:
        return policy.clause("only"), _NOT_NAMED
    if name in policy.ignore:
        return policy.clause("ignore"), _NAMED
    # only the user knows what a server of their own keeps
    if (clauses := _privacy(policy)) and not backend.is_trusted:
        say_so = f"llm.add_backend({route.backend!r}, ..., trusted=True)"
        return clauses, f"if {route.backend} can promise it, say so: {say_so}"
    return None


def _privacy(policy: Policy) -> str:
    """Return the clauses about what becomes of the texts; empty: there is none."""
    return ", ".join(policy.clause(name) for name in ("zdr", "no_training") if getattr(policy, name))


def _preferences(policy: Policy, backends: Backends) -> dict[str, Any]:
    """Return what a policy is in OpenRouter's `provider` object."""
    price = policy.max_price
    fields = {
        "zdr": policy.zdr or None,
        "data_collection": "deny" if policy.no_training else None,
        "only": _at_openrouter(policy.only, backends),
        "ignore": _at_openrouter(policy.ignore, backends),
        "max_price": None if price is None else {"prompt": price[0], "completion": price[1]},
        "quantizations": list(policy.quantizations),
    }
    return {name: value for name, value in fields.items() if value}


def _at_openrouter(names: Iterable[str], backends: Backends) -> list[str]:
    """Return the names that may be OpenRouter's: it is not told what the user's own backends are called."""
    own = set(map(canonical, backends)) - SLUGS
    return [name for name in names if base_of(name) not in own]


def _prices(policy: Policy, chain: Chain) -> Prices:
    """Return what the routes of a chain cost, looked up where it matters."""
    is_needed = policy.max_price is not None and any(route.backend == HUGGINGFACE for route in chain.routes())
    return prices_of(chain.model) if is_needed else {}


# --- errors ---------------------------------------------------------------------------------------------------------


def _check_names(policy: Policy, config: Options) -> None:
    """Refuse the name of a provider that nobody lists. Only a name that no table here has is looked up."""
    known: set[str] = set()
    unknown = [base_of(name) for name in (*policy.only, *policy.ignore)]
    for names in (lambda: SLUGS, lambda: config.backends, lambda: _in_rows(config), providers_listed):
        known.update(map(canonical, names()))
        unknown = [name for name in unknown if name not in known]
        if not unknown:
            return
    near = did_you_mean(near_names(unknown[0], sorted(known)))
    raise ConfigError(
        f"Policy: {unknown[0]!r} is not a provider of OpenRouter or Hugging Face, nor a backend of your own.{near} "
        "Nothing was sent.",
    )


def _in_rows(config: Options) -> Iterator[str]:
    rows = (row for row in config.models.providers.values() if isinstance(row, list))
    return (name for row in rows for name in row if isinstance(name, str))


def _check_agreement(policy: Policy, chain: Chain, fields: Mapping[str, Any]) -> None:
    """Refuse preferences for OpenRouter that contradict the policy."""
    if _PROVIDER not in fields or not chain.preferences:
        return
    given, demanded = fields[_PROVIDER], dict(chain.preferences)
    if _privacy(policy):
        demanded["data_collection"] = "deny"
    if not isinstance(given, Mapping):
        raise _contradicts(f"{_PROVIDER!r}: {given!r} takes the place of {policy!r}")
    for name in demanded.keys() & given.keys():
        if _comparable(given[name]) != _comparable(demanded[name]):
            raise _contradicts(f"{name!r}: {given[name]!r} is not what {policy!r} says")
    named = (canonical(str(name)) for field in _CHOOSE for name in _listed(given.get(field)))
    if (barred := next((name for name in named if not _may_answer(name, policy)), None)) is not None:
        raise _contradicts(f"{barred!r} may not answer under {policy!r}")


def check_texts_stay(policy: Policy, chain: Chain, fields: Mapping[str, Any]) -> None:
    """Refuse what makes OpenRouter send text to others than the provider: no clause about texts covers that.

    Args:
        policy: what is demanded.
        chain: the routes that are asked.
        fields: what OpenRouter is sent beside the messages.

    Raises:
        ConfigError: a field does that; nothing was sent.
    """
    clauses = _privacy(policy)
    if clauses and any(route.backend == OPENROUTER for route in chain.routes()):
        for what in _sending_on(fields):
            raise _contradicts(f"{what} sends text to others than the provider, which {clauses} does not cover")


def _sending_on(fields: Mapping[str, Any]) -> Iterator[str]:
    # an empty object asks for a search too, only an empty list for nothing
    yield from (repr(name) for name in _ELSEWHERE if fields.get(name) not in (None, []))
    kinds = (get_in(tool, "type") for tool in _listed(fields.get("tools")))
    yield from (f"the tool {kind!r}" for kind in kinds if kind not in _OF_THE_CALLER)
    yield from (repr(name) for name in _listed(fields.get("models")) if _sends_on(str(name)))


def _sends_on(model: str) -> bool:
    """Whether the name of a model at OpenRouter adds a web search, or a preset, which may have one."""
    name, *variants = model.lower().split(":")
    return _ONLINE in variants or _PRESET in name


def _listed(value: object) -> list[object]:
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value is None else [value]


def _may_answer(name: str, policy: Policy) -> bool:
    """Whether a policy allows a provider, or a variant of it."""
    is_allowed = not policy.only or any(is_named(name, (one,)) or is_named(one, (name,)) for one in policy.only)
    return is_allowed and not is_named(name, policy.ignore)


def _contradicts(what: str) -> ConfigError:
    return ConfigError(
        f"The request contradicts the policy: {what}. Leave it out, or change the policy. Nothing was sent.",
    )


def _comparable(value: object) -> object:
    """Return a value in a form in which spelling and order do not matter."""
    if isinstance(value, list | tuple):
        return sorted(map(canonical, map(str, value)))
    return dict(value) if isinstance(value, Mapping) else value


def _no_route(policy: Policy, chain: Chain) -> str:
    return "\n".join(
        [
            f"No route to {chain.model} can promise {policy!r}. Nothing was sent.",
            *left_out_lines(chain.left_out),
            f"    Next: {_NEXT}.",
        ]
    )
