"""When to ask again, and how many requests are left until then, in every form that providers use.

A time of zero, in the past, or over a month away is ignored (design 3.1): the next form is read, and where none is left
there is no time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from llm_executor_nb.core.foreign_json import number
from llm_executor_nb.core.records import Allowance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_executor_nb.core.verdicts.error_body import ErrorBody

LONGEST_S = 31 * 86_400.0
"""Seconds. No quota resets later than in a month, so a longer time is a mistake and is ignored."""
_SHORTEST_S = 0.001
_RATELIMIT_T = re.compile(r"\b(?:t|reset)\s*=\s*(\d+(?:\.\d+)?)(?![\w.])")
_RATELIMIT_R = re.compile(r"\b(?:r|remaining)\s*=\s*(\d+)(?![\w.])")
_EPOCH_MS_FROM = 1e11
_RELAYED: Final = "llm_provider-"
"""litellm's prefix for the headers of its upstream."""
_MILLISECONDS: Final = ("retry-after-ms", "x-ms-retry-after-ms")
_SECONDS: Final = ("retry-after", "x-retry-after")
_RESETS: Final = re.compile(r"(?:x-)?(?:anthropic-)?rate-?limit-(?:\w[\w-]*-)?reset(?:-[\w-]+)?")
"""Headers that say when a limit resets; the same name with `remaining` says what is left of it."""
_LONGEST_NAME: Final = 80
_LONGEST_HEADER: Final = 1_000
"""Characters of a header's name and value that are read: a server may send 64 kB of each."""
_UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_AMOUNT: Final = (
    r"\d{1,9}(?:\.\d{1,12})?\s?(?:ms|milliseconds?|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|[smhd])(?![a-z])"
)
_AMOUNTS: Final = re.compile(r"(\d{1,9}(?:\.\d{1,12})?)\s?(ms|mil|[smhd])")
_DURATION: Final = re.compile(rf"(?:{_AMOUNT}[\s,]{{0,2}}(?:and )?)+")
_ISO: Final = r"\d{4}-\d\d-\d\d[t ]\d\d:\d\d(?::\d\d)?(?:\.\d{1,9})?(?:z|\s?utc|[+-]\d\d:?\d\d)?"
_IN_WORDS: Final = re.compile(
    r"(?:try again|retry|retrying|wait|resets?|available|come back)\b[^.;\n\d]{0,40}?\s"
    rf"(?:(?P<date>{_ISO})|(?P<span>(?:{_AMOUNT}[\s,]{{0,2}}(?:and )?)+))"
)
"""Words such as "try again in 16m32.64s", "Please wait 20 sec", "resets at 2026-11-25T00:00:00Z"."""
_IN_WORDS_BARE: Final = re.compile(r"(?:retry[-_ ]after|retry_?delay\s?\{\s?seconds)[:=\s]{1,3}(\d{1,7})(?!\w)")


def retry_after_s(headers: Mapping[str, str], error: ErrorBody, now_utc: datetime) -> float | None:
    """Return the seconds after which the provider says it may be asked again; None: it does not say.

    Args:
        headers: of the reply, names in lower case.
        error: what its body says.
        now_utc: when the reply arrived.
    """
    times = _times(headers, error, now_utc)
    return next((s for s in times if s is not None and _SHORTEST_S <= s <= LONGEST_S), None)


def allowance(headers: Mapping[str, str], now_utc: datetime) -> Allowance | None:
    """Return how many requests a reply says are left until a limit resets; None: it says nothing believable.

    Of several limits the tightest counts: the one with the fewest requests per second left.

    Args:
        headers: of the reply, names in lower case.
        now_utc: when it arrived.
    """
    if "limit" not in " ".join(headers):  # most replies say nothing: the rest of this function would cost them time
        return None
    allowances = [
        Allowance(remaining=left, reset_s=seconds)
        for left, seconds in ((number(left), seconds) for left, seconds in _left(headers, now_utc))
        if left is not None and left >= 0 and seconds is not None and _SHORTEST_S <= seconds <= LONGEST_S
    ]
    return min(allowances, key=lambda one: (one.remaining / one.reset_s, -one.reset_s), default=None)


def _left(headers: Mapping[str, str], now_utc: datetime) -> Iterator[tuple[str | None, float | None]]:
    for prefix in ("x-ratelimit-", "ratelimit-"):
        if remaining := headers.get(prefix + "remaining"):
            yield remaining, _seconds(headers.get(prefix + "reset"), now_utc)
    for limit in _limits(headers):
        left, seconds = _RATELIMIT_R.search(limit), _RATELIMIT_T.search(limit)
        if left and seconds:
            yield left[1], float(seconds[1])


