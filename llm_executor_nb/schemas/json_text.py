"""The one JSON object in an answer's text, whatever a model has put around it.

Fences, thoughts and words before or after the object are passed over. What could be read in two ways is refused, not
guessed: two objects, a name that stands twice, an object that is cut off (its inner ones are no answers), NaN.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

TOO_DEEP = "its JSON is nested too deep"
_THOUGHTS_END = "</think>"
_WORDS_IN_BRACES = re.compile(r"""\{[^{}"':]*\}""")
"""Braces of prose, `{like these}`; all others are taken for an object."""
_LONGEST_NUMBER = 400
"""Digits of a number; the longest that a float holds has 309."""


class _UnreadableError(ValueError):
    """It is JSON, and not to be read in one way only."""


def object_in(text: str) -> dict[str, Any]:
    """Return the JSON object that a text holds.

    Args:
        text: the answer.

    Raises:
        ValueError: it holds none, several, or one that cannot be read; says which in a few words.
    """
    found = list(_objects(text.rpartition(_THOUGHTS_END)[2]))
    found = [one for one in found if one] or found[:1]
    if not found:
        raise ValueError("there is no JSON object in it")
    if any(one != found[0] for one in found):
        raise ValueError(f"it holds {len(found)} JSON objects; one is wanted")
    return found[0]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    at = text.find("{")
    while at >= 0:
        if (words := _WORDS_IN_BRACES.match(text, at)) is not None and words[0][1:-1].strip():
            end = words.end()
        else:
            value, end = _decoded(text, at)
            yield value
        at = text.find("{", end)


def _decoded(text: str, at: int) -> tuple[dict[str, Any], int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        place = "where the answer ends" if not text[error.pos :].strip() else f"at character {error.pos - at}"
        words = f"it is not valid JSON ({error.msg.removesuffix(' at')} {place})"
    except (RecursionError, MemoryError):
        words = TOO_DEEP
    raise ValueError(words)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _UnreadableError(f"the name {twice[:40]!r} stands twice in its JSON")
    return found


def _no_number(word: str) -> NoReturn:
    raise _UnreadableError(f"{word} is no JSON number")


def _float(digits: str) -> float:
    number = float(digits) if len(digits) <= _LONGEST_NUMBER else math.inf
    if not math.isfinite(number):
        raise _UnreadableError("a number in its JSON is too large")
    return number


def _int(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise _UnreadableError("a number in its JSON is too large")
    return int(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_once_each, parse_constant=_no_number, parse_float=_float, parse_int=_int, strict=False
)
"""Reads a line break inside a text too: models write them."""
