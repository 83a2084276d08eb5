"""Where keys are found that nobody handed over: environment, `.env`, Colab's secrets, the Hugging Face login.

Each is read when a key is needed, never at import, and read again when it changed; Colab asks the user, so it is
asked once. Key names only are read from a `.env`: base URLs in it are ignored, or a cloned repository could lead a
key elsewhere. Nothing here writes anything, the process environment included.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import ConfigError, LLMExecutorWarning
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import Secret
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
"""huggingface_hub's own switch: the saved login is not to be used unasked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A key where it was found.

    Attributes:
        secret: the value.
        source: where, in words.
        label: what it is called there; None: nothing.
        rpm: the requests per minute that were saved with it; None: none.
    """

    secret: Secret
    source: str
    label: str | None = None
    rpm: float | None = None


class KeySources:
    """The places outside this program, with what was read from each last."""

    def __init__(self) -> None:
        self._dotenv: tuple[object, Mapping[str, str | None]] = (None, {})
        self._login: tuple[object, KeyText | None] = (None, None)
        self._colab: dict[str, tuple[Found, ...]] = {}

    def handed_down(self, backend: str) -> Iterator[Found]:
        """Yield what the environment and the working folder's `.env` hold for a backend."""
        if backend in _SINGLE:
            yield from _named(backend, os.environ, "")
            yield from _named(backend, self._read_dotenv(), f"{DOTENV} ")

    def kept_elsewhere(self, backend: str) -> Iterator[Found]:
        """Yield what Colab's secrets and, for Hugging Face, the saved login hold."""
        yield from self._ask_colab(backend)
        if backend == HUGGINGFACE and (token := self._read_login()):
            yield from _found(token, LOGIN)

    def refresh(self) -> None:
        """Forget what was read, so that every place is asked again; Colab only where it can be."""
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
        if os.environ.get(_NO_LOGIN, "").upper() in {"1", "ON", "YES", "TRUE"}:
            return None
        path = login_path()
        if (stamp := _stamp(path)) is None:
            return None
        if self._login[0] != stamp:
            self._login = (stamp, KeyText(_text_of(path).strip()))
        return self._login[1]

    def _ask_colab(self, backend: str) -> tuple[Found, ...]:
        """Ask Colab's front end, from the main thread only: elsewhere its question is never answered."""
        if is_colab() and _is_main_thread() and backend in _SINGLE and backend not in self._colab:
            self._colab[backend] = tuple(_colab_secrets(backend))
        return self._colab.get(backend, ())


def looked_for(backends: Iterable[str] = (OPENROUTER, HUGGINGFACE)) -> list[str]:
    """Return the places of this module, for a message on keys of some backends."""
    return [
        *(_SHOWN[backend] for backend in backends),
        f"the same names in {DOTENV} of the working folder" + (" and in Colab's secrets" * is_colab()),
        f"{LOGIN} ({login_path()})",
    ]


def is_colab() -> bool:
    """Say whether this is a Colab kernel; a program started from one has no front end to ask."""
    return "google.colab" in sys.modules


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def login_path() -> Path:
    """Return where `hf auth login` keeps its token, by the rules of huggingface_hub, which is not loaded for it."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    path = os.environ.get("HF_TOKEN_PATH") or f"{os.environ.get('HF_HOME') or f'{cache}/huggingface'}/token"
    return Path(os.path.expandvars(path)).expanduser()


def _stamp(path: Path) -> object:
    """Return what changes when a file does; None: there is no such file."""
    try:
        stat = path.stat()
        return (str(path.absolute()), stat.st_mtime_ns, stat.st_size) if path.is_file() else None
    except OSError:  # what cannot be looked at holds no keys
        return None


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        warnings.warn(f"{path} cannot be read, so no key is taken from it.", LLMExecutorWarning, stacklevel=2)
        return ""


def _keys_in(path: Path) -> Mapping[str, str | None]:
    from dotenv import dotenv_values  # noqa: PLC0415 - only who has a .env pays for the import

    try:
        values = dotenv_values(path, interpolate=False)
    except UnicodeError:
        warnings.warn(f"{DOTENV} is no UTF-8 text, so no key is read from it. Save it as UTF-8.", LLMExecutorWarning, 2)
        return {}
    except OSError:
        return {}
    wanted = {name for backend in _SINGLE for name in _names(backend, values)}
    return {name: KeyText(value) for name, value in values.items() if name in wanted and value is not None}


def _named(backend: str, values: Mapping[str, str | None], where: str) -> Iterator[Found]:
    for name in _names(backend, values):
        if value := (values.get(name) or "").strip().strip("\"'"):
            yield from _found(value, f"{where}{name}")


def _names(backend: str, values: Mapping[str, Any]) -> list[str]:
    """Return the variables of a backend that there are: the plain ones, then the numbered ones in order."""
    prefix = _NUMBERED[backend]
    numbered = [name for name in values if name.startswith(prefix) and name[len(prefix) :].isdecimal()]
    return [n for n in _SINGLE[backend] if n in values] + sorted(numbered, key=lambda n: int(n[len(prefix) :]))


def _found(value: str, source: str) -> Iterator[Found]:
    """Yield a key that was found; of one that cannot be one, say so and go on without it."""
    try:
        yield Found(secret=Secret(value), source=source)
    except ConfigError as error:
        warnings.warn(f"{source} is left out: {error}", LLMExecutorWarning, stacklevel=2)


def _colab_secrets(backend: str) -> Iterator[Found]:
    """Yield the secrets with a backend's names: the plain ones, then the numbered ones until one is missing."""
    for name in _SINGLE[backend]:
        yield from _colab_secret(name)
    for number in range(1, 100):
        found = list(_colab_secret(f"{_NUMBERED[backend]}{number}"))
        if not found:
            return
        yield from found


def _colab_secret(name: str) -> Iterator[Found]:
    from google.colab import userdata  # type: ignore[import-not-found] # noqa: PLC0415 - there in Colab only

    try:
        value = userdata.get(name)
    except userdata.SecretNotFoundError:
        return
    except Exception as error:  # noqa: BLE001 - a front end's refusal or silence, of classes it may rename
        words = f"{COLAB} did not give {name} ({type(error).__name__}). Allow it in the key icon on the left, then "
        warnings.warn(words + "llm.keys.refresh().", LLMExecutorWarning, stacklevel=2)
        return
    if value:
        yield from _found(value, f"{COLAB} {name}")
