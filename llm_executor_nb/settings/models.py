"""The model -> provider table: which models can be run, their aliases, and who serves them.

It is the shipped table, or the one that `save` wrote into the user's configuration folder; the file is looked for at
first need, never at import. What code assigns replaces both.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import ConfigError, ModelNotSupportedError
from llm_executor_nb.core.foreign_text import plain
from llm_executor_nb.core.markup import as_html
from llm_executor_nb.core.near_names import listed, noted_as
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import door, kinds_of_keys
from llm_executor_nb.settings import saved_models
from llm_executor_nb.settings.provider_names import LIVE_ORDERS, SUFFIXES, row_entry
from llm_executor_nb.settings.shipped_models import LEFT, shipped_parts
from llm_executor_nb.settings.unknown_model import unknown_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

SHOWN = 50
"""Models in a display; a table may hold thousands."""
_PARTS = ("providers", "aliases", "names", "off_openrouter")
"""The attributes that are looked up when one of them is first needed."""
Row = tuple[str, str, str, str]
COLUMNS = ("model", "aliases", "OpenRouter", "then")
"""A `Row`: the id, the short names, whether OpenRouter is asked, who is asked then and with which problem."""


class ModelTable:
    """The models that can be run, each with its Hugging Face providers and own backends in the order they are asked.

    Attributes:
        providers: model -> its row; the module's `MODEL_INFERENCE_PROVIDERS`.
        aliases: short name -> model.
        names: model -> backend -> the model's id there, where it is another one.
        off_openrouter: models that OpenRouter is not asked for.
        marks: (model, provider) -> what `sync_models` found wrong with it; None: nothing.
        listed: the ids on the lists that a search of this session had; None: it had none.
    """

    providers: dict[str, list[str]]
    aliases: dict[str, str]
    names: dict[str, dict[str, str]]
    off_openrouter: set[str]

    def __init__(self) -> None:
        self.marks: dict[tuple[str, str], str | None] = {}
        self.listed: tuple[str, ...] | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - one of the four above, which have their types there
        """Look up the table at first need. An attribute that was assigned before stays."""
        if name not in _PARTS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        for part, value in (_saved() or shipped_parts()).items():
            self.__dict__.setdefault(part, value)
        return self.__dict__[name]

    @door
    @noted_as("llm.models.add")
    def add(
        self,
        model: str,
        *,
        providers: Iterable[str] = (),
        alias: str | None = None,
        names: Mapping[str, str] | None = None,
        openrouter: bool = True,
    ) -> None:
        """Add a model, or replace its row.

        Args:
            model: its id on OpenRouter and Hugging Face, such as `google/gemma-3-27b-it`.
            providers: the Hugging Face providers and own backends to ask, in order; own ones are asked last.
            alias: a short name for it.
            names: backend -> the model's id there, where it is not `model`: `{"ollama": "gemma3:27b"}`.
            openrouter: whether OpenRouter is asked for it.

        Raises:
            ConfigError: a name is not a text, the providers are not a list of names, or `names` has a backend that is
                not in the row.
        """
        if not isinstance(model, str) or not model.strip():
            raise ConfigError(f"{model!r} is not a model id; give one such as 'google/gemma-3-27b-it'.")
        _refuse_key(model)
        row = _row(model, providers)
        ids = _names(model, names, row)
        if alias is not None:
            _check_alias(alias, {*self.providers, model})
            self.aliases[alias] = model
        self.providers[model] = row
        self.names[model] = ids
        (self.off_openrouter.discard if openrouter else self.off_openrouter.add)(model)

    @door
    def remove(self, model: str) -> None:
        """Remove a model and its aliases.

        Raises:
            ModelNotSupportedError: it is not there.
        """
        name = self.resolve(model)
        del self.providers[name]
        self.names.pop(name, None)
        self.off_openrouter.discard(name)
        self.aliases = {alias: target for alias, target in self.aliases.items() if target != name}

    @door
    def set_providers(self, model: str, providers: Iterable[str]) -> None:
        """Replace the providers of a model, or change their order. Everything else about the model stays.

        Args:
            model: a model of the table, or an alias.
            providers: the Hugging Face providers and own backends to ask, in order; own ones are asked last.

        Raises:
            ModelNotSupportedError: it is not there.
            ConfigError: the providers are not a list of names.
        """
        name = self.resolve(model)
        row = _row(name, providers)
        known = (OPENROUTER, HUGGINGFACE, *row)
        self.providers[name] = row
        self.names[name] = {backend: id_ for backend, id_ in self.names.get(name, {}).items() if backend in known}

    @door
    def add_alias(self, alias: str, model: str) -> None:
        """Give a model of the table a short name. An alias of another model is moved to this one.

        Raises:
            ModelNotSupportedError: the model is not there.
            ConfigError: the alias is not a text, or it is a model's own name.
        """
        name = self.resolve(model)
        _check_alias(alias, self.providers)
        self.aliases[alias] = name

    @door
    def remove_alias(self, alias: str) -> None:
        """Remove a short name; its model stays.

        Raises:
            ConfigError: the alias does not exist.
        """
        if alias not in self.aliases:
            raise ConfigError(f"Unknown alias {alias!r}; there are {listed(self.aliases) or 'none'}.")
        del self.aliases[alias]

    def save(self) -> Path:
        """Save the table for later sessions, in a file in your configuration folder. The file holds names only.

        Returns:
            The file. Delete it to get the shipped table back.

        Raises:
            ConfigError: a row is not a list of names, or the folder cannot be written; nothing was saved.
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
            ModelNotSupportedError: it means no model; the message names similar ones.
        """
        if isinstance(name, str):
            if name in self.providers:
                return name
            if (model := self.aliases.get(name)) is not None and model in self.providers:
                return model
        told = unknown_model(name, models=self.providers, aliases=self.aliases, ids=self.names, listed_ids=self.listed)
        raise ModelNotSupportedError(told)

    @door
    def find(self, part: str = "") -> list[str]:
        """Return the models whose id, or one of whose aliases, contains a text, in upper or lower case."""
        part = part.strip().casefold()
        aliases = aliases_by_model(self)
        return [model for model in self if any(part in name.casefold() for name in (model, *aliases.get(model, ())))]

    def row(self, model: str) -> tuple[str, ...]:
        """Return the providers of a model, given by its name or an alias, in order, each once.

        Raises:
            ModelNotSupportedError: there is no such model; the message names similar ones.
            ConfigError: the row is not a list of provider names.
        """
        name = self.resolve(model)
        return tuple(dict.fromkeys(_row(name, self.providers[name])))

    def __iter__(self) -> Iterator[str]:
        return iter(self.providers)

    def __len__(self) -> int:
        return len(self.providers)

    def __repr__(self) -> str:
        return plain("\n".join([*map(row_as_text, shown_rows(self, islice(self, SHOWN))), *self._rest()]))

    def _repr_html_(self) -> str:
        table = as_html(COLUMNS, shown_rows(self, islice(self, SHOWN)))
        return table + "".join(f"<div>{rest}</div>" for rest in self._rest())

    def _rest(self) -> list[str]:
        if len(self) <= SHOWN:
            return []
        return [f"… and {len(self) - SHOWN:,} more; llm.models.find('gemma') finds models by a part of the name"]


def check_table(table: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return a provider table that a user assigned, if it is a dict; its rows are checked when they are used."""
    if not isinstance(table, dict):
        raise ConfigError(
            "MODEL_INFERENCE_PROVIDERS must be a dict from model to providers, such as "
            f"{{'google/gemma-3-27b-it': ['scaleway']}}, not {type(table).__name__}.",
        )
    return table


