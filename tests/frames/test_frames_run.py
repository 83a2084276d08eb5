"""A column of prompts, against practice providers: what each row gets, and what the log says of it."""

from __future__ import annotations

import asyncio

import pandas as pd
import pytest
from columns import MODEL, PROVIDERS, run
from rehearsing import assert_log_is_what_the_server_saw

import llm_executor_nb as llm
from llm_executor_nb.core import clock


@pytest.fixture(autouse=True)
def _model(monkeypatch):
    monkeypatch.setitem(llm.MODEL_INFERENCE_PROVIDERS, MODEL, list(PROVIDERS))


def reviews(count, **options):
    return pd.DataFrame({"review": [f"review number {number}." for number in range(count)]}, **options)


def test_400_rows_with_failures_keep_order_index_and_answers_at_full_concurrency():
    frame = reviews(400, index=[number // 2 for number in range(400)])
    with llm.rehearse("*: 5%503", latency_s=0.1) as rehearsal, clock.use(clock.FrozenClock()):
        run(pd.DataFrame({"review": ["warm up"]}), "review")
        sent_before = len(rehearsal.lines)
        out = run(frame, "review", concurrency=32)
        assert_log_is_what_the_server_saw(rehearsal, in_order=False)
        assert rehearsal.in_flight_peak >= 28
        assert len(rehearsal.lines) == sent_before + len(out.llm.attempts())
    assert (out["review_llm_status"] == "ok").all()
    assert all(asked in answer for asked, answer in zip(out["review"], out["review_llm"], strict=True))
    assert out.index.equals(frame.index)


def test_64_parallel_rows_spread_over_two_keys():
    with llm.rehearse("", latency_s=0.05) as rehearsal:
        run(reviews(64), "review", concurrency=64)
        first = sum(line.key == "..0001" for line in rehearsal.lines)
    assert 0.45 <= first / 64 <= 0.55


@pytest.mark.parametrize("fault", ["401", "503"])
def test_a_dead_first_key_costs_at_most_one_wave(fault):
    with llm.rehearse(f"openrouter[1]: {fault}", latency_s=0.02) as rehearsal:
        out = run(reviews(300), "review", concurrency=32)
        dead = sum(line.key == "..0001" for line in rehearsal.lines if line.backend == "openrouter")
        assert_log_is_what_the_server_saw(rehearsal, in_order=False)
    assert (out["review_llm_status"] == "ok").all()
    assert dead <= 33


def test_the_six_columns_have_their_types_and_say_what_happened():
    frame = pd.DataFrame({"text": ["hello", None, "  "], "n": [1, 2, 3]})
    with llm.rehearse("openrouter[1]: 401"):
        out = run(frame, "text")
    added = ["", "_status", "_attempts", "_route", "_error", "_run"]
    assert list(out.columns) == ["text", "n", *(f"text_llm{suffix}" for suffix in added)]
    assert out.dtypes.astype(str).tolist()[2:] == ["string", "category", "string", "string", "string", "string"]
    assert out["text_llm_status"].tolist() == ["ok", "skipped", "skipped"]
    assert out["text_llm_attempts"].tolist() == ["auth, ok", "", ""]
    assert out["text_llm_route"].iloc[0] == "openrouter ..0002"
    assert out["text_llm_error"].isna().all()
    assert list(frame.columns) == ["text", "n"]


def test_a_failed_row_has_no_answer_and_says_why():
    with llm.rehearse("*: 401"):
        out = run(reviews(3), "review")
    assert out["review_llm"].isna().all()
    assert out["review_llm_error"].str.startswith("auth: ").all()


def test_equal_requests_are_sent_once_but_drawn_ones_each():
    frame = pd.DataFrame({"text": ["same", "same", "other"]})
    with llm.rehearse() as rehearsal:
        out = run(frame, "text")
        assert len(rehearsal.lines) == 2
        assert out["text_llm_run"].iloc[0] == out["text_llm_run"].iloc[1]
        run(frame, "text", temperature=0.7)
        assert len(rehearsal.lines) == 5


def test_a_template_fills_columns_and_leaves_other_braces():
    frame = pd.DataFrame({"review": ["good"], "lang": ["French"]})
    with llm.rehearse():
        out = run(frame, template='{review} in {lang} as {"json": 1}, $\\frac{a}{b}$, {{lang}}')
    assert out.columns[2] == "llm"
    assert """good in French as {"json": 1}, $\\frac{a}{b}$, {lang}""" in out["llm"].iloc[0]


@pytest.mark.parametrize(
    ("template", "words"),
    [("Translate {txt}", "There are: review"), ("no column at all", "names no column"), ("  ", "must be a text")],
)
def test_a_template_that_cannot_be_meant_says_what_there_is(template, words):
    with llm.rehearse(), pytest.raises(llm.ConfigError, match=words):
        run(reviews(1), template=template)


def test_a_template_skips_rows_where_a_column_it_uses_is_missing():
    frame = pd.DataFrame({"a": ["x", None], "b": ["y", "z"]})
    with llm.rehearse():
        out = run(frame, template="{a} and {b}")
    assert out["llm_status"].tolist() == ["ok", "skipped"]


def test_cells_may_be_messages_dicts_and_numbers():
    cells = [[{"role": "user", "content": "a list"}], {"messages": [("user", "a dict")], "temperature": 0}, 42]
    with llm.rehearse():
        out = run(pd.DataFrame({"cell": pd.Series(cells, dtype=object)}), "cell")
    for answer, asked in zip(out["cell_llm"], ["a list", "a dict", "42"], strict=True):
        assert f"'{asked}'" in answer


def test_one_bad_cell_fails_its_row_and_no_other():
    with llm.rehearse() as rehearsal:
        out = run(pd.DataFrame({"cell": pd.Series([[{"no": "role"}], "fine"], dtype=object)}), "cell")
        assert len(rehearsal.lines) == 1
    assert out["cell_llm_status"].tolist() == ["failed", "ok"]


def test_running_again_replaces_the_columns_in_place():
    with llm.rehearse():
        once = run(reviews(2), "review").assign(after=1)
        twice = run(once, "review")
    assert list(twice.columns) == list(once.columns)


def test_a_taken_name_is_refused_before_anything_is_sent():
    frame = reviews(2).assign(review_llm="mine")
    with llm.rehearse() as rehearsal:
        with pytest.raises(llm.ConfigError, match="out="):
            run(frame, "review")
        assert not rehearsal.lines


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"review": pd.Series([], dtype=object)}),
        pd.DataFrame({"review": ["a", "b"]}, index=pd.MultiIndex.from_tuples([(1, "x"), (2, "y")])),
        pd.DataFrame({"review": pd.Categorical(["a", "b"]), "llm": [1, 2]}),
        pd.DataFrame({"review": [1, 2]}),
    ],
    ids=["empty", "multiindex", "a column called llm", "integers"],
)
def test_unusual_frames_come_back_aligned(frame):
    with llm.rehearse():
        out = run(frame, "review")
    assert out.index.equals(frame.index)
    assert (out["review_llm_status"] == "ok").all()
    assert all(f"'{asked}'" in answer for asked, answer in zip(out["review"], out["review_llm"], strict=True))


