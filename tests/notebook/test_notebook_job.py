"""A job in a real kernel: one display that is redrawn and stays in the file, and a Stop button that does not."""

from __future__ import annotations

import itertools
import json

import nbclient
import nbformat
import pytest
from rehearsing import wait_until
from shells import a_kernel  # noqa: F401 - a fixture

from llm_executor_nb.view.live import NOTHING

WIDGET = "application/vnd.jupyter.widget-view+json"
HOSTILE = "<script>alert(1)</script>"
PRESS = """
pressed = {"content": {"data": {"method": "custom", "content": {"do": "stop"}}}, "buffers": []}
for comm in list(get_ipython().kernel.comm_manager.comms.values()):
    comm.handle_msg(pressed)
"""
PRACTICE = f"""
import asyncio, time
import pandas as pd
practice = llm.rehearse("*: latency=0.2")
practice.__enter__()
llm.run_llm("gemma", "warm up")
df = pd.DataFrame({{"q": [f"{HOSTILE} {{n}}" for n in range(60)]}})
"""


@pytest.fixture
def kernel(a_kernel):  # noqa: F811 - the fixture
    """A kernel in which practice providers answer after 0.2 s each."""
    assert a_kernel.run(PRACTICE).reply["status"] == "ok"
    yield a_kernel
    a_kernel.run("practice.__exit__(None, None, None)")


def displays(ran) -> dict[str, list[dict]]:
    """Return by display id what was shown there, one after the other."""
    found: dict[str, list[dict]] = {}
    for message in ran.of("display_data", "update_display_data"):
        found.setdefault(message["transient"]["display_id"], []).append(message["data"])
    return found


def block_and_button(ran) -> tuple[list[dict], list[dict]]:
    """Return what was shown in the block of a job, and in the place of its button."""
    block, button = displays(ran).values()
    assert "rows" in block[0]["text/plain"]
    assert button[0]["text/plain"] == ""
    assert "Stop the job" in button[0].get("text/html", "") or WIDGET in button[0]
    return block, button


def test_a_run_is_one_display_redrawn_four_times_a_second_and_a_button_that_is_taken_out(kernel):
    ran = kernel.run("out = df.llm.run('gemma', 'q', concurrency=6, reuse=False)")  # about 2 s
    assert ran.reply["status"] == "ok"
    block, button = block_and_button(ran)
    assert "■ in the toolbar stops it" in block[0]["text/plain"]
    assert 4 <= len(block) <= 4 * ran.took_s + 2
    assert block[-1]["text/plain"].startswith("60/60 rows · ")
    assert "■" not in block[-1]["text/plain"]
    assert all("<progress" in bundle["text/html"] for bundle in block)
    assert all(before != after for before, after in itertools.pairwise(block))
    assert button[1:] == [NOTHING]


@pytest.mark.parametrize("waits", ["df.llm.run('gemma', 'q', reuse=False)", "await df.llm.arun('gemma', 'q')"])
def test_the_kernel_is_busy_until_the_cell_of_a_column_ends(kernel, waits):
    """A front end answers a widget of a running cell with messages, and each of them ends with the status idle."""
    ran = kernel.run(f"out = {waits}")
    block_and_button(ran)
    kinds = [message["msg_type"] for message in ran.messages]
    assert not [kind for kind in kinds if kind.startswith("comm")]
    assert [status["execution_state"] for status in ran.of("status")] == ["busy", "idle"]
    assert kinds[-1] == "status"


def test_no_button_stays_after_the_end_of_the_job(kernel):
    """The loop draws the end while the cell that waits has looked just before it."""
    ran = kernel.run(
        """
from llm_executor_nb.view.job import CellBlock, FIRST_S
job = df.head(3).llm.start('gemma', 'q', progress=False)
block, sooner = CellBlock(), job.snapshot()
job.result()
time.sleep(FIRST_S)
block.show(sooner)
block.redraw(job.snapshot())
block.show(sooner)
block.close(job.snapshot())
"""
    )
    assert ran.reply["status"] == "ok"
    block, button = block_and_button(ran)
    assert block[-1]["text/plain"].startswith("3/3 rows")
    assert button[1:] == [NOTHING]


def test_redraws_are_a_quarter_of_a_second_apart(kernel):
    ran = kernel.run("out = df.llm.run('gemma', 'q', concurrency=6, reuse=False)")
    times = [
        message["header"]["date"].timestamp()
        for message in ran.messages
        if message["msg_type"] == "update_display_data" and message["content"]["data"] != NOTHING
    ]
    assert len(times) >= 4
    assert all(later - sooner >= 0.24 for sooner, later in itertools.pairwise(times[:-1]))


def test_a_short_job_shows_its_end_alone(kernel):
    kernel.run("df.head(3).llm.run('gemma', 'q', progress=False)")
    ran = kernel.run("out = df.head(3).llm.run('gemma', 'q')")
    [bundles] = displays(ran).values()
    assert [bundle["text/plain"].split(" · ")[0] for bundle in bundles] == ["3/3 rows"]
    assert "3 cached" in bundles[0]["text/plain"]
    assert not ran.of("comm_open")


def test_an_interrupted_run_leaves_its_last_state_and_no_button(kernel):
    ran = kernel.run("df.llm.run('gemma', 'q', concurrency=2, reuse=False)", stop_after_s=1.2)
    assert ran.took_s < 1
    assert ran.reply["ename"] == "JobInterrupted"
    block, button = block_and_button(ran)
    assert "stopped, " in block[-1]["text/plain"]
    assert button[-1] == NOTHING


def test_an_awaited_column_is_shown_too(kernel):
    ran = kernel.run("out = await df.llm.arun('gemma', 'q', concurrency=6, reuse=False)")
    block, button = block_and_button(ran)
    assert len(block) >= 4
    assert block[-1]["text/plain"].startswith("60/60 rows")
    assert button[-1] == NOTHING


