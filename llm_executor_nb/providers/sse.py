"""Server-sent events, and lines of JSON: bytes in, events out, the same events however the bytes were cut.

Comments, `id:`, `retry:` and events with blank data say nothing and are skipped. Lines end in CRLF, LF or CR; an event
that the end of the stream closes counts as one. Pure: no network, no time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ERROR: Final = "error"
"""The name of an event that tells of a failure; it counts without data too."""
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


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
    """Reads one stream of server-sent events; its work is linear in the bytes, however long a line is."""

    def __init__(self) -> None:
        self._begun_line: list[bytes] = []
        self._data: list[bytes] = []
        self._name = b""
        self._is_after_cr = False
        self._is_at_start = True

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that are whole with the next piece; take them all before feeding another.

        Raises:
            UnicodeDecodeError: an event is no UTF-8; those before it were yielded.
        """
        if self._is_after_cr and piece:
            piece = piece.removeprefix(b"\n")
            self._is_after_cr = False
        if not piece:
            return
        self._is_after_cr = piece.endswith(b"\r")
        first, *rest = _LINE_END.split(piece)
        self._begun_line.append(first)
        for next_line in rest:
            line = b"".join(self._begun_line)
            self._begun_line = [next_line]
            yield from self._take(line)

    def end(self) -> Iterator[Event]:
        """Yield the event that was begun when the stream ended, if any.

        Raises:
            UnicodeDecodeError: it is no UTF-8.
        """
        yield from self.feed(b"\n\n")

    def _take(self, line: bytes) -> Iterator[Event]:
        if self._is_at_start:
            line, self._is_at_start = line.removeprefix(_BOM), False
        if not line:
            yield from self._whole()
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        elif field == b"event":
            self._name = value.removeprefix(b" ")

    def _whole(self) -> Iterator[Event]:
        data, name = b"\n".join(self._data), self._name
        self._data, self._name = [], b""
        event = Event(data.decode(), name.decode())
        if event.data.strip() or event.name == ERROR:
            yield event


class LineParser:
    """Reads a stream of lines of JSON as if each were an event; a few servers mix `data:` and comments in."""

    def __init__(self) -> None:
        self._begun_line: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the lines that are whole with the next piece; take them all before feeding another.

        Raises:
            UnicodeDecodeError: a line is no UTF-8; those before it were yielded.
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
            UnicodeDecodeError: it is no UTF-8.
        """
        yield from self.feed(b"\n")
