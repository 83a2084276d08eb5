"""Tool calls as servers really send them, put into the form that LangChain reads: whole, or in pieces of a stream.

Servers leave out the type, the id, the index or the arguments. Some send the arguments as an object, or use the older
`function_call`. A call that follows OpenAI's documents is not changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk

_LEGACY: Final = "function_call"
_NOT_JSON: Final = object()
"""Stands for a text that cannot be parsed; None would be the JSON `null`."""
_TAILS: Final = ("", "]", "}", '"]', '"}', '""]', '""}')
"""Brackets that fit nowhere: outside a string, inside one, and after a backslash in one."""


def whole_calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tool calls of a whole message, each with a name, arguments as a text, and an id.

    Raises:
        ValueError: a call is not an object.
    """
    return [_whole(call) for call in _calls_of(message) or _legacy_calls_of(message)]


def are_arguments(text: str | None) -> bool:
    """Whether the arguments of a tool call are a whole JSON object, or empty: a tool without parameters has none."""
    return not text or isinstance(_parsed(text), dict)


def is_misfit(call: dict[str, Any]) -> bool:
    """Whether the arguments of a whole call are JSON but not an object: LangChain would raise."""
    text = call["function"]["arguments"]
    arguments = _parsed(text) if text else _NOT_JSON
    return arguments is not _NOT_JSON and not isinstance(arguments, dict)


def left_broken(whole: AIMessageChunk) -> AIMessageChunk | None:
    """Return what to add to a stream so that LangChain does not repair calls with broken arguments; None: nothing.

    LangChain closes the open brackets of half a call, and the call then seems whole. A bracket that fits nowhere
    prevents that (design 3.1: a tool call that was cut is `truncated`, never an answer).
    """
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use
    from langchain_core.messages.tool import tool_call_chunk  # noqa: PLC0415 - as above

    broken = [piece for piece in whole.tool_call_chunks if not are_arguments(piece["args"])]
    if not broken:
        return None
    tails = [tool_call_chunk(args=_unfit(piece["args"] or ""), index=piece["index"]) for piece in broken]
    return AIMessageChunk(content="", id=whole.id, tool_call_chunks=tails)


def old_call(message: AIMessage) -> AIMessageChunk | None:
    """Return the tool call that a message makes as `function_call`, the older form; None: it makes none."""
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use
    from langchain_core.messages.tool import tool_call_chunk  # noqa: PLC0415 - as above

    if _LEGACY not in message.additional_kwargs or message.tool_calls or message.invalid_tool_calls:
        return None
    calls = CallIndexer().indexed(message.additional_kwargs)
    pieces = [
        tool_call_chunk(index=call["index"], id=call["id"], name=function.get("name"), args=function.get("arguments"))
        for call in calls
        for function in (call["function"],)
    ]
    more = AIMessageChunk(content="", id=message.id, tool_call_chunks=pieces)
    broken = left_broken(more)
    return more if broken is None else more + broken


def _unfit(arguments: str) -> str:
    """Return the shortest tail with which LangChain cannot repair the arguments; "": it cannot as they are."""
    from langchain_core.utils.json import parse_partial_json  # noqa: PLC0415 - loads on first use

    for tail in _TAILS:
        try:
            repaired = parse_partial_json(arguments + tail)
        except (ValueError, RecursionError):
            return tail
        if not isinstance(repaired, dict):
            return tail
    return ""


