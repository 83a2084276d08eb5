"""Keeps the rows with a word such as `fastest` up to date, by the router's list of models.

A list is looked at before a call or a job, at most once in 10 minutes; never within a job, whose chain stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from llm_executor_nb.chain.catalogues import held
from llm_executor_nb.chain.live_order import UNITS, LiveOrder, figure_in_words, figures_of, ordered
from llm_executor_nb.chain.lookups import FAILURES_KEPT_S, id_at, list_of
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import HUGGINGFACE
from llm_executor_nb.engine.loop import run_async, run_sync
from llm_executor_nb.settings.provider_names import LIVE_ORDERS, has_live_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_executor_nb.chain.live_order import Figure
    from llm_executor_nb.chain.session import Session
    from llm_executor_nb.providers.catalog import ModelList, Offer

AGAIN_S: Final = 600.0
"""Seconds for which an order stays as it is."""
_log = logging.getLogger("llm_executor_nb")


def orders_of(model: str, current: Session) -> Mapping[str, LiveOrder]:
    """Return what is known of the orders of a model's row, by the word."""
    orders, there = current.live_orders, id_at(HUGGINGFACE, model, current)
    return {word: orders[there, word] for word in LIVE_ORDERS if (there, word) in orders}


def look_again(model: str, row: Sequence[str], current: Session) -> None:
    """Bring the order of a model's row up to date where it is due. Costs nothing."""
    if _is_due(model, row, current):
        run_sync(lambda: _look_again(model, row, current))


async def alook_again(name: str) -> None:
    """Do what `look_again` does, for async code, with the name that a call gives its model."""
    current = session()
    try:
        model = current.options.models.resolve(name)
        row = current.options.models.row(model)
    except ConfigError:  # the call itself raises it, after it has told what else is wrong
        return
    if has_live_order(row) and _is_due(model, row, current):
        await run_async(lambda: _look_again(model, row, current))


def look_at_all() -> None:
    """Bring the orders of all rows up to date where they are due."""
    current = session()
    table = current.options.models
    for model in tuple(table):
        try:
            row = table.row(model)
        except ConfigError:  # told where the model is used
            continue
        if has_live_order(row):
            look_again(model, row, current)


def _is_due(model: str, row: Sequence[str], current: Session) -> bool:
    if not current.options.keys.of(HUGGINGFACE) or not current.may_look_up:
        return False
    now, orders = clock.current().now(), orders_of(model, current)
    return any(
        word in row and not ((order := orders.get(word)) and order.since <= now < order.until) for word in LIVE_ORDERS
    )


async def _look_again(model: str, row: Sequence[str], current: Session) -> None:
    there, orders = id_at(HUGGINGFACE, model, current), orders_of(model, current)
    listed = await _list(there, current, is_known=any(order.providers for order in orders.values()))
    offers = (listed and listed.of(there)) or ()
    kept = () if offers or orders else await _kept(there, current)
    for word in LIVE_ORDERS.intersection(row):
        if _is_due(model, [word], current):  # another call may have done it meanwhile
            before = orders[word].providers if word in orders else ordered(word, figures_of(word, kept))
            current.live_orders[there, word] = (
                _order(model, word, offers, before)
                if offers
                else _unchanged(model, word, before, trouble=_trouble(listed, there))
            )


async def _list(there: str, current: Session, *, is_known: bool) -> ModelList | None:
    """Return the router's list; None: it is late, and an order is known."""
    try:
        async with clock.current().timeout(current.options.patience.live_order_s if is_known else None):
            return await list_of(HUGGINGFACE, [there], current, max_age_s=AGAIN_S)
    except TimeoutError:
        return None


async def _kept(there: str, current: Session) -> tuple[Offer, ...]:
    """Return the offers of a model by the last list that a search kept on disk; none: there is none."""
    kept = await asyncio.to_thread(held, current, "")
    return kept.huggingface.listed.of(there) or ()


def _order(model: str, word: str, offers: tuple[Offer, ...], before: tuple[str, ...]) -> LiveOrder:
    now, figures = clock.current().now(), figures_of(word, offers)
    providers = ordered(word, figures, before)
    _tell(model, word, providers, figures, before)
    return LiveOrder(providers=providers, since=now, until=now + AGAIN_S)


def _unchanged(model: str, word: str, before: tuple[str, ...], *, trouble: str) -> LiveOrder:
    now, stays = clock.current().now(), f"stays {', '.join(before)}" if before else "is not known"
    _log.warning("%s: the order by %r %s: %s", model, word, stays, trouble)
    return LiveOrder(providers=before, since=now, until=now + FAILURES_KEPT_S, trouble=trouble)


def _trouble(listed: ModelList | None, there: str) -> str:
    if listed is None:
        return "the router's list is late"
    if listed.outcome is not Outcome.OK:
        return f"the router sent no list: {listed.outcome.value} {listed.message or ''}".strip()
    return f"the router lists no provider for {there}"


def _tell(
    model: str, word: str, providers: tuple[str, ...], figures: Mapping[str, Figure], before: tuple[str, ...]
) -> None:
    told = ", ".join(f"{name} ({figure_in_words(word, figures[name])})" for name in providers)
    was = f"; it was {', '.join(before)}" if before and before != providers else ""
    _log.info("%s: the order by %r is %s, by %s%s", model, word, told, UNITS[word], was)
