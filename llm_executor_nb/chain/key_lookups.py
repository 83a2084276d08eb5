"""The free look-up of keys: which are alive, and what is left on them.

It costs nothing. A look-up that fails is a row with its reason. Replies are cached for five minutes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.chain.lookups import FAILURES_KEPT_S, as_frame
from llm_executor_nb.chain.session import session
from llm_executor_nb.chain.stopping import stoppable
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.holds import CONDEMNED_KEY_S, HoldKind
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Scope
from llm_executor_nb.core.secret import door
from llm_executor_nb.engine.loop import run_sync
from llm_executor_nb.providers import key_status

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    import pandas as pd

    from llm_executor_nb.chain.session import Session
    from llm_executor_nb.core.holds import Hold
    from llm_executor_nb.core.records import Key
    from llm_executor_nb.providers.key_status import KeyStatus

KEYS_KEPT_S: Final = 300.0
_COLUMNS: Final = {
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
    statuses = statuses_of(keys, current, fresh=fresh)
    return as_frame([_key_row(key, status) for key, status in zip(keys, statuses, strict=True)], _COLUMNS)


def statuses_of(keys: Iterable[Key], current: Session, *, fresh: bool = False) -> list[KeyStatus]:
    """Return what the backends say about keys, in their order."""
    return run_sync(lambda: _all(_status_of(key, current, fresh=fresh) for key in keys))


async def _all(lookups: Iterable[Coroutine[Any, Any, KeyStatus]]) -> list[KeyStatus]:
    return await asyncio.gather(*lookups)


async def _status_of(key: Key, current: Session, *, fresh: bool) -> KeyStatus:
    """Return what a key's backend says about it; a hold that this refutes is lifted."""
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
        return await key_status.openrouter_key(current.transport(), url, key.secret)
    if key.backend == HUGGINGFACE:
        return await key_status.huggingface_token(current.transport(), url, key.secret)
    return await key_status.server_key(current.transport(), url, key.secret, key.backend)


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
