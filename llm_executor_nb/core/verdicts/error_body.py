"""The words, codes, times and status of an error, whatever shape it has.

Providers and gateways send an error as an object, a list, a text, JSON inside a text, or a page; under `error`,
`detail`, `errors` or `message`; its reason in `type`, `code`, `details[].reason` or `innererror.code`. All of it is
read here into one record, in bounded time. Fields that repeat the request are skipped: the words of a prompt prove
nothing. What the record means is decided in `classify`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from llm_executor_nb.core.foreign_json import get_in, number

# fmt: off
_TEXTS: Final = (
    "message", "msg", "detail", "error", "description", "error_description", "error_message", "errorMessage",
    "errorType", "error_msg", "status_msg", "statusText", "faultstring", "raw", "cause", "title",
)
"""Fields whose text is the error's message, the most specific first."""
_INSIDE: Final = (
    *_TEXTS, "errors", "details", "metadata", "availability", "innererror", "inner_error", "base_resp", "response",
    "fault", "violations",
)
"""Fields that may hold more of the error. All others may repeat the request, and are not read."""
_CODES: Final = (
    "code", "type", "reason", "status", "limit_source", "error_type", "error_code", "errorCode", "provider_error_code",
    "provider_code", "status_code", "statusCode", "excluded_by", "failed_routing_step", "quotaId", "__type",
)
"""Fields that name an error, or hold its status."""
_PRESENCE: Final = ("failed_generation", "flagged_input", "patterns")
"""Fields that say what an error is by being there."""
_TIMES: Final = (
    "retry_after", "retryAfter", "retry_after_s", "retry_after_seconds", "retry_after_ms", "retryAfterMs",
    "retryDelay", "retry_delay", "estimated_time", "reset_at", "resets_at", "resetsAt", "reset_time", "resetTime",
    "resets_in_seconds", "reset_in",
)
"""Fields that say when to ask again."""
# fmt: on
_DEEPEST: Final = 8
_MOST_PARTS: Final = 120
_LONGEST: Final = 2000
"""Characters that are read of one text, and of all texts together: a body of megabytes must not cost seconds."""
_MOST_PARSED: Final = 200_000
"""Characters of JSON inside texts that are parsed."""
_FEW_WORDS: Final = 5
"""Below this many words a message says little alone: "Provider returned error", "Bad request"."""
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD: Final = re.compile(r"[^a-z0-9]+")
_PAGE: Final = re.compile(
    r"<(?:\w+:)?(?:title|h1|faultstring|message|code|text)\b[^>]{0,200}>\s*([^<]{1,300})", re.IGNORECASE
)
_DECODER: Final = json.JSONDecoder()


