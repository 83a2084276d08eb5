"""From a model's name to its routes in order, compiled once and cached until something they are made of changes.

Tier 1: every OpenRouter key. Tier 2: every Hugging Face token with every provider of the model's row; after all of
them, each of the user's own backends that the row names, once, with each of its keys.
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
    from llm_executor_nb.core.records import Scope
    from llm_executor_nb.settings.backends import OwnBackend
    from llm_executor_nb.settings.options import Options

_NEAR = 0.5
"""How alike a name must be to be taken for a misspelt one."""


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """All that a chain is made of; when it is equal, the chain is.

    Attributes:
        model: as the user's table calls it.
        openrouter_keys: whose keys tier 1 asks; none when OpenRouter is left out.
        huggingface_tokens: each asks every provider.
        providers: the Hugging Face providers of the row, in order.
        own: the user's own backends of the row, in order, each with its keys; none: it is asked without.
        names: backend -> what the model is called there, where that is another name.
    """

    model: str
    openrouter_keys: tuple[Key, ...]
    huggingface_tokens: tuple[Key, ...]
    providers: tuple[str, ...]
    own: tuple[tuple[OwnBackend, tuple[Key, ...]], ...] = ()
    names: tuple[tuple[str, str], ...] = ()


_fallback_chain_cache: dict[str, Chain] = {}


def compiled(name: str, config: Options, health: Health) -> Chain:
    """Return the chain of a model, from the cache when nothing it is made of has changed.

    Args:
        name: a model or an alias.
        config: the settings in force.
        health: told when a provider row changed, because its holds end with that.

    Raises:
        ModelNotSupportedError: the name means no model.
        MissingKeyError: there is no key for any of its routes.
    """
    model = config.models.resolve(name)
    recipe = _recipe(model, config)
    cached = _fallback_chain_cache.get(model)
    if cached is not None and cached.recipe == recipe:
        return cached
    if cached is not None and _row(cached.recipe) != _row(recipe):
        health.release(lambda scope: _is_of_row(scope, model))
    if cached is not None:
        kept = {key.secret for key in config.keys}
        health.release(lambda scope: scope.secret is not None and scope.secret not in kept)
    chain = _build_fallback_chain(recipe)
    if not any(chain.tiers):
        raise _missing(recipe, config)
    for route in chain.routes():
        health.traffic.apply_rpm(route)
    _fallback_chain_cache[model] = chain
    return chain


def without(chain: Chain, skipped: Iterable[str]) -> Chain:
    """Return a chain without some of its routes.

    Args:
        chain: the routes.
        skipped: names as the attempt log has them: a route (`openrouter ..a1b2`), a place (`huggingface/scaleway`), a
            backend, or a provider.

    Raises:
        ConfigError: a name means no route of the chain, or no route would be left.
    """
    names = {skipped} if isinstance(skipped, str) else set(skipped)
    for name in names:
        if not any(name in _names_of(route) for route in chain.routes()):
            known = ", ".join(dict.fromkeys(route.name for route in chain.routes()))
            raise ConfigError(f"skip_routes names {name!r}, which is no route of {chain.model}: {known}.")
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


def _build_fallback_chain(recipe: ChainSpec) -> Chain:
    """Lay out the routes of a model in the order of the promise."""
    first = tuple((_route(recipe, OPENROUTER, key, None, 1),) for key in recipe.openrouter_keys)
    second = tuple(
        tuple(_route(recipe, HUGGINGFACE, token, provider, 2) for provider in recipe.providers)
        for token in recipe.huggingface_tokens
        if recipe.providers
    )
    own = [
        tuple((_route(recipe, backend.name, key, None, 2),) for key in keys or (None,)) for backend, keys in recipe.own
    ]
    return Chain(
        model=recipe.model,
        tiers=tuple(tier for tier in (first, second, *own) if tier),
        own_urls={backend.name: backend.base_url for backend, _ in recipe.own},
        recipe=recipe,
    )


def _recipe(model: str, config: Options) -> ChainSpec:
    row, names = config.models.row(model), config.models.names.get(model, {})
    for name in names.keys() & set(row) - config.backends.keys():
        raise ConfigError(
            f"The row of {model} names {name!r} as a backend of your own, and there is none. "
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


def _row(recipe: ChainSpec) -> tuple[object, ...]:
    """Return what the user says of a model; its holds end when that changes."""
    return recipe.providers, recipe.names, tuple(backend for backend, _ in recipe.own)


def _route(recipe: ChainSpec, backend: str, key: Key | None, provider: str | None, tier: int) -> Route:
    called = dict(recipe.names).get(backend, recipe.model)
    return Route(
        backend=backend,
        key=key,
        provider=provider,
        model=recipe.model,
        request_model=f"{called}:{provider}" if provider else called,
        tier=tier,
    )


def _is_of_row(scope: Scope, model: str) -> bool:
    return scope.model == model and scope.reach in (ScopeLevel.PROVIDER, ScopeLevel.BACKEND)


def _missing(recipe: ChainSpec, config: Options) -> ConfigError:
    is_off = recipe.model in config.models.off_openrouter
    if is_off and not recipe.providers:
        return ConfigError(
            f"{recipe.model} has no route: OpenRouter is left out, and its row names nobody. Name a provider or a "
            f"backend of your own: llm.models.add({recipe.model!r}, providers=['ollama'], openrouter=False).",
        )
    if is_off and not recipe.huggingface_tokens:
        return MissingKeyError(_nobody(recipe, config))
    if recipe.huggingface_tokens:
        return MissingKeyError(
            f"{recipe.model} has no Hugging Face provider in its row, and there is no OpenRouter key. "
            f"Name providers: llm.MODEL_INFERENCE_PROVIDERS[{recipe.model!r}] = ['scaleway'].",
        )
    places = "; ".join(looked_for())
    return MissingKeyError(
        f"No key for {recipe.model}. Looked for: {places}. "
        "Set one of these, or paste one into llm.panel(), or llm.OPENROUTER_KEYS = [key], or "
        "llm.keys.add('openrouter', key); "
        "to practise without a key: `with llm.rehearse():`.",
    )


def _nobody(recipe: ChainSpec, config: Options) -> str:
    """Say what is missing where OpenRouter is left out, and who is named may be a provider, or a name misspelt."""
    named = ", ".join(map(repr, recipe.providers))
    near = ", ".join(map(repr, _near(recipe.providers, config.backends)))
    places = "; ".join(looked_for([HUGGINGFACE]))
    return (
        f"No key for {recipe.model}: OpenRouter is left out, and no backend of your own is called {named}"
        f"{f' (near ones: {near})' if near else ''}. Add it: llm.add_backend({recipe.providers[0]!r}, "
        f"base_url={EXAMPLE_URL!r}). Or, if it is a provider of Hugging Face's, give a token: "
        f"llm.HUGGINGFACE_TOKENS = [token], or paste one into llm.panel(). Looked for: {places}. "
        "To practise without a key: `with llm.rehearse():`."
    )


def _near(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the known names that are like one of some names, each once."""
    return list(dict.fromkeys(near for name in names for near in get_close_matches(name, list(known), cutoff=_NEAR)))
