"""Free look-ups: is this key alive, which providers serve this model, what does it cost.

Each function makes one GET with the transport, URL and Secret that it is given. The reply may have any shape. A value
that is missing or makes no sense is None, never 0. A look-up that failed is a record with its outcome and the
provider's words, never an exception.

Must not: cache, or know the configuration.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core import clock
from llm_executor_nb.core.foreign_json import get_in, number, read_json
from llm_executor_nb.core.foreign_text import beginning, shorten
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Reply, Verdict
from llm_executor_nb.core.verdicts.classify import classify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llm_executor_nb.core.secret import Secret
    from llm_executor_nb.providers.transport import Transport

TIMEOUT_S: Final = 15.0
"""Seconds after which a look-up is given up: a person may be waiting for it."""
_PER_MILLION: Final = 1_000_000
_INFERENCE: Final = "inference.serverless.write"
"""The permission without which a fine-grained Hugging Face token gets a 403 at the router."""
_NO_CREDIT: Final = "No credit is left on this key; free models may still answer."
_MANAGES: Final = "This is a management key: it makes other keys and answers no prompt."
_NO_PERMISSION: Final = (
    "This token may not call Inference Providers. Edit it at https://huggingface.co/settings/tokens: tick "
    "'Make calls to Inference Providers'."
)
_MILLISECONDS_FROM: Final = 1e11
"""Above it, a time since 1970 is in milliseconds: as seconds it would be the year 5138."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs.

    Attributes:
        input_usd, output_usd: per token.
        request_usd: per request, on top.
    """

    input_usd: float
    output_usd: float
    request_usd: float = 0.0


def cost_usd(price: Price | None, input_tokens: int | None, output_tokens: int | None) -> float | None:
    """Return what an answer costs by a list price; None where the price or a count is unknown."""
    if price is None or input_tokens is None or output_tokens is None:
        return None
    return price.request_usd + price.input_usd * input_tokens + price.output_usd * output_tokens


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One way in which a model is served. Whatever the list does not say is None.

    Attributes:
        provider: who serves it; None: the backend chooses.
        status: `live`, or what the list calls it.
        context_length: tokens of prompt and answer together.
        huggingface_id: the model's id at Hugging Face, as OpenRouter knows it.
        price: by the list.
        supports_tools, supports_structured_output: as the list says.
        input_modalities: what a prompt may hold, such as `("text", "image")`.
        is_free: whether it costs nothing; a missing price is not free.
        latency_s: seconds until the first token, as measured lately.
        throughput: tokens per second, as measured lately.
        expires: when it will no longer be served.
    """

    provider: str | None = None
    status: str | None = None
    context_length: int | None = None
    huggingface_id: str | None = None
    price: Price | None = None
    supports_tools: bool | None = None
    supports_structured_output: bool | None = None
    input_modalities: tuple[str, ...] | None = None
    is_free: bool | None = None
    latency_s: float | None = None
    throughput: float | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelList:
    """A backend's list of models.

    Attributes:
        outcome: `ok`, or why there is no list.
        message: the provider's words when there is none.
        offers: model -> the ways it is served.
    """

    outcome: Outcome
    message: str | None = None
    offers: Mapping[str, tuple[Offer, ...]] = field(default_factory=dict, repr=False)

    def of(self, model: str) -> tuple[Offer, ...] | None:
        """Return the offers of a model, whatever the case of its letters; None: it is not listed."""
        if model not in self.offers:
            model = next((name for name in self.offers if name.casefold() == model.casefold()), model)
        return self.offers.get(model)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionList:
    """OpenRouter's list of the endpoints that keep nothing of what they are sent.

    Attributes:
        outcome: `ok`, or why there is no list.
        message: the provider's words when there is none.
        providers: model, in small letters -> its providers on the list, as OpenRouter names them.
    """

    outcome: Outcome
    message: str | None = None
    providers: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)


# --- keys -------------------------------------------------------------------------------------------------------


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
    body = await _look_up(transport, url, secret, backend)
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
    credit, is_free = number(data.get("limit_remaining")), _truth(data.get("is_free_tier"))
    free = _free_requests(data.get("free_model_daily_requests"))
    status = KeyStatus(
        outcome=Outcome.OK,
        message=f"{free[1] - free[0]} of {free[1]} free requests used today (UTC)" if is_free and free else None,
        is_alive=True,
        credit_usd=credit,
        is_free_tier=is_free,
        free_requests=free,
        expires=_time(data.get("expires_at")),
    )
    if data.get("is_management_key") is True or data.get("is_provisioning_key") is True:
        return replace(status, outcome=Outcome.FORBIDDEN, message=_MANAGES)
    if credit is not None and credit <= 0:  # a limit may be overdrawn
        return replace(status, outcome=Outcome.QUOTA, message=_NO_CREDIT)
    is_out = is_free and free is not None and not free[0]
    return replace(status, outcome=Outcome.QUOTA) if is_out else status


