r"""A text that a simple pattern matches: what a practice answer says where a schema has a `pattern`.

Knows characters, classes, `\d \w \s`, groups, alternatives and repetitions; of each the first or the least. What it
writes is tried with `re`, so a pattern beyond that (a look-ahead, a back-reference) gives None and never a wrong text.
"""

from __future__ import annotations

import math
import re

_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?(?::|P<\w+>))?|[^\\]", re.DOTALL)
_TIMES = re.compile(r"(?:([*?+])|\{(\d+)(,?)(\d*)\})\??")
_BOUNDS = {"*": (0, math.inf), "?": (0, 1), "+": (1, math.inf)}
_MOST = 10_000
"""Characters beyond which no text is written."""
_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a", "n": "\n", "t": "\t"}
_ANCHORS = frozenset({"^", "$", r"\b", r"\B", r"\A", r"\Z"})
_TRIED = "a0 A-_.@/:" + "".join(map(chr, range(33, 127)))
"""Characters of which the first that a class holds stands for it."""


def text_for(pattern: str, least: int = 0) -> str | None:
    """Return a text that a pattern matches; None: none was found.

    Args:
        pattern: a regular expression.
        least: how many characters it should have; what may be repeated is, until it has.
    """
    try:
        wanted = re.compile(pattern)
        texts = [_Writer(pattern, repeats).options() for repeats in (0, 1, least)]
    except (re.error, ValueError, RecursionError, OverflowError, Warning):  # of sets in sets, where warnings are errors
        return None
    tried = (one for text in texts for one in (text, text.ljust(least, ".")))
    return next((text for text in tried if len(text) >= least and wanted.search(text)), None)


class _Writer:
    """Writes the least text of a pattern, from left to right.

    Args:
        pattern: what it reads.
        repeats: how often what may be repeated is written, within its bounds.
    """

    def __init__(self, pattern: str, repeats: int) -> None:
        self._pattern = pattern
        self._repeats = repeats
        self._at = 0

    def options(self) -> str:
        """Return the text of the first alternative, and read all of them to the end of the group."""
        first = self._sequence()
        while self._pattern.startswith("|", self._at):
            self._at += 1
            self._sequence()
        return first

    def _sequence(self) -> str:
        text = ""
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            piece, times = self._piece(), self._times()
            if len(text) + len(piece) * times > _MOST:
                raise ValueError(self._pattern)
            text += piece * times
        return text

    def _piece(self) -> str:
        found = _PART.match(self._pattern, self._at)
        if found is None:
            raise ValueError(self._pattern)
        part, self._at = found[0], found.end()
        if part in _ANCHORS:
            return ""
        if part.startswith("("):
            text = self.options()
            self._at += 1
            return text
        if part.startswith("["):
            return next((one for one in _TRIED if re.fullmatch(part, one)), "")
        if part.startswith("\\"):
            return _CLASSES.get(part[1], part[1])
        return "a" if part == "." else part

    def _times(self) -> int:
        found = _TIMES.match(self._pattern, self._at)
        if found is None:
            return 1
        self._at = found.end()
        sign, low, comma, high = found.groups()
        least, most = _BOUNDS[sign] if sign else (int(low), int(high) if high else math.inf if comma else int(low))
        return int(max(least, min(self._repeats, most)))
