"""The faults by name: what each sends instead of an answer. A new fault is a new row of `FAULTS`.

A status code (`503`) is a fault too; all of them share one row. `latency` and `rate` are not replies but conditions:
`play.py` knows what to do with them, and their rows say only how they are written.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.rehearsal.bodies import (
    HTML_PAGE,
    answer_headers,
    answer_text,
    completion,
    error_body,
    spoken_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_executor_nb.rehearsal.asked import Asked
    from llm_executor_nb.rehearsal.script import Effect

LATENCY = "latency"
RATE = "rate"

_JSON = "application/json"
_STATUS = re.compile(r"[45]\d\d")
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_UNIT_S = {"s": 1.0, "min": 60.0, "h": 3600.0}


class Manner(StrEnum):
    """How a reply is put on the wire."""

    WHOLE = auto()
    CUT = auto()
    CLOSE = auto()
    HANG = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """What the server is to do with one request.

    Attributes:
        manner: how the reply is sent; CUT stops in the middle of the body, CLOSE and HANG send nothing.
        status, headers, body: the reply; status None: none is sent.
        fault: the fault that decided; None: an answer.
    """

    manner: Manner = Manner.WHOLE
    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """One row of the table.

    Attributes:
        does: what it does, in a few words.
        stage: makes the reply; None: `play.py` knows how.
        is_value: tells whether a text may stand behind the `=`; None: nothing may.
        needs_value: something must.
        example: how it is written, for error messages.
        options: the names that may follow it.
    """

    does: str
    stage: Callable[[Asked, Effect], Staged] | None
    is_value: Callable[[str], bool] | None = None
    needs_value: bool = False
    example: str = ""
    options: tuple[str, ...] = ()


def is_status(text: str) -> bool:
    """Tell whether a text is an HTTP error status."""
    return _STATUS.fullmatch(text) is not None


def is_seconds(text: str) -> bool:
    """Tell whether a text is a number of seconds."""
    return _NUMBER.fullmatch(text) is not None


def is_rate(text: str) -> bool:
    """Tell whether a text is a rate, such as `5/s` or `20/min`."""
    count, _, unit = text.partition("/")
    return is_seconds(count) and float(count) > 0 and unit in _UNIT_S


def read_rate(text: str) -> tuple[float, float]:
    """Return how many requests a rate allows, and in how many seconds."""
    count, _, unit = text.partition("/")
    return float(count), _UNIT_S[unit]


def answer(asked: Asked) -> Staged:
    """Return the practice answer."""
    return _completion(asked, completion(asked, answer_text(asked)), None)


def refusal(asked: Asked, effect: Effect, status: int) -> Staged:
    """Return an error reply with the body the backend has for `status`, and the effect's options in it."""
    wait = effect.option("retry-after")
    wait_s = float(wait) if wait is not None else None
    body = error_body(asked, status, source=effect.option("source"), retry_after_s=wait_s)
    headers = {"Retry-After": wait} if wait is not None else {}
    return _json(body, effect.fault, status=status, headers=headers)


def too_many(asked: Asked, effect: Effect, wait_s: float, *, limit: int, epoch_s: float) -> Staged:
    """Return the 429 of a rate limit: when to come again, in the headers and, on OpenRouter, once more in the body.

    Args:
        asked: the request.
        effect: the `rate` that refuses.
        wait_s: seconds until the key has a slot again.
        limit: how many requests the key may make at once.
        epoch_s: the time of day, in seconds since 1970; OpenRouter names its reset in milliseconds.
    """
    after = max(1, math.ceil(wait_s))
    body = error_body(asked, 429)
    if asked.backend != OPENROUTER:
        headers = {"Retry-After": str(after), "RateLimit": f'"api";r=0;t={after}'}
        return _json(body, effect.fault, status=429, headers=headers)
    shown = {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(round((epoch_s + after) * 1000)),
    }
    body["error"]["metadata"] = {"headers": shown}
    return _json(body, effect.fault, status=429, headers={"Retry-After": str(after), **shown})


def no_key(asked: Asked) -> Staged:
    """Return the 401 to a request without an Authorization header."""
    words = "Missing Authentication header" if asked.backend == OPENROUTER else "Invalid username or password."
    return _json(spoken_error(asked.backend, 401, words), "no key", status=401)


