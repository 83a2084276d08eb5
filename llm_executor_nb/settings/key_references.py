"""Keys as references: which key of a backend is meant and where it is found, without the key itself.

A job of several processes hands references around. Each process looks for the keys in places of its own: first in its
environment, then where the client found them. A key that is only in code has no place that another process could look
at. Must not: hold, show or pickle a key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key
from llm_executor_nb.core.secret import secret_of
from llm_executor_nb.settings.key_list import KeyList
from llm_executor_nb.settings.key_names import key_of, names_for, names_in
from llm_executor_nb.settings.key_ring import KeyRing
from llm_executor_nb.settings.key_sources import DOTENV

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping


PRACTICE = "practice"
"""The source of a practice key, which follows from its number."""
_PRACTICE_KEYS = {OPENROUTER: "sk-or-v1-practice-{:04d}", HUGGINGFACE: "hf_practicetoken{:04d}"}
_ONLY_HERE = ("code", "session")
"""The sources that no other process has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReference:
    """Which key is meant, for a process that has to find it.

    Attributes:
        backend: the key's backend.
        label: what the user calls it.
        source: where the client found it.
        number: its place among the keys of that source, from 0; of a practice key its number.
        variable: the variable of the environment in which it is looked for first; empty: none.
        rpm: requests per minute that the user named; None: unknown.
    """

    backend: str
    label: str
    source: str
    number: int
    variable: str
    rpm: float | None


def practice_key(backend: str, number: int) -> str:
    """Return a practice key by its number from 1. It opens nothing, so it is no secret."""
    return _PRACTICE_KEYS[backend].format(number)


# --- from keys to references ------------------------------------------------------------------------------------


def references(keys: Iterable[Key], others: Iterable[Key], ring: KeyRing) -> dict[Key, KeyReference]:
    """Return references to keys.

    Args:
        keys: the keys that are needed, with their labels and paces.
        others: keys of which those are taken that another process can find.
        ring: where they are all from.

    Raises:
        ConfigError: a needed key is only in code; the message names the variable to set for it.
    """
    wanted = list(keys)
    found = _found([*wanted, *others], ring)
    if lost := [key for key in wanted if key not in found]:
        raise ConfigError(_only_in_code(lost, found.values()))
    return found


def _found(keys: list[Key], ring: KeyRing) -> dict[Key, KeyReference]:
    found: dict[Key, KeyReference] = {}
    for key in keys:
        place = _practised(key, ring) if ring.is_practice else None
        place = place or _in_environment(key) or _elsewhere(key, ring)
        if place is not None:
            source, number, variable = place
            found[key] = KeyReference(
                backend=key.backend, label=key.label, source=source, number=number, variable=variable, rpm=key.rpm
            )
    taken = {one.variable for one in found.values()}
    return {
        key: one if one.variable or one.source == PRACTICE else _with_variable(one, taken) for key, one in found.items()
    }


def _practised(key: Key, ring: KeyRing) -> tuple[str, int, str] | None:
    if key.backend not in _PRACTICE_KEYS:
        return None
    numbers = range(1, len(ring.code[key.backend]) + 1)
    number = next((one for one in numbers if practice_key(key.backend, one) == key.secret.reveal()), None)
    return None if number is None else (PRACTICE, number, "")


def _in_environment(key: Key) -> tuple[str, int, str] | None:
    """Return the variable that holds a key, whatever its name: a backend of the user's own has no usual one."""
    usual = names_in(key.backend, os.environ)
    names = (name for name in chain(usual, sorted(os.environ)) if _value_of(name) == key.secret.reveal())
    name = next(names, None)
    return None if name is None else (name, 0, name)


def _value_of(name: str) -> str:
    # a text, not a Secret: that would be hidden in all messages from now on, whatever the variable holds
    return os.environ.get(name, "").strip().strip("\"'").strip()


def _elsewhere(key: Key, ring: KeyRing) -> tuple[str, int, str] | None:
    numbers: dict[str, Iterator[int]] = {}
    for one in ring.outside(key.backend):
        number = next(numbers.setdefault(one.source, count()))
        if one.secret == key.secret:
            file, _, name = one.source.partition(" ")
            return one.source, number, name if file.endswith(DOTENV) else ""
    return None


