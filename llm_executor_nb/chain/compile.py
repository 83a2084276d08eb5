"""From a model's name to its routes in order, compiled once and cached until something they are made of changes.

Tier 1: every OpenRouter key. Tier 2: every Hugging Face token with every provider of the model's row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import MissingKeyError
from llm_executor_nb.core.outcomes import Reach
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key, Route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.policy import KeyRoutes
    from llm_executor_nb.core.records import Scope
    from llm_executor_nb.settings.config import Config


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a chain is made of; when it is equal, the chain is."""

    model: str
    openrouter_keys: tuple[Key, ...]
    huggingface_tokens: tuple[Key, ...]
    providers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """A model's routes: per tier the keys in listed order, per key its routes."""

    recipe: Recipe
    tiers: tuple[tuple[KeyRoutes, ...], ...]

    def routes(self) -> Iterator[Route]:
        """Yield every route in listed order."""
        for tier in self.tiers:
            for key_routes in tier:
                yield from key_routes


_fallback_chain_cache: dict[str, Chain] = {}


def compiled(name: str, config: Config, health: Health) -> Chain:
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
    recipe = Recipe(model, config.keys.of(OPENROUTER), config.keys.of(HUGGINGFACE), config.models.row(model))
    cached = _fallback_chain_cache.get(model)
    if cached is not None and cached.recipe == recipe:
        return cached
    if cached is not None and cached.recipe.providers != recipe.providers:
        health.release(lambda scope: _is_of_row(scope, model))
    if cached is not None:
        kept = {key.secret for key in config.keys}
        health.release(lambda scope: scope.secret is not None and scope.secret not in kept)
    chain = _build_fallback_chain(recipe)
    if not any(chain.tiers):
        raise MissingKeyError(_missing(recipe, config))
    _fallback_chain_cache[model] = chain
    return chain


def _build_fallback_chain(recipe: Recipe) -> Chain:
    """Lay out the routes of a model in the order of the promise."""
    first = tuple((_route(recipe.model, OPENROUTER, key, None, 1),) for key in recipe.openrouter_keys)
    second = tuple(
        tuple(_route(recipe.model, HUGGINGFACE, token, provider, 2) for provider in recipe.providers)
        for token in recipe.huggingface_tokens
        if recipe.providers
    )
    return Chain(recipe, tuple(tier for tier in (first, second) if tier))


def _route(model: str, backend: str, key: Key, provider: str | None, tier: int) -> Route:
    return Route(
        backend=backend,
        key=key,
        provider=provider,
        model=model,
        request_model=f"{model}:{provider}" if provider else model,
        tier=tier,
    )


def _is_of_row(scope: Scope, model: str) -> bool:
    return scope.model == model and scope.reach in (Reach.PROVIDER, Reach.BACKEND)


def _missing(recipe: Recipe, config: Config) -> str:
    if recipe.huggingface_tokens:
        return (
            f"{recipe.model} has no Hugging Face provider in its row, and there is no OpenRouter key. "
            f"Name providers: llm.MODEL_INFERENCE_PROVIDERS[{recipe.model!r}] = ['scaleway']."
        )
    places = "; ".join(config.keys.looked_for())
    return (
        f"No key for {recipe.model}. Looked for: {places}. "
        "Set one of these, or llm.OPENROUTER_KEYS = [key], or llm.keys.add('openrouter', key); "
        "to practise without a key: `with llm.rehearse():`."
    )
