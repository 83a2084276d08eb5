"""What a body is by its own bytes, since content types are often wrong: events, lines of JSON, or one whole.

Keep-alives may stand before any of them: blanks, and comments as `: OPENROUTER PROCESSING`.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from typing import Final

BLANK: Final = b"\xef\xbb\xbf \t\r\n"
_EVENT: Final = re.compile(rb"(?:data|event|id|retry)[ \t]*:")
_FIELDS: Final = (b"data", b"event", b"id", b"retry")
_CHUNK: Final = "chat.completion.chunk"
_SIGNS: Final = (b'"delta"', _CHUNK.encode())
"""What stands in every chunk of a streamed answer."""
_COMMENTS: Final = re.compile(rb"[\xef\xbb\xbf \t\r\n]*(?::[^\r\n]*[\r\n][ \t\r\n]*(?=[^ \t\r\n]))+")


class Shape(Enum):
    """How a body is to be read."""

    EVENTS = auto()
    LINES = auto()
    WHOLE = auto()


def shape_of(body: bytes, *, is_all: bool) -> Shape | None:
    """Return how a body is to be read; None: more of it is needed to say so.

    Args:
        body: its first bytes.
        is_all: no more will come.
    """
    rest = after_comments(body).lstrip(BLANK)
    if rest.startswith(b"{"):
        if is_all and not _has_signs(rest):
            return Shape.WHOLE
        line, end, _ = rest.partition(b"\n")
        return (Shape.LINES if _has_signs(line) and _is_chunk(line) else Shape.WHOLE) if end or is_all else None
    if _EVENT.match(rest):
        return Shape.EVENTS
    if is_all:
        return Shape.EVENTS if rest.startswith(b":") else Shape.WHOLE
    has_begun = rest.startswith(b":") or any(name.startswith(rest.rstrip(b" \t")) for name in _FIELDS)
    return None if has_begun else Shape.WHOLE


def after_comments(body: bytes) -> bytes:
    """Return a body without the comments in front; the last is left when nothing stands behind it."""
    comments = None if body.startswith(b"{") else _COMMENTS.match(body)
    return body[comments.end() :] if comments else body


def _has_signs(line: bytes) -> bool:
    return _SIGNS[0] in line or _SIGNS[1] in line


def _is_chunk(line: bytes) -> bool:
    """Whether a line is one chunk of a streamed answer."""
    try:
        told = json.loads(line)
        return told.get("object") == _CHUNK or isinstance(told["choices"][0]["delta"], dict)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False
