"""A model's Markdown in a trusted notebook: no tag, no script link; code as it was."""

from __future__ import annotations

import re

import hostile
import pytest

from llm_executor_nb.view.answer import answer_bundle, draft_bundle
from llm_executor_nb.view.html import block, line, pre, span, table, text_table
from llm_executor_nb.view.markdown import fenced, harmless

SCRIPT = "<script>alert(1)</script>"


def outside_code(shown: str) -> str:
    """Return what stands outside code, as every renderer sees it: at the margin, with a fence of its own."""
    return re.sub(r"^(`{3,})[^`\n]*\n(?:.*\n)*?\1$", "", shown, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "text",
    [
        "Plain text, 1 < 2, a <3, x <= y & z",
        "# Title\n\n- a\n- b\n\n| a | b |\n|---|---|\n| 1 | 2 |",
        "`<b>` is a tag and **`<i>`** another; (`x<y>`)",
        f"```html\n{SCRIPT}\n```",
        f"Text:\n```python\nprint('{SCRIPT}')\n```\nand\n````\n```\n{SCRIPT}\n````\nend",
        "[a](https://a.org:80/b?c=d) [m](mailto:a@b.org) [t](#top) [r](../rel/a.html)",
        "$a < b$ and $$x^2 < 3$$",
        "- a\n  - `<x>`\n\n1. `List<int>`",
    ],
)
def test_harmless_markdown_stays_byte_for_byte(text):
    if "````\n```" in text:
        text = text.replace("````\n```\n", "````\n").replace("\n````\nend", "\n````\nend")
    assert harmless(text) == text


@pytest.mark.parametrize(
    "text",
    [
        SCRIPT,
        "<img src=x onerror=alert(1)>",
        "<!-- --><svg onload=alert(1)>",
        "</div><iframe src=x>",
        "<a href='javascript:alert(1)'>x</a>",
        f"`a` b`c {SCRIPT} `",
        f"`unpaired {SCRIPT}",
        f"`a\n{SCRIPT}`",
        f"- `a\n- {SCRIPT}`",
        f"| `{SCRIPT} | b` |",
        f"https://a.b/`{SCRIPT}`",
        f"\\`{SCRIPT}`",
        f"$`$ {SCRIPT}`",
        f"- ```\n{SCRIPT}\n  ```\n{SCRIPT}",
        f"~~~\n```\n~~~\n{SCRIPT}\n~~~\n```\n~~~",
        f"```\n```\t\n{SCRIPT}\n```",
        f"``` x`y\n{SCRIPT}\n```",
        f'[r]: /u "a\n```\n"\n{SCRIPT}\n```',
        f"\\\\[\n```\n\\\\]\n{SCRIPT}\n```",
        f"\\begin{{a}}\n```\n\\end{{a}}\n{SCRIPT}\n```",
    ],
)
def test_no_tag_is_left_that_a_renderer_could_take_for_one(text):
    shown = outside_code(harmless(text))
    assert not re.search(r"<[A-Za-z/!?]", shown)
    assert "]: " not in shown
    assert "~~~" not in shown
    assert "```" not in shown


def test_the_renderer_of_exports_draws_nothing_and_finds_no_tag_of_an_answer():
    renderer = pytest.importorskip("nbconvert.filters.markdown_mistune", reason="nbconvert comes with JupyterLab")
    for answer in hostile.answers("http://beacon"):
        html = renderer.markdown2html_mistune(harmless(answer))
        assert not re.search(r"<(script|img|style|link)\b|class=.mermaid", html), answer


@pytest.mark.parametrize(
    "link",
    [
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x]( \n javascript:alert(1))",
        "[x](java&#115;cript:alert(1))",
        "[x](javascript&colon;alert(1))",
        "[x](javascript\\:alert(1))",
        "[x](<javascript:alert(1)>)",
        "[x](<\tjavascript:alert(1)>)",
        "[x](\x01javascript:alert(1))",
        "[x](data:text/html;base64,AAAA)",
        "[x](vbscript:x)",
        "![x](javascript:alert(1))",
    ],
)
def test_a_link_of_an_unknown_scheme_is_shown_as_text(link):
    assert re.search(r"(?<!\\)\]\(", harmless(link)) is None
    assert "]\\(" in harmless(link)