def shown_rows(table: ModelTable, models: Iterable[str]) -> list[Row]:
    """Return what a display says about some models of a table."""
    aliases = aliases_by_model(table)
    return [
        (
            model,
            ", ".join(aliases.get(model, ())),
            "no" if model in table.off_openrouter else "yes",
            _served(table, model),
        )
        for model in models
    ]


def row_as_text(row: Row) -> str:
    """Return such a row as a line of text."""
    model, aliases, is_on_openrouter, served = row
    asked = filter(None, ("openrouter" if is_on_openrouter == "yes" else "", served))
    return f"{model}{f' ({aliases})' if aliases else ''}: {'; then '.join(asked)}"


def aliases_by_model(table: ModelTable) -> dict[str, list[str]]:
    """Return the aliases of each model that has some."""
    aliases: dict[str, list[str]] = {}
    for alias, model in table.aliases.items():
        aliases.setdefault(model, []).append(alias)
    return aliases


def problems_of(table: ModelTable, model: str) -> dict[str, str]:
    """Return the providers of a model that have a problem, and the problem."""
    problems = {provider: _problem(table, model, provider) for provider in table.row(model)}
    return {provider: problem for provider, problem in problems.items() if problem}


def _problem(table: ModelTable, model: str, provider: str) -> str | None:
    return table.marks.get((model, provider), LEFT.get(provider))


