"""What an aiohttp exception means: its class and its text become a `Fault`, never another exception.

aiohttp invents the status on its exceptions (400 for garbage), and their repr shows the Authorization header. So the
status comes from the reply that had begun, and the detail from the text of the innermost error.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llm_executor_nb.core.errors import MachineError
from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.outcomes import (
    CERTIFICATE_EARLY,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_OF_ANOTHER,
    CERTIFICATE_UNKNOWN,
)
from llm_executor_nb.core.records import Fault, FaultKind

if TYPE_CHECKING:
    from collections.abc import Callable

_USERINFO = re.compile(r"(?<=//)[^/@\s'\"]+@")
_NOISE = re.compile(r"\b400, message:|\bssl:(?:\w+|<[^>]*>)")
"""What aiohttp puts into its texts: a status that no server sent, and the address of an object."""
_TOO_MANY_FILES: Final = (
    "this process may open no more files or connections. Close files that are not needed, ask for less at once, or "
    "raise the limit (in a terminal, before Python starts: ulimit -n 4096)"
)
_NO_PORT: Final = (
    "this machine has no port left for another connection, or no address of its own in that network. Ask for less at "
    "once, or try again in a minute"
)
_NO_MEMORY: Final = "this machine has no memory left for another connection. Free some, then try again"
_LOCAL: Final = {
    code: why
    for names, why in (
        (("EMFILE", "ENFILE", "WSAEMFILE"), _TOO_MANY_FILES),
        (("EADDRNOTAVAIL", "WSAEADDRNOTAVAIL"), _NO_PORT),
        (("ENOMEM", "ENOBUFS", "WSAENOBUFS"), _NO_MEMORY),
    )
    for name in names
    if (code := getattr(errno, name, None)) is not None
}
"""Error numbers of this machine's own limits, by their names on Linux, macOS and Windows."""
_CERTIFICATES: Final = {
    9: CERTIFICATE_EARLY,
    10: CERTIFICATE_EXPIRED,
    62: CERTIFICATE_OF_ANOTHER,
    64: CERTIFICATE_OF_ANOTHER,
    **dict.fromkeys((2, 18, 19, 20, 21, 27), CERTIFICATE_UNKNOWN),
}
"""OpenSSL's codes for why a certificate is not trusted (its header `x509_vfy.h`)."""


@dataclass(slots=True)
class Watch:
    """What is known of a request in flight.

    Attributes:
        is_reused: its connection has carried another request before, because no socket was made for it.
        status: the HTTP status, once a reply has begun.
        heard: called when a reply begins, and with each piece of it; None: nobody waits for that.
    """

    is_reused: bool = True
    status: int | None = None
    heard: Callable[[], object] | None = None


def fault_of(error: Exception, watch: Watch) -> Fault:
    """Return what `error` was; no key is in it."""
    if watch.status is None and (local := _local_cause(error)) is not None:
        return make_fault(FaultKind.LOCAL, local, watch)
    return Fault(
        kind=_kind_of(error, watch),
        detail=clean(_certificate_fault(error) or f"{type(error).__name__}: {_text_of(error)}"),
        status=watch.status,
        may_resend=watch.is_reused and watch.status is None and _died_unanswered(error),
    )


def refuse_local(fault: Fault) -> None:
    """Raise a fault that is this machine's own: it is not the provider's, and would meet every other one too.

    Raises:
        MachineError: it is.
    """
    if fault.kind is FaultKind.LOCAL:
        raise MachineError(f"Nothing was sent: {fault.detail}.")


def make_fault(kind: FaultKind, detail: str, watch: Watch) -> Fault:
    """Return a fault that we found ourselves."""
    return Fault(kind=kind, detail=clean(detail), status=watch.status)


def clean(text: str) -> str:
    """Return `text` on one line, without keys or proxy passwords, at most 300 characters."""
    return shorten(_NOISE.sub("", _USERINFO.sub("", text)))


