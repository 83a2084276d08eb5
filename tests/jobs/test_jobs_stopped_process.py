"""A process that is stopped amid a job is waited for until its lease is over; woken, it buys little again."""

from __future__ import annotations

import os

import pytest
from columns import assert_own_answers, prompts, statuses
from keeping import Child
from killing import is_paid
from rehearsing import fresh, settle, wait_until

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.store.ledger_store import LedgerStore
from llm_executor_nb.store.records import Limits

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGSTOP is POSIX")
ROWS, CONCURRENCY, LATENCY_S, LEASE_S = 300, 8, 0.05, 1.0
UNCOMMITTED = round(0.1 * CONCURRENCY / LATENCY_S)
"""Answers of 0.1 s, which are in memory only when it is stopped."""

RUNS = """
from pathlib import Path
from columns import prompts, statuses
from llm_executor_nb.chain.session import session
from llm_executor_nb.store.ledger_store import LedgerStore
from llm_executor_nb.store.records import Limits
import llm_executor_nb as llm
llm.configure(openrouter_keys=["sk-or-v1-practice-0001"], huggingface_tokens=[], openrouter_base_url=sys.argv[1])
session().ledger = LedgerStore(lambda: Path(sys.argv[2]), Limits(lease_s=float(sys.argv[3]), beat_s=0.1))
out = prompts(int(sys.argv[4])).llm.run("gemma", "q", progress=False, concurrency=int(sys.argv[5]))
print(sum(statuses(out).get(one, 0) for one in ("ok", "cached")), flush=True)
"""


def test_a_stopped_process_is_waited_for_no_longer_than_its_lease_and_buys_nothing_again(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with fresh(), RehearsalServer(latency_s=LATENCY_S) as server:
        llm.configure(openrouter_keys=["sk-or-v1-practice-0002"], huggingface_tokens=[])
        llm.configure(openrouter_base_url=server.openrouter_url)
        session().ledger = LedgerStore(lambda: path, Limits(lease_s=LEASE_S, beat_s=0.1))
        prompts(1).llm.run("gemma", "q", progress=False)  # a lease is shorter than what is loaded at first takes
        with Child(RUNS, server.openrouter_url, path, LEASE_S, ROWS, CONCURRENCY) as child:
            wait_until(lambda: len(server.lines) > ROWS // 3, 30)  # early in a window of 128
            child.stop(path)
            job = prompts(ROWS).llm.start("gemma", "q", progress=False, concurrency=CONCURRENCY)
            wait_until(lambda: job.snapshot().waiting, 20)
            out = job.result()
            child.go_on()
            assert child.line() == str(ROWS)
        settle(server)
        paid = sum(map(is_paid, server.lines))
        llm.configure(ledger=None)
    assert set(statuses(out)) == {"ok", "cached"}
    assert_own_answers(out)
    assert ROWS <= paid <= ROWS + 2 * CONCURRENCY + UNCOMMITTED
