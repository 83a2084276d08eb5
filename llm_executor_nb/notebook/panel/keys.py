"""The tab Keys: who is asked with which key, and a button for each thing that can be done with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain.lookups import check_keys
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_executor_nb.settings.keys import Keys


class KeysTab:
    """What the tab shows and does. A message names a key by label and last characters, as it is shown."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[str, str]] = {}
        self.actions: dict[str, Callable[[Mapping[str, Any]], str]] = {
            "add": self._add,
            "test": self._test,
            "rename": self._rename,
            "move": self._move,
            "enable": self._enable,
            "disable": self._disable,
            "remove": self._remove,
            "save": self._save,
            "forget": self._forget,
            "refresh": self._refresh,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return what may be shown of each key, in the order they are asked."""
        return [
            {
                "backend": line.backend,
                "label": line.label,
                "ending": line.secret.ending,
                "shown": line.shown,
                "source": line.source,
                "saved_in": line.saved_in,
                "state": line.state,
                "is_enabled": line.is_enabled,
                "found": (found := self._found.get((line.backend, line.secret.ending), ("", "")))[1],
                "grade": found[0],
            }
            for line in session().options.keys.lines()
        ]

    def _add(self, told: Mapping[str, Any]) -> str:
        shown = _keys().add(told["backend"], told["key"], label=told.get("label") or None)
        self._found.pop((told["backend"], shown.split()[-1]), None)
        return f"Added {shown} for this session."

    def _test(self, told: Mapping[str, Any]) -> str:
        backend, shown = told["backend"], told["shown"]
        found = check_keys(backend, fresh=True)
        for row in found.itertuples():
            self._found[backend, str(row.key)] = _grade(row), _words(row)
        mine = found[(found["label"] + " " + found["key"]) == shown]
        if mine.empty:
            raise ConfigError(f"{shown} is disabled or gone. Enable it, then test it.")
        return f"{shown}: {_words(next(mine.itertuples()))}"

    def _rename(self, told: Mapping[str, Any]) -> str:
        return f"Renamed: {_keys().rename(told['backend'], told['shown'], told['label'])}."

    def _move(self, told: Mapping[str, Any]) -> str:
        _keys().move(told["backend"], told["shown"], to=int(told["to"]))
        return f"{told['shown']} is asked as number {told['to']} of {told['backend']} in this session."

    def _enable(self, told: Mapping[str, Any]) -> str:
        _keys().enable(told["backend"], told["shown"])
        return f"{told['shown']} is used again."

    def _disable(self, told: Mapping[str, Any]) -> str:
        _keys().disable(told["backend"], told["shown"])
        return f"{told['shown']} is not used in this session."

    def _remove(self, told: Mapping[str, Any]) -> str:
        is_gone = _keys().remove(told["backend"], told["shown"])
        return f"Removed {told['shown']}." if is_gone else f"{told['shown']} was gone already."

    def _save(self, told: Mapping[str, Any]) -> str:
        return f"Saved {told['shown']} in {_keys().save(told['backend'], told['shown'], to=told['to'])}."

    def _forget(self, told: Mapping[str, Any]) -> str:
        is_gone = _keys().forget_saved(told["backend"], told["shown"])
        return f"{told['shown']} is {'no longer' if is_gone else 'not'} saved; this session keeps it."

    def _refresh(self, _: Mapping[str, Any]) -> str:
        _keys().refresh()
        return f"Looked again: {len(_keys())} keys are in use."


def _keys() -> Keys:
    return session().keys


def _grade(row: Any) -> str:  # noqa: ANN401 - a row of a frame
    """Return how a key was found: `ok`, `bad`, or neither."""
    if pd.isna(row.is_alive):
        return ""
    return "ok" if row.is_alive and row.outcome == "ok" else "bad"


def _words(row: Any) -> str:  # noqa: ANN401 - a row of a frame
    """Return what a look-up found of a key."""
    told = "" if pd.isna(row.message) else str(row.message)
    if pd.isna(row.is_alive):
        return f"could not be tested: {told or row.outcome}"
    if not row.is_alive:
        return f"does not work: {told or row.outcome}"
    parts = [
        "works",
        "" if pd.isna(row.credit_usd) else f"${row.credit_usd:,.2f} left",
        "free tier" if row.is_free_tier is True else "",
        "" if pd.isna(row.expires) else f"until {row.expires:%Y-%m-%d}",
        "" if row.outcome == "ok" else f"but a request would get {row.outcome}",
        told,
    ]
    return ", ".join(filter(None, parts))
