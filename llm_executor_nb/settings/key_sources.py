"""The places outside this program that may hold keys: environment, `.env`, a notebook service, the Hugging Face login.

Each is read when a key is needed, never at import. The environment and a `.env` are read again when they have changed.
A service is asked once, and again when a key of it was refused. Nothing here writes anything, not even into the process
environment.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import warn
from llm_executor_nb.core.records import HUGGINGFACE
from llm_executor_nb.settings.key_list import KeyText
from llm_executor_nb.settings.key_names import SHOWN, key_of, keys_in, names_in
from llm_executor_nb.settings.key_vaults import VAULTS, Vault, is_colab, is_main_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from llm_executor_nb.core.records import Key
    from llm_executor_nb.core.secret import Secret

DOTENV = ".env"
LOGIN = "the Hugging Face login"
LOGIN_KEPT_S = 60.0
"""Seconds after which the login is read again, so that it can be refreshed before it expires."""
HUB_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""The variables that `huggingface_hub` takes for the login, where one of them is set."""
_NO_LOGIN = "HF_HUB_DISABLE_IMPLICIT_TOKEN"
"""huggingface_hub's own switch: nothing may use the saved login unless the user asks for it."""


class _Login(NamedTuple):
    """The login as it was read: of which state of its file, until when that counts, and its key."""

    stamp: object = None
    until: float = 0.0
    keys: tuple[Key, ...] = ()


class KeySources:
    """The places outside this program, with what each held when it was last read.

    Args:
        succeed: called when a place that holds one key at a time holds another: with the former key and the new one.
    """

    def __init__(self, succeed: Callable[[Key, Secret], None]) -> None:
        self._succeed = succeed
        self._dotenvs: dict[Path, tuple[object, Mapping[str, str | None]]] = {}
        self._folders: tuple[str, tuple[Path, ...]] = ("", ())
        self._login = _Login()
        self._vaults: dict[tuple[str, str], tuple[Key, ...]] = {}
        self._doubted: set[tuple[str, str]] = set()
        self._told: set[tuple[str, tuple[str, ...]]] = set()

    # --- the environment and .env -------------------------------------------------------------------------------

    def from_environment(self, backend: str) -> Iterator[Key]:
        """Yield the keys of a backend in the environment."""
        if backend in SHOWN:
            yield from keys_in(backend, os.environ)

    def from_dotenv(self, backend: str) -> Iterator[Key]:
        """Yield the keys of a backend in the nearest `.env` that has one."""
        if backend not in SHOWN:
            return
        for place in self._dotenv_places():
            values = self._read_dotenv(place)
            # the nearest file that has a key wins as a whole: keys of two projects are never mixed
            if values and (keys := list(keys_in(backend, values, f"{os.path.relpath(place)} "))):
                yield from keys
                return

    def say_if_from_dotenv(self, backend: str, keys: Iterable[Key]) -> None:
        """Say once that these keys, which are about to be used, are those of a `.env`."""
        sources = [(key, key.source.partition(" ")[0]) for key in keys]
        found = tuple(f"{key.source} {key.secret.ending}" for key, place in sources if place.endswith(DOTENV))
        # a `.env` may come with a cloned folder, so its use is told before the first request
        if found and (backend, found) not in self._told:
            self._told.add((backend, found))
            path = os.path.abspath(found[0].partition(" ")[0])  # noqa: PTH100 - pathlib keeps the dots of `../.env`
            warn(
                f"Requests to {backend} use the keys of {path} ({', '.join(found)}), as no other "
                "place has a key for it. If this folder is not your own, give a key of yours: "
                f"llm.keys.add({backend!r}, key).",
            )

    def _dotenv_places(self) -> tuple[Path, ...]:
        """Return where a `.env` may be: the working folder, then those above it up to the repository's root."""
        try:
            here = os.getcwd()  # noqa: PTH109 - it is compared at every call
        except OSError:  # the folder is gone
            return ()
        if self._folders[0] != here:
            self._folders = (here, tuple(folder / DOTENV for folder in _up_to_root(Path(here))))
        return self._folders[1]

    def _read_dotenv(self, path: Path) -> Mapping[str, str | None]:
        if (stamp := _stamp(path)) is None:
            return {}
        # read again only when it changed: it is looked at before every call
        if self._dotenvs.get(path, (None,))[0] != stamp:
            self._dotenvs[path] = (stamp, _keys_of_file(path))
        return self._dotenvs[path][1]

    # --- services and the login ---------------------------------------------------------------------------------

    def from_vaults_and_login(self, backend: str) -> Iterator[Key]:
        """Yield the keys in the secrets of a notebook service and, for Hugging Face, the login."""
        if backend in SHOWN:
            for vault in VAULTS:
                yield from self._ask(vault, backend)
        if backend == HUGGINGFACE:
            yield from self._read_login()

    def must_ask(self, backend: str) -> bool:
        """Whether the next look for a backend's keys asks a service, or may refresh the login: either can last."""
        is_login_due = backend == HUGGINGFACE and self._is_login_due(_login_stamp())
        return is_login_due or (backend in SHOWN and any(self._is_due(vault, backend) for vault in VAULTS))

    def doubt(self, key: Key) -> None:
        """Look at the next need whether the place of a key holds another one by now."""
        if key.source == LOGIN:
            self._login = self._login._replace(until=0.0)
        self._doubted.update((vault.title, key.backend) for vault in VAULTS if key.source.startswith(vault.title))

    def refresh(self) -> None:
        """Read every place again at the next need; Colab only from the main thread, which can ask it."""
        self._dotenvs, self._folders = {}, ("", ())
        self._login = self._login._replace(until=0.0)
        # doubted and not forgotten: a thread that a front end does not answer goes on with the last keys
        self._doubted.update(self._vaults)

    def _ask(self, vault: Vault, backend: str) -> tuple[Key, ...]:
        place = (vault.title, backend)
        if self._is_due(vault, backend):
            self._doubted.discard(place)
            # compared with the former keys, so that a renewed one is not condemned for the old one's refusal
            self._vaults[place] = self._replaced(self._vaults.get(place, ()), vault.read(backend))
        return self._vaults.get(place, ())

    def _is_due(self, vault: Vault, backend: str) -> bool:
        place = (vault.title, backend)
        return (place not in self._vaults or place in self._doubted) and vault.may_be_asked

    def _read_login(self) -> tuple[Key, ...]:
        stamp = _login_stamp()
        if self._is_login_due(stamp):
            until = clock.current().now() + LOGIN_KEPT_S
            self._login = _Login(stamp, until, self._replaced(self._login.keys, _login_keys()))
        return () if stamp is None else self._login.keys

    def _is_login_due(self, stamp: object) -> bool:
        is_old = self._login.stamp != stamp or clock.current().now() >= self._login.until
        # in Colab some versions of huggingface_hub ask the front end, which answers the main thread only
        return stamp is not None and is_old and (is_main_thread() or not is_colab())

    def _replaced(self, former: Iterable[Key], found: Iterable[Key]) -> tuple[Key, ...]:
        """Return what a place holds now, and tell of each key that another has taken the place of."""
        keys = tuple(found)
        secrets = {key.source: key.secret for key in keys}
        for key in former:
            if (secret := secrets.get(key.source, key.secret)) != key.secret:
                self._succeed(key, secret)
        return keys