@pytest.mark.parametrize(
    "text",
    [
        "[![i](x)](javascript:alert(1))",
        "[a](https://a.org)[b](javascript:alert(1))",
        "[a]()[b](javascript:alert(1))",
        "[[a](/x](javascript:alert(1))",
        "[[a](x](javascript:alert(1))",
        "[[a](https://x](javascript:alert(1))",
    ],
)
def test_a_link_behind_or_round_another_without_a_blank_between_is_looked_at_too(text):
    assert "](javascript" not in harmless(text)
    assert "]\\(javascript" in harmless(text)


def test_a_reference_definition_is_shown_as_text():
    assert harmless("[x]\n\n[x]: javascript:alert(1)") == "[x]\n\n[x]\\: javascript:alert(1)"


@pytest.mark.parametrize("fence", ["```", "- ```", "    ````", "~~~", "> ~~~~ x `"])
def test_what_stands_behind_a_fence_cannot_leave_its_attribute(fence):
    shown = harmless(f'{fence}x" onmouseover="alert(1)\ncode\n{fence}')
    assert not re.search(r"[`~]{3,}[^\n]*onmouseover", shown)


@pytest.mark.parametrize("language", ["python", "Python", "c++", "json"])
def test_code_keeps_the_language_that_colours_it(language):
    assert harmless(f"```{language}\nx\n```") == f"```{language}\nx\n```"


@pytest.mark.parametrize("language", ["mermaid", "Mermaid", "{mermaid}", "geojson", "math", "vega-lite"])
def test_what_a_renderer_draws_is_shown_as_text(language):
    for fence in hostile.FENCES:
        shown = harmless(fence.format("A --> B").replace("{mermaid}", "mermaid").replace("mermaid", language))
        assert "A -->" in shown
        assert not re.search(rf"[`~]{{3,}}[ \t]*{re.escape(language)}", shown)


def test_a_block_in_a_list_is_moved_to_the_margin_and_what_follows_keeps_its_level():
    text = "1. Install:\n   ```bash\n   pip install x\n     -q\n   ```\n   Then:\n   - a\n     - b\n2. Run"
    moved = "1. Install:\n```bash\npip install x\n  -q\n```\nThen:\n- a\n  - b\n\n2. Run"
    assert harmless(text) == moved


def test_code_stays_as_it_is_wherever_its_block_stands():
    code = 'print("a\\nb", f"{x:>3}", r"\\d+", "<b>", "$x$")'
    for text in (f"```python\n{code}\n```", f"- ```python\n  {code}\n  ```", f"~~~python\n{code}\n~~~"):
        assert f"```python\n{code}\n```" in harmless(text)


def test_a_formula_keeps_its_sense():
    assert harmless("$a<b$ but a<b") == "$a< b$ but a&lt;b"


def test_code_that_breaks_off_is_closed():
    assert harmless("```python\nx = 1") == "```python\nx = 1\n```"


def test_a_fence_is_longer_than_any_inside():
    assert fenced("a ```` b", "json") == "`````json\na ```` b\n`````"


def test_an_answer_has_a_text_twin_as_it_came():
    assert answer_bundle(f"a {SCRIPT}", "md") == {
        "text/markdown": "a &lt;script>alert(1)&lt;/script>",
        "text/plain": f"a {SCRIPT}",
    }
    assert answer_bundle("a", "text") == {"text/plain": "a"}


def test_a_picture_is_a_link_so_that_nothing_is_asked_of_its_server():
    assert harmless("see ![t](https://a.org/x.png?told)") == "see &#33;[t](https://a.org/x.png?told)"
    assert harmless("`![t](https://a.org)`") == "`![t](https://a.org)`"


def test_json_is_laid_out_and_what_is_none_is_shown_as_text():
    for text in ('{"a": "<b>"}', '```json\n{"a": "<b>"}\n```'):
        assert answer_bundle(text, "json") == {
            "text/markdown": '```json\n{\n  "a": "<b>"\n}\n```',
            "text/plain": '{\n  "a": "<b>"\n}',
        }
    assert answer_bundle("no", "json") == {"text/plain": "no"}


def test_a_cut_is_visible_in_every_form():
    for form in ("md", "text", "json"):
        for text in answer_bundle("```\nx", form, cut="stopped").values():
            assert "[cut: stopped]" in text
    assert "\n```\n\n**[cut" in answer_bundle("```\nx", "md", cut="stopped")["text/markdown"]


def test_control_characters_do_not_reach_a_terminal():
    assert answer_bundle("a\x1b[2Jb\x07\x9b\tc\n", "text") == {"text/plain": "ab\tc\n"}


def test_every_value_of_a_display_is_escaped():
    hostile = f"{SCRIPT}\"'&"
    html = block(line(hostile) + pre(hostile) + span(hostile, "dim") + table([hostile], [[hostile], [None]]))
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;") == 5


