"""Amounts in words, the same everywhere (dollars, times, paces), and what fits into a line of a terminal."""

from __future__ import annotations

import math
import unicodedata


def dollars(amount: float | None) -> str:
    """Return dollars with at least two significant digits, however small: `$1.25`, `$0.0000025`; None: `?`."""
    if amount is None:
        return "?"
    digits = 2 if amount >= 0.1 or amount <= 0 else 1 - math.floor(math.log10(amount))
    return f"${amount:,.{digits}f}"


def duration(seconds: float) -> str:
    """Return a time in words: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def time_left(seconds: float) -> str:
    """Return a time to come, rounded: `19 s`, `2 min`, `1 h 5 min`. An infinite hold ends with a change."""
    # design 3.2: a condemned provider is held until its row changes, so no number can be given
    if math.isinf(seconds):
        return "until a change"
    whole = max(0, math.ceil(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def pace(rows: int, seconds: float) -> str:
    """Return how fast rows are done: `1,250 rows/s`, `3.2 rows/s`, `12 rows/min`."""
    per_s = rows / seconds
    amount, unit = (per_s, "s") if per_s >= 1 else (per_s * 60, "min")
    return f"{amount:,.0f} rows/{unit}" if amount >= 10 else f"{amount:.1f} rows/{unit}"


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a line takes: a Chinese character takes two, an accent none."""
    return len(text) if text.isascii() else sum(map(_columns_of_one, text))


def fitted(text: str, columns: int) -> str:
    """Return a line as it fits into so many columns of a terminal; `…` stands for what was cut."""
    if columns_of(text) <= columns:
        return text
    left, kept = columns - 1, ""
    for char in text:
        left -= _columns_of_one(char)
        if left < 0:
            break
        kept += char
    return f"{kept.rstrip()}…"[: max(0, columns)]


def _columns_of_one(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
