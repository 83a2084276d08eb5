"""Cells in a real JupyterLab: streamed text, a column that is stopped and goes on, awaited calls that are stopped.

How soon a stop ends a cell is measured without a browser, in tests/notebook/.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser
SLOW = "practice = llm.rehearse('*: latency=0.3', latency_s=0.3).start()"
FRAME = "df = pd.DataFrame({'q': [f'question {number}.' for number in range(80)]})"
COLUMN = "out = df.llm.run('gemma', 'q', concurrency=4)"
COUNT = "print(out['q_llm_status'].astype(str).value_counts().to_dict(), len(practice.lines))"


def test_an_answer_streams_into_the_cell_and_stays_in_the_file(lab):
    cells = ["practice = llm.rehearse('*: pace=0.1').start()", "%%llm gemma\nTell me of the rivers of France."]
    with lab.notebook("stream", *cells) as notebook:
        notebook.run(1)
        notebook.begin(2)
        early = len(notebook.wait_for_text(2, "practice answer"))
        notebook.wait_until_idle()
        assert len(notebook.text(2)) > early
        assert "openrouter ..0001" in notebook.text(2)
        saved = str(notebook.save()["cells"][2]["outputs"])
        assert "rivers of France" in saved
        assert "widget-view" not in saved


def test_stop_in_the_toolbar_ends_a_column_and_running_again_goes_on(lab):
    with lab.notebook("column", SLOW + "\n" + FRAME, COLUMN, COUNT) as notebook:
        notebook.run(1)
        notebook.begin(2)
        notebook.wait_for_text(2, "/80 rows")  # before that, LangChain may still be loading
        notebook.page.wait_for_timeout(1000)
        notebook.press_stop()
        notebook.wait_until_idle()
        assert "JobInterrupted" in notebook.text(2)
        assert "Run the cell again to go on" in notebook.text(2)
        notebook.run(2)
        notebook.run(3)
        shown = notebook.text(3)
    assert "'cached'" in shown
    assert "'ok'" in shown


def test_stop_in_the_toolbar_ends_an_awaited_call(lab):
    hang = "practice = llm.rehearse('*: hang').start()"
    with lab.notebook("awaited", hang, "await llm.arun_llm('gemma', 'hello')") as notebook:
        notebook.run(1)
        notebook.begin(2)
        notebook.page.wait_for_timeout(2500)
        notebook.press_stop()
        notebook.wait_until_idle()
        assert notebook.text(2).startswith("JobInterrupted: Stopped")
