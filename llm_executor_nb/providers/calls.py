"""Tool calls as servers really send them, put into the form that LangChain reads: whole, or in pieces of a stream.

Servers leave out the type, the id, the index or the arguments. Some send the arguments as an object, or use the older
`function_call`. A call that follows OpenAI's documents is not changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from llm_executor_nb.core.verdicts.answers import MOST_PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.messages.tool import ToolCallChunk

_LEGACY: Final = "function_call"
_NOT_JSON: Final = object()
"""Stands for a text that cannot be parsed; None would be the JSON `null`."""
_LONGEST_ARGUMENTS: Final = 2**20
"""Characters of the arguments of all tool calls of an answer: they are parsed several times, each in one step."""
_LONGEST_REPAIRED: Final = 1_000
"""Characters of broken arguments that LangChain may repair; its time grows with their square."""
_BROKEN: Final = "]"
"""Stands for broken arguments: LangChain gives up at the first bracket that fits nowhere."""


def whole_calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tool calls of a whole message, each with a name, arguments as a text, and an id.

    Raises:
        ValueError: a call is not an object, or the arguments are too large.
    """
    calls = [_whole(call) for call in _calls_of(message) or _legacy_calls_of(message)]
    _refuse_too_large(sum(len(call["function"]["arguments"]) for call in calls))
    return calls


def are_arguments(text: str | None) -> bool:
    """Whether the arguments of a tool call are a whole JSON object, or empty: a tool without parameters has none."""
    return not text or (_may_be_object(text) and isinstance(_parsed(text), dict))


def is_misfit(call: dict[str, Any]) -> bool:
    """Whether the arguments of a whole call are JSON but not an object: LangChain would raise."""
    text = call["function"]["arguments"]
    arguments = _NOT_JSON if not text or _may_be_object(text) else _parsed(text)
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


def replaced(arguments: Sequence[str | None]) -> list[str | None] | None:
    """Return arguments with a substitute for each that LangChain would take long to repair; None: there is none."""
    if sum(len(text) for text in arguments if text) <= _LONGEST_REPAIRED:
        return None
    return [text if are_arguments(text) else _BROKEN for text in arguments]


def with_calls(chunk: AIMessageChunk, pieces: Sequence[ToolCallChunk]) -> AIMessageChunk:
    """Give a chunk tool calls, as LangChain reads them from their pieces; return it."""
    from langchain_core.messages import AIMessageChunk  # noqa: PLC0415 - loads on first use

    arguments = [piece["args"] for piece in pieces]
    legible = replaced(arguments) or arguments
    told = [piece.copy() for piece in pieces]
    for piece, text in zip(told, legible, strict=True):
        piece["args"] = text
    read = put_arguments(AIMessageChunk(content="", tool_call_chunks=told), arguments)
    chunk.tool_call_chunks, chunk.tool_calls, chunk.invalid_tool_calls = (
        read.tool_call_chunks,
        read.tool_calls,
        read.invalid_tool_calls,
    )
    return chunk


def put_arguments(chunk: AIMessageChunk, arguments: Sequence[str | None]) -> AIMessageChunk:
    """Give the pieces of a chunk's tool calls, and its invalid calls, their own arguments in place of substitutes."""
    invalid = iter(chunk.invalid_tool_calls)
    for piece, text in zip(chunk.tool_call_chunks, arguments, strict=True):
        if piece["args"] == _BROKEN:
            piece["args"] = next(one for one in invalid if one["args"] == _BROKEN)["args"] = text
    return chunk


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
    """Return a tail with which LangChain cannot repair the arguments: closing brackets that fit nowhere."""
    opening = min("[{", key=arguments.count)
    closing = {"[": "]", "{": "}"}[opening] * (arguments.count(opening) + 1)
    return f'{closing}"{closing}'


class JoinedCalls:
    """Adds up the pieces of tool calls as LangChain does, but in linear time."""

    def __init__(self) -> None:
        self._calls: list[_JoinedCall] = []
        self._places: dict[tuple[object, str | None], int] = {}

    def take(self, piece: ToolCallChunk) -> None:
        """Take the next piece: it continues the call of its index, unless that has another id."""
        index, id_ = piece["index"], piece["id"] or None
        place = None if index is None else self._places.get((index, id_), self._places.get((index, None)))
        if place is None or (id_ is not None and self._calls[place].id not in (None, id_)):
            place = len(self._calls)
            self._calls.append(_JoinedCall(index))
            self._places.setdefault((index, None), place)
        call = self._calls[place]
        if id_ is not None:
            call.id, self._places[index, id_] = id_, place
        call.names.append(piece["name"])
        call.arguments.append(piece["args"])

    def pieces(self) -> list[ToolCallChunk]:
        """Return the calls, each as one piece."""
        return [call.piece() for call in self._calls]


