"""Tool calls as servers really send them, in the form that LangChain reads: whole, or in the pieces of a stream.

Servers leave out the type, the id, the index or the arguments, send the arguments as an object, or use the older
`function_call`. What is in the form of OpenAI's documents is not touched.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk

_OLD: Final = "function_call"
_TAILS: Final = ("", "]", "}", '"]', '"}', '""]', '""}')
"""Brackets that fit nowhere: outside of a text, within one, and behind a backslash in one."""


def whole_calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tool calls of a whole message, each with a name, arguments as a text, and an id.

    Raises:
        ValueError: a call is no object.
    """
    return [_whole(call) for call in _calls_of(message) or _old_call_of(message)]


def are_arguments(text: str | None) -> bool:
    """Whether the arguments of a tool call are a whole JSON object; none at all are for a tool without parameters."""
    return not text or isinstance(_parsed(text), dict)


def is_misfit(call: dict[str, Any]) -> bool:
    """Whether the arguments of a whole call are JSON and no object, which LangChain would fail over."""
    text = call["function"]["arguments"]
    return bool(text) and not isinstance(_parsed(text), dict | _NoJson)


def left_broken(whole: AIMessageChunk) -> AIMessageChunk | None:
    """Return what to add to a stream so that LangChain does not mend calls with broken arguments; None: nothing.

    LangChain closes what is open in half a call, and the call then seems whole. A bracket that fits nowhere stops it.
    """
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use
    from langchain_core.messages.tool import tool_call_chunk  # noqa: PLC0415 - as above

    broken = [piece for piece in whole.tool_call_chunks if not are_arguments(piece["args"])]
    if not broken:
        return None
    tails = [tool_call_chunk(args=_unfit(piece["args"] or ""), index=piece["index"]) for piece in broken]
    return AIMessageChunk(content="", id=whole.id, tool_call_chunks=tails)


def old_call(message: AIMessage) -> AIMessageChunk | None:
    """Return the tool call that a message makes as `function_call`, the older form; None: it makes none so."""
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use
    from langchain_core.messages.tool import tool_call_chunk  # noqa: PLC0415 - as above

    if _OLD not in message.additional_kwargs or message.tool_calls or message.invalid_tool_calls:
        return None
    told = Placing().placed(message.additional_kwargs)
    pieces = [
        tool_call_chunk(index=call["index"], id=call["id"], name=function.get("name"), args=function.get("arguments"))
        for call in told
        for function in (call["function"],)
    ]
    more = AIMessageChunk(content="", id=message.id, tool_call_chunks=pieces)
    broken = left_broken(more)
    return more if broken is None else more + broken


def _unfit(arguments: str) -> str:
    from langchain_core.utils.json import parse_partial_json  # noqa: PLC0415 - loads on first use

    for tail in _TAILS:
        try:
            mended = parse_partial_json(arguments + tail)
        except (ValueError, RecursionError):
            return tail
        if not isinstance(mended, dict):
            return tail
    return ""


