"""The tab Models: the provider table and its aliases, to change, to compare with what is offered, and to save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.lookups import sync_models
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.settings.models import aliases_by_model, problems_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_executor_nb.settings.models import ModelTable


SHOWN = 25
"""Models that are shown at once; of a larger table some can be found."""


class ModelsTab:
    """What the tab shows and does."""

    def __init__(self) -> None:
        self._part = ""
        self._missing: dict[str, list[str]] = {}
        self.actions: dict[str, Callable[[Mapping[str, Any]], str]] = {
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
        """Return each model that is shown, with its aliases, its providers in order, and what is wrong with one."""
        aliases = aliases_by_model(_table())
        return [self._row(model, aliases.get(model, [])) for model in self.shown()]

    def shown(self) -> list[str]:
        """Return the models that are shown."""
        return _table().find(self._part)[:SHOWN]

    def counts(self) -> dict[str, Any]:
        """Return what is looked for in the names, and how many models are shown, have that, and are in the table."""
        matching = len(_table().find(self._part))
        return {"part": self._part, "shown": min(matching, SHOWN), "matching": matching, "total": len(_table())}

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
        except ConfigError as error:  # a row that code assigned and that is no list of names
            return {**row, "providers": [], "wrong": str(error)}
        return {**row, "providers": providers}

    def _find(self, told: Mapping[str, Any]) -> str:
        self._part = str(told["part"]).strip()
        counts = self.counts()
        return f"{counts['matching']:,} of {counts['total']:,} models have that in a name." if self._part else ""

    def _add(self, told: Mapping[str, Any]) -> str:
        model, providers = str(told["model"]).strip(), _names(told["providers"])
        if model in _table().providers:
            raise ConfigError(f"{model} is in the table already. Change its row there.")
        _table().add(model, providers=providers, alias=_names(told["alias"])[0] if told.get("alias") else None)
        if model not in self.shown():
            self._part = model
        return f"Added {model}."

    def _remove(self, told: Mapping[str, Any]) -> str:
        _table().remove(told["model"])
        return f"Removed {told['model']}."

    def _providers(self, told: Mapping[str, Any]) -> str:
        _table().set_providers(told["model"], told["providers"])
        return f"{told['model']}: {', '.join(told['providers']) or 'no provider'}."

    def _openrouter(self, told: Mapping[str, Any]) -> str:
        model = _table().resolve(told["model"])
        _table().add(
            model, providers=_table().row(model), names=_table().names.get(model), openrouter=bool(told["is_on"])
        )
        return f"OpenRouter is {'asked' if told['is_on'] else 'not asked'} for {model}."

    def _alias(self, told: Mapping[str, Any]) -> str:
        _table().add_alias(str(told["alias"]).strip(), told["model"])
        return f"{str(told['alias']).strip()} means {told['model']}."

    def _unalias(self, told: Mapping[str, Any]) -> str:
        _table().remove_alias(told["alias"])
        return f"{told['alias']} means nothing any more."

    def _sync(self, _: Mapping[str, Any]) -> str:
        return self._compare(is_applied=False)

    def _apply(self, _: Mapping[str, Any]) -> str:
        return self._compare(is_applied=True)

    def _compare(self, *, is_applied: bool) -> str:
        found = sync_models(apply=is_applied, fresh=not is_applied)
        counts = found["found"].value_counts()
        if counts.get("unknown", 0):
            raise ConfigError(f"Nothing was changed: {found['message'].dropna().iloc[0]}.")
        offered = found[found["found"] == "missing"]
        rows = {model: set(_table().row(model)) for model in tuple(_table())}
        self._missing = {
            str(model): [str(name) for name in group if name not in rows.get(str(model), set())]
            for model, group in offered.groupby("model")["provider"]
        }
        told = f"{counts.get('listed', 0)} offered, {counts.get('stale', 0)} stale, {counts.get('missing', 0)} more"
        return f"Compared with Hugging Face: {told}." + (" The table was changed." if is_applied else "")

    def _save(self, _: Mapping[str, Any]) -> str:
        return f"Saved for later sessions: {_table().save()}"


def _table() -> ModelTable:
    return session().options.models


def _names(text: object) -> list[str]:
    """Return the names of a field in which they stand with commas or blanks between them."""
    return str(text or "").replace(",", " ").split()
