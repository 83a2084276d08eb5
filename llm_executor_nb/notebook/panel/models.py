"""The tab Models: a search of all models, and the provider table to change, to compare and to save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.lookups import sync_models
from llm_executor_nb.chain.model_search import search
from llm_executor_nb.chain.models import Models
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.advice import counted
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.notebook.panel.fields import FieldRefusedError, typed_into
from llm_executor_nb.notebook.panel.offers import found_words, offer_rows
from llm_executor_nb.settings.models import aliases_by_model, problems_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_executor_nb.settings.models import ModelTable

    Message = Mapping[str, Any]

SHOWN = 25
"""Models that are shown at once; in a larger table a search finds the others."""
WANTED = ("free", "images", "files", "tools", "schema")
"""What a search may ask for."""


class ModelsTab:
    """What the tab shows and does."""

    def __init__(self) -> None:
        self._part = ""
        self._missing: dict[str, list[str]] = {}
        self._offers: list[dict[str, str]] | None = None
        self._found = ""
        self.actions: dict[str, Callable[[Message], str]] = {
            "search": self._search,
            "close": self._close,
            "find": self._find,
            "add": self._add,
            "remove": self._remove,
            "providers": self._providers,
            "openrouter": self._openrouter,
            "alias": self._alias,
            "unalias": self._unalias,
            "sync": self._sync,
            "apply": self._apply,
            "save": self._save,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return each model that is shown, with its aliases, its providers in order, and their faults."""
        aliases = aliases_by_model(_table())
        return [self._row(model, aliases.get(model, [])) for model in self.shown()]

    def shown(self) -> list[str]:
        """Return the models that are shown."""
        return _table().find(self._part)[:SHOWN]

    def counts(self) -> dict[str, Any]:
        """Return the search text, and how many models are shown, match it, and are in the table."""
        matching = len(_table().find(self._part))
        return {"part": self._part, "shown": min(matching, SHOWN), "matching": matching, "total": len(_table())}

    def offers(self) -> dict[str, Any]:
        """Return the models of the last search, and which of them the table has; empty: the list is closed."""
        if self._offers is None:
            return {}
        rows = [{**row, "is_listed": row["model"] in _table().providers} for row in self._offers]
        return {"caption": self._found, "rows": rows}

    def _row(self, model: str, aliases: list[str]) -> dict[str, Any]:
        table = _table()
        row: dict[str, Any] = {
            "model": model,
            "aliases": aliases,
            "is_on_openrouter": model not in table.off_openrouter,
            "missing": self._missing.get(model, []),
            "wrong": "",
        }
        try:
            marks = problems_of(table, model)
            providers = [{"name": name, "mark": marks.get(name, "")} for name in table.row(model)]
        except ConfigError as error:  # code may assign a row that is not a list of names
            return {**row, "providers": [], "wrong": str(error)}
        return {**row, "providers": providers}

    def _search(self, message: Message) -> str:
        wanted: dict[str, Any] = {name: True for name in WANTED if name in message["only"]}
        with typed_into("text"):
            found = search(str(message["text"]).strip(), **wanted)
        self._offers = offer_rows(found)
        self._found = found_words(found)
        return self._found

    def _close(self, _: Message) -> str:
        self._offers = None
        return ""

    def _find(self, message: Message) -> str:
        self._part = str(message["part"]).strip()
        counts = self.counts()
        return f"{counts['matching']:,} of {counts['total']:,} models have that text in a name." if self._part else ""

    def _add(self, message: Message) -> str:
        model, table, names = str(message["model"]).strip(), Models(_table()), _names(message["providers"])
        with typed_into("model"):
            if model in table.providers:
                raise ConfigError(f"{model} is in the table already. Change its row there.")
            table.add(model, providers=[] if names else None)
        try:
            with typed_into("providers"):
                if names:
                    table.set_providers(model, names)
            with typed_into("alias"):
                for alias in _names(message.get("alias")):
                    table.add_alias(alias, model)
        except FieldRefusedError:
            table.remove(model)
            raise
        # in a large table the new model would be out of sight
        if model not in self.shown():
            self._part = model
        return f"Added {model} with {counted(len(table.row(model)), 'provider')}."

    def _remove(self, message: Message) -> str:
        _table().remove(message["model"])
        return f"Removed {message['model']}."

    def _providers(self, message: Message) -> str:
        _table().set_providers(message["model"], message["providers"])
        return f"{message['model']}: {', '.join(message['providers']) or 'no provider'}."

    def _openrouter(self, message: Message) -> str:
        model = _table().resolve(message["model"])
        _table().add(
            model, providers=_table().row(model), names=_table().names.get(model), openrouter=bool(message["is_on"])
        )
        return f"OpenRouter is {'asked' if message['is_on'] else 'not asked'} for {model}."

    def _alias(self, message: Message) -> str:
        _table().add_alias(str(message["alias"]).strip(), message["model"])
        return f"{str(message['alias']).strip()} means {message['model']}."

    def _unalias(self, message: Message) -> str:
        _table().remove_alias(message["alias"])
        return f"{message['alias']} is no longer an alias."

    def _sync(self, _: Message) -> str:
        return self._compare(is_applied=False)

    def _apply(self, _: Message) -> str:
        return self._compare(is_applied=True)

    def _compare(self, *, is_applied: bool) -> str:
        # what was just compared is what gets applied: a second look-up could find something else
        compared = sync_models(apply=is_applied, fresh=not is_applied)
        counts = compared["found"].value_counts()
        if counts.get("unknown", 0):
            raise ConfigError(f"Nothing was changed: {compared['message'].dropna().iloc[0]}.")
        offered = compared[compared["found"] == "missing"]
        rows = {model: set(_table().row(model)) for model in tuple(_table())}
        self._missing = {
            str(model): [str(name) for name in group if name not in rows.get(str(model), set())]
            for model, group in offered.groupby("model")["provider"]
        }
        words = f"{counts.get('listed', 0)} offered, {counts.get('stale', 0)} stale, {counts.get('missing', 0)} more"
        return f"Compared with Hugging Face: {words}." + (" The table was changed." if is_applied else "")

    def _save(self, _: Message) -> str:
        return f"Saved for later sessions: {_table().save()}"


def _table() -> ModelTable:
    return session().options.models


def _names(text: object) -> list[str]:
    """Return the names in a field, which are separated by commas or spaces."""
    return str(text or "").replace(",", " ").split()