class CallIndexer:
    """Gives each piece of a streamed tool call the index of the call it belongs to; each stream needs its own.

    Some servers send no index, or the same one for all calls. Their calls begin with a new id, or with a name.
    """

    def __init__(self) -> None:
        self._begun: list[_BegunCall] = []

    def indexed(self, delta: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the pieces of tool calls in a delta, each with its index.

        Raises:
            ValueError: a piece is not an object.
        """
        calls = _calls_of(delta)
        # A server that sends the older form beside the newer one would make each call twice.
        if not calls and all(one.index == _LEGACY for one in self._begun):
            calls = [{**call, "index": _LEGACY} for call in _legacy_calls_of(delta)]
        return [self._take(_Piece.of(call), position, len(calls)) for position, call in enumerate(calls)]

    def _take(self, piece: _Piece, position: int, count: int) -> dict[str, Any]:
        place = self._find(piece, position if count > 1 else len(self._begun) - 1)
        is_first = place is None
        if place is None:
            place = len(self._begun)
            self._begun.append(_BegunCall(index=piece.index, id=piece.id or _new_id(), is_own_id=piece.id is None))
        return self._begun[place].take(piece, place, is_first=is_first)

    def _find(self, piece: _Piece, beside: int) -> int | None:
        """Return the place of the call that a piece continues; None: it begins one.

        The index decides where a server sends one. It wins over the id, since some servers send a new id per piece.

        Args:
            piece: the piece.
            beside: the position of the piece in its delta if that has several, else the place of the last call.
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
    """One piece of a tool call, as a delta holds it."""

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
class _BegunCall:
    """A tool call whose pieces are still coming."""

    index: object
    id: str
    is_own_id: bool
    name: str = ""
    arguments: str = ""

    def goes_on_with(self, piece: _Piece) -> bool:
        """Whether a piece belongs to this call; if not, it begins another one."""
        has_other_id = piece.id is not None and piece.id != self.id
        if piece.id == self.id or (piece.name is None and (piece.index is not None or not has_other_id)):
            return True
        if has_other_id:
            return self.is_own_id and not self.arguments  # the id comes after the name
        if piece.name != self.name:
            return piece.index is not None and not self.arguments  # the name comes in pieces
        return not self.arguments or not piece.arguments or not are_arguments(self.arguments)

    def take(self, piece: _Piece, place: int, *, is_first: bool) -> dict[str, Any]:
        """Take a piece of this call; return it in the form that LangChain adds up: with its index, nothing repeated."""
        function, arguments = piece.function, piece.arguments
        if not self.arguments and arguments is not None and arguments.strip() in ("", "null"):
            arguments = ""  # "null" in front of the arguments would break their JSON
        if arguments != function.get("arguments"):
            function = {**function, "arguments": arguments}
        if piece.name is not None and piece.name == self.name:
            function = {**function, "name": None}  # LangChain would join the repeated name to itself
        else:
            self.name += piece.name or ""
        self.arguments += arguments or ""
        call = {**piece.call, "index": place, "function": function}
        if is_first or (piece.id is not None and piece.id != self.id):
            call["id"] = self.id if is_first else None  # LangChain joins ids like names
        return call


def _calls_of(message: dict[str, Any]) -> list[Any]:
    calls = message.get("tool_calls")
    if isinstance(calls, dict):
        return [calls]
    if calls and not isinstance(calls, list):
        raise ValueError("the tool calls are not a list")
    return calls or []


def _legacy_calls_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    call = message.get(_LEGACY)
    return [{"type": "function", "function": call}] if call and isinstance(call, dict) else []


def _whole(call: object) -> dict[str, Any]:
    function = _function_of(call)
    assert isinstance(call, dict)  # noqa: S101 - `_function_of` raises over others
    arguments = _as_text(function.get("arguments")) or ""
    arguments = "" if arguments.strip() in ("", "null") else arguments  # a tool without parameters
    function = {**function, "name": function.get("name") or "", "arguments": arguments}
    return {**call, "id": _id_of(call) or _new_id(), "function": function}


def _function_of(call: object) -> dict[str, Any]:
    """Return the part of a call that names the function; some servers put its fields beside the id.

    Raises:
        ValueError: the call is not an object.
    """
    if not isinstance(call, dict):
        raise ValueError("a tool call is not an object")  # noqa: TRY004 - the readers promise a ValueError
    function = call.get("function")
    return (
        function if isinstance(function, dict) else {name: call[name] for name in ("name", "arguments") if name in call}
    )


def _id_of(call: dict[str, Any]) -> str | None:
    id_ = call.get("id")
    return str(id_) if id_ and isinstance(id_, str | int) else None


def _new_id() -> str:
    return f"call_{uuid4().hex[:24]}"


def _as_text(arguments: object) -> str | None:
    if arguments is None or isinstance(arguments, str):
        return arguments
    return json.dumps(arguments, ensure_ascii=False) if arguments != {} else ""


def _parsed(text: str) -> Any:  # noqa: ANN401 - JSON of any shape
    try:
        return json.loads(text, strict=False)  # as LangChain does: models write raw newlines into their strings
    except (ValueError, RecursionError, MemoryError):
        return _NOT_JSON
