"""When may one ask again, and how often until then? Reads every form in which a provider tells, refuses absurd ones."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.records import Allowance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST_S = 31 * 86_400.0
"""Seconds; no quota resets later than in a month, so a longer time is a mistake and is not believed."""
_SHORTEST_S = 0.001
_RATELIMIT_T = re.compile(r"\b(?:t|reset)\s*=\s*(\d+(?:\.\d+)?)(?![\w.])")
_RATELIMIT_R = re.compile(r"\b(?:r|remaining)\s*=\s*(\d+)(?![\w.])")
_EPOCH_MS_FROM = 1e11


def retry_after_s(headers: Mapping[str, str], body: object, now_utc: datetime) -> float | None:
    """Return the seconds from now after which the provider says it may be asked again; None: it does not say.

    Args:
        headers: of the reply, names in lower case.
        body: the parsed JSON, of any shape.
        now_utc: when the reply came.
    """
    return next((s for s in _hints(headers, body, now_utc) if s is not None and 0 <= s <= LONGEST_S), None)


def allowance(headers: Mapping[str, str], now_utc: datetime) -> Allowance | None:
    """Return how many requests a reply says may still be made until when; None: it does not say, or absurdly.

    Of several limits the tightest counts: the one with the fewest requests per second left.

    Args:
        headers: of the reply, names in lower case.
        now_utc: when it came.
    """
    told = ((number(left), seconds) for left, seconds in _left(headers, now_utc))
    found = [
        Allowance(remaining=left, reset_s=seconds)
        for left, seconds in told
        if left is not None and left >= 0 and seconds is not None and _SHORTEST_S <= seconds <= LONGEST_S
    ]
    return min(found, key=lambda one: (one.remaining / one.reset_s, -one.reset_s), default=None)


def _left(headers: Mapping[str, str], now_utc: datetime) -> Iterator[tuple[str | None, float | None]]:
    for prefix in ("x-ratelimit-", "ratelimit-"):
        if remaining := headers.get(prefix + "remaining"):
            yield remaining, _seconds_to_reset(headers.get(prefix + "reset"), now_utc)
    told = headers.get("ratelimit", "")
    for limit in [told] if "remaining" in told else told.split(","):
        left, seconds = _RATELIMIT_R.search(limit), _RATELIMIT_T.search(limit)
        if left and seconds:
            yield left[1], float(seconds[1])


def _hints(headers: Mapping[str, str], body: object, now_utc: datetime) -> Iterator[float | None]:
    yield from _of_headers(headers, now_utc)
    error = field(body, "error")
    copied = field(error, "metadata", "headers")
    if isinstance(copied, dict):
        yield from _of_headers({str(k).lower(): str(v) for k, v in copied.items()}, now_utc)
    yield number(field(error, "availability", "retry_after"))
    yield number(field(error, "metadata", "retry_after"))
    yield number(field(body, "estimated_time"))


def _of_headers(headers: Mapping[str, str], now_utc: datetime) -> Iterator[float | None]:
    milliseconds = number(headers.get("retry-after-ms"))
    yield None if milliseconds is None else milliseconds / 1000
    yield _seconds_or_date(headers.get("retry-after"), now_utc)
    if number(headers.get("x-ratelimit-remaining")) in (None, 0.0):
        yield _seconds_to_reset(headers.get("x-ratelimit-reset"), now_utc)
    ratelimit = headers.get("ratelimit", "")
    remaining, seconds = _RATELIMIT_R.search(ratelimit), _RATELIMIT_T.search(ratelimit)
    yield float(seconds[1]) if seconds and remaining and number(remaining[1]) == 0 else None


def _seconds_or_date(value: str | None, now_utc: datetime) -> float | None:
    if value is None or (seconds := number(value)) is not None:
        return None if value is None else seconds
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now_utc).total_seconds())


def _seconds_to_reset(value: str | None, now_utc: datetime) -> float | None:
    """OpenRouter names the reset as an epoch in milliseconds; others in seconds, or as seconds from now."""
    reset = number(value)
    if reset is None:
        return None
    if reset > _EPOCH_MS_FROM:
        return max(0.0, reset / 1000 - now_utc.timestamp())
    return max(0.0, reset - now_utc.timestamp()) if reset > _EPOCH_MS_FROM / 1000 else reset


def number(value: object) -> float | None:
    """Return a finite number from a number or its text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def field(value: object, *names: str) -> Any:  # noqa: ANN401 - foreign JSON has any shape
    """Return a field of nested JSON objects, None where any of them is missing or no object."""
    for name in names:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value
