"""What the doctor says: one finding, and how grave it is."""

from __future__ import annotations

from dataclasses import dataclass

GOOD, LOOK, BAD, FACT = "good", "wait", "bad", "dim"
"""All is well; look at it; it will not work so; a fact."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the report.

    Attributes:
        part: the heading it stands under.
        kind: good, wait, bad or dim.
        words: what was found.
        next_step: what to do about it; empty: nothing.
    """

    part: str
    kind: str
    words: str
    next_step: str = ""
