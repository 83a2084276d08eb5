"""The names of upstream providers: OpenRouter's slugs, and what Hugging Face calls the same providers.

A policy means the same provider on both halves of a chain, however it is written: `Together`, `together`,
`fireworks-ai`. A full slug, `deepinfra/turbo`, is one variant of a provider. This module looks nothing up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.near_names import did_you_mean, near_names

if TYPE_CHECKING:
    from collections.abc import Iterable

SLUGS: Final = frozenset(
    (  # noqa: SIM905 - a line of words is easier to read and to sort than a line of quotes
        "ai21 aion-labs akashml alibaba amazon-bedrock amazon-nova ambient anthropic arcee-ai atlas-cloud avian azure "
        "baseten black-forest-labs byteplus cerebras chutes cirrascale clarifai cloudflare cohere coreweave crusoe "
        "deepinfra deepseek fal-ai featherless fireworks friendli gmicloud google-ai-studio google-vertex groq "
        "hf-inference hyperbolic inception inceptron inference-net infermatic inflection io-net liquid mancer mara "
        "meta minimax mistral modelrun modular moonshotai morph ncompass nebius nextbit novita nscale nvidia "
        "open-inference openai ovhcloud parasail perplexity phala publicai relace replicate sambanova scaleway seed "
        "siliconflow sourceful stealth stepfun streamlake switchpoint targon together upstage venice wandb wavespeed "
        "xai xiaomi z-ai"
    ).split()
)
"""The providers that OpenRouter or Hugging Face listed in 2026, under OpenRouter's slug where it has one."""
FASTEST, CHEAPEST = "fastest", "cheapest"
LIVE_ORDERS: Final = frozenset({FASTEST, CHEAPEST})
"""Words of a row that stand for all providers which the router lists, in the order of its latest figures."""
SUFFIXES: Final = (":fastest", ":cheapest", ":preferred")
"""Entries of a row that are Hugging Face's own suffixes, sent as they are."""
_ROUTING_WORDS: Final = frozenset({"auto", "fastest", "cheapest", "preferred"})
"""What may stand behind the colon of a model's name in a provider's place: Hugging Face then chooses the provider."""
_OTHERWISE: Final = {
    "arcee": "arcee-ai",
    "featherless-ai": "featherless",
    "fireworks-ai": "fireworks",
    "google": "google-vertex",
    "mancer-2": "mancer",
    "moonshot": "moonshotai",
    "zai-org": "z-ai",
}
"""Other names, such as Hugging Face's ids, and the slug."""
_NOT_IN_A_KEY = re.compile(r"[^a-z0-9]")


def canonical(name: str) -> str:
    """Return the one name of a provider, or of a variant of it, whoever wrote it."""
    base, _, variant = name.strip().lower().partition("/")
    slug = _CANONICAL.get(_key(base), "-".join(base.split()))
    return f"{slug}/{variant}" if variant else slug


def base_of(name: str) -> str:
    """Return the provider of a variant: `deepinfra` of `deepinfra/turbo`."""
    return name.partition("/")[0]


def is_named(name: str, names: tuple[str, ...]) -> bool:
    """Whether names have a provider or a variant, by itself or by its provider."""
    return name in names or base_of(name) in names


def is_chosen_there(provider: str | None) -> bool:
    """Whether Hugging Face chooses the provider itself, so that nothing tells which one answers."""
    return (provider or "").strip().lower().removeprefix(":") in _ROUTING_WORDS


def has_live_order(row: Iterable[str]) -> bool:
    """Whether a row holds a word that stands for providers in the order of live figures."""
    return not LIVE_ORDERS.isdisjoint(row)


def row_entry(name: str) -> str:
    """Return an entry of a row as it is used: our words and Hugging Face's suffixes in small letters.

    Raises:
        ConfigError: it has a colon and is not one of the suffixes.
    """
    if (plain := name.lower()) in LIVE_ORDERS or plain in SUFFIXES:
        return plain
    if ":" not in name:
        return name
    bare = name.removeprefix(":")
    near = near_names(plain, SUFFIXES) or ([] if ":" in bare else [bare])
    raise ConfigError(
        f"{name!r} cannot stand in a row. A provider has no colon, and Hugging Face's own suffixes are "
        f"{', '.join(SUFFIXES)}.{did_you_mean(map(repr, near))}",
    )


def _key(base: str) -> str:
    """Return what all spellings of a name have in common: `Z.AI` and `z-ai` have `zai`."""
    return _NOT_IN_A_KEY.sub("", base)


_CANONICAL: Final = {
    **{_key(slug): slug for slug in SLUGS},
    **{_key(name): slug for name, slug in _OTHERWISE.items()},
}
