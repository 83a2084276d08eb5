"""Hedging in a job: how many twins there are whatever the server's times, what they save, and what they may cost."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace

import pandas as pd
import pytest
from rehearsing import (
    MODEL,
    assert_nothing_is_in_flight,
    fresh,
    logged,
    seen_by,
    settle,
    wait_until,
    words,
)
from simulating import Practice, run_column

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Verdict
from llm_executor_nb.engine.sender import SendResult
from llm_executor_nb.frames.hedges import Hedges
from llm_executor_nb.frames.report import make_report
from llm_executor_nb.jobs.budget import Budget
from llm_executor_nb.jobs.hedging import percentile
from llm_executor_nb.jobs.options import Prices
from llm_executor_nb.jobs.rows import RowRun
from llm_executor_nb.providers.catalog import Price
from llm_executor_nb.settings.options import Options, check_hedge

ROWS, AT_ONCE = 260, 26
HANG_S, TIMEOUT_S = 30.0, 3.0


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


@dataclass
class Timed(Practice):
    """A provider that answers in the time of `answers_in`, of which the row's timeout may cut some.

    Attributes:
        hung: prompts whose first requests are never answered, with how many.
        peak: the most requests that were in flight.
    """

    hung: Counter[str] = field(default_factory=Counter)
    peak: int = 0

    async def whole(self, ask, route, *, timeout_s):
        prompt = ask.payload["messages"][-1]["content"]
        is_hung = self.hung[prompt] > 0
        self.hung[prompt] -= 1
        self.peak = max(self.peak, self.in_flight + 1)
        if not is_hung:
            return await super().whole(ask, route, timeout_s=timeout_s)
        self.requests.append((clock.current().now(), route.name, prompt))
        self.in_flight += 1
        try:
            await clock.current().sleep(timeout_s)
        finally:
            self.in_flight -= 1
        return SendResult(Verdict(outcome=Outcome.TIMEOUT, error_code="timeout", message="no reply"))


def _slower_and_slower():
    steps = itertools.count()
    return lambda _dice: 0.2 * (1 + next(steps) / 200)


SHAPES = {
    "lognormal": lambda dice: 0.2 * math.exp(dice.gauss()),
    "heavy": lambda dice: 0.2 * math.exp(2 * dice.gauss()),
    "5 % hang": lambda dice: HANG_S if dice.random() < 0.05 else 0.2,
    "5 % slow": lambda dice: 2.0 if dice.random() < 0.05 else 0.1,
    "slower and slower": _slower_and_slower(),
}


def _column(monkeypatch, provider, *, rows=ROWS, **options):
    return run_column(monkeypatch, {"a": provider}, [f"q{row}" for row in range(rows)], keys=2, **options)


@pytest.mark.parametrize("shape", SHAPES)
def test_true_hedges_fewer_than_4_percent_whatever_the_times(monkeypatch, shape):
    provider = Timed(answers_in=SHAPES[shape])
    came = _column(monkeypatch, provider, concurrency=AT_ONCE, hedge=True)
    assert came.counts == {"ok": ROWS}
    assert len(provider.requests) - ROWS < 0.04 * ROWS
    assert provider.peak <= AT_ONCE


@pytest.mark.parametrize(("hedge", "most"), [(0.5, 0.05), (0.99, 0.01)])
def test_a_percentile_and_5_percent_bound_the_twins(monkeypatch, hedge, most):
    provider = Timed(answers_in=SHAPES["lognormal"])
    came = _column(monkeypatch, provider, concurrency=AT_ONCE, hedge=hedge)
    assert came.counts == {"ok": ROWS}
    assert len(provider.requests) - ROWS <= most * ROWS


def test_hangs_cost_little_time_and_few_requests(monkeypatch):
    hung = random.Random(7).sample(range(1000), 50)
    provider = Timed(answers_in=lambda dice: dice.uniform(0.19, 0.21), hung=Counter(f"q{row}" for row in hung))
    came = _column(monkeypatch, provider, rows=1000, concurrency=64, hedge=0.95, timeout=TIMEOUT_S)
    assert came.counts == {"ok": 1000}
    assert came.seconds <= 1.5 * 1000 * 0.2 / 64
    assert len(provider.requests) <= 1.06 * (1000 + len(hung))
    assert came.frame.llm.report().hedges.won > 45


def test_a_row_that_hangs_with_its_twin_is_asked_once_more_and_waits_for_no_retry(monkeypatch):
    provider = Timed(answers_in=lambda dice: dice.uniform(0.19, 0.21), hung=Counter({"q190": 2}))
    came = _column(monkeypatch, provider, rows=200, concurrency=20, hedge=0.95, timeout=TIMEOUT_S)
    assert came.counts == {"ok": 200}
    assert came.seconds < 200 * 0.2 / 20 + TIMEOUT_S + 0.5
    assert [prompt for _, _, prompt in provider.requests].count("q190") == 3


def test_where_all_hang_a_row_goes_down_the_chain_after_three_requests_an_attempt(monkeypatch):
    hanging = Timed(answers_in=lambda dice: dice.uniform(0.19, 0.21), hung=Counter({"q190": 99}))
    providers = {"a": hanging, "b": Timed()}
    came = run_column(monkeypatch, providers, [f"q{row}" for row in range(200)], keys=1, hedge=0.95, timeout=TIMEOUT_S)
    assert came.counts == {"ok": 200}
    assert came.frame["p_llm_route"][190].startswith("b")


def _attempt(*values):
    """Return a row of a log: run, number, route, outcome, decision, start and length in seconds, and perhaps a cost."""
    names = ("run_id", "attempt", "route", "outcome", "decision", "started_utc", "duration_s", "cost_usd")
    row = dict(zip(names, [*values, None], strict=False))
    return {**row, "started_utc": pd.Timestamp("2030-01-01", tz="UTC") + pd.Timedelta(seconds=row["started_utc"])}


def test_the_report_counts_twins_not_fallbacks_and_says_what_they_saved_and_cost():
    log = [
        _attempt("one", 1, "a", "cancelled", "hedge", 0.0, 2.0),  # lost to its twin
        _attempt("one", 2, "b", "ok", "accept", 1.5, 0.5),
        _attempt("two", 1, "b", "cancelled", "hedge", 1.0, 0.2),  # a twin that lost
        _attempt("two", 2, "a", "ok", "accept", 0.0, 3.0),
        _attempt("three", 1, "a", "server_error", "hedge", 0.0, 5.0, 0.25),  # failed while its twin was in flight
        _attempt("three", 2, "b", "ok", "accept", 4.0, 1.5),
        _attempt("four", 1, "a", "timeout", "fall_back", 0.0, 1.0),
        _attempt("four", 2, "b", "ok", "accept", 1.0, 0.5),
    ]
    report = make_report({}, pd.DataFrame(log))
    # three and five seconds took those that were left to end and took longer than two
    assert report.hedges == Hedges(twins=3, won=2, saved_s=2.0, cost_usd=0.25, unknown=2)
    assert str(report.hedges) == (
        "3 twins, 2 of them answered first; about 2.0 s saved, all rows added up; they cost $0.25; 2 of unknown cost"
    )
    assert report.fallbacks == 1
    row = RowRun(None, "one")
    row.attempts = [SimpleNamespace(route=one["route"], decision=one["decision"]) for one in log[:2]]
    assert not row.is_via_fallback


@pytest.mark.parametrize("hedge", [None, False])
def test_without_hedging_no_request_more_is_sent(monkeypatch, hedge):
    provider = Timed(answers_in=SHAPES["lognormal"])
    _column(monkeypatch, provider, rows=100, concurrency=AT_ONCE, hedge=hedge)
    assert len(provider.requests) == 100


@pytest.mark.parametrize(
    ("times", "share", "seconds"),
    [
        ([(float(s), True) for s in range(1, 101)], 0.95, 95.0),
        ([(1.0, True)] * 95 + [(1.5, False)] * 5, 0.95, 1.0),
        ([(1.0, True)] * 90 + [(1.5, False)] * 10, 0.95, 1.0),
        ([(float(s), s % 2 == 1) for s in range(1, 101)], 0.5, 75.0),
        ([(0.1, False)] * 50 + [(float(s), True) for s in range(1, 101)], 0.95, 95.0),
    ],
)
def test_the_percentile_counts_a_cancelled_request_as_under_way_until_then(times, share, seconds):
    assert percentile(times, share) == seconds


@pytest.mark.parametrize("hedge", [0, 1, 1.0, 95, -0.5, "0.9", float("nan")])
def test_what_is_not_a_percentile_is_refused_before_anything_is_sent(hedge):
    with llm.rehearse() as server:
        with pytest.raises(ConfigError, match=r"hedge=.* a percentile between 0 and 1 such as 0\.95"):
            pd.DataFrame({"q": ["x"]}).llm.run(MODEL, "q", hedge=hedge)
        with pytest.raises(ConfigError, match="hedge="):
            llm.configure(hedge=hedge)
        assert not server.lines


def test_what_is_configured_holds_unless_a_job_says_otherwise():
    assert Options().hedge is None
    assert [check_hedge(one) for one in (None, False, True, 0.9)] == [None, None, True, 0.9]
    frame = pd.DataFrame({"q": ["x"] * 3, "n": range(3)})
    plans = {"template": "{q} {n}", "price": (1, 1)}
    with llm.rehearse():
        llm.configure(hedge=0.5)
        assert frame.llm.plan(MODEL, hedge=False, **plans).most_usd < frame.llm.plan(MODEL, **plans).most_usd


# --- over real HTTP ---------------------------------------------------------------------------------------------


def _frame(rows):
    return pd.DataFrame({"q": [f"question {row}" for row in range(rows)]})


def _places(lines):
    """Count the requests by where they went; a server may have answered a request while it was cancelled."""
    return Counter(line[:4] for line in lines)


def test_the_log_has_every_twin_and_the_report_says_what_they_did():
    with llm.rehearse("*: latency=30@50..51, latency=0.2") as server:
        frame = _frame(60)
        plan = frame.llm.plan(MODEL, "q", hedge=0.95)
        out = frame.llm.run(MODEL, "q", concurrency=20, hedge=0.95, progress=False, timeout=5)
        settle(server)
        assert (out["q_llm_status"] == "ok").all()
        report = out.llm.report()
        assert 1 <= report.hedges.twins <= plan.hedges == 3
        assert words("decision").count("hedge") == report.hedges.twins
        assert "hedges     " in repr(report)
        assert "hedging    at most 3 more requests; a hedge may be paid twice" in repr(plan)
        assert _places(logged()) == _places(seen_by(server))
    assert_nothing_is_in_flight()


def test_stopping_a_job_leaves_no_twin_open():
    with llm.rehearse("*: latency=30@40.., latency=0.2") as server:
        job = _frame(60).llm.start(MODEL, "q", concurrency=64, hedge=0.95, progress=False)
        wait_until(lambda: len(server.lines) == 60 + 3, within_s=20)
        job.stop()
        settle(server)
        assert_nothing_is_in_flight()
        assert _places(logged()) == _places(seen_by(server))
        assert job.report().rows["ok"] == 39


# --- money ------------------------------------------------------------------------------------------------------


def test_a_twin_is_sent_only_where_the_budget_has_room_for_it_and_is_not_nearly_used_up():
    options = SimpleNamespace(budget_usd=100.0, prices=Prices({}, Price(0.0, 1.0)), schema=None, extra_body=None)
    budget = Budget(options)
    rows = [
        SimpleNamespace(request=SimpleNamespace(max_tokens=10, is_text=True, size=1, tokens=1), attempts=[])
        for _ in range(9)
    ]
    budget._paid = 20
    assert budget.has_room_for(rows[0], rows[:8])
    assert not budget.has_room_for(rows[0], [*rows, rows[0]])
    budget.spent_usd = 91.0
    assert not budget.has_room_for(rows[0], rows[:1])
    budget.spent_usd = 89.0
    assert not budget.has_room_for(rows[0], rows[:1])
    assert budget.has_room_for(rows[0], [])


def test_a_hedged_job_never_exceeds_its_budget():
    bounds = {"price": (0.0, 1e6), "max_tokens": 64, "budget_usd": 5000.0, "timeout": 1.0}
    with llm.rehearse("*: latency=30@40..41, latency=0.05, no-usage") as server:
        out = _frame(60).llm.run(MODEL, "q", concurrency=8, hedge=0.9, progress=False, **bounds)
        settle(server)
        assert (out["q_llm_status"] == "ok").all()
        assert llm.attempts()["cost_usd"].sum() <= 5000.0
        assert _places(logged()) == _places(seen_by(server))
