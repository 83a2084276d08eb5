"""Free look-ups of lists: which models there are, which providers serve them, what they cost, who keeps nothing.

Each function makes one GET with the transport and URL that it is given. A list that could not be had is a record with
its outcome and the provider's words.

Must not: cache, or know the configuration.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core.foreign_json import get_in
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER, Verdict
from llm_executor_nb.providers.look_up import (
    as_amount,
    as_count,
    as_list,
    as_names,
    as_text,
    as_time,
    as_truth,
    look_up,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from llm_executor_nb.providers.transport import Transport

PER_MILLION: Final = 1_000_000
"""Tokens that a price is written for."""
_PROVIDER: Final = re.compile(r"\w[\w.\-]*", re.ASCII)
"""A name that can stand behind the colon of a model's name, and so in a row of the table."""


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


LIVE: Final = frozenset({"live", None})
"""The words of a list for an offer that is served now; None: it says nothing."""


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

    @property
    def is_live(self) -> bool:
        """Whether it is served now, as far as the list says."""
        return self.status in LIVE


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


async def openrouter_providers(transport: Transport, base_url: str) -> frozenset[str]:
    """Return the slugs of the providers behind OpenRouter (`GET /providers`); none: there is no list."""
    body = await look_up(transport, f"{base_url}/providers", None, OPENROUTER)
    rows = [] if isinstance(body, Verdict) else as_list(body.get("data"))
    return frozenset(slug for row in rows if (slug := as_text(get_in(row, "slug"))))


async def openrouter_models(transport: Transport, base_url: str, *, silence_s: float | None = None) -> ModelList:
    """Return OpenRouter's models with price and context length (`GET /models`; asked without a key).

    Args:
        transport: sends the request.
        base_url: OpenRouter's.
        silence_s: seconds without a byte after which it is given up, as for the two lists below.
    """
    body = await look_up(transport, f"{base_url}/models", None, OPENROUTER, silence_s)
    return _model_list(body, openrouter_offers)


async def huggingface_models(transport: Transport, base_url: str, *, silence_s: float | None = None) -> ModelList:
    """Return the router's models, each with the providers that serve it (`GET /models`; asked without a token)."""
    body = await look_up(transport, f"{base_url}/models", None, HUGGINGFACE, silence_s)
    return _model_list(body, huggingface_offers)


async def openrouter_retention(transport: Transport, base_url: str, *, silence_s: float | None = None) -> RetentionList:
    """Return the providers that keep nothing, by model (`GET /endpoints/zdr`; asked without a key)."""
    body = await look_up(transport, f"{base_url}/endpoints/zdr", None, OPENROUTER, silence_s)
    if isinstance(body, Verdict):
        return RetentionList(outcome=body.outcome, message=body.message)
    providers: defaultdict[str, set[str]] = defaultdict(set)
    for row in as_list(body.get("data")):
        model, provider = as_text(get_in(row, "model_id")), as_text(get_in(row, "provider_name"))
        if model and provider:
            providers[model.casefold()].add(provider)
    return RetentionList(outcome=Outcome.OK, providers={model: frozenset(names) for model, names in providers.items()})


def _model_list(body: dict[str, Any] | Verdict, read: Callable[[dict[str, Any]], Iterable[Offer]]) -> ModelList:
    if isinstance(body, Verdict):
        return ModelList(outcome=body.outcome, message=body.message)
    rows = [row for row in as_list(body.get("data")) if isinstance(row, dict)]
    offers = {name: tuple(read(row)) for row in rows if (name := as_text(row.get("id")))}
    if not offers:  # an empty list would make every provider look as if it were gone
        return ModelList(outcome=Outcome.MALFORMED, message="the reply lists no models")
    return ModelList(outcome=Outcome.OK, offers=offers)


def openrouter_offers(row: dict[str, Any]) -> list[Offer]:
    """Read one model of OpenRouter's list; its prices are dollars per token."""
    names = row.get("supported_parameters")
    parameters = names if isinstance(names, list) else None
    pricing = row.get("pricing")
    price = as_price(get_in(pricing, "prompt"), get_in(pricing, "completion"), get_in(pricing, "request"))
    return [
        Offer(
            context_length=as_count(row.get("context_length")),
            huggingface_id=as_text(row.get("hugging_face_id")),
            price=price,
            supports_tools=None if parameters is None else "tools" in parameters,
            supports_structured_output=None if parameters is None else "structured_outputs" in parameters,
            input_modalities=as_names(get_in(row, "architecture", "input_modalities")),
            is_free=_is_free(price),
            expires=as_time(row.get("expiration_date")),
        ),
    ]


def huggingface_offers(row: dict[str, Any]) -> list[Offer]:
    """Read one model of the router's list; its prices are dollars per million tokens."""
    modalities = as_names(get_in(row, "architecture", "input_modalities"))
    return [
        _offer_of(provider, one, modalities)
        for one in as_list(row.get("providers"))
        if isinstance(one, dict) and (provider := as_provider(one.get("provider")))
    ]


def _offer_of(provider: str, one: dict[str, Any], modalities: tuple[str, ...] | None) -> Offer:
    price = as_price(get_in(one.get("pricing"), "input"), get_in(one.get("pricing"), "output"), per=PER_MILLION)
    is_free = as_truth(one.get("is_free"))
    return Offer(
        provider=provider,
        status=as_text(one.get("status")),
        context_length=as_count(one.get("context_length")),
        price=price,
        supports_tools=as_truth(one.get("supports_tools")),
        supports_structured_output=as_truth(one.get("supports_structured_output")),
        input_modalities=modalities,
        is_free=_is_free(price) if is_free is None else is_free,
        latency_s=_seconds(one.get("first_token_latency_ms")),
        throughput=as_amount(one.get("throughput")),
    )


def as_provider(value: object) -> str | None:
    """Return the name of a provider; None: requests cannot name it."""
    return value if isinstance(value, str) and _PROVIDER.fullmatch(value) and as_text(value) == value else None


def as_price(input_usd: object, output_usd: object, request_usd: object = None, *, per: int = 1) -> Price | None:
    """Return a price if both of its parts are known; a negative part, as of a router model, means that it varies."""
    asked, answered = as_amount(input_usd), as_amount(output_usd)
    if asked is None or answered is None:
        return None
    return Price(asked / per, answered / per, as_amount(request_usd) or 0.0)


def _is_free(price: Price | None) -> bool | None:
    return None if price is None else price == Price(0.0, 0.0)


def _seconds(milliseconds: object) -> float | None:
    amount = as_amount(milliseconds)
    return None if amount is None else amount / 1000
