"""Compiles a model's name to its routes in order, and caches them until something they are made of changes.

Tier 1 (design 2): every OpenRouter key. Tier 2: every Hugging Face token with every provider of the model's row. After
them come the user's own backends that the row names, each once with each of its keys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from llm_executor_nb.core.chain import Chain
from llm_executor_nb.core.errors import ConfigError, MissingKeyError
from llm_executor_nb.core.outcomes import ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key, Route
from llm_executor_nb.settings.backends import EXAMPLE_URL
from llm_executor_nb.settings.key_ring import looked_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.settings.backends import OwnBackend
    from llm_executor_nb.settings.options import Options

_NEAR = 0.5
"""How much a name must resemble a known one to be suggested as its misspelling."""


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """All that a chain is made of; equal specs make equal chains.

    Attributes:
        model: its name in the user's table.
        openrouter_keys: the keys of tier 1; none when OpenRouter is left out.
        huggingface_tokens: each is used with every provider.
        providers: the Hugging Face providers of the row, in order.
        own: the user's own backends of the row, in order, each with its keys; without keys it is asked without one.
        names: backend -> the model's name there, where it is another one.
    """

    model: str
    openrouter_keys: tuple[Key, ...]
    huggingface_tokens: tuple[Key, ...]
    providers: tuple[str, ...]
    own: tuple[tuple[OwnBackend, tuple[Key, ...]], ...] = ()
    names: tuple[tuple[str, str], ...] = ()


_fallback_chain_cache: dict[str, Chain] = {}


def compiled(name: str, config: Options, health: Health) -> Chain:
    """Return the chain of a model, from the cache while nothing it is made of changes.

    Args:
        name: a model or an alias.
        config: the settings in force.
        health: its holds of a row or key end when that row changes or that key is gone.

    Raises:
        ModelNotSupportedError: the name is not in the table.
        MissingKeyError: all of its routes lack a key.
    """
    model = config.models.resolve(name)
    spec = _spec_of(model, config)
    cached = _fallback_chain_cache.get(model)
    if cached is not None and cached.recipe == spec:
        return cached
    if cached is not None:
        _release_stale_holds(cached.recipe, spec, config, health)
    chain = _build_fallback_chain(spec)
    if not any(chain.tiers):
        raise _missing_key(spec, config)
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
    for name in names:
        if not any(name in _names_of(route) for route in chain.routes()):
            known = ", ".join(dict.fromkeys(route.name for route in chain.routes()))
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
    own = [tuple((_route(spec, backend.name, key, None, 2),) for key in keys or (None,)) for backend, keys in spec.own]
    return Chain(
        model=spec.model,
        tiers=tuple(tier for tier in (first, second, *own) if tier),
        own_urls={backend.name: backend.base_url for backend, _ in spec.own},
        recipe=spec,
    )


def _spec_of(model: str, config: Options) -> ChainSpec:
    row, names = config.models.row(model), config.models.names.get(model, {})
    for name in names.keys() & set(row) - config.backends.keys():
        raise ConfigError(
            f"The row of {model} names {name!r} as a backend of your own, and no such backend was added. "
            f"Add it: llm.add_backend({name!r}, base_url=...). Nothing was sent.",
        )
    is_on_openrouter = model not in config.models.off_openrouter
    return ChainSpec(
        model=model,
        openrouter_keys=config.keys.of(OPENROUTER) if is_on_openrouter else (),
        huggingface_tokens=config.keys.of(HUGGINGFACE),
        providers=tuple(name for name in row if name not in config.backends),
        own=tuple((config.backends[name], config.keys.of(name)) for name in row if name in config.backends),
        names=tuple(sorted(names.items())),
    )


def _row_of(spec: ChainSpec) -> tuple[object, ...]:
    """Return what the user's table says of a model; its holds end when that changes."""
    return spec.providers, spec.names, tuple(backend for backend, _ in spec.own)


def _route(spec: ChainSpec, backend: str, key: Key | None, provider: str | None, tier: int) -> Route:
    called = dict(spec.names).get(backend, spec.model)
    return Route(
        backend=backend,
        key=key,
        provider=provider,
        model=spec.model,
        request_model=f"{called}:{provider}" if provider else called,
        tier=tier,
    )


def _missing_key(spec: ChainSpec, config: Options) -> ConfigError:
    is_off = spec.model in config.models.off_openrouter
    if is_off and not spec.providers:
        return ConfigError(
            f"{spec.model} has no route: OpenRouter is left out, and its row is empty. Name a provider or a "
            f"backend of your own: llm.models.add({spec.model!r}, providers=['ollama'], openrouter=False).",
        )
    if is_off and not spec.huggingface_tokens:
        return MissingKeyError(_no_key_without_openrouter(spec, config))
    if spec.huggingface_tokens:
        return MissingKeyError(
            f"{spec.model} has no Hugging Face provider in its row, and no OpenRouter key was found. "
            f"Name providers: llm.MODEL_INFERENCE_PROVIDERS[{spec.model!r}] = ['scaleway'].",
        )
    places = "; ".join(looked_for())
    return MissingKeyError(
        f"No key for {spec.model}. Looked for: {places}. "
        "Set one of these, or paste one into llm.panel(), or llm.OPENROUTER_KEYS = [key], or "
        "llm.keys.add('openrouter', key); "
        "to practise without a key: `with llm.rehearse():`.",
    )


def _no_key_without_openrouter(spec: ChainSpec, config: Options) -> str:
    """Return the message where OpenRouter is left out: a name of the row may be a provider's, or misspelt."""
    named = ", ".join(map(repr, spec.providers))
    near = ", ".join(map(repr, _near(spec.providers, config.backends)))
    places = "; ".join(looked_for([HUGGINGFACE]))
    return (
        f"No key for {spec.model}: OpenRouter is left out, and no backend of your own is called {named}"
        f"{f' (similar: {near})' if near else ''}. Add it: llm.add_backend({spec.providers[0]!r}, "
        f"base_url={EXAMPLE_URL!r}). Or, if it is a provider of Hugging Face's, give a token: "
        f"llm.HUGGINGFACE_TOKENS = [token], or paste one into llm.panel(). Looked for: {places}. "
        "To practise without a key: `with llm.rehearse():`."
    )


def _near(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the known names that resemble one of some names, each once."""
    return list(dict.fromkeys(near for name in names for near in get_close_matches(name, list(known), cutoff=_NEAR)))
