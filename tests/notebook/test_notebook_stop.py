"""■ in a real kernel: any moment of a first and of a later call ends in one line, and `llm.last` has what came."""

from __future__ import annotations

import pytest
from shells import a_kernel, assert_one_line, kernel  # noqa: F401 - the first is a fixture

from llm_executor_nb.chain.warmup import LOADING
from llm_executor_nb.view.live import NOTHING

MAKE = """
import asyncio
import pandas as pd
df = pd.DataFrame({"q": [f"question {number}." for number in range(40)]})
practice = llm.rehearse("*: latency=5").start()
"""
CALLS = {
    "run_llm": "llm.run_llm('gemma', 'x')",
    "arun_llm": "await llm.arun_llm('gemma', 'x')",
    "cell": "%%llm gemma\nx",
    "cell without a stream": "%%llm gemma --no-stream\nx",
    "stream": "for chunk in llm.stream_llm('gemma', 'x'):\n    pass",
    "astream": "async for chunk in llm.astream_llm('gemma', 'x'):\n    pass",
    "chat model": "llm.chat_model('gemma').invoke('x')",
    "awaited chat model": "await llm.chat_model('gemma').ainvoke('x')",
    "column": "df.llm.run('gemma', 'q', concurrency=1, reuse=False)",
    "awaited column": "await df.llm.arun('gemma', 'q', concurrency=1, reuse=False)",
    "series": "df['q'].llm.run('gemma', concurrency=1, reuse=False)",
    "awaited series": "await df['q'].llm.arun('gemma', concurrency=1, reuse=False)",
    "preview": "df.llm.preview('gemma', 'q', n=30, concurrency=1, reuse=False)",
    "job": "df.llm.start('gemma', 'q', concurrency=1, reuse=False).result()",
    "two at once": "await asyncio.gather(*(df.llm.arun('gemma', 'q', concurrency=1, reuse=False) for _ in 'ab'))",
    "in a task": "await asyncio.create_task(llm.arun_llm('gemma', 'x'))",
    "after an await": "await asyncio.sleep(0)\ndf.llm.run('gemma', 'q', concurrency=1, reuse=False)",
    "a call after an await": "await asyncio.sleep(0)\nllm.run_llm('gemma', 'x')",
    "a stream after an await": "await asyncio.sleep(0)\nfor chunk in llm.stream_llm('gemma', 'x'):\n    pass",
}
FASTER = "practice.stop()\npractice = llm.rehearse({!r}).start()"
SLOW_IMPORT = """
import threading
from llm_executor_nb.chain import warmup
warmup._thread.join()
is_loaded, real = threading.Event(), warmup.make_payload
warmup.make_payload, warmup._thread = lambda *_: is_loaded.wait(), None
"""
IMPORTED = """
is_loaded.set()
warmup._thread.join()
warmup.make_payload = real
"""


@pytest.fixture
def practising(a_kernel):  # noqa: F811 - the fixture
    """A kernel in which an answer takes seconds."""
    assert a_kernel.run(MAKE).reply["status"] == "ok"
    yield a_kernel
    a_kernel.run("practice.stop()")


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_is_stopped_ends_in_one_line(practising, call):
    assert_one_line(practising.run(CALLS[call], stop_after_s=0.6))
    assert practising.run("1 + 1").reply["status"] == "ok"


@pytest.mark.parametrize("call", [call for call in CALLS if "after an await" not in call])
def test_a_first_call_says_that_it_loads_and_is_stopped_as_well(practising, call):
    practising.run(SLOW_IMPORT)
    try:
        ran = practising.run(CALLS[call], stop_after_s=0.5)
        assert_one_line(ran)
        [first, *_] = ran.of("display_data")
        assert first["data"]["text/plain"] == LOADING
        assert ran.shown == [NOTHING]
    finally:
        practising.run(IMPORTED)


def test_a_column_without_progress_loads_in_silence(practising):
    practising.run(SLOW_IMPORT)
    try:
        ran = practising.run("df.llm.run('gemma', 'q', progress=False)", stop_after_s=0.5)
        assert_one_line(ran)
        assert not ran.of("display_data")
    finally:
        practising.run(IMPORTED)


def test_a_first_call_in_a_fresh_kernel_is_stopped_and_the_next_one_answers(tmp_path):
    with kernel(tmp_path) as fresh:
        fresh.run("practice = llm.rehearse('*: latency=0.6').start()")
        assert_one_line(fresh.run("llm.run_llm('gemma', 'x')", stop_after_s=0.4))
        assert "practice answer" in fresh.run("print(llm.run_llm('gemma', 'x').content)").text