class Placing:
    """Gives each piece of a streamed tool call the index of the call it belongs to; each stream needs its own.

    Servers that tell no index, or the same one for all calls, begin a call with an id of its own, or with a name.
    """

    def __init__(self) -> None:
        self._begun: list[_Begun] = []

    def placed(self, delta: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the pieces of tool calls in a delta, each with its index.

        Raises:
            ValueError: a piece is no object.
        """
        told = _calls_of(delta)
        if not told and all(one.index == _OLD for one in self._begun):
            told = [{**call, "index": _OLD} for call in _old_call_of(delta)]
        return [self._place(_Piece.of(call), position, len(told)) for position, call in enumerate(told)]

    def _place(self, piece: _Piece, position: int, count: int) -> dict[str, Any]:
        place = self._find(piece, position if count > 1 else len(self._begun) - 1)
        if place is None:
            place = len(self._begun)
            self._begun.append(_Begun(index=piece.index, id=piece.id or _new_id(), is_own_id=piece.id is None))
            return self._begun[place].take(piece, place, is_first=True)
        return self._begun[place].take(piece, place, is_first=False)

    def _find(self, piece: _Piece, beside: int) -> int | None:
        """Return the place of the call that a piece goes on with; None: it begins one.

        Args:
            piece: what came.
            beside: the place of the piece within its delta, or else of the last call.
        """
        by_id = next((at for at, one in enumerate(self._begun) if one.id == piece.id), None)
        if piece.index is None:
            place = by_id
            if place is None and piece.name is None:
                place = min(beside, len(self._begun) - 1)
            elif place is None:
                place = beside if beside < len(self._begun) else None
        else:
            same = [at for at, one in enumerate(self._begun) if one.index == piece.index]
            place = same[-1] if same else by_id if piece.name is None else None
        return place if place is not None and place >= 0 and self._begun[place].goes_on_with(piece) else None


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a delta tells of one call."""

    call: dict[str, Any]
    function: dict[str, Any]
    index: object
    id: str | None
    name: str | None
    arguments: str | None

    @classmethod
    def of(cls, call: object) -> _Piece:
        function = _function_of(call)
        assert isinstance(call, dict)  # noqa: S101 - `_function_of` raises over others
        name = function.get("name")
        return cls(
            call=call,
            function=function,
            index=call.get("index"),
            id=_id_of(call),
            name=name if isinstance(name, str) and name else None,
            arguments=_as_text(function.get("arguments")),
        )


@dataclass(slots=True)
class _Begun:
    """A tool call whose pieces are coming."""

    index: object
    id: str
    is_own_id: bool
    name: str = ""
    arguments: str = ""

    def goes_on_with(self, piece: _Piece) -> bool:
        """Whether a piece belongs to this call; if not, it begins another one."""
        is_told_apart = piece.id is not None and piece.id != self.id
        if piece.id == self.id or (piece.name is None and (piece.index is not None or not is_told_apart)):
            return True
        if is_told_apart:
            return self.is_own_id and not self.arguments
        if piece.name != self.name:
            return piece.index is not None and not self.arguments  # the name comes in pieces
        return not self.arguments or not piece.arguments or not are_arguments(self.arguments)

    def take(self, piece: _Piece, place: int, *, is_first: bool) -> dict[str, Any]:
        """Take a piece of this call; return it as LangChain adds it up: with its place, and nothing said twice."""
        function, arguments = piece.function, piece.arguments
        if not self.arguments and arguments is not None and arguments.strip() in ("", "null"):
            arguments = ""
        if arguments != function.get("arguments"):
            function = {**function, "arguments": arguments}
        if piece.name is not None and piece.name == self.name:
            function = {**function, "name": None}
        else:
            self.name += piece.name or ""
        self.arguments += arguments or ""
        call = {**piece.call, "index": place, "function": function}
        if is_first or (piece.id is not None and piece.id != self.id):
            call["id"] = self.id if is_first else None
        return call


def _calls_of(told: dict[str, Any]) -> list[Any]:
    calls = told.get("tool_calls")
    if isinstance(calls, dict):
        return [calls]
    if calls and not isinstance(calls, list):
        raise ValueError("the tool calls are no list")
    return calls or []


def _old_call_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    call = told.get(_OLD)
    return [{"type": "function", "function": call}] if call and isinstance(call, dict) else []


def _whole(call: object) -> dict[str, Any]:
    function = _function_of(call)
    assert isinstance(call, dict)  # noqa: S101 - `_function_of` raises over others
    arguments = _as_text(function.get("arguments")) or ""
    arguments = "" if arguments.strip() in ("", "null") else arguments
    told = {"name": function.get("name") or "", "arguments": arguments}
    return {**call, "id": _id_of(call) or _new_id(), "function": {**function, **told}}


def _function_of(call: object) -> dict[str, Any]:
    """Return the part of a call that names the function; some servers put its fields beside the id.

    Raises:
        ValueError: the call is no object.
    """
    if not isinstance(call, dict):
        raise ValueError("a tool call is no object")  # noqa: TRY004 - what LangChain's readers are asked for
    function = call.get("function")
    return (
        function if isinstance(function, dict) else {name: call[name] for name in ("name", "arguments") if name in call}
    )


def _id_of(call: dict[str, Any]) -> str | None:
    told = call.get("id")
    return str(told) if told and isinstance(told, str | int) else None


def _new_id() -> str:
    return f"call_{uuid4().hex[:24]}"


def _as_text(arguments: object) -> str | None:
    if arguments is None or isinstance(arguments, str):
        return arguments
    return json.dumps(arguments, ensure_ascii=False) if arguments != {} else ""


class _NoJson:
    """Stands for what cannot be parsed."""


def _parsed(text: str) -> Any:  # noqa: ANN401 - JSON of any shape
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError, MemoryError):
        return _NoJson()