def _free_requests(daily: object) -> tuple[int, int] | None:
    """Return how many free requests are left today and how many a day has; None: it is not said."""
    used, limit, left = (_count(get_in(daily, name)) for name in ("used", "limit", "remaining"))
    if limit is None or (used is None and left is None):
        return None
    return max(0, limit - (used or 0)) if left is None else left, limit


def read_whoami(body: dict[str, Any]) -> KeyStatus | None:
    """Read the body of the hub's `GET /api/whoami-v2`; None: it says nothing about a token."""
    name, auth = _text(body.get("name")), body.get("auth")
    if name is None and not isinstance(auth, dict):
        return None
    is_pro, can_pay = _truth(body.get("isPro")), _truth(body.get("canPay"))
    plan = None if is_pro is None else "pro" if is_pro else "free"
    owner = ", ".join(part for part in (name and f"account {name}", plan and f"plan {plan}") if part)
    status = KeyStatus(
        outcome=Outcome.OK,
        message=owner or None,
        is_alive=True,
        is_free_tier=None if is_pro is None and can_pay is None else not (is_pro or can_pay),
        expires=_time(get_in(auth, "accessToken", "expiration")) or _time(get_in(auth, "expiresAt")),
    )
    if _may_infer(get_in(auth, "accessToken")) is False:
        return replace(status, outcome=Outcome.FORBIDDEN, message=_NO_PERMISSION)
    return status


def _may_infer(token: object) -> bool | None:
    """Whether a token may be used for inference; None: it is not fine-grained, or it lists no permissions."""
    fine = get_in(token, "fineGrained")
    if get_in(token, "role") != "fineGrained" or not isinstance(fine, dict):
        return None
    scoped = [get_in(one, "permissions") for one in _listed(fine.get("scoped"))]
    return any(_INFERENCE in _listed(permissions) for permissions in (fine.get("global"), *scoped))


def read_server_key(body: dict[str, Any]) -> KeyStatus | None:
    """Read the body of a server's `GET /models`; None: it is not a list."""
    return KeyStatus(outcome=Outcome.OK, is_alive=True) if isinstance(body.get("data"), list) else None


async def openrouter_providers(transport: Transport, base_url: str) -> frozenset[str]:
    """Return the slugs of the providers behind OpenRouter (`GET /providers`); none: there is no list."""
    body = await _look_up(transport, f"{base_url}/providers", None, OPENROUTER)
    rows = [] if isinstance(body, Verdict) else _listed(body.get("data"))
    return frozenset(slug for row in rows if (slug := _text(get_in(row, "slug"))))


# --- models -----------------------------------------------------------------------------------------------------


async def openrouter_models(transport: Transport, base_url: str, *, silence_s: float | None = None) -> ModelList:
    """Return OpenRouter's models with price and context length (`GET /models`; asked without a key).

    Args:
        transport: sends the request.
        base_url: OpenRouter's.
        silence_s: seconds without a byte after which it is given up, as for the two lists below.
    """
    body = await _look_up(transport, f"{base_url}/models", None, OPENROUTER, silence_s)
    return _model_list(body, openrouter_offers)


async def huggingface_models(transport: Transport, base_url: str, *, silence_s: float | None = None) -> ModelList:
    """Return the router's models, each with the providers that serve it (`GET /models`; asked without a token)."""
    body = await _look_up(transport, f"{base_url}/models", None, HUGGINGFACE, silence_s)
    return _model_list(body, huggingface_offers)


async def openrouter_retention(
    transport: Transport, base_url: str, *, silence_s: float | None = None
) -> RetentionList:
    """Return the providers that keep nothing, by model (`GET /endpoints/zdr`; asked without a key)."""
    body = await _look_up(transport, f"{base_url}/endpoints/zdr", None, OPENROUTER, silence_s)
    if isinstance(body, Verdict):
        return RetentionList(outcome=body.outcome, message=body.message)
    providers: defaultdict[str, set[str]] = defaultdict(set)
    for row in _listed(body.get("data")):
        model, provider = _text(get_in(row, "model_id")), _text(get_in(row, "provider_name"))
        if model and provider:
            providers[model.casefold()].add(provider)
    return RetentionList(outcome=Outcome.OK, providers={model: frozenset(names) for model, names in providers.items()})


