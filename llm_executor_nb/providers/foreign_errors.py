"""What a foreign exception means: the status, headers and body of a reply, or the kind of a fault.

A chat model object raises whatever its own client raises. So it is read by duck typing: first by the attributes that
clients of this field share, then by built-in errors, and last by names of classes. No HTTP library is imported. The
exception is read here and dropped, because it may hold a request with a key in its headers.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llm_executor_nb.core.errors import ConfigError, RequestError
from llm_executor_nb.core.foreign_json import get_in, parse_json
from llm_executor_nb.core.records import Fault, FaultKind, Reply
from llm_executor_nb.providers.faults import Watch, make_fault

ErrorReport = Reply | Fault | dict[str, Any]
"""A reply with its status, a fault, or (a dict) the body of a reply whose status is not known."""
CLASS: Final = "class"
"""The field that names the exception's class in an error that was read from that name alone."""
_DEEPEST_CAUSE: Final = 5
_STATUSES: Final = ("status_code", "status", "http_status", "code")
_BUILTIN: Final[tuple[tuple[type[BaseException], FaultKind], ...]] = (
    (TimeoutError, FaultKind.TIMEOUT),
    (ConnectionRefusedError, FaultKind.REFUSED),
    (socket.gaierror, FaultKind.DNS),
    (ssl.SSLError, FaultKind.TLS),
    (ConnectionError, FaultKind.CLOSED),
)
_NAMED: Final[tuple[tuple[str, FaultKind | int | str], ...]] = (
    (r"time(d?_?)out|deadlineexceeded", FaultKind.TIMEOUT),
    (r"ratelimit|toomanyrequests|throttl|resourceexhausted", 429),
    (r"context(overflow|window|length)", "context_length_exceeded"),
    (r"content(filter|policy)|moderation", "content_filter"),
    (r"authenticat|unauthorized|invalidapikey|credential", 401),
    (r"quota|billing|insufficientfunds", 402),
    (r"permission|forbidden", 403),
    (r"notfound", 404),
    (r"overloaded|unavailable", 503),
    (r"badrequest|invalid(request|argument)|unprocessable", 400),
    (r"(internal|api)?servererror", 500),
    (r"connect|network|transport|protocolerror|readerror|writeerror|ssl", FaultKind.CONNECT),
    (r"decodeerror|validationerror|outputparser", FaultKind.MALFORMED),
)
"""Words in the name of a class or of a base class -> what they mean: a fault, a status, or an error's type."""
_NAMES: Final = tuple((re.compile(pattern), meaning) for pattern, meaning in _NAMED)
_MALFORMED: Final = (ValueError, TypeError, LookupError, AttributeError)
"""What clients raise over a reply of an unexpected shape."""


def read_error(error: BaseException) -> ErrorReport:
    """Return what an exception of a chat model object means. Never raises; keeps nothing of the exception.

    The strongest evidence in the whole chain of causes wins (design 3.1). Clients wrap a status in vague exceptions.
    """
    error = _raised(error)
    causes = list(_causes(error))
    text = text_of(error)
    for cause in causes:
        if (status := _status_of(cause)) is not None:
            return Reply(status=status, headers=_headers_of(cause), body=_bytes_of(_body_of(cause), text))
    for cause in causes:
        if isinstance(body := _body_of(cause), Mapping):
            return {"error": get_in(body, "error") or dict(body)}
    for cause in causes:
        for kind, fault in _BUILTIN:
            if isinstance(cause, kind):
                return make_fault(fault, text, Watch())
    for cause in causes:
        if (meaning := _meaning_of(cause)) is not None:
            return _report(meaning, type(cause).__name__, text)
    return _report(_last_resort(error), type(error).__name__, text)


def _raised(error: BaseException) -> BaseException:
    """Return what an object raised.

    LangChain takes a BaseException that is not an Exception for an answer, and fails when it looks for its text.
    """
    is_taken = isinstance(error, AttributeError) and isinstance(error.obj, BaseException)
    return error.obj if is_taken else error  # type: ignore[attr-defined] # an AttributeError has one


def text_of(error: BaseException) -> str:
    """Return the class and the text of an exception. The text is not scrubbed of keys yet."""
    name = type(error).__name__
    try:
        text = f"{name}: {error}" if str(error) else name
    except Exception:  # noqa: BLE001 - a foreign __str__ may raise anything
        return name
    return text if isinstance(error, Exception) else f"the chat model ended the call by itself, with {text}"


def _report(meaning: FaultKind | int | str, name: str, text: str) -> ErrorReport:
    if isinstance(meaning, FaultKind):
        return make_fault(meaning, text, Watch())
    return {"error": {"code" if isinstance(meaning, int) else "type": meaning, "message": text, CLASS: name}}


def _last_resort(error: BaseException) -> FaultKind | int:
    if isinstance(error, NotImplementedError):
        return 405
    if isinstance(error, TypeError) and "unexpected keyword argument" in text_of(error):
        return 400
    if isinstance(error, ConfigError | RequestError):  # the object is, or asks, a chain of ours: the request is wrong
        return 400
    if isinstance(error, OSError):
        return FaultKind.CONNECT
    return FaultKind.MALFORMED if isinstance(error, _MALFORMED) else 500


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes, outermost first."""
    for _ in range(_DEEPEST_CAUSE):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _meaning_of(error: BaseException) -> FaultKind | int | str | None:
    for kind in type(error).__mro__:
        if kind.__module__ == "builtins":
            return None
        name = kind.__name__.lower()
        if (match := next((meaning for pattern, meaning in _NAMES if pattern.search(name)), None)) is not None:
            return match
    return None


# --- the attributes of a foreign exception ------------------------------------------------------------------------


def _status_of(error: BaseException) -> int | None:
    response = _read(error, "response")
    values = [_read(error, name) for name in _STATUSES] + [_read(response, name) for name in _STATUSES[:2]]
    values.append(get_in(response, "ResponseMetadata", "HTTPStatusCode"))  # boto3's clients
    return next((int(value) for value in values if isinstance(value, int) and 400 <= value <= 599), None)


def _headers_of(error: BaseException) -> dict[str, str]:
    response = _read(error, "response")
    for headers in (
        _read(response, "headers"),
        _read(error, "headers"),
        get_in(response, "ResponseMetadata", "HTTPHeaders"),
    ):
        try:
            return {str(name).lower(): str(value) for name, value in headers.items()}
        except Exception:  # noqa: BLE001, S112 - a foreign object of any kind, which holds no headers
            continue
    return {}


def _body_of(error: BaseException) -> object:
    """Return the JSON or the text that came with the error; None: there is neither."""
    response = _read(error, "response")
    first = error.args[0] if error.args else None
    for body in (
        _read(error, "body"),
        get_in(response, "Error") and {"error": {"message": get_in(response, "Error", "Message")}},
        _read(response, "text"),
        _read(response, "content"),
        first if isinstance(first, Mapping) else None,
    ):
        if isinstance(body, Mapping) and body:
            return body
        if isinstance(body, str | bytes) and body.strip():
            text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
            parsed = parse_json(text)
            return parsed if isinstance(parsed, Mapping) else text
    return None


def _bytes_of(body: object, text: str) -> bytes:
    if isinstance(body, str):
        return body.encode("utf-8", "replace")
    try:
        return json.dumps(body if isinstance(body, Mapping) else {"error": {"message": text}}, default=str).encode()
    except (TypeError, ValueError, RecursionError):
        return text.encode("utf-8", "replace")


def _read(thing: object, name: str) -> Any:  # noqa: ANN401 - a foreign object has what it has
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a foreign property may raise anything; httpx does for a body that was not read
        return None