def _with_variable(reference: KeyReference, taken: set[str]) -> KeyReference:
    """Return a reference with a variable that no other one has."""
    variable = _free_variable(reference.backend, taken)
    taken.add(variable)
    return replace(reference, variable=variable)


def _free_variable(backend: str, taken: Collection[str]) -> str:
    return next(name for name in names_for(backend) if name not in taken)


def _only_in_code(keys: list[Key], others: Iterable[KeyReference]) -> str:
    taken = {one.variable for one in others}
    lines = []
    for key in keys:
        variable = _free_variable(key.backend, taken)
        taken.add(variable)
        lines.append(f"  {variable}   for the {key.backend} key {key.shown!r}, which was given in {_in_words(key)}")
    return "\n".join(
        [
            "This job runs in several processes, and a key never travels to another one. Nothing was sent.",
            "Set these variables where this program starts and where each worker starts:",
            *lines,
        ]
    )


def _in_words(key: Key) -> str:
    return "code" if key.source in _ONLY_HERE else key.source


# --- from references to keys ------------------------------------------------------------------------------------


def resolved(found: Iterable[KeyReference], ring: KeyRing, worker: str) -> tuple[Key, ...]:
    """Return the keys that references mean in this process.

    Args:
        found: the references.
        ring: the key ring of this process.
        worker: how this process is called, for a message.

    Raises:
        ConfigError: a key is not here; the message names the process and the variable to set.
    """
    wanted = list(found)
    if lost := missing(wanted, ring):
        variables = ", ".join(dict.fromkeys(one.variable for one in lost))
        keys = ", ".join(f"{one.label!r} of {one.backend} (the client has it from {one.source})" for one in lost)
        raise ConfigError(
            f"{worker} does not find a key of this job: {keys}. Set {variables} in the environment of every worker "
            "before it starts. Nothing was sent from there."
        )
    return tuple(key for one in wanted if (key := _key_here(one, ring)) is not None)


def missing(found: Iterable[KeyReference], ring: KeyRing) -> list[KeyReference]:
    """Return the references for which this process has no key."""
    return [one for one in found if _key_here(one, ring) is None]


def _key_here(reference: KeyReference, ring: KeyRing) -> Key | None:
    if reference.source == PRACTICE:
        value = practice_key(reference.backend, reference.number)
        return Key(
            backend=reference.backend, secret=secret_of(value), label=reference.label, source="code", rpm=reference.rpm
        )
    if value := _value_of(reference.variable):
        found = next(key_of(reference.backend, value, reference.variable), None)
    else:
        of_source = [key for key in ring.outside(reference.backend) if key.source == reference.source]
        found = of_source[reference.number] if reference.number < len(of_source) else None
    return None if found is None else replace(found, label=reference.label, rpm=reference.rpm)


def ring_of(keys: Mapping[str, Iterable[Key]], here: KeyRing, *, is_practice: bool) -> KeyRing:
    """Return a key ring that asks these keys and no others, in this order.

    Args:
        keys: backend -> its keys.
        here: the key ring of this process, in which they were found. It becomes that ring, unless this is a rehearsal.
        is_practice: whether they are the keys of a rehearsal.
    """
    listed = {backend: list(of_backend) for backend, of_backend in keys.items()}
    if is_practice:
        made = KeyRing(practice={name: [key.secret.reveal() for key in some] for name, some in listed.items()})
    else:
        made = here
        for backend, some in listed.items():
            if backend not in _PRACTICE_KEYS:
                made.code[backend] = KeyList([key.secret.reveal() for key in some])
    for backend in tuple(made.code):
        _ask_only(listed.get(backend, []), backend, made)
    return made


def _ask_only(keys: list[Key], backend: str, ring: KeyRing) -> None:
    """Let a ring ask these keys of a backend: a job asks with the keys of its client, not with all of a worker's."""
    wanted = {key.secret: key for key in keys}
    known = {key.secret: key for key in ring.all_of(backend)}
    for secret, key in known.items():
        if secret not in wanted:
            ring.notes[backend, secret] = replace(key, is_enabled=False)
    ring.notes.update({(backend, secret): key for secret, key in wanted.items()})
    ring.added[backend] = tuple(secret for secret in wanted if secret not in known)
    ring.order[backend] = tuple(wanted)
