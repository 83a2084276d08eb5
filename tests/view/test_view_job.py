"""What a job looks like: a bar and words that say the same, everything escaped, four redraws a second at most."""

from __future__ import annotations

import io
import math
import re
import time
from datetime import UTC, datetime

import pytest

from llm_executor_nb.view.job import JobDisplay, LogLines, TerminalLine, job_bundle, make_progress
from llm_executor_nb.view.snapshot import Held, Snapshot

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def snapshot(**told) -> Snapshot:
    usual = {"total": 60, "done": 12, "failed": 0, "skipped": 0, "fallbacks": 0, "held": (), "elapsed_s": 4.2}
    return Snapshot(**{**usual, "is_over": False, **told})


def words_of(html: str) -> str:
    """Return what is left of HTML where style and tags are taken out."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))


FULL = snapshot(
    cached=5,
    failed=2,
    skipped=1,
    fallbacks=3,
    saved_usd=0.5,
    oldest_utc=datetime(2026, 11, 20, 8, 5, tzinfo=UTC),
    held=(Held("openrouter ..0001", 12.4), Held("huggingface/nebius", math.inf)),
    waiting=4,
    trouble="the disk is full",
    spent_usd=1.25,
    left_s=200.0,
    wait="All 3 routes fail (overloaded).",
)


@pytest.mark.parametrize("form", ["text/plain", "text/html"])
def test_every_count_is_said_in_words_in_both_forms(form):
    said = words_of(job_bundle(FULL, hint="■ stops it")[form])
    for words in (
        "12/60 rows",
        "5 cached (saved $0.5",
        "the oldest of 2026-11-20 08:05 UTC",
        "2 failed",
        "1 skipped",
        "3 via fallback",
        "4.2 s, 3 min 20 s left",
        "$1.25",
        "on hold: openrouter ..0001 (13 s), huggingface/nebius",
        "4 waiting for another job",
        "nothing is asked: the disk is full",
        "■ stops it",
        "All 3 routes fail (overloaded).",
    ):
        assert words in said, words


def test_the_bar_is_native_and_tells_its_value_to_assistive_technology():
    html = job_bundle(FULL)["text/html"]
    [bar] = re.findall(r"<progress[^>]*>", html)
    for part in ('role="progressbar"', 'value="12"', 'max="60"', 'aria-valuenow="12"', 'aria-label="12/60 rows"'):
        assert part in bar


def test_an_empty_frame_has_a_full_bar():
    assert 'value="1" max="1"' in job_bundle(snapshot(total=0, done=0, is_over=True))["text/html"]


def test_a_job_that_was_stopped_says_what_is_missing_and_no_more_how_to_stop_it():
    bundle = job_bundle(snapshot(is_over=True, held=(Held("x", 3),)), hint="■ stops it")
    assert "stopped, 48 rows have no answer" in bundle["text/plain"]
    assert "■" not in bundle["text/plain"] + bundle["text/html"]
    assert "on hold" not in bundle["text/plain"]


@pytest.mark.parametrize(
    "told",
    [{"note": HOSTILE}, {"trouble": HOSTILE}, {"held": (Held(HOSTILE, 3),)}, {"wait": HOSTILE}],
    ids=["note", "trouble", "held", "wait"],
)
def test_foreign_words_are_escaped(told):
    html = job_bundle(snapshot(**told))["text/html"]
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html


def test_foreign_words_do_not_steer_a_terminal():
    told = snapshot(note="red \x1b[31m", is_over=True)
    stream = io.StringIO()
    for shown in (LogLines(stream), TerminalLine(stream)):
        shown.say("red \x1b[31m")
        shown.close(told)
    told = snapshot(wait="red \x1b[31m")
    assert "\x1b" not in stream.getvalue() + job_bundle(told)["text/plain"]


@pytest.fixture
def now(monkeypatch):
    """A clock in the test's hands."""
    seconds = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds


def test_a_terminal_has_one_line_that_is_written_over_four_times_a_second(now):
    stream = io.StringIO()
    line = TerminalLine(stream)
    for _ in range(100):  # 2 s
        line.show(snapshot(done=30, held=(Held("openrouter ..0001", 5),)))
        now[0] += 0.02
    line.close(snapshot(done=60, is_over=True))
    shown = stream.getvalue()
    assert shown.count("\n") == 1
    assert 6 <= shown.count("\r") <= 8
    last = shown.rsplit("\r", 1)[1]
    assert last.startswith("60/60 rows · 4.2 s ")
    assert len(last.rstrip("\n")) >= len(shown.rsplit("\r", 2)[1])


def test_what_is_said_of_a_wait_stays_above_the_line_of_a_terminal(now):
    stream = io.StringIO()
    terminal = TerminalLine(stream)
    now[0] += 1
    terminal.show(snapshot(held=(Held("a route with a long name, on hold", 5),)))
    terminal.say("All routes fail.")
    terminal.show(snapshot())
    now[0] += 1
    terminal.show(snapshot())
    terminal.say("All routes still fail.")
    terminal.close(snapshot(done=60, is_over=True))
    first, second, third, _ = stream.getvalue().split("\n")
    for line, said in ((first, "All routes fail."), (second, "All routes still fail.")):
        assert [text.split(" · ")[0].rstrip() for text in line.split("\r")] == ["", "12/60 rows", said]
    assert third.startswith("\r60/60 rows · ")
    assert len(first.rsplit("\r")[-1]) == len(first.split("\r")[1]), "something of the line before stayed"


def test_what_is_said_of_a_wait_is_a_line_of_a_log_in_its_order():
    stream = io.StringIO()
    log = LogLines(stream)
    log.show(snapshot(done=30))
    for minute in range(3):
        log.say(f"minute {minute}")
    log.show(snapshot(done=30))
    log.say("the last")
    log.close(snapshot(done=60, is_over=True))
    said = [line.split(" · ")[0] for line in stream.getvalue().splitlines()]
    assert said == ["30/60 rows", "minute 0", "minute 1", "minute 2", "the last", "60/60 rows"]


def test_of_a_job_that_nobody_waits_for_the_last_lines_are_kept():
    stream = io.StringIO()
    log = LogLines(stream)
    for minute in range(1_000):
        log.say(f"minute {minute}")
    log.close(snapshot(done=60, is_over=True))
    assert [line for line in stream.getvalue().splitlines() if "minute" in line] == [
        f"minute {minute}" for minute in range(990, 1_000)
    ]


def test_a_log_has_a_line_for_each_tenth_and_one_at_the_end():
    stream = io.StringIO()
    log = LogLines(stream)
    for done in range(60):
        log.show(snapshot(done=done))
    log.close(snapshot(done=60, is_over=True))
    assert len(stream.getvalue().splitlines()) == 10


def test_silence_shows_nothing_and_leaves_a_display_to_ipython(capsys):
    silent = JobDisplay()
    for show in (silent.show, silent.redraw, silent.close):
        show(FULL)
    silent.say("All routes fail.")
    assert silent.open(FULL, list) is False
    assert capsys.readouterr() == ("", "")


def test_without_a_shell_there_is_no_cell():
    assert isinstance(make_progress(is_shown=True), LogLines)
    assert type(make_progress(is_shown=False)) is JobDisplay
