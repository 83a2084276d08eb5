"""Streams as bytes: what a body is by its own bytes, and the events in it.

Content types are often wrong, so the bytes decide. A body is server-sent events, lines of JSON, or one whole. The
events are the same however the network cut the bytes. Pure: no network, no time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from llm_executor_nb.core.foreign_json import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator

ERROR: Final = "error"
"""The name of an event that reports a failure; it counts without data too."""
BLANK: Final = b"\xef\xbb\xbf \t\r\n"
"""What may stand in front of a body: a byte order mark, and keep-alives."""
_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_FIELD: Final = re.compile(rb"(?:data|event|id|retry)[ \t]*:")
_FIELD_NAMES: Final = (b"data", b"event", b"id", b"retry")
_CHUNK: Final = "chat.completion.chunk"
_CHUNK_MARKS: Final = (b'"delta"', _CHUNK.encode())
"""Every chunk of a streamed answer holds one of them."""
_MARKED: Final = 2**16
"""Bytes of a line in which they are looked for: a whole reply may be a line of many megabytes."""
_COMMENTS: Final = re.compile(rb"[\xef\xbb\xbf \t\r\n]*(?::[^\r\n]*[\r\n][ \t\r\n]*(?=[^ \t\r\n]))+")


# --- what a body is -------------------------------------------------------------------------------------------------


class Shape(Enum):
    """How a body is to be read."""

    EVENTS = auto()
    LINES = auto()
    WHOLE = auto()


def shape_of(body: bytes, *, is_all: bool) -> Shape | None:
    """Return how a body is to be read; None: more of it is needed to decide.

    Args:
        body: its first bytes.
        is_all: no more will come.
    """
    rest = after_comments(body).lstrip(BLANK)
    if rest.startswith(b"{"):
        if is_all and not _has_marks(rest):  # a cheap look: whole replies may be large
            return Shape.WHOLE
        # Only the first line is parsed: lines of JSON hold a chunk each, and an indented whole does not end there.
        line, end, _ = rest.partition(b"\n")
        return (Shape.LINES if _has_marks(line) and _is_chunk(line) else Shape.WHOLE) if end or is_all else None
    if _FIELD.match(rest):
        return Shape.EVENTS
    if is_all:
        return Shape.EVENTS if rest.startswith(b":") else Shape.WHOLE
    has_begun = rest.startswith(b":") or any(name.startswith(rest.rstrip(b" \t")) for name in _FIELD_NAMES)
    return None if has_begun else Shape.WHOLE


def after_comments(body: bytes) -> bytes:
    """Return a body without the comments in front, such as `: OPENROUTER PROCESSING`, which keep a connection alive.

    The last comment stays when nothing follows it.
    """
    comments = None if body.startswith(b"{") else _COMMENTS.match(body)
    return body[comments.end() :] if comments else body


def _has_marks(line: bytes) -> bool:
    beginning = line[:_MARKED]
    return _CHUNK_MARKS[0] in beginning or _CHUNK_MARKS[1] in beginning


def _is_chunk(line: bytes) -> bool:
    """Whether a line is one chunk of a streamed answer."""
    try:
        chunk = parse_json(line)
        return chunk.get("object") == _CHUNK or isinstance(chunk["choices"][0]["delta"], dict)
    except (LookupError, TypeError, AttributeError):
        return False


# --- bytes in, events out -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    Attributes:
        data: its `data:` lines, joined with newlines.
        name: its `event:` line, such as `error`; "": it had none.
    """

    data: str
    name: str = ""


class Parser:
    """Reads one stream of server-sent events.

    Lines end in CRLF, LF or CR. Comments, `id:`, `retry:` and events with blank data are skipped. The work is linear in
    the bytes, however long a line is.
    """

    def __init__(self) -> None:
        self._begun_line: list[bytes] = []
        self._data = bytearray()
        self._name = b""
        self._is_after_cr = False
        self._is_at_start = True

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that the next piece completes; take them all before feeding another.

        Raises:
            UnicodeDecodeError: an event is not UTF-8; those before it were yielded.
        """
        if self._is_after_cr and piece:  # a CRLF may be cut between two pieces
            piece = piece.removeprefix(b"\n")
            self._is_after_cr = False
        if not piece:
            return
        self._is_after_cr = piece.endswith(b"\r")
        first, *rest = _LINE_END.split(piece)
        self._begun_line.append(first)  # joined once per line: adding bytes up would be quadratic
        for next_line in rest:
            line = b"".join(self._begun_line)
            self._begun_line = [next_line]
            yield from self._take(line)

    def end(self) -> Iterator[Event]:
        """Yield the event that was begun when the stream ended, if any: some servers leave out the last blank line.

        Raises:
            UnicodeDecodeError: it is not UTF-8.
        """
        yield from self.feed(b"\n\n")

    def _take(self, line: bytes) -> Iterator[Event]:
        if self._is_at_start:  # a byte order mark counts only there
            line, self._is_at_start = line.removeprefix(_BOM), False
        if not line:
            yield from self._whole()
            return
        colon = line.find(b":")
        field, begin = (line, len(line)) if colon < 0 else (line[:colon], colon + 1)
        begin += line.startswith(b" ", begin)  # the standard drops one space
        if field == b"data":
            self._data += memoryview(line)[begin:]  # no copy more: a line may have 30 MB
            self._data += b"\n"  # at once: a list of millions of short lines would take long to join
        elif field == b"event":
            self._name = line[begin:]

    def _whole(self) -> Iterator[Event]:
        if not self._data and not self._name:  # a server may send millions of blank lines
            return
        del self._data[-1:]
        data, name = self._data, self._name
        self._data, self._name = bytearray(), b""
        event = Event(data.decode(), name.decode())
        if event.data.strip() or event.name == ERROR:
            yield event


class LineParser:
    """Reads a stream of lines of JSON as if each were an event; a few servers mix `data:` and comments in."""

    def __init__(self) -> None:
        self._begun_line: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the lines that the next piece completes; take them all before feeding another.

        Raises:
            UnicodeDecodeError: a line is not UTF-8; those before it were yielded.
        """
        first, *rest = _LINE_END.split(piece)
        self._begun_line.append(first)
        for next_line in rest:
            line = b"".join(self._begun_line).removeprefix(_BOM).strip()
            self._begun_line = [next_line]
            if line and not line.startswith(b":"):
                yield Event(line.removeprefix(b"data:").strip().decode())

    def end(self) -> Iterator[Event]:
        """Yield the line that was begun when the stream ended, if any.

        Raises:
            UnicodeDecodeError: it is not UTF-8.
        """
        yield from self.feed(b"\n")


def parser_of(shape: Shape) -> Parser | LineParser:
    """Return a new parser for a body of this shape."""
    return LineParser() if shape is Shape.LINES else Parser()
