"""The model -> provider table: which models there are, what else they are called, and who serves them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import ConfigError, ModelNotSupportedError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SHIPPED: dict[str, list[str]] = {"google/gemma-3-27b-it": ["nebius", "featherless-ai", "scaleway"]}
"""As the first users had it. nebius left Hugging Face on 2026-07-01: it costs one refused request and is then held."""
SHIPPED_ALIASES: dict[str, str] = {"gemma": "google/gemma-3-27b-it"}
LEFT: dict[str, str] = {"nebius": "left Hugging Face on 2026-07-01"}
"""Providers that are known to have gone, and since when; shown beside their name."""


class ModelTable:
    """The models that can be run, with the Hugging Face providers and own backends of each in the order they are asked.

    Attributes:
        providers: model -> its row; the module's `MODEL_INFERENCE_PROVIDERS`.
        aliases: short name -> model.
        names: model -> backend -> what the model is called there, where that is another name.
        off_openrouter: models that OpenRouter is not asked for.
    """

    def __init__(self) -> None:
        self.providers: dict[str, list[str]] = {model: list(row) for model, row in SHIPPED.items()}
        self.aliases: dict[str, str] = dict(SHIPPED_ALIASES)
        self.names: dict[str, dict[str, str]] = {}
        self.off_openrouter: set[str] = set()

    def add(
        self,
        model: str,
        *,
        providers: Iterable[str] = (),
        alias: str | None = None,
        names: Mapping[str, str] | None = None,
        openrouter: bool = True,
    ) -> None:
        """Add a model, or put another row in its place.

        Args:
            model: its id on OpenRouter and Hugging Face, such as `google/gemma-3-27b-it`.
            providers: the Hugging Face providers and own backends to ask, in order; own ones are asked last.
            alias: a short name for it.
            names: what the model is called on a backend, where that is not `model`: `{"ollama": "gemma3:27b"}`.
            openrouter: whether OpenRouter is asked for it.

        Raises:
            ConfigError: a name is no text, the providers are no list of names, or `names` has a backend that is not
                in the row.
        """
        if not isinstance(model, str) or not model.strip():
            raise ConfigError(f"{model!r} is no model id; give one such as 'google/gemma-3-27b-it'.")
        row = _row(model, providers)
        called = _names(model, names, row)
        self.providers[model] = row
        self.names[model] = called
        (self.off_openrouter.discard if openrouter else self.off_openrouter.add)(model)
        if alias is not None:
            self.aliases[alias] = model

    def remove(self, model: str) -> None:
        """Take a model and its aliases out of the table.

        Raises:
            ModelNotSupportedError: it is not there.
        """
        name = self.resolve(model)
        del self.providers[name]
        self.names.pop(name, None)
        self.off_openrouter.discard(name)
        self.aliases = {alias: target for alias, target in self.aliases.items() if target != name}

    def resolve(self, name: str) -> str:
        """Return the model that a name or an alias means.

        Raises:
            ModelNotSupportedError: it means none; the message names near ones.
        """
        if isinstance(name, str):
            if name in self.providers:
                return name
            if (model := self.aliases.get(name)) is not None and model in self.providers:
                return model
        raise ModelNotSupportedError(self._unknown(name))

    def row(self, model: str) -> tuple[str, ...]:
        """Return the providers of a model, in order, each once.

        Raises:
            ConfigError: the row is no list of provider names.
        """
        return tuple(dict.fromkeys(_row(model, self.providers[model])))

    def __iter__(self) -> Iterator[str]:
        return iter(self.providers)

    def __len__(self) -> int:
        return len(self.providers)

    def __repr__(self) -> str:
        return "\n".join(
            f"{model}{self._called(model)}: {'' if model in self.off_openrouter else 'openrouter; then '}"
            f"{self._served(model)}"
            for model in self
        )

    def _served(self, model: str) -> str:
        try:
            names = self.names.get(model, {})
            return ", ".join(_marked(one) + (f" as {names[one]}" if one in names else "") for one in self.row(model))
        except ConfigError as error:
            return str(error)

    def _called(self, model: str) -> str:
        names = [alias for alias, target in self.aliases.items() if target == model]
        return f" ({', '.join(names)})" if names else ""

    def _unknown(self, name: str) -> str:
        known = [*self.providers, *(alias for alias, model in self.aliases.items() if model in self.providers)]
        near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
        hint = f"Near names: {', '.join(near)}." if near else f"There are: {', '.join(known) or 'none'}."
        return (
            f"Model not supported: {name}. {hint} "
            f"Add it with llm.models.add({str(name)!r}, providers=['scaleway']) or in MODEL_INFERENCE_PROVIDERS."
        )


def _marked(provider: str) -> str:
    return f"{provider} ({LEFT[provider]})" if provider in LEFT else provider


def _row(model: str, providers: Iterable[str]) -> list[str]:
    if isinstance(providers, str) or not hasattr(providers, "__iter__"):
        raise ConfigError(f"The providers of {model} must be a list of names, such as ['scaleway'], not {providers!r}.")
    row = [
        provider.strip() if isinstance(provider, str) else provider for provider in providers if provider is not None
    ]
    if bad := [provider for provider in row if not isinstance(provider, str) or not provider.strip()]:
        raise ConfigError(f"The providers of {model} hold {bad[0]!r}; each must be a name such as 'scaleway'.")
    return row


def _names(model: str, names: Mapping[str, str] | None, row: Iterable[str]) -> dict[str, str]:
    try:
        called = dict(names or {})
    except (TypeError, ValueError):
        raise ConfigError(f"names={names!r} must be a dict such as {{'ollama': 'gemma3:27b'}}.") from None
    known = (OPENROUTER, HUGGINGFACE, *row)
    for backend, name in called.items():
        if backend not in known:
            raise ConfigError(f"names has {backend!r}, which the row of {model} has not. There are {', '.join(known)}.")
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"names[{backend!r}]={name!r} must be the model's id there, such as 'gemma3:27b'.")
    return called
