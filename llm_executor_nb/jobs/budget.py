"""The dollars of a job: what its requests have cost, and what those in flight may still cost.

The cost of a request is what its reply says, else its tokens by their price. Tokens that no reply counts are estimated.
With a price and `max_tokens` a request has a bound, since a text has no more tokens than bytes. The bound is reserved
while the request is in flight, so the budget is never exceeded. For any other request the highest cost seen is
reserved. The next answer may cost more than that, so few such requests are in flight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import FaultKind
from llm_executor_nb.jobs.requests import estimated_tokens
from llm_executor_nb.jobs.rows import text_of
from llm_executor_nb.view.text import dollars

if TYPE_CHECKING:
    from collections.abc import Collection

    from langchain_core.messages import AIMessage

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.jobs.options import JobOptions
    from llm_executor_nb.jobs.rows import RowRun

MOST_UNBOUNDED = 8
"""Requests in flight whose cost has no bound: by so many times the highest cost a budget may be exceeded."""
_ROUNDING_USD = 1e-12
"""Sums of the same dollars in another order differ by less."""
_TOO_LITTLE_FOR_A_TWIN = 0.1
"""The share of a budget that is kept for rows which have no answer yet."""
_THOUGHTS = ("reasoning_content", "reasoning")
_MAY_BE_PAID = frozenset(
    {
        Outcome.OK,
        Outcome.EMPTY,
        Outcome.MALFORMED,
        Outcome.TIMEOUT,
        Outcome.INVALID_OUTPUT,
        Outcome.REJECTED,
        Outcome.CONTENT_FILTER,
        Outcome.TRUNCATED,
        Outcome.CANCELLED,
    }
)
"""Outcomes after which a model may have worked; of all others it was never asked."""


class Budget:
    """The dollars of one job.

    Args:
        options: what all its rows share.

    Attributes:
        spent_usd: what its attempts have cost, as far as it is known.
        unknown_usd: the most that its other attempts may have cost; only with a budget.
        limit_usd: what they may cost; None: no bound. A part of a job has a share of the job's, which moves.
        reach_usd: the most that the limit may become: a part has to wait for what the others hold and may give back.
        most_unbounded: requests in flight whose cost has no bound.
        unit_usd: what was reserved last for one request.
    """

    def __init__(self, options: JobOptions) -> None:
        self.spent_usd = self.unknown_usd = self.unit_usd = 0.0
        self.limit_usd, self._prices = options.budget_usd, options.prices
        self._told_usd, self.reach_usd, self.most_unbounded = options.budget_usd, options.budget_usd, MOST_UNBOUNDED
        # asked natively or in words, a request holds the schema; after a mistake it may hold it twice
        self._schema_bytes = 0 if options.schema is None else 2 * len(options.schema.instruction.encode())
        # what only one backend knows may raise max_tokens, name a dearer model, or buy a search
        self._has_bounds = not options.extra_body
        self._paid = self._longest = 0
        self._highest_usd = 0.0

    # --- attempts -----------------------------------------------------------------------------------------------

    def bill(self, attempt: Attempt, run: RowRun, message: AIMessage | None) -> Attempt:
        """Count what an attempt has cost; return it with its cost, where only tokens and price tell it.

        Args:
            attempt: what its reply says.
            run: the row it was made for.
            message: the answer it brought, accepted or not; None: none.
        """
        if attempt.cost_usd is None and attempt.output_tokens is None and not _may_be_paid(attempt):
            return attempt
        tokens = _tokens(attempt, run, message)
        attempt = self._prices.priced(attempt, *tokens)
        if attempt.cost_usd is not None:
            self.spent_usd += attempt.cost_usd
        if self.limit_usd is not None:
            self._learn(attempt, run, tokens)
        return attempt

    def _learn(self, attempt: Attempt, run: RowRun, tokens: tuple[int, int | None]) -> None:
        """Learn from a cost; where it is unknown, count the most that it can be."""
        asked, answered = tokens
        usd, bound = attempt.cost_usd, self._bound_usd(run)
        if usd is None:
            by_tokens = self._prices.at_most_usd(asked, self._longest if answered is None else answered)
            usd = max(by_tokens, self.reserve_usd(run)) if answered is None else by_tokens
            self.unknown_usd += usd
            if answered is None:  # no reply told anything, so nothing is learnt
                return
        self._paid += 1
        self._highest_usd = max(self._highest_usd, usd)
        self._longest = max(self._longest, answered or 0)
        if bound is not None and usd > bound:
            self._has_bounds = False  # the price is not the one that is charged

    # --- what is left -------------------------------------------------------------------------------------------

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left; never without a budget."""
        return self.reach_usd is not None and self.spent_usd + self.unknown_usd >= self.reach_usd

    @property
    def _is_at_limit(self) -> bool:
        return self.limit_usd is not None and self.spent_usd + self.unknown_usd >= self.limit_usd

    def has_room_for(self, run: RowRun, in_flight: Collection[RowRun]) -> bool:
        """Whether one more request fits beside those in flight.

        Args:
            run: the row that wants to send it.
            in_flight: the rows that have sent one; the row itself is among them if the request is a twin.
        """
        if self.limit_usd is None:
            return True
        if run in in_flight and self.spent_usd + self.unknown_usd > (1 - _TOO_LITTLE_FOR_A_TWIN) * self.limit_usd:
            return False
        # One request shows what an answer costs before there are two, and so on: a price may be wrong.
        most = 1 + self._paid if self._bound_usd(run) is not None else min(1 + self._paid, self.most_unbounded)
        own = self.reserve_usd(run)
        self.unit_usd = own
        if self._is_at_limit or len(in_flight) >= most:
            return False
        return self.spent_usd + self.unknown_usd + self.reserved_usd(in_flight) + own <= self.limit_usd

    def may_have_room_for(self, run: RowRun) -> bool:
        """Whether a request that finds no room may find it later, with nothing in flight here."""
        if self.reach_usd is None or self.is_used_up:
            return False
        return self.spent_usd + self.unknown_usd + self.reserve_usd(run) < self.reach_usd - _ROUNDING_USD

    def reserved_usd(self, in_flight: Collection[RowRun]) -> float:
        """Return what the requests in flight may still cost."""
        return sum(map(self.reserve_usd, in_flight))

    def reserve_usd(self, run: RowRun) -> float:
        """Return what the next request of a row may cost: at most, or as the answers so far let expect."""
        if (bound := self._bound_usd(run)) is not None:
            return bound
        if not self._paid:  # nothing is known, and the first request is sent alone
            return 0.0
        return max(self._highest_usd, self._prices.at_most_usd(run.request.tokens, self._longest))

    def words(self, run: RowRun | None) -> str:
        """Return why nothing more is bought.

        Args:
            run: a row whose request does not fit; None: nothing is left.
        """
        state = "is used up"
        if run is not None and not self.is_used_up:
            state = f"has too little left for another request of {dollars(self.reserve_usd(run))}"
        unknown = f", and at most {dollars(self.unknown_usd)} by replies without a cost" if self.unknown_usd else ""
        return f"its budget of {dollars(self._told_usd)} {state}, {dollars(self._all_spent_usd)} spent{unknown}"

    @property
    def _all_spent_usd(self) -> float:
        """What this part and the others of its job have spent."""
        others = 0.0 if self._told_usd is None or self.reach_usd is None else self._told_usd - self.reach_usd
        return self.spent_usd + max(0.0, others)

    def _bound_usd(self, run: RowRun) -> float | None:
        """Return the most that the next request of a row can cost; None: nothing bounds it."""
        longest = run.request.max_tokens
        if not self._has_bounds or longest is None or not run.request.is_text:
            return None
        # the next request shows a model its wrong answer, perhaps quoted in the reason too; neither exceeds max_tokens
        mistake = 2 * longest if self._schema_bytes and run.attempts else 0
        return self._prices.at_most_usd(run.request.size + self._schema_bytes + mistake, longest)


def _may_be_paid(attempt: Attempt) -> bool:
    """Whether a model may have worked for an attempt."""
    if attempt.outcome is Outcome.CONNECTION:
        return attempt.error_code == FaultKind.CUT.value
    return attempt.outcome in _MAY_BE_PAID and (attempt.http_status or 200) < 300


def _tokens(attempt: Attempt, run: RowRun, message: AIMessage | None) -> tuple[int, int | None]:
    """Return the tokens sent and received, as the reply counts them, else estimated; None: nothing tells them.

    A count of 0 beside a text is not a count: some servers fill in what they do not know.
    """
    answered = attempt.output_tokens
    if not answered and message is not None:
        answered = estimated_tokens(_written(message))
    return attempt.input_tokens or run.request.tokens, answered


def _written(message: AIMessage) -> str:
    """Return all that a model wrote: its thoughts, as far as they are shown, and its answer."""
    thoughts = next(
        (str(message.additional_kwargs[name]) for name in _THOUGHTS if name in message.additional_kwargs), ""
    )
    return thoughts + text_of(message)