def _limits(headers: Mapping[str, str]) -> list[str]:
    """Return the limits in the IETF's header: a list in its newer form, a single limit in its older one."""
    header = headers.get("ratelimit", "")[:_LONGEST_HEADER]
    return [header] if "remaining" in header else header.split(",")


# --- when to ask again --------------------------------------------------------------------------------------------


def _times(headers: Mapping[str, str], error: ErrorBody, now_utc: datetime) -> Iterator[float | None]:
    yield from _of_headers(headers, now_utc)
    relayed = {name.removeprefix(_RELAYED): value for name, value in headers.items() if name.startswith(_RELAYED)}
    # the reply's own headers come first: they are about our key, the copied ones about the gateway's
    for copied in (relayed, error.headers):
        if copied:
            yield from _of_headers(copied, now_utc)
    for name, value in error.times:
        yield _of_field(name, value, now_utc)
    for text in error.texts:
        yield from _of_words(text.lower(), now_utc)


def _of_headers(headers: Mapping[str, str], now_utc: datetime) -> Iterator[float | None]:
    for name in _MILLISECONDS:  # before the seconds, which are often the same time rounded up
        milliseconds = number(headers.get(name))
        yield None if milliseconds is None else milliseconds / 1000
    for name in _SECONDS:  # RFC 9110: seconds or a date, never an epoch
        yield _seconds(headers.get(name), now_utc, is_epoch=False)
    yield from _of_resets(headers, now_utc)
    spent = [_RATELIMIT_T.search(limit) for limit in _limits(headers) if _is_spent(limit)]
    yield max((float(seconds[1]) for seconds in spent if seconds), default=None)


def _is_spent(limit: str) -> bool:
    left = _RATELIMIT_R.search(limit)
    return left is not None and number(left[1]) == 0


def _of_resets(headers: Mapping[str, str], now_utc: datetime) -> Iterator[float | None]:
    """Yield when all spent limits have reset, then the resets of limits whose rest is unknown, soonest first."""
    spent, unknown = [], []
    for name, value in headers.items():
        is_reset = "reset" in name and len(name) <= _LONGEST_NAME and _RESETS.fullmatch(name)
        if not is_reset or (seconds := _seconds(value, now_utc)) is None:
            continue
        left = number(headers.get(name.replace("reset", "remaining")))
        if left == 0:
            spent.append(seconds)
        elif left is None:
            unknown.append(seconds)
    yield max(spent, default=None)  # a request passes only when the last spent limit has reset
    # the soonest of those unknown: to ask too early costs one request
    yield from sorted(unknown)


def _of_field(name: str, value: object, now_utc: datetime) -> float | None:
    if isinstance(value, dict):
        value = value.get("seconds")
    seconds = _seconds(value, now_utc)
    return seconds / 1000 if seconds is not None and name.lower().endswith("ms") else seconds


def _of_words(text: str, now_utc: datetime) -> Iterator[float | None]:
    for match in _IN_WORDS.finditer(text):
        yield _of_duration(match["span"]) if match["span"] else _of_date(match["date"], now_utc)
    yield from (float(match[1]) for match in _IN_WORDS_BARE.finditer(text))


def _seconds(value: object, now_utc: datetime, *, is_epoch: bool = True) -> float | None:
    """Return the seconds until a time: a number of seconds, an epoch, a date, or a span like `6m0s`."""
    plain = number(value)
    if plain is not None:
        return _from_epoch(plain, now_utc) if is_epoch else plain
    if not isinstance(value, str):
        return None
    text = value.strip().lower()[:80]
    return _of_duration(text) if _DURATION.fullmatch(text) else _of_date(value.strip()[:80], now_utc)


def _from_epoch(reset: float, now_utc: datetime) -> float:
    """Return the seconds until a reset: OpenRouter's is an epoch in ms, others' an epoch in s, or seconds from now."""
    if reset > _EPOCH_MS_FROM:
        return reset / 1000 - now_utc.timestamp()
    return reset - now_utc.timestamp() if reset > _EPOCH_MS_FROM / 1000 else reset


def _of_duration(text: str) -> float:
    amounts = ((float(amount), "ms" if unit == "mil" else unit) for amount, unit in _AMOUNTS.findall(text))
    return sum(amount * _UNIT_S[unit] for amount, unit in amounts)


def _of_date(text: str, now_utc: datetime) -> float | None:
    for read in (parsedate_to_datetime, _iso_date):
        try:
            date = read(text)
            # a date without a zone is in UTC, as every date of HTTP is (RFC 9110)
            return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now_utc).total_seconds()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _iso_date(text: str) -> datetime:
    return datetime.fromisoformat(text.upper().replace(" UTC", "Z").replace("UTC", "Z"))
