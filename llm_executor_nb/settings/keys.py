"""The key ring: which keys there are, where each came from, in which order they are asked, and which are not.

Looked for at first need, never at import. In this order: given in code, this session's (the panel's), the
environment, the working folder's `.env`, Colab's secrets, the saved Hugging Face login, the system's keyring, the key
file. A list given in code ends the search. Nothing is written anywhere but by `save` and `forget_saved`; labels, order
and what is disabled hold for this session. In a rehearsal saved keys are neither read nor written.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, NoReturn, SupportsIndex

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key
from llm_executor_nb.core.secret import Secret, forgetful, scrub
from llm_executor_nb.settings import key_sources
from llm_executor_nb.settings.key_lines import KeyLine, as_html, as_text
from llm_executor_nb.settings.key_list import NEVER_PICKLED, KeyList, KeyText
from llm_executor_nb.settings.key_sources import Found, KeySources
from llm_executor_nb.settings.saved_keys import FILE, KEYRING, Place, Saved, SavedKeys, file_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

__all__ = ["KeyList", "KeyRing", "KeyText"]
_LONGEST_LABEL = 40
_NEXT_STEP = (
    "Add one with llm.keys.add('openrouter', key) or in llm.panel(); to practise without a key: with llm.rehearse():"
)
_OURS = ("code", "session", f"saved in the {KEYRING}", f"saved in the {FILE}")
"""The sources that `remove` can take a key out of."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What the user said of a key in this session."""

    label: str | None = None
    rpm: float | None = None
    is_disabled: bool = False


