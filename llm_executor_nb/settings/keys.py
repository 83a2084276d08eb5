"""The key ring: which keys there are, where each came from, and in which order they are asked.

Looked for at each call, never at import. A list given in code ends the search; else the keys of this session, the
environment and the working folder's `.env` are used, in that order. Nothing here writes a key anywhere.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self, SupportsIndex

from llm_executor_nb.core.errors import ConfigError, LLMExecutorWarning
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key
from llm_executor_nb.core.secret import Secret, ending, forgetful

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

DOTENV = ".env"
_NEVER_PICKLED = "A key is never pickled. Read it from the environment where it is needed."
_SINGLE = {OPENROUTER: ("OPENROUTER_API_KEY",), HUGGINGFACE: ("HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN")}
_NUMBERED = {OPENROUTER: "OPENROUTER_KEY_", HUGGINGFACE: "HF_TOKEN_"}


class KeyText(str):
    """A key as the text it is, that shows only its last characters where a notebook would echo it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{ending(self)}'"

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(_NEVER_PICKLED)


class KeyList(list[str]):
    """A list of keys that shows only their last characters; None entries are dropped, blanks taken off.

    Attributes:
        is_given: a user gave it by assignment or put a key in, so it ends the search for keys.
    """

    @forgetful
    def __init__(self, values: Iterable[str | None] = (), *, is_given: bool = False) -> None:
        super().__init__(_checked(values))
        self.is_given = is_given or bool(self)

    @forgetful
    def append(self, value: str | None) -> None:
        """Put a key at the end; None is dropped."""
        self.extend([value])

    @forgetful
    def extend(self, values: Iterable[str | None]) -> None:
        """Put keys at the end; None entries are dropped."""
        super().extend(_checked(values))
        self.is_given = self.is_given or bool(self)

    @forgetful
    def insert(self, index: SupportsIndex, value: str | None) -> None:
        """Put a key before an index; None is dropped."""
        if value is not None:
            self[index:index] = [value]

    @forgetful
    def __setitem__(self, index: Any, value: Any) -> None:  # noqa: ANN401 - list's own signature is an overload
        if isinstance(index, slice):
            super().__setitem__(index, _checked(value))
        else:
            super().__setitem__(index, KeyText(Secret(value).reveal()))
        self.is_given = True

    @forgetful
    def __iadd__(self, values: Iterable[str | None]) -> Self:  # type: ignore[override] # None is dropped
        self.extend(values)
        return self

    def __copy__(self) -> KeyList:
        return KeyList(self, is_given=self.is_given)

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(_NEVER_PICKLED)


