"""Bodies that are not what they say, and connections that break, stall or never come to an end."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import Finding, Outcome, ScopeLevel
from llm_executor_nb.rehearsal.bodies import HTML_PAGE
from llm_executor_nb.rehearsal.entry import FaultSpec, Shelf
from llm_executor_nb.rehearsal.replies import answer
from llm_executor_nb.rehearsal.response import EVENTS, HTML, JSON, End, Response, stage_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.rules import Effect

    Change = Callable[[bytes], tuple[bytes, ...]]
    """From the body of a good answer to the pieces that are sent in its place."""

_MEBIBYTE = 2**20
_OVER_THE_CAP = 33
"""Mebibytes; a client must give a body up at 32."""
_DEPTH = 100_000
_PACE_S = 0.05
"""Seconds between the pieces of what never ends."""
_BAD_UTF8 = b"\xff\xfe\xc3("


def _sends(does: str, outcome: Outcome, body: bytes, *, status: int = 200, **headers: str) -> FaultSpec:
    def stage(_: ChatRequest, effect: Effect) -> Response:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return stage_bytes(body, effect.fault, status=status, headers=told)

    return FaultSpec(does=does, stage=stage, finding=Finding(outcome))


def _page(does: str, finding: Finding, status: int) -> FaultSpec:
    def stage(_: ChatRequest, effect: Effect) -> Response:
        return Response(status=status, headers={"Content-Type": HTML}, pieces=(HTML_PAGE,), fault=effect.fault)

    return FaultSpec(does=does, stage=stage, finding=finding)


def _changed(does: str, outcome: Outcome, change: Change, **headers: str) -> FaultSpec:
    """Return a row that sends a good answer's JSON changed, also when a stream was asked for."""

    def stage(asked: ChatRequest, effect: Effect) -> Response:
        told = {"Content-Type": JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return Response(headers=told, pieces=change(_json_of(asked)), fault=effect.fault)

    return FaultSpec(does=does, stage=stage, finding=Finding(outcome))


def _bare(does: str, outcome: Outcome, end: End, *pieces: bytes) -> FaultSpec:
    """Return a row that sends no HTTP, or not enough of it."""

    def stage(_: ChatRequest, effect: Effect) -> Response:
        return Response(status=None, pieces=pieces, pace_s=_PACE_S, end=end, fault=effect.fault)

    return FaultSpec(does=does, stage=stage, finding=Finding(outcome))


def _json_of(asked: ChatRequest) -> bytes:
    return b"".join(answer(asked.unstreamed()).pieces)


def _cut(asked: ChatRequest, effect: Effect) -> Response:
    return _broken_off(asked, effect, End.CLOSE)


def _reset_midway(asked: ChatRequest, effect: Effect) -> Response:
    return _broken_off(asked, effect, End.RESET)


def _broken_off(asked: ChatRequest, effect: Effect, end: End) -> Response:
    """Announce the whole body and send half of it; of a stream, send some of the text."""
    whole = answer(asked)
    if asked.is_stream:
        some = whole.pieces[: len(whole.pieces) // 2]
        return Response(headers=whole.headers, pieces=some, end=end, fault=effect.fault)
    body = whole.pieces[0]
    headers = {**whole.headers, "Content-Length": str(len(body))}
    return Response(headers=headers, pieces=(body[: len(body) // 2],), end=end, fault=effect.fault)


def _silent(asked: ChatRequest, effect: Effect) -> Response:
    headers = {"Content-Type": EVENTS if asked.is_stream else JSON}
    return Response(headers=headers, end=End.STALL, fault=effect.fault)


def _trickle(asked: ChatRequest, effect: Effect) -> Response:
    whole = answer(asked)
    body = b"".join(whole.pieces)[:-1]
    pieces = tuple(bytes((byte,)) for byte in body)
    return Response(headers=whole.headers, pieces=pieces, pace_s=_PACE_S, end=End.STALL, fault=effect.fault)


def _blanks(asked: ChatRequest, effect: Effect) -> Response:
    headers = {"Content-Type": EVENTS if asked.is_stream else JSON}
    return Response(headers=headers, pieces=(b"\n",), pace_s=_PACE_S, end=End.REPEAT, fault=effect.fault)


def _huge(body: bytes) -> tuple[bytes, ...]:
    head, tail = body.split(b"[practice", 1)
    return (head, *[b"a" * _MEBIBYTE] * _OVER_THE_CAP, tail)


BODIES: Shelf = {
    "html": _page("HTTP 200 with an HTML page", Finding(Outcome.MALFORMED), 200),
    "html-403": _page(
        "403 with the page of an edge that lets this request not in", Finding(Outcome.FORBIDDEN, ScopeLevel.ROUTE), 403
    ),
    "html-502": _page("502 with an HTML page", Finding(Outcome.SERVER_ERROR), 502),
    "html-503": _page("503 with an HTML page", Finding(Outcome.OVERLOADED), 503),
    "redirect": _sends("302 to a page for logging in", Outcome.MALFORMED, b"", status=302, Location="/login"),
    "no-body": _sends("no body", Outcome.MALFORMED, b""),
    "blank-body": _sends("a body of spaces", Outcome.MALFORMED, b" \n" * 40),
    "not-json": _changed("JSON that breaks off", Outcome.MALFORMED, lambda body: (body[: len(body) // 2],)),
    "json-string": _sends("JSON that is a text", Outcome.MALFORMED, b'"an answer?"'),
    "json-list": _sends("JSON that is a list", Outcome.MALFORMED, b'["an answer?"]'),
    "json-null": _sends("JSON that is null", Outcome.MALFORMED, b"null"),
    "json-number": _sends("JSON that is a number", Outcome.MALFORMED, b"42"),
    "deep-json": _sends(
        "JSON that is nested too deep", Outcome.MALFORMED, b'{"choices": ' + b"[" * _DEPTH + b"]" * _DEPTH + b"}"
    ),
    "huge-body": _changed("a body of more than 32 MiB", Outcome.MALFORMED, _huge),
    "bad-utf8": _changed(
        "bytes that are not UTF-8", Outcome.MALFORMED, lambda body: (body.replace(b"[practice", _BAD_UTF8, 1),)
    ),
    "bad-gzip": _sends(
        "bytes that are not the gzip they claim to be", Outcome.MALFORMED, b"no gzip", Content_Encoding="gzip"
    ),
    "503-json-string": _sends("503, JSON that is a text", Outcome.OVERLOADED, b'"busy"', status=503),
    "503-json-list": _sends("503, JSON that is a list", Outcome.OVERLOADED, b'["busy"]', status=503),
    "503-json-null": _sends("503, JSON that is null", Outcome.OVERLOADED, b"null", status=503),
    "503-no-body": _sends("503 without a body", Outcome.OVERLOADED, b"", status=503),
    "keep-alive": _changed(
        "an answer after spaces that keep the connection open; it counts as an answer",
        Outcome.OK,
        lambda body: (b"\n", b"   \n", b"\n", body),
    ),
    "gzip": _changed(
        "an answer, packed; it is one", Outcome.OK, lambda body: (gzip.compress(body),), Content_Encoding="gzip"
    ),
}

CONNECTIONS: Shelf = {
    "down": _bare("the connection is closed without a byte", Outcome.CONNECTION, End.CLOSE),
    "reset": _bare("the connection is reset without a byte", Outcome.CONNECTION, End.RESET),
    "garbage": _bare("the reply is not HTTP", Outcome.MALFORMED, End.CLOSE, b"SSH-2.0-practice\r\n\r\n"),
    "cut-head": _bare(
        "the head of the reply breaks off", Outcome.CONNECTION, End.CLOSE, b"HTTP/1.1 200 OK\r\nContent-"
    ),
    "cut": FaultSpec(does="the body breaks off", stage=_cut, finding=Finding(Outcome.CONNECTION)),
    "reset-midway": FaultSpec(
        does="the connection is reset in the body", stage=_reset_midway, finding=Finding(Outcome.CONNECTION)
    ),
    "hang": _bare("no reply until the client goes away", Outcome.TIMEOUT, End.STALL),
    "slow-head": _bare(
        "a head that never comes to its end", Outcome.TIMEOUT, End.REPEAT, b"HTTP/1.1 200 OK\r\nX-Slow: ", b"."
    ),
    "stall": FaultSpec(does="silence behind the head", stage=_silent, finding=Finding(Outcome.TIMEOUT)),
    "trickle": FaultSpec(
        does="a body that drips, and stops before its end", stage=_trickle, finding=Finding(Outcome.TIMEOUT)
    ),
    "endless-blanks": FaultSpec(
        does="spaces that keep the connection open without end", stage=_blanks, finding=Finding(Outcome.TIMEOUT)
    ),
}
