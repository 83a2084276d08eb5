"""What a job would do, counted without a request: rows, distinct requests, stored answers, tokens, price range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.chain.limits import ends_of, limits_of
from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.jobs.hedging import most_twins
from llm_executor_nb.jobs.options import listed_prices
from llm_executor_nb.jobs.requests import RequestMaker, RequestQueue
from llm_executor_nb.view.html import block, pairs
from llm_executor_nb.view.text import dollars

if TYPE_CHECKING:
    from llm_executor_nb.core.chain import Chain
    from llm_executor_nb.frames.prompts import Prompts
    from llm_executor_nb.jobs.options import JobOptions
    from llm_executor_nb.store.ledger_store import LedgerStore

_WINDOW = 4096
_LONG_ANSWER = 512
"""Tokens of a long answer, for the upper end of the price range where max_tokens is not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a job would do.

    Attributes:
        model: the model that would be asked.
        rows, skipped: rows of the frame, and those without input.
        requests: distinct requests.
        stored: of these, how many have a stored answer that would be reused.
        input_tokens: an estimate for the requests that would be sent: four bytes of text in UTF-8 count as one token.
        output_tokens: the most they could be answered with: by max_tokens, else 512 for each.
        least_usd, most_usd: the price range over the chain's routes; None: no price is known.
        routes: the chain, in order.
        left_out: the routes that cannot promise the policy, each with the clause and why.
        limits: the limits of a free model that cannot carry the requests.
        ends: until when OpenRouter serves the model; empty: no end is known.
        hedges: the most twins that hedging may send; the price range has them too.
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
    left_out: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    ends: str = ""
    hedges: int = 0

    @property
    def to_ask(self) -> int:
        """Requests that would be sent."""
        return self.requests - self.stored

    def lines(self) -> list[tuple[str, str]]:
        """Return the plan as pairs of a name and a text."""
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
            *([("hedging", f"at most {self.hedges} more requests; a hedge may be paid twice")] if self.hedges else []),
            ("routes", " > ".join(self.routes)),
            *(("left out", words) for words in self.left_out),
            *(("limit", words) for words in self.limits),
            *([("ends", self.ends)] if self.ends else []),
        ]

    def _repr_html_(self) -> str:
        return block(pairs(self.lines()))

    def __repr__(self) -> str:
        return "\n".join(f"{name:<10} {text}" for name, text in self.lines())


def make_plan(options: JobOptions, prompts: Prompts, ledger: LedgerStore) -> Plan:
    """Return what a job would do. Sends no request; prices, limits and ends are looked up, which is free.

    Args:
        options: what all rows share.
        prompts: the rows.
        ledger: where stored answers are looked for.
    """
    maker = RequestMaker(options)
    queue = RequestQueue(prompts, maker, lambda *_: None, keeps_order=True)
    requests = stored = tokens = 0
    while not queue.is_empty:
        window = [request for request in queue.take(_WINDOW) if request.error is None]
        lookups = [request.wanted for request in window]
        answers = ledger.find(lookups, max_age_s=options.max_age_s) if options.reuse else [None] * len(window)
        for request, answer in zip(window, answers, strict=True):
            if answer is not None:
                maker.mark_taken(request, answer.run_id)  # as the job would, so that no other copy counts it too
        requests += len(window)
        stored += sum(answer is not None for answer in answers)
        tokens += sum(request.tokens for request, answer in zip(window, answers, strict=True) if answer is None)
    return plan_of(
        options,
        rows=len(prompts),
        skipped=prompts.is_asked.count(0),
        requests=requests,
        stored=stored,
        tokens=tokens,
    )


def plan_of(options: JobOptions, *, rows: int, skipped: int, requests: int, stored: int, tokens: int) -> Plan:
    """Return the plan of a job whose requests are counted.

    Args:
        options: what all rows share.
        rows: all rows.
        skipped: those of them without input.
        requests: the distinct requests.
        stored: those of them whose answer is stored.
        tokens: of the others.
    """
    longest = (requests - stored) * int(options.params.get("max_tokens") or _LONG_ANSWER)
    least, most = _price_range(options, tokens, requests - stored, longest)
    twins = 0.0 if options.hedge is None else most_twins(options.hedge)
    return Plan(
        model=options.chain.model,
        rows=rows,
        skipped=skipped,
        requests=requests,
        stored=stored,
        input_tokens=tokens,
        output_tokens=longest,
        least_usd=least,
        most_usd=most and most * (1 + twins),
        routes=tuple(route.name for route in options.chain.routes()),
        left_out=tuple(f"{one.route.name} by {one.clause}: {one.why}" for one in options.chain.left_out),
        limits=limits_of(options.chain, requests - stored),
        ends=_end_of(options.chain),
        hedges=int((requests - stored) * twins),
    )


def _end_of(chain: Chain) -> str:
    is_asked = any(route.backend == OPENROUTER for route in chain.routes())
    return ends_of([chain.model]).get(chain.model, "") if is_asked else ""


def _price_range(options: JobOptions, tokens: int, requests: int, longest: int) -> tuple[float | None, float | None]:
    """Return the price of all requests on the cheapest route with one token each, and on the dearest with the most."""
    known = options.prices.known or listed_prices(options.chain).known
    if not known:
        return None, None
    least = [price.request_usd * requests + price.input_usd * tokens + price.output_usd * requests for price in known]
    most = [price.request_usd * requests + price.input_usd * tokens + price.output_usd * longest for price in known]
    return min(least), max(most)
