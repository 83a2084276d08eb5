"""Keys that a user saved: in the system's keyring, or in a file that only its owner can read.

`keys.json` in the user's configuration folder lists them: a key in the file itself, or its name in the keyring. So a
user who saved nothing is never asked to unlock a keyring. keyring (macOS Keychain, Windows Credential Locker, Secret
Service) is an extra, loaded when a key is saved there or is listed as saved there.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from llm_executor_nb.core.errors import ConfigError, MissingExtraError, warn
from llm_executor_nb.core.install_line import install_line
from llm_executor_nb.core.records import Key
from llm_executor_nb.core.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")
SERVICE = "llm_executor_nb"
Place = Literal["keyring", "file"]
KEYRING: Place = "keyring"
FILE: Place = "file"
_RECOMMENDED = 1
"""keyring's own bound: below it are stand-ins, such as a file of plain text or nothing at all."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """One saved key.

    Attributes:
        backend: whom it opens.
        label: what the user calls it.
        secret: the key; None: it is in the keyring, which was not asked yet or did not give it.
        rpm: the requests per minute it allows; None: unknown.
        name: its name in the keyring; None: it is in the file.
    """

    backend: str
    label: str
    secret: Secret | None
    rpm: float | None = None
    name: str | None = None

    @property
    def place(self) -> Place:
        """Where it is."""
        return FILE if self.name is None else KEYRING

    def keys(self) -> Iterator[Key]:
        """Yield it as a key of the ring, if it can be read."""
        if self.secret is not None:
            source = f"saved in the {self.place}"
            yield Key(backend=self.backend, secret=self.secret, label=self.label, source=source, rpm=self.rpm)


class SavedKeys:
    """The saved keys of this user.

    Args:
        wait_s: seconds a user has to unlock the keyring.
    """

    def __init__(self, *, wait_s: float = 30.0) -> None:
        self._wait_s = wait_s
        self._read: tuple[object, tuple[Saved, ...]] = (None, ())
        self._unlocked: dict[str, Secret | None] = {}

    def of(self, backend: str) -> tuple[Saved, ...]:
        """Return the saved keys of a backend, those of the keyring first. The keyring is asked once for each key.

        A file that others can read, or that cannot be read, holds no keys; the user is warned once.
        """
        of_backend = [saved for saved in self._listed() if saved.backend == backend]
        return tuple(sorted(map(self._unlock, of_backend), key=lambda saved: saved.place != KEYRING))

    def save(self, saved: Saved, place: Place) -> None:
        """Save a key in one of the places, and delete it from the other.

        Raises:
            ConfigError: the place cannot be used; nothing was changed.
        """
        if saved.secret is None:
            raise ConfigError("This key has no value that could be saved.")
        before = self._for_change()
        former = [one for one in before if self._is(one, saved.backend, saved.secret)]
        in_keyring = next((one.name for one in former if one.name), None) or f"{saved.backend}-{secrets.token_hex(4)}"
        name = in_keyring if place == KEYRING else None
        # first the new place, then the list, last the old place: a failure in between loses no key
        if name is not None:
            _write_to_keyring(name, saved.secret.reveal(), self._wait_s)
            self._unlocked[name] = saved.secret
        self._write([one for one in before if one not in former] + [replace(saved, name=name)])
        self._delete_names([one for one in former if one.name != name])

    def forget(self, backend: str, secret: Secret) -> bool:
        """Delete a key from where it is saved; return whether it was saved.

        Raises:
            ConfigError: the file cannot be read or written, or the keyring does not answer.
        """
        if not file_path().exists():
            return False
        before = self._for_change()
        deleted = [one for one in before if self._is(one, backend, secret)]
        if deleted:
            self._delete_names(deleted)
            self._write([one for one in before if one not in deleted])
        return bool(deleted)

    def refresh(self) -> None:
        """Read the file and ask the keyring again at the next need."""
        self._read, self._unlocked = (None, ()), {}

    def _is(self, one: Saved, backend: str, secret: Secret) -> bool:
        return one.backend == backend and self._unlock(one).secret == secret

    def _unlock(self, saved: Saved) -> Saved:
        if saved.name is None:
            return saved
        if saved.name not in self._unlocked:
            self._unlocked[saved.name] = _from_keyring(saved, self._wait_s)
        return replace(saved, secret=self._unlocked[saved.name])

    def _listed(self) -> tuple[Saved, ...]:
        path = file_path()
        try:
            stat_of = path.stat()
        except OSError:  # the usual case: nothing was ever saved
            return ()
        stamp = (str(path), stat_of.st_mtime_ns, stat_of.st_size, stat_of.st_mode, stat_of.st_ino)
        if self._read[0] != stamp:
            self._read = (stamp, _entries_or_warning(path))
        return self._read[1]

    def _for_change(self) -> list[Saved]:
        return list(_entries(file_path())) if file_path().exists() else []

    def _delete_names(self, deleted: list[Saved]) -> None:
        for name in [one.name for one in deleted if one.name is not None]:
            _delete_from_keyring(name, self._wait_s)
            self._unlocked.pop(name, None)

    def _write(self, entries: list[Saved]) -> None:
        path = file_path()
        if entries:
            _write_privately(path, json.dumps({"version": 1, "keys": [_as_json(one) for one in entries]}, indent=1))
        else:
            path.unlink(missing_ok=True)


def file_path() -> Path:
    """Return where the key file is, or would be."""
    from platformdirs import user_config_path  # noqa: PLC0415 - costs a look at the system at import

    return user_config_path("llm_executor_nb", appauthor=False) / "keys.json"


# --- the keyring -------------------------------------------------------------------------------------------------


def _from_keyring(saved: Saved, wait_s: float) -> Secret | None:
    try:
        keyring = _load_keyring()
        value = _within(lambda: keyring.get_password(SERVICE, saved.name), wait_s)
        return None if value is None else Secret(value)
    except ConfigError as error:
        warn(f"The saved key {saved.label!r} is left out: {error}")
        return None


def _write_to_keyring(name: str, key: str, wait_s: float) -> None:
    keyring = _load_keyring()
    if _within(lambda: _priority_of(keyring.get_keyring()), wait_s) < _RECOMMENDED:
        raise ConfigError(
            "This machine has no keyring service that protects keys. Save keys in a file that only you can read: "
            "llm.keys.save(backend, label, to='file').",
        )
    _within(lambda: keyring.set_password(SERVICE, name, key), wait_s)


def _delete_from_keyring(name: str, wait_s: float) -> None:
    keyring = _load_keyring()

    def delete() -> None:
        if keyring.get_password(SERVICE, name) is not None:  # the user may have deleted it there
            keyring.delete_password(SERVICE, name)

    _within(delete, wait_s)


def _load_keyring() -> Any:  # noqa: ANN401 - an optional library's module
    try:
        import keyring  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtraError(
            f"The system's keyring needs the package keyring. Type: {install_line('keyring')}\n"
            "Without it, keys can be saved in a file that only you can read: llm.keys.save(backend, label, to='file').",
        ) from None
    return keyring


def _priority_of(keyring: Any) -> float:  # noqa: ANN401 - an optional library's object
    """Return how good a keyring is; of a chain of keyrings, how good the one is that it writes to."""
    members = getattr(keyring, "backends", None) or [keyring]
    return max(float(member.priority) for member in members)


def _within(question: Callable[[], T], wait_s: float) -> T:
    """Return the keyring's answer to a question.

    A locked keyring may open a dialogue and wait for the user. So the question runs in a thread of its own, and is
    given up after `wait_s` seconds.

    Raises:
        ConfigError: the keyring failed or did not answer; the message shows no key.
    """
    answers: list[T] = []
    failures: list[str] = []

    def work() -> None:
        try:
            answers.append(question())
        except Exception as error:  # noqa: BLE001 - each keyring raises its own, and their texts may hold a key
            failures.append(type(error).__name__)

    thread = threading.Thread(target=work, name="llm_executor_nb keyring", daemon=True)
    thread.start()
    thread.join(wait_s)
    if answers:
        return answers[0]
    why = f"failed ({failures[0]})" if failures else f"did not answer within {wait_s:.0f} s"
    raise ConfigError(f"The system's keyring {why}. Unlock it, then llm.keys.refresh().")


# --- the file ----------------------------------------------------------------------------------------------------


def _entries_or_warning(path: Path) -> tuple[Saved, ...]:
    try:
        return _entries(path)
    except ConfigError as error:
        warn(f"{error}")
        return ()


def _entries(path: Path) -> tuple[Saved, ...]:
    try:
        with path.open(encoding="utf-8") as file:
            _refuse_if_open_to_others(path, os.fstat(file.fileno()).st_mode)
            return tuple(map(_from_json, json.load(file)["keys"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"The key file {path} cannot be read ({type(error).__name__}), so no key is taken from it. "
            "Repair it, or delete it and save your keys again.",
        ) from None


def _refuse_if_open_to_others(path: Path, mode: int) -> None:
    if os.name == "posix" and mode & _OTHERS:
        raise ConfigError(
            f"The key file {path} can be read by others (mode {stat.S_IMODE(mode):04o}), so no key is taken from it. "
            f"Type: chmod 600 '{path}'",
        )


def _as_json(saved: Saved) -> dict[str, Any]:
    entry: dict[str, Any] = {"backend": saved.backend, "label": saved.label}
    if saved.rpm is not None:
        entry["rpm"] = saved.rpm
    if saved.name is not None:
        return {**entry, "keyring": saved.name}
    return {**entry, "key": saved.secret.reveal() if saved.secret else ""}


def _from_json(entry: dict[str, Any]) -> Saved:
    name = entry.get("keyring")
    return Saved(
        backend=str(entry["backend"]),
        label=str(entry["label"]),
        rpm=None if entry.get("rpm") is None else float(entry["rpm"]),
        name=name,
        secret=Secret(entry["key"]) if name is None else None,
    )


def _write_privately(path: Path, text: str) -> None:
    """Replace a file as a whole. No other user can read it at any moment: mode 0600 is set before the first byte."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({type(error).__name__}); nothing was saved.") from None
