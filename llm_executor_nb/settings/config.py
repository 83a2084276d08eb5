"""The one live configuration: keys, models, URLs, waits and bounds. Every door reads it at each call.

A rehearsal saves it, changes it in place and restores it, so that lists a user imported stay the same objects.
"""

from __future__ import annotations

import copy
import math
import os
import re
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tenacity import wait_chain, wait_fixed

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.records import CHAT_COMPLETIONS, HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import forgetful
from llm_executor_nb.settings.backends import EXAMPLE_URL, OwnBackend, check_chat_model, check_name, refuse_credentials
from llm_executor_nb.settings.key_list import KeyList
from llm_executor_nb.settings.keys import KeyRing
from llm_executor_nb.settings.models import ModelTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tenacity import RetryCallState

BASE_URLS: dict[str, tuple[str, str]] = {
    OPENROUTER: ("OPENROUTER_BASE_URL", "https://openrouter.ai/api/v1"),
    HUGGINGFACE: ("HF_ROUTER_URL", "https://router.huggingface.co/v1"),
}
"""Backend -> the environment variable that moves it, and where it is."""
HUB: tuple[str, str] = ("HF_ENDPOINT", "https://huggingface.co")
"""The same for Hugging Face's hub, where tokens are looked up."""


class Unset:
    """The type of `UNSET`, the default of an argument for which None has a meaning of its own."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


@dataclass(slots=True)
class Config:
    """What can be set, with the defaults.

    Attributes:
        keys, models: the key ring and the provider table.
        backends: the user's own backends, by name.
        base_urls: backend -> a URL given in code; none: the environment's, else the provider's own.
        retry_wait_strategy: a tenacity wait strategy.
        retries: how many retries a route gets, or a tenacity stop object.
        before_sleep: called before each wait, as tenacity does.
        timeout_s: the bound on one attempt; None: no bound.
        deadline_s: the bound on one run by hand; None: no bound.
        retry_after_ceiling_s: the longest time a provider may name that is waited for.
        concurrency: requests in flight of one job; None: begin at 8 and grow.
        ledger: the file of answers and attempts; None: memory; UNSET: in the working folder.
        practice_url: where a rehearsal answers; None: there is none.
    """

    keys: KeyRing = field(default_factory=KeyRing)
    models: ModelTable = field(default_factory=ModelTable)
    backends: dict[str, OwnBackend] = field(default_factory=dict)
    base_urls: dict[str, str | None] = field(default_factory=dict)
    retry_wait_strategy: Callable[[RetryCallState], float] = field(
        default_factory=lambda: wait_chain(wait_fixed(3), wait_fixed(5), wait_fixed(6)),
    )
    retries: int | Callable[[RetryCallState], bool] = 3
    before_sleep: Callable[[RetryCallState], Any] | None = None
    timeout_s: float | None = 120.0
    deadline_s: float | None = 300.0
    retry_after_ceiling_s: float = 30.0
    concurrency: int | None = None
    ledger: Path | Unset | None = UNSET
    practice_url: str | None = None

    def base_url(self, backend: str) -> str:
        """Return where a backend is: given in code, else by the process environment, else its own address."""
        variable, default = BASE_URLS[backend]
        if (given := self.base_urls.get(backend)) is not None:
            return given
        return check_url(os.environ.get(variable) or default, backend, where=f"{variable}: ")

    @property
    def hub_url(self) -> str:
        """Where a Hugging Face token is looked up: on the router's host if that was moved, so it goes nowhere else."""
        router = self.base_url(HUGGINGFACE)
        if router != BASE_URLS[HUGGINGFACE][1]:
            return router.removesuffix("/v1")
        variable, default = HUB
        return check_url(os.environ.get(variable) or default, HUGGINGFACE, where=f"{variable}: ")

    @property
    def backend_names(self) -> tuple[str, ...]:
        """The names of all backends there are."""
        return (OPENROUTER, HUGGINGFACE, *self.backends)

    @forgetful
    def add_backend(self, name: str, *, base_url: str | None, keys: Iterable[str | None], chat_model: object) -> None:
        """Check a backend of the user's, and put it in the place of one with its name."""
        check_name(name)
        if (base_url is None) == (chat_model is None):
            raise ConfigError(
                f"Give one of base_url and chat_model: llm.add_backend({name!r}, base_url={EXAMPLE_URL!r})."
            )
        listed = KeyList(_listed(keys, f"llm.add_backend({name!r}, base_url=..., keys=[key])"), is_given=True)
        if base_url is not None:
            refuse_credentials(base_url)
            own = OwnBackend(name=name, base_url=check_url(base_url, name))
            self.keys.code[name] = listed
        elif listed:
            raise ConfigError("keys go with base_url; a chat_model object holds its own.")
        else:
            own = OwnBackend(name=name, chat_model=check_chat_model(chat_model))
            self.keys.code.pop(name, None)
        self.backends[name] = own

    @forgetful
    def keys_setter(self, backend: str, values: Iterable[str | None]) -> Callable[[], None]:
        """Check a list of keys; return what puts it in place of the one given before."""
        if not isinstance(values, KeyList):
            given = list(_listed(values, f"llm.{_KEY_LISTS[backend]} = [key_1, key_2]"))
            values = KeyList(given, is_given=not given)
        checked = values
        return lambda: self.keys.put_code(backend, checked)

    def providers_setter(self, table: dict[str, list[str]]) -> Callable[[], None]:
        """Check a provider table; return what puts it in place."""
        if not isinstance(table, dict):
            raise ConfigError(
                f"MODEL_INFERENCE_PROVIDERS must be a dict from model to providers, not {type(table).__name__}.",
            )
        return lambda: setattr(self.models, "providers", table)

    def url_setter(self, backend: str, url: str | None) -> Callable[[], None]:
        """Check a base URL; return what puts it in place, None its default."""
        checked = None if url is None else check_url(url, backend)
        return lambda: self.base_urls.update({backend: checked})

    def setter(self, name: str, value: object) -> Callable[[], None]:
        """Return what puts a checked value in place."""
        return lambda: setattr(self, name, value)

    def begin_rehearsal(
        self, *, keys: Mapping[str, Iterable[str]], urls: Mapping[str, str], own_url: Callable[[str], str], url: str
    ) -> None:
        """Put practice keys into the lists there are, and practice URLs in force; `save` first.

        Args:
            keys: backend -> its practice keys.
            urls: backend -> its practice URL.
            own_url: says where a server without a key stands in for a backend of the user's, be it an object.
            url: what all practice URLs begin with.
        """
        for name in self.backends:
            self.backends[name] = OwnBackend(name=name, base_url=own_url(name))
            self.keys.code.setdefault(name, KeyList(is_given=True))[:] = []
        self.practice_url = url
        self.keys.is_rehearsing = True
        for backend, values in keys.items():
            self.keys.code[backend][:] = list(values)
            self.keys.code[backend].is_given = True
        self.base_urls = dict(urls)

    def save(self) -> Callable[[], None]:
        """Return what puts everything back as it is now, into the same objects."""
        lists = {backend: (kept, list(kept), kept.is_given) for backend, kept in self.keys.code.items()}
        session = self.keys.save_session()
        table, rows = self.models.providers, copy.deepcopy(self.models.providers)
        aliases = dict(self.models.aliases)
        plain = {name: getattr(self, name) for name in _PLAIN}
        names, off_openrouter = copy.deepcopy(self.models.names), set(self.models.off_openrouter)
        marks = dict(self.models.marks)
        urls, backends = dict(self.base_urls), dict(self.backends)

        def restore() -> None:
            for backend in self.keys.code.keys() - lists.keys():
                del self.keys.code[backend]
            for backend, (kept, values, is_given) in lists.items():
                kept[:] = values
                kept.is_given = is_given
                self.keys.code[backend] = kept
            session()
            table.clear()
            table.update(rows)
            self.models.providers, self.models.aliases = table, aliases
            self.models.names, self.models.off_openrouter = names, off_openrouter
            self.models.marks = marks
            self.base_urls, self.backends = urls, backends
            for name, value in plain.items():
                setattr(self, name, value)

        return restore


