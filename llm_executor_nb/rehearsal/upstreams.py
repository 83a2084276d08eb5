"""The providers behind practice OpenRouter, and which of them may answer: what a request's `provider` field asks for.

`only`, `ignore`, `zdr`, `data_collection`, `quantizations` and `max_price` are honoured, as OpenRouter's documents on
provider selection describe them. Its other preferences change nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.foreign_json import as_object, get_in, number
from llm_executor_nb.providers.catalog import PER_MILLION

if TYPE_CHECKING:
    from collections.abc import Callable

TIERS = {"flex": 0.5, "priority": 2.0}
"""The service tiers, and what each costs as a multiple of the default tier's price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One provider behind practice OpenRouter; it serves every model.

    Attributes:
        name: as replies name it.
        tag: its full slug. The part before the slash is the provider's base slug, which all its variants share.
        quantization: the number format of the weights.
        input_usd, output_usd: dollars per million tokens.
        keeps_nothing: whether it promises zero data retention.
        trains: whether it may train on what it is sent.
    """

    name: str
    tag: str
    quantization: str
    input_usd: float
    output_usd: float
    keeps_nothing: bool = False
    trains: bool = False

    @property
    def slug(self) -> str:
        """Its base slug."""
        return self.tag.partition("/")[0]

    def is_named(self, names: object) -> bool:
        """Whether a list of names has it: by its name, its base slug or its full slug."""
        listed = names if isinstance(names, list) else []
        return bool({str(one).lower().replace(" ", "-") for one in listed} & {self.name.lower(), self.slug, self.tag})

    def cost_usd(self, prompt_tokens: int, completion_tokens: int, tier: str | None) -> float:
        """Return what an answer costs."""
        price = self.input_usd * prompt_tokens + self.output_usd * completion_tokens
        return round(TIERS.get(tier or "", 1.0) * price / PER_MILLION, 10)


UPSTREAMS: tuple[Upstream, ...] = (
    Upstream(
        name="Practice",
        tag="practice",
        quantization="bf16",
        input_usd=0.1,
        output_usd=0.1,
        trains=True,
    ),
    Upstream(
        name="DeepInfra", tag="deepinfra/fp8", quantization="fp8", input_usd=0.2, output_usd=0.3, keeps_nothing=True
    ),
    Upstream(
        name="DeepInfra", tag="deepinfra/turbo", quantization="fp4", input_usd=0.15, output_usd=0.2, keeps_nothing=True
    ),
    Upstream(name="Novita", tag="novita/bf16", quantization="bf16", input_usd=0.25, output_usd=0.35),
    Upstream(name="Together", tag="together", quantization="bf16", input_usd=0.3, output_usd=0.4, keeps_nothing=True),
)
"""In the order in which they are chosen. Without preferences the first one answers every request."""
PRICE_USD = UPSTREAMS[0].input_usd / PER_MILLION
"""The price of a practice token, so that sums and budgets have something to add."""


def choose(preferences: object) -> tuple[Upstream, str | None]:
    """Return who answers a request with these preferences, and None; or the fault that the request meets instead."""
    left, wishes = UPSTREAMS, as_object(preferences)
    for name, (fault, fits) in _STEPS.items():
        if wish := wishes.get(name):
            left = tuple(one for one in left if fits(one, wish))
            if not left:
                return UPSTREAMS[0], fault
    return left[0], None


def _is_within(upstream: Upstream, price: object) -> bool:
    bounds = ((get_in(price, "prompt"), upstream.input_usd), (get_in(price, "completion"), upstream.output_usd))
    return all((bound := number(most)) is None or asked <= bound for most, asked in bounds)


_STEPS: dict[str, tuple[str, Callable[[Upstream, Any], bool]]] = {
    "only": ("no-allowed-providers", lambda one, names: one.is_named(names)),
    "ignore": ("all-providers-ignored", lambda one, names: not one.is_named(names)),
    "zdr": ("no-zero-retention", lambda one, _: one.keeps_nothing),
    "data_collection": ("no-untrained", lambda one, wish: wish != "deny" or not one.trains),
    "quantizations": ("no-quantization", lambda one, formats: one.quantization in list(formats)),
    "max_price": ("constraint_filtered", _is_within),
}
"""The preferences in the order in which they are applied, each with the fault that follows if it leaves nobody."""
