"""Bodies that are not what they claim to be, and connections that break, stall or never end."""

from __future__ import annotations

import gzip
from functools import partial
from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import Finding, Outcome
from llm_executor_nb.rehearsal.replies import answer
from llm_executor_nb.rehearsal.response import EVENTS, JSON, End, Response
from llm_executor_nb.rehearsal.rules import FaultSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.rules import Effect, Faults

    Change = Callable[[bytes], tuple[bytes, ...]]
    """From the body of a good answer to the pieces that are sent in its place."""

_MEBIBYTE = 2**20
_OVER_THE_CAP = 33
"""Mebibytes; a client must stop reading a body at 32."""
_DEPTH = 100_000
_DEEP_JSON = b'{"choices": ' + b"[" * _DEPTH + b"]" * _DEPTH + b"}"
_PACE_S = 0.05
"""Seconds between the pieces of an endless reply."""
_BAD_UTF8 = b"\xff\xfe\xc3("


def _changed(does: str, outcome: Outcome, change: Change, **headers: str) -> FaultSpec:
    """Return a fault that sends a good answer's JSON changed, also when the request asks for a stream."""

    def respond(request: ChatRequest, effect: Effect) -> Response:
        body = b"".join(answer(request.unstreamed()).pieces)
        return Response(headers={"Content-Type": JSON, **headers}, pieces=change(body), fault=effect.fault)

    return FaultSpec(does=does, respond=respond, finding=Finding(outcome))


def _huge(body: bytes) -> tuple[bytes, ...]:
    head, tail = body.split(b"[practice", 1)
    return (head, *[b"a" * _MEBIBYTE] * _OVER_THE_CAP, tail)


BODIES: Faults = {
    "not-json": _changed("JSON that breaks off", Outcome.MALFORMED, lambda body: (body[: len(body) // 2],)),
    "deep-json": _changed("JSON that is nested too deep", Outcome.MALFORMED, lambda _: (_DEEP_JSON,)),
    "huge-body": _changed("a body of more than 32 MiB", Outcome.INVALID_OUTPUT, _huge),
    "bad-utf8": _changed(
        "bytes that are not UTF-8", Outcome.MALFORMED, lambda body: (body.replace(b"[practice", _BAD_UTF8, 1),)
    ),
    "keep-alive": _changed(
        "an answer after spaces that keep the connection open; it counts as an answer",
        Outcome.OK,
        lambda body: (b"\n", b"   \n", b"\n", body),
    ),
    "gzip": _changed(
        "an answer, packed; it is one",
        Outcome.OK,
        lambda body: (gzip.compress(body),),
        **{"Content-Encoding": "gzip"},
    ),
}


# --- connections --------------------------------------------------------------------------------------------------


def _bare(does: str, outcome: Outcome, end: End, *pieces: bytes) -> FaultSpec:
    """Return a fault that sends no HTTP, or not enough of it."""

    def respond(_: ChatRequest, effect: Effect) -> Response:
        return Response(status=None, pieces=pieces, pace_s=_PACE_S, end=end, fault=effect.fault)

    return FaultSpec(does=does, respond=respond, finding=Finding(outcome))


def _broken_off(request: ChatRequest, effect: Effect, *, end: End) -> Response:
    """Announce the whole body and send half of it; of a stream, send some of the text."""
    whole = answer(request)
    if request.is_stream:
        some = whole.pieces[: len(whole.pieces) // 2]
        return Response(headers=whole.headers, pieces=some, end=end, fault=effect.fault)
    body = whole.pieces[0]
    headers = {**whole.headers, "Content-Length": str(len(body))}
    return Response(headers=headers, pieces=(body[: len(body) // 2],), end=end, fault=effect.fault)


def _head_only(request: ChatRequest, effect: Effect, *, end: End, pieces: tuple[bytes, ...] = ()) -> Response:
    """Send the head of an answer, and then the last piece over and over, or nothing."""
    headers = {"Content-Type": EVENTS if request.is_stream else JSON}
    pace_s = _PACE_S if pieces else 0.0
    return Response(headers=headers, pieces=pieces, pace_s=pace_s, end=end, fault=effect.fault)


def _trickle(request: ChatRequest, effect: Effect) -> Response:
    whole = answer(request)
    body = b"".join(whole.pieces)[:-1]
    pieces = tuple(bytes((byte,)) for byte in body)
    return Response(headers=whole.headers, pieces=pieces, pace_s=_PACE_S, end=End.STALL, fault=effect.fault)


CONNECTIONS: Faults = {
    "down": _bare("the connection is closed without a byte", Outcome.CONNECTION, End.CLOSE),
    "reset": _bare("the connection is reset without a byte", Outcome.CONNECTION, End.RESET),
    "garbage": _bare("the reply is not HTTP", Outcome.MALFORMED, End.CLOSE, b"SSH-2.0-practice\r\n\r\n"),
    "cut-head": _bare(
        "the head of the reply breaks off", Outcome.CONNECTION, End.CLOSE, b"HTTP/1.1 200 OK\r\nContent-"
    ),
    "cut": FaultSpec(
        does="the body breaks off",
        respond=partial(_broken_off, end=End.CLOSE),
        finding=Finding(Outcome.CONNECTION),
    ),
    "reset-midway": FaultSpec(
        does="the connection is reset in the body",
        respond=partial(_broken_off, end=End.RESET),
        finding=Finding(Outcome.CONNECTION),
    ),
    "hang": _bare("no reply until the client goes away", Outcome.TIMEOUT, End.STALL),
    "slow-head": _bare("a head that never ends", Outcome.TIMEOUT, End.REPEAT, b"HTTP/1.1 200 OK\r\nX-Slow: ", b"."),
    "stall": FaultSpec(
        does="silence after the head", respond=partial(_head_only, end=End.STALL), finding=Finding(Outcome.TIMEOUT)
    ),
    "trickle": FaultSpec(
        does="a body that drips, and stops before its end", respond=_trickle, finding=Finding(Outcome.TIMEOUT)
    ),
    "endless-blanks": FaultSpec(
        does="spaces that keep the connection open without end",
        respond=partial(_head_only, end=End.REPEAT, pieces=(b"\n",)),
        finding=Finding(Outcome.TIMEOUT),
    ),
}
