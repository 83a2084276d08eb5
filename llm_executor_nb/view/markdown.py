"""A model's Markdown, made harmless: what a trusted notebook would run is shown as text.

JupyterLab passes Markdown outputs of one's own notebook on without its sanitizer, so a `<script>`, an `onerror` or a
`javascript:` link in an answer would run with the notebook's rights. There is no Markdown parser here: code is left
alone only where it is beyond doubt that every renderer takes it for code (a fence at the margin, a `span` whose
backticks pair up within its line); all other tags are escaped, and there are no reference definitions, whose titles
could swallow a fence. In doubt an answer looks plainer, never the other way.
"""

from __future__ import annotations

import re

_FENCE = re.compile(r"(`{3,})[\w+#.-]*")
_OPENING = re.compile(r"(?:`{3,}|~{3,})[^\n]*")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_MATH = re.compile(r"\$\$?[^$`\n]+\$\$?")
_MATH_BEGINS = re.compile(r"\\begin\{|\\\\[(\[]")
_MATH_ENDS = re.compile(r"\\end\{|\\\\[)\]]")
_LINK = re.compile(r"\]\((?=\s*(\S{0,80}))")
"""Where a link's address begins, and enough of it to see its scheme. It is looked at, not taken: links may nest."""
_SAFE = re.compile(r"(https?://|mailto:)|[^:&\\<]*(?=[/?#)\s]|$)", re.IGNORECASE)
_SPAN = re.compile(r"(^|(?<=\s))([*_(\"'\[]{0,3})`([^`|\n]+)`(?!`)", re.MULTILINE)
_SHIFTING = ("\\", "$")
"""Signs that can take a backtick away: an escape, a formula."""
_BLANK_LINES = re.compile(r"(\n[ \t]*(?:\n[ \t]*)+)")


def harmless(text: str) -> str:
    """Return Markdown in which no tag and no link of an unknown scheme is left, except as visible text."""
    text = re.sub(r"\r\n?", "\n", text)
    lines = text.split("\n")
    if "~~~" in text or any("```" in line and not _FENCE.fullmatch(line) for line in lines):
        return _in_doubt(text)
    blocks = _blocks(lines)
    prose, code = ("\n".join(block for block, is_code in blocks if is_code is wanted) for wanted in (False, True))
    if _MATH_BEGINS.search(prose) and _MATH_ENDS.search(code):
        return _in_doubt(text)
    return "\n".join(block if is_code else _prose(block) for block, is_code in blocks)


def fenced(text: str, language: str = "") -> str:
    """Return a text as a code block, whatever fences it holds itself."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _blocks(lines: list[str]) -> list[tuple[str, bool]]:
    """Return the text in blocks, and for each whether it is code; a block of code that breaks off is closed."""
    blocks: list[tuple[str, bool]] = []
    block: list[str] = []
    fence = ""
    for line in lines:
        found = _FENCE.fullmatch(line)
        if fence:
            block.append(line)
            if found and found[1] == line and len(line) >= len(fence):
                blocks.append(("\n".join(block), True))
                block, fence = [], ""
        elif found:
            blocks += [("\n".join(block), False)] if block else []
            block, fence = [line], found[1]
        else:
            block.append(line)
    return [*blocks, ("\n".join([*block, fence] if fence else block), bool(fence))] if block else blocks


def _prose(text: str) -> str:
    """Defuse what stands between two fences, paragraph by paragraph."""
    return "".join(part if not part.strip() else _paragraph(part) for part in _BLANK_LINES.split(text))


def _paragraph(text: str) -> str:
    """Leave code spans alone if every backtick of the paragraph belongs to one, and nothing could shift them."""
    if any(sign in text for sign in _SHIFTING) or "`" in _SPAN.sub("", text):
        return _defused(text)
    parts, end = [], 0
    for span in _SPAN.finditer(text):
        parts += [_defused(text[end : span.start(3)]), span[3]]
        end = span.end(3)
    return "".join([*parts, _defused(text[end:])])


def _in_doubt(text: str) -> str:
    """Defuse a whole text; JupyterLab puts what stands behind a fence into an attribute as it is, so without quotes."""
    return _defused(_OPENING.sub(lambda line: line[0].replace('"', "").replace("'", ""), text))


def _defused(text: str) -> str:
    """Escape tags (within a formula, where an entity would be shown, by a blank) and break links that are not safe.

    A picture becomes a link: loading one by itself would tell its server what an answer put into the address.
    """
    text = _MATH.sub(lambda math: _TAG.sub("< ", math[0]), text).replace("![", "&#33;[")
    return _LINK.sub(_link, _TAG.sub("&lt;", text)).replace("]:", "]\\:")


def _link(found: re.Match[str]) -> str:
    return found[0] if _SAFE.match(found[1]) else "]\\("
