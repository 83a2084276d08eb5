"""A job in a real JupyterLab: its live block, its Stop buttons, and what stays in the saved file."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser
FRAME = """
practice = llm.rehearse('*: latency=0.3; openrouter[1]: 401@5..').start()
df = pd.DataFrame({'q': [f'question {number}.' for number in range(120)]})
"""
RUN = "out = df.llm.run('gemma', 'q', concurrency=4)"
START = "job = df.llm.start('gemma', 'q', concurrency=4)\njob"
COUNT = "print(len(practice.lines), job.is_done, job.frame()['q_llm_status'].astype(str).value_counts().to_dict())"


def outputs(notebook, number):
    """Return what a cell has in the saved file, as text."""
    return str(notebook.save()["cells"][number]["outputs"])


def test_the_stop_button_under_a_blocking_run_interrupts_it_and_leaves_no_widget(lab):
    with lab.notebook("run", FRAME, RUN, "print(len(practice.lines))") as notebook:
        notebook.run(1)
        notebook.begin(2)
        bar = notebook.output(2).get_by_role("progressbar")
        bar.first.wait_for()
        stop = notebook.output(2).get_by_role("button", name="Stop the job")
        stop.wait_for()
        notebook.page.wait_for_timeout(1500)
        assert notebook.page.locator(".jp-Notebook-ExecutionIndicator[data-status='busy']").count() == 1
        stop.click()
        notebook.wait_until_idle()
        assert "JobInterrupted" in notebook.text(2)
        assert stop.count() == 0
        saved = outputs(notebook, 2)
        assert "application/vnd.jupyter.widget-view" not in saved
        assert "/120 rows" in saved
        notebook.run(3)
        sent = notebook.text(3)
        notebook.page.wait_for_timeout(600)
        notebook.run(3)
        assert notebook.text(3) == sent


def test_a_started_job_shows_itself_live_and_its_stop_button_stops_it(lab):
    with lab.notebook("start", FRAME, START, "1 + 1", COUNT) as notebook:
        notebook.run(1)
        notebook.run(2)
        first = notebook.wait_for_text(2, "/120 rows")
        notebook.run(3)
        assert "2" in notebook.text(3)
        notebook.page.wait_for_timeout(1500)
        assert notebook.text(2) != first
        notebook.output(2).get_by_role("button", name="Stop the job").click()
        notebook.page.wait_for_timeout(1500)
        notebook.run(4)
        shown = notebook.text(4)
        assert " True " in shown
        assert "'cancelled'" in shown
        sent = shown.split(" ")[0]
        notebook.page.wait_for_timeout(600)
        notebook.run(4)
        assert notebook.text(4).split(" ")[0] == sent


def test_the_stop_button_of_a_kernel_that_was_killed_says_so(lab):
    cells = [FRAME, START, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    with lab.notebook("killed", *cells) as notebook:
        notebook.run(1)
        notebook.run(2)
        stop = notebook.output(2).get_by_role("button", name="Stop the job")
        assert stop.is_enabled()
        notebook.begin(3)
        notebook.wait_for_text(2, "The kernel is gone, and the job with it.")
        assert stop.is_disabled()
        notebook.shoot("stop-killed")


def test_blocks_tables_and_pictures_can_be_read(lab):
    cells = [
        FRAME.replace("latency=0.3", "latency=0.02"),
        "df.llm.plan('gemma', 'q')",
        "df.llm.preview('gemma', 'q', n=3)",
        "out = df.llm.run('gemma', 'q')",
        "out.llm.report()",
        "out.llm.report().plot()",
        "%%llm gemma -v\nSay *something* about rivers, with a [link](https://example.org).",
        "%llm doctor",
    ]
    with lab.notebook("looks", *cells) as notebook:
        for number in range(1, len(cells) + 1):
            notebook.run(number)
        assert notebook.output(6).locator("img").count() == 1
        for look in notebook.looks():
            for number in range(2, len(cells) + 1):
                notebook.output(number).scroll_into_view_if_needed()
                assert notebook.faults(notebook.output(number)) == [], f"{cells[number - 1]}, {look}"
                notebook.shoot(f"looks-{number}-{look}")


def test_html_of_a_model_a_column_or_a_provider_is_shown_as_text(lab):
    hostile = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>[x](javascript:alert(1))"
    cells = [
        "practice = llm.rehearse('openrouter[1]: 401').start()",
        f"bad = {hostile!r}\ndf = pd.DataFrame({{bad: [bad, 'fine']}})\ndf.llm.run('gemma', bad).llm.report()",
        "df.llm.preview('gemma', bad, n=2)",
        f"%%llm gemma\nRepeat: {hostile}",
        "llm.models.add(bad, providers=[bad], alias='bad')\nllm.models",
        "llm.keys.add('openrouter', 'sk-or-v1-another-0009', label=bad)\nllm.keys",
    ]
    with lab.notebook("hostile", *cells) as notebook:
        for number in range(1, len(cells) + 1):
            notebook.run(number)
            notebook.page.wait_for_timeout(200)
            assert notebook.page.evaluate("() => window.hacked") is None, cells[number - 1]
        assert "onerror" in notebook.text(3)
        links = notebook.page.locator(".jp-OutputArea a[href^='javascript']")
        assert links.count() == 0
