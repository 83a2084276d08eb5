"""The options that all rows of a job share, and the prices that its attempts are counted with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.lookups import prices_of
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.providers.catalog import PER_MILLION, Price, cost_usd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.chain import Chain
    from llm_executor_nb.core.policy import Policy
    from llm_executor_nb.schemas.schema import Schema
    from llm_executor_nb.store.records import Origin

NAME = "llm"
"""The name of the accessor, and of the answers' column where no other is given."""
_EXAMPLE = "price=(0.10, 0.30), dollars per million input and output tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """The options that all rows of a job share.

    Attributes:
        chain: the routes.
        column: the prompts' column, as text.
        out: the answers' column.
        fields: a schema's fields, and the names of their columns.
        params, system, extra_body: parts of every request.
        policy: what every request demands of whoever answers.
        has_tier_fallback: a service tier that refuses a request may be left out.
        may_take: whether a stored answer may be reused under the policy, by where it is from; None: every one may.
        schema: what answers must fit; None: any answer is good.
        accept: the user's predicate; None: there is none.
        timeout_s, deadline_s: bounds of an attempt and of a row; None: no bound.
        concurrency: requests in flight; None: begin at 8 and find what the routes bear, up to 256.
        hedge: the percentile of the answers' times after which a request gets a twin; True: one of ours; None: never.
        is_raising: a failure ends the job.
        reuse: take stored answers.
        max_age_s: how old a stored answer may be, in seconds; None: any age.
        budget_usd, budget_s: bounds of the job, in dollars and seconds; None: no bound.
        prices: the price of tokens, where the reply does not say the cost.
        shows_progress: show a line of progress.
    """

    chain: Chain
    column: str
    out: str
    fields: Mapping[str, str]
    params: Mapping[str, Any]
    system: str | None
    extra_body: Mapping[str, Mapping[str, Any]] | None
    policy: Policy
    has_tier_fallback: bool
    may_take: Callable[[Origin], bool] | None
    schema: Schema | None
    accept: Callable[[AIMessage], object] | None
    timeout_s: float | None
    deadline_s: float | None
    concurrency: int | None
    hedge: float | None
    is_raising: bool
    reuse: bool
    max_age_s: float | None
    budget_usd: float | None
    budget_s: float | None
    prices: Prices
    shows_progress: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """How the requests of a part are numbered, that are drawn anew for each row: above temperature 0.

    Attributes:
        before: how many copies of a request earlier parts have, by its digest; 0 of others.
        draws: whose draws they are. "": those of every job over this frame, so that another run finds them again. A
            retry has draws of its own.
    """

    before: Mapping[bytes, int] = field(default_factory=dict)
    draws: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOf:
    """What one process does of a job that runs in several.

    Attributes:
        job_id: the whole job.
        began: when that began, in seconds since 1970. Answers from then on are its own, and taken even without reuse.
        offset: the place of the part's first row in the whole frame.
        copies: how requests above temperature 0 are numbered.
    """

    job_id: str
    began: float
    offset: int = 0
    copies: Copies = field(default_factory=Copies)


class Prices:
    """Prices by backend and provider.

    Args:
        by_place: (backend, provider) -> price.
        common: the price of every route; None: each has its own in `by_place`.
    """

    def __init__(self, by_place: Mapping[tuple[str, str | None], Price], common: Price | None = None) -> None:
        self._by_place, self._common = by_place, common

    @property
    def known(self) -> list[Price]:
        """The prices that are known."""
        return [self._common] if self._common else list(self._by_place.values())

    def priced(self, attempt: Attempt, input_tokens: int, output_tokens: int | None) -> Attempt:
        """Return an attempt with its cost, where its reply does not say it and the price is known."""
        if attempt.cost_usd is not None:
            return attempt
        price = self._common or self._by_place.get((attempt.backend, attempt.provider))
        usd = cost_usd(price, input_tokens, output_tokens)
        return attempt if usd is None else replace(attempt, cost_usd=usd)

    def at_most_usd(self, input_tokens: int, output_tokens: int) -> float:
        """Return the cost of so many tokens at the highest known price."""
        return max((cost_usd(price, input_tokens, output_tokens) or 0.0 for price in self.known), default=0.0)


def prices_for(chain: Chain, price: object, *, is_needed: bool) -> Prices:
    """Return the prices of a chain's routes.

    Args:
        chain: the routes.
        price: the user's price; None: there is none.
        is_needed: look up the catalogues, which is free; otherwise only the user's price is known.

    Raises:
        ConfigError: the price is not valid, or prices are needed and none is known.
    """
    common = check_price(price)
    if common is not None or not is_needed:
        return Prices({}, common)
    prices = listed_prices(chain)
    if not prices.known:
        raise ConfigError(f"budget_usd needs prices, and none is known for {chain.model}. Give {_EXAMPLE}.")
    return prices


def listed_prices(chain: Chain) -> Prices:
    """Return the known prices of a chain's routes, looked up in the catalogues; a policy may have left others out."""
    places = {(route.backend, route.provider) for route in chain.routes()}
    listed = prices_of(chain.model)
    return Prices({place: price for place, price in listed.items() if price is not None and place in places})


def check_price(price: object) -> Price | None:
    """Return the user's price; None: there is none.

    Raises:
        ConfigError: it is not a pair of dollars per million tokens.
    """
    if price is None or isinstance(price, Price):
        return price
    if isinstance(price, tuple | list) and len(price) == 2 and all(map(_is_dollars, price)):
        return Price(price[0] / PER_MILLION, price[1] / PER_MILLION)
    raise ConfigError(f"price={price!r} must be two numbers: {_EXAMPLE}.")


def _is_dollars(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < math.inf
