"""What may be shown of a key: a record of labels, last characters and states, and a table of them as text and HTML."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS = ("backend", "key", "from", "saved in", "state")
_LEFT = ' style="text-align:left"'
"""Inline, where a front end aligns tables to the right and takes a style sheet out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLine:
    """One key, without the key.

    Attributes:
        backend: whom it opens.
        label: what it is called.
        ending: its last four characters, `..a1b2`.
        source: where it was found.
        saved_in: `keyring` or `file` when this package keeps it there; empty: it does not.
        is_enabled: whether it is asked.
        rpm: requests per minute the user told; None: not told.
    """

    backend: str
    label: str
    ending: str
    source: str
    saved_in: str
    is_enabled: bool
    rpm: float | None

    @property
    def shown(self) -> str:
        """The label and the last four characters."""
        return f"{self.label} {self.ending}"

    @property
    def state(self) -> str:
        """Whether it is asked, and how often it may be."""
        pace = "" if self.rpm is None else f", {self.rpm:g} a minute"
        return ("on" if self.is_enabled else "disabled") + pace


def as_text(lines: Sequence[KeyLine]) -> str:
    """Return a line for each key."""
    return "\n".join(
        f"{line.backend:<12} {line.shown:<18} from {line.source}"
        + (f" · saved in {line.saved_in}" * bool(line.saved_in))
        + (f" · {line.state}" * (line.state != "on"))
        for line in lines
    )


def as_html(lines: Sequence[KeyLine]) -> str:
    """Return a table with a row for each key."""
    head = "".join(f"<th{_LEFT}>{name}</th>" for name in _COLUMNS)
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{_LEFT}>{escape(cell)}</td>"
            for cell in (line.backend, line.shown, line.source, line.saved_in, line.state)
        )
        + "</tr>"
        for line in lines
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
