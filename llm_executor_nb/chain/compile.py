"""Compiles a model's name to its routes in order, and caches them until something they are made of changes.

Tier 1 (design 2): every OpenRouter key. Tier 2: every Hugging Face token with every provider of the model's row. After
them come the user's own backends that the row names, each once with each of its keys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llm_executor_nb.chain.live_order import spelt_out
from llm_executor_nb.chain.live_rows import look_again, orders_of
from llm_executor_nb.core.chain import Chain
from llm_executor_nb.core.errors import ConfigError, MissingKeyError, to_type
from llm_executor_nb.core.near_names import near_names
from llm_executor_nb.core.outcomes import ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key, Route
from llm_executor_nb.settings.backends import EXAMPLE_URL
from llm_executor_nb.settings.provider_names import LIVE_ORDERS, has_live_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llm_executor_nb.chain.session import Session
    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.settings.backends import OwnBackend
    from llm_executor_nb.settings.options import Options


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """All that a chain is made of; equal specs make equal chains.

    Attributes:
        model: its name in the user's table.
        openrouter_keys: the keys of tier 1; none when OpenRouter is left out.
        huggingface_tokens: each is used with every provider.
        row: what the user's table says, which may be an order by live figures.
        providers: the Hugging Face providers of the row, in order.
        own: the user's own backends of the row, in order, each with its keys; without keys it is asked without one.
        names: backend -> the model's name there, where it is another one.
    """

    model: str
    openrouter_keys: tuple[Key, ...]
    huggingface_tokens: tuple[Key, ...]
    row: tuple[str, ...]
    providers: tuple[str, ...]
    own: tuple[tuple[OwnBackend, tuple[Key, ...]], ...] = ()
    names: tuple[tuple[str, str], ...] = ()


_fallback_chain_cache: dict[str, Chain] = {}


def compiled(name: str, current: Session, *, is_asking: bool = False) -> Chain:
    """Return the chain of a model, from the cache while nothing it is made of changes.

    Args:
        name: a model or an alias.
        current: the settings in force. Its holds of a row or key end when that row changes or that key is gone.
        is_asking: whether a request follows; a row in the order of live figures is then brought up to date.

    Raises:
        ModelNotSupportedError: the name is not in the table.
        MissingKeyError: all of its routes lack a key.
        ConfigError: the router does not tell the providers that the row leaves to it.
    """
    config, health = current.options, current.health
    model = config.models.resolve(name)
    row = config.models.row(model)
    if is_asking and has_live_order(row):
        look_again(model, row, current)
    spec = _spec_of(model, row, current)
    cached = _fallback_chain_cache.get(model)
    # design 2: cached per model, and rebuilt when keys, providers or settings change
    if cached is not None and cached.spec == spec:
        return cached
    if cached is not None:
        _release_stale_holds(cached.spec, spec, config, health)
    chain = _build_fallback_chain(spec)
    if not any(chain.tiers):
        raise _no_route(spec, current)
    for route in chain.routes():
        health.traffic.apply_rpm(route)  # a key may have been given another rpm
    _fallback_chain_cache[model] = chain
    return chain


def _release_stale_holds(old: ChainSpec, new: ChainSpec, config: Options, health: Health) -> None:
    """End the holds that rest on what the user has changed (design 3.2: until its row or key changes)."""
    if _row_of(old) != _row_of(new):
        health.release(
            lambda scope: scope.model == new.model and scope.reach in (ScopeLevel.PROVIDER, ScopeLevel.BACKEND)
        )
    secrets = {key.secret for key in config.keys}
    health.release(lambda scope: scope.secret is not None and scope.secret not in secrets)


def without(chain: Chain, skipped: Iterable[str]) -> Chain:
    """Return a chain without some of its routes.

    Args:
        chain: the routes.
        skipped: names as in the attempt log: a route (`openrouter ..a1b2`), a place (`huggingface/scaleway`), a
            backend, or a provider.

    Raises:
        ConfigError: the chain has no route of a name, or no route would be left.
    """
    names = {skipped} if isinstance(skipped, str) else set(skipped)  # a text is an iterable of letters, too
    routes = [*chain.routes(), *(one.route for one in chain.left_out)]  # a policy may skip one already
    for name in names:
        if not any(name in _names_of(route) for route in routes):
            known = ", ".join(dict.fromkeys(route.name for route in routes))
            raise ConfigError(f"skip_routes names {name!r}, which is not a route of {chain.model}: {known}.")
    tiers = [
        [tuple(route for route in of_key if not _names_of(route) & names) for of_key in tier] for tier in chain.tiers
    ]
    kept = tuple(tuple(of_key for of_key in tier if of_key) for tier in tiers)
    if not any(kept):
        raise ConfigError(f"skip_routes leaves no route of {chain.model}. Nothing was sent.")
    return replace(chain, tiers=tuple(tier for tier in kept if tier)) if names else chain


def _names_of(route: Route) -> set[str]:
    place = f"{route.backend}/{route.provider}" if route.provider else route.backend
    return {route.name, place, route.backend, *([route.provider] if route.provider else [])}


def _build_fallback_chain(spec: ChainSpec) -> Chain:
    """Return the routes of a model in the order of the promise (design 2)."""
    first = tuple((_route(spec, OPENROUTER, key, None, 1),) for key in spec.openrouter_keys)
    second = tuple(
        tuple(_route(spec, HUGGINGFACE, token, provider, 2) for provider in spec.providers)
        for token in spec.huggingface_tokens
        if spec.providers
    )
    # a run enters a tier at any key (design 3.4), so each own backend is a tier of its own
    own = [tuple((_route(spec, backend.name, key, None, 2),) for key in keys or (None,)) for backend, keys in spec.own]
    return Chain(
        model=spec.model,
        tiers=tuple(tier for tier in (first, second, *own) if tier),
        own_urls={backend.name: backend.base_url for backend, _ in spec.own},
        spec=spec,
    )


def _spec_of(model: str, row: tuple[str, ...], current: Session) -> ChainSpec:
    config = current.options
    names = config.models.names.get(model, {})
    for name in names.keys() & set(row) - config.backends.keys():
        raise ConfigError(
            f"The row of {model} names {name!r} as a backend of your own, and no such backend was added. "
            f"Add it: llm.add_backend({name!r}, base_url=...). Nothing was sent.",
        )
    is_on_openrouter = model not in config.models.off_openrouter
    providers = tuple(name for name in row if name not in config.backends)
    return ChainSpec(
        model=model,
        openrouter_keys=config.keys.of(OPENROUTER) if is_on_openrouter else (),
        huggingface_tokens=config.keys.of(HUGGINGFACE),
        row=row,
        providers=spelt_out(providers, orders_of(model, current)) if has_live_order(row) else providers,
        own=tuple((config.backends[name], config.keys.of(name)) for name in row if name in config.backends),
        names=tuple(sorted(names.items())),
    )


def _row_of(spec: ChainSpec) -> tuple[object, ...]:
    """Return what the user's table says of a model; its holds end when that changes."""
    return spec.row, spec.names, tuple(backend for backend, _ in spec.own)


