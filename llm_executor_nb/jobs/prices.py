"""What a job's attempts cost: what the reply says, else by the price the user gave or the catalogue knows."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

from llm_executor_nb.chain.lookups import prices_of
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.providers.catalog import Price, cost_usd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.chain import Chain

_PER_MILLION = 1_000_000
_EXAMPLE = "price=(0.10, 0.30), dollars per million input and output tokens"


class Prices:
    """Prices by backend and provider.

    Args:
        by_place: (backend, provider) -> price.
        common: the price of every route; None: as `by_place` says.
    """

    def __init__(self, by_place: Mapping[tuple[str, str | None], Price], common: Price | None = None) -> None:
        self._by_place, self._common = by_place, common

    @property
    def known(self) -> list[Price]:
        """The prices that are known."""
        return [self._common] if self._common else list(self._by_place.values())

    def cost_usd(self, attempt: Attempt) -> float | None:
        """Return what an attempt cost: by its reply, else by its tokens; None: unknown."""
        if attempt.cost_usd is not None:
            return attempt.cost_usd
        price = self._common or self._by_place.get((attempt.backend, attempt.provider))
        return cost_usd(price, attempt.input_tokens, attempt.output_tokens)

    def at_most_usd(self, attempt: Attempt) -> float:
        """Return what an attempt cost; where its own price is unknown, what it would have cost at the highest one."""
        costs = [cost_usd(price, attempt.input_tokens, attempt.output_tokens) or 0.0 for price in self.known]
        return max(costs, default=0.0) if attempt.cost_usd is None else attempt.cost_usd


def prices_for(chain: Chain, price: object, *, is_needed: bool) -> Prices:
    """Return the prices of a chain's routes.

    Args:
        chain: the routes.
        price: what the user gave; None: nothing.
        is_needed: look the lists up (it is free); otherwise only a price that was given is known.

    Raises:
        ConfigError: the price is none; or prices are needed, and none is known.
    """
    common = check_price(price)
    if common is not None or not is_needed:
        return Prices({}, common)
    found = Prices({place: known for place, known in prices_of(chain.model).items() if known is not None})
    if not found.known:
        raise ConfigError(f"budget_usd needs prices, and none is known for {chain.model}. Give {_EXAMPLE}.")
    return found


def check_price(price: object) -> Price | None:
    """Return a price the user gave; None: none was given.

    Raises:
        ConfigError: it is no pair of dollars per million tokens.
    """
    if price is None or isinstance(price, Price):
        return price
    if isinstance(price, tuple | list) and len(price) == 2 and all(map(_is_dollars, price)):
        return Price(price[0] / _PER_MILLION, price[1] / _PER_MILLION)
    raise ConfigError(f"price={price!r} must be two numbers: {_EXAMPLE}.")


def _is_dollars(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and float(value) >= 0
