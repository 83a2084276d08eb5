"""Free look-ups for the session in force: which keys are alive, who serves the table's models, what they cost.

Nothing here costs anything. A look-up that fails is a row, or an unknown price, with its reason. Replies are cached:
those about keys for five minutes, lists of models for an hour.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from llm_executor_nb.chain.session import session
from llm_executor_nb.chain.stopping import stoppable
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.holds import CONDEMNED_KEY_S, HoldKind
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Scope
from llm_executor_nb.core.secret import door
from llm_executor_nb.engine import paid_calls
from llm_executor_nb.engine.loop import run_async, run_sync
from llm_executor_nb.providers import catalog
from llm_executor_nb.settings.provider_names import canonical
from llm_executor_nb.settings.shipped_models import LEFT

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from llm_executor_nb.chain.session import Session
    from llm_executor_nb.core.holds import Hold
    from llm_executor_nb.core.records import Key
    from llm_executor_nb.providers.catalog import KeyStatus, ModelList, Offer, Price, RetentionList

KEYS_KEPT_S: Final = 300.0
LISTS_KEPT_S: Final = 3600.0
FAILURES_KEPT_S: Final = 60.0
"""Seconds for which a failed look-up is not repeated, except with `fresh=True`."""
LISTED, STALE, MISSING, UNKNOWN = "listed", "stale", "missing", "unknown"
_LIVE: Final = frozenset({"live", None})
_MILLION: Final = 1_000_000
_KEY_COLUMNS: Final = {
    "backend": "string",
    "label": "string",
    "key": "string",
    "source": "string",
    "is_alive": "boolean",
    "credit_usd": "Float64",
    "is_free_tier": "boolean",
    "expires": "datetime64[us, UTC]",
    "outcome": "string",
    "message": "string",
}
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


# --- keys -------------------------------------------------------------------------------------------------------


@door
@noted_as("llm.check_keys")
@stoppable
def check_keys(backend: str | None = None, *, fresh: bool = False) -> pd.DataFrame:
    """Look up whether each key is alive and what is left on it. Costs nothing; a reply is cached for five minutes.

    OpenRouter is asked `/key`, Hugging Face `whoami`, a server of your own its list of models. A key that was on hold
    as dead, forbidden or out of credit is free again if it works now. Nothing is put on hold here.

    Args:
        backend: the backend of the keys; None: all backends.
        fresh: repeat the look-ups of the last five minutes.

    Returns:
        One row per key in the order they are asked: backend, label, key (last characters), source, is_alive (`<NA>`:
        unknown), credit_usd (what is left; `<NA>`: unknown, or no limit), is_free_tier, expires (UTC), outcome (`ok`;
        `auth`, `quota` or `forbidden`: what a request would get; else why the look-up failed), message.

    Raises:
        ConfigError: the backend does not exist; nothing was sent.
    """
    current = session()
    if backend is not None and backend not in current.options.backend_names:
        raise ConfigError(f"Unknown backend {backend!r}; there are {', '.join(current.options.backend_names)}.")
    keys = [key for key in current.options.keys if backend in (None, key.backend)]
    statuses = run_sync(lambda: _all(_status_of(key, current, fresh=fresh) for key in keys))
    return _frame([_key_row(key, status) for key, status in zip(keys, statuses, strict=True)], _KEY_COLUMNS)


async def _all(lookups: Iterable[Coroutine[Any, Any, KeyStatus]]) -> list[KeyStatus]:
    return await asyncio.gather(*lookups)


async def _status_of(key: Key, current: Session, *, fresh: bool) -> KeyStatus:
    url = _key_url(key.backend, current)

    async def look_up() -> KeyStatus:
        sent_at = clock.current().now()
        status = await _look_up_key(key, url, current)
        _lift_holds(key, status, current, sent_at)
        return status

    return await current.lookups.get((key.backend, key.secret, url), look_up, keep_s=_key_kept_s, fresh=fresh)


def _key_url(backend: str, current: Session) -> str:
    if backend == HUGGINGFACE:
        return current.options.hub_url
    if backend == OPENROUTER:
        return current.options.base_url(OPENROUTER)
    return current.options.backends[backend].base_url or ""


async def _look_up_key(key: Key, url: str, current: Session) -> KeyStatus:
    if key.backend == OPENROUTER:
        return await catalog.openrouter_key(current.transport(), url, key.secret)
    if key.backend == HUGGINGFACE:
        return await catalog.huggingface_token(current.transport(), url, key.secret)
    return await catalog.server_key(current.transport(), url, key.secret, key.backend)


def _key_kept_s(status: KeyStatus) -> float:
    if status.is_alive is not None:
        return KEYS_KEPT_S
    # Hugging Face limits whoami on purpose: a refusal is cached for the time it names
    return max(FAILURES_KEPT_S, status.retry_after_s or 0.0) if status.outcome is Outcome.RATE_LIMITED else 0.0


def _lift_holds(key: Key, status: KeyStatus, current: Session, sent_at: float) -> None:
    """Lift the hold of a key that works. A hold set after the look-up was sent stays: the reply may be older."""
    scope = Scope(ScopeLevel.KEY, key.backend, key.secret)
    holds = [hold for hold in current.health.holds(sent_at) if hold.scope == scope and hold.since <= sent_at]
    if any(_is_refuted(hold, status) for hold in holds):
        current.health.release(lambda held: held == scope)


def _is_refuted(hold: Hold, status: KeyStatus) -> bool:
    """Whether a look-up shows that the reason of a hold is gone."""
    if hold.kind is not HoldKind.CONDEMNED or status.outcome is not Outcome.OK:
        return False
    # where the provider named the end of the hold, its word counts, not the credit that is left
    has_credit = (status.credit_usd or 0.0) > 0 and hold.length_s == CONDEMNED_KEY_S
    return hold.why in (Outcome.AUTH, Outcome.FORBIDDEN) or (hold.why is Outcome.QUOTA and has_credit)


def _key_row(key: Key, status: KeyStatus) -> dict[str, Any]:
    return {
        "backend": key.backend,
        "label": key.label,
        "key": key.secret.ending,
        "source": key.source,
        "is_alive": status.is_alive,
        "credit_usd": status.credit_usd,
        "is_free_tier": status.is_free_tier,
        "expires": status.expires,
        "outcome": status.outcome.value,
        "message": status.message,
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
        One row per model and provider: model, provider, found (`listed`: in the row and offered; `stale`: in the row
        and not offered; `missing`: offered and not in the row; `unknown`: the list is missing), status (the router's
        word, such as `live`), context_length, input_usd_per_million and output_usd_per_million (tokens),
        supports_tools, supports_structured_output, message. Your own backends are left out.

    Raises:
        ModelNotSupportedError: a name means no model; nothing was sent.
        ConfigError: a row is not a list of names; the row was not changed.
    """
    current = session()
    table = current.options.models
    wanted = [names] if isinstance(names, str) else table if names is None else names
    models = list(dict.fromkeys(table.resolve(name) for name in wanted))
    ids = [_id_at(HUGGINGFACE, model, current) for model in models]
    listed = run_sync(lambda: _list_of(HUGGINGFACE, ids, current, fresh=fresh))
    rows = []
    for model in models:
        compared = _compared(model, listed, current)
        rows += compared
        if listed.outcome is Outcome.OK:
            table.marks |= {(model, row["provider"]): row["message"] for row in compared if row["found"] != MISSING}
            if apply:
                _apply(model, compared, current)
    return _frame(rows, _SYNC_COLUMNS)


