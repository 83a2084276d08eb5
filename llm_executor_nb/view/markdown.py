r"""A model's Markdown, made harmless: what a trusted notebook would run, fetch or draw is shown as text.

JupyterLab renders the Markdown outputs of a trusted notebook without its sanitizer. A `<script>`, an `onerror` or a
`javascript:` link in an answer would run with the notebook's rights; a picture or a diagram would fetch. There is no
Markdown parser here. What we take for a block of code is written as one that no renderer can take for anything else:
at the margin, with a fence longer than any in it, in a language that is only coloured. A span of code is left alone
where its backticks certainly pair up. All other text has its tags escaped and its commands of TeX checked.

What renderers would lose is written so that they keep it: single line breaks, formulas between `\(` and `\)`, prices
between two dollar signs, and the end of a word that is wider than the page.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from llm_executor_nb.view.tex import harmless_tex

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENCE = re.compile(r"([ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(?:(`{3,})([^`]*)|(~{3,})(.*))")
_RUN = re.compile(r"`{3,}|~{3,}")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_BRACKETED = r"\\\\\[(?:[^\\]|\\(?!\\[()\[\]]))*\\\\\]"
_MATH = re.compile(rf"\$\$[^$`]+\$\$|\$[^$`\n]+\$|{_BRACKETED}|\\\\\((?:[^\\]|\\(?!\\[()\[\]]))*\\\\\)")
_MATH_BEGINS = re.compile(r"\$|\\begin\{|\\[(\[]")
_LINK = re.compile(r"\]\((?=\s*(\S{0,80}))")
"""Where a link's address begins, and enough of it to see its scheme. It is a look-ahead, because links may nest."""
_SAFE = re.compile(r"(https?://|mailto:)|[^:&\\<]*(?=[/?#)\s]|$)", re.IGNORECASE)
_SPAN = re.compile(r"(^|(?<=\s))([*_(\"'\[]{0,3})`([^`|\n]*[^`|\n\\])`(?!`)", re.MULTILINE)
_LATEX = re.compile(r"`[^`\n]*`|(?<!\\)\\(?:(\()|\[)((?:[^\\]|\\[^()\[\]])+)\\(?(1)\)|\])")
r"""A formula between `\(` and `\)`, as most models write it. Renderers take each backslash for an escape."""
_DISPLAYED = re.compile(rf"(\$\$[^$]+\$\$|{_BRACKETED})")
"""A formula of several lines."""
_DOLLARS = re.compile(
    rf"`[^`\n]*`|\]\(\S*|{_BRACKETED}|\\\\\((?:[^\\]|\\(?!\\[()\[\]]))*\\\\\)|\\\\|\$\$[^$]+\$\$|\$\$+"
    r"|\$[^$`]+(?:(?<![\s(\[{*'])\$(?!\d)|(?<=[\s(\[{*'])\$(?!\w))|(\\\$|(?<![/?=&])\$(?=\w))"
)
"""Code, addresses and formulas, and in its group a dollar sign that is text: of `$5 or $6`, no sign ends a formula."""
_TEXT_DOLLAR = "\x1a"
"""Stands for such a sign while a paragraph is defused. `plain` leaves none in an answer."""
_UNBROKEN = re.compile(r"[ \t>]*(?:#{1,6}[ \t]|\||[-=*_ \t]*$)")
"""A heading, a row of a table, a rule, an underline: no line of text follows in the same paragraph."""
_BEGINS_A_BLOCK = re.compile(rf"{_UNBROKEN.pattern}|[ \t>]*(?:[-+*]|\d{{1,9}}[.)])[ \t]")
_WIDE = re.compile(r"\S{60}")
"""So many characters without a space may be wider than the page."""
_BLANK_LINES = re.compile(r"(\n[ \t]*(?:\n[ \t]*)+)")
_COLOURED = """
bash bat c c# c++ clojure cmake cpp cs csharp css csv cuda cython dart diff docker dockerfile elixir erlang fortran
fsharp go graphql groovy haskell hcl html http ini ipython java javascript js json json5 jsonl jsx julia kotlin latex
less lua makefile markdown matlab md nginx objectivec ocaml perl php plaintext powershell proto protobuf py python
python3 r rb rs ruby rust sas scala scheme scss sh shell spark sql stata swift tex text toml ts tsx txt typescript vb
vim wasm xml yaml yml zig zsh
"""
_LANGUAGES = frozenset(_COLOURED.split())
"""Renderers colour these. Some languages are drawn instead, as diagrams, maps or formulas, and a diagram may fetch."""


def harmless(text: str) -> str:
    """Return Markdown without tags, pictures, diagrams and links of an unknown scheme, except as visible text."""
    blocks = _blocks(re.sub(r"\r\n?", "\n", text).split("\n"))
    # a formula ends at a blank line, so none begins in prose and swallows the fence behind it
    gap = "\n\n" if _MATH_BEGINS.search(text) else "\n"
    return gap.join(block if is_code else _prose(block) for block, is_code in blocks)


def wrapped(text: str) -> str:
    """Return Markdown in which a long word ends at the edge of the page and goes on below."""
    return f'<div style="overflow-wrap: anywhere">\n\n{text}\n\n</div>' if _WIDE.search(text) else text


