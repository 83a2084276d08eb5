"""Kinds of words, as lines that are quick to look for: a stem that has to be there, then the pattern it stands in.

Most errors have none of most stems, and looking for a stem costs next to nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from llm_executor_nb.core.outcomes import Finding

Line = str | tuple[str, str]
"""A phrase, or a stem and the pattern that it has to be found in."""

_NOT: Final = (
    r"(?:(?:do|does|did|is|are|was|were|has|can|could)(?:n't| not|not)(?: yet| currently| be| been)?"
    r" (?:support\w*|accept\w*|allow\w*|enabled|available|implemented|permitted|process\w*|handle\w*|read|take)"
    r"|unsupported|not (?:yet |currently )?(?:supported|enabled|allowed|available|implemented|permitted)"
    r"|no (?:endpoints?|providers?|models?) (?:were )?(?:found |available )?(?:that|which|for|to) (?:can )?"
    r"(?:support|handle|accept)\w*|only (?:supports?|accepts?|supported by|available (?:for|with))|unknown variant"
    r"|no support for|lacks? support|without support)"
)


class Phrases:
    """Some words that say the same.

    Args:
        lines: what is looked for, in lower case. A pattern does not begin in the midst of a name, such as that of a
            function `check_budget_exceeded`, which is the user's and says nothing.
    """

    def __init__(self, *lines: Line) -> None:
        self._phrases = tuple(line for line in lines if isinstance(line, str))
        self._patterns = tuple(
            (line[0], re.compile(rf"(?<![a-z_])(?:{line[1]})").search) for line in lines if not isinstance(line, str)
        )

    def are_in(self, text: str) -> bool:
        """Whether a text has any of them."""
        for phrase in self._phrases:
            if phrase in text:
                return True
        for stem, search in self._patterns:  # noqa: SIM110 - a generator takes as long as most of these searches
            if stem in text and search(text):
                return True
        return False


def cannot(stem: str, what: str) -> Line:
    """Return the line of a thing that is not supported, named before or after that in the same line of an error."""
    return stem, rf"(?:{what})[^\n]{{0,60}}{_NOT}|{_NOT}[^\n]{{0,60}}(?:{what})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """What some words mean.

    Attributes:
        says: the words.
        statuses: where they are believed; None among them: an error inside a 200 that names no status.
        finding: what they mean.
        unless: words beside them with which they mean something else; None: there are none.
        is_untimed: they mean this only where the reply names no time at which to ask again.
    """

    says: Phrases
    statuses: frozenset[int | None]
    finding: Finding
    unless: Phrases | None = None
    is_untimed: bool = False

    def fits(self, words: str, status: int | None, *, is_timed: bool) -> bool:
        """Whether an error says this.

        Args:
            words: of the error, in lower case.
            status: that counts.
            is_timed: the reply names a time at which to ask again.
        """
        return (
            status in self.statuses
            and not (is_timed and self.is_untimed)
            and self.says.are_in(words)
            and not (self.unless is not None and self.unless.are_in(words))
        )