def _route(spec: ChainSpec, backend: str, key: Key | None, provider: str | None, tier: int) -> Route:
    called = dict(spec.names).get(backend, spec.model)
    return Route(
        backend=backend,
        key=key,
        provider=provider,
        model=spec.model,
        request_model=f"{called}:{provider.removeprefix(':')}" if provider else called,
        tier=tier,
    )


def _no_route(spec: ChainSpec, current: Session) -> ConfigError:
    """Return why a model has no route, and what to type."""
    if not spec.huggingface_tokens or not has_live_order(spec.row):
        return _missing_key(spec, current.options)
    troubles = (order.trouble for order in orders_of(spec.model, current).values() if order.trouble)
    why = next(troubles, "they have not been looked up")
    word = next(name for name in spec.row if name in LIVE_ORDERS)
    steps = [
        (f"llm.models.set_providers({spec.model!r}, [':{word}'])", "lets Hugging Face choose for each request"),
        (f"llm.sync_models({spec.model!r}, fresh=True)", "shows what Hugging Face lists"),
    ]
    heading = f"{spec.model} has no route: its row says {word!r}, and its providers are unknown: {why}.\nType:"
    return ConfigError(to_type(heading, steps))


def _missing_key(spec: ChainSpec, config: Options) -> ConfigError:
    """Return why a model has no route, and what to type. Only what can work for its row is named."""
    is_off = spec.model in config.models.off_openrouter
    asked = [*([] if is_off else [OPENROUTER]), *([HUGGINGFACE] if spec.providers or has_live_order(spec.row) else [])]
    if not asked:
        why = f"{spec.model} has no route: OpenRouter is left out, and its row is empty."
        return ConfigError(to_type(f"{why}\nType one of these:", _ways_to_a_route(spec.model, config)))
    if disabled := [key for backend in asked for key in config.keys.all_of(backend)]:
        steps = [
            (f"llm.keys.enable({key.backend!r}, {key.label!r})", f"the key {key.secret.ending}") for key in disabled
        ]
        return MissingKeyError(to_type(f"No key for {spec.model}: all of its keys are disabled.\nType:", steps))
    why, steps = _why_so_few(spec, config, is_off=is_off)
    return MissingKeyError(f"No key for {spec.model}{why}.\n{config.keys.how_to_give_one(asked, *steps)}")


def _ways_to_a_route(model: str, config: Options) -> Iterator[tuple[str, str]]:
    yield f"llm.models.add({model!r})", "asks OpenRouter"
    yield _sync(model)
    if own := next(iter(config.backends), None):
        yield f"llm.models.set_providers({model!r}, [{own!r}])", "asks this backend of your own"
    else:
        then = f"a server of your own; then llm.models.set_providers({model!r}, ['ollama'])"
        yield f"llm.add_backend('ollama', base_url={EXAMPLE_URL!r})", then


def _why_so_few(spec: ChainSpec, config: Options, *, is_off: bool) -> tuple[str, list[tuple[str, str]]]:
    """Return which routes a model cannot have besides those that lack a key, and what would change that."""
    if not is_off:
        has_token = bool(spec.huggingface_tokens and not spec.providers)
        return (", and its row names no Hugging Face provider", [_sync(spec.model)]) if has_token else ("", [])
    # a name of the row may be a provider's, or that of a backend of the user's own: misspelt, or not added yet
    if not (row := list(spec.providers)):  # only words for providers that are not known yet
        return ": OpenRouter is left out", []
    known = list(config.backends)
    similar = {name: near[0] for name in row if (near := near_names(name, known))}
    named = ", ".join(f"{name!r} (similar: {similar[name]!r})" if name in similar else repr(name) for name in row)
    why = f": OpenRouter is left out, and no backend of your own is called {named}"
    if similar:
        corrected = [similar.get(name, name) for name in row]
        return why, [(f"llm.models.set_providers({spec.model!r}, {corrected!r})", "corrects the row")]
    return why, [(f"llm.add_backend({row[0]!r}, base_url={EXAMPLE_URL!r})", "if it is a server of your own")]


def _sync(model: str) -> tuple[str, str]:
    return f"llm.sync_models({model!r}, apply=True)", "fills in the Hugging Face providers that serve it"
