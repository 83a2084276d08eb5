"""The parts of every display: escaped HTML in one quiet style, and a text that reads well alone.

Values are foreign text (a model's, a provider's, a column's name). They are escaped here, and nowhere else. No display
lays out more of them than a browser can draw at once; the rest is one click away.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from llm_executor_nb.core.foreign_text import plain, with_visible_direction
from llm_executor_nb.core.markup import untypeset

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Bundle = dict[str, str]
"""MIME type -> content, as front ends expect it."""
MOST_RENDERED = 50_000
"""Characters of a text that are laid out at once. A browser stands still over 600,000 characters of a table."""
_MOST_IN_A_CELL = 2_000
_MOST_ROWS = 200
_LONG = 30
"""Characters from which a column may wrap inside a word, so that the other columns stay whole."""
_NUMBER = re.compile(r"-?\$?\d[\d,]*(\.\d+)?")
_STYLE = """<style>
.llm-nb.llm-nb { --ink: var(--jp-content-font-color1, var(--vscode-editor-foreground, CanvasText));
  --dim: color-mix(in srgb, var(--jp-content-font-color2, var(--vscode-descriptionForeground, GrayText)) 75%,
    var(--ink));
  --line: var(--jp-border-color2, var(--vscode-panel-border, #8884));
  --good: color-mix(in srgb, var(--jp-success-color1, var(--vscode-charts-green, #2e9e44)) 65%, var(--ink));
  --bad: color-mix(in srgb, var(--jp-error-color1, var(--vscode-errorForeground, #d13438)) 75%, var(--ink));
  --wait: color-mix(in srgb, var(--jp-warn-color1, var(--vscode-charts-yellow, #c77d00)) 60%, var(--ink));
  color: var(--ink); background: none; font-size: var(--jp-content-font-size1, inherit);
  font-family: var(--jp-content-font-family, var(--vscode-font-family, inherit)); }
.llm-nb .dim { color: var(--dim); } .llm-nb .good { color: var(--good); }
.llm-nb .bad { color: var(--bad); } .llm-nb .wait { color: var(--wait); }
.llm-nb .small { font-size: 0.85em; } .llm-nb .head { font-weight: 600; margin: 0.6em 0 0.2em; }
.llm-nb.llm-nb table { margin: 0.3em 0; border-collapse: collapse; border: none; font-size: 0.9em; }
.llm-nb.llm-nb th, .llm-nb.llm-nb td { text-align: left; vertical-align: top; padding: 0.15em 1em 0.15em 0;
  border: none; border-bottom: 1px solid var(--line); background: none; color: var(--ink); max-width: 40em;
  overflow-wrap: break-word; white-space: normal; }
.llm-nb.llm-nb td.long { overflow-wrap: anywhere; min-width: 6em; }
.llm-nb.llm-nb th[scope="row"] { white-space: nowrap; }
.llm-nb .wide { overflow-x: auto; }
.llm-nb.llm-nb table.plain tr { background: none; }
.llm-nb.llm-nb table.plain td { border: none; padding: 0.05em 0.8em 0.05em 0; max-width: 60em; }
.llm-nb.llm-nb th { color: var(--dim); font-weight: 500; }
.llm-nb.llm-nb th.number, .llm-nb.llm-nb td.number { text-align: right; font-variant-numeric: tabular-nums; }
.llm-nb.llm-nb .bar { display: block; width: 100%; max-width: 40em; height: 0.9em; margin: 0.2em 0;
  accent-color: var(--jp-brand-color1, var(--vscode-focusBorder, #0b6bcb)); }
.llm-nb summary { cursor: pointer; color: var(--dim); }
.llm-nb.llm-nb pre { white-space: pre-wrap; overflow-wrap: anywhere; background: none; color: var(--ink);
  border-left: 2px solid var(--line); padding: 0 0 0 0.8em; margin: 0.3em 0; }
</style>"""


def block(inside: str) -> str:
    """Return escaped HTML as one display in our style."""
    return _STYLE + untypeset(inside)


def stacked(*parts: Bundle) -> Bundle:
    """Return parts of a display, one below the other, as one display."""
    text = "\n".join(part["text/plain"] for part in parts)
    return {"text/plain": text, "text/html": block("".join(part["text/html"] for part in parts))}


def line_part(text: str, kind: str) -> Bundle:
    """Return a text as a line of a display."""
    return {"text/plain": plain(text), "text/html": line(text, kind)}


def link_part(words: str, url: str) -> Bundle:
    """Return an address as a line of a display, behind some words; it opens in a tab of its own."""
    link = f'<a href="{escaped(url)}" target="_blank" rel="noopener noreferrer">{escaped(url)}</a>'
    return {"text/plain": plain(f"{words} {url}"), "text/html": f"<div>{escaped(words)} {link}</div>"}


def table_part(names: Sequence[str], rows: Iterable[Sequence[object]]) -> Bundle:
    """Return rows as a table of a display."""
    listed = list(rows)
    return {"text/plain": text_table(names, listed), "text/html": table(names, listed)}


def span(text: str, kind: str) -> str:
    """Return a text in one of the styles dim, good, bad, wait, small, head."""
    return f'<span class="{kind}">{escaped(text)}</span>'


def line(text: str, kind: str = "") -> str:
    """Return a text as a line of its own."""
    return f'<div class="{kind}">{_bounded(text)}</div>'


def marked(lines: Iterable[Sequence[str]]) -> str:
    """Return lines as a table: a mark, its style, the words, the next step, and perhaps what the words are about."""
    rows = "".join(
        f'<tr><td style="width: 3em">{span(mark, kind)}</td>'
        f"{_about(*about)}{_bounded(words)}{_next_step(step)}</td></tr>"
        for mark, kind, words, step, *about in lines
    )
    return f'<table class="plain"><tbody>{rows}</tbody></table>'


def pre(text: str) -> str:
    """Return a text as it is, with its line breaks."""
    rest = text[MOST_RENDERED:]
    return f"<pre>{escaped(text[:MOST_RENDERED])}</pre>" + (rest_of(rest) if rest else "")


def rest_of(text: str) -> str:
    """Return the rest of a long text, behind a click."""
    return _folded(f"{len(text):,} more characters", f"<pre>{escaped(text)}</pre>")


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as an HTML table. Numbers and dollars are aligned to the right; None is an empty cell."""
    listed = [list(row) for row in rows]
    kinds = [_cell_class(row[place] for row in listed) for place in range(len(names))]
    rest = listed[_MOST_ROWS:]
    return _table(names, kinds, listed[:_MOST_ROWS]) + (
        _folded(f"{len(rest):,} more rows", _table(names, kinds, rest)) if rest else ""
    )


def pairs(lines: Iterable[tuple[str, str]]) -> str:
    """Return pairs of a name and its words as an HTML table."""
    rows = "".join(
        f'<tr><th scope="row">{escaped(name)}</th><td class="long">{_bounded(words)}</td></tr>' for name, words in lines
    )
    return f"<table><tbody>{rows}</tbody></table>"


def cut(text: str, longest: int) -> str:
    """Return a text; a longer one is cut, with its whole length behind it."""
    return text if len(text) <= longest else f"{text[:longest].rstrip()} … ({len(text):,} characters)"


def text_table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as text in columns."""
    lines = [[plain(cut(shown(value), _MOST_IN_A_CELL)).replace("\n", " ") for value in row] for row in (names, *rows)]
    widths = [max(len(row[place]) for row in lines) for place in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in lines
    )


def shown(value: object) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def escaped(text: str) -> str:
    """Return a text as HTML, with no markup of its own and no change of direction."""
    return html.escape(with_visible_direction(text))


def _table(names: Sequence[str], kinds: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th{kind}>{_bounded(name)}</th>" for name, kind in zip(names, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_bounded(shown(value))}</td>" for value, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _bounded(text: str) -> str:
    """Return a text as HTML; what exceeds a cell's length is behind a click."""
    if len(text) <= _MOST_IN_A_CELL:
        return escaped(text)
    return escaped(text[:_MOST_IN_A_CELL]) + rest_of(text[_MOST_IN_A_CELL:])


def _folded(words: str, inside: str) -> str:
    return f"<details><summary>{escaped(words)}</summary>{inside}</details>"


def _about(text: str | None = None) -> str:
    """Return what begins the words of a line: a column for what they are about, where the table has one."""
    if text is None:
        return '<td class="long">'
    return f'<td>{_bounded(text)}</td><td class="long">' if text else '<td class="long" colspan="2">'


def _next_step(words: str) -> str:
    return "<br>" + span(f"→ {words}", "dim") if words else ""


def _cell_class(values: Iterable[object]) -> str:
    present = [text for text in map(shown, values) if text not in {"", "…"}]
    if present and all(map(_NUMBER.fullmatch, present)):
        return ' class="number"'
    return ' class="long"' if any(len(value) > _LONG for value in present) else ""
