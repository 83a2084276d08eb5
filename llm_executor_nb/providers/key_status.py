"""Free look-ups of a key: is it alive, what is left on it, what may it do.

Each function makes one GET with the transport, URL and Secret that it is given.

Must not: cache, or know the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core.foreign_json import get_in, number
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Verdict
from llm_executor_nb.providers.look_up import as_count, as_list, as_text, as_time, as_truth, look_up

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from llm_executor_nb.core.secret import Secret
    from llm_executor_nb.providers.transport import Transport

_INFERENCE: Final = "inference.serverless.write"
"""The permission without which a fine-grained Hugging Face token gets a 403 at the router."""
_NO_CREDIT: Final = "No credit is left on this key; free models may still answer."
_MANAGES: Final = "This is a management key: it makes other keys and answers no prompt."
_NO_PERMISSION: Final = (
    "This token may not call Inference Providers. Edit it at https://huggingface.co/settings/tokens: tick "
    "'Make calls to Inference Providers'."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatus:
    """What a backend says about a key. Whatever it does not say is None.

    Attributes:
        outcome: `ok`; `quota`, `auth`, `forbidden`, when a request would be refused for that; else why the look-up
            itself failed.
        message: the provider's words, or what the user should know about the key.
        is_alive: whether the backend knows the key; None: the look-up could not find out.
        credit_usd: what is left; None: unknown, or the key has no limit.
        is_free_tier: whether the key's account has never paid.
        free_requests: how many more requests free models take today, and how many they take on a whole day.
        expires: when it ends.
        retry_after_s: seconds after which the backend wants to be asked again.
    """

    outcome: Outcome
    message: str | None = None
    is_alive: bool | None = None
    credit_usd: float | None = None
    is_free_tier: bool | None = None
    free_requests: tuple[int, int] | None = None
    expires: datetime | None = None
    retry_after_s: float | None = None


async def openrouter_key(transport: Transport, base_url: str, secret: Secret) -> KeyStatus:
    """Return what OpenRouter says about a key: credit left, free tier, expiry (`GET /key`)."""
    return await _key_status(transport, f"{base_url}/key", secret, OPENROUTER, read_openrouter_key)


async def huggingface_token(transport: Transport, hub_url: str, secret: Secret) -> KeyStatus:
    """Return what Hugging Face says about a token: account, plan, permission, expiry (`GET /api/whoami-v2`).

    The hub limits this look-up more than others, so callers cache its answer. It does not include a credit.
    """
    return await _key_status(transport, f"{hub_url}/api/whoami-v2", secret, HUGGINGFACE, read_whoami)


async def server_key(transport: Transport, base_url: str, secret: Secret, backend: str) -> KeyStatus:
    """Return whether an OpenAI-compatible server accepts a key (`GET /models`, which costs nothing anywhere)."""
    return await _key_status(transport, f"{base_url}/models", secret, backend, read_server_key)


async def _key_status(
    transport: Transport,
    url: str,
    secret: Secret,
    backend: str,
    read: Callable[[dict[str, Any]], KeyStatus | None],
) -> KeyStatus:
    body = await look_up(transport, url, secret, backend)
    if isinstance(body, Verdict):
        return KeyStatus(
            outcome=body.outcome,
            message=body.message,
            # A 403 or a failure may come from anything between here and the backend: it says nothing about the key.
            is_alive={Outcome.AUTH: False, Outcome.QUOTA: True}.get(body.outcome),
            retry_after_s=body.retry_after_s,
        )
    return read(body) or KeyStatus(outcome=Outcome.MALFORMED, message="the reply says nothing about the key")


def read_openrouter_key(body: dict[str, Any]) -> KeyStatus | None:
    """Read the body of OpenRouter's `GET /key`; None: it says nothing about a key."""
    data = body.get("data")
    if not isinstance(data, dict) or not data:
        return None
    credit, is_free = number(data.get("limit_remaining")), as_truth(data.get("is_free_tier"))
    free = _free_requests(data.get("free_model_daily_requests"))
    status = KeyStatus(
        outcome=Outcome.OK,
        message=f"{free[1] - free[0]} of {free[1]} free requests used today (UTC)" if is_free and free else None,
        is_alive=True,
        credit_usd=credit,
        is_free_tier=is_free,
        free_requests=free,
        expires=as_time(data.get("expires_at")),
    )
    if data.get("is_management_key") is True or data.get("is_provisioning_key") is True:
        return replace(status, outcome=Outcome.FORBIDDEN, message=_MANAGES)
    if credit is not None and credit <= 0:  # a limit may be overdrawn
        return replace(status, outcome=Outcome.QUOTA, message=_NO_CREDIT)
    is_out = is_free and free is not None and not free[0]
    return replace(status, outcome=Outcome.QUOTA) if is_out else status


def _free_requests(daily: object) -> tuple[int, int] | None:
    """Return how many free requests are left today and how many a day has; None: it is not said."""
    used, limit, left = (as_count(get_in(daily, name)) for name in ("used", "limit", "remaining"))
    if limit is None or (used is None and left is None):
        return None
    return max(0, limit - (used or 0)) if left is None else left, limit


def read_whoami(body: dict[str, Any]) -> KeyStatus | None:
    """Read the body of the hub's `GET /api/whoami-v2`; None: it says nothing about a token."""
    name, auth = as_text(body.get("name")), body.get("auth")
    if name is None and not isinstance(auth, dict):
        return None
    is_pro, can_pay = as_truth(body.get("isPro")), as_truth(body.get("canPay"))
    plan = None if is_pro is None else "pro" if is_pro else "free"
    owner = ", ".join(part for part in (name and f"account {name}", plan and f"plan {plan}") if part)
    status = KeyStatus(
        outcome=Outcome.OK,
        message=owner or None,
        is_alive=True,
        is_free_tier=None if is_pro is None and can_pay is None else not (is_pro or can_pay),
        expires=as_time(get_in(auth, "accessToken", "expiration")) or as_time(get_in(auth, "expiresAt")),
    )
    if _may_infer(get_in(auth, "accessToken")) is False:
        return replace(status, outcome=Outcome.FORBIDDEN, message=_NO_PERMISSION)
    return status


def _may_infer(token: object) -> bool | None:
    """Whether a token may be used for inference; None: it is not fine-grained, or it lists no permissions."""
    fine = get_in(token, "fineGrained")
    if get_in(token, "role") != "fineGrained" or not isinstance(fine, dict):
        return None
    scoped = [get_in(one, "permissions") for one in as_list(fine.get("scoped"))]
    return any(_INFERENCE in as_list(permissions) for permissions in (fine.get("global"), *scoped))


def read_server_key(body: dict[str, Any]) -> KeyStatus | None:
    """Read the body of a server's `GET /models`; None: it is not a list."""
    return KeyStatus(outcome=Outcome.OK, is_alive=True) if isinstance(body.get("data"), list) else None
