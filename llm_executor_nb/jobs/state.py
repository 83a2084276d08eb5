"""How a job stands, as one record for all views: counts, causes, holds, dollars, and why it waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.core import clock
from llm_executor_nb.core.holds import HoldKind
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.jobs.results import Status
from llm_executor_nb.jobs.wait_text import QUIET_S, STUCK_S, held_routes, held_texts, wait_text
from llm_executor_nb.view.snapshot import Failure, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_executor_nb.core.holds import Health, Hold
    from llm_executor_nb.core.records import Route
    from llm_executor_nb.jobs.answers import AnswerCache
    from llm_executor_nb.jobs.results import Results
    from llm_executor_nb.jobs.stop_rules import StopRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What only the runner knows.

    Attributes:
        routes, health: whom it asks, and what is on hold.
        began_at, ended_at: times on the clock; ended None: it runs.
        asked: rows that were sent.
        waiting: requests that another job asks.
        trouble: why the ledger cannot be written; "": it can.
        in_flight: how many requests are in flight, in words.
    """

    routes: Sequence[Route]
    health: Health
    began_at: float
    ended_at: float | None
    asked: int
    waiting: int
    trouble: str
    in_flight: str


def snapshot_of(results: Results, rules: StopRules, reuse: AnswerCache, standing: Standing) -> Snapshot:
    """Return how a job stands; from any thread."""
    now, is_over = clock.current().now(), standing.ended_at is not None
    counts, total, left = results.counts(), len(results), results.rows_left
    held = held_routes(standing.routes, standing.health, now)
    if is_over:  # a dead key stays worth knowing
        held = [hold for hold in held if hold.kind is HoldKind.CONDEMNED]
    has_others = counts[Status.CACHED] or results.has_sharers
    return Snapshot(
        total=total,
        done=total - left,
        failed=counts[Status.FAILED],
        skipped=counts[Status.SKIPPED],
        cached=counts[Status.CACHED],
        asked=standing.asked if has_others else None,
        fallbacks=results.fallbacks,
        failures=_failures(results, rules),
        held=tuple(held_texts(held, len(standing.routes), now)),
        waiting=standing.waiting,
        trouble=standing.trouble,
        spent_usd=rules.budget.spent_usd or None,
        saved_usd=reuse.saved_usd or None,
        oldest_utc=reuse.oldest_utc,
        in_flight=standing.in_flight,
        elapsed_s=(standing.ended_at or now) - standing.began_at,
        is_over=is_over,
        note=rules.note,
        wait="" if is_over else _wait_text(rules, standing, held, now),
    )


def _failures(results: Results, rules: StopRules) -> tuple[Failure, ...]:
    """Return why rows failed, the most frequent cause first."""
    step = rules.next_step
    causes = [
        Failure(rows, cause, words, step(Outcome(cause)) if cause else "")
        for cause, (rows, words) in list(results.causes.items())
    ]
    return tuple(sorted(causes, key=lambda failure: -failure.rows))


def _wait_text(rules: StopRules, standing: Standing, held: Sequence[Hold], now: float) -> str:
    """Return why nothing has been answered for a while; "": something was, or nothing stands in the way."""
    silent_s = now - rules.silent_since
    is_stuck = len(held) == len(standing.routes)
    if silent_s < (STUCK_S if is_stuck else QUIET_S) or rules.is_ending:
        return ""
    return wait_text(
        held,
        routes=len(standing.routes),
        now=now,
        silent_s=silent_s,
        silence_bound_s=rules.silence_bound_s,
        budget_left_s=rules.budget_left_s(now),
        trouble=standing.trouble,
        others=standing.waiting,
    )
