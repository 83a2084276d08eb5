"""■ and `job.stop()` in a real kernel: the prompt is back, the connections are closed, a rerun asks only the rest."""

from __future__ import annotations

import time

import pytest
from rehearsing import settle
from shells import a_kernel, assert_one_line  # noqa: F401 - the first is a fixture

from llm_executor_nb.rehearsal.server import RehearsalServer

ROWS = 60
MAKE = """
import pandas as pd
llm.configure(openrouter_keys=["sk-or-v1-practice-0001"], openrouter_base_url={url!r}, huggingface_tokens=[])
llm.run_llm("gemma", "warm up")
df = pd.DataFrame({{"q": [f"{name} question {{number}}." for number in range({rows})]}})
"""
RUN = "out = df.llm.run('gemma', 'q', concurrency=6)"
COUNT = "print(out['q_llm_status'].astype(str).value_counts().to_dict())"


@pytest.fixture
def column(a_kernel, request):  # noqa: F811 - the fixture
    """A frame in the kernel, and the practice provider in this process, where its lines are."""
    with RehearsalServer("*: latency=0.25") as server:
        made = a_kernel.run(MAKE.format(url=server.openrouter_url, name=request.node.name, rows=ROWS))
        assert made.reply["status"] == "ok"
        server.clear()
        yield a_kernel, server


def assert_stopped(server) -> int:
    """Check that no request is open and none comes any more; return how many were answered."""
    settle(server)
    sent = len(server.lines)
    time.sleep(0.4)
    assert len(server.lines) == sent
    return sum(line.status == 200 and line.fault != "client left" for line in server.lines)


def test_stop_in_the_middle_of_a_column(column):
    kernel, server = column
    ran = kernel.run(RUN, stop_after_s=1.0)
    assert ran.took_s < 1.0
    assert "Run the cell again to go on" in assert_one_line(ran)
    answered = assert_stopped(server)
    assert 6 <= answered < ROWS
    sent = len(server.lines)
    again = kernel.run(f"{RUN}\n{COUNT}")
    assert again.reply["status"] == "ok"
    kept = int(again.text.split("'cached': ")[1].split("}")[0].split(",")[0])
    assert answered - 6 <= kept <= answered  # an answer may have been on its way when the connections were closed
    assert len(server.lines) - sent == ROWS - kept


def test_the_partial_frame_is_in_the_error(column):
    kernel, server = column
    asked = f"try:\n    {RUN}\nexcept llm.JobInterrupted as stopped:\n    out = stopped.result\n{COUNT}"
    ran = kernel.run(asked, stop_after_s=0.8)
    assert ran.reply["status"] == "ok"
    assert "'cancelled'" in ran.text
    assert "'ok'" in ran.text
    assert_stopped(server)


def test_job_stop_leaves_the_kernel_free_and_closes_the_connections(column):
    kernel, server = column
    began = kernel.run("job = df.llm.start('gemma', 'q', concurrency=6)")
    assert began.took_s < 1.0
    time.sleep(0.6)
    assert len(server.lines) > 6
    stopped = kernel.run(f"job.stop()\nout = job.frame()\n{COUNT}")
    assert stopped.took_s < 1.0
    answered = assert_stopped(server)
    sent = len(server.lines)
    kernel.run(RUN)
    assert ROWS - answered <= len(server.lines) - sent <= ROWS - answered + 6


def test_stop_ends_an_awaited_column_too(column):
    kernel, server = column
    ran = kernel.run("out = await df.llm.arun('gemma', 'q', concurrency=6)", stop_after_s=0.8)
    assert ran.took_s < 1.0
    assert f" of {ROWS} rows have an answer; llm.last is the result so far. " in assert_one_line(ran)
    assert_stopped(server)
