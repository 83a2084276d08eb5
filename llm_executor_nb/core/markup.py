"""The one door of our HTML to the front ends, and the plain table of the rooms that do not know `view`."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from llm_executor_nb.core.foreign_text import with_visible_direction

if TYPE_CHECKING:
    from collections.abc import Iterable

_LEFT = ' style="text-align:left"'
# inline: JupyterLab aligns cells to the right, and GitHub removes style sheets


def untypeset(inside: str) -> str:
    """Return escaped HTML in which no front end typesets formulas.

    Names and messages are foreign text. MathJax would read the dollars in them, and its commands style and fetch.
    """
    return f'<div class="llm-nb mathjax_ignore tex2jax_ignore">{inside}</div>'


def as_html(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table, aligned to the left. Every cell is shown as text, never as markup or as a formula."""
    head = "".join(f"<th{_LEFT}>{escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td{_LEFT}>{escape(with_visible_direction(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return untypeset(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