def _local_cause(error: Exception) -> str | None:
    """Return what this machine lacks for a connection, and what to do; None: it lacks nothing."""
    if isinstance(error, MemoryError):
        return _NO_MEMORY
    if not isinstance(error, OSError):
        return None
    # where no file can be opened, a name cannot be looked up either, and the error does not say why
    return _LOCAL.get(error.errno or 0) or (_LOCAL.get(_errno_of_opening()) if _is_about_a_name(error) else None)


def _is_about_a_name(error: Exception) -> bool:
    import aiohttp  # noqa: PLC0415 - loads on first use

    return isinstance(error, aiohttp.ClientConnectorDNSError)


def _errno_of_opening() -> int:
    """Return the number of the error that opening one more file gives; 0: it can be opened."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno or 0
    return 0


def _certificate_fault(error: BaseException) -> str | None:
    """Return why a certificate is not trusted; None: the error is about something else."""
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if not isinstance(inner, ssl.SSLCertVerificationError):
        return None
    words = _CERTIFICATES.get(inner.verify_code, CERTIFICATE_UNKNOWN)
    return f"{words} ({getattr(error, 'host', None) or 'TLS'}: {inner.verify_message})"


def _kind_of(error: Exception, watch: Watch) -> FaultKind:  # noqa: PLR0911 - a table
    import aiohttp  # noqa: PLC0415 - loads on first use

    has_begun = watch.status is not None
    match error:
        case TimeoutError():
            return FaultKind.TIMEOUT
        case aiohttp.ClientPayloadError():  # the body was cut, or its compression is broken
            return FaultKind.MALFORMED if _is_bad_encoding(error) else FaultKind.CUT
        case aiohttp.ServerDisconnectedError():
            return FaultKind.CUT if has_begun or _is_part_of_a_head(error) else FaultKind.CLOSED
        case aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError():
            return _kind_of_connecting(error)
        case ssl.SSLError() | aiohttp.ServerFingerprintMismatch():
            return FaultKind.TLS
        case aiohttp.ClientConnectionError() | OSError():
            return FaultKind.CUT if has_begun else FaultKind.CLOSED
        case aiohttp.ClientResponseError():
            return FaultKind.MALFORMED
        case _:
            return FaultKind.MALFORMED if has_begun else FaultKind.CONNECT


def _kind_of_connecting(error: Exception) -> FaultKind:
    import aiohttp  # noqa: PLC0415 - loads on first use

    match error:
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return FaultKind.CONNECT
        case aiohttp.ClientConnectorDNSError():
            return FaultKind.DNS
        case aiohttp.ClientSSLError():
            return FaultKind.TLS
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return FaultKind.REFUSED
        case _:
            return FaultKind.CONNECT


def _died_unanswered(error: Exception) -> bool:
    """Whether the connection died before any byte of a reply: a server may close an idle one at any time."""
    import aiohttp  # noqa: PLC0415 - loads on first use

    if isinstance(error, aiohttp.ServerDisconnectedError):
        return not _is_part_of_a_head(error)
    is_cut = isinstance(error, aiohttp.ClientOSError | aiohttp.ClientConnectionResetError)
    return is_cut and not isinstance(error, aiohttp.ClientConnectorError)


def _is_part_of_a_head(error: Exception) -> bool:
    """Whether the server hung up in the head of its reply: aiohttp then puts that part in place of a message."""
    return not isinstance(getattr(error, "message", ""), str)


def _is_bad_encoding(error: Exception) -> bool:
    from aiohttp.http_exceptions import ContentEncodingError  # noqa: PLC0415 - loads on first use

    return isinstance(error.__cause__, ContentEncodingError) or "decode content-encoding" in str(error)


def _text_of(error: BaseException) -> str:
    import aiohttp  # noqa: PLC0415 - loads on first use

    match error:
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered {error.status} {error.message}"
        case aiohttp.ClientResponseError():
            return error.message  # its str() adds a status and a URL that are not the server's
        case aiohttp.ServerDisconnectedError() if _is_part_of_a_head(error):
            return "the server closed the connection in the head of its reply"
        case aiohttp.ClientPayloadError() if error.__cause__ is not None:
            return str(error.__cause__)
        case _:
            return str(error)
