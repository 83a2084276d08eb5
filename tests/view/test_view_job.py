"""What a job looks like: a bar and words that say the same, everything escaped, four redraws a second at most."""

from __future__ import annotations

import io
import re
import time
from datetime import UTC, datetime

import pytest

from llm_executor_nb.view.job import JobDisplay, LogLines, TerminalLine, job_bundle, make_progress
from llm_executor_nb.view.snapshot import Failure, Snapshot
from llm_executor_nb.view.text import columns_of, fitted, pace

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def snapshot(**told) -> Snapshot:
    usual = {"total": 60, "done": 12, "failed": 0, "skipped": 0, "fallbacks": 0, "held": (), "elapsed_s": 4.2}
    return Snapshot(**{**usual, "is_over": False, **told})


def words_of(html: str) -> str:
    """Return what is left of HTML where style and tags are taken out."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))


FULL = snapshot(
    total=12_000,
    done=5_000,
    elapsed_s=100.0,
    cached=1_999,
    failed=1_203,
    skipped=1,
    fallbacks=3_456,
    saved_usd=0.5,
    oldest_utc=datetime(2026, 11, 20, 8, 5, tzinfo=UTC),
    failures=(Failure(1_200, "content_filter", "refused"), Failure(1, "bad_request", ""), Failure(2, "", "no text")),
    held=("Key ..0001 of openrouter is dead (User not found).", "1 of 3 routes fails (busy). Next try in 13 s."),
    waiting=4_000,
    trouble="the disk is full",
    spent_usd=1.25,
)


@pytest.mark.parametrize("form", ["text/plain", "text/html"])
def test_every_count_is_said_in_words_in_both_forms(form):
    said = words_of(job_bundle(FULL, hint="■ stops it")[form])
    for words in (
        "5,000/12,000 rows",
        "1,999 cached (saved $0.5",
        "the oldest of 2026-11-20 08:05 UTC",
        "1,203 failed",
        "1 skipped",
        "3,456 via fallback",
        "1 min 40 s, 4 min left",
        "30 rows/s",
        "$1.25",
        "Key ..0001 of openrouter is dead (User not found). 1 of 3 routes fails (busy). Next try in 13 s.",
        "4,000 waiting for another job",
        "nothing is asked: the disk is full",
        "■ stops it",
        "1,200 failed: content_filter (refused)",
        "1 failed: bad_request",
        "2 not sent: no text",
    ):
        assert words in said, words


def test_the_time_left_is_told_in_whole_seconds_and_not_while_nothing_is_answered():
    assert snapshot().line().startswith("12/60 rows · 4.2 s, 17 s left · 2.9 rows/s")
    assert "left" not in snapshot(wait="All routes fail.").line()


def test_the_bar_is_native_and_tells_its_value_to_assistive_technology():
    html = job_bundle(FULL)["text/html"]
    [bar] = re.findall(r"<progress[^>]*>", html)
    for part in (
        'role="progressbar"',
        'value="5000"',
        'max="12000"',
        'aria-valuenow="5000"',
        'aria-label="5,000/12,000 rows"',
    ):
        assert part in bar


def test_an_empty_frame_has_a_full_bar():
    assert 'value="1" max="1"' in job_bundle(snapshot(total=0, done=0, is_over=True))["text/html"]


def test_a_job_that_was_stopped_says_what_is_missing_and_no_more_how_to_stop_it():
    bundle = job_bundle(snapshot(is_over=True, wait="All routes fail."), hint="■ stops it")
    assert "stopped, 48 rows have no answer" in bundle["text/plain"]
    assert "■" not in bundle["text/plain"] + bundle["text/html"]
    assert "All routes fail." not in bundle["text/plain"]
    early = job_bundle(snapshot(is_over=True, note="ended early: its 75 s are over"))
    assert "ended early: its 75 s are over, 48 rows have no answer" in early["text/plain"]


@pytest.mark.parametrize(
    "told",
    [
        {"note": HOSTILE},
        {"trouble": HOSTILE},
        {"held": (HOSTILE,)},
        {"wait": HOSTILE},
        {"failures": (Failure(1, "x", HOSTILE),)},
    ],
    ids=["note", "trouble", "held", "wait", "failures"],
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
        line.show(snapshot(done=30, held=("1 of 5 routes fails.",)))
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
    terminal.show(snapshot(held=("1 of 5 routes fails (a long cause).",)))
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


def test_of_a_job_that_nobody_waits_for_the_last_lines_are_kept():
    stream = io.StringIO()
    terminal = TerminalLine(stream)
    for minute in range(1_000):
        terminal.say(f"minute {minute}")
    terminal.close(snapshot(done=60, is_over=True))
    said = [line.strip() for line in stream.getvalue().splitlines() if "minute" in line]
    assert said == [f"minute {minute}" for minute in range(990, 1_000)]


def test_a_log_has_a_line_a_minute_and_one_at_the_end_with_all_there_is_to_say():
    stream = io.StringIO()
    log = LogLines(stream)
    for second in range(200):
        log.show(snapshot(elapsed_s=float(second), wait="All routes fail."))
    for _ in range(2):
        log.close(snapshot(done=60, failed=1, failures=(Failure(1, "empty", ""),), is_over=True))
    *minutes, last, why = stream.getvalue().splitlines()
    assert [line.split(" · ")[1] for line in minutes] == [f"{n} min 0 s" for n in (1, 2, 3)]
    assert all(line.endswith(" · All routes fail.") for line in minutes)
    assert (last[:10], why) == ("60/60 rows", "1 failed: empty")


def test_the_end_of_a_job_that_nobody_waited_for_is_written_once():
    for display in (LogLines, TerminalLine):
        stream = io.StringIO()
        shown = display(stream)
        shown.close(snapshot())  # the wait was interrupted
        for _ in range(2):
            shown.end(snapshot(done=60, is_over=True))
        assert [line.strip()[:10] for line in stream.getvalue().split("\n")[:-1]] == ["12/60 rows", "60/60 rows"]


def test_failed_rows_have_each_cause_once_and_at_the_end_what_asks_again():
    failures = tuple(Failure(9 - number, f"cause{number}", "words") for number in range(5))
    told = {"failed": 35, "failures": failures, "again": "out.llm.retry_failed()"}
    assert "Ask again" not in job_bundle(snapshot(**told))["text/plain"]
    for form in ("text/plain", "text/html"):
        said = words_of(job_bundle(snapshot(**told, done=60, is_over=True))[form])
        for words in (
            "9 failed: cause0 (words)",
            "7 failed: cause2 (words)",
            "11 failed for 2 other reasons",
            "Ask again: out.llm.retry_failed()",
        ):
            assert words in said
    assert "Ask again" in job_bundle(snapshot(again="x", is_over=True))["text/plain"], "rows were cancelled"
    assert "Ask again" not in job_bundle(snapshot(again="x", done=60, is_over=True))["text/plain"]


def test_a_failure_says_what_to_do_and_where_nothing_was_sent_no_line_asks_again():
    dead = Failure(2, "auth", "no", "replace it")
    assert "2 failed: auth (no). Next: replace it" in job_bundle(snapshot(failed=2, failures=(dead,)))["text/plain"]
    unsent = snapshot(failed=1, failures=(Failure(1, "", "Row 0: no"),), again="x", done=60, is_over=True)
    assert "Ask again" not in job_bundle(unsent)["text/plain"]


def test_how_many_were_asked_is_said_at_the_end_if_others_had_their_answers():
    assert "asked" not in snapshot(asked=10).line()
    assert "asked" not in snapshot(done=60, is_over=True).line()
    assert (
        "1,280 asked, the others were equal or stored"
        in snapshot(total=2_000, done=2_000, asked=1_280, is_over=True).line()
    )
    assert "none asked: all were stored" in snapshot(done=60, asked=0, is_over=True).line()


@pytest.mark.parametrize(
    ("rows", "seconds", "words"),
    [(12_500, 10, "1,250 rows/s"), (32, 10, "3.2 rows/s"), (30, 60, "30 rows/min"), (1, 600, "0.1 rows/min")],
)
def test_a_pace_is_told_in_the_unit_that_fits(rows, seconds, words):
    assert pace(rows, seconds) == words


@pytest.mark.parametrize("columns", [0, 1, 2, 20, 60])
@pytest.mark.parametrize("text", ["12/60 rows · " * 9, "注意" * 40, "e\u0301" * 90, "🙂 x" * 30])
def test_a_line_never_takes_more_columns_than_the_window_has(text, columns):
    assert columns_of(fitted(text, columns)) <= columns
    assert fitted("short", 60) == "short"


def test_silence_shows_nothing_and_leaves_a_display_to_ipython(capsys):
    silent = JobDisplay()
    for show in (silent.show, silent.redraw, silent.close, silent.end):
        show(FULL)
    silent.say("All routes fail.")
    assert silent.open(FULL, list) is False
    assert capsys.readouterr() == ("", "")


def test_without_a_shell_there_is_no_cell():
    assert isinstance(make_progress(is_shown=True), LogLines)
    assert type(make_progress(is_shown=False)) is JobDisplay
