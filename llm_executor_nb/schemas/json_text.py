"""The one JSON object in an answer's text, whatever a model has put around it.

Fences, thoughts and words before or after the object are skipped. What could be read in two ways is refused, not
guessed: two objects, a name that stands twice, an object that is cut off (its inner ones are not answers), NaN.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NoReturn

from llm_executor_nb.core.foreign_text import scrub

if TYPE_CHECKING:
    from collections.abc import Iterator

TOO_DEEP = "its JSON is nested too deep"
_THOUGHTS_END = "</think>"
_PROSE_IN_BRACES = re.compile(r"""\{[^{}"':]*\}""")
"""Braces in prose, `{like these}`; all others are read as an object."""


class _UnreadableError(ValueError):
    """This is JSON that has more than one reading."""


def object_in(text: str) -> dict[str, Any]:
    """Return the JSON object that a text holds.

    Args:
        text: the answer.

    Raises:
        ValueError: it holds none, several, or one that cannot be read; the message says which in a few words.
    """
    objects = list(_objects(text.rpartition(_THOUGHTS_END)[2]))
    objects = [one for one in objects if one] or objects[:1]  # `{}` in prose is not a second answer
    if not objects:
        raise ValueError("there is no JSON object in it")
    if any(one != objects[0] for one in objects):
        raise ValueError(f"it holds {len(objects)} JSON objects; one is wanted")
    return objects[0]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    start = text.find("{")
    while start >= 0:
        if (prose := _PROSE_IN_BRACES.match(text, start)) is not None and prose[0][1:-1].strip():
            end = prose.end()
        else:
            value, end = _decoded(text, start)
            yield value
        start = text.find("{", end)


def _decoded(text: str, start: int) -> tuple[dict[str, Any], int]:
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        place = "where the answer ends" if not text[error.pos :].strip() else f"at character {error.pos - start}"
        message = f"it is not valid JSON ({error.msg.removesuffix(' at')} {place})"
    except (RecursionError, MemoryError):
        message = TOO_DEEP
    raise ValueError(message)  # outside the except blocks: a traceback of JSON's internals helps no user


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _UnreadableError(f"the name {scrub(twice)[:40]!r} stands twice in its JSON")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise _UnreadableError(f"{name} is not a JSON number")


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _UnreadableError("a number in its JSON is too large")
    return number


def _int(digits: str) -> int:
    _float(digits)  # what no float holds is a model's mistake, and int() refuses thousands of digits
    return int(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_once_each, parse_constant=_refuse_constant, parse_float=_float, parse_int=_int, strict=False
)
"""`strict=False` reads a line break inside a text too: models write them."""
