"""The places outside this program that may hold keys: environment, `.env`, Colab's secrets, the Hugging Face login.

Each is read when a key is needed, never at import, and again when it has changed. Colab shows the user a question, so
it is asked once. Nothing here writes anything, not even into the process environment.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import ConfigError, warn
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Key
from llm_executor_nb.core.secret import secret_of
from llm_executor_nb.settings.key_list import KeyText

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

DOTENV = ".env"
COLAB = "Colab's secrets"
LOGIN = "the Hugging Face login"
_SINGLE = {OPENROUTER: ("OPENROUTER_API_KEY",), HUGGINGFACE: ("HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN")}
_SHOWN = {
    OPENROUTER: "OPENROUTER_API_KEY, OPENROUTER_KEY_1..n",
    HUGGINGFACE: "HF_TOKEN, HF_TOKEN_1..n, HUGGINGFACEHUB_API_TOKEN",
}
_NUMBERED = {OPENROUTER: "OPENROUTER_KEY_", HUGGINGFACE: "HF_TOKEN_"}
_NO_LOGIN = "HF_HUB_DISABLE_IMPLICIT_TOKEN"
"""huggingface_hub's own switch: nothing may use the saved login unless the user asks for it."""


class KeySources:
    """The places outside this program, with what each held when it was last read."""

    def __init__(self) -> None:
        self._dotenv: tuple[object, Mapping[str, str | None]] = (None, {})
        self._login: tuple[object, KeyText | None] = (None, None)
        self._colab: dict[str, tuple[Key, ...]] = {}
        self._told: set[tuple[str, tuple[str, ...]]] = set()

    def from_environment(self, backend: str) -> Iterator[Key]:
        """Yield the keys of a backend in the environment."""
        if backend in _SINGLE:
            yield from _named(backend, os.environ, "")

    def from_dotenv(self, backend: str) -> Iterator[Key]:
        """Yield the keys of a backend in the working folder's `.env`."""
        if backend in _SINGLE:
            yield from _named(backend, self._read_dotenv(), f"{DOTENV} ")

    def say_if_from_dotenv(self, backend: str, keys: Iterable[Key]) -> None:
        """Say once that these keys, which are about to be used, are those of a `.env`."""
        found = tuple(f"{key.source} {key.secret.ending}" for key in keys if key.source.startswith(DOTENV))
        if found and (backend, found) not in self._told:
            self._told.add((backend, found))
            warn(
                f"Requests to {backend} use the keys of {Path(DOTENV).absolute()} ({', '.join(found)}), as no other "
                "place has a key for it. If this folder is not your own, give a key of yours: "
                f"llm.keys.add({backend!r}, key).",
            )

    def from_colab_and_login(self, backend: str) -> Iterator[Key]:
        """Yield the keys in Colab's secrets and, for Hugging Face, the saved login."""
        yield from self._ask_colab(backend)
        if backend == HUGGINGFACE and (token := self._read_login()):
            yield from _key(backend, token, LOGIN)

    def refresh(self) -> None:
        """Read every place again at the next need; Colab only if this is the main thread, which can ask it."""
        self._dotenv, self._login = (None, {}), (None, None)
        if _is_main_thread():
            self._colab = {}

    def _read_dotenv(self) -> Mapping[str, str | None]:
        path = Path(DOTENV)
        if (stamp := _stamp(path)) is None:
            return {}
        if self._dotenv[0] != stamp:
            self._dotenv = (stamp, _keys_in(path))
        return self._dotenv[1]

    def _read_login(self) -> KeyText | None:
        if _is_login_off():
            return None
        path = login_path()
        if (stamp := _stamp(path)) is None:
            return None
        if self._login[0] != stamp:
            self._login = (stamp, KeyText(_text_of(path).strip()))
        return self._login[1]

    def _ask_colab(self, backend: str) -> tuple[Key, ...]:
        """Ask Colab's front end, from the main thread only: it never answers another thread."""
        if is_colab() and _is_main_thread() and backend in _SINGLE and backend not in self._colab:
            self._colab[backend] = tuple(_colab_secrets(backend))
        return self._colab.get(backend, ())