_KEY_LISTS = {OPENROUTER: "OPENROUTER_KEYS", HUGGINGFACE: "HUGGINGFACE_TOKENS"}
_BEHIND = re.compile(r"[?#].*", re.DOTALL)
_BLANK = re.compile(r"[\s\x00-\x1f\x7f\\]")
_PLAIN = (
    "retry_wait_strategy",
    "retries",
    "before_sleep",
    "timeout_s",
    "deadline_s",
    "retry_after_ceiling_s",
    "concurrency",
    "ledger",
    "practice_url",
)


def _listed(values: Iterable[str | None], example: str) -> Iterable[str | None]:
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise ConfigError(f"Give a list of keys: {example}.")
    return values


def check_url(url: str, backend: str, *, where: str = "") -> str:
    """Return a base URL without a slash at its end, if it is one.

    Raises:
        ConfigError: it has no http or https scheme, no host, or what no base URL has; says what to write.
    """
    whole = url.strip() if isinstance(url, str) else url
    shown = _BEHIND.sub("", whole) if isinstance(whole, str) else whole  # what stands behind it may be a key
    try:
        parts = urlsplit(whole)
        is_fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_fine = is_fine and not _BLANK.search(shown)
    except (ValueError, AttributeError, TypeError):
        is_fine = False
    if not is_fine:
        example = BASE_URLS[backend][1] if backend in BASE_URLS else EXAMPLE_URL
        raise ConfigError(f"{where}{shown!r} is no base URL; give one such as {example!r}.")
    base = shown.rstrip("/").removesuffix(CHAT_COMPLETIONS)
    if base != whole.rstrip("/"):
        raise ConfigError(
            f"{where}A base URL has no query, no fragment and no {CHAT_COMPLETIONS} (which is put behind it). "
            f"Write {base!r}; a key goes with the keys.",
        )
    return base


