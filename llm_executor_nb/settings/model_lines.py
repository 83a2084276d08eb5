"""What a line of the provider table says of a model, and so many of these lines as can be read, as text and HTML."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN = 50
"""Models that are shown at once; a table may hold thousands."""
_COLUMNS = ("model", "aliases", "OpenRouter", "then")
_LEFT = ' style="text-align:left"'


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLine:
    """One model.

    Attributes:
        model: its id.
        aliases: its short names.
        is_on_openrouter: whether OpenRouter is asked for it.
        served: the providers that are asked then, and what is wrong with one.
    """

    model: str
    aliases: tuple[str, ...]
    is_on_openrouter: bool
    served: str

    def __str__(self) -> str:
        called = f" ({', '.join(self.aliases)})" if self.aliases else ""
        return f"{self.model}{called}: {'openrouter; then ' if self.is_on_openrouter else ''}{self.served}"


def as_text(lines: Sequence[ModelLine], total: int) -> str:
    """Return a line for each model, and how many of `total` there are besides."""
    return "\n".join([*map(str, lines), *_rest(len(lines), total)])


def as_html(lines: Sequence[ModelLine], total: int) -> str:
    """Return a table with a row for each model, and how many of `total` there are besides."""
    head = "".join(f"<th{_LEFT}>{word}</th>" for word in _COLUMNS)
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{_LEFT}>{escape(cell)}</td>"
            for cell in (line.model, ", ".join(line.aliases), "yes" if line.is_on_openrouter else "no", line.served)
        )
        + "</tr>"
        for line in lines
    )
    rest = "".join(f"<div>{escape(words)}</div>" for words in _rest(len(lines), total))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{rest}"


def _rest(shown: int, total: int) -> list[str]:
    if total <= shown:
        return []
    return [f'… and {total - shown:,} more; llm.models.find("gemma") finds models by a part of a name']
