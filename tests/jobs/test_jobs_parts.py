"""A job in parts, each in a process of its own: they share slots, rates, dollars and holds, and buy nothing twice."""

from __future__ import annotations

import os
import pickle
import time
from collections import Counter

import pytest
from columns import assert_own_answers, prompts, statuses
from killing import LONGEST_S, Place, is_paid, lines_since, question_of, questions_of
from parting import MEETINGS_S, asked_by, begin_part, bought, busiest_second, part_nursery, whole_job
from rehearsing import fresh, wait_until

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.rehearsal.server import RehearsalServer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and forks are POSIX")
ROWS, CONCURRENCY = 200, 16
KEYS = {"openrouter_keys": 2, "huggingface_tokens": 0}


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    with part_nursery(tmp_path_factory.mktemp("nursery")) as begun:
        yield begun


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


def _halves(rows=ROWS):
    frame = prompts(rows)
    return frame, [frame.iloc[: rows // 2], frame.iloc[rows // 2 :]]


def _begin_both(nursery, folder, plan, halves):
    return [begin_part(nursery, folder, plan, half, offset=half.index[0]) for half in halves]


def _most_at_once(lines):
    """Return how many requests were in flight at the provider's at one moment."""
    steps = sorted([(line.received_s, 1) for line in lines] + [(line.replied_s, -1) for line in lines])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def test_two_processes_share_the_slots_and_log_each_request(nursery, tmp_path):
    frame, halves = _halves()
    script = "openrouter: 3%503, 2%429 retry-after=0.1"
    with llm.rehearse(script, latency_s=0.05, **KEYS) as server:
        with whole_job(frame, concurrency=CONCURRENCY) as (plan, whole):
            results = [part.result() for part in _begin_both(nursery, tmp_path, plan, halves)]
            whole.look()
        lines = lines_since(server)
        log = session().ledger_of_parts().attempts_frame(job_ids=[plan.job_id])
    for out, *_ in results:
        assert statuses(out) == {"ok": ROWS // 2}
        assert_own_answers(out)
    assert bought(lines) == Counter(frame["q"])
    assert len(log) == len(lines) == sum(len(attempts) for _, attempts, _ in results)
    assert set(log["position"]) == set(range(ROWS))
    assert log["run_id"].str.fullmatch("[0-9a-f]{12}-[0-9a-f]+").all()
    assert _most_at_once(lines) <= CONCURRENCY
    assert (whole.snapshot().done, whole.snapshot().failed) == (ROWS, 0)


def test_equal_rows_in_two_processes_are_bought_once(nursery, tmp_path):
    frame, _ = _halves()
    with llm.rehearse(latency_s=0.05, **KEYS) as server, whole_job(frame, concurrency=CONCURRENCY) as (plan, _):
        results = [part.result() for part in _begin_both(nursery, tmp_path, plan, [frame, frame])]
        assert bought(lines_since(server)) == Counter(frame["q"])
    assert Counter(results[0][0]["q_llm_status"]) + Counter(results[1][0]["q_llm_status"]) == {
        "ok": ROWS,
        "cached": ROWS,
    }


@pytest.mark.parametrize("reuse", [True, False])
def test_a_part_that_is_run_again_buys_nothing(nursery, tmp_path, reuse):
    frame, _ = _halves(40)
    with llm.rehearse(**KEYS) as server, whole_job(frame, reuse=reuse) as (plan, _):
        first, *_ = begin_part(nursery, tmp_path, plan, frame).result()
        again, *_ = begin_part(nursery, tmp_path, plan, frame).result()
        assert bought(lines_since(server)) == Counter(frame["q"])
    assert (statuses(first), statuses(again)) == ({"ok": 40}, {"cached": 40})


def test_when_one_part_is_killed_the_other_has_its_slots_and_its_rows_are_bought_once(nursery, tmp_path):
    frame, halves = _halves(600)
    with llm.rehearse(latency_s=0.1, **KEYS) as server, whole_job(frame, concurrency=CONCURRENCY) as (plan, _):
        dying, other = _begin_both(nursery, tmp_path, plan, halves)
        wait_until(lambda: {0, 1} <= set(asked_by(list(server.lines), halves)), 30)
        time.sleep(0.5)
        killed_at = dying.kill()
        stored = set(session().ledger_of_parts().attempts_frame(job_ids=[plan.job_id])["position"])
        again, *_ = begin_part(nursery, tmp_path, plan, halves[0]).result()
        assert statuses(other.result()[0]) == {"ok": 300}
        lines = lines_since(server)
    assert set(statuses(again)) == {"ok", "cached"}
    assert_own_answers(again)
    questions = questions_of(lines)
    twice = Counter(q for q, line in zip(questions, lines, strict=True) if is_paid(line)) - Counter(set(questions))
    late = [line for line in lines if is_paid(line) and 0 <= killed_at - line.replied_s <= LONGEST_S]
    assert not {frame["q"][position] for position in stored} & set(twice), "what was stored was bought again"
    assert twice.total() <= CONCURRENCY + len(late)
    after = [line for line in lines if line.received_s > killed_at + MEETINGS_S]
    assert _most_at_once(after) > CONCURRENCY // 2, "the slots of the dead part are lost"


def test_when_the_client_is_killed_its_parts_buy_no_more(nursery, tmp_path):
    with RehearsalServer(latency_s=0.1) as server:
        place, told = Place(server, tmp_path), tmp_path / "plan"
        client = nursery.tell("client", server.openrouter_url, place.path.parent, told, 4_000, CONCURRENCY)
        wait_until(told.exists, 30)
        plan = pickle.loads(told.read_bytes())  # noqa: S301 - our own
        frame, halves = _halves(4_000)
        parts = _begin_both(nursery, tmp_path, plan, halves)
        wait_until(lambda: {0, 1} <= set(asked_by(list(server.lines), halves)), 30)
        killed_at = time.monotonic()
        os.kill(client, 9)
        nursery.tell("wait", client)
        outs = [part.result()[0] for part in parts]
        lines = lines_since(server)
        paid = {question_of(text) for _, text in place.answers()}
    assert all(line.received_s < killed_at + MEETINGS_S for line in lines)
    assert all(set(statuses(out)) == {"ok", "cancelled"} for out in outs)
    assert paid == {question for out in outs for question in out["q"][out["q_llm_status"] == "ok"]} <= set(frame["q"])


def test_stop_ends_all_parts_within_two_seconds(nursery, tmp_path):
    frame, halves = _halves(4_000)
    with llm.rehearse(latency_s=0.1, **KEYS) as server, whole_job(frame, concurrency=CONCURRENCY) as (plan, whole):
        parts = _begin_both(nursery, tmp_path, plan, halves)
        wait_until(lambda: {0, 1} <= set(asked_by(list(server.lines), halves)), 30)
        whole.stop()
        stopped_at = time.monotonic()
        results = [part.result() for part in parts]
        lines = lines_since(server)
    assert all(line.received_s < stopped_at + MEETINGS_S for line in lines)
    assert all(ended_at < stopped_at + 2 for *_, ended_at in results)
    assert all(set(statuses(out)) == {"ok", "cancelled"} for out, *_ in results)


def test_a_told_rate_is_kept_by_all_processes_together(nursery, tmp_path):
    rate = 100
    frame, halves = _halves(300)
    with llm.rehearse(openrouter_keys=1, huggingface_tokens=0) as server:
        llm.keys.add("openrouter", "sk-or-v1-practice-0001", rpm=60 * rate)
        with whole_job(frame) as (plan, _):
            outs = [part.result()[0] for part in _begin_both(nursery, tmp_path, plan, halves)]
        lines = lines_since(server)
    assert all(statuses(out) == {"ok": 150} for out in outs)
    # a busy machine lets some arrive late, with the next ones; two processes apart would send twice as many
    assert busiest_second([line.received_s for line in lines]) <= 1.3 * rate


def test_a_budget_is_never_exceeded_by_two_processes(nursery, tmp_path):
    frame, halves = _halves(400)
    options = {"budget_usd": 0.0006, "price": (1.0, 1.0), "max_tokens": 50, "concurrency": 32}
    with llm.rehearse(latency_s=0.03, **KEYS) as server, whole_job(frame, **options) as (plan, whole):
        results = [part.result() for part in _begin_both(nursery, tmp_path, plan, halves)]
        whole.look()
        lines = lines_since(server)
        log = session().ledger_of_parts().attempts_frame(job_ids=[plan.job_id])
    spent = log["cost_usd"].sum()
    assert len(log) == len(lines)
    assert 0.00047 <= spent <= 0.0006, "too little is left for another request, of at most $0.00013"
    assert whole.snapshot().spent_usd == pytest.approx(spent)
    # the last dollars may all go to one of the two
    assert set().union(*(statuses(out) for out, *_ in results)) == {"ok", "cancelled"}
    assert "budget" in whole.note


def test_a_key_that_one_process_finds_refused_is_asked_by_none_a_second_later(nursery, tmp_path):
    frame, halves = _halves(600)
    with llm.rehearse("openrouter[1]: 401@30", latency_s=0.1, **KEYS) as server:
        with whole_job(frame, concurrency=CONCURRENCY) as (plan, _):
            parts = _begin_both(nursery, tmp_path, plan, halves)
            outs = [part.result()[0] for part in parts]
        lines = lines_since(server)
    assert all(statuses(out) == {"ok": 300} for out in outs)
    refused = next(line for line in lines if line.status == 401)
    later = [line for line in lines if line.received_s > refused.replied_s + MEETINGS_S]
    assert len(later) > 20
    assert refused.key not in {line.key for line in later}


def test_a_time_that_one_process_is_told_pauses_the_key_in_both(nursery, tmp_path):
    frame, halves = _halves(600)
    with llm.rehearse("openrouter[1]: 429@30 retry-after=3", latency_s=0.1, **KEYS) as server:
        with whole_job(frame, concurrency=CONCURRENCY) as (plan, _):
            parts = _begin_both(nursery, tmp_path, plan, halves)
            outs = [part.result()[0] for part in parts]
        lines = lines_since(server)
    assert all(statuses(out) == {"ok": 300} for out in outs)
    refused = next(line for line in lines if line.status == 429)
    paused = refused.replied_s + MEETINGS_S, refused.replied_s + 2.9
    between = [line for line in lines if paused[0] < line.received_s < paused[1]]
    assert set(asked_by(between, halves)) == {0, 1}
    assert refused.key not in {line.key for line in between}
