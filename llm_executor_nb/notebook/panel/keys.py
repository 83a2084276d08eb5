"""The tab Keys: a sign-in, the keys in the order they are asked, and what can be done with each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain.inspection import key_state
from llm_executor_nb.chain.key_lookups import check_keys
from llm_executor_nb.chain.login import begin_sign_in
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.holds import RouteStatus
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.notebook.panel.fields import typed_into
from llm_executor_nb.notebook.panel.health import outcome_words, state_words
from llm_executor_nb.view.text import dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_executor_nb.chain.login import SignIn
    from llm_executor_nb.core.records import Key
    from llm_executor_nb.settings.keys import Keys

    Message = Mapping[str, Any]

_UNASKED = "no reply yet"


class KeysTab:
    """What the tab shows and does. A message names a key by label and last characters, as the tab shows it."""

    def __init__(self) -> None:
        # by backend and ending, not by label: a key that is renamed keeps its result
        self._tested: dict[tuple[str, str], tuple[str, str]] = {}
        self._begun: SignIn | None = None
        self.actions: dict[str, Callable[[Message], str]] = {
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
            "sign_in": self._sign_in,
            "finish_sign_in": self._finish_sign_in,
            "cancel_sign_in": self._cancel_sign_in,
        }

    def sign_in_url(self) -> str:
        """Return the page of the sign-in that has begun; empty: none has."""
        return self._begun.url if self._begun else ""

    def rows(self) -> list[dict[str, Any]]:
        """Return what may be shown of each key, in the order they are asked."""
        return [self._row(key) for key in session().options.keys.lines()]

    def _row(self, key: Key) -> dict[str, Any]:
        grade, found = self._tested.get((key.backend, key.secret.ending), ("", ""))
        state = key_state(key)
        is_held = state.standing is not RouteStatus.FREE
        if is_held and grade == "ok":  # it worked when it was tested, and was put on hold since then
            del self._tested[key.backend, key.secret.ending]
            grade, found = "", ""
        return {
            "backend": key.backend,
            "label": key.label,
            "ending": key.secret.ending,
            "shown": key.shown,
            "source": key.source,
            "saved_in": key.saved_in,
            "state": key.state,
            "is_enabled": key.is_enabled,
            "held": state_words(state) if is_held else "",
            "outcomes": outcome_words(state.outcomes) or ("" if found else _UNASKED),
            "found": found,
            "grade": grade,
        }

    def _add(self, message: Message) -> str:
        with typed_into("key"):
            Secret(message["key"])
        with typed_into("label"):
            shown = _keys().add(message["backend"], message["key"], label=message.get("label") or None)
        self._tested.pop((message["backend"], shown.split()[-1]), None)
        return f"Added {shown} for this session."

    def _test(self, message: Message) -> str:
        backend, shown = message["backend"], message["shown"]
        checked = check_keys(backend, fresh=True)
        for row in checked.itertuples():
            self._tested[backend, str(row.key)] = _grade(row), _words(row)
        this_key = checked[(checked["label"] + " " + checked["key"]) == shown]
        if this_key.empty:
            raise ConfigError(f"{shown} is disabled or gone. Enable it, then test it.")
        return f"{shown} {_words(next(this_key.itertuples()))}."

    def _rename(self, message: Message) -> str:
        return f"Renamed: {_keys().rename(message['backend'], message['shown'], message['label'])}."

    def _move(self, message: Message) -> str:
        _keys().move(message["backend"], message["shown"], to=int(message["to"]))
        return f"{message['shown']} is asked as number {message['to']} of {message['backend']} in this session."

    def _enable(self, message: Message) -> str:
        _keys().enable(message["backend"], message["shown"])
        return f"{message['shown']} is used again."

    def _disable(self, message: Message) -> str:
        _keys().disable(message["backend"], message["shown"])
        return f"{message['shown']} is not used in this session."

    def _remove(self, message: Message) -> str:
        is_removed = _keys().remove(message["backend"], message["shown"])
        return f"Removed {message['shown']}." if is_removed else f"{message['shown']} was gone already."

    def _save(self, message: Message) -> str:
        place = _keys().save(message["backend"], message["shown"], to=message["to"])
        return f"Saved {message['shown']} in {place}."

    def _forget(self, message: Message) -> str:
        is_forgotten = _keys().forget_saved(message["backend"], message["shown"])
        return f"{message['shown']} is {'no longer' if is_forgotten else 'not'} saved; this session keeps it."

    def _refresh(self, _: Message) -> str:
        _keys().refresh()
        return f"Searched every place for keys: {len(_keys())} are in use."

    def _sign_in(self, _: Message) -> str:
        self._begun = begin_sign_in()
        return "Open the page and agree. It shows a code: paste it here."

    def _finish_sign_in(self, message: Message) -> str:
        if self._begun is None:
            raise ConfigError("This sign-in has ended. Sign in again.")
        with typed_into("code"):
            status = self._begun.finish(message["key"])
        self._begun = None
        return status.message

    def _cancel_sign_in(self, _: Message) -> str:
        self._begun = None
        return "The sign-in was cancelled. Nothing was changed."


def known_of(key: Key) -> str:
    """Return what holds and replies say of a key, as text."""
    state = key_state(key)
    held = [] if state.standing is RouteStatus.FREE else [state_words(state)]
    return " · ".join([*held, outcome_words(state.outcomes) or _UNASKED])


def _keys() -> Keys:
    return session().keys


def _grade(row: Any) -> str:  # noqa: ANN401 - a row of a frame
    """Return the result of a test for the eye: `ok`, `bad`, or neither."""
    if pd.isna(row.is_alive):
        return ""
    return "ok" if row.is_alive and row.outcome == "ok" else "bad"


def _words(row: Any) -> str:  # noqa: ANN401 - a row of a frame
    """Return the result of a test in words."""
    message = "" if pd.isna(row.message) else str(row.message).rstrip(".")
    why = f"({message or row.outcome})"
    if pd.isna(row.is_alive):
        return f"could not be tested {why}"
    if not row.is_alive:
        return f"does not work {why}"
    if row.outcome != "ok":
        return f"is accepted, but a request would get {row.outcome}" + (f" ({message})" if message else "")
    parts = [
        "works",
        "" if pd.isna(row.credit_usd) else f"{dollars(row.credit_usd)} left",
        "free tier" if row.is_free_tier is True else "",
        "" if pd.isna(row.expires) else f"until {row.expires:%Y-%m-%d}",
        message,
    ]
    return ", ".join(filter(None, parts))
