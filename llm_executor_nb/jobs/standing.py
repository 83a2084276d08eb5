"""How a job stands, as the views draw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from llm_executor_nb.core import clock
from llm_executor_nb.core.holds import describe
from llm_executor_nb.jobs.wait_words import QUIET_S, held_routes, wait_words
from llm_executor_nb.view.snapshot import Held, Snapshot

if TYPE_CHECKING:
    from collections import Counter

    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.jobs.answers import AnswerCache
    from llm_executor_nb.jobs.options import JobOptions
    from llm_executor_nb.jobs.results import Results
    from llm_executor_nb.jobs.stop_rules import StopRules
    from llm_executor_nb.store.ledger_store import LedgerStore

_FEW = 5
"""Answers from which the time left can be told."""


class Progress(Protocol):
    """What is known of a job's work at any moment; the runner is one."""

    order: JobOptions
    results: Results
    counts: Counter[str]
    is_over: bool
    ended: float | None
    began: float
    ending: StopRules
    reuse: AnswerCache


def snapshot_of(work: Progress, health: Health, ledger: LedgerStore, *, waiting: int) -> Snapshot:
    """Return how a job stands; from any thread.

    Args:
        work: the job's work.
        health: the holds.
        ledger: where its answers go.
        waiting: rows whose answer another job is asking for.
    """
    now = clock.current().now()
    counts, total = work.counts, len(work.results)
    bought = counts["ok"] + counts["failed"]
    done = bought + counts["cached"] + counts["skipped"]
    elapsed_s = (work.ended or now) - work.began
    is_telling = bought >= _FEW and not work.is_over
    return Snapshot(
        total=total,
        done=done,
        failed=counts["failed"],
        skipped=counts["skipped"],
        cached=counts["cached"],
        fallbacks=counts["fallback"],
        held=tuple(Held(describe(hold.scope), hold.until - now) for hold in health.holds(now) if hold.is_active(now)),
        waiting=waiting,
        trouble=ledger.trouble,
        spent_usd=work.ending.spent_usd or None,
        saved_usd=work.reuse.saved_usd or None,
        oldest_utc=work.reuse.oldest_utc,
        elapsed_s=elapsed_s,
        left_s=elapsed_s / bought * (total - done) if is_telling else None,
        is_over=work.is_over,
        note=work.ending.note,
        wait="" if work.is_over else _wait_of(work, health, ledger, others=waiting, now=now),
    )


def _wait_of(work: Progress, health: Health, ledger: LedgerStore, *, others: int, now: float) -> str:
    """Return why nothing was answered for a minute or longer; "": it was, or nothing stands in the way."""
    ending = work.ending
    silent_s = now - ending.silent_since
    if silent_s < QUIET_S or ending.is_set:
        return ""
    routes = tuple(work.order.chain.routes())
    return wait_words(
        held_routes(routes, health, now),
        routes=len(routes),
        now=now,
        silent_s=silent_s,
        silence_bound_s=ending.silence_bound_s,
        budget_left_s=ending.budget_left_s(now),
        trouble=ledger.trouble,
        others=others,
    )
