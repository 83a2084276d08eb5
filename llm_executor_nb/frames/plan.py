"""What a job would do, counted without a request: rows, distinct requests, stored answers, tokens, price range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.chain.lookups import prices_of
from llm_executor_nb.jobs.feed import RequestQueue
from llm_executor_nb.jobs.requests import RequestMaker
from llm_executor_nb.view.html import block, pairs
from llm_executor_nb.view.text import dollars

if TYPE_CHECKING:
    from llm_executor_nb.frames.prompts import Prompts
    from llm_executor_nb.jobs.options import JobOptions
    from llm_executor_nb.jobs.requests import Request
    from llm_executor_nb.store.ledger_store import LedgerStore

_WINDOW = 4096
_CHARACTERS_PER_TOKEN = 4
_MOST_OUTPUT = 512
"""Tokens of an answer up to which a price range is told, where max_tokens does not say it; at least it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a job would do.

    Attributes:
        model: who would be asked.
        rows, skipped: rows of the frame, and those without input.
        requests: distinct requests.
        stored: of these, how many have a stored answer that would be reused.
        input_tokens: of the requests that would be sent, about: four characters are one.
        output_tokens: at most, by max_tokens; else as many as the price range is told for.
        least_usd, most_usd: the price range over the chain's routes; None: no price is known.
        routes: the chain, in order.
    """

    model: str
    rows: int
    skipped: int
    requests: int
    stored: int
    input_tokens: int
    output_tokens: int
    least_usd: float | None
    most_usd: float | None
    routes: tuple[str, ...]

    @property
    def to_ask(self) -> int:
        """Requests that would be sent."""
        return self.requests - self.stored

    def lines(self) -> list[tuple[str, str]]:
        """Return it as pairs of a name and what there is to say."""
        skipped = f", {self.skipped} without input" if self.skipped else ""
        price = "unknown; give price=(dollars per million input tokens, output tokens)"
        if self.least_usd is not None:
            price = f"{dollars(self.least_usd)} to {dollars(self.most_usd)}"
        return [
            ("model", self.model),
            ("rows", f"{self.rows}{skipped}"),
            ("requests", f"{self.requests} distinct, {self.stored} stored, {self.to_ask} to ask"),
            ("tokens", f"about {self.input_tokens} in, at most {self.output_tokens} out"),
            ("price", price),
            ("routes", " > ".join(self.routes)),
        ]

    def _repr_html_(self) -> str:
        return block(pairs(self.lines()))

    def __repr__(self) -> str:
        return "\n".join(f"{name:<10} {said}" for name, said in self.lines())


def make_plan(order: JobOptions, prompts: Prompts, ledger: LedgerStore) -> Plan:
    """Return what a job would do. Sends no request; prices may be looked up, which is free.

    Args:
        order: what all rows share.
        prompts: the rows.
        ledger: where stored answers are looked for.
    """
    maker = RequestMaker(order)
    feed = RequestQueue(prompts, maker, lambda *_: None, keeps_order=True)
    requests = stored = characters = 0
    while not feed.is_dry:
        window = [request for request in feed.take(_WINDOW) if request.error is None]
        wants = [request.wanted for request in window]
        found = ledger.find(wants, max_age_s=order.max_age_s) if order.reuse else [None] * len(window)
        for request, answer in zip(window, found, strict=True):
            if answer is not None:
                maker.take(request, answer.run_id)
        requests += len(window)
        stored += sum(answer is not None for answer in found)
        characters += sum(_length(one) for one, answer in zip(window, found, strict=True) if answer is None)
    tokens = characters // _CHARACTERS_PER_TOKEN
    longest = (requests - stored) * int(order.params.get("max_tokens") or _MOST_OUTPUT)
    least, most = _price_range(order, tokens, requests - stored, longest)
    return Plan(
        model=order.chain.model,
        rows=len(prompts),
        skipped=prompts.is_asked.count(0),
        requests=requests,
        stored=stored,
        input_tokens=tokens,
        output_tokens=longest,
        least_usd=least,
        most_usd=most,
        routes=tuple(route.name for route in order.chain.routes()),
    )


def _length(request: Request) -> int:
    return sum(len(str(message.get("content", ""))) for message in (request.payload or {}).get("messages", ()))


def _price_range(order: JobOptions, tokens: int, requests: int, longest: int) -> tuple[float | None, float | None]:
    known = order.prices.known or [price for price in prices_of(order.chain.model).values() if price is not None]
    if not known:
        return None, None
    least = [price.request_usd * requests + price.input_usd * tokens + price.output_usd * requests for price in known]
    most = [price.request_usd * requests + price.input_usd * tokens + price.output_usd * longest for price in known]
    return min(least), max(most)
