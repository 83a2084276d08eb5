"""Keys that were saved on request: in the system's keyring, or in a file that only its owner can read.

`keys.json` in the user's configuration folder lists them, with the key itself for those kept in the file and the
name in the keyring for those kept there. So nobody who saved nothing is ever asked to unlock a keyring. The file is
made with mode 0600 before a byte is written to it; one that others can read is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from llm_executor_nb.core.errors import ConfigError, LLMExecutorWarning
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.settings import key_service
from llm_executor_nb.settings.key_sources import Found

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Place = Literal["keyring", "file"]
KEYRING: Place = "keyring"
FILE: Place = "file"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """One saved key.

    Attributes:
        backend: whom it opens.
        label: what the user calls it.
        secret: the key; None: it is in the keyring, which has not been asked or did not give it.
        rpm: requests per minute it bears; None: unknown.
        name: its name in the keyring; None: it is kept in the file.
    """

    backend: str
    label: str
    secret: Secret | None
    rpm: float | None = None
    name: str | None = None

    @property
    def place(self) -> Place:
        """Where it is kept."""
        return FILE if self.name is None else KEYRING

    def found(self) -> Iterator[Found]:
        """Yield it as a key that was found, if it can be read."""
        if self.secret is not None:
            yield Found(secret=self.secret, source=f"saved in the {self.place}", label=self.label, rpm=self.rpm)


class SavedKeys:
    """The saved keys of this user."""

    def __init__(self) -> None:
        self._read: tuple[object, tuple[Saved, ...]] = (None, ())
        self._unlocked: dict[str, Secret | None] = {}

    def of(self, backend: str) -> tuple[Saved, ...]:
        """Return the saved keys of a backend, those of the keyring first; it is asked once for each.

        A file that others can read, or that cannot be read, is warned of once and holds no keys.
        """
        mine = [saved for saved in self._listed() if saved.backend == backend]
        return tuple(sorted(map(self._unlock, mine), key=lambda saved: saved.place != KEYRING))

    def save(self, saved: Saved, place: Place) -> None:
        """Keep a key in one of the places, and nowhere else.

        Raises:
            ConfigError: the place cannot be used; what was saved before is as it was.
        """
        if saved.secret is None:
            raise ConfigError("There is no key to save.")
        before = self._for_change()
        former = [one for one in before if self._is(one, saved.backend, saved.secret)]
        kept = next((one.name for one in former if one.name), None) or f"{saved.backend}-{secrets.token_hex(4)}"
        name = kept if place == KEYRING else None
        if name is not None:
            key_service.write(name, saved.secret.reveal())
            self._unlocked[name] = saved.secret
        self._write([one for one in before if one not in former] + [replace(saved, name=name)])
        self._delete_names([one for one in former if one.name != name])

    def forget(self, backend: str, secret: Secret) -> bool:
        """Delete a key from where it is saved; say whether it was.

        Raises:
            ConfigError: the file cannot be read or written, or the keyring does not answer.
        """
        if not file_path().exists():
            return False
        before = self._for_change()
        gone = [one for one in before if self._is(one, backend, secret)]
        if gone:
            self._delete_names(gone)
            self._write([one for one in before if one not in gone])
        return bool(gone)

    def refresh(self) -> None:
        """Forget what was read, so that file and keyring are asked again."""
        self._read, self._unlocked = (None, ()), {}

    def _is(self, one: Saved, backend: str, secret: Secret) -> bool:
        return one.backend == backend and self._unlock(one).secret == secret

    def _unlock(self, saved: Saved) -> Saved:
        if saved.name is None:
            return saved
        if saved.name not in self._unlocked:
            self._unlocked[saved.name] = _from_keyring(saved)
        return replace(saved, secret=self._unlocked[saved.name])

    def _listed(self) -> tuple[Saved, ...]:
        path = file_path()
        try:
            at = path.stat()
        except OSError:  # the usual case: nothing was ever saved
            return ()
        stamp = (str(path), at.st_mtime_ns, at.st_size, at.st_mode, at.st_ino)
        if self._read[0] != stamp:
            self._read = (stamp, _entries_or_warning(path))
        return self._read[1]

    def _for_change(self) -> list[Saved]:
        return list(_entries(file_path())) if file_path().exists() else []

    def _delete_names(self, gone: list[Saved]) -> None:
        for name in [one.name for one in gone if one.name is not None]:
            key_service.delete(name)
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


def _from_keyring(saved: Saved) -> Secret | None:
    try:
        value = key_service.read(str(saved.name))
        return None if value is None else Secret(value)
    except ConfigError as error:
        warnings.warn(f"The saved key {saved.label!r} is left out: {error}", LLMExecutorWarning, stacklevel=2)
        return None


def _entries_or_warning(path: Path) -> tuple[Saved, ...]:
    try:
        return _entries(path)
    except ConfigError as error:
        warnings.warn(f"{error}", LLMExecutorWarning, stacklevel=2)
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
            "Mend it, or delete it and save your keys again.",
        ) from None


def _refuse_if_open_to_others(path: Path, mode: int) -> None:
    if os.name == "posix" and mode & _OTHERS:
        raise ConfigError(
            f"The key file {path} can be read by others (mode {stat.S_IMODE(mode):04o}), so no key is taken from it. "
            f"Type: chmod 600 '{path}'",
        )


def _as_json(saved: Saved) -> dict[str, Any]:
    told: dict[str, Any] = {"backend": saved.backend, "label": saved.label}
    if saved.rpm is not None:
        told["rpm"] = saved.rpm
    if saved.name is not None:
        return {**told, "keyring": saved.name}
    return {**told, "key": saved.secret.reveal() if saved.secret else ""}


def _from_json(told: dict[str, Any]) -> Saved:
    name = told.get("keyring")
    return Saved(
        backend=str(told["backend"]),
        label=str(told["label"]),
        rpm=None if told.get("rpm") is None else float(told["rpm"]),
        name=name,
        secret=Secret(told["key"]) if name is None else None,
    )


def _write_privately(path: Path, text: str) -> None:
    """Put a file in place of another at once; nobody else can read it at any moment."""
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
