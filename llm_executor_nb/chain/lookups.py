"""Free look-ups of lists for the session in force: who serves the table's models, what they cost, who keeps nothing.

Nothing here costs anything. A look-up that fails is a row, or an unknown price, with its reason. Lists are cached for
an hour.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from llm_executor_nb.chain.session import session
from llm_executor_nb.chain.stopping import stoppable
from llm_executor_nb.core import clock
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import door
from llm_executor_nb.engine.loop import run_async, run_sync
from llm_executor_nb.providers import catalog
from llm_executor_nb.settings.provider_names import LIVE_ORDERS, canonical, has_live_order, is_chosen_there
from llm_executor_nb.settings.shipped_models import LEFT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llm_executor_nb.chain.session import Session
    from llm_executor_nb.providers.catalog import ModelList, Offer, Price, RetentionList

LISTS_KEPT_S: Final = 3600.0
FAILURES_KEPT_S: Final = 60.0
"""Seconds for which a failed look-up is not repeated, except with `fresh=True`."""
LISTED, STALE, MISSING, UNKNOWN = "listed", "stale", "missing", "unknown"
_SYNC_COLUMNS: Final = {
    "model": "string",
    "provider": "string",
    "found": "string",
    "status": "string",
    "context_length": "Int64",
    "input_usd_per_million": "Float64",
    "output_usd_per_million": "Float64",
    "supports_tools": "boolean",
    "supports_structured_output": "boolean",
    "message": "string",
}


# --- models -----------------------------------------------------------------------------------------------------


@door
@noted_as("llm.sync_models")
@stoppable
def sync_models(names: str | Iterable[str] | None = None, *, apply: bool = False, fresh: bool = False) -> pd.DataFrame:
    """Compare the provider table with the offers of Hugging Face's router. Costs nothing; the list is kept for an hour.

    The table shows from now on which providers are stale. Its rows are changed only with `apply=True`: stale providers
    are removed, and missing ones that are live are added at the end. A row stays as it is when the router does not list
    its model, or when it would be empty. `llm.models.save()` saves the table for the next session.

    Args:
        names: a model or an alias, or several; None: all of the table.
        apply: change the table.
        fresh: fetch the list again.

    Returns:
        One row per model and provider: model, provider, found (`listed`: in the row and offered, as are all offers
        where the row says `fastest` or `cheapest`; `stale`: in the row and not offered; `missing`: offered and not in
        the row; `unknown`: the list is missing), status (the router's word, such as `live`), context_length,
        input_usd_per_million and output_usd_per_million (tokens), supports_tools, supports_structured_output, message.
        Your own backends are left out.

    Raises:
        ModelNotSupportedError: a name means no model; nothing was sent.
        ConfigError: a row is not a list of names; the row was not changed.
    """
    current = session()
    table = current.options.models
    wanted = [names] if isinstance(names, str) else table if names is None else names
    # before the look-up, so that a wrong name is refused and nothing is sent
    models = list(dict.fromkeys(table.resolve(name) for name in wanted))
    ids = [id_at(HUGGINGFACE, model, current) for model in models]
    listed = run_sync(lambda: list_of(HUGGINGFACE, ids, current, fresh=fresh))
    rows = []
    for model in models:
        compared = _compared(model, listed, current)
        rows += compared
        if listed.outcome is Outcome.OK:
            # a list that did not come says nothing about a provider, so the marks stay as they were
            table.marks |= {(model, row["provider"]): row["message"] for row in compared if row["found"] != MISSING}
            if apply:
                _apply(model, compared, current)
    return as_frame(rows, _SYNC_COLUMNS)


def _compared(model: str, listed: ModelList, current: Session) -> list[dict[str, Any]]:
    row = [name for name in current.options.models.row(model) if name not in current.options.backends]
    if listed.outcome is not Outcome.OK:
        why = f"the router sent no list: {listed.outcome.value} {listed.message or ''}".strip()
        return [_sync_row(model, provider, UNKNOWN, None, why) for provider in row]
    offers = listed.of(id_at(HUGGINGFACE, model, current))
    by_name = {offer.provider: offer for offer in offers or ()}
    today = clock.current().utc().date()
    gone = "the router does not list this model" if offers is None else f"not offered by the router on {today}"
    known = [
        _chosen_row(model, name, None if offers else gone)
        # the router chooses behind such a word, so no provider of its list can be missing there
        if is_chosen_there(name)
        else _known_row(model, name, by_name.get(name), LEFT.get(name, gone))
        for name in row
    ]
    others = ((str(name), offer) for name, offer in by_name.items() if name not in row)
    if has_live_order(row):  # the word stands for them
        return known + [_known_row(model, name, offer, gone) for name, offer in others]
    return known + [_sync_row(model, name, MISSING, offer, None) for name, offer in others]


def id_at(backend: str, model: str, current: Session) -> str:
    """Return a model's id at a backend."""
    return current.options.models.names.get(model, {}).get(backend, model)


def _chosen_row(model: str, name: str, gone: str | None) -> dict[str, Any]:
    """Return what is found of a word of a row, or of a suffix with which Hugging Face chooses: it is never stale."""
    return _sync_row(model, name, UNKNOWN if gone else LISTED, None, gone)


def _known_row(model: str, name: str, offer: Offer | None, gone: str) -> dict[str, Any]:
    if offer is None:
        return _sync_row(model, name, STALE, None, gone)
    return _sync_row(model, name, LISTED, offer, None if offer.is_live else f"{offer.status} at the router")


def _sync_row(model: str, provider: str, found: str, offer: Offer | None, message: str | None) -> dict[str, Any]:
    price = offer.price if offer else None
    return {
        "model": model,
        "provider": provider,
        "found": found,
        "status": offer and offer.status,
        "context_length": offer and offer.context_length,
        "input_usd_per_million": price and price.input_usd * catalog.PER_MILLION,
        "output_usd_per_million": price and price.output_usd * catalog.PER_MILLION,
        "supports_tools": offer and offer.supports_tools,
        "supports_structured_output": offer and offer.supports_structured_output,
        "message": message,
    }


def _apply(model: str, compared: list[dict[str, Any]], current: Session) -> None:
    stale = {row["provider"] for row in compared if row["found"] == STALE}
    new = [row["provider"] for row in compared if row["found"] == MISSING and row["status"] in catalog.LIVE]
    if not any(row["found"] in (LISTED, MISSING) for row in compared):
        return  # the router does not list the model
    table = current.options.models
    before = table.row(model)
    after = [*(name for name in before if name not in stale), *new]
    if after and after != list(before):  # an empty row would leave the model without Hugging Face
        table.set_providers(model, after)


# --- prices -----------------------------------------------------------------------------------------------------

Prices = dict[tuple[str, str | None], "Price | None"]
"""(backend, provider) -> price. The provider is None where the backend chooses; the price is None where unknown."""


def prices_of(model: str) -> Prices:
    """Return what a model costs on each of its routes, by the providers' lists. Costs nothing.

    The lists are cached for an hour, so many rows need one look-up. A backend without a key is not asked. While
    `testing.forbid_paid_calls()` is on, only a rehearsal is asked: the user did not ask for the look-up itself.

    Args:
        model: a model or an alias.

    Returns:
        `(backend, provider)`, as in the attempt log, -> its price per token; None: unknown.

    Raises:
        ModelNotSupportedError: the name means no model.
    """
    current = session()
    return run_sync(lambda: _prices_of(model, current))


async def aprices_of(model: str) -> Prices:
    """Do what `prices_of` does, for async code."""
    current = session()
    return await run_async(lambda: _prices_of(model, current))


async def _prices_of(model: str, current: Session) -> Prices:
    options = current.options
    name = options.models.resolve(model)
    row = options.models.row(name)
    prices: Prices = {(own, None): None for own in row if own in options.backends}
    if name not in options.models.off_openrouter and options.keys.of(OPENROUTER):
        offers = await _offers_of(OPENROUTER, id_at(OPENROUTER, name, current), current)
        prices[OPENROUTER, None] = offers[0].price if offers else None
    providers = [provider for provider in row if provider not in options.backends]
    if providers and options.keys.of(HUGGINGFACE):
        offers = await _offers_of(HUGGINGFACE, id_at(HUGGINGFACE, name, current), current)
        by_name = {offer.provider: offer.price for offer in offers if offer.provider}
        if has_live_order(row):
            providers = [*(name for name in providers if name not in LIVE_ORDERS), *by_name]
        prices |= {(HUGGINGFACE, provider): by_name.get(provider) for provider in providers}
    return prices


def providers_listed() -> frozenset[str]:
    """Return the names of all upstream providers that OpenRouter and Hugging Face list. Costs nothing."""
    current = session()
    return run_sync(lambda: _providers_listed(current))


async def _providers_listed(current: Session) -> frozenset[str]:
    if not current.may_look_up:
        return frozenset()
    url = current.options.base_url(OPENROUTER)

    async def look_up() -> frozenset[str]:
        return await catalog.openrouter_providers(current.transport(), url)

    at_openrouter, listed = await asyncio.gather(
        current.lookups.get(("providers", url), look_up, keep_s=lambda names: LISTS_KEPT_S if names else 0.0),
        list_of(HUGGINGFACE, (), current),
    )
    offered = (offer.provider for offers in listed.offers.values() for offer in offers)
    return at_openrouter | {name for name in offered if name}


async def _offers_of(backend: str, id_there: str, current: Session) -> tuple[Offer, ...]:
    if not current.may_look_up:
        return ()
    return (await list_of(backend, [id_there], current)).of(id_there) or ()


async def list_of(
    backend: str, wanted: Iterable[str], current: Session, *, fresh: bool = False, max_age_s: float = LISTS_KEPT_S
) -> ModelList:
    """Return a backend's list of models. A cached list without a wanted model may be old, so it is fetched again."""
    url = current.options.base_url(backend)
    fetch = catalog.openrouter_models if backend == OPENROUTER else catalog.huggingface_models
    is_new = False

    async def look_up() -> ModelList:
        nonlocal is_new
        is_new = True
        return await fetch(current.transport(), url)

    async def get(*, fresh: bool) -> ModelList:
        return await current.lookups.get((backend, url), look_up, keep_s=_list_kept_s, fresh=fresh, max_age_s=max_age_s)

    listed = await get(fresh=fresh)
    unknown = tuple(model for model in wanted if listed.of(model) is None)
    if is_new or not unknown or listed.outcome is not Outcome.OK:
        return listed
    # under a key of its own, so that a model that no list has is not asked for with every call
    return await current.lookups.get((backend, url, unknown), lambda: get(fresh=True), keep_s=_list_kept_s)


def keeping_nothing(model: str) -> frozenset[str]:
    """Return the providers that keep nothing of what a model is sent, by OpenRouter's list; none if there is no list.

    Costs nothing; the list is kept for an hour. As for prices, `testing.forbid_paid_calls()` forbids it.

    Args:
        model: a model or an alias, or a model's name at OpenRouter.
    """
    current = session()
    return run_sync(lambda: _keeping_nothing(model, current))


async def akeeping_nothing(model: str) -> frozenset[str]:
    """Do what `keeping_nothing` does, for async code."""
    current = session()
    return await run_async(lambda: _keeping_nothing(model, current))


async def _keeping_nothing(model: str, current: Session) -> frozenset[str]:
    if not current.may_look_up:
        return frozenset()
    url = current.options.base_url(OPENROUTER)

    async def look_up() -> RetentionList:
        return await catalog.openrouter_retention(current.transport(), url)

    listed = await current.lookups.get(("retention", url), look_up, keep_s=_list_kept_s)
    name = current.options.models.aliases.get(model, model)
    return frozenset(map(canonical, listed.providers.get(id_at(OPENROUTER, name, current).casefold(), ())))


def _list_kept_s(listed: ModelList | RetentionList) -> float:
    return LISTS_KEPT_S if listed.outcome is Outcome.OK else FAILURES_KEPT_S


def as_frame(rows: list[dict[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Return rows as a frame whose columns have the same dtypes whatever is in them."""
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in columns.items()},
    )
