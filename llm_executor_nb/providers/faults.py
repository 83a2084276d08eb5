"""What an aiohttp exception means: its class and its text become a `Fault`, never another exception.

aiohttp invents the status on its exceptions (400 for garbage), and their repr shows the Authorization header. So the
status comes from the reply that had begun, and the detail from the text of the innermost error.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass

from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.records import Fault, FaultKind

_USERINFO = re.compile(r"(?<=//)[^/@\s'\"]+@")
_NOISE = re.compile(r"\b400, message:|\bssl:(?:\w+|<[^>]*>)")
"""What aiohttp puts into its texts: a status that no server sent, and the address of an object."""


@dataclass(slots=True)
class Watch:
    """What is known of a request in flight.

    Attributes:
        is_reused: it was sent on a connection that had carried another one before.
        status: the HTTP status, once a reply has begun.
    """

    is_reused: bool = False
    status: int | None = None


def fault_of(error: Exception, watch: Watch) -> Fault:
    """Return what `error` was; no key is in it."""
    return Fault(
        kind=_kind_of(error, watch),
        detail=clean(f"{type(error).__name__}: {_text_of(error)}"),
        status=watch.status,
        may_resend=watch.is_reused and watch.status is None and _died_unanswered(error),
    )


def make_fault(kind: FaultKind, detail: str, watch: Watch) -> Fault:
    """Return a fault that we found ourselves."""
    return Fault(kind=kind, detail=clean(detail), status=watch.status)


def clean(text: str) -> str:
    """Return `text` on one line, without keys or proxy passwords, at most 300 characters."""
    return shorten(_NOISE.sub("", _USERINFO.sub("", text)))


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
