"""A display lays out what a browser bears; the rest is one click away, and the text twin is whole."""

from __future__ import annotations

import re

import pytest

from llm_executor_nb.core.markup import as_html
from llm_executor_nb.view import answer
from llm_executor_nb.view.answer import CellAnswer, answer_bundle
from llm_executor_nb.view.html import MOST_RENDERED, block, line, marked, pairs, pre, table, text_table

TABLE = "| a | b |\n|---|---|\n" + "| 1 | $x$ `y` <b> |\n" * 40_000
LIST = "[" + ", ".join(["1"] * 200_000) + "]"
FOLDED = re.compile(r"<details><summary>[0-9,]+ more (characters|rows)</summary>.*?</details>", re.DOTALL)
UNTYPESET = re.compile(r"<div class=\"llm-nb mathjax_ignore tex2jax_ignore\">.*</div>", re.DOTALL)


@pytest.mark.parametrize(
    ("form", "kind", "text"),
    [("md", "text/markdown", TABLE), ("text", "text/html", TABLE), ("json", "text/markdown", LIST)],
)
def test_of_a_long_answer_the_beginning_is_rendered_and_the_rest_is_behind_a_click(form, kind, text):
    bundle = answer_bundle(text, form)
    assert len(FOLDED.sub("", bundle[kind])) < 2 * MOST_RENDERED
    assert FOLDED.search(bundle[kind])
    assert "".join(bundle["text/plain"].split()) == "".join(text.split())


def test_the_rest_of_a_long_answer_is_one_line_of_html_in_which_nothing_of_markdown_begins():
    shown = answer_bundle(TABLE + "```mermaid\nx\n```\n$\\unicode{x}$ <script>", "md")["text/markdown"]
    rest = FOLDED.search(shown)[0]
    assert not re.search(r"[\n$\\`~*_\[\]@]", rest)
    assert "<script" not in rest
    assert UNTYPESET.search(shown)


def test_of_thousands_of_formulas_the_first_are_typeset():
    shown = answer_bundle("$x$ " * 5_000, "md")["text/markdown"]
    assert FOLDED.sub("", shown).count("$") == 2_000
    assert shown.count("&#36;") == 8_000


def test_a_cut_is_seen_below_what_was_folded():
    assert answer_bundle(TABLE, "md", cut="stopped")["text/markdown"].endswith("</div>\n\n**[cut: stopped]**")


@pytest.mark.parametrize("form", ["md", "text"])
def test_an_answer_of_usual_length_is_whole(form):
    text = "word " * 9_000
    assert set(answer_bundle(text, form).values()) == {text}


def test_of_a_long_answer_that_grows_the_end_is_drawn(monkeypatch):
    drawn = []
    for name in ("show", "update"):
        monkeypatch.setattr(answer.LiveDisplay, name, lambda _, bundle: drawn.append(bundle["text/plain"]))
    display = CellAnswer()
    display.begin(str)
    display.add("x" * 300_000 + "end")
    display.give_up()
    assert max(map(len, drawn)) == MOST_RENDERED
    assert any(text.endswith("end") for text in drawn)


def test_no_table_lays_out_more_than_a_browser_bears():
    long, many = "x" * 100_000, [("a", 1)] * 5_000
    for shown in (
        line(long),
        marked([("!", "bad", long, "")]),
        pairs([("a", long)]),
        table(["a"], [[long]]),
        pre(long),
    ):
        assert len(FOLDED.sub("", shown)) < 1.1 * MOST_RENDERED
        assert shown.count("x") >= 100_000
    shown = table(["a", "b"], many)
    assert FOLDED.sub("", shown).count("<tr>") == 201
    assert shown.count("<td") == 10_000
    assert len(text_table(["a"], [[long], ["b"]])) < 10_000


def test_every_table_is_kept_from_being_typeset():
    for shown in (block(table(["$a$"], [["$b$"]])), as_html(["$a$"], [["$b$"]])):
        assert UNTYPESET.search(shown)
