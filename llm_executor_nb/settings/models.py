"""The model -> provider table: which models there are, what else they are called, and who serves them.

It is the shipped one, or the one that `save` put into the user's configuration folder; which, is looked up when it is
first needed, never at import. What code assigns stands above both.
"""

from __future__ import annotations

import difflib
from itertools import islice
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import ConfigError, ModelNotSupportedError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import kinds_of_keys
from llm_executor_nb.settings import saved_models
from llm_executor_nb.settings.model_lines import SHOWN, ModelLine, as_html, as_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

SHIPPED: dict[str, list[str]] = {"google/gemma-3-27b-it": ["nebius", "featherless-ai", "scaleway"]}
"""As the first users had it. nebius left Hugging Face on 2026-07-01: it costs one refused request and is then held."""
SHIPPED_ALIASES: dict[str, str] = {"gemma": "google/gemma-3-27b-it"}
LEFT: dict[str, str] = {"nebius": "left Hugging Face on 2026-07-01"}
"""Providers that are known to have gone, and since when; shown beside their name."""
_PARTS = ("providers", "aliases", "names", "off_openrouter")
"""What the table is made of; looked up when it is first needed."""
_NAMED = 20
"""Names that an error lists."""


class ModelTable:
    """The models that can be run, with the Hugging Face providers and own backends of each in the order they are asked.

    Attributes:
        providers: model -> its row; the module's `MODEL_INFERENCE_PROVIDERS`.
        aliases: short name -> model.
        names: model -> backend -> what the model is called there, where that is another name.
        off_openrouter: models that OpenRouter is not asked for.
        marks: (model, provider) -> what `sync_models` found wrong with it; None: nothing.
    """

    providers: dict[str, list[str]]
    aliases: dict[str, str]
    names: dict[str, dict[str, str]]
    off_openrouter: set[str]

    def __init__(self) -> None:
        self.marks: dict[tuple[str, str], str | None] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - one of the four above, which have their types there
        """Look up the table when it is first needed; what was assigned before stays."""
        if name not in _PARTS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        for part, value in (_saved() or _shipped()).items():
            self.__dict__.setdefault(part, value)
        return self.__dict__[name]

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
        _refuse_key(model)
        row = _row(model, providers)
        called = _names(model, names, row)
        if alias is not None:
            _check_alias(alias, {*self.providers, model})
            self.aliases[alias] = model
        self.providers[model] = row
        self.names[model] = called
        (self.off_openrouter.discard if openrouter else self.off_openrouter.add)(model)

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

    def set_providers(self, model: str, providers: Iterable[str]) -> None:
        """Put other providers, or the same in another order, into a model's row; all else about it stays.

        Args:
            model: a model of the table, or an alias.
            providers: the Hugging Face providers and own backends to ask, in order; own ones are asked last.

        Raises:
            ModelNotSupportedError: it is not there.
            ConfigError: the providers are no list of names.
        """
        name = self.resolve(model)
        row = _row(name, providers)
        known = (OPENROUTER, HUGGINGFACE, *row)
        self.providers[name] = row
        self.names[name] = {b: called for b, called in self.names.get(name, {}).items() if b in known}

    def add_alias(self, alias: str, model: str) -> None:
        """Give a model of the table a short name; one that meant another model means this one from now on.

        Raises:
            ModelNotSupportedError: the model is not there.
            ConfigError: the alias is no text, or a model's own name.
        """
        name = self.resolve(model)
        _check_alias(alias, self.providers)
        self.aliases[alias] = name

    def remove_alias(self, alias: str) -> None:
        """Take a short name away; its model stays.

        Raises:
            ConfigError: there is no such alias.
        """
        if alias not in self.aliases:
            raise ConfigError(f"There is no alias {alias!r}; there are {', '.join(self.aliases) or 'none'}.")
        del self.aliases[alias]

    def mark(self, model: str, found: Mapping[str, str | None]) -> None:
        """Remember what is wrong with providers of a model's row, to be shown beside them; None: nothing is."""
        self.marks |= {(model, provider): why for provider, why in found.items()}

    def marked(self, model: str) -> dict[str, str]:
        """Return the providers of a model's row with which something is wrong, and what."""
        found = {provider: self._mark(model, provider) for provider in self.row(model)}
        return {provider: why for provider, why in found.items() if why}

    def save(self) -> Path:
        """Keep the table for later sessions, in a file of your configuration folder that holds names only.

        Returns:
            Where it is. Delete it to have the shipped table back.

        Raises:
            ConfigError: a row is no list of names, or the folder cannot be written; nothing was saved.
        """
        rows = {
            model: {
                "providers": list(self.row(model)),
                "aliases": [alias for alias, target in self.aliases.items() if target == model],
                "names": dict(self.names.get(model, {})),
                "openrouter": model not in self.off_openrouter,
            }
            for model in self
        }
        return saved_models.write(rows)

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

    def find(self, part: str = "") -> list[str]:
        """Return the models whose id, or one of whose aliases, has some text in it; upper case and lower are one."""
        part = part.strip().casefold()
        called = self._called()
        return [model for model in self if any(part in name.casefold() for name in (model, *called.get(model, ())))]

    def lines(self, models: Iterable[str]) -> list[ModelLine]:
        """Return what there is to show of some models."""
        called = self._called()
        return [
            ModelLine(
                model=model,
                aliases=tuple(called.get(model, ())),
                is_on_openrouter=model not in self.off_openrouter,
                served=self._served(model),
            )
            for model in models
        ]

    def __repr__(self) -> str:
        return as_text(self.lines(islice(self, SHOWN)), len(self))

    def _repr_html_(self) -> str:
        return as_html(self.lines(islice(self, SHOWN)), len(self))

    def _served(self, model: str) -> str:
        try:
            return ", ".join(self._shown(model, provider) for provider in self.row(model))
        except ConfigError as error:
            return str(error)

    def _shown(self, model: str, provider: str) -> str:
        called, why = self.names.get(model, {}).get(provider), self._mark(model, provider)
        return provider + (f" ({why})" if why else "") + (f" as {called}" if called else "")

    def _mark(self, model: str, provider: str) -> str | None:
        return self.marks.get((model, provider), LEFT.get(provider))

    def _called(self) -> dict[str, list[str]]:
        """Return each model's aliases."""
        called: dict[str, list[str]] = {}
        for alias, model in self.aliases.items():
            called.setdefault(model, []).append(alias)
        return called

    def _unknown(self, name: str) -> str:
        known = [*self.providers, *(alias for alias, model in self.aliases.items() if model in self.providers)]
        near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
        some = ", ".join(known[:_NAMED]) + (f" and {len(known) - _NAMED:,} more" if len(known) > _NAMED else "")
        hint = f"Near names: {', '.join(near)}." if near else f"There are: {some or 'none'}."
        return (
            f"Model not supported: {name}. {hint} "
            f"Add it with llm.models.add({str(name)!r}, providers=['scaleway']) or in MODEL_INFERENCE_PROVIDERS."
        )