@pytest.mark.parametrize("door", ["df.llm.run", "await df.llm.arun"])
def test_the_frame_so_far_is_the_last_result(practising, door):
    practising.run(FASTER.format("*: latency=0.3"))
    ran = practising.run(f"{door}('gemma', 'q', concurrency=4)", stop_after_s=1.5)
    answered = int(assert_one_line(ran).split(" of 40 rows")[0].removeprefix("Stopped: "))
    assert 0 < answered < 40
    counted = practising.run("print(len(llm.last), llm.last['q_llm'].notna().sum())")
    assert counted.text == f"40 {answered}\n"


def test_the_series_so_far_is_the_last_result(practising):
    practising.run(CALLS["awaited series"], stop_after_s=0.6)
    assert practising.run("print(type(llm.last).__name__, len(llm.last))").text == "Series 40\n"


@pytest.mark.parametrize("call", ["stream", "astream"])
def test_the_message_so_far_is_the_last_result(practising, call):
    practising.run(FASTER.format("*: pace=0.3"))
    assert "llm.last is the message so far" in assert_one_line(practising.run(CALLS[call], stop_after_s=1.2))
    told = practising.run("print(type(llm.last).__name__, llm.last.content)").text
    assert told.startswith("AIMessage [practice")
    assert "rehearsal.)" not in told


def test_a_call_that_gave_nothing_changes_nothing(practising):
    practising.run(FASTER.format("*: hang@2..") + "\nkept = llm.run_llm('gemma', 'x')")
    assert_one_line(practising.run(CALLS["run_llm"], stop_after_s=0.5))
    assert practising.run("print(llm.last is kept)").text == "True\n"


def test_a_timeout_of_the_user_is_no_interrupt(practising):
    body = "async with asyncio.timeout(0.5):\n    {}"
    for call in ("awaited column", "arun_llm", "awaited series"):
        ran = practising.run(body.format(CALLS[call]))
        assert ran.reply["ename"] == "TimeoutError"


def test_a_task_that_is_cancelled_is_cancelled(practising):
    ran = practising.run(
        """
task = asyncio.ensure_future(df.llm.arun('gemma', 'q', concurrency=1, reuse=False))
await asyncio.sleep(0.3)
task.cancel()
try:
    await task
except llm.JobInterrupted:
    print('interrupted')
except asyncio.CancelledError:
    print('cancelled', len(llm.last))
"""
    )
    assert ran.text.startswith("cancelled 40\n")


@pytest.mark.parametrize("call", ["arun_llm", "astream", "awaited column", "awaited series", "in a task"])
def test_a_stop_before_the_call_has_begun_ends_it_in_one_line_too(practising, call):
    """The kernel cancels the cell only when it awaits, so a stop in the code above the call reaches the call."""
    assert_one_line(practising.run(f"import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n{CALLS[call]}"))


def test_a_stop_while_the_cell_is_read_ends_in_one_line(practising):
    practising.run(
        """
from llm_executor_nb.notebook import magics
real = magics.cell_options
def interrupted(*_):
    magics.cell_options = real
    raise KeyboardInterrupt
magics.cell_options = interrupted
"""
    )
    assert_one_line(practising.run(CALLS["cell"]))


def test_a_second_stop_loses_nothing(practising):
    practising.run(FASTER.format("*: latency=0.3") + "\nllm.run_llm('gemma', 'x')")  # LangChain is loaded by then
    practising.run(
        """
from llm_executor_nb.frames.job import Job
real = Job.frame
def interrupted(job):
    Job.frame = real
    raise KeyboardInterrupt
Job.frame = interrupted
"""
    )
    told = assert_one_line(practising.run("df.llm.run('gemma', 'q', concurrency=4, reuse=False)", stop_after_s=1.5))
    answered = practising.run("print(len(llm.last), llm.last['q_llm'].notna().sum())").text.split()
    assert told.startswith(f"Stopped: {answered[1]} of {answered[0]} rows have an answer; llm.last is the result")


def test_a_started_job_is_awaited_and_stopped_as_well(practising):
    practising.run(FASTER.format("*: latency=0.1"))
    ran = practising.run("job = df.llm.start('gemma', 'q', reuse=False)\nout = await job.aresult()\nprint(len(out))")
    assert "40\n" in ran.text
    told = assert_one_line(
        practising.run("await df.llm.start('gemma', 'q', concurrency=1, reuse=False).aresult()", stop_after_s=0.6)
    )
    assert told.startswith("Stopped: ")
    assert practising.run("print(len(llm.attempts(job)))").text == "40\n"
