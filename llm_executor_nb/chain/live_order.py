"""The words `fastest` and `cheapest` of a row: Hugging Face's providers in the order of the router's figures. Pure.

A word stands for all providers that the router lists and the row does not name. A provider moves up only when it is
better by a margin, so that figures which waver do not change the order each time. `chain.live_rows` reads the list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llm_executor_nb.providers.catalog import PER_MILLION
from llm_executor_nb.settings.provider_names import CHEAPEST, FASTEST, LIVE_ORDERS, canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from llm_executor_nb.providers.catalog import Offer

    Figure = tuple[float, ...]
    """What is compared, the lower the better; infinite: not known, or the provider is not live."""

_ANSWER_TOKENS: Final = 256
"""Tokens of the answer whose time is compared: it weighs the first token against the speed of the others."""
_MARGIN: Final = {FASTEST: 0.2, CHEAPEST: 0.05}
"""How much lower a figure must be, as a part of the one before it. A price is told, a speed is measured and wavers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOrder:
    """What a word of a row stands for.

    Attributes:
        providers: in order; none: the router has not told any.
        since, until: when it was found, and when it is looked at again, in seconds of the clock in force.
        trouble: why the router told nothing the last time; empty: it did.
    """

    providers: tuple[str, ...] = ()
    since: float
    until: float
    trouble: str = ""


def spelt_out(row: Sequence[str], orders: Mapping[str, LiveOrder]) -> tuple[str, ...]:
    """Return the providers of a row, with each word replaced by what it stands for now."""
    named = set(map(canonical, row))
    return tuple(dict.fromkeys(_spelt_out(row, orders, named)))


def _spelt_out(row: Sequence[str], orders: Mapping[str, LiveOrder], named: set[str]) -> Iterator[str]:
    for name in row:
        if name not in LIVE_ORDERS:
            yield name
        elif name in orders:
            yield from (one for one in orders[name].providers if canonical(one) not in named)


def figures_of(word: str, offers: Iterable[Offer]) -> dict[str, Figure]:
    """Return what decides about each provider's place."""
    live = {offer.provider: offer for offer in offers if offer.provider}
    of = _times(live.values()) if word == FASTEST else {name: _price(offer) for name, offer in live.items()}
    return {name: of[name] if offer.is_live else (math.inf,) for name, offer in live.items()}


def _times(offers: Iterable[Offer]) -> dict[str, Figure]:
    """Return the seconds that an answer takes. Where one of the two figures is missing, the worst known one counts."""
    every = list(offers)
    latest = max((offer.latency_s for offer in every if offer.latency_s is not None), default=0.0)
    slowest = min((offer.throughput for offer in every if offer.throughput), default=math.inf)
    times: dict[str, Figure] = {}
    for offer in every:
        is_known = offer.latency_s is not None or offer.throughput
        latency_s = latest if offer.latency_s is None else offer.latency_s
        times[str(offer.provider)] = (
            latency_s + _ANSWER_TOKENS / (offer.throughput or slowest) if is_known else math.inf,
        )
    return times


def _price(offer: Offer) -> Figure:
    """Return the price of an answer's token, and of a prompt's where that is equal."""
    if offer.price is not None:
        return offer.price.output_usd, offer.price.input_usd
    return (0.0, 0.0) if offer.is_free else (math.inf,)


def ordered(word: str, figures: Mapping[str, Figure], before: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the providers in order: as before, except where another one is better by the margin."""
    known = [name for name in before if name in figures]
    new = sorted((name for name in figures if name not in known), key=figures.__getitem__)
    return tuple(_drawn([*known, *new], figures, part=1 - _MARGIN[word]))


def _drawn(left: list[str], figures: Mapping[str, Figure], *, part: float) -> Iterator[str]:
    while left:
        best = min(left, key=figures.__getitem__)
        is_better = figures[best] < tuple(part * one for one in figures[left[0]])
        left.remove(drawn := best if is_better else left[0])
        yield drawn


def figure_in_words(word: str, figure: Figure) -> str:
    """Return a figure for the log."""
    if math.isinf(figure[0]):
        return "no figure"
    if word == FASTEST:
        return f"{figure[0]:.2f} s"
    return f"${figure[0] * PER_MILLION:.4g}"


UNITS: Final = {
    FASTEST: f"time of an answer of {_ANSWER_TOKENS} tokens",
    CHEAPEST: "price of a million output tokens",
}
"""What the figures in the log are."""