def _shipped() -> dict[str, Any]:
    rows = {model: list(row) for model, row in SHIPPED.items()}
    return {"providers": rows, "aliases": dict(SHIPPED_ALIASES), "names": {}, "off_openrouter": set()}


def _saved() -> dict[str, Any] | None:
    """Return the parts of the saved table, checked as if its rows were added by hand; None: none can be used."""
    if (rows := saved_models.read()) is None:
        return None
    table = ModelTable()
    table.providers, table.aliases, table.names, table.off_openrouter = {}, {}, {}, set()
    try:
        for model, row in rows.items():
            told = {name: row[name] for name in ("providers", "names", "openrouter")}
            table.add(model, **told)
            for alias in row["aliases"]:
                table.add_alias(alias, model)
    except (ConfigError, TypeError, KeyError, AttributeError) as error:
        saved_models.leave_out(f"{type(error).__name__}: {error}")
        return None
    return {part: table.__dict__[part] for part in _PARTS}


def _check_alias(alias: str, models: Iterable[str]) -> None:
    if not isinstance(alias, str) or not alias.strip():
        raise ConfigError(f"{alias!r} is no alias; give a short name such as 'gemma'.")
    _refuse_key(alias)
    if alias in models:
        raise ConfigError(f"{alias!r} is a model's own name, so it cannot be an alias.")


def _row(model: str, providers: Iterable[str]) -> list[str]:
    if isinstance(providers, str) or not hasattr(providers, "__iter__"):
        raise ConfigError(f"The providers of {model} must be a list of names, such as ['scaleway'], not {providers!r}.")
    row = [
        provider.strip() if isinstance(provider, str) else provider for provider in providers if provider is not None
    ]
    if bad := [provider for provider in row if not isinstance(provider, str) or not provider.strip()]:
        raise ConfigError(f"The providers of {model} hold {bad[0]!r}; each must be a name such as 'scaleway'.")
    _refuse_key(*row)
    return row


def _refuse_key(*names: str) -> None:
    """Refuse a key in the place of a name: the table is shown and saved."""
    if any(map(kinds_of_keys, names)):
        raise ConfigError(
            "This name looks like a key, and names are shown. A key is added with llm.keys.add(backend, key)."
        )


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