class KeyRing:
    """All keys of the running process. Printing it shows labels, sources and last characters only.

    A key is named by its label, its last four characters, or both as they are shown: `team`, `..a1b2`, `team ..a1b2`.

    Attributes:
        code: backend -> the list given in code.
        is_rehearsing: saved keys are neither read nor written.
    """

    def __init__(self) -> None:
        self.code: dict[str, KeyList] = {OPENROUTER: KeyList(), HUGGINGFACE: KeyList()}
        self.is_rehearsing = False
        self._session: dict[str, tuple[Secret, ...]] = {}
        self._told: dict[tuple[str, Secret], _Told] = {}
        self._order: dict[str, tuple[Secret, ...]] = {}
        self._sources = KeySources()
        self._saved = SavedKeys()
        self._lock = threading.RLock()

    @forgetful
    def add(self, backend: str, key: str, *, label: str | None = None, rpm: float | None = None) -> str:
        """Add a key for this session; to a key that is there already, add its label and its pace, and enable it.

        Args:
            backend: `openrouter`, `huggingface` or a server that was added with `add_backend`.
            key: the key; blanks and quotes around it are taken off.
            label: what to call it; without one it is numbered.
            rpm: requests per minute it bears; None: unknown.

        Returns:
            How it is shown from now on: its label and last four characters.

        Raises:
            ConfigError: the backend is unknown, the key cannot be one, or another key has the label.
        """
        self._check_backend(backend)
        if rpm is not None and not (isinstance(rpm, Real) and rpm > 0):
            raise ConfigError(f"rpm={rpm!r}: give requests per minute above 0, or leave it out.")
        secret = Secret(key)
        with self._lock:
            there = self._all_of(backend)
            called = next((one.label for one in there if one.secret == secret), None)
            name = called or _free_label(len(there) + 1, {one.label for one in there})
            if label:
                name = self._checked_label(backend, label, secret)
            self._told[backend, secret] = _Told(label=name, rpm=None if rpm is None else float(rpm))
            mine = self._session.get(backend, ())
            self._session[backend] = (*(one for one in mine if one != secret), secret)
        return f"{name} {secret.ending}"

    @forgetful
    def remove(self, backend: str, key: str) -> bool:
        """Take a key out of this session, of the list in code, and of where it is saved; say whether it was there.

        Raises:
            ConfigError: it also comes from a place that is not ours to change, such as the environment; the message
                names it, and nothing was changed.
        """
        with self._lock:
            if not (found := self._matching(backend, key)):
                return False
            secret = self._the_one(backend, found).secret
            for place in self._search(backend):
                if place.secret == secret and place.source not in _OURS:
                    raise ConfigError(
                        f"The key ending in {secret.ending} comes from {place.source}. Take it out there, or leave "
                        f"it unused in this session: llm.keys.disable({backend!r}, {secret.ending!r}).",
                    )
            if self._saved_in(backend, secret):
                self._saved.forget(backend, secret)
            listed = self.code[backend]
            for number in reversed([n for n, value in enumerate(listed) if Secret(value) == secret]):
                del listed[number]
            self._session[backend] = tuple(one for one in self._session.get(backend, ()) if one != secret)
            self._told.pop((backend, secret), None)
        return True

    @forgetful
    def rename(self, backend: str, key: str, label: str) -> str:
        """Give a key another label for this session; return how it is shown from now on.

        Raises:
            ConfigError: there is no such key, or another key has the label.
        """
        with self._lock:
            secret = self._one(backend, key).secret
            name = self._checked_label(backend, label, secret)
            self._told[backend, secret] = replace(self._said_of(backend, secret), label=name)
        return f"{name} {secret.ending}"

    @forgetful
    def move(self, backend: str, key: str, to: int) -> None:
        """Let a key be asked as the first (`to=1`), second, ... of its backend in this session; beyond the end: last.

        Raises:
            ConfigError: there is no such key, or no such position.
        """
        if not isinstance(to, int) or to < 1:
            raise ConfigError(f"to={to!r}: the first position is 1.")
        with self._lock:
            secret = self._one(backend, key).secret
            others = [one.secret for one in self._all_of(backend) if one.secret != secret]
            self._order[backend] = (*others[: to - 1], secret, *others[to - 1 :])

    @forgetful
    def disable(self, backend: str, key: str) -> None:
        """Leave a key unused in this session.

        Raises:
            ConfigError: there is no such key.
        """
        self._set_disabled(backend, key, is_disabled=True)

    @forgetful
    def enable(self, backend: str, key: str) -> None:
        """Use a key again that was disabled.

        Raises:
            ConfigError: there is no such key.
        """
        self._set_disabled(backend, key, is_disabled=False)

    @forgetful
    def save(self, backend: str, key: str, *, to: Place = "keyring") -> str:
        """Save a key with its label and its pace, so that later sessions find it; from the other place it is taken.

        Args:
            backend: `openrouter` or `huggingface`.
            key: its label or last characters.
            to: `keyring`, the system's own (an extra), or `file`, one with mode 0600 in your configuration folder.

        Returns:
            Where it is, in words.

        Raises:
            ConfigError: there is no such key, a rehearsal is running, or the place cannot be used.
        """
        if to not in (KEYRING, FILE):
            raise ConfigError(f"to={to!r}: keys are saved to 'keyring' or to 'file'.")
        if backend not in (OPENROUTER, HUGGINGFACE):
            raise ConfigError("Keys of openrouter and huggingface can be saved; others go with llm.add_backend(...).")
        self._refuse_in_rehearsal()
        with self._lock:
            one = self._one(backend, key)
            self._saved.save(Saved(backend=backend, label=one.label, secret=one.secret, rpm=one.rpm), to)
        return "the system's keyring" if to == KEYRING else str(file_path())

    @forgetful
    def forget_saved(self, backend: str, key: str) -> bool:
        """Delete a key from where it was saved; this session keeps it. Say whether it was saved.

        Raises:
            ConfigError: there is no such key, a rehearsal is running, or the place cannot be changed.
        """
        self._refuse_in_rehearsal()
        with self._lock:
            one = self._one(backend, key)
            is_saved = self._saved.forget(backend, one.secret)
            if is_saved and one.source not in ("code", "session"):
                said = self._said_of(backend, one.secret)
                self._told[backend, one.secret] = replace(said, label=one.label, rpm=one.rpm)
                self._session[backend] = (*self._session.get(backend, ()), one.secret)
        return is_saved

    def refresh(self) -> None:
        """Look for keys anew in `.env`, Colab's secrets, the Hugging Face login, the keyring and the key file."""
        with self._lock:
            self._sources.refresh()
            self._saved.refresh()

    def of(self, backend: str) -> tuple[Key, ...]:
        """Return the keys of a backend that are asked, in order, each once; of a chat model object none."""
        return tuple(key for key in self._all_of(backend) if not self._said_of(backend, key.secret).is_disabled)

    def lines(self) -> tuple[KeyLine, ...]:
        """Return what may be shown of each key, disabled ones too, in the order they are asked."""
        return tuple(
            KeyLine(
                backend=key.backend,
                label=key.label,
                ending=key.secret.ending,
                source=key.source,
                saved_in=self._saved_in(key.backend, key.secret),
                is_enabled=not self._said_of(backend, key.secret).is_disabled,
                rpm=key.rpm,
            )
            for backend in tuple(self.code)
            for key in self._all_of(backend)
        )

    def put_code(self, backend: str, keys: KeyList) -> None:
        """Put another list in the place of the one given in code; its order counts again."""
        self.code[backend] = keys
        self._order.pop(backend, None)

    def save_session(self) -> Callable[[], None]:
        """Return what brings back the session's keys and what was said of keys; until then there are none."""
        kept = self._session, self._told, self._order, self.is_rehearsing
        self._session, self._told, self._order = {}, {}, {}

        def restore() -> None:
            self._session, self._told, self._order, self.is_rehearsing = kept

        return restore

    def looked_for(self, backends: Iterable[str] = (OPENROUTER, HUGGINGFACE)) -> list[str]:
        """Return the places a key of some backends is looked for, for a message."""
        return [*key_sources.looked_for(backends), f"what llm.keys.save kept (keyring, {file_path()})"]

    def __iter__(self) -> Iterator[Key]:
        for backend in tuple(self.code):
            yield from self.of(backend)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return as_text(self.lines()) or f"no keys; looked for in {', '.join(self.looked_for())}. {_NEXT_STEP}"

    def _repr_html_(self) -> str | None:
        """Return a table of the keys; None, and so the text, when there are none."""
        return as_html(lines) if (lines := self.lines()) else None

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(NEVER_PICKLED)

    def _all_of(self, backend: str) -> tuple[Key, ...]:
        """Return all keys of a backend in order, the disabled ones too."""
        if backend not in self.code:
            return ()
        found: dict[Secret, Found] = {}
        for one in self._search(backend):
            first = found.setdefault(one.secret, one)
            if first.label is None and one.label is not None:
                found[one.secret] = replace(first, label=one.label, rpm=first.rpm or one.rpm)
        order = {secret: number for number, secret in enumerate(self._order.get(backend, ()))}
        return tuple(sorted(self._named(backend, found.values()), key=lambda key: order.get(key.secret, len(order))))

    def _named(self, backend: str, found: Collection[Found]) -> Iterator[Key]:
        """Yield keys with what the user said of them; who has no label gets its number, which no move changes."""
        told = [self._said_of(backend, one.secret) for one in found]
        labels = [said.label or one.label for said, one in zip(told, found, strict=True)]
        taken = set(labels)
        for number, (said, one, label) in enumerate(zip(told, found, labels, strict=True), start=1):
            name = label or _free_label(number, taken)
            taken.add(name)
            yield Key(backend=backend, secret=one.secret, label=name, source=one.source, rpm=said.rpm or one.rpm)

    def _search(self, backend: str) -> Iterator[Found]:
        """Yield the keys of a backend in the order of the search, each as often as it is found."""
        listed = self.code[backend]
        for value in tuple(listed):
            yield Found(secret=Secret(value), source="code")
        for secret in self._session.get(backend, ()):
            yield Found(secret=secret, source="session")
        if listed.is_given:
            return
        yield from self._sources.handed_down(backend)
        if not self.is_rehearsing:
            yield from self._sources.kept_elsewhere(backend)
            for saved in self._saved.of(backend):
                yield from saved.found()

    def _saved_in(self, backend: str, secret: Secret) -> str:
        if self.is_rehearsing:
            return ""
        return next((one.place for one in self._saved.of(backend) if one.secret == secret), "")

    def _said_of(self, backend: str, secret: Secret) -> _Told:
        return self._told.get((backend, secret), _Told())

    def _set_disabled(self, backend: str, key: str, *, is_disabled: bool) -> None:
        with self._lock:
            secret = self._one(backend, key).secret
            self._told[backend, secret] = replace(self._said_of(backend, secret), is_disabled=is_disabled)

    def _matching(self, backend: str, key: str) -> list[Key]:
        """Return the keys that a text means: by value, else by label, else by last characters."""
        self._check_backend(backend)
        wanted, there = str(key).strip(), self._all_of(backend)
        for names in (_values, _labels, _endings):
            if found := [one for one in there if wanted in names(one)]:
                return found
        return []

    def _one(self, backend: str, key: str) -> Key:
        return self._the_one(backend, self._matching(backend, key))

    def _the_one(self, backend: str, found: list[Key]) -> Key:
        if len(found) == 1:
            return found[0]
        shown = ", ".join(one.shown for one in found or self._all_of(backend)) or "none"
        if found:
            raise ConfigError(
                f"Several keys of {backend} are called so: {shown}. Name one by label and last characters."
            )
        raise ConfigError(f"There is no such key of {backend}. There are: {shown}.")

    def _checked_label(self, backend: str, label: str, secret: Secret) -> str:
        name = label.strip() if isinstance(label, str) else ""
        if not name.isprintable() or not 0 < len(name) <= _LONGEST_LABEL:
            raise ConfigError(f"A label is a text of 1 to {_LONGEST_LABEL} characters in one line.")
        if scrub(name) != name:
            raise ConfigError("This label looks like a key, and labels are shown. Call it 'team' or 'private'.")
        if any(one.label == name and one.secret != secret for one in self._all_of(backend)):
            raise ConfigError(f"Another key of {backend} is called {name!r}. Give another label.")
        return name

    def _refuse_in_rehearsal(self) -> None:
        if self.is_rehearsing:
            raise ConfigError("In a rehearsal no key is saved or deleted. End it first.")

    def _check_backend(self, backend: str) -> None:
        if backend not in self.code:
            raise ConfigError(f"Unknown backend {backend!r}; there are {', '.join(self.code)}.")


def _free_label(number: int, taken: set[str] | set[str | None]) -> str:
    while f"key {number}" in taken:
        number += 1
    return f"key {number}"


def _values(key: Key) -> tuple[str, ...]:
    return (key.secret.reveal(),)


def _labels(key: Key) -> tuple[str, ...]:
    return key.label, key.shown


def _endings(key: Key) -> tuple[str, ...]:
    return key.secret.ending, key.secret.ending.lstrip(".")
