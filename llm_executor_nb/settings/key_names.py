"""The names under which keys stand in the environment, in a `.env` and among the secrets of a notebook service."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import ConfigError, warn
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key
from llm_executor_nb.core.secret import Secret, secret_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

_SINGLE = {OPENROUTER: ("OPENROUTER_API_KEY",), HUGGINGFACE: ("HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN")}
_NUMBERED = {OPENROUTER: "OPENROUTER_KEY_", HUGGINGFACE: "HF_TOKEN_"}
SHOWN = {
    OPENROUTER: "OPENROUTER_API_KEY, OPENROUTER_KEY_1..n",
    HUGGINGFACE: "HF_TOKEN, HF_TOKEN_1..n, HUGGINGFACEHUB_API_TOKEN",
}
"""The names by backend, for a message. A backend of the user's own has none."""
_MOST = 99
"""Numbered secrets of a service that cannot list its names."""


def names_in(backend: str, names: Collection[str]) -> list[str]:
    """Return the names of a backend's keys: the plain ones, then the numbered ones in order. One's own has none."""
    if backend not in _NUMBERED:
        return []
    prefix = _NUMBERED[backend]
    numbered = [name for name in names if name.startswith(prefix) and name[len(prefix) :].isdecimal()]
    return [n for n in _SINGLE[backend] if n in names] + sorted(numbered, key=lambda n: int(n[len(prefix) :]))


def names_for(backend: str) -> Iterator[str]:
    """Yield the names that a backend's keys may have, one after the other without end."""
    own = re.sub(r"\W", "_", backend).upper()
    yield _SINGLE[backend][0] if backend in _SINGLE else f"{own}_API_KEY"
    yield from (f"{_NUMBERED.get(backend, f'{own}_API_KEY_')}{number}" for number in count(1))


def keys_in(backend: str, values: Mapping[str, str | None], where: str = "") -> Iterator[Key]:
    """Yield a backend's keys among named values; `where` stands before the name in their source."""
    for name in names_in(backend, values):
        if value := (values.get(name) or "").strip().strip("\"'"):
            yield from key_of(backend, value, f"{where}{name}")


def keys_asked_for(backend: str, ask: Callable[[str], Any], where: str) -> Iterator[Key]:
    """Yield a backend's keys of a service that is asked by name: numbered names until one is missing.

    Args:
        backend: the backend.
        ask: returns the value of a name; nothing: it does not exist.
        where: stands before the name in the keys' source.
    """
    for name in _SINGLE[backend]:
        if value := ask(name):
            yield from key_of(backend, value, f"{where}{name}")
    for number in range(1, _MOST + 1):
        if not (value := ask(name := f"{_NUMBERED[backend]}{number}")):
            return
        yield from key_of(backend, value, f"{where}{name}")


def key_of(backend: str, value: Any, source: str) -> Iterator[Key]:  # noqa: ANN401 - whatever a service gives
    """Yield a key, without a label yet; warn of a value that cannot be one, and go on without it."""
    try:
        secret = secret_of(value) if isinstance(value, str) else Secret(value)  # which refuses it
        yield Key(backend=backend, secret=secret, label="", source=source)
    except ConfigError as error:
        warn(f"{source} is left out: {error}")