def places_of(backends: Iterable[str]) -> list[str]:
    """Return the places of this module where keys of some backends are looked for, for a message."""
    backends = tuple(backends)
    login = f"not used, because {_NO_LOGIN} is set" if _is_login_off() else login_path()
    return [
        f"the environment: {', '.join(SHOWN[backend] for backend in backends)}",
        *(f"{vault.title}: the same names" for vault in VAULTS if vault.is_here()),
        *([f"{LOGIN}: {login}"] if HUGGINGFACE in backends else []),
        f"{DOTENV} of the working folder, and in a repository of the folders above it: the same names",
    ]


# --- the login -----------------------------------------------------------------------------------------------------


def _is_login_off() -> bool:
    """Whether the user forbids programs to use the saved login unasked."""
    return os.environ.get(_NO_LOGIN, "").upper() in {"1", "ON", "YES", "TRUE"}


def login_path() -> Path:
    """Return where `huggingface_hub` keeps its token: as it says, or while it is not loaded by its rules.

    Loading it takes a while, and most users who never logged in have no such file.
    """
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        return Path(constants.HF_TOKEN_PATH)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    path = os.environ.get("HF_TOKEN_PATH") or f"{os.environ.get('HF_HOME') or f'{cache}/huggingface'}/token"
    return Path(os.path.expandvars(path)).expanduser()


def _login_stamp() -> object:
    """Return a value that changes with the login; None: nobody has logged in, or the login may not be used."""
    if _is_login_off():
        return None
    # once it is loaded it is asked, as it knows more ways to be logged in than by a file
    return _stamp(login_path()) or sys.modules.get("huggingface_hub")


def _login_keys() -> Iterator[Key]:
    """Yield the key of the login, refreshed by `huggingface_hub` where its version does so."""
    from huggingface_hub import get_token  # noqa: PLC0415 - only a user with a login pays for the import

    path = login_path()
    try:
        # it prefers a variable to the login, which is a key of its own here
        is_hidden = any(os.environ.get(name) for name in HUB_VARIABLES)
        token = _text_of(path) if is_hidden else get_token()
    except Exception as error:  # noqa: BLE001 - a file that cannot be read, or whatever a version raises
        warn(
            f"{LOGIN} ({path}) cannot be read ({type(error).__name__}), so no key is taken from it. Log in again: "
            "llm.login('huggingface').",
        )
        return
    if token and token.strip():
        yield from key_of(HUGGINGFACE, KeyText(token), LOGIN)


# --- files ---------------------------------------------------------------------------------------------------------


def _up_to_root(folder: Path) -> list[Path]:
    """Return a folder and those above it up to the repository's root; outside a repository the folder alone."""
    folders = [folder, *folder.parents]
    # not `Path.exists`, which raises where the user may not look
    roots = (count for count, one in enumerate(folders, start=1) if os.path.exists(one / ".git"))  # noqa: PTH110
    # outside a repository the folders above may belong to somebody else
    return folders[: next(roots, 1)]


def _stamp(path: Path) -> object:
    """Return a value that changes when the file does; None: the file does not exist."""
    try:
        found = os.stat(path)  # noqa: PTH116 - at every call, in every folder up to the repository's root
    except OSError:  # a file that cannot be read holds no keys for us
        return None
    return (str(path), found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _keys_of_file(path: Path) -> Mapping[str, str | None]:
    from dotenv import dotenv_values  # noqa: PLC0415 - only a user with a .env pays for the import

    try:
        # a `$` in a key is part of it
        values = dotenv_values(path, interpolate=False)
    except UnicodeError:
        warn(f"{path} is not UTF-8 text, so no key is read from it. Save it as UTF-8.")
        return {}
    except OSError:
        return {}
    # key names only: a base URL in the `.env` of a cloned repository could send a key to another server
    wanted = {name for backend in SHOWN for name in names_in(backend, values)}
    return {name: KeyText(value) for name, value in values.items() if name in wanted and value is not None}