def test_a_series_gives_a_text_series():
    texts = pd.Series(["a", None], index=[7, 7], name="note")
    with llm.rehearse():
        out = texts.llm.run(MODEL, progress=False)
    assert out.name == "note_llm"
    assert out.index.tolist() == [7, 7]
    assert "'a'" in out.iloc[0]
    assert out.isna().tolist() == [False, True]


def test_system_and_parameters_reach_the_provider():
    with llm.rehearse():
        plain = run(reviews(1), "review")["review_llm"].iloc[0]
        changed = run(reviews(1), "review", system="Be short.", max_tokens=50)["review_llm"].iloc[0]
    assert plain != changed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temprature": 0}, "temperature"),
        ({"on_error": "ignore"}, "record"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout": -1}, "timeout"),
        ({"extra_body": {"other": {}}}, "extra_body"),
    ],
)
def test_bad_options_are_refused_before_anything_is_sent(options, words):
    with llm.rehearse() as rehearsal:
        with pytest.raises(llm.ConfigError, match=words):
            run(reviews(2), "review", **options)
        assert not rehearsal.lines


def test_on_error_raise_ends_the_job_with_the_error_and_keeps_what_is_done():
    with llm.rehearse("*: content_filter@3"), pytest.raises(llm.RequestError) as raised:
        run(reviews(50), "review", concurrency=1, on_error="raise")
    statuses = raised.value.result["review_llm_status"]
    assert statuses.value_counts().to_dict() | {"cached": 0, "skipped": 0} == {
        "ok": 2, "failed": 1, "cancelled": 47, "cached": 0, "skipped": 0,
    }  # fmt: skip


def test_a_job_whose_keys_are_all_dead_ends_by_itself_with_one_message():
    with llm.rehearse("*: 401") as rehearsal, pytest.warns(llm.LLMExecutorWarning, match="same reason, auth"):
        out = run(reviews(100), "review")
    assert len(rehearsal.lines) <= 3 * 8  # a first wave on each key
    assert set(out["review_llm_status"]) == {"failed", "cancelled"}


def test_a_job_through_an_outage_of_every_route_loses_no_row():
    with llm.rehearse("*: 503@1..60", latency_s=0.01) as rehearsal, clock.use(clock.FrozenClock()):
        out = run(reviews(60), "review", concurrency=16)
        assert_log_is_what_the_server_saw(rehearsal, in_order=False)
    assert (out["review_llm_status"] == "ok").all()


def test_arun_works_in_a_running_loop_and_cancelling_it_stops_the_job():
    async def story(rehearsal):
        out = await reviews(4).llm.arun(MODEL, "review", progress=False)
        job = asyncio.ensure_future(reviews(400).llm.arun(MODEL, "review", progress=False, concurrency=2))
        await asyncio.sleep(0.1)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        await asyncio.sleep(0.1)  # what was on its way when it was cancelled still arrives
        sent = len(rehearsal.lines)
        await asyncio.sleep(0.2)
        assert len(rehearsal.lines) == sent
        return out

    with llm.rehearse(latency_s=0.02) as rehearsal:
        out = asyncio.run(story(rehearsal))
    assert (out["review_llm_status"] == "ok").all()


def test_progress_says_what_is_done_on_one_line(capsys):
    with llm.rehearse("openrouter[1]: 401"):
        reviews(20).llm.run(MODEL, "review")
    shown = capsys.readouterr().err
    state, *notices = shown.split("\r")[-1].splitlines()
    assert state.startswith("20/20 rows · ")
    assert "via fallback" in state
    assert notices == ["Key ..0001 of openrouter is dead (401 User not found)."]
