"""Two processes with one ledger: each request is bought once, and one that dies holds nothing back."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from contextlib import closing
from itertools import pairwise

import pytest
from columns import assert_own_answers, prompts, statuses
from killing import FAULTS, LONGEST_S, Nursery, Place, is_paid, lines_since, question_of, questions_of
from rehearsing import fresh, wait_until

import llm_executor_nb as llm
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.testing import frozen_clock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and forks are POSIX")
ROWS, CONCURRENCY = 200, 16


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    with Nursery(tmp_path_factory.mktemp("nursery")) as begun:
        yield begun


@pytest.fixture
def place(tmp_path):
    with RehearsalServer(FAULTS, latency_s=0.04) as server:
        yield Place(server, tmp_path)


@pytest.fixture
def steady(tmp_path):
    """Give a place without faults: where the clock stands still, no wait for a retry ends."""
    with RehearsalServer(latency_s=0.04) as server:
        yield Place(server, tmp_path)


def _bought(place):
    """Return how often each question was paid for."""
    lines = lines_since(place.server)
    return Counter(question for question, line in zip(questions_of(lines), lines, strict=True) if is_paid(line))


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize(
    ("start", "later_s"), [(0, 0.0), (ROWS // 2, 0.4)], ids=["the same rows together", "half of the rows, later"]
)
def test_two_processes_buy_each_request_once(nursery, place, temperature, start, later_s):
    one = nursery.begin(place, 0, ROWS, copies=2, concurrency=CONCURRENCY, temperature=temperature)
    time.sleep(later_s)
    other = nursery.begin(place, start, ROWS, copies=2, concurrency=CONCURRENCY, temperature=temperature)
    for out in (one.result(), other.result()):
        assert set(statuses(out)) <= {"ok", "cached"}
        assert_own_answers(out)
    bought = _bought(place)
    assert Counter(question_of(text) for _, text in place.answers()) == bought, "a paid answer is not stored"
    draws = 2 if temperature else 1
    asked = Counter(dict.fromkeys(prompts(ROWS + start)["q"], draws))
    assert not asked - bought
    # Draws are numbered as they are stored, so of two that are in flight at once one may be bought once more.
    assert (bought - asked).total() <= (2 * CONCURRENCY if temperature else 0)
    assert len(place.attempts()) == len(place.server.lines)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_when_one_is_killed_the_other_takes_over_at_once(nursery, place, temperature):
    server = place.server
    one = nursery.begin(place, 0, ROWS, concurrency=CONCURRENCY, temperature=temperature)
    wait_until(lambda: len(server.lines) > ROWS // 5, 30)
    other = nursery.begin(place, 0, ROWS, concurrency=CONCURRENCY, temperature=temperature)
    wait_until(lambda: len(server.lines) > ROWS // 2, 30)
    killed_at = one.kill()
    stored = {question_of(text) for _, text in place.answers()}
    out = other.result()
    assert set(statuses(out)) == {"ok", "cached"}
    assert_own_answers(out)
    bought = _bought(place)
    assert set(bought) == set(out["q"])
    twice = bought - Counter(set(bought))
    # Draws are numbered as they are stored: see above.
    assert sum(twice[question] for question in stored) <= (2 * CONCURRENCY if temperature else 0)
    late = [line for line in server.lines if is_paid(line) and 0 <= killed_at - line.replied_s <= LONGEST_S]
    assert sum(twice[question] for question in set(twice) - stored) <= CONCURRENCY + len(late)
    moments = [killed_at, *(line.received_s for line in server.lines if line.received_s > killed_at)]
    assert max(after - before for before, after in pairwise(moments)) < 3


def _move_to_another_host(path, heartbeat):
    """Make the killed job look as if it ran on another machine."""
    with closing(sqlite3.connect(path)) as file, file:
        changed = file.execute("UPDATE job SET host = 'elsewhere', heartbeat = ? WHERE ended IS NULL", (heartbeat,))
        assert changed.rowcount == 1


def test_a_job_of_another_host_is_taken_over_once_its_heartbeat_is_thirty_seconds_old(nursery, steady):
    place = steady
    one = nursery.begin(place, 0, ROWS, concurrency=CONCURRENCY)
    wait_until(lambda: len(place.server.lines) > ROWS // 4, 30)
    one.kill()
    lines_since(place.server)
    with fresh(), frozen_clock() as frozen:
        now = round(frozen.utc().timestamp() * 1e6)
        _move_to_another_host(place.path, now)
        llm.configure(openrouter_keys=["sk-or-v1-practice-0001", "sk-or-v1-practice-0002"], huggingface_tokens=[])
        llm.configure(openrouter_base_url=place.server.openrouter_url, ledger=place.path)
        options = {"concurrency": CONCURRENCY, "max_age": None, "progress": False}  # this clock is years ahead
        job = prompts(ROWS).llm.start("gemma", "q", **options)
        wait_until(lambda: (now := job.snapshot()).waiting and now.done + now.waiting == ROWS, 20)
        asked = len(place.server.lines)
        frozen.advance(29)
        time.sleep(0.6)
        assert job.snapshot().waiting
        assert f"{job.snapshot().waiting} waiting for another job's answers" in job.snapshot().line()
        assert len(place.server.lines) == asked, "what another host asks for was asked"
        frozen.advance(2)
        out = job.result()
    assert set(statuses(out)) == {"ok", "cached"}
    assert_own_answers(out)
    assert len(place.server.lines) > asked
