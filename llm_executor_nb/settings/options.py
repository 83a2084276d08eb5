"""The options in force: which keys, models and backends there are, and how long a call waits and tries.

`Options` is frozen: to change an option is to put another `Options` into the session (`chain/session.py`). A job that
runs goes on with the options it began with.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tenacity import wait_chain, wait_fixed

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import clean
from llm_executor_nb.core.policy import NO_POLICY, Policy
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.settings.backends import OwnBackend, checked_url
from llm_executor_nb.settings.key_ring import KeyRing
from llm_executor_nb.settings.models import ModelTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tenacity import RetryCallState


class Unset:
    """The type of `UNSET`, the default of an argument for which None has a meaning of its own."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()
BASE_URLS: dict[str, tuple[str, str]] = {
    OPENROUTER: ("OPENROUTER_BASE_URL", "https://openrouter.ai/api/v1"),
    HUGGINGFACE: ("HF_ROUTER_URL", "https://router.huggingface.co/v1"),
}
"""Backend -> the environment variable that moves it, and its usual URL."""
_API = "/api/v1"
"""What OpenRouter's base URL has behind the address of its pages."""
HUB: tuple[str, str] = ("HF_ENDPOINT", "https://huggingface.co")
"""The same for Hugging Face's hub, where tokens are looked up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited for what is asked beside the requests. No user sets it; a test may.

    Attributes:
        silence_s: seconds without a byte after which a search gives up a list. A person waits for it.
        live_order_s: seconds that a call waits for the router's list while an order is known.
        key_place_s: seconds after which a place that does not answer counts as one that holds the refused key still.
    """

    silence_s: float = 1.8
    live_order_s: float = 2.0
    key_place_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a user can set, with the defaults.

    Attributes:
        keys: the key ring.
        models: the provider table.
        backends: the user's own backends, by name.
        base_urls: backend -> a URL given in code. None or missing: the environment's URL, else the usual one.
        retry_wait_strategy: a tenacity wait strategy.
        retries: how many retries a route gets, or a tenacity stop object.
        before_sleep: a function called before each wait, as in tenacity.
        timeout_s: the bound on one attempt; None: no bound.
        deadline_s: the bound on one run by hand; None: no bound.
        retry_after_ceiling_s: the longest time named by a provider that is waited for.
        concurrency: requests in flight of one job; None: start at 8 and grow.
        hedge: the percentile of a job's answers after which a request gets a twin; True: one of ours; None: never.
        policy: what every request demands that has no policy of its own.
        ledger: the file of answers and attempts; None: memory; UNSET: a file in the working folder.
        practice_url: how the URL of every practice provider begins; None: this is not a rehearsal.
        patience: how long lists and places of keys are waited for.
    """

    keys: KeyRing = field(default_factory=KeyRing)
    models: ModelTable = field(default_factory=ModelTable)
    backends: Mapping[str, OwnBackend] = field(default_factory=dict)
    base_urls: Mapping[str, str | None] = field(default_factory=dict)
    # design 2: the waits that the first users were promised
    retry_wait_strategy: Callable[[RetryCallState], float] = field(
        default_factory=lambda: wait_chain(wait_fixed(3), wait_fixed(5), wait_fixed(6)),
    )
    retries: int | Callable[[RetryCallState], bool] = 3
    before_sleep: Callable[[RetryCallState], Any] | None = None
    timeout_s: float | None = 120.0
    deadline_s: float | None = 300.0
    retry_after_ceiling_s: float = 30.0
    concurrency: int | None = None
    hedge: float | None = None
    policy: Policy = NO_POLICY
    ledger: Path | Unset | None = UNSET
    practice_url: str | None = None
    patience: Patience = Patience()

    def base_url(self, backend: str) -> str:
        """Return a backend's URL: from code, else from the process environment, else the usual one."""
        variable, usual = BASE_URLS[backend]
        if (in_code := self.base_urls.get(backend)) is not None:
            return in_code
        return _url_of(variable, os.environ.get(variable) or usual, backend)

    @property
    def hub_url(self) -> str:
        """The URL where a Hugging Face token is looked up."""
        router = self.base_url(HUGGINGFACE)
        if router != BASE_URLS[HUGGINGFACE][1]:
            return router.removesuffix("/v1")  # a token goes to no other host than the one the user moved the router to
        variable, usual = HUB
        return _url_of(variable, os.environ.get(variable) or usual, HUGGINGFACE)

    @property
    def openrouter_site(self) -> str:
        """The address of OpenRouter's pages, where a user signs in."""
        return self.base_url(OPENROUTER).removesuffix(_API)

    @property
    def backend_names(self) -> tuple[str, ...]:
        """The names of all backends."""
        return (OPENROUTER, HUGGINGFACE, *self.backends)


@lru_cache(maxsize=64)  # the environment is looked up at every call
def _url_of(variable: str, url: str, backend: str) -> str:
    return check_url(url, backend, where=f"{variable}: ")


def check_url(url: str, backend: str, *, where: str = "", allow_http: bool = False) -> str:
    """Return a base URL without a slash at its end.

    Raises:
        ConfigError: it is not a base URL; the message gives one for this backend.
    """
    again = f"llm.configure({backend}_base_url=..., allow_http=True)"
    return checked_url(url, example=BASE_URLS[backend][1], again=None if allow_http else again, where=where)


def check_wait(strategy: Callable[[RetryCallState], float]) -> Callable[[RetryCallState], float]:
    """Return a wait strategy if it can be called."""
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
    """Return the function to call before each wait, if it can be called; None: no function."""
    if hook is None or callable(hook):
        return hook
    raise ConfigError(f"before_sleep must be a function such as tenacity's before_sleep_log(...), not {hook!r}.")


def check_ceiling(seconds: float | None) -> float:
    """Return the longest time that is waited for, in seconds; None: no bound."""
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
    """Return a number of requests in flight if it is one; None: start at 8 and grow."""
    if concurrency is None:
        return None
    if _is_whole(concurrency, 1):
        return int(concurrency)
    raise ConfigError(f"concurrency={concurrency!r} must be 1, 2, 3, ...")


def check_hedge(hedge: bool | float | None) -> float | None:
    """Return a percentile, or True for one of ours, if it is one; None: requests get no twins."""
    if hedge is None or hedge is False:
        return None
    if hedge is True or (isinstance(hedge, Real) and not isinstance(hedge, bool) and 0 < hedge < 1):
        return hedge if hedge is True else float(hedge)
    raise ConfigError(f"hedge={hedge!r} must be True, False, or a percentile between 0 and 1 such as 0.95.")


def check_ledger(place: str | os.PathLike[str] | None) -> Path | None:
    """Return the ledger's file if the path can be one; None: memory."""
    if place is None:
        return None
    if isinstance(place, str | os.PathLike) and str(place):
        if Path(place).name == str(place) != clean(str(place)):
            raise ConfigError(
                "ledger= is the path of a file, and this looks like a key. Give keys with llm.keys.add(...)."
            )
        path = Path(place).expanduser().absolute()
        path = path / "ledger.sqlite" if os.path.isdir(path) else path  # noqa: PTH112 - pathlib raises without rights
        if os.path.isfile(path) or not os.path.exists(path):  # noqa: PTH110, PTH113 - as above
            return path
    raise ConfigError(f"ledger={place!r} must be the path of a file, or None to keep all in memory.")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