def bad_request(asked: Asked, words: str) -> Staged:
    """Return the 400 to a request that a practice provider cannot serve."""
    return _json(spoken_error(asked.backend, 400, words), "bad request", status=400)


def _json(
    body: dict[str, Any], fault: str | None, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Staged:
    return Staged(
        status=status, headers={"Content-Type": _JSON, **(headers or {})}, body=json.dumps(body).encode(), fault=fault
    )


def _completion(asked: Asked, body: dict[str, Any], fault: str | None) -> Staged:
    return _json(body, fault, headers=answer_headers(asked, body))


def _status(asked: Asked, effect: Effect) -> Staged:
    return refusal(asked, effect, int(effect.fault))


def _quota(asked: Asked, effect: Effect) -> Staged:
    return refusal(asked, effect, 402)


def _down(_: Asked, effect: Effect) -> Staged:
    return Staged(manner=Manner.CLOSE, status=None, fault=effect.fault)


def _hang(_: Asked, effect: Effect) -> Staged:
    return Staged(manner=Manner.HANG, status=None, fault=effect.fault)


def _cut(asked: Asked, effect: Effect) -> Staged:
    whole = answer(asked)
    return Staged(manner=Manner.CUT, headers=whole.headers, body=whole.body, fault=effect.fault)


def _html(_: Asked, effect: Effect) -> Staged:
    return Staged(headers={"Content-Type": "text/html; charset=utf-8"}, body=HTML_PAGE, fault=effect.fault)


def _error_in_200(asked: Asked, effect: Effect) -> Staged:
    body = {**completion(asked, None), "choices": None, **error_body(asked, int(effect.value or 502))}
    return _completion(asked, body, effect.fault)


def _finish_error(asked: Asked, effect: Effect) -> Staged:
    text = answer_text(asked)
    error = {"code": 502, "message": "Provider disconnected"}
    body = completion(asked, text[: len(text) // 2], finish_reason="error", error=error)
    return _completion(asked, body, effect.fault)


def _with_content(content: str | None, finish_reason: str) -> Callable[[Asked, Effect], Staged]:
    def stage(asked: Asked, effect: Effect) -> Staged:
        return _completion(asked, completion(asked, content, finish_reason=finish_reason), effect.fault)

    return stage


_HINTS = ("retry-after", "source")

STATUS_FAULT = FaultKind(does="that HTTP status", stage=_status, options=_HINTS)
"""The row of all status codes."""

FAULTS: dict[str, FaultKind] = {
    "down": FaultKind(does="the connection is closed without a byte", stage=_down),
    "hang": FaultKind(does="no reply until the client goes away", stage=_hang),
    "quota": FaultKind(does="402, the credits are used up", stage=_quota, options=_HINTS),
    "200-error": FaultKind(
        does="HTTP 200 with an error in it", stage=_error_in_200, is_value=is_status, example="200-error=502"
    ),
    "empty": FaultKind(does="an answer without content", stage=_with_content(None, "stop")),
    "blank": FaultKind(does="an answer of blanks", stage=_with_content("  \n", "stop")),
    "truncated": FaultKind(does="cut off at max_tokens before any text", stage=_with_content("", "length")),
    "content_filter": FaultKind(does="the answer was filtered", stage=_with_content("", "content_filter")),
    "finish_error": FaultKind(does="half an answer that ended in an error", stage=_finish_error),
    "cut": FaultKind(does="the body breaks off", stage=_cut),
    "html": FaultKind(does="HTTP 200 with an HTML page", stage=_html),
    LATENCY: FaultKind(
        does="seconds added to every reply",
        stage=None,
        is_value=is_seconds,
        needs_value=True,
        example="latency=0.2",
    ),
    RATE: FaultKind(
        does="requests a key may make; a 429 above it",
        stage=None,
        is_value=is_rate,
        needs_value=True,
        example="rate=5/s or rate=20/min",
        options=("burst",),
    ),
}
"""The faults by name."""


def fault_kind(name: str) -> FaultKind | None:
    """Return the row of a fault; None: there is none of that name."""
    return STATUS_FAULT if is_status(name) else FAULTS.get(name)
