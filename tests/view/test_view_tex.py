"""Formulas of an answer: what draws signs is typeset, and no other command reaches a renderer."""

from __future__ import annotations

import re
import time

import hostile
import pytest

from llm_executor_nb.view.markdown import harmless

OTHER_SIGN = "\u2216"
ENTITIES = ["&#36;", "&#x24;", "&#0036", "&dollar;", "&bsol;", "&#92;", "&#X5C;"]
COMMAND = re.compile(r"\\[A-Za-z]+")


@pytest.mark.parametrize(
    "formula",
    [
        r"$\frac{a}{b} \le \sqrt[3]{x^2} \to \infty$",
        r"$$\sum_{i=1}^n \mathbb{E}\left[X_i\right] \quad \text{for all } i \in \mathcal{I}$$",
        r"$$\begin{pmatrix} a & b \\ c & d \end{pmatrix}$$",
        "$$\n\\begin{aligned}\na &= b \\\\\nc &= d\n\\end{aligned}\n$$",
        r"\\( \hat{\beta} = (X^\top X)^{-1} X^\top y \\)",
        r"\\[ \int_0^1 x\,dx = \tfrac12 \\]",
        r"It costs 5$ or 10$, and a\_b is \*not\* slanted.",
        "| a | b |\n|---|---|\n| $\\alpha$ | $\\beta$ |",
        "&nbsp;&lt;tag&gt; &amp; &#8364; AT&T",
    ],
)
def test_what_draws_signs_stays_byte_for_byte(formula):
    assert harmless(formula) == formula


@pytest.mark.parametrize("formula", hostile.formulas("http://beacon"))
def test_no_command_that_does_more_is_left_outside_code(formula):
    for math in hostile.MATHS:
        shown = harmless(math.format(formula))
        outside = re.sub(r"^(`{3,})\n(?:.*\n)*?\1$", "", shown, flags=re.MULTILINE)
        left = {command[1:] for command in COMMAND.findall(outside)}
        assert left <= {"sin", "cos", "alpha", "le", "ge", "begin", "end", "blacksquare"}
        assert not re.search(r"\\\\\*?\[\s*-", outside)
        assert outside.count("\\!") <= 20


@pytest.mark.parametrize(
    "name", ["Rule", "kern", "raise", "smash", "llap", "color", "colorbox", "href", "input", "csname"]
)
def test_a_command_that_is_not_known_to_draw_is_shown_with_another_sign(name):
    assert harmless(rf"$\{name}{{x}}$") == f"${OTHER_SIGN}{name}{{x}}$"
    assert harmless(rf"\{name}") == f"{OTHER_SIGN}{name}"


@pytest.mark.parametrize("entity", [*ENTITIES, f"&#{'0' * 5000}92;"])
def test_no_entity_becomes_a_dollar_or_a_backslash(entity):
    assert harmless(f"a {entity}b") == f"a &amp;{entity[1:]}b"


def test_no_halving_of_backslashes_makes_a_command():
    for text in (r"\\def", r"\\\\def", r"\\\\\\def", r"\\&#100;ef", r"\\@def", r"^^5cdef"):
        shown = harmless(text)
        while "\\\\" in shown:
            shown = shown.replace("\\\\", "\\")
            assert not COMMAND.search(shown), shown
        assert "^^" not in shown


@pytest.mark.parametrize("name", ["equation", "align", "gather", "multline"])
def test_an_equation_takes_no_number_from_other_cells(name):
    shown = harmless(f"\\begin{{{name}}} x \\end{{{name}}}")
    assert shown == f"\\begin{{{name}*}} x \\end{{{name}*}}"


@pytest.mark.parametrize(
    "text",
    ["$$ a", r"\\[ a", r"\begin{cases} a", r"a \end{cases}", r"\begin{cases} $$ \end{cases} $$", r"\$$ a $$ b", "$$$"],
)
def test_a_formula_that_does_not_end_where_it_began_begins_nowhere(text):
    shown = harmless(f"{text}\n```\n$$ \\\\] \\end{{cases}}\n```")
    prose = shown.split("```")[0]
    assert not re.search(r"\$\$|\\\\\[|\\(begin|end)", prose)
    assert prose.endswith("\n\n")


def test_a_span_of_code_keeps_its_commands():
    assert harmless(r"`\d+` matches digits, `C:\new` is a path") == r"`\d+` matches digits, `C:\new` is a path"


@pytest.mark.parametrize(
    ("opens", "closes"), [("\\sqrt{", "}"), ("{", "}"), ("\\left(", "\\right)"), ("\\begin{cases}", "\\end{cases}")]
)
def test_a_formula_that_is_nested_too_deep_for_a_browser_begins_nowhere(opens, closes):
    for math in hostile.MATHS:
        shown = harmless(math.format(opens * 300 + "x" + closes * 300))
        outside = re.sub(r"^(`{3,})\n(?:.*\n)*?\1$", "", shown, flags=re.MULTILINE)
        assert not re.search(rf"\\\w|\$.*{re.escape(opens)}", outside)
    assert "$" in harmless(f"${opens * 9}x{closes * 9}$")


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (r"\(a\)", r"\\(a\\)"),
        (r"so \(a_1 < b\) and \(c\).", r"so \\(a_1 < b\\) and \\(c\\)."),
        (r"\(a<b\)", r"\\(a< b\\)"),
        ("\\[\nx = \\frac{1}{2}\n\\]", "\\\\[\nx = \\frac{1}{2}\n\\\\]"),
        ("\\[ \\begin{aligned} a &= b \\\\[2pt] c &= d \\end{aligned} \\]", None),
        (r"`\(a\)` is how \(a\) is typed", r"`\(a\)` is how \\(a\\) is typed"),
        (r"\\(a\\)", r"\\(a\\)"),
        (r"1\) one, \[x, f\(x", r"1\) one, \[x, f\(x"),
        (r"\(a \(b\)", r"\(a \\(b\\)"),
    ],
)
def test_a_formula_in_latexs_brackets_is_one(typed, shown):
    result = harmless(typed)
    assert result == shown if shown else result.startswith("\\\\[ \\begin{aligned}") and "2pt" not in result


def test_brackets_that_never_close_cost_no_time():
    began = time.process_time()
    for text in (r"\(" * 25_000, r"\[ a " * 10_000, r"\(" + r"\\" * 20_000, "`" * 50_000, r"$$\[" * 10_000):
        harmless(text)
    assert time.process_time() - began < 5
