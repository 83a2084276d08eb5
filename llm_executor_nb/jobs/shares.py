"""How the parts of a job divide what belongs to all of them: requests in flight, requests a second, dollars. Pure.

A part takes its fair share, and never more than the others leave: it learns what they hold in the transaction in which
it takes. Who holds more than a fair share gives the rest back when it comes next. So the sum never exceeds the total.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROUNDING = 1e-9
_LEAST_RATE = 0.001
"""The share of a rate that a part has which must wait for the others: a rate is never 0."""


def fair_share(total: float, wanted: float, others: Iterable[float]) -> float:
    """Return what one of several has of a total that is divided fairly: nobody has more than it wants (max-min).

    Args:
        total: what is divided.
        wanted: how much the one can use.
        others: how much each of the others can use.
    """
    left, share = total, 0.0
    wants = sorted([wanted, *others])
    for place, want in enumerate(wants):
        share = min(want, left / (len(wants) - place))
        if want >= wanted:
            break
        left -= share
    return share


def slots_taken(total: int, rows_left: int, others: Iterable[tuple[int, int]]) -> int:
    """Return how many requests a part may have in flight: whole ones, and one at least where one is left.

    Args:
        total: of the whole job.
        rows_left: how many the part can use.
        others: how many each of the others can use, and holds now.
    """
    known = list(others)
    if not rows_left:
        return 0
    fair = int(fair_share(total, rows_left, [wanted for wanted, _ in known]) + _ROUNDING)
    return min(max(fair, 1), max(0, total - sum(held for _, held in known)))


def usd_taken(budget: float, least: float, unit: float, *, requests: int, held: float, others: int) -> float:
    """Return the dollars up to which a part may spend: what it needs, and some requests more.

    Less than one request costs is left to the others: two parts that each kept half of it could both send nothing.

    Args:
        budget: of the whole job.
        least: what the part has spent, and what its requests in flight may still cost.
        unit: the most that one request may cost; 0: it is not known yet.
        requests: how many more it wants to send; 0 where it has no slot: who has one may lack the dollars.
        held: what ended parts have spent, and what the others hold.
        others: how many of those want to send.
    """
    free = budget - held - least
    if free <= 0 or not requests or unit > free:
        return least
    fair = free / (1 + others)
    if unit > fair:  # there is enough for one part alone, so it takes all: it asks again less often
        return least + free
    return least + (min(unit * requests, fair) if unit else fair)


def rate_taken(total: float, others: Iterable[float], *, parts: int) -> float:
    """Return how many requests a second a part may send with one key.

    Args:
        total: the key's limit.
        others: what each of the others holds.
        parts: how many parts there are that send, this one included.
    """
    return max(min(total / parts, total - sum(others)), _LEAST_RATE * total)
