"""A budget of dollars is what the job may cost, whatever a request turns out to cost; and what is said was spent."""

from __future__ import annotations

import json
import re
import threading
import time

import pytest
from columns import MODEL, prompts, run, statuses
from loopback import JSON, served_by, whole
from rehearsing import fresh
from tenacity import wait_none

import llm_executor_nb as llm


class Bill:
    """A provider that asks for its money: `ask(number)` tells what its answer to so many requests costs.

    Attributes:
        usd: all that it has asked for.
        told: what its answers say of that.
    """

    def __init__(self, ask, *, after_s=0.05, usage=None, text="a"):
        self.usd, self.asked, self._lock = 0.0, 0, threading.Lock()
        self._ask, self._after_s, self._usage, self._text = ask, after_s, usage, text

    def __call__(self, connection):
        with self._lock:
            self.asked += 1
            cost = self._ask(self.asked)
            self.usd += cost
        time.sleep(self._after_s)
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": cost} if self._usage is None else self._usage
        connection.sendall(JSON + json.dumps({**json.loads(whole(self._text)), "usage": usage}).encode())


@pytest.fixture(autouse=True)
def _settings():
    with fresh():
        llm.retry_wait_strategy = wait_none()
        yield


def bought(bill, rows=100, **options):
    """Run a job until its budget ends it; return its frame and what it says it has spent."""
    with served_by(bill), pytest.warns(llm.LLMExecutorWarning, match="budget of") as told:
        out = run(prompts(rows), **{"concurrency": 64, **options})
    spent = re.search(r"\$([\d.,]+) spent", str(told[0].message))
    return out, float(spent[1].replace(",", ""))


@pytest.mark.parametrize("max_tokens", [10, 1000])
def test_a_budget_is_never_exceeded_where_price_and_max_tokens_are_known(max_tokens):
    each = max_tokens * 100 / 1e6
    bill = Bill(lambda _: each, usage={"prompt_tokens": 0, "completion_tokens": max_tokens})
    out, spent = bought(bill, budget_usd=10.5 * each, price=(0, 100), max_tokens=max_tokens)
    assert bill.usd <= 10.5 * each
    assert statuses(out)["ok"] == 10
    assert spent == pytest.approx(bill.usd, rel=0.01)


def test_a_prompt_that_is_longer_than_those_before_is_foreseen():
    frame = prompts(4)
    frame.loc[2, "q"] = "long " * 2000
    usage = {"prompt_tokens": 5000, "completion_tokens": 1}
    with served_by(bill := Bill(lambda _: 0.5, usage=usage)), pytest.warns(llm.LLMExecutorWarning, match="budget of"):
        run(frame.iloc[2:3], budget_usd=0.4, price=(100, 0), max_tokens=5)
    assert bill.asked == 0


@pytest.mark.parametrize("cheap", [1, 2, 60])
def test_costs_that_jump_exceed_a_budget_by_eight_requests_at_most(cheap):
    bill = Bill(lambda number: 0.001 if number <= cheap else 1.0)
    bought(bill, budget_usd=2.0, price=(0.1, 0.1))
    assert bill.usd <= 2.0 + (2 if cheap <= 2 else 8)


def test_a_price_that_is_not_the_one_charged_is_believed_until_the_first_bill():
    bill = Bill(lambda number: 0.001 if number <= 2 else 1.0)
    bought(bill, budget_usd=2.0, price=(0.1, 0.1), max_tokens=10)
    assert bill.usd <= 4.0


def test_requests_in_flight_are_many_where_their_cost_has_a_bound():
    most, live, lock = 0, 0, threading.Lock()

    class Counting(Bill):
        def __call__(self, connection):
            nonlocal most, live
            with lock:
                live += 1
                most = max(most, live)
            super().__call__(connection)
            with lock:
                live -= 1

    with served_by(Counting(lambda _: 1e-7, after_s=0.1)):
        run(prompts(100), concurrency=32, budget_usd=1, price=(0.1, 0.1), max_tokens=10)
        assert most > 8
        most = 0
        run(prompts(30, start=500), concurrency=32, budget_usd=1, price=(0.1, 0.1))
        assert most <= 8


def test_answers_of_no_use_and_their_repeats_are_within_the_budget():
    bill = Bill(lambda _: 0.3, text="no JSON")
    out, spent = bought(bill, budget_usd=2.0, price=(1, 1), schema={"a": int})
    assert bill.usd <= 2.0
    assert spent == pytest.approx(bill.usd)
    assert out.llm.attempts()["cost_usd"].sum() == pytest.approx(bill.usd)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}])
def test_replies_without_usage_are_priced_by_their_text(usage):
    bill = Bill(lambda _: 0.0, usage=usage, text="é" * 100)
    out, spent = bought(bill, budget_usd=0.5, price=(1000, 1000))
    each = (-(-len("question 0.") // 4) + 200 / 4) * 1000 / 1e6
    costs = out.llm.attempts()["cost_usd"].tolist()
    assert costs[0] == pytest.approx(each)
    assert bill.asked == len(costs) == int(0.5 / each)
    assert spent == pytest.approx(sum(costs), abs=0.01)
    assert out.llm.report().cost_usd == pytest.approx(sum(costs))


def test_a_price_without_a_budget_prices_replies_without_usage_too():
    with llm.rehearse("*: no-usage"):
        out = run(prompts(3), price=(1000, 1000))
    assert (out.llm.attempts()["cost_usd"] > 0).all()


def test_a_request_that_may_be_paid_without_a_reply_stays_reserved():
    usd_each = 100 * 1000 / 1e6
    bill = Bill(lambda _: usd_each, after_s=0.6)
    with served_by(bill), pytest.warns(llm.LLMExecutorWarning, match=r"\$0.00 spent, and at most \$0.\d+ by replies"):
        run(prompts(20), budget_usd=3.5 * usd_each, price=(0, 1000), max_tokens=100, timeout=0.1)
    assert 1 <= bill.asked <= 3


def test_a_refusal_costs_nothing():
    with llm.rehearse("*: 429*3 retry-after=0.1; *: 503*3"):
        out = run(prompts(5), budget_usd=1e-3, price=(0, 1), max_tokens=100)
    assert statuses(out) == {"ok": 5}


def test_a_budget_too_small_for_one_request_buys_none_and_says_what_it_may_cost():
    with llm.rehearse() as server:
        with pytest.warns(llm.LLMExecutorWarning, match=r"budget of \$0.10 has too little left for .* \$1.00, \$0"):
            out = run(prompts(5), budget_usd=0.1, price=(0, 1000), max_tokens=1000)
        assert not server.lines
    assert statuses(out) == {"cancelled": 5}


@pytest.mark.parametrize("options", [{"price": (float("inf"), 1)}, {"budget_usd": float("inf")}])
def test_an_infinite_price_or_budget_says_what_to_give(options):
    with llm.rehearse(), pytest.raises(llm.ConfigError, match="dollars"):
        prompts(1).llm.run(MODEL, "q", **options)