def _model_list(body: dict[str, Any] | Verdict, read: Callable[[dict[str, Any]], Iterable[Offer]]) -> ModelList:
    if isinstance(body, Verdict):
        return ModelList(outcome=body.outcome, message=body.message)
    rows = [row for row in _listed(body.get("data")) if isinstance(row, dict)]
    offers = {name: tuple(read(row)) for row in rows if (name := _text(row.get("id")))}
    if not offers:  # an empty list would make every provider look as if it were gone
        return ModelList(outcome=Outcome.MALFORMED, message="the reply lists no models")
    return ModelList(outcome=Outcome.OK, offers=offers)


def openrouter_offers(row: dict[str, Any]) -> list[Offer]:
    """Read one model of OpenRouter's list; its prices are dollars per token."""
    names = row.get("supported_parameters")
    parameters = names if isinstance(names, list) else None
    pricing = row.get("pricing")
    price = _price(get_in(pricing, "prompt"), get_in(pricing, "completion"), get_in(pricing, "request"))
    return [
        Offer(
            context_length=_count(row.get("context_length")),
            huggingface_id=_text(row.get("hugging_face_id")),
            price=price,
            supports_tools=None if parameters is None else "tools" in parameters,
            supports_structured_output=None if parameters is None else "structured_outputs" in parameters,
            input_modalities=_names(get_in(row, "architecture", "input_modalities")),
            is_free=_is_free(price),
            expires=_time(row.get("expiration_date")),
        ),
    ]


def huggingface_offers(row: dict[str, Any]) -> list[Offer]:
    """Read one model of the router's list; its prices are dollars per million tokens."""
    return [
        Offer(
            provider=provider,
            status=_text(one.get("status")),
            context_length=_count(one.get("context_length")),
            price=_price(get_in(one.get("pricing"), "input"), get_in(one.get("pricing"), "output"), per=_PER_MILLION),
            supports_tools=_truth(one.get("supports_tools")),
            supports_structured_output=_truth(one.get("supports_structured_output")),
            input_modalities=_names(get_in(row, "architecture", "input_modalities")),
            is_free=_truth(one.get("is_free")),
            latency_s=_seconds(one.get("first_token_latency_ms")),
            throughput=_amount(one.get("throughput")),
        )
        for one in _listed(row.get("providers"))
        if isinstance(one, dict) and (provider := _text(one.get("provider")))
    ]


def _price(input_usd: object, output_usd: object, request_usd: object = None, *, per: int = 1) -> Price | None:
    """Return a price if both of its parts are known; a negative part, as of a router model, means that it varies."""
    asked, answered = _amount(input_usd), _amount(output_usd)
    if asked is None or answered is None:
        return None
    return Price(asked / per, answered / per, _amount(request_usd) or 0.0)


def _is_free(price: Price | None) -> bool | None:
    return None if price is None else price == Price(0.0, 0.0)


def _seconds(milliseconds: object) -> float | None:
    amount = _amount(milliseconds)
    return None if amount is None else amount / 1000


# --- one look-up ------------------------------------------------------------------------------------------------


async def _look_up(
    transport: Transport, url: str, secret: Secret | None, backend: str, silence_s: float | None = None
) -> dict[str, Any] | Verdict:
    """Return the JSON object at a URL, or what came instead."""
    reply = await transport.get(url, secret=secret, timeout_s=TIMEOUT_S, silence_s=silence_s)
    if isinstance(reply, Reply) and 200 <= reply.status < 300:
        body = await read_json(reply.body)
        if isinstance(body, dict) and not body.get("error"):  # errors come with a 200 too
            return body
        if not isinstance(body, dict):
            # Most often the page of a company's proxy, so its first words help.
            shown = shorten(beginning(reply.body)) or "the body is blank"
            return Verdict(outcome=Outcome.MALFORMED, http_status=reply.status, message=shown)
    verdict = classify(reply, backend=backend, now_utc=clock.current().utc())
    return verdict if verdict.message else replace(verdict, message=f"HTTP {verdict.http_status} without a word")


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return shorten(value) or None if isinstance(value, str) else None


def _names(value: object) -> tuple[str, ...] | None:
    return tuple(name for one in value if (name := _text(one))) if isinstance(value, list) else None


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _amount(value: object) -> float | None:
    amount = number(value)
    return amount if amount is not None and amount >= 0 else None


def _count(value: object) -> int | None:
    amount = _amount(value)
    return int(amount) if amount is not None and amount < 2**53 else None  # above, floats are not exact


def _time(value: object) -> datetime | None:
    """Return a time given as ISO 8601, or as seconds or milliseconds since 1970."""
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        if (seconds := _amount(value)) is not None and seconds > 0:
            return datetime.fromtimestamp(seconds / 1000 if seconds > _MILLISECONDS_FROM else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
