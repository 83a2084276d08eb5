"""A model's Markdown, made harmless: what a trusted notebook would run is shown as text.

JupyterLab renders the Markdown outputs of a trusted notebook without its sanitizer. A `<script>`, an `onerror` or a
`javascript:` link in an answer would run with the notebook's rights. There is no Markdown parser here. Code is left
alone only where every renderer certainly reads it as code: a fence at the margin, or a span whose backticks pair up
within its line. All other tags are escaped. Reference definitions are broken, because their titles could hide a fence.
In doubt an answer looks plainer, never the other way.
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
"""Where a link's address begins, and enough of it to see its scheme. It is a look-ahead, because links may nest."""
_SAFE = re.compile(r"(https?://|mailto:)|[^:&\\<]*(?=[/?#)\s]|$)", re.IGNORECASE)
_SPAN = re.compile(r"(^|(?<=\s))([*_(\"'\[]{0,3})`([^`|\n]+)`(?!`)", re.MULTILINE)
_DISARMING = ("\\", "$")
"""Characters that can make a backtick plain text: an escape, a formula."""
_BLANK_LINES = re.compile(r"(\n[ \t]*(?:\n[ \t]*)+)")


def harmless(text: str) -> str:
    """Return Markdown without tags and without links of an unknown scheme, except as visible text."""
    text = re.sub(r"\r\n?", "\n", text)
    lines = text.split("\n")
    # renderers differ in what these fences take for code, so nothing in the text is trusted
    if "~~~" in text or any("```" in line and not _FENCE.fullmatch(line) for line in lines):
        return _in_doubt(text)
    blocks = _blocks(lines)
    prose, code = ("\n".join(block for block, is_code in blocks if is_code is wanted) for wanted in (False, True))
    # a formula that begins in prose and ends in code would swallow the fence between them
    if _MATH_BEGINS.search(prose) and _MATH_ENDS.search(code):
        return _in_doubt(text)
    return "\n".join(block if is_code else _prose(block) for block, is_code in blocks)


def fenced(text: str, language: str = "") -> str:
    """Return a text as a code block, with a fence that is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _blocks(lines: list[str]) -> list[tuple[str, bool]]:
    """Return the text in blocks, and whether each is code; a code block that breaks off is closed."""
    blocks: list[tuple[str, bool]] = []
    block: list[str] = []
    fence = ""
    for line in lines:
        match = _FENCE.fullmatch(line)
        if fence:
            block.append(line)
            if match and match[1] == line and len(line) >= len(fence):
                blocks.append(("\n".join(block), True))
                block, fence = [], ""
        elif match:
            blocks += [("\n".join(block), False)] if block else []
            block, fence = [line], match[1]
        else:
            block.append(line)
    return [*blocks, ("\n".join([*block, fence] if fence else block), bool(fence))] if block else blocks


def _prose(text: str) -> str:
    """Defuse the text between two fences, paragraph by paragraph."""
    return "".join(part if not part.strip() else _paragraph(part) for part in _BLANK_LINES.split(text))


def _paragraph(text: str) -> str:
    """Defuse a paragraph. Its code spans are left alone if every backtick certainly belongs to one."""
    if any(sign in text for sign in _DISARMING) or "`" in _SPAN.sub("", text):
        return _defused(text)
    parts, end = [], 0
    for span in _SPAN.finditer(text):
        parts += [_defused(text[end : span.start(3)]), span[3]]
        end = span.end(3)
    return "".join([*parts, _defused(text[end:])])


def _in_doubt(text: str) -> str:
    """Defuse a whole text. JupyterLab copies the words after a fence into an attribute, so their quotes are removed."""
    return _defused(_OPENING.sub(lambda line: line[0].replace('"', "").replace("'", ""), text))


def _defused(text: str) -> str:
    """Escape tags, break links that are not safe, and make each picture a link.

    A formula shows an entity as it is, so a tag in it is broken by a space. A picture is loaded without a click, and
    would tell its server what an answer put into the address.
    """
    text = _MATH.sub(lambda math: _TAG.sub("< ", math[0]), text).replace("![", "&#33;[")
    return _LINK.sub(_link, _TAG.sub("&lt;", text)).replace("]:", "]\\:")


def _link(match: re.Match[str]) -> str:
    return match[0] if _SAFE.match(match[1]) else "]\\("
