"""What a body is by its own bytes, since content types are often wrong: events, lines of JSON, or one whole.

Keep-alives may stand before any of them: blanks, and comments as `: OPENROUTER PROCESSING`.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from typing import Final

_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
_EVENT: Final = re.compile(rb"(?:data|event|id|retry)[ \t]*:")
_BEGUN_EVENT: Final = re.compile(
    rb"(?:d(?:a(?:t(?:a)?)?)?|e(?:v(?:e(?:n(?:t)?)?)?)?|id?|r(?:e(?:t(?:r(?:y)?)?)?)?)[ \t]*"
)
_DELTA: Final = b'"delta"'
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class Shape(Enum):
    """How a body is to be read."""

    EVENTS = auto()
    LINES = auto()
    WHOLE = auto()


def shape_of(head: bytes, *, is_all: bool) -> Shape | None:
    """Return how a body is to be read; None: more of it is needed to say so.

    Args:
        head: its first bytes.
        is_all: no more will come.
    """
    rest = after_keep_alives(head)
    if not rest and is_all:
        return Shape.EVENTS if head.strip(_BLANK) else Shape.WHOLE
    if not rest:
        return None
    if rest.startswith(b"{"):
        if not is_all and b"\n" not in rest:
            return None
        return Shape.LINES if _DELTA in rest and _is_chunk(rest.partition(b"\n")[0]) else Shape.WHOLE
    if _EVENT.match(rest):
        return Shape.EVENTS
    return None if not is_all and _BEGUN_EVENT.fullmatch(rest) else Shape.WHOLE


def after_keep_alives(body: bytes) -> bytes:
    """Return a body from its first byte on that is neither a blank nor a part of a comment."""
    rest = body.lstrip(_BLANK)
    while rest.startswith(b":"):
        end = _LINE_END.search(rest)
        rest = rest[end.end() :].lstrip(_BLANK) if end else b""
    return rest


def _is_chunk(line: bytes) -> bool:
    """Whether a line is one chunk of a streamed answer."""
    try:
        return isinstance(json.loads(line)["choices"][0]["delta"], dict)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