def fenced(text: str, language: str = "", *, least: int = 3) -> str:
    """Return a text as a code block, with a fence that is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(least, longest + 1 if longest >= least else 0)
    return f"{fence}{language}\n{text}\n{fence}"


def _blocks(lines: list[str]) -> list[tuple[str, bool]]:
    """Return the text in blocks, and whether each is code; a code block that breaks off is closed."""
    blocks: list[tuple[str, bool]] = []
    prose: list[str] = []
    shift, rest = 0, iter(lines)
    for line in rest:
        if (opening := _FENCE.fullmatch(line)) is None:
            # what followed an indented block stays on its level, now that the block is at the margin
            shift = _add(line, prose, shift)
            continue
        if (marker := opening[1].strip()) or prose:
            blocks.append(("\n".join([*prose, "", marker, ""] if marker else prose), False))
        prose, shift = [], len(opening[1])
        blocks.append((_code(rest, opening[2] or opening[4], opening[3] or opening[5] or "", shift), True))
    return [*blocks, ("\n".join(prose), False)] if prose or not blocks else blocks


def _add(line: str, prose: list[str], shift: int) -> int:
    """Add a line to the prose behind a block that was moved to the left; return how far the next one moves."""
    if not line.strip():
        prose.append("")
        return shift
    left = min(shift, _indent(line))
    if left < shift and prose:
        prose.append("")  # what is less indented, such as the next item of a list, does not belong to what was moved
    prose.append(line[left:])
    return left


def _code(lines: Iterator[str], fence: str, info: str, shift: int) -> str:
    """Return the code block that begins here, written so that every renderer finds its end at the same place."""
    inside = []
    for line in lines:
        if len(end := line.strip()) >= len(fence) and not end.strip(fence[0]):
            break
        inside.append(line[min(shift, _indent(line)) :])
    language = next(iter(info.split()), "")
    return fenced("\n".join(inside), language if language.lower() in _LANGUAGES else "", least=len(fence))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _prose(text: str) -> str:
    """Defuse the text between two fences, paragraph by paragraph."""
    parts = [part if not part.strip() else _paragraph(part) for part in _BLANK_LINES.split(text)]
    # an entity alone would do for the renderer, but not for the typesetter, which reads the page: it never pairs two
    # signs that stand in different elements
    return "".join(parts).replace(_TEXT_DOLLAR, "<span>&#36;</span>")


def _paragraph(text: str) -> str:
    """Defuse a paragraph. Its code spans are left alone if every backtick certainly belongs to one."""
    text = _with_text_dollars(_with_formulas(text))
    outside = _SPAN.sub("", text)
    # an escape or a formula can make a backtick plain text
    if "`" in outside or "\\" in outside or _MATH_BEGINS.search(text):
        return _with_breaks(_defused(text))
    parts, end = [], 0
    for span in _SPAN.finditer(text):
        parts += [_defused(text[end : span.start(3)]), span[3]]
        end = span.end(3)
    return _with_breaks("".join([*parts, _defused(text[end:])]))


def _defused(text: str) -> str:
    """Escape tags, check TeX, break links that are not safe, and make each picture a link.

    A formula shows an entity as it is, so a tag in it is broken by a space. A picture is loaded without a click, and
    would tell its server what an answer put into the address.
    """
    text = _RUN.sub(lambda run: f"&#{ord(run[0][0])};" * len(run[0]), harmless_tex(text))
    text = _MATH.sub(lambda math: _TAG.sub("< ", math[0]), text).replace("![", "&#33;[")
    return _LINK.sub(_link, _TAG.sub("&lt;", text)).replace("]:", "]\\:")


def _link(match: re.Match[str]) -> str:
    return match[0] if _SAFE.match(match[1]) else "]\\("


def _with_formulas(text: str) -> str:
    r"""Write `\(a\)` as renderers read it, `\\(a\\)`; a span of code stays as it is."""
    return _LATEX.sub(_formula, text)


def _formula(match: re.Match[str]) -> str:
    if (inside := match[2]) is None:
        return match[0]
    return rf"\\({inside}\\)" if match[1] else rf"\\[{inside}\\]"


def _with_text_dollars(text: str) -> str:
    """Mark the dollar signs that stand in front of a word and end at no sign of their own."""
    if "$" not in text or r"\begin{" in text:
        return text
    return _DOLLARS.sub(lambda found: _TEXT_DOLLAR if found[1] else found[0], text)


def _with_breaks(text: str) -> str:
    """Keep the line breaks of a paragraph: two spaces in front of each. Those of a formula mean nothing."""
    if "\n" not in text:
        return text
    parts = _DISPLAYED.split(text)
    parts[::2] = [part if r"\begin{" in part else _with_hard_breaks(part) for part in parts[::2]]
    return "".join(parts)


def _with_hard_breaks(text: str) -> str:
    lines = text.split("\n")
    broken = [f"{line}  " if _is_broken(line, after) else line for line, after in pairwise(lines)]
    return "\n".join([*broken, lines[-1]])


def _is_broken(line: str, after: str) -> bool:
    """Whether two lines of a paragraph are text that a renderer would put into one."""
    return not (line.endswith(("\\", "  ")) or _UNBROKEN.match(line) or _BEGINS_A_BLOCK.match(after))