def test_a_started_job_shows_itself_and_goes_on_after_its_cell(kernel):
    first = kernel.run("job = df.llm.start('gemma', 'q', concurrency=6, reuse=False)\njob")
    block, button = block_and_button(first)
    assert "job.stop() stops it" in block[0]["text/plain"]
    assert button[-1] != NOTHING
    assert not first.of("execute_result")
    later = displays(kernel.run("time.sleep(3)"))
    block_id, button_id = displays(first)
    assert later[block_id][-1]["text/plain"].startswith("60/60 rows")
    assert later[button_id] == [NOTHING]


@pytest.mark.parametrize("next_cell", ["1 + 1", "out = job.result()"])
def test_the_end_of_a_job_that_came_between_two_cells_is_drawn_by_the_next_cell(kernel, tmp_path, next_cell):
    """nbclient, papermill and the like drop what a kernel sends while no cell runs."""
    ended = tmp_path / "ended"
    first = kernel.run(f"""
import pathlib, threading
job = df.head(6).llm.start('gemma', 'q', reuse=False)
def tell():
    while not job.is_done:
        time.sleep(0.01)
    pathlib.Path({str(ended)!r}).touch()
threading.Thread(target=tell).start()
job""")
    wait_until(ended.exists, 30)
    [block_id] = [shown for shown, bundles in displays(first).items() if "rows" in bundles[0]["text/plain"]]
    drawn = displays(first)[block_id] + displays(kernel.run(next_cell)).get(block_id, [])
    assert drawn[-1]["text/plain"].startswith("6/6 rows")
    assert block_id not in displays(kernel.run("2 + 2"))


def test_the_button_of_a_started_job_stops_it_by_a_message(kernel):
    kernel.run("job = df.llm.start('gemma', 'q', concurrency=2, reuse=False)\njob")
    assert kernel.run(PRESS).reply["status"] == "ok"
    ran = kernel.run(
        "time.sleep(0.5)\nprint(job.is_done, job.frame()['q_llm_status'].value_counts()['cancelled'] > 40)"
    )
    assert "True True" in ran.text


def test_a_job_that_is_over_shows_a_block_that_nothing_updates(kernel):
    kernel.run("job = df.head(3).llm.start('gemma', 'q', progress=False)\nout = job.result()")
    ran = kernel.run("job")
    [result] = ran.of("execute_result")
    assert "3/3 rows" in result["data"]["text/html"]
    assert WIDGET not in result["data"]


ALL_HELD = """
import pandas as pd
from llm_executor_nb.core import clock
practice, fast = llm.rehearse("*: retry-after=300"), clock.use(clock.ScaledClock(100))
practice.__enter__(), fast.__enter__()
df = pd.DataFrame({"q": [f"question {n}" for n in range(60)]})
"""


@pytest.fixture
def waiting(a_kernel):  # noqa: F811 - the fixture
    """A kernel whose keys are all held for five minutes, on a clock that runs a hundred times as fast."""
    began = a_kernel.run(ALL_HELD)
    assert began.reply["status"] == "ok", began.reply
    yield a_kernel
    a_kernel.run("fast.__exit__(None, None, None)\npractice.__exit__(None, None, None)")


def test_a_job_that_waits_says_why_in_its_block_for_as_long_as_it_does(waiting):
    ran = waiting.run("out = df.llm.run('gemma', 'q', budget_s=250, reuse=False)")
    assert ran.reply["status"] == "ok"
    block, _ = block_and_button(ran)
    [said, *_] = [bundle for bundle in block if "routes fail (" in bundle["text/plain"]]
    for words in ("Next try in ", "No answer for ", "by its budget_s="):
        assert words in said["text/plain"]
        assert words in said["text/html"]
    assert "routes fail" not in block[-1]["text/plain"]


def test_progress_false_is_silent(kernel):
    ran = kernel.run("out = df.llm.run('gemma', 'q', concurrency=60, reuse=False, progress=False)")
    assert ran.reply["status"] == "ok"
    assert not displays(ran)
    assert not ran.of("stream", "comm_open")


def test_foreign_names_are_text_in_every_display(kernel):
    for source in (
        "df.llm.plan('gemma', 'q')",
        "df.llm.preview('gemma', 'q', n=2)",
        "df.llm.run('gemma', 'q').llm.report()",
    ):
        ran = kernel.run(source)
        [result] = ran.of("execute_result")
        assert "text/html" in result["data"]
        for bundle in [*ran.shown, result["data"]]:
            assert "<script" not in bundle.get("text/html", "")


def test_a_picture_is_in_the_file_as_png_with_words(kernel):
    pytest.importorskip("matplotlib", reason="the extra `plots`")
    ran = kernel.run("df.llm.run('gemma', 'q', progress=False).llm.report().plot()")
    [result] = ran.of("execute_result")
    assert result["data"]["image/png"]
    assert result["data"]["text/plain"].startswith("Outcomes by route")
    assert result["metadata"]["image/png"]["alt"] == result["data"]["text/plain"]


def test_a_notebook_run_by_a_machine_holds_the_block_and_no_widget(tmp_path):
    cells = [
        "import llm_executor_nb as llm" + PRACTICE,
        "out = df.llm.run('gemma', 'q', concurrency=6, reuse=False)",
        "job = df.llm.start('gemma', 'q', concurrency=6, reuse=False)\njob",
        "out = job.result()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    nbformat.validate(notebook)
    for cell in notebook.cells[1:]:
        [output] = cell.outputs
        assert output.data["text/plain"].startswith("60/60 rows")
        assert 'value="60"' in output.data["text/html"]
    assert "widget" not in json.dumps(notebook)