@dataclass(slots=True)
class _JoinedCall:
    """A tool call as far as its pieces came."""

    index: Any
    id: str | None = None
    names: list[str | None] = field(default_factory=list)
    arguments: list[str | None] = field(default_factory=list)

    def piece(self) -> ToolCallChunk:
        from langchain_core.messages.tool import tool_call_chunk  # noqa: PLC0415 - loads on first use

        return tool_call_chunk(name=_join(self.names), args=_join(self.arguments), id=self.id, index=self.index)


def _join(texts: list[str | None]) -> str | None:
    there = [text for text in texts if text is not None]
    return "".join(there) if there else None


class CallIndexer:
    """Gives each piece of a streamed tool call the index of the call it belongs to; each stream needs its own.

    Some servers send no index, or the same one for all calls. Their calls begin with a new id, or with a name.
    """

    def __init__(self) -> None:
        self._begun: list[_BegunCall] = []
        self._by_id: dict[str, int] = {}
        self._by_index: dict[object, int] = {}
        self._length = 0

    def indexed(self, delta: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the pieces of tool calls in a delta, each with its index.

        Raises:
            ValueError: a piece is not an object, or the calls are too many or too large.
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
            place = self._begin(piece)
        self._length += len(piece.arguments or "")
        _refuse_too_large(self._length)
        return self._begun[place].take(piece, place, is_first=is_first)

    def _begin(self, piece: _Piece) -> int:
        """Begin a call; return its place."""
        place = len(self._begun)
        if place >= MOST_PARTS:
            raise ValueError(f"the model made over {MOST_PARTS} tool calls")
        call = _BegunCall(index=piece.index, id=piece.id or _new_id(), is_own_id=piece.id is None)
        self._begun.append(call)
        self._by_id.setdefault(call.id, place)
        self._by_index[call.index] = place
        return place

    def _find(self, piece: _Piece, beside: int) -> int | None:
        """Return the place of the call that a piece continues; None: it begins one.

        The index decides where a server sends one. It wins over the id, since some servers send a new id per piece.

        Args:
            piece: the piece.
            beside: the position of the piece in its delta if that has several, else the place of the last call.
        """
        by_id = self._by_id.get(piece.id) if piece.id is not None else None
        if piece.index is None:
            place = by_id
            if place is None and piece.name is None:
                place = min(beside, len(self._begun) - 1)
            elif place is None:
                place = beside if beside < len(self._begun) else None
        else:
            place = self._by_index.get(piece.index, by_id if piece.name is None else None)
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
        name, index = function.get("name"), call.get("index")
        return cls(
            call=call,
            function=function,
            index=index if isinstance(index, int | float | str) else None,
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
    arguments: list[str] = field(default_factory=list)

    def goes_on_with(self, piece: _Piece) -> bool:
        """Whether a piece belongs to this call; if not, it begins another one."""
        has_other_id = piece.id is not None and piece.id != self.id
        if piece.id == self.id or (piece.name is None and (piece.index is not None or not has_other_id)):
            return True
        if has_other_id:
            return self.is_own_id and not self.arguments  # the id comes after the name
        if piece.name != self.name:
            return piece.index is not None and not self.arguments  # the name comes in pieces
        return not self.arguments or not piece.arguments or not self._is_whole()

    def _is_whole(self) -> bool:
        end = next((text for text in map(str.rstrip, reversed(self.arguments)) if text), "")
        if not end.endswith("}"):  # to parse all arguments for each piece would be quadratic
            return False
        self.arguments = ["".join(self.arguments)]
        return are_arguments(self.arguments[0])

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
        if arguments:
            self.arguments.append(arguments)
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


def _refuse_too_large(length: int) -> None:
    if length > _LONGEST_ARGUMENTS:
        raise ValueError(f"the arguments of the model's tool calls are over {_LONGEST_ARGUMENTS} characters")


def _may_be_object(text: str) -> bool:
    """Whether a text begins as a JSON object does; if not, there is no need to parse it."""
    return text.lstrip().startswith("{")


def _parsed(text: str) -> Any:  # noqa: ANN401 - JSON of any shape
    try:
        return json.loads(text, strict=False)  # as LangChain does: models write raw newlines into their strings
    except (ValueError, RecursionError, MemoryError):
        return _NOT_JSON
