"""Groups of words that mean the same, written as lines that are quick to search for.

An error contains none of most stems, and searching for a stem costs next to nothing; so a regular expression runs only
where its stem occurs. A burst of refusals is then read in microseconds each.
"""

from __future__ import annotations

import re
from typing import Final

Line = str | tuple[str, ...]
"""A phrase; or some stems and, last, the pattern to search for where one of the stems occurs."""

_NOT: Final = (
    r"(?:(?:do|does|did|is|are|was|were|has|can|could)(?:n't| not|not)(?: yet| currently| be| been)?"
    r" (?:support\w*|accept\w*|allow\w*|enabled|available|implemented|permitted|process\w*|handle\w*|read|take)"
    r"|unsupported|not (?:yet |currently )?(?:supported|enabled|allowed|available|implemented|permitted)"
    r"|no (?:endpoints?|providers?|models?) (?:were )?(?:found |available )?(?:that|which|for|to) (?:can )?"
    r"(?:support|handle|accept)\w*|only (?:supports?|accepts?|supported by|available (?:for|with))|unknown variant"
    r"|no support for|lacks? support|without support)"
)


class Phrases:
    """One group of words that mean the same.

    Args:
        lines: what to search for, in lower case. A pattern does not match inside a longer name: a user's function
            `check_budget_exceeded` says nothing about a budget.
    """

    def __init__(self, *lines: Line) -> None:
        self._phrases = tuple(line for line in lines if isinstance(line, str))
        patterns = [(stems, re.compile(rf"(?<![a-z_])(?:{last})").search) for *stems, last in _tuples(lines)]
        self._patterns = tuple((stem, search) for stems, search in patterns for stem in stems)

    def are_in(self, text: str) -> bool:
        """Whether a text contains any of them."""
        for phrase in self._phrases:
            if phrase in text:
                return True
        for stem, search in self._patterns:  # noqa: SIM110 - a generator takes as long as most of these searches
            if stem in text and search(text):
                return True
        return False


def _tuples(lines: tuple[Line, ...]) -> list[tuple[str, ...]]:
    return [line for line in lines if not isinstance(line, str)]


def cannot(stem: str, what: str) -> Line:
    """Return the line of a thing that is not supported: the thing, then the refusal, or the other way round."""
    return stem, rf"(?:{what})[^\n]{{0,60}}{_NOT}|{_NOT}[^\n]{{0,60}}(?:{what})"