@dataclass(slots=True)
class ErrorBody:
    """What an error says.

    Attributes:
        texts: its messages, the most specific first.
        codes: its codes in snake case, the outermost first; also numbers other than HTTP statuses.
        status: the HTTP status that the body names; None: it names none.
        times: fields that say when to ask again, with their values.
        headers: copies of headers in the body, names in lower case.
    """

    texts: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    status: int | None = None
    times: list[tuple[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    _parts: int = 0
    _parsed: int = 0
    _length: int = 0

    @property
    def message(self) -> str | None:
        """The most specific text; a short one together with the next. None: there is no text."""
        first = next(iter(self.texts), None)
        if first is None or len(first.split()) >= _FEW_WORDS:
            return first
        more = next((text for text in self.texts[1:] if text not in first), None)
        return first if more is None else f"{first}: {more}"

    @property
    def names(self) -> list[str]:
        """Its codes, and texts of one word, which are codes too: `{"error": "insufficient_quota"}`."""
        return [*self.codes, *(snake(text) for text in self.texts if " " not in text)]

    def is_full(self) -> bool:
        """Whether the bound is reached, so that the rest is not read."""
        return self._parts >= _MOST_PARTS or self._length >= _LONGEST

    def count_part(self) -> None:
        """Count one object, list or text of the error."""
        self._parts += 1

    def may_parse(self, text: str) -> bool:
        """Count a text that may contain JSON; return whether it is within the bound."""
        self._parsed += len(text)
        return self._parsed <= _MOST_PARSED

    def add_text(self, text: str) -> None:
        """Add a message, cut at the bound."""
        text = text[: _LONGEST - self._length]
        if text and text not in self.texts:
            self.texts.append(text)
            self._length += len(text)

    def add_code(self, value: object) -> None:
        """Add the value of a field for codes: a name, a number, a status, or a message after all."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return
        status = number(value)
        if status is not None and 400 <= status <= 599:
            self.status = int(status) if self.status is None else self.status
        elif isinstance(value, str) and " " in value.strip():  # some servers put a sentence into `type`
            self.add_text(value.strip())
        elif name := snake(str(value)):
            self.codes.append(name)


def read_error(body: object) -> ErrorBody:
    """Return what a body says about an error. Never raises.

    Args:
        body: the parsed JSON, or the text of a body that is not JSON.
    """
    error = ErrorBody()
    if isinstance(body, str) and body.lstrip()[:1] == "<":
        for text in _PAGE.findall(body[: 5 * _LONGEST]):
            error.add_text(" ".join(text.split()))
    else:
        _walk(body, error, 0)
    return error


def snake(name: str) -> str:
    """Return a code in snake case: `RESOURCE_EXHAUSTED`, `DeploymentNotFound`, `Model.AccessDenied`."""
    # AWS writes `com.amazonaws.bedrock#ThrottlingException`
    plain = name[-80:].rpartition("#")[2]
    return _NO_WORD.sub("_", _CAMEL.sub("_", plain).lower()).strip("_")


def tells_error(body: dict[str, Any]) -> bool:
    """Whether a body holds an error, although its status says that all is well."""
    if body.get("error") or get_in(first_choice(body), "error"):
        return True
    if body.get("choices"):  # beside an answer, `detail` or `message` is not an error
        return False
    is_marked = body.get("object") == "error" or body.get("type") == "error" or body.get("success") is False
    return is_marked or any(body.get(name) for name in ("errors", "detail", "error_code", "error_msg")) or _fails(body)


def first_choice(body: object) -> object:
    """Return the first choice of a completion, in which OpenRouter may put an error. None: there is none."""
    choices = get_in(body, "choices")
    return choices[0] if isinstance(choices, list) and choices else None


def _fails(body: dict[str, Any]) -> bool:
    """Whether a body's own code says that it failed, and nothing in it looks like an answer."""
    # MiniMax's: 0 is success
    status_code = number(get_in(body, "base_resp", "status_code"))
    code = body.get("code")
    is_named = isinstance(code, str) and bool(code) and number(code) is None
    has_words = isinstance(body.get("message") or body.get("msg"), str)
    return bool(status_code) or (has_words and (is_named or (number(code) or 0) >= 400 or "choices" not in body))


def _walk(value: object, error: ErrorBody, depth: int) -> None:
    if depth > _DEEPEST or error.is_full():
        return
    error.count_part()
    if isinstance(value, str):
        _read_text(value.strip(), error, depth)
    elif isinstance(value, list):
        for one in value[:_MOST_PARTS]:
            _walk(one, error, depth + 1)
    elif isinstance(value, dict):
        _read_object(value, error, depth)


def _read_object(value: dict[str, Any], error: ErrorBody, depth: int) -> None:
    """Read an object: its own texts before its codes, and both before what lies deeper, so that the outermost lead."""
    error.codes.extend(name for name in _PRESENCE if value.get(name))
    error.times.extend((name, value[name]) for name in _TIMES if name in value)
    if isinstance(headers := value.get("headers"), dict):
        error.headers.update((str(name).lower(), str(one)) for name, one in list(headers.items())[:_MOST_PARTS])
    inside = [value[name] for name in _INSIDE if name in value]
    for one in inside:
        if isinstance(one, str):
            _walk(one, error, depth + 1)
    for name in _CODES:
        if name in value:
            error.add_code(value[name])
    for one in [*inside, get_in(first_choice(value), "error")]:
        if isinstance(one, dict | list):
            _walk(one, error, depth + 1)


def _read_text(text: str, error: ErrorBody, depth: int) -> None:
    """Read a text, and the JSON that it may contain; where that holds no text, the whole text counts."""
    before, inner = _split(text) if error.may_parse(text) else (text, None)
    if inner is None:
        error.add_text(text)
        return
    count = len(error.texts)
    error.add_text(before)
    _walk(inner, error, depth + 1)
    if len(error.texts) == count + bool(before):
        error.add_text(text)


def _split(text: str) -> tuple[str, dict[str, Any] | list[Any] | None]:
    """Return what stands before the JSON in a text, and the JSON; None: there is none."""
    start = min((at for at in (text.find("{"), text.find('["'), text.find("[{")) if at >= 0), default=-1)
    if start < 0 or '"' not in text:
        return text, None
    try:
        inner, _ = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError, MemoryError):
        return text, None
    return text[:start].rstrip(" :-\n"), inner if isinstance(inner, dict | list) else None
