"""Report, plan, preview and job as HTML: tables in which foreign words are text."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.frames.report import make_report
from llm_executor_nb.store.tables import attempts_frame

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.MODEL_INFERENCE_PROVIDERS["hostile/model"] = ["<b>provider</b>"]
        yield


def frame(rows: int = 6) -> pd.DataFrame:
    return pd.DataFrame({HOSTILE: [f"{HOSTILE} {n}" for n in range(rows)]}, index=[f"<i>{n}</i>" for n in range(rows)])


def displays() -> dict[str, object]:
    """Return one of each kind, whose names, prompts, answers and errors all are hostile."""
    with llm.rehearse("openrouter[1]: 401; openrouter[2]: 401"):
        plan = frame().llm.plan("hostile/model", HOSTILE)
        preview = frame().llm.preview("hostile/model", HOSTILE, n=3, progress=False)
        job = frame().llm.start("hostile/model", HOSTILE, progress=False)
        job.result()
        return {"plan": plan, "preview": preview, "job": job, "report": job.report()}


def test_nothing_foreign_becomes_a_tag():
    for name, shown in displays().items():
        html = shown._repr_html_()
        tags = set(re.findall(r"<(\w+)", html))
        assert tags <= {"style", "div", "table", "thead", "tbody", "tr", "th", "td", "progress", "strong", "span"}, name
        assert not re.search(r"<[^>]* on\w+=", html), name


def test_what_the_text_says_the_html_says():
    shown = displays()
    for name in ("plan", "report"):
        html = shown[name]._repr_html_()
        for what, said in shown[name].lines():
            assert f'<th scope="row">{what}</th>' in html
            assert said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in html
    assert "&lt;i&gt;5&lt;/i&gt;" in shown["preview"]._repr_html_()
    assert shown["preview"].summary() in shown["preview"]._repr_html_()
    assert "&lt;b&gt;provider&lt;/b&gt;" in shown["report"]._repr_html_()


def test_a_preview_shows_no_empty_column_and_cuts_what_is_long():
    long = pd.DataFrame({"q": ["x" * 5000]})
    with llm.rehearse():
        html = long.llm.preview("hostile/model", "q", progress=False)._repr_html_()
    assert "(5,000 characters)" in html
    assert "x" * 401 not in html
    assert ">error<" not in html
    assert ">cost<" in html


def test_a_report_of_nothing_has_no_table_of_routes():
    with llm.rehearse():
        out = pd.DataFrame({"q": [None]}).llm.run("hostile/model", "q", progress=False)
    html = out.llm.report()._repr_html_()
    assert "nothing was asked" in html
    assert "outcome" not in html.split("</style>")[1]
    assert out.llm.report().attempts.equals(attempts_frame(()))


def test_a_preview_without_an_answer_promises_nothing():
    with llm.rehearse("*: 400"):
        preview = frame().llm.preview("hostile/model", HOSTILE, n=2, progress=False)
    assert "none of these was answered" in preview.summary()
    assert "not be asked again" not in preview.summary()
    assert ">error<" in preview._repr_html_()


# --- what a report says -----------------------------------------------------------------------------------------


def report_of(script: str, rows: int = 12, **options):
    """Return the report of a column; with one request at a time its routes are asked in listed order."""
    llm.MODEL_INFERENCE_PROVIDERS["report/model"] = ["one", "two"]
    questions = pd.DataFrame({"q": [f"question {number}" for number in range(rows)]})
    with llm.rehearse(script):
        return questions.llm.run("report/model", "q", progress=False, **options).llm.report()


def test_a_report_says_model_date_time_and_pace():
    report = report_of("*: latency=0.02")
    lines = dict(report.lines())
    assert lines["model"] == "report/model"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d (to (\d{4}-\d\d-\d\d )?\d\d:\d\d )?UTC", lines["date"])
    assert 0.02 <= report.wall_s < 60
    assert lines["time"] == f"{report.wall_s:.1f} s, {12 / report.wall_s:,.1f} rows/s"


def test_routes_stand_in_the_order_they_were_asked():
    report = report_of("openrouter: 401", concurrency=1)
    asked = list(report.attempts["route"].unique())
    assert asked != sorted(asked)
    assert list(report.by_route["route"].unique()) == asked


def test_the_rows_of_a_later_route_can_be_counted_in_the_table():
    report = report_of("openrouter[1]: 401")
    ok = report.by_route.query("outcome == 'ok'")
    assert report.fallbacks == ok["later"].sum() > 0
    assert (report.by_route.query("outcome != 'ok'")["later"] == 0).all()
    assert dict(report.lines())["answers"] == f"12, {report.fallbacks} of them by a later route"
    html = report._repr_html_()
    assert ">by a later route<" in html
    routes_by_run = report.attempts.groupby("run_id")["route"].nunique()
    assert report.fallbacks == (routes_by_run > 1).sum()


def test_rows_that_were_stored_before_count_where_their_attempts_are_in_the_log():
    llm.MODEL_INFERENCE_PROVIDERS["report/model"] = ["one"]
    questions = pd.DataFrame({"q": [f"question {number}" for number in range(8)]})
    with llm.rehearse():
        questions.llm.run("report/model", "q", progress=False)
        again = questions.llm.run("report/model", "q", progress=False).llm.report()
        job = questions.llm.start("report/model", "q", progress=False)
        job.result()
        report = job.report()
    assert again.rows["cached"] == again.asked == 8
    assert report.asked == 0
    assert "time" not in dict(report.lines())


def test_a_report_over_several_days_says_both():
    began = pd.Timestamp("2026-11-24 23:59", tz="UTC")
    report = report_of("", rows=2)
    dated = report.attempts.assign(started_utc=[began, began + pd.Timedelta(minutes=2)], duration_s=0.1)
    lines = dict(make_report({}, dated).lines())
    assert lines["date"] == "2026-11-24 23:59 to 2026-11-25 00:01 UTC"
    assert lines["pauses"].startswith("2 min ")
    assert "nothing could be asked" in lines["pauses"]
