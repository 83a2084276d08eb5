"""A `%%llm` cell in a real kernel: one display, few updates, Markdown as it comes, and a stop that stops."""

from __future__ import annotations

import time
from itertools import dropwhile, pairwise

import pytest
from shells import a_kernel, assert_one_line  # noqa: F401 - the first is a fixture

LONG = "%%llm gemma\n" + "Tell me of the rivers of France, one by one. " * 8


@pytest.fixture
def rehearsal(a_kernel):  # noqa: F811 - the fixture
    def begin(script="", **options):
        told = ", ".join(f"{name}={value!r}" for name, value in options.items())
        a_kernel.run(f"practice = llm.rehearse({script!r}, {told}).start()")
        return a_kernel

    yield begin
    a_kernel.run("practice.stop()")


def test_an_answer_streams_into_one_display_as_markdown_and_nothing_changes_at_its_end(rehearsal):
    ran = rehearsal("*: pace=0.06").run(LONG)
    assert ran.reply["status"] == "ok"
    first, footer = ran.of("display_data")
    updates = ran.of("update_display_data")
    assert {update["transient"]["display_id"] for update in updates} == {first["transient"]["display_id"]}
    # on a busy machine the first text may take more than a second, and a line says so until it comes
    updates = list(dropwhile(lambda update: "text/markdown" not in update["data"], updates))
    assert len(updates) > 5
    assert all(set(update["data"]) == {"text/markdown", "text/plain"} for update in updates)
    for form in ("text/plain", "text/markdown"):
        texts = [update["data"][form] for update in updates]
        assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert "display_id" not in footer["transient"]
    assert "openrouter ..0001" in footer["data"]["text/plain"]


def test_a_display_is_updated_ten_times_a_second_at_most(rehearsal):
    ran = rehearsal("*: pace=0.02").run(LONG)
    times = ran.times("update_display_data")[:-1]
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.09
    assert len(times) < 12 * (ran.took_s + 0.2)


def test_a_pause_in_a_stream_leaves_nothing_undrawn(rehearsal):
    running = rehearsal("*: pace=0.3")
    ran = running.run("%%llm gemma -o answer\nHi")
    last = ran.of("update_display_data")[-1]["data"]["text/plain"]
    assert running.run(f"print(answer.text == {last!r})").text.strip() == "True"


def test_stop_after_some_text_leaves_it_with_a_mark_and_closes_the_connection(rehearsal):
    running = rehearsal("*: pace=0.2")
    ran = running.run(LONG.replace("gemma", "gemma -o partial", 1), stop_after_s=1.5)
    assert ran.took_s < 1
    assert "the connection is closed. partial and llm.last are the message so far; run " in assert_one_line(ran)
    answer, footer = ran.shown
    assert "[cut: stopped by hand]" in answer["text/plain"]
    assert "**[cut: stopped by hand]**" in answer["text/markdown"]
    assert len(answer["text/plain"]) > 30
    assert " s" in footer["text/plain"]
    time.sleep(0.1)
    assert "client left" in running.run("print(practice.lines[-1].fault)").text
    same = running.run("print(llm.last is partial, type(partial).__name__, partial.content)").text
    assert same == f"True AIMessage {answer['text/plain'].removesuffix('[cut: stopped by hand]')}"


def test_stop_before_any_text_leaves_no_display(rehearsal):
    ran = rehearsal(latency_s=30).run("%%llm gemma\nHi", stop_after_s=1.3)
    assert ran.took_s < 1
    assert "No text had come" in assert_one_line(ran)
    assert ran.shown == [{"text/plain": "", "text/html": ""}]
    waiting = [update["data"]["text/plain"] for update in ran.of("display_data", "update_display_data")[:-1]]
    assert waiting[0] == "asking gemma …"
    assert waiting[-1] == "asking gemma … 1 s"


def test_stop_ends_an_awaited_call_within_a_second(rehearsal):
    ran = rehearsal("*: hang").run("await llm.arun_llm('gemma', 'hello')", stop_after_s=1.2)
    assert ran.took_s < 1
    assert_one_line(ran)


def test_a_stream_that_breaks_leaves_its_text_marked_and_raises_in_short(rehearsal):
    ran = rehearsal("*: stream-error-midway").run(LONG)
    assert ran.reply["ename"] == "StreamInterruptedError"
    assert len(ran.reply["traceback"]) == 1
    answer, footer = ran.shown
    assert "[cut: the stream broke off]" in answer["text/plain"]
    assert "openrouter ..0001" in footer["text/plain"]


def test_an_error_is_raised_and_nothing_stands_where_an_answer_would(rehearsal):
    running = rehearsal("*: 400")
    ran = running.run("%%llm gemma -o kept\nHi")
    assert ran.reply["ename"] == "RequestError"
    assert ran.shown == [{"text/plain": "", "text/html": ""}]
    assert running.run("kept").reply["ename"] == "NameError"
