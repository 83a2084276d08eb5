"""Amounts in words, the same everywhere: dollars, times, and how long a hold still lasts."""

from __future__ import annotations

import math


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
    """Return how long a hold still lasts. An infinite one ends when its key or its row of the table changes."""
    # design 3.2: a condemned provider is held until its row changes, so no number can be given
    return "until a change" if math.isinf(seconds) else f"{max(0, math.ceil(seconds))} s"
