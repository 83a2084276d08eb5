"""Our streams are chunk for chunk what LangChain's own `astream` gives for the same bytes, but for the allowed."""

from __future__ import annotations

import asyncio
import json

import pytest
from test_providers_contract import (
    DETAILS,
    KEY,
    LOGPROBS,
    MODEL,
    Loopback,
    _plain,
    chat_hugging_face,
    chat_openai,
    hugging_face,
    keyless,
    openrouter,
    without,
)

from llm_executor_nb.core.secret import Secret
from llm_executor_nb.providers.langchain import Ending, as_last_chunk
from llm_executor_nb.providers.payload import make_body, make_payload
from llm_executor_nb.providers.transport import Transport

__all__ = ["keyless"]  # a fixture that holds here too
WIRES = [openrouter, hugging_face]


def event(delta, *, finish=None, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "gen-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "google/gemma-3-27b-it-answered",
        "choices": [{**choice, **more.pop("choice", {})}],
        **more,
    }


def tool(index, **function):
    call = {"index": index, "type": "function", "function": function}
    return {"tool_calls": [{**call, "id": f"call_{index}"} if "name" in function else call]}


ROLE = event({"role": "assistant", "content": ""})
TEXT = [ROLE, event({"content": "Pa"}), event({"content": "ris."})]
STOP = event({}, finish="stop")
USAGE = {**event({}, usage=DETAILS), "choices": []}
TOOLS = [
    ROLE,
    event(tool(0, name="add", arguments="")),
    event(tool(0, arguments='{"a": ')),
    event(tool(0, arguments="1}")),
    event(tool(1, name="sub", arguments="{}")),
]

CASES = {
    "usage last": [*TEXT, STOP, USAGE],
    "usage on the finish chunk": [*TEXT, {**STOP, "usage": DETAILS}],
    "no usage": [*TEXT, STOP],
    "length": [*TEXT, event({}, finish="length")],
    "text on the finish chunk": [*TEXT, event({"content": " Yes."}, finish="stop"), USAGE],
    "tool calls": [*TOOLS, event({}, finish="tool_calls"), USAGE],
    "reasoning": [ROLE, event({"reasoning": "Hm", "reasoning_content": "Hm"}), *TEXT[1:], STOP],
    "refusal": [ROLE, event({"refusal": "I cannot."}), STOP],
    "logprobs": [ROLE, event({"content": "Hi"}, choice={"logprobs": LOGPROBS}), STOP],
    "fingerprint": [*TEXT, {**STOP, "system_fingerprint": "fp"}],
}
ONLY_OPENAI = {
    "null choices": [*TEXT, {**ROLE, "choices": None}, STOP],
    "null delta": [*TEXT, event(None), STOP],
    "service tier": [*TEXT, {**STOP, "service_tier": "flex", "usage": DETAILS}],
}
"""What ChatHuggingFace's stream breaks on, or the hub's classes do not know."""


def bytes_of(events, end="\n", done="data: [DONE]"):
    return "".join(f"data: {json.dumps(piece)}{end}{end}" for piece in events).encode() + f"{done}{end}{end}".encode()


async def by_our_path(backend):
    transport = Transport()
    body = make_body(make_payload("Hello", {}), model=MODEL, backend=backend.name, stream=True)
    read = backend.chunk_reader(MODEL)
    async with transport.stream(backend.url, body=body, secret=Secret(KEY), timeout_s=5) as came:
        chunks = [read(json.loads(piece.data)) async for piece in came]
    assert came.fault is None
    await transport.close()
    return [chunk for chunk in chunks if chunk is not None]


async def streamed(model):
    return [chunk async for chunk in model.astream("Hello")]


def compare(wire, data, theirs_of):
    async def story():
        async with Loopback(data) as server:
            ours = await by_our_path(wire(f"{server.root}/v1"))
            return ours, await theirs_of(server.root)

    ours, theirs = asyncio.run(story())
    assert len({chunk.id for chunk in ours}) == 1
    assert all(chunk.id.startswith(("lc_run--", "run--")) for chunk in [*ours, *theirs])
    ours, theirs = ([without(chunk.model_dump(), "id") for chunk in chunks] for chunks in (ours, theirs))
    if len(theirs) == len(ours) + 1:
        closing = theirs.pop()  # LangChain's core adds an empty last chunk to any stream
        assert (closing["content"], closing.get("chunk_position", "last")) == ("", "last")
    return ours, theirs


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("case", [*CASES, *ONLY_OPENAI])
def test_an_openrouter_stream_is_what_chat_openai_makes_of_it(case, end):
    ours, theirs = compare(
        openrouter, bytes_of({**CASES, **ONLY_OPENAI}[case], end), lambda root: chat_openai(root, streamed)
    )
    assert ours == theirs


def test_an_openrouter_stream_without_done_is_what_chat_openai_makes_of_it():
    ours, theirs = compare(
        openrouter, bytes_of(CASES["usage last"], done=": bye"), lambda root: chat_openai(root, streamed)
    )
    assert ours == theirs


