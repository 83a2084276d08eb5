"""The doctor's look at the network: proxies, certificates, and whether each backend's host can be reached.

Opens a connection and closes it; asks nothing. Each look runs in a thread that is not waited for longer than its
bound, because a name that cannot be found may hang for a minute.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.notebook.finding import BAD, FACT, GOOD, CheckResult
from llm_executor_nb.providers.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

PART = "network"
_CONNECT_S = 3.0
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_BUNDLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


def look_at_network(urls: Sequence[tuple[str, str]], *, within_s: float) -> list[CheckResult]:
    """Return what there is to say of the way to each backend.

    Args:
        urls: backend and base URL.
        within_s: seconds after which a look is given up.
    """
    network = Network()
    ways = all_within([partial(_way, network, backend, url) for backend, url in urls], within_s)
    late = "no answer to a connection in time: the network is down, or a firewall swallows it"
    return [
        *_variables(),
        _certificates(network),
        *(
            way
            or CheckResult(PART, BAD, f"{backend}, {_host(url)}: {late}", "check the connection, or set HTTPS_PROXY")
            for (backend, url), way in zip(urls, ways, strict=True)
        ),
    ]


def all_within(work: Sequence[Callable[[], T]], within_s: float) -> list[T | None]:
    """Do several things at once, each in a daemon thread; None: it failed or took too long."""
    results: list[T | None] = [None] * len(work)

    def do(place: int) -> None:
        try:
            results[place] = work[place]()
        except Exception:  # noqa: BLE001 - a look that fails has found nothing, and the report says that
            results[place] = None

    threads = [threading.Thread(target=do, args=(place,), daemon=True) for place in range(len(work))]
    for thread in threads:
        thread.start()
    end = time.monotonic() + within_s
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return list(results)


def _variables() -> list[CheckResult]:
    """Return the environment's proxies, without the passwords that may stand in them, and its bundles."""
    found = [(name, os.environ.get(name) or os.environ.get(name.lower())) for name in _PROXIES]
    lines = [CheckResult(PART, FACT, f"{name}={_without_password(value)}") for name, value in found if value]
    for name in _BUNDLES:
        if path := os.environ.get(name):
            is_there = Path(path).exists()
            step = "" if is_there else "correct the variable or unset it, then restart the kernel"
            words = f"{name}={path}" + ("" if is_there else ": there is no such file")
            lines.append(CheckResult(PART, FACT if is_there else BAD, words, step))
    return lines


def _certificates(network: Network) -> CheckResult:
    try:
        count = network.tls().cert_store_stats()["x509_ca"]
    except ConfigError as error:
        return CheckResult(PART, BAD, str(error))
    return CheckResult(PART, FACT, f"TLS trusts {count} authorities" if count else "TLS trusts the system's folder")


def _way(network: Network, backend: str, url: str) -> CheckResult:
    """Open a connection to a backend's host, through TLS where its URL says so; of a proxy only to the proxy."""
    parts = urlsplit(url)
    name = f"{backend}, {_host(url)}"
    try:
        proxy = network.proxy(url)
        goal = urlsplit(proxy) if proxy else parts
        default = 443 if goal.scheme == "https" else 80
        with socket.create_connection((goal.hostname or "", goal.port or default), timeout=_CONNECT_S) as plain:
            if proxy is None and parts.scheme == "https":
                with network.tls().wrap_socket(plain, server_hostname=parts.hostname):
                    pass
    except ConfigError as error:
        return CheckResult(PART, BAD, f"{name}: {error}")
    except OSError as error:  # ssl.SSLError and socket.gaierror are some
        return CheckResult(PART, BAD, f"{name} cannot be reached: {type(error).__name__}: {error}", _advice(error))
    by = f" through the proxy {_without_password(proxy)}" if proxy else ""
    return CheckResult(PART, GOOD, f"{name} can be reached{by}")


def _advice(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the name cannot be found: check the connection, or set HTTPS_PROXY if this network needs one"
    if "CERTIFICATE" in str(error).upper():
        return "a company's own authority? name its bundle in REQUESTS_CA_BUNDLE, then restart the kernel"
    return "check the connection and the firewall"


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _without_password(url: str) -> str:
    """Return a proxy's address without the name and password in it."""
    scheme, mark, rest = url.rpartition("://")
    return scheme + mark + rest.rpartition("@")[2]
