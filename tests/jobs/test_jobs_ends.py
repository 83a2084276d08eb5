"""A process ends in the midst of `start`: what was answered is stored, and jobs end before their ledger does."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from columns import prompts
from keeping import Child
from rehearsing import fresh, settle

from llm_executor_nb.rehearsal.server import RehearsalServer

IN_FLIGHT = 8
BEGINS = f"""
import os, threading, time
import llm_executor_nb as llm
from pathlib import Path
from columns import prompts
from llm_executor_nb.store.writer import Writer
llm.configure(openrouter_keys=["sk-or-v1-practice-0001"], huggingface_tokens=[])
llm.configure(openrouter_base_url=sys.argv[1], ledger=Path(sys.argv[2]))
close = Writer.close
Writer.close = lambda writer: (print("closed after the job:", job.is_done, flush=True), close(writer))
job = prompts(2000).llm.start("gemma", "q", progress=False, concurrency={IN_FLIGHT})
while job.snapshot().done < 40:
    time.sleep(0.01)
"""
ENDS = ["", "sys.exit(3)", "raise ValueError('mine')", "threading.Thread(target=time.sleep, args=(0.1,)).start()"]


@pytest.mark.parametrize("end", ENDS, ids=["end", "exit", "error", "thread"])
def test_a_program_that_ends_in_the_midst_of_a_job_keeps_every_answer_that_came(end, tmp_path):
    path = tmp_path / "ledger.sqlite"
    with fresh(), RehearsalServer(latency_s=0.02) as server:
        with Child(BEGINS + end, server.openrouter_url, path) as child:
            assert child.line() == "closed after the job: True"
            child.end()
        settle(server)
        with closing(sqlite3.connect(path)) as file:
            (answers,) = file.execute("SELECT count(*) FROM answer").fetchone()
        assert 40 <= answers < len(prompts(2000))
        assert len(server.lines) - answers <= IN_FLIGHT