@pytest.mark.parametrize("case", CASES)
def test_a_hugging_face_stream_is_what_chat_hugging_face_makes_of_it_completed(case, monkeypatch):
    ours, theirs = compare(
        hugging_face, bytes_of(CASES[case]), lambda root: chat_hugging_face(root, monkeypatch, streamed)
    )
    allowed = ("model_name", "model_provider", "id", "system_fingerprint", "logprobs")
    details = ("input_token_details", "output_token_details")
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        our_meta, their_meta = our.pop("response_metadata"), their.pop("response_metadata")
        assert without(our_meta, *allowed) == without(_plain(their_meta), *allowed)
        assert our_meta["model_provider"] == "huggingface"
        assert our_meta.get("logprobs") == (LOGPROBS if "logprobs" in their_meta else None)  # theirs lost the bytes
        our_usage, their_usage = our.pop("usage_metadata"), their.pop("usage_metadata")
        assert (our_usage and without(our_usage, *details)) == their_usage
        assert _plain(our) == _plain(their)


def read_all(wire, events):
    read = wire("https://router.invalid").chunk_reader(MODEL)
    return [chunk for chunk in map(read, events) if chunk is not None]


def merged(chunks):
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


def ended(wire, events):
    """Return the chunks as they are handed on, the last one with the ending."""
    ending = Ending()
    passed = [chunk for chunk in map(ending.take, read_all(wire, events)) if chunk is not None]
    return [*passed, ending.last()]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("case", ["usage last", "usage on the finish chunk", "text on the finish chunk"])
def test_the_chunks_merge_to_a_message_with_usage_finish_reason_and_model(wire, case):
    for chunks in (read_all(wire, CASES[case]), ended(wire, CASES[case])):
        whole = merged(chunks)
        assert whole.content.startswith("Paris.")
        assert whole.usage_metadata["total_tokens"] == 29
        assert whole.usage_metadata["input_token_details"] == {"cache_read": 4}
        assert whole.usage_metadata["output_token_details"] == {"reasoning": 3}
        assert whole.response_metadata["finish_reason"] == "stop"
        assert whole.response_metadata["model_name"] == "google/gemma-3-27b-it-answered"
        assert whole.response_metadata["model_provider"] in {"openai", "huggingface"}


@pytest.mark.parametrize("wire", WIRES)
def test_the_last_chunk_alone_carries_usage_and_finish_reason(wire):
    *shown, last = ended(wire, CASES["usage last"])
    assert "".join(chunk.content for chunk in shown) == "Paris."
    assert all(chunk.usage_metadata is None and "finish_reason" not in chunk.response_metadata for chunk in shown)
    assert (last.usage_metadata["total_tokens"], last.response_metadata["finish_reason"]) == (29, "stop")
    assert last.chunk_position == "last"
    assert last.id == shown[0].id


@pytest.mark.parametrize("wire", WIRES)
def test_usage_and_finish_reason_that_a_server_repeats_count_once(wire):
    events = [
        *({**piece, "usage": {**DETAILS, "completion_tokens": n}} for n, piece in enumerate(TEXT)),
        {**STOP, "usage": DETAILS},
        {**STOP, "usage": DETAILS},
    ]
    whole = merged(ended(wire, events))
    assert (whole.usage_metadata["output_tokens"], whole.usage_metadata["total_tokens"]) == (9, 29)
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.response_metadata["model_name"] == "google/gemma-3-27b-it-answered"


@pytest.mark.parametrize("wire", WIRES)
def test_streamed_tool_calls_merge_to_whole_ones(wire):
    whole = merged(ended(wire, CASES["tool calls"]))
    assert [(call["name"], call["args"], call["id"]) for call in whole.tool_calls] == [
        ("add", {"a": 1}, "call_0"),
        ("sub", {}, "call_1"),
    ]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    "ending", [{**STOP, "usage": 7}, event(None, finish="stop"), event({"role": "user"}, finish="stop")]
)
def test_what_servers_get_wrong_does_not_break_a_stream(wire, ending):
    odd = [{"choices": None}, event(None), {}, event({"content": "no"}, choice={"index": 1})]
    whole = merged(ended(wire, [*odd, *TEXT, *odd, ending]))
    assert whole.content == "Paris."
    assert whole.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    "broken",
    [{"choices": [1]}, {"choices": 7}, event("text"), event({"content": 7}), event({"tool_calls": [7]})],
)
def test_a_piece_that_cannot_be_read_is_a_value_error(wire, broken):
    with pytest.raises(ValueError, match="LangChain cannot read this piece") as caught:
        wire("https://router.invalid").chunk_reader(MODEL)(broken)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("wire", WIRES)
def test_an_event_is_read_without_changing_it_and_every_stream_has_its_own_id(wire):
    before = json.dumps(CASES["tool calls"])
    first, second = read_all(wire, CASES["tool calls"]), read_all(wire, CASES["tool calls"])
    assert json.dumps(CASES["tool calls"]) == before
    assert first[0].id != second[0].id


def test_a_stream_is_asked_for_with_its_usage():
    async def story():
        async with Loopback(bytes_of(CASES["no usage"])) as server:
            await by_our_path(hugging_face(f"{server.root}/v1"))
        return server.requests

    ((_, body),) = asyncio.run(story())
    assert body == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("wire", WIRES)
def test_a_whole_answer_makes_a_stream_of_one_chunk(wire):
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    choice = {"index": 0, "message": {"content": "Hi", "tool_calls": [call]}, "finish_reason": "stop"}
    message = wire("https://router.invalid").message({"choices": [choice], "usage": DETAILS, "model": "m"}, MODEL)
    chunk = as_last_chunk(message)
    assert (chunk.content, chunk.usage_metadata, chunk.id) == ("Hi", message.usage_metadata, message.id)
    assert chunk.response_metadata == message.response_metadata
    assert (chunk.tool_calls, chunk.chunk_position) == (message.tool_calls, "last")
