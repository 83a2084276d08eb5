"""Free look-ups over the live configuration: which keys are alive, who serves the table's models, what they cost.

Nothing here costs anything. A look-up that fails is a row, or an unknown price, with its reason. Findings are kept
for a while: keys five minutes, lists of models an hour.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.holds import CONDEMNED_KEY_S, HoldKind
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Scope
from llm_executor_nb.engine import paid_calls as guard
from llm_executor_nb.engine.loop import run_async, run_sync
from llm_executor_nb.providers import catalog
from llm_executor_nb.settings.models import LEFT

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from llm_executor_nb.chain.session import Session
    from llm_executor_nb.core.holds import Hold
    from llm_executor_nb.core.records import Key
    from llm_executor_nb.providers.catalog import KeyStatus, ModelList, Offer, Price
    from llm_executor_nb.providers.transport import Transport

KEYS_KEPT_S: Final = 300.0
LISTS_KEPT_S: Final = 3600.0
FAILURES_KEPT_S: Final = 60.0
"""Seconds for which a failed look-up is not made again, unless asked for freshly."""
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


def check_keys(backend: str | None = None, *, fresh: bool = False) -> pd.DataFrame:
    """Say of each key whether it is alive and what is left on it. Costs nothing; a finding is kept for five minutes.

    OpenRouter is asked `/key`, Hugging Face `whoami`, a server of your own its list of models. A key that is found
    fine is asked again at once, where it was on hold as dead, forbidden or out of credit; nothing is put on hold here.

    Args:
        backend: whose keys; None: all.
        fresh: ask again what was asked within the last five minutes.

    Returns:
        One row per key in the order they are asked: backend, label, key (last characters), source, is_alive (`<NA>`:
        it could not be found out), credit_usd (what is left; `<NA>`: not told, or no limit), is_free_tier, expires
        (UTC), outcome (`ok`; `auth`, `quota` or `forbidden`: what a request would get; else why the look-up failed),
        message.

    Raises:
        ConfigError: there is no such backend; nothing was sent.
    """
    now = session()
    if backend is not None and backend not in now.config.backend_names:
        raise ConfigError(f"Unknown backend {backend!r}; there are {', '.join(now.config.backend_names)}.")
    keys = [key for key in now.config.keys if backend in (None, key.backend)]
    transport = now.transport()
    statuses = run_sync(lambda: _all(_status_of(key, now, transport, fresh=fresh) for key in keys))
    return _frame([_key_row(key, status) for key, status in zip(keys, statuses, strict=True)], _KEY_COLUMNS)


async def _all(work: Iterable[Coroutine[Any, Any, KeyStatus]]) -> list[KeyStatus]:
    return await asyncio.gather(*work)


async def _status_of(key: Key, now: Session, transport: Transport, *, fresh: bool) -> KeyStatus:
    url = _key_url(key.backend, now)

    async def ask() -> KeyStatus:
        asked_at = clock.current().now()
        status = await _ask_key(key, url, transport)
        _lift_holds(key, status, now, asked_at)
        return status

    return await now.found.get((key.backend, key.secret, url), ask, keep_s=_key_kept_s, fresh=fresh)


def _key_url(backend: str, now: Session) -> str:
    if backend == HUGGINGFACE:
        return now.config.hub_url
    if backend == OPENROUTER:
        return now.config.base_url(OPENROUTER)
    return now.config.backends[backend].base_url or ""


async def _ask_key(key: Key, url: str, transport: Transport) -> KeyStatus:
    if key.backend == OPENROUTER:
        return await catalog.openrouter_key(transport, url, key.secret)
    if key.backend == HUGGINGFACE:
        return await catalog.huggingface_token(transport, url, key.secret)
    return await catalog.server_key(transport, url, key.secret, key.backend)


def _key_kept_s(status: KeyStatus) -> float:
    """A finding is kept for minutes; a refusal for the time it names, since whoami is limited on purpose."""
    if status.is_alive is not None:
        return KEYS_KEPT_S
    return max(FAILURES_KEPT_S, status.retry_after_s or 0.0) if status.outcome is Outcome.RATE_LIMITED else 0.0


def _lift_holds(key: Key, status: KeyStatus, now: Session, asked_at: float) -> None:
    """Lift the hold of a key that was condemned before the look-up and is found to be fine."""
    scope = Scope(ScopeLevel.KEY, key.backend, key.secret)
    held = [hold for hold in now.health.holds(asked_at) if hold.scope == scope and hold.since <= asked_at]
    if any(_is_refuted(hold, status) for hold in held):
        now.health.release(lambda held_scope: held_scope == scope)


def _is_refuted(hold: Hold, status: KeyStatus) -> bool:
    """A dead key is alive, a token has its permission; or there is credit again, unless the provider named the end."""
    if hold.kind is not HoldKind.CONDEMNED or status.outcome is not Outcome.OK:
        return False
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


def sync_models(names: str | Iterable[str] | None = None, *, apply: bool = False, fresh: bool = False) -> pd.DataFrame:
    """Compare the provider table with what Hugging Face's router offers. Costs nothing; the list is kept for an hour.

    The table shows from now on which providers are stale. Its rows are changed only with `apply=True`: stale
    providers are taken out, and missing ones that are live are put at the end. A row is left as it is when the router
    does not list its model, or when nothing would be left of it. `llm.models.save()` keeps it for the next session.

    Args:
        names: a model or an alias, or several; None: all of the table.
        apply: change the table.
        fresh: ask for the list again.

    Returns:
        One row per model and provider: model, provider, found (`listed`: in the row and offered; `stale`: in the row
        and not offered; `missing`: offered and not in the row; `unknown`: there is no list), status (as the router
        calls it, such as `live`), context_length, input_usd_per_million and output_usd_per_million (tokens),
        supports_tools, supports_structured_output, message. Backends of your own are left out.

    Raises:
        ModelNotSupportedError: a name means no model; nothing was sent.
        ConfigError: a row is no list of names; nothing was changed in it.
    """
    now = session()
    table = now.config.models
    wanted = [names] if isinstance(names, str) else table if names is None else names
    models = list(dict.fromkeys(table.resolve(name) for name in wanted))
    transport = now.transport()
    called = [_called(model, HUGGINGFACE, now) for model in models]
    listed = run_sync(lambda: _list_of(HUGGINGFACE, called, now, transport, fresh=fresh))
    rows = []
    for model in models:
        found = _compared(model, listed, now)
        rows += found
        if listed.outcome is Outcome.OK:
            table.mark(model, {row["provider"]: row["message"] for row in found if row["found"] != MISSING})
            if apply:
                _apply(model, found, now)
    return _frame(rows, _SYNC_COLUMNS)


def _compared(model: str, listed: ModelList, now: Session) -> list[dict[str, Any]]:
    row = [name for name in now.config.models.row(model) if name not in now.config.backends]
    if listed.outcome is not Outcome.OK:
        why = f"no list came from the router: {listed.outcome.value} {listed.message or ''}".strip()
        return [_sync_row(model, provider, UNKNOWN, None, why) for provider in row]
    offers = listed.of(_called(model, HUGGINGFACE, now))
    by_name = {offer.provider: offer for offer in offers or ()}
    today = clock.current().utc().date()
    gone = "the router does not list this model" if offers is None else f"not offered by the router on {today}"
    known = [_known_row(model, name, by_name.get(name), LEFT.get(name, gone)) for name in row]
    more = [_sync_row(model, str(name), MISSING, offer, None) for name, offer in by_name.items() if name not in row]
    return known + more


def _called(model: str, backend: str, now: Session) -> str:
    return now.config.models.names.get(model, {}).get(backend, model)


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


def _apply(model: str, found: list[dict[str, Any]], now: Session) -> None:
    stale = {row["provider"] for row in found if row["found"] == STALE}
    new = [row["provider"] for row in found if row["found"] == MISSING and row["status"] in _LIVE]
    if all(row["found"] == STALE for row in found):
        return
    table = now.config.models
    kept = [name for name in table.row(model) if name not in stale]
    if [*kept, *new] != list(table.row(model)):
        table.set_providers(model, [*kept, *new])


# --- prices -----------------------------------------------------------------------------------------------------

Prices = dict[tuple[str, str | None], "Price | None"]
"""(backend, provider) -> price; the provider is None where the backend chooses. None: the price is unknown."""


def prices_of(model: str) -> Prices:
    """Return what a model costs on each of its routes, by the providers' lists. Costs nothing.

    The lists are kept for an hour, so many rows need one look-up. A backend without a key is not asked, and none but a
    rehearsal where `testing.forbid_paid_calls()` is on, since nobody asked for the look-up itself.

    Args:
        model: a model or an alias.

    Returns:
        `(backend, provider)`, as in the attempt log, -> its price per token; None: unknown.

    Raises:
        ModelNotSupportedError: the name means no model.
    """
    now, transport = session(), session().transport()
    return run_sync(lambda: _prices_of(model, now, transport))


async def aprices_of(model: str) -> Prices:
    """Do what `prices_of` does, for async code."""
    now, transport = session(), session().transport()
    return await run_async(lambda: _prices_of(model, now, transport))


async def _prices_of(model: str, now: Session, transport: Transport) -> Prices:
    config = now.config
    name = config.models.resolve(model)
    row = config.models.row(name)
    prices: Prices = {(own, None): None for own in row if own in config.backends}
    if name not in config.models.off_openrouter and config.keys.of(OPENROUTER):
        offers = await _offers_of(OPENROUTER, _called(name, OPENROUTER, now), now, transport)
        prices[OPENROUTER, None] = offers[0].price if offers else None
    providers = [provider for provider in row if provider not in config.backends]
    if providers and config.keys.of(HUGGINGFACE):
        offers = await _offers_of(HUGGINGFACE, _called(name, HUGGINGFACE, now), now, transport)
        by_name = {offer.provider: offer.price for offer in offers}
        prices |= {(HUGGINGFACE, provider): by_name.get(provider) for provider in providers}
    return prices


async def _offers_of(backend: str, called: str, now: Session, transport: Transport) -> tuple[Offer, ...]:
    if guard.are_forbidden() and now.config.practice_url is None:
        return ()
    return (await _list_of(backend, [called], now, transport)).of(called) or ()


async def _list_of(
    backend: str, wanted: Iterable[str], now: Session, transport: Transport, *, fresh: bool = False
) -> ModelList:
    """Return a backend's list. A kept one that does not know a model may be too old for it, and is asked for again."""
    url = now.config.base_url(backend)
    look_up = catalog.openrouter_models if backend == OPENROUTER else catalog.huggingface_models
    is_new = False

    async def ask() -> ModelList:
        nonlocal is_new
        is_new = True
        return await look_up(transport, url)

    async def get(*, fresh: bool) -> ModelList:
        return await now.found.get((backend, url), ask, keep_s=_list_kept_s, fresh=fresh)

    listed = await get(fresh=fresh)
    unknown = tuple(model for model in wanted if listed.of(model) is None)
    if is_new or not unknown or listed.outcome is not Outcome.OK:
        return listed
    return await now.found.get((backend, url, unknown), lambda: get(fresh=True), keep_s=_list_kept_s)


def _list_kept_s(listed: ModelList) -> float:
    return LISTS_KEPT_S if listed.outcome is Outcome.OK else FAILURES_KEPT_S


def _frame(rows: list[dict[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in columns.items()},
    )
