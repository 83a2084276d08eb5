"""What goes on the wire for one request: a status, headers, pieces of bytes, and how it ends.

Every reply of a rehearsal, be it a practice answer or a fault, is one `Response`; `send.py` knows how to send any.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

JSON = "application/json"
HTML = "text/html; charset=utf-8"
EVENTS = "text/event-stream"


class End(StrEnum):
    """What happens when all pieces are sent."""

    WHOLE = auto()
    CLOSE = auto()
    RESET = auto()
    STALL = auto()
    REPEAT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the server is to do with one request.

    Attributes:
        status: of the reply; None: there is no reply, and the pieces go out as bare bytes.
        headers: of the reply.
        pieces: its body, in the pieces it is written in.
        pace_s: seconds before each piece but the first.
        end: WHOLE ends the reply as it should; CLOSE and RESET break it off; STALL falls silent until the client goes
            away, and REPEAT sends the last piece over and over until then.
        fault: the fault that decided; None: an answer.
    """

    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: tuple[bytes, ...] = ()
    pace_s: float = 0.0
    end: End = End.WHOLE
    fault: str | None = None


def stage_json(
    body: object, fault: str | None, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a whole reply of JSON."""
    return stage_bytes(json.dumps(body).encode(), fault, status=status, headers=headers)


def stage_bytes(
    body: bytes, fault: str | None, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a whole reply that calls itself JSON, whatever its bytes are."""
    return Response(status=status, headers={"Content-Type": JSON, **(headers or {})}, pieces=(body,), fault=fault)


def stage_events(pieces: Iterable[bytes], fault: str | None, *, headers: Mapping[str, str], **more: Any) -> Response:  # noqa: ANN401 - fields of Staged
    """Return a reply of server-sent events."""
    told = {**headers, "Content-Type": EVENTS, "Cache-Control": "no-cache"}
    return Response(headers=told, pieces=tuple(pieces), fault=fault, **more)