def _served(table: ModelTable, model: str) -> str:
    try:
        return ", ".join(_provider_shown(table, model, provider) for provider in table.row(model))
    except ConfigError as error:
        return str(error)


def _provider_shown(table: ModelTable, model: str, provider: str) -> str:
    name, problem = table.names.get(model, {}).get(provider), _problem(table, model, provider)
    return provider + (f" ({problem})" if problem else "") + (f" as {name}" if name else "")


def _saved() -> dict[str, Any] | None:
    """Return the parts of the saved table, checked like rows that code adds; None: no table can be used."""
    if (rows := saved_models.read()) is None:
        return None
    table = ModelTable()
    table.providers, table.aliases, table.names, table.off_openrouter = {}, {}, {}, set()
    try:
        for model, row in rows.items():
            table.add(model, **{name: row[name] for name in ("providers", "names", "openrouter")})
            for alias in row["aliases"]:
                table.add_alias(alias, model)
    except (ConfigError, TypeError, KeyError, AttributeError) as error:
        saved_models.leave_out(f"{type(error).__name__}: {error}")
        return None
    return {part: table.__dict__[part] for part in _PARTS}


def _check_alias(alias: str, models: Iterable[str]) -> None:
    if not isinstance(alias, str) or not alias.strip():
        raise ConfigError(f"{alias!r} is not an alias; give a short name such as 'gemma'.")
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
    return list(_checked_names(*row))


@lru_cache(maxsize=1024)  # a row is checked at every call
def _checked_names(*names: str) -> tuple[str, ...]:
    _refuse_key(*names)
    return tuple(map(row_entry, names))


def _refuse_key(*names: str) -> None:
    """Refuse a key that was given as a name: the table is shown and saved."""
    if any(map(kinds_of_keys, names)):
        raise ConfigError(
            "This name looks like a key, and names are shown. A key is added with llm.keys.add(backend, key)."
        )


def _names(model: str, names: Mapping[str, str] | None, row: Iterable[str]) -> dict[str, str]:
    try:
        ids = dict(names or {})
    except (TypeError, ValueError):
        raise ConfigError(f"names={names!r} must be a dict such as {{'ollama': 'gemma3:27b'}}.") from None
    known = (OPENROUTER, HUGGINGFACE, *(name for name in row if name not in {*LIVE_ORDERS, *SUFFIXES}))
    for backend, name in ids.items():
        if backend not in known:
            raise ConfigError(
                f"names has {backend!r}, which is not in the row of {model}. There are {listed(known)}. If it is a "
                f"backend of your own, name it in providers=[{backend!r}] too."
            )
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"names[{backend!r}]={name!r} must be the model's id there, such as 'gemma3:27b'.")
    return ids