def _compared(model: str, listed: ModelList, current: Session) -> list[dict[str, Any]]:
    row = [name for name in current.options.models.row(model) if name not in current.options.backends]
    if listed.outcome is not Outcome.OK:
        why = f"the router sent no list: {listed.outcome.value} {listed.message or ''}".strip()
        return [_sync_row(model, provider, UNKNOWN, None, why) for provider in row]
    offers = listed.of(_id_at(HUGGINGFACE, model, current))
    by_name = {offer.provider: offer for offer in offers or ()}
    today = clock.current().utc().date()
    gone = "the router does not list this model" if offers is None else f"not offered by the router on {today}"
    known = [_known_row(model, name, by_name.get(name), LEFT.get(name, gone)) for name in row]
    missing = [_sync_row(model, str(name), MISSING, offer, None) for name, offer in by_name.items() if name not in row]
    return known + missing


def _id_at(backend: str, model: str, current: Session) -> str:
    """Return a model's id at a backend."""
    return current.options.models.names.get(model, {}).get(backend, model)


def _known_row(model: str, name: str, offer: Offer | None, gone: str) -> dict[str, Any]:
    if offer is None:
        return _sync_row(model, name, STALE, None, gone)
    return _sync_row(model, name, LISTED, offer, None if offer.status in _LIVE else f"{offer.status} at the router")