class KeyRing:
    """All keys of the running process. Printing it shows labels, sources and last characters only."""

    def __init__(self) -> None:
        self.code: dict[str, KeyList] = {OPENROUTER: KeyList(), HUGGINGFACE: KeyList()}
        self._session: list[Key] = []
        self._dotenv: tuple[object, Mapping[str, str | None]] = (None, {})

    @forgetful
    def add(self, backend: str, key: str, *, label: str | None = None, rpm: float | None = None) -> str:
        """Add a key for this session; to a key that is there already, add its label and its pace.

        Args:
            backend: `openrouter`, `huggingface` or a server that was added with `add_backend`.
            key: the key; blanks and quotes around it are taken off.
            label: what to call it; without one it is numbered.
            rpm: requests per minute it bears; None: unknown.

        Returns:
            How it is shown from now on: its label and last four characters.

        Raises:
            ConfigError: the backend is unknown, or the key cannot be one.
        """
        self._check_backend(backend)
        if rpm is not None and not (isinstance(rpm, Real) and rpm > 0):
            raise ConfigError(f"rpm={rpm!r}: give requests per minute above 0, or leave it out.")
        secret = Secret(key)
        self.remove(backend, key)
        found = Key(
            backend=backend,
            secret=secret,
            label=label or f"key {len(self.of(backend)) + 1}",
            source="session",
            rpm=None if rpm is None else float(rpm),
        )
        self._session.append(found)
        return found.shown

    @forgetful
    def remove(self, backend: str, key: str) -> bool:
        """Take a key out of this session, by its value, its label or its last characters; say whether one was there."""
        self._check_backend(backend)
        wanted = str(key).strip()
        kept = [k for k in self._session if k.backend != backend or not _is_meant(k, wanted)]
        is_found = len(kept) < len(self._session)
        self._session = kept
        return is_found

    def of(self, backend: str) -> tuple[Key, ...]:
        """Return the keys of a backend in the order they are asked, each once; of a chat model object none."""
        if backend not in self.code:
            return ()
        found: dict[Secret, Key] = {}
        session = {key.secret: key for key in self._session if key.backend == backend}
        for source, value in self._sources(backend):
            if source == "session":
                found |= {secret: key for secret, key in session.items() if secret not in found}
            elif (secret := _secret_of(value, source)) is not None and secret not in found:
                key = Key(backend=backend, secret=secret, label=f"key {len(found) + 1}", source=source)
                told = session.get(secret, key)
                found[secret] = replace(key, label=told.label, rpm=told.rpm)
        return tuple(found.values())

    def save_session(self) -> Callable[[], None]:
        """Return what puts the session's keys back as they are now, and take them out until then."""
        kept, self._session = self._session, []

        def restore() -> None:
            self._session = kept

        return restore

    def looked_for(self) -> list[str]:
        """Return the places a key is looked for, for a message."""
        return [
            "OPENROUTER_API_KEY, OPENROUTER_KEY_1..n",
            "HF_TOKEN, HF_TOKEN_1..n, HUGGINGFACEHUB_API_TOKEN",
            f"the same names in {DOTENV} of the working folder",
        ]

    def __iter__(self) -> Iterator[Key]:
        for backend in tuple(self.code):
            yield from self.of(backend)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        rows = [f"{key.backend:<12} {key.shown:<18} from {key.source}" for key in self]
        return "\n".join(rows) or "no keys; looked for in " + ", ".join(self.looked_for())

    def _sources(self, backend: str) -> Iterator[tuple[str, str]]:
        """Yield (source, key) in the order of the search; the session's keys stand as one entry."""
        listed = self.code[backend]
        yield from (("code", value) for value in listed)
        yield "session", ""
        if not listed.is_given:
            yield from _named(backend, os.environ, "")
            yield from _named(backend, self._read_dotenv(), f"{DOTENV} ")

    def _read_dotenv(self) -> Mapping[str, str | None]:
        """Return the working folder's .env, read again when it changed; the process environment stays untouched."""
        path = Path(DOTENV)
        try:
            stat = path.stat()
            stamp = (str(path.absolute()), stat.st_mtime_ns, stat.st_size)
            if self._dotenv[0] != stamp:
                self._dotenv = (stamp, _keys_in(path) if path.is_file() else {})
        except OSError:  # what is not there holds no keys
            return {}
        return self._dotenv[1]

    def _check_backend(self, backend: str) -> None:
        if backend not in self.code:
            raise ConfigError(f"Unknown backend {backend!r}; there are {', '.join(self.code)}.")


def _keys_in(path: Path) -> Mapping[str, str | None]:
    from dotenv import dotenv_values  # noqa: PLC0415 - only who has a .env pays for the import

    try:
        values = dotenv_values(path, interpolate=False)
    except UnicodeError:
        warnings.warn(f"{DOTENV} is no UTF-8 text, so no key is read from it. Save it as UTF-8.", LLMExecutorWarning, 2)
        return {}
    wanted = {name for backend in _SINGLE for name in _names(backend, values)}
    return {name: KeyText(value) for name, value in values.items() if name in wanted and value is not None}


def _secret_of(value: str, source: str) -> Secret | None:
    """Return a key that was found; of one that cannot be one, say so and go on without it."""
    try:
        return Secret(value)
    except ConfigError as error:
        warnings.warn(f"{source} is left out: {error}", LLMExecutorWarning, stacklevel=2)
        return None


def _is_meant(key: Key, wanted: str) -> bool:
    return wanted in (key.secret.reveal(), key.label, key.secret.ending, key.secret.ending.lstrip("."), key.shown)


def _named(backend: str, values: Mapping[str, str | None], where: str) -> Iterator[tuple[str, str]]:
    for name in _names(backend, values):
        if value := (values.get(name) or "").strip().strip("\"'"):
            yield f"{where}{name}", value


def _names(backend: str, values: Mapping[str, Any]) -> list[str]:
    """Return the variables of a backend that there are: the plain ones, then the numbered ones in order."""
    prefix = _NUMBERED[backend]
    numbered = [name for name in values if name.startswith(prefix) and name[len(prefix) :].isdecimal()]
    return [n for n in _SINGLE[backend] if n in values] + sorted(numbered, key=lambda n: int(n[len(prefix) :]))


def _checked(values: Iterable[str | None]) -> list[str]:
    if isinstance(values, str):
        raise ConfigError("Give a list of keys, not one text: OPENROUTER_KEYS = [key].")
    return [KeyText(Secret(value).reveal()) for value in values if value is not None]