def places_of(backends: Iterable[str]) -> list[str]:
    """Return the places of this module where keys of some backends are looked for, for a message."""
    backends = tuple(backends)
    login = f"not used, because {_NO_LOGIN} is set" if _is_login_off() else login_path()
    return [
        f"the environment: {', '.join(_SHOWN[backend] for backend in backends)}",
        *([f"{COLAB}: the same names"] if is_colab() else []),
        *([f"{LOGIN}: {login}"] if HUGGINGFACE in backends else []),
        f"{DOTENV} of the working folder: the same names",
    ]


def _is_login_off() -> bool:
    """Whether the user forbids programs to use the saved login unasked."""
    return os.environ.get(_NO_LOGIN, "").upper() in {"1", "ON", "YES", "TRUE"}


def is_colab() -> bool:
    """Whether this is a Colab kernel. A program started from one has no front end to ask."""
    return "google.colab" in sys.modules


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def login_path() -> Path:
    """Return where `hf auth login` keeps its token, by the rules of huggingface_hub, without loading it."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    path = os.environ.get("HF_TOKEN_PATH") or f"{os.environ.get('HF_HOME') or f'{cache}/huggingface'}/token"
    return Path(os.path.expandvars(path)).expanduser()


def _stamp(path: Path) -> object:
    """Return a value that changes when the file does; None: the file does not exist."""
    try:
        stat = path.stat()
        return (str(path.absolute()), stat.st_mtime_ns, stat.st_size) if path.is_file() else None
    except OSError:  # a file that cannot be read holds no keys for us
        return None


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        warn(f"{path} cannot be read, so no key is taken from it.")
        return ""


def _keys_in(path: Path) -> Mapping[str, str | None]:
    from dotenv import dotenv_values  # noqa: PLC0415 - only a user with a .env pays for the import

    try:
        values = dotenv_values(path, interpolate=False)
    except UnicodeError:
        warn(f"{DOTENV} is not UTF-8 text, so no key is read from it. Save it as UTF-8.")
        return {}
    except OSError:
        return {}
    # key names only: a base URL in the `.env` of a cloned repository could send a key to another server
    wanted = {name for backend in _SINGLE for name in _names(backend, values)}
    return {name: KeyText(value) for name, value in values.items() if name in wanted and value is not None}


def _named(backend: str, values: Mapping[str, str | None], where: str) -> Iterator[Key]:
    for name in _names(backend, values):
        if value := (values.get(name) or "").strip().strip("\"'"):
            yield from _key(backend, value, f"{where}{name}")


def _names(backend: str, values: Mapping[str, Any]) -> list[str]:
    """Return the variables of a backend that are set: the plain ones, then the numbered ones in order."""
    prefix = _NUMBERED[backend]
    numbered = [name for name in values if name.startswith(prefix) and name[len(prefix) :].isdecimal()]
    return [n for n in _SINGLE[backend] if n in values] + sorted(numbered, key=lambda n: int(n[len(prefix) :]))


def _key(backend: str, value: str, source: str) -> Iterator[Key]:
    """Yield a key, without a label yet; warn of a value that cannot be one, and go on without it."""
    try:
        yield Key(backend=backend, secret=secret_of(value), label="", source=source)
    except ConfigError as error:
        warn(f"{source} is left out: {error}")


def _colab_secrets(backend: str) -> Iterator[Key]:
    """Yield the secrets with a backend's names: the plain ones, then the numbered ones until one is missing."""
    for name in _SINGLE[backend]:
        yield from _colab_secret(backend, name)
    for number in range(1, 100):
        keys = list(_colab_secret(backend, f"{_NUMBERED[backend]}{number}"))
        if not keys:
            return
        yield from keys


def _colab_secret(backend: str, name: str) -> Iterator[Key]:
    from google.colab import userdata  # type: ignore[import-not-found] # noqa: PLC0415 - there in Colab only

    try:
        value = userdata.get(name)
    except userdata.SecretNotFoundError:
        return
    except Exception as error:  # noqa: BLE001 - a front end's refusal or silence, of classes it may rename
        warn(
            f"{COLAB} did not give {name} ({type(error).__name__}). Allow it in the key icon on the left, then "
            "llm.keys.refresh().",
        )
        return
    if value:
        yield from _key(backend, value, f"{COLAB} {name}")
