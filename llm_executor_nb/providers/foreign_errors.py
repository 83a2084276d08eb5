"""What a foreign exception tells: the status, headers and body of a reply, or the kind of a fault.

A chat model object raises whatever its own client raises, so everything is found by duck typing: attributes that the
clients of this field share, the built-in errors, and names of classes last. No HTTP library is imported. An exception
is read here and let go; it may hold a request with a key in its headers.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llm_executor_nb.core.errors import ConfigError, RequestError
from llm_executor_nb.core.foreign_json import get_in
from llm_executor_nb.core.records import Fault, FaultKind, Reply
from llm_executor_nb.providers.faults import Watch, make_fault

Told = Reply | Fault | dict[str, Any]
"""A reply with its status, a fault, or (a dict) the body of a reply whose status is not known."""
CLASS: Final = "class"
"""In an error that no provider wrote: the name of the exception's class, from which all the rest was read."""
_DEEPEST: Final = 5
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
"""Words in the name of a class or of one it comes from, and what they say: a fault, a status, or an error's type."""
_NAMES: Final = tuple((re.compile(words), meaning) for words, meaning in _NAMED)
_MALFORMED: Final = (ValueError, TypeError, LookupError, AttributeError)
"""What the clients raise over a reply that has not the shape they expect."""


def read_error(error: BaseException) -> Told:
    """Return what an exception of a chat model object tells. Never raises; keeps nothing of the exception."""
    error = _raised(error)
    links = list(_links(error))
    words = words_of(error)
    for link in links:
        if (status := _status_of(link)) is not None:
            return Reply(status=status, headers=_headers_of(link), body=_bytes_of(_body_of(link), words))
    for link in links:
        if isinstance(body := _body_of(link), Mapping):
            return {"error": get_in(body, "error") or dict(body)}
    for link in links:
        for kind, fault in _BUILTIN:
            if isinstance(link, kind):
                return make_fault(fault, words, Watch())
    for link in links:
        if (meaning := _meaning_of(link)) is not None:
            return _as_told(meaning, type(link).__name__, words)
    return _as_told(_last_resort(error), type(error).__name__, words)


def _raised(error: BaseException) -> BaseException:
    """Return what an object raised: LangChain takes what is no Exception for an answer, and looks for its text."""
    is_taken = isinstance(error, AttributeError) and isinstance(error.obj, BaseException)
    return error.obj if is_taken else error  # type: ignore[attr-defined] # an AttributeError has one


def words_of(error: BaseException) -> str:
    """Return the class and the text of an exception, on which nothing but a scrubber must rely."""
    name = type(error).__name__
    try:
        told = f"{name}: {error}" if str(error) else name
    except Exception:  # noqa: BLE001 - a foreign __str__ may raise anything
        return name
    return told if isinstance(error, Exception) else f"the chat model ended the call by itself, with {told}"


def _as_told(meaning: FaultKind | int | str, name: str, words: str) -> Told:
    match meaning:
        case FaultKind():
            return make_fault(meaning, words, Watch())
        case int():
            return {"error": {"code": meaning, "message": words, CLASS: name}}
        case _:
            return {"error": {"type": meaning, "message": words, CLASS: name}}


def _last_resort(error: BaseException) -> FaultKind | int:
    if isinstance(error, NotImplementedError):
        return 405
    if isinstance(error, TypeError) and "unexpected keyword argument" in words_of(error):
        return 400
    if isinstance(error, ConfigError | RequestError):  # of a chain that the object is, or asks: the user's to mend
        return 400
    if isinstance(error, OSError):
        return FaultKind.CONNECT
    return FaultKind.MALFORMED if isinstance(error, _MALFORMED) else 500


def _links(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it came from, outermost first."""
    for _ in range(_DEEPEST):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _meaning_of(error: BaseException) -> FaultKind | int | str | None:
    for kind in type(error).__mro__:
        if kind.__module__ == "builtins":
            return None
        name = kind.__name__.lower()
        if (found := next((meaning for pattern, meaning in _NAMES if pattern.search(name)), None)) is not None:
            return found
    return None


# --- the attributes of a foreign exception ------------------------------------------------------------------------


def _status_of(error: BaseException) -> int | None:
    response = _read(error, "response")
    found = [_read(error, name) for name in _STATUSES] + [_read(response, name) for name in _STATUSES[:2]]
    found.append(get_in(response, "ResponseMetadata", "HTTPStatusCode"))
    return next((int(status) for status in found if isinstance(status, int) and 400 <= status <= 599), None)


def _headers_of(error: BaseException) -> dict[str, str]:
    response = _read(error, "response")
    for found in (
        _read(response, "headers"),
        _read(error, "headers"),
        get_in(response, "ResponseMetadata", "HTTPHeaders"),
    ):
        try:
            return {str(name).lower(): str(value) for name, value in found.items()}
        except Exception:  # noqa: BLE001, S112 - a foreign object of any kind; it tells of no headers
            continue
    return {}


def _body_of(error: BaseException) -> object:
    """Return the JSON or the text that came with the error; None: neither can be found."""
    response = _read(error, "response")
    first = error.args[0] if error.args else None
    for found in (
        _read(error, "body"),
        get_in(response, "Error") and {"error": {"message": get_in(response, "Error", "Message")}},
        _read(response, "text"),
        _read(response, "content"),
        first if isinstance(first, Mapping) else None,
    ):
        if isinstance(found, Mapping) and found:
            return found
        if isinstance(found, str | bytes) and found.strip():
            return _parsed(found)
    return None


def _bytes_of(body: object, words: str) -> bytes:
    if isinstance(body, str):
        return body.encode("utf-8", "replace")
    try:
        return json.dumps(body if isinstance(body, Mapping) else {"error": {"message": words}}, default=str).encode()
    except (TypeError, ValueError, RecursionError):
        return words.encode("utf-8", "replace")


def _parsed(text: str | bytes) -> object:
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    try:
        body = json.loads(plain)
    except (ValueError, RecursionError):
        return plain
    return body if isinstance(body, Mapping) else plain


def _read(thing: object, name: str) -> Any:  # noqa: ANN401 - a foreign object has what it has
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a foreign property may raise anything, such as that a body was not read
        return None
