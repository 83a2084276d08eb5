"""How this machine reaches the outside: proxies and certificate authorities.

aiohttp's own way (`trust_env`) costs two thread hops per request, and it reads `.netrc`, which replaces the key. So
both are looked up here, once per address (design 7).
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from llm_executor_nb.core.addresses import is_this_machine
from llm_executor_nb.core.errors import MachineError

_EXTRA_AUTHORITIES = "REQUESTS_CA_BUNDLE"
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that OpenSSL reads; it says nothing where they name what is missing, and then trusts nobody."""


class Network:
    """The proxies and authorities of this machine, looked up at first need and then remembered."""

    def __init__(self) -> None:
        self._proxies: dict[str, str | None] = {}
        self._tls: ssl.SSLContext | None = None

    def proxy(self, url: str) -> str | None:
        """Return the proxy for `url` (HTTP_PROXY, HTTPS_PROXY, NO_PROXY, the system's); None: there is none.

        Raises:
            MachineError: the proxy is not an HTTP proxy.
        """
        if url not in self._proxies:
            self._proxies[url] = _proxy_of(url)
        return self._proxies[url]

    def tls(self) -> ssl.SSLContext:
        """Return the TLS context: the system's store, SSL_CERT_FILE, and REQUESTS_CA_BUNDLE beside them.

        Raises:
            MachineError: a variable names a bundle that cannot be read.
        """
        if self._tls is None:
            self._tls = _make_tls()
        return self._tls


def _proxy_of(url: str) -> str | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_this_machine(host) or proxy_bypass(host):  # a proxy would reach its own localhost
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return _usable(proxy) if proxy else None


def _usable(proxy: str) -> str:
    full = proxy if "://" in proxy else f"http://{proxy}"
    scheme = urlsplit(full).scheme
    if scheme not in {"http", "https"}:
        raise MachineError(
            f"The proxy of this machine speaks {scheme}, and only HTTP proxies can be used. "
            "Set HTTPS_PROXY to an HTTP proxy, or NO_PROXY to the providers' hosts, then restart the kernel.",
        )
    return full


def _make_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    for variable in (*_AUTHORITIES, _EXTRA_AUTHORITIES):
        if bundle := os.environ.get(variable):
            _add(context, variable, bundle)
    if _EXTRA_AUTHORITIES not in os.environ and not _has_system_store(context):
        _add_certifi(context)
    return context


def _add(context: ssl.SSLContext, variable: str, bundle: str) -> None:
    path = Path(bundle)
    try:
        context.load_verify_locations(**{"capath" if path.is_dir() else "cafile": bundle})
    except OSError as error:  # ssl.SSLError is one
        raise MachineError(
            f"{variable} names {path.name}, which cannot be read as a bundle of certificates "
            f"({type(error).__name__}). Correct the variable or unset it, then restart the kernel.",
        ) from None  # the path may name the user


def _has_system_store(context: ssl.SSLContext) -> bool:
    """Whether the system has a store. A directory of authorities is read at the handshake, after this."""
    paths = ssl.get_default_verify_paths()
    has_directory = paths.capath is not None and any(Path(paths.capath).iterdir())
    return bool(context.cert_store_stats()["x509_ca"] or paths.cafile) or has_directory


def _add_certifi(context: ssl.SSLContext) -> None:
    """Add certifi's store. Python for macOS and small containers have none, and LangChain's clients bring certifi.

    Raises:
        MachineError: certifi has none either.
    """
    try:
        import certifi  # noqa: PLC0415 - not a dependency of ours

        context.load_verify_locations(cafile=certifi.where())
    except (ImportError, OSError):
        raise MachineError(
            "This machine has no certificate authorities, so no provider's certificate can be checked. "
            "Run pip install --force-reinstall certifi, or name a bundle in SSL_CERT_FILE; then restart the kernel.",
        ) from None
