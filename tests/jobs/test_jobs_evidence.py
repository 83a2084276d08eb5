"""Rows are each other's evidence: rows that always fail delay nobody, and an outage costs no row that can be had.

Every kind of failure, wherever the rows stand; outages of seconds, minutes and for ever; both at once; one route, two
keys, two backends. The real job on a frozen clock (`simulating.py`).
"""

from __future__ import annotations

import random
import warnings

import pytest
from rehearsing import fresh
from simulating import Practice, run_column

from llm_executor_nb.core.outcomes import Outcome

KINDS = [Outcome.SERVER_ERROR, Outcome.MALFORMED, Outcome.EMPTY, Outcome.TIMEOUT]
TIMEOUT_S = 5.0


@pytest.fixture(autouse=True)
def _settings():
    with fresh(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a job that ends early warns
        yield


def prompts_of(rows, bad, where):
    """Return prompts of which so many are bad: the first, the last, or some."""
    chosen = {
        "first": range(bad),
        "last": range(rows - bad, rows),
        "scattered": random.Random(3).sample(range(rows), bad),
    }[where]
    return [f"{'bad' if row in set(chosen) else 'good'} row {row}" for row in range(rows)]


def chokes_on_bad(kind):
    return lambda prompt, _seconds: kind if prompt.startswith("bad") else Outcome.OK


def is_down(start_s, length_s, kind=Outcome.SERVER_ERROR):
    """Return what a provider says that is down for a while, and chokes on bad prompts at all times."""

    def says(prompt, seconds):
        return kind if prompt.startswith("bad") or start_s <= seconds < start_s + length_s else Outcome.OK

    return says


def fails_in(kind):
    return (lambda _: TIMEOUT_S) if kind is Outcome.TIMEOUT else (lambda _: 0.0)


@pytest.mark.parametrize("answers_in_s", [0.0, 1.0])
@pytest.mark.parametrize("where", ["first", "scattered", "last"])
@pytest.mark.parametrize("bad", [1, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_always_fail_end_with_their_own_words_and_delay_nobody(kind, bad, where, answers_in_s, monkeypatch):
    prompts = prompts_of(100, bad, where)
    own = Practice(chokes_on_bad(kind), lambda dice: answers_in_s * dice.uniform(0.7, 1.3), fails_in(kind))
    came = run_column(monkeypatch, {"own": own}, prompts)
    assert came.counts == {"ok": 100 - bad, "failed": bad}
    assert came.seconds <= 90
    assert own.most_asked <= 4
    errors = came.errors()
    assert all(errors[prompt] == f"{kind}: choked on {prompt}" for prompt in prompts if prompt.startswith("bad"))


@pytest.mark.parametrize("concurrency", [1, 4, 32])
@pytest.mark.parametrize("where", ["first", "last"])
def test_they_delay_nobody_at_any_concurrency(concurrency, where, monkeypatch):
    own = Practice(chokes_on_bad(Outcome.SERVER_ERROR), lambda _: 0.01)
    came = run_column(monkeypatch, {"own": own}, prompts_of(100, 40, where), concurrency=concurrency)
    assert came.counts == {"ok": 60, "failed": 40}
    assert came.seconds <= 90
    assert own.most_asked <= 4


@pytest.mark.parametrize("concurrency", [1, 8])
def test_where_rows_keep_their_order_they_are_drawn_from_anywhere_on_a_hold(concurrency, monkeypatch):
    own = Practice(chokes_on_bad(Outcome.SERVER_ERROR), lambda _: 0.01)
    prompts = prompts_of(100, 40, "first")
    came = run_column(monkeypatch, {"own": own}, prompts, concurrency=concurrency, temperature=0.7)
    assert came.counts == {"ok": 60, "failed": 40}
    assert came.seconds <= 90
    assert own.most_asked <= 4


@pytest.mark.parametrize("bad", [10, 40])
@pytest.mark.parametrize("keys", [2, 3])
def test_with_more_keys_a_bad_row_has_its_tries_on_each(keys, bad, monkeypatch):
    own = Practice(chokes_on_bad(Outcome.SERVER_ERROR))
    came = run_column(monkeypatch, {"own": own}, prompts_of(100, bad, "first"), keys=keys)
    assert came.counts == {"ok": 100 - bad, "failed": bad}
    assert came.seconds <= 90
    assert own.most_asked <= 4


def test_a_row_that_one_backend_chokes_on_is_answered_by_the_next(monkeypatch):
    first, second = Practice(chokes_on_bad(Outcome.EMPTY)), Practice()
    came = run_column(monkeypatch, {"first": first, "second": second}, prompts_of(100, 10, "first"))
    assert came.counts == {"ok": 100}
    assert came.seconds <= 90
    assert len(second.requests) == 10


@pytest.mark.parametrize("kind", [Outcome.SERVER_ERROR, Outcome.OVERLOADED])
@pytest.mark.parametrize("bad", [10, 40])
def test_rows_that_two_backends_choke_on_end_as_soon(bad, kind, monkeypatch):
    both = {"first": Practice(chokes_on_bad(kind)), "second": Practice(chokes_on_bad(kind))}
    came = run_column(monkeypatch, both, prompts_of(100, bad, "scattered"))
    assert came.counts == {"ok": 100 - bad, "failed": bad}
    assert came.seconds <= 90
    assert max(one.most_asked for one in both.values()) <= 4


@pytest.mark.parametrize("kind", [Outcome.SERVER_ERROR, Outcome.OVERLOADED])
def test_the_time_that_a_server_names_for_one_row_holds_up_that_row_alone(kind, monkeypatch):
    own = Practice(chokes_on_bad(kind), tells_s=20.0)
    came = run_column(monkeypatch, {"own": own}, prompts_of(100, 10, "scattered"))
    assert came.counts == {"ok": 90, "failed": 10}
    assert came.seconds <= 90
    assert max(at for at, _, prompt in own.requests if prompt.startswith("good")) - own.requests[0][0] <= 20


@pytest.mark.parametrize("kind", [Outcome.SERVER_ERROR, Outcome.OVERLOADED, Outcome.CONNECTION, Outcome.EMPTY])
def test_a_total_outage_ends_after_ten_minutes_with_few_requests(kind, monkeypatch):
    own = Practice(is_down(0, 1e9, kind))
    came = run_column(monkeypatch, {"own": own}, prompts_of(300, 0, "first"))
    assert came.seconds <= 700
    assert len(own.requests) <= 300
    tried = {prompt for _, _, prompt in own.requests}
    assert came.counts == {"failed": len(tried), "cancelled": 300 - len(tried)}
    assert all(came.errors()[prompt] == f"{kind}: choked on {prompt}" for prompt in tried)


@pytest.mark.parametrize("bad", [0, 30])
@pytest.mark.parametrize("kind", [Outcome.SERVER_ERROR, Outcome.OVERLOADED, Outcome.EMPTY])
@pytest.mark.parametrize(("start_s", "length_s"), [(0, 10), (2, 10), (0, 120), (2, 120)])
def test_an_outage_loses_no_row_that_can_be_had(start_s, length_s, kind, bad, monkeypatch):
    """Rows for which a server is always "busy" look like too many at once for a while, so that they take longer."""
    own = Practice(is_down(start_s, length_s, kind))
    came = run_column(monkeypatch, {"own": own}, prompts_of(300, bad, "scattered"))
    assert came.counts == ({"ok": 300 - bad, "failed": bad} if bad else {"ok": 300})
    assert came.seconds <= length_s + (300 if bad and kind is Outcome.OVERLOADED else 90)


def test_while_one_backend_is_down_the_next_one_answers(monkeypatch):
    first, second = Practice(is_down(2, 120)), Practice()
    came = run_column(monkeypatch, {"first": first, "second": second}, prompts_of(300, 0, "first"))
    assert came.counts == {"ok": 300}
    assert came.seconds <= 30


def test_two_keys_of_a_server_that_is_down_are_asked_little(monkeypatch):
    own = Practice(is_down(2, 120))
    came = run_column(monkeypatch, {"own": own}, prompts_of(300, 0, "first"), keys=2)
    assert came.counts == {"ok": 300}
    assert len(own.requests) <= 300 + 100


def holds_within(seconds):
    """Return how many holds of a streak begin within so many seconds: of 5 s, then twice as long each, up to 60 s."""
    count = began = 0
    while began <= seconds:
        began += min(5 * 2**count, 60)
        count += 1
    return count


@pytest.mark.parametrize(("start_s", "bursts"), [(0, 1), (2, 4)])
@pytest.mark.parametrize("fails_in_s", [0.0, 3.0])
@pytest.mark.parametrize("kind", [Outcome.CONNECTION, Outcome.OVERLOADED, Outcome.SERVER_ERROR, Outcome.EMPTY])
def test_a_provider_that_is_down_costs_the_requests_under_way_and_one_for_each_hold(
    kind, fails_in_s, start_s, bursts, monkeypatch
):
    """Answers still on their way when it goes down look as if it were up, so that it costs a few bursts then."""
    down, up = Practice(is_down(start_s, 1e9, kind), fails_in=lambda _: fails_in_s), Practice()
    came = run_column(monkeypatch, {"down": down, "up": up}, prompts_of(600, 0, "first"), concurrency=30)
    assert came.counts == {"ok": 600}
    cost = sum(at - down.requests[0][0] >= start_s for at, _, _ in down.requests)
    assert cost <= 30 * bursts + holds_within(came.seconds)