def check_wait(strategy: Callable[[RetryCallState], float]) -> Callable[[RetryCallState], float]:
    """Return a wait strategy if it is one."""
    if not callable(strategy):
        raise ConfigError(
            f"retry_wait_strategy must be a tenacity wait strategy such as wait_fixed(3), not {strategy!r}.",
        )
    return strategy


def check_retries(
    retries: int | Callable[[RetryCallState], bool],
) -> int | Callable[[RetryCallState], bool]:
    """Return a number of retries, or a tenacity stop object, if it is one."""
    if callable(retries):
        return retries
    if _is_whole(retries, 0):
        return int(retries)
    raise ConfigError(f"retries={retries!r} must be 0, 1, 2, ... or a tenacity stop object.")


def check_before_sleep(
    hook: Callable[[RetryCallState], Any] | None,
) -> Callable[[RetryCallState], Any] | None:
    """Return what is called before each wait, if it can be; None: nobody."""
    if hook is None or callable(hook):
        return hook
    raise ConfigError(f"before_sleep must be a function such as tenacity's before_sleep_log(...), not {hook!r}.")


def check_ceiling(seconds: float | None) -> float:
    """Return the longest time that is waited for, if it is one; None: no bound."""
    if seconds is None:
        return math.inf
    if isinstance(seconds, Real) and not isinstance(seconds, bool) and seconds >= 0:
        return float(seconds)
    raise ConfigError(f"retry_after_ceiling_s={seconds!r} must be seconds, 0 or more.")


def check_bound(name: str, seconds: float | None) -> float | None:
    """Return a bound in seconds if it is one; None: no bound."""
    if seconds is None:
        return None
    if isinstance(seconds, Real) and not isinstance(seconds, bool) and seconds > 0:
        return float(seconds)
    raise ConfigError(f"{name}={seconds!r} must be seconds above 0.")


def check_concurrency(concurrency: int | None) -> int | None:
    """Return a number of requests in flight if it is one; None: begin at 8 and grow."""
    if concurrency is None:
        return None
    if _is_whole(concurrency, 1):
        return int(concurrency)
    raise ConfigError(f"concurrency={concurrency!r} must be 1, 2, 3, ...")


def check_ledger(place: str | os.PathLike[str] | None) -> Path | None:
    """Return the ledger's file if it can be one; None: memory."""
    if place is None:
        return None
    if isinstance(place, str | os.PathLike) and str(place):
        found = Path(place).expanduser().absolute()
        return found / "ledger.sqlite" if found.is_dir() else found
    raise ConfigError(f"ledger={place!r} must be the path of a file, or None to keep all in memory.")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


_live = Config()


def live() -> Config:
    """Return the configuration in force."""
    return _live
