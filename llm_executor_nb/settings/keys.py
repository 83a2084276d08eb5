"""What a user does with keys: `llm.keys`. Tab shows the methods here and nothing else; the keys are in the key ring.

Only `save` and `forget_saved` write anything. Labels, order and what is disabled hold for this session.
"""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, NoReturn, SupportsIndex

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import scrub
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key
from llm_executor_nb.core.secret import Secret, forgetful
from llm_executor_nb.settings.key_list import NEVER_PICKLED
from llm_executor_nb.settings.key_ring import OWN_SOURCES, free_label
from llm_executor_nb.settings.saved_keys import FILE, KEYRING, Place, Saved, file_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_executor_nb.settings.key_ring import KeyRing

_LONGEST_LABEL = 40


class Keys:
    """The keys of the running process. The display shows labels, sources and last characters only.

    A key is named by its label, its last four characters, or both as they are shown: `team`, `..a1b2`, `team ..a1b2`.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    @forgetful
    @noted_as("llm.keys.add")
    def add(self, backend: str, key: str, *, label: str | None = None, rpm: float | None = None) -> str:
        """Add a key for this session. A key that is already there gets the label and the pace, and is enabled.

        Args:
            backend: `openrouter`, `huggingface` or a server that was added with `add_backend`.
            key: the key; spaces and quotes around it are removed.
            label: a name for it; without one it is numbered.
            rpm: the requests per minute it allows; None: unknown.

        Returns:
            How it is shown from now on: its label and last four characters.

        Raises:
            ConfigError: the backend is unknown, the key cannot be one, or another key has the label.
        """
        self._ring.check_backend(backend)
        if rpm is not None and not (isinstance(rpm, Real) and rpm > 0):
            raise ConfigError(f"rpm={rpm!r}: give requests per minute above 0, or leave it out.")
        secret = Secret(key)
        with self._ring.lock:
            known = self._ring.all_of(backend)
            former = next((one.label for one in known if one.secret == secret), None)
            name = former or free_label(len(known) + 1, {one.label for one in known})
            if label:
                name = self._checked_label(backend, label, secret)
            pace = None if rpm is None else float(rpm)
            self._ring.notes[backend, secret] = Key(backend=backend, secret=secret, label=name, rpm=pace)
            others = (one for one in self._ring.added.get(backend, ()) if one != secret)
            self._ring.added[backend] = (*others, secret)
        return f"{name} {secret.ending}"

    @forgetful
    def remove(self, backend: str, key: str) -> bool:
        """Remove a key from this session, from the list in code, and from where it is saved.

        Returns:
            Whether it was there.

        Raises:
            ConfigError: it also comes from a place that this package does not change, such as the environment. The
                message names the place; nothing was changed.
        """
        with self._ring.lock:
            if not (matching := self._ring.matching(backend, key)):
                return False
            secret = self._only(backend, matching).secret
            for found in self._ring.search(backend):
                if found.secret == secret and found.source not in OWN_SOURCES:
                    raise ConfigError(
                        f"The key ending in {secret.ending} comes from {found.source}. Remove it there, or leave "
                        f"it unused in this session: llm.keys.disable({backend!r}, {secret.ending!r}).",
                    )
            if self._ring.saved_in(backend, secret):
                self._ring.saved.forget(backend, secret)
            in_code = self._ring.code[backend]
            for number in reversed([n for n, value in enumerate(in_code) if Secret(value) == secret]):
                del in_code[number]  # in place: the user may have imported this list by name
            self._ring.added[backend] = tuple(one for one in self._ring.added.get(backend, ()) if one != secret)
            self._ring.notes.pop((backend, secret), None)
        return True

    @forgetful
    def rename(self, backend: str, key: str, label: str) -> str:
        """Give a key another label for this session; return how it is shown from now on.

        Raises:
            ConfigError: the key does not exist, or another key has the label.
        """
        with self._ring.lock:
            secret = self._one(backend, key).secret
            name = self._checked_label(backend, label, secret)
            self._ring.notes[backend, secret] = replace(self._ring.note(backend, secret), label=name)
        return f"{name} {secret.ending}"

    @forgetful
    def move(self, backend: str, key: str, to: int) -> None:
        """Move a key to a position in the order of its backend, for this session.

        Args:
            backend: the key's backend.
            key: its label or last characters.
            to: 1 is the first position; a position beyond the end is the last one.

        Raises:
            ConfigError: the key or the position does not exist.
        """
        if not isinstance(to, int) or to < 1:
            raise ConfigError(f"to={to!r}: the first position is 1.")
        with self._ring.lock:
            secret = self._one(backend, key).secret
            others = [one.secret for one in self._ring.all_of(backend) if one.secret != secret]
            self._ring.order[backend] = (*others[: to - 1], secret, *others[to - 1 :])

    @forgetful
    def disable(self, backend: str, key: str) -> None:
        """Leave a key unused in this session.

        Raises:
            ConfigError: the key does not exist.
        """
        self._enable(backend, key, is_enabled=False)

    @forgetful
    def enable(self, backend: str, key: str) -> None:
        """Use a disabled key again.

        Raises:
            ConfigError: the key does not exist.
        """
        self._enable(backend, key, is_enabled=True)

    @forgetful
    @noted_as("llm.keys.save")
    def save(self, backend: str, key: str, *, to: Place = "keyring") -> str:
        """Save a key with its label and its pace for later sessions. It is deleted from the other place.

        Args:
            backend: `openrouter` or `huggingface`.
            key: its label or last characters.
            to: `keyring`, the system's own (an extra), or `file`, one with mode 0600 in your configuration folder.

        Returns:
            The place, in words.

        Raises:
            ConfigError: the key does not exist, a rehearsal is running, or the place cannot be used.
        """
        if to not in (KEYRING, FILE):
            raise ConfigError(f"to={to!r}: keys are saved to 'keyring' or to 'file'.")
        if backend not in (OPENROUTER, HUGGINGFACE):
            raise ConfigError("Keys of openrouter and huggingface can be saved; others go with llm.add_backend(...).")
        self._refuse_in_rehearsal()
        with self._ring.lock:
            one = self._one(backend, key)
            self._ring.saved.save(Saved(backend=backend, label=one.label, secret=one.secret, rpm=one.rpm), to)
        return "the system's keyring" if to == KEYRING else str(file_path())

    @forgetful
    def forget_saved(self, backend: str, key: str) -> bool:
        """Delete a key from where it was saved; this session keeps it. Return whether it was saved.

        Raises:
            ConfigError: the key does not exist, a rehearsal is running, or the place cannot be changed.
        """
        self._refuse_in_rehearsal()
        with self._ring.lock:
            one = self._one(backend, key)
            was_saved = self._ring.saved.forget(backend, one.secret)
            if was_saved and one.source not in ("code", "session"):
                self._ring.notes[backend, one.secret] = one
                self._ring.added[backend] = (*self._ring.added.get(backend, ()), one.secret)
        return was_saved

    def refresh(self) -> None:
        """Look for keys again: `.env`, a service's secrets, the Hugging Face login, the keyring, the key file."""
        self._ring.refresh()

    def __iter__(self) -> Iterator[Key]:
        return iter(self._ring)

    def __len__(self) -> int:
        return len(self._ring)

    def __repr__(self) -> str:
        return repr(self._ring)

    def _repr_html_(self) -> str | None:
        return self._ring._repr_html_()

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(NEVER_PICKLED)

    def _enable(self, backend: str, key: str, *, is_enabled: bool) -> None:
        with self._ring.lock:
            secret = self._one(backend, key).secret
            self._ring.notes[backend, secret] = replace(self._ring.note(backend, secret), is_enabled=is_enabled)

    def _one(self, backend: str, text: str) -> Key:
        return self._only(backend, self._ring.matching(backend, text))

    def _only(self, backend: str, matching: list[Key]) -> Key:
        if len(matching) == 1:
            return matching[0]
        # the user's own text is never repeated: it may be a key
        shown = ", ".join(key.shown for key in matching or self._ring.all_of(backend)) or "none"
        if matching:
            raise ConfigError(
                f"Several keys of {backend} have this name: {shown}. Name one by label and last characters."
            )
        raise ConfigError(f"{backend} has no key of this name. There are: {shown}.")

    def _checked_label(self, backend: str, label: str, secret: Secret) -> str:
        name = label.strip() if isinstance(label, str) else ""
        if not name.isprintable() or not 0 < len(name) <= _LONGEST_LABEL:
            raise ConfigError(f"A label is a text of 1 to {_LONGEST_LABEL} characters in one line.")
        if scrub(name) != name:
            raise ConfigError("This label looks like a key, and labels are shown. Call it 'team' or 'private'.")
        if any(key.label == name and key.secret != secret for key in self._ring.all_of(backend)):
            raise ConfigError(f"Another key of {backend} is called {name!r}. Give another label.")
        return name

    def _refuse_in_rehearsal(self) -> None:
        if self._ring.is_practice:
            raise ConfigError("In a rehearsal no key is saved or deleted. End it first.")