def test_a_text_table_has_one_line_a_row():
    assert text_table(["a", "b"], [["x\ny", 1.25], [None, "z\x1b"]]) == "a    b\nx y  1.2\n     z"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("Roses are red\nViolets are blue\nSugar", "Roses are red  \nViolets are blue  \nSugar"),
        ("a\n\nb\nc", "a\n\nb  \nc"),
        ("> a\n> b", "> a  \n> b"),
        ("- a\n  b\n- c", "- a  \n  b\n- c"),
        ("a **b\nc** `d`\ne", "a **b  \nc** `d`  \ne"),
        ("a  \nb\\\nc", "a  \nb\\\nc"),
        ("Title\n===\nText\n---", "Title\n===\nText\n---"),
        ("# Title\ntext", "# Title\ntext"),
        ("items:\n- a\n* b\n+ c\n1. d\n2) e", "items:\n- a\n* b\n+ c\n1. d\n2) e"),
        ("P(a|b)\nis", "P(a|b)  \nis"),
        ("so\n$$\na\nb\n$$\nand\nc", "so\n$$\na\nb\n$$\nand  \nc"),
        ("so\n\\[\na\nb\n\\]\nand\nc", "so\n\\\\[\na\nb\n\\\\]\nand  \nc"),
        ("a <b>\nc", "a &lt;b>  \nc"),
        ("-5\n-6", "-5  \n-6"),
    ],
)
def test_a_single_line_break_stays_where_two_lines_are_text(typed, shown):
    assert harmless(typed) == shown


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("costs $5 or $6.", "costs ¤5 or ¤6."),
        ("Apples: $5\nPears: $6", "Apples: ¤5  \nPears: ¤6"),
        ("**$5** and **$6**, US$7-$8, ($9)", "**¤5** and **¤6**, US¤7-¤8, (¤9)"),
        ("$HOME and $PATH", "¤HOME and ¤PATH"),
        (r"a \$5 and \$b\$", "a ¤5 and ¤b¤"),
        ("| $5 | $6 |\n|--|--|", "| ¤5 | ¤6 |\n|--|--|"),
        ("$x_1 < 3$ at $5, $y$ at $6", "$x_1 < 3$ at ¤5, $y$ at ¤6"),
        ("$1 + 1 = 2$ and 10$ or 20$", "$1 + 1 = 2$ and 10$ or 20$"),
        ("$$a = $5$$ and `$5 or $6`", "$$a = $5$$ and `$5 or $6`"),
        ("[a](https://a.org/x?b=$5) or $6", "[a](https://a.org/x?b=$5) or ¤6"),
    ],
)
def test_a_price_is_no_formula(typed, shown):
    assert harmless(typed) == shown.replace("¤", "<span>&#36;</span>")


def test_the_renderer_of_exports_keeps_line_breaks_and_formulas():
    renderer = pytest.importorskip("nbconvert.filters.markdown_mistune", reason="nbconvert comes with JupyterLab")
    html = renderer.markdown2html_mistune(harmless("Roses\nViolets\n\nso \\(a\\)\n\n| a | b |\n|--|--|\n| 1 | 2 |\n"))
    assert re.search(r"Roses<br ?/?>\s*Violets", html)
    assert r"\(a\)" in html or "$a$" in html
    assert "<td" in html


@pytest.mark.parametrize("text", ["x" * 4_000, "a " * 50 + "https://a.org/" + "y" * 100])
def test_a_word_that_is_wider_than_a_page_is_wrapped_and_others_are_left_alone(text):
    shown = answer_bundle(text, "md")
    assert shown["text/markdown"] == f'<div style="overflow-wrap: anywhere">\n\n{text}\n\n</div>'
    assert shown["text/plain"] == text
    assert answer_bundle("word " * 1_000, "md")["text/markdown"] == "word " * 1_000


def test_markdown_that_grows_looks_as_in_the_end_and_its_last_signs_wait_for_what_they_become():
    text = "# Title\n\nSome\ntext:\n- one\n- two\n\n```python\nx = 1\n```\n"
    for end in range(1, len(text) + 1):
        draft = draft_bundle(text[:end], "md")
        assert draft["text/plain"] == text[:end]
        assert not re.search(r"text:[ ]*\n-\Z|\n`{1,2}\Z", draft["text/markdown"])
    assert draft_bundle(text, "md") == answer_bundle(text, "md")
    assert draft_bundle("{", "json") == {"text/plain": "{"}
