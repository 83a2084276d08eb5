"""The doctor's look at the network: proxies, certificates, and whether the host of each backend can be reached.

It opens a connection and closes it; it sends no request. Each look runs in a daemon thread with a bound, because the
look-up of a name may hang for a minute.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.providers.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

GOOD, LOOK, BAD, FACT = "good", "wait", "bad", "dim"
"""All is well; look at it; it will not work like this; a fact."""
PART = "network"
_CONNECT_S = 3.0
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_BUNDLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the doctor's report.

    Attributes:
        part: the heading it stands under.
        kind: good, wait, bad or dim.
        words: what was found.
        next_step: what to do about it; empty: nothing.
        about: the beginning of the words, which has a column of its own.
    """

    part: str
    kind: str
    words: str
    next_step: str = ""
    about: str = ""


def look_at_network(urls: Sequence[tuple[str, str]], *, within_s: float) -> list[CheckResult]:
    """Return the results for the environment, the certificates, and the way to each backend.

    Args:
        urls: backend and base URL.
        within_s: seconds after which a look is given up.
    """
    network = Network()
    ways = all_within([partial(_way, network, backend, url) for backend, url in urls], within_s)
    late = "no answer to a connection in time: the network is down, or a firewall drops it"
    return [
        *_variables(),
        _certificates(network),
        *(
            way or _result(BAD, f"{backend}, {_host(url)}", f": {late}", "check the connection, or set HTTPS_PROXY")
            for (backend, url), way in zip(urls, ways, strict=True)
        ),
    ]


def all_within(work: Sequence[Callable[[], T]], within_s: float) -> list[T | None]:
    """Call several functions at once and return their results; None: a function failed or took too long."""
    results: list[T | None] = [None] * len(work)

    def call(place: int) -> None:
        try:
            results[place] = work[place]()
        except Exception:  # noqa: BLE001 - a look that fails has found nothing, and the report says that
            results[place] = None

    # not an executor: Python waits for its threads at exit, and a hanging look-up would keep the kernel alive
    threads = [threading.Thread(target=call, args=(place,), daemon=True) for place in range(len(work))]
    for thread in threads:
        thread.start()
    end = time.monotonic() + within_s
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return list(results)


def _variables() -> list[CheckResult]:
    """Return the proxies of the environment, without their passwords, and its certificate bundles."""
    proxies = [(name, os.environ.get(name) or os.environ.get(name.lower())) for name in _PROXIES]
    results = [CheckResult(PART, FACT, f"{name}={_without_password(value)}") for name, value in proxies if value]
    for name in _BUNDLES:
        if not (path := os.environ.get(name)):
            continue
        if Path(path).exists():
            results.append(CheckResult(PART, FACT, f"{name}={path}"))
        else:
            step = "correct the variable or unset it, then restart the kernel"
            results.append(CheckResult(PART, BAD, f"{name}={path}: there is no such file", step))
    return results


def _certificates(network: Network) -> CheckResult:
    try:
        count = network.tls().cert_store_stats()["x509_ca"]
    except ConfigError as error:
        return CheckResult(PART, BAD, str(error))
    # OpenSSL reads a folder of certificates on demand, so it counts none before the first connection
    return CheckResult(PART, FACT, f"TLS trusts {count} authorities" if count else "TLS trusts the system's folder")


def _way(network: Network, backend: str, url: str) -> CheckResult:
    """Open a connection to a backend's host, with TLS where its URL says so; with a proxy only to the proxy."""
    parts = urlsplit(url)
    name = f"{backend}, {_host(url)}"
    try:
        proxy = network.proxy(url)
        target = urlsplit(proxy) if proxy else parts
        default = 443 if target.scheme == "https" else 80
        with socket.create_connection((target.hostname or "", target.port or default), timeout=_CONNECT_S) as plain:
            if proxy is None and parts.scheme == "https":
                with network.tls().wrap_socket(plain, server_hostname=parts.hostname):
                    pass
    except ConfigError as error:
        return _result(BAD, name, f": {error}")
    except OSError as error:  # ssl.SSLError and socket.gaierror are OSErrors
        return _result(BAD, name, f" cannot be reached: {type(error).__name__}: {error}", _advice(error))
    by = f" through the proxy {_without_password(proxy)}" if proxy else ""
    return _result(GOOD, name, f" can be reached{by}")


def _result(kind: str, name: str, found: str, next_step: str = "") -> CheckResult:
    return CheckResult(PART, kind, name + found, next_step, about=name)


def _advice(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the name cannot be found: check the connection, or set HTTPS_PROXY if this network needs one"
    if "CERTIFICATE" in str(error).upper():
        return "if your company has its own authority, name its bundle in REQUESTS_CA_BUNDLE and restart the kernel"
    return "check the connection and the firewall"


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _without_password(url: str) -> str:
    """Return a proxy's address without the name and password in it."""
    scheme, mark, rest = url.rpartition("://")
    return scheme + mark + rest.rpartition("@")[2]
