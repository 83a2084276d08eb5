"""Keys as another process finds them: where each one stands, never the key itself (design 6).

A key that stands in a variable of the environment is named by that variable, whoever gave it here. A key that was found
elsewhere (a `.env`, a notebook service, the login, the keyring, the key file) is named by its place. A key that stands
nowhere but in code cannot be named.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key
from llm_executor_nb.core.secret import is_made_up, secret_of
from llm_executor_nb.settings.key_ring import KeyRing

if TYPE_CHECKING:
    from collections.abc import Iterable

_IN_CODE = ("code", "session")
_USUAL = {OPENROUTER: "OPENROUTER_API_KEY", HUGGINGFACE: "HF_TOKEN"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReference:
    """One key, without the key.

    Attributes:
        backend, label, rpm: as in a `Key`.
        source: the place where it was found.
        variable: the variable of the environment that holds it; None: none does.
        number: which of the keys at the place it is, from 0.
        practice: the key itself, which is made up: a rehearsal's.
    """

    backend: str
    label: str
    rpm: float | None
    source: str
    variable: str | None = None
    number: int = 0
    practice: str | None = None

    @property
    def shown(self) -> str:
        """Where the key is looked for, in words."""
        return f"the variable {self.variable}" if self.variable else self.source


def references(keys: Iterable[Key], *, is_practice: bool) -> tuple[KeyReference, ...]:
    """Return where other processes find some keys.

    Args:
        keys: the keys, with their labels.
        is_practice: whether they are those of a rehearsal.

    Raises:
        ConfigError: a key stands in code alone; the message says which variable to set.
    """
    at_place: Counter[tuple[str, str]] = Counter()
    found = []
    for key in keys:
        place = key.backend, key.source
        found.append(_reference(key, at_place[place], is_practice=is_practice))
        at_place[place] += 1
    return tuple(found)


def resolved(found: Iterable[KeyReference], worker: str) -> tuple[Key, ...]:
    """Return the keys of some references, as this process finds them.

    Args:
        found: the references.
        worker: how this process is called, for a message.

    Raises:
        ConfigError: a key is not here; the message names the process and the variable to set.
    """
    ring = KeyRing()
    return tuple(_resolved(one, ring, worker) for one in found)


def missing(found: Iterable[KeyReference]) -> list[str]:
    """Return the places in which this process finds no key."""
    ring = KeyRing()
    return [one.shown for one in found if _find(one, ring) is None]


def _reference(key: Key, number: int, *, is_practice: bool) -> KeyReference:
    told = KeyReference(backend=key.backend, label=key.label, rpm=key.rpm, source=key.source, number=number)
    if is_practice and is_made_up(key.secret.reveal()):
        return replace(told, practice=key.secret.reveal())
    if (variable := _variable_of(key)) is not None:
        return replace(told, variable=variable)
    if key.source in _IN_CODE:
        name = _USUAL.get(key.backend, f"{key.backend.upper()}_KEY")
        raise ConfigError(
            f"The key {key.shown} of {key.backend} stands in code alone, and code that runs in other processes gets no "
            f"key. Set a variable such as {name} before the workers start, here and there; then leave the key out of "
            "the code, or read it from the variable. Nothing was sent."
        )
    return told


def _variable_of(key: Key) -> str | None:
    """Return the variable of the environment that holds a key; the one it was found in, if several do."""
    names = [name for name, value in os.environ.items() if _is_in(key, value)]
    return key.source if key.source in names else min(names, default=None)


def _is_in(key: Key, value: str) -> bool:
    return value.strip().strip("\"'").strip() == key.secret.reveal()


def _resolved(one: KeyReference, ring: KeyRing, worker: str) -> Key:
    if (key := _find(one, ring)) is None:
        step = f"Set {one.variable} there before it starts" if one.variable else "Make it known there"
        raise ConfigError(f"{worker} does not find the key {one.label!r} of {one.backend} in {one.shown}. {step}.")
    return replace(key, backend=one.backend, label=one.label, source=one.source, rpm=one.rpm, is_enabled=True)


def _find(one: KeyReference, ring: KeyRing) -> Key | None:
    """Return a key of this process; None: it is not here."""
    value = one.practice or (os.environ.get(one.variable, "") if one.variable else "")
    if value.strip():
        return Key(backend=one.backend, secret=secret_of(value), label=one.label)
    if one.variable is not None or one.backend not in _USUAL:
        return None
    at_place = [key for key in ring.all_of(one.backend) if key.source == one.source]
    return at_place[one.number] if one.number < len(at_place) else None