def _sync_row(model: str, provider: str, found: str, offer: Offer | None, message: str | None) -> dict[str, Any]:
    price = offer.price if offer else None
    return {
        "model": model,
        "provider": provider,
        "found": found,
        "status": offer and offer.status,
        "context_length": offer and offer.context_length,
        "input_usd_per_million": price and price.input_usd * _MILLION,
        "output_usd_per_million": price and price.output_usd * _MILLION,
        "supports_tools": offer and offer.supports_tools,
        "supports_structured_output": offer and offer.supports_structured_output,
        "message": message,
    }


def _apply(model: str, compared: list[dict[str, Any]], current: Session) -> None:
    stale = {row["provider"] for row in compared if row["found"] == STALE}
    new = [row["provider"] for row in compared if row["found"] == MISSING and row["status"] in _LIVE]
    if all(row["found"] == STALE for row in compared):
        return  # an empty row would leave the model without Hugging Face
    table = current.options.models
    listed = [name for name in table.row(model) if name not in stale]
    if [*listed, *new] != list(table.row(model)):
        table.set_providers(model, [*listed, *new])


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
        offers = await _offers_of(OPENROUTER, _id_at(OPENROUTER, name, current), current)
        prices[OPENROUTER, None] = offers[0].price if offers else None
    providers = [provider for provider in row if provider not in options.backends]
    if providers and options.keys.of(HUGGINGFACE):
        offers = await _offers_of(HUGGINGFACE, _id_at(HUGGINGFACE, name, current), current)
        by_name = {offer.provider: offer.price for offer in offers}
        prices |= {(HUGGINGFACE, provider): by_name.get(provider) for provider in providers}
    return prices


def providers_listed() -> frozenset[str]:
    """Return the names of all upstream providers that OpenRouter and Hugging Face list. Costs nothing."""
    current = session()
    return run_sync(lambda: _providers_listed(current))


async def _providers_listed(current: Session) -> frozenset[str]:
    if paid_calls.are_forbidden() and not current.is_rehearsal:
        return frozenset()
    url = current.options.base_url(OPENROUTER)

    async def look_up() -> frozenset[str]:
        return await catalog.openrouter_providers(current.transport(), url)

    at_openrouter, listed = await asyncio.gather(
        current.lookups.get(("providers", url), look_up, keep_s=lambda names: LISTS_KEPT_S if names else 0.0),
        _list_of(HUGGINGFACE, (), current),
    )
    offered = (offer.provider for offers in listed.offers.values() for offer in offers)
    return at_openrouter | {name for name in offered if name}


async def _offers_of(backend: str, id_there: str, current: Session) -> tuple[Offer, ...]:
    if paid_calls.are_forbidden() and not current.is_rehearsal:
        return ()
    return (await _list_of(backend, [id_there], current)).of(id_there) or ()


async def _list_of(backend: str, wanted: Iterable[str], current: Session, *, fresh: bool = False) -> ModelList:
    """Return a backend's list of models. A cached list without a wanted model may be old, so it is fetched again."""
    url = current.options.base_url(backend)
    fetch = catalog.openrouter_models if backend == OPENROUTER else catalog.huggingface_models
    is_new = False

    async def look_up() -> ModelList:
        nonlocal is_new
        is_new = True
        return await fetch(current.transport(), url)

    async def get(*, fresh: bool) -> ModelList:
        return await current.lookups.get((backend, url), look_up, keep_s=_list_kept_s, fresh=fresh)

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
    if paid_calls.are_forbidden() and not current.is_rehearsal:
        return frozenset()
    url = current.options.base_url(OPENROUTER)

    async def look_up() -> RetentionList:
        return await catalog.openrouter_retention(current.transport(), url)

    listed = await current.lookups.get(("retention", url), look_up, keep_s=_list_kept_s)
    name = current.options.models.aliases.get(model, model)
    return frozenset(map(canonical, listed.providers.get(_id_at(OPENROUTER, name, current).casefold(), ())))


def _list_kept_s(listed: ModelList | RetentionList) -> float:
    return LISTS_KEPT_S if listed.outcome is Outcome.OK else FAILURES_KEPT_S


def _frame(rows: list[dict[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in columns.items()},
    )
