"""The pieces of streamed tool calls find their calls, whatever a server tells of index, id and name."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessageChunk

from llm_executor_nb.providers.sse import Shape, shape_of
from llm_executor_nb.providers.tidy import tidy_message
from llm_executor_nb.providers.wires import make_wire

LOOK, ADD = ("look", {"q": "x"}), ("add", {"n": 1})


def piece(arguments=None, name=None, **more):
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**more, "function": function}


def calls_of(*deltas):
    read, whole = make_wire("mine", "http://127.0.0.1").chunk_reader("m"), AIMessageChunk(content="")
    for delta in deltas:
        whole += read({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    return whole.tool_calls


def told(*deltas):
    return [(call["name"], call["args"]) for call in calls_of(*({"tool_calls": delta} for delta in deltas))]


WHOLE_LOOK, WHOLE_ADD = piece('{"q": "x"}', "look"), piece('{"n": 1}', "add")
STREAMS = {
    "whole calls, one a delta, with ids": [[{**WHOLE_LOOK, "id": "a"}], [{**WHOLE_ADD, "id": "b"}]],
    "whole calls, one a delta, without ids": [[WHOLE_LOOK], [WHOLE_ADD]],
    "several in one delta": [[WHOLE_LOOK, WHOLE_ADD]],
    "index null": [[{**WHOLE_LOOK, "index": None, "id": "a"}], [{**WHOLE_ADD, "index": None, "id": "b"}]],
    "all of index 0, with ids": [[{**WHOLE_LOOK, "index": 0, "id": "a"}], [{**WHOLE_ADD, "index": 0, "id": "b"}]],
    "all of index 0, without ids": [[{**WHOLE_LOOK, "index": 0}], [{**WHOLE_ADD, "index": 0}]],
    "an index that is a text": [
        [piece("", "look", index="0", id="a")],
        [piece('{"q": ', index="0")],
        [piece('"x"}', index="0")],
        [piece('{"n": 1}', "add", index="1", id="b")],
    ],
    "an id in the first piece only": [
        [piece('{"q": ', "look", id="a")],
        [piece('"x"}')],
        [piece("", "add", id="b")],
        [piece('{"n": 1}')],
    ],
    "the id in every piece, pieces mixed": [
        [piece('{"q": ', "look", id="a")],
        [piece('{"n": ', "add", id="b")],
        [piece('"x"}', id="a")],
        [piece("1}", id="b")],
    ],
    "pieces side by side": [
        [piece("", "look", id="a"), piece("", "add", id="b")],
        [piece('{"q": "x"}'), piece('{"n": 1}')],
    ],
    "the name in every piece": [
        [piece("", "look", index=0, id="a")],
        [piece('{"q": ', "look", index=0, id="a")],
        [piece('"x"}', "look", index=0)],
        [{**WHOLE_ADD, "index": 1, "id": "b"}],
    ],
    "another id in every piece": [
        [piece('{"q": ', "look", index=0, id="a")],
        [piece('"x"}', index=0, id="a2")],
        [{**WHOLE_ADD, "index": 1, "id": "b"}],
    ],
    "arguments as objects": [
        [piece({"q": "x"}, "look", index=0, id="a")],
        [piece({"n": 1}, "add", index=1, id="b")],
    ],
    "fields beside the id": [
        [{"id": "a", "name": "look", "arguments": '{"q": "x"}'}],
        [{"id": "b", "name": "add", "arguments": {"n": 1}}],
    ],
    "one object in place of a list": [{**WHOLE_LOOK, "id": "a"}, {**WHOLE_ADD, "id": "b"}],
    "ids that are numbers": [[{**WHOLE_LOOK, "id": 1}], [{**WHOLE_ADD, "id": 2}]],
}


@pytest.mark.parametrize("deltas", STREAMS.values(), ids=STREAMS)
def test_pieces_add_up_to_the_calls_they_belong_to(deltas):
    assert told(*deltas) == [LOOK, ADD]


@pytest.mark.parametrize("deltas", STREAMS.values(), ids=STREAMS)
def test_every_call_has_an_id_of_its_own(deltas):
    first, second = calls_of(*({"tool_calls": delta} for delta in deltas))
    assert len({first["id"], second["id"], None, ""}) == 4


@pytest.mark.parametrize("arguments", [None, "", {}, "null"])
def test_a_tool_without_parameters_is_called_without_arguments(arguments):
    function = {"name": "look", "arguments": arguments}
    assert told([{"index": 0, "id": "a", "function": function}]) == [("look", {})]
    [call] = tidy_message({"tool_calls": [{"function": function}]})["tool_calls"]
    assert call["function"] == {"name": "look", "arguments": ""}


def test_the_older_form_comes_in_pieces_too_and_not_twice():
    pieces = [{"name": "look", "arguments": ""}, {"arguments": '{"q": '}, {"arguments": '"x"}'}]
    [call] = calls_of(*({"function_call": one} for one in pieces))
    assert (call["name"], call["args"]) == LOOK
    both = {"function_call": {"name": "look", "arguments": '{"q": "x"}'}, "tool_calls": [{**WHOLE_LOOK, "id": "a"}]}
    assert [call["id"] for call in calls_of(both, {"function_call": {"arguments": ""}})] == ["a"]


CHUNK = b'{"choices": [{"delta": {"content": "x"}}]}\n'


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (b'data: {"a": 1}\n\n', Shape.EVENTS),
        (b"event: error\ndata: {}\n\n", Shape.EVENTS),
        (b": ping\n\ndata: {}\n\n", Shape.EVENTS),
        (b"\xef\xbb\xbfdata:{}\n\n", Shape.EVENTS),
        (b"id: 1\nretry: 3\ndata: {}\n\n", Shape.EVENTS),
        (b": ping\r\n\r\n" * 3, Shape.EVENTS),
        (CHUNK + CHUNK, Shape.LINES),
        (b": ping\n\n" + CHUNK, Shape.LINES),
        (CHUNK.strip(), Shape.LINES),
        (b'{"object": "chat.completion.chunk", "choices": []}\n' + CHUNK, Shape.LINES),
        (b'{\n "choices": [{"delta": {}}]}', Shape.WHOLE),
        (b'{"choices": [{"message": {"content": "\\"delta\\""}}]}', Shape.WHOLE),
        (b'  \n{"choices": []}', Shape.WHOLE),
        (b"<html>data: x</html>", Shape.WHOLE),
        (b"database error", Shape.WHOLE),
        (b"", Shape.WHOLE),
    ],
)
def test_a_body_is_what_its_bytes_are_however_few_came_first(body, shape):
    assert shape_of(body, is_all=True) is shape
    seen = {shape_of(body[:end], is_all=False) for end in range(len(body) + 1)}
    assert seen <= {shape, None}
