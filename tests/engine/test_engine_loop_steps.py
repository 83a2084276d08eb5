"""Whatever a server sends, no step on the private loop takes over 50 ms: all other calls wait for it."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from doors import chunks_of
from loopback import DONE, JSON, MODEL, STREAM, says, served_by, whole
from rehearsing import fresh
from steps import LONGEST_S, bound_s, measured_steps

import llm_executor_nb as llm

MB = 2**20


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.configure(retries=0, timeout=60, deadline=60)
        with served_by(lambda connection: connection.sendall(JSON + whole("warm"))):
            llm.run_llm(MODEL, "warm up")
        yield


def message(**fields):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None, **fields}}
    return json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode()


def with_log_probabilities(tokens):
    one = {"token": " a", "logprob": -0.5, "bytes": [32, 97]}
    probabilities = {"content": [{**one, "top_logprobs": [one] * 20}] * tokens}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a " * tokens}}
    return json.dumps({"id": "1", "model": "m", "choices": [{**choice, "logprobs": probabilities}]}).encode()


def event(**delta):
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return b"data: " + json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode() + b"\n\n"


def call(arguments, index=0, **more):
    return {"index": index, "function": {"arguments": arguments}, **more}


def begun(index=0, arguments=""):
    function = {"name": "save", "arguments": arguments}
    return event(tool_calls=[{"index": index, "id": f"c{index}", "type": "function", "function": function}])


def in_pieces(pieces, piece="word ", begin='{"text":"', end='"}'):
    middle = event(tool_calls=[call(piece)]) * pieces
    return begun(arguments=begin) + middle + event(tool_calls=[call(end)]) + END


END = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n' + DONE
EARLY_END = END.removesuffix(DONE)
MANY = 150_000
NAMES = 60_000
WHOLES = {
    "lists": b"[" + b"[]," * (4 * MB) + b"[]]",
    "lists in a field": b'{"choices": [' + b"[]," * (2 * MB) + b"[]]}",
    "just too few lists to be refused": b'{"x": [' + b"[]," * (MANY - 10) + b"[]]}",
    "names": b"{" + b",".join(b'"%d":1' % n for n in range(NAMES - 10)) + b"}",
    "a long text": message(content="word " * (5 * MB)),
    "a long text with escapes": message(content="\n" * (8 * MB)),
    "a picture": message(
        images=[{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 24 * MB}}]
    ),
    "an unclosed text": b'{"a":"' + b"x" * (16 * MB),
    "many log probabilities": with_log_probabilities(2_000),
    "many parts": message(content=[{"type": "text", "text": "a"}] * 50_000),
    "many blank pictures": message(images=[""] * MANY),
    "deep pictures": message(images=json.loads("[" * 400 + "]" * 400)),
    "many calls": message(
        tool_calls=[{"id": str(n), "function": {"name": "f", "arguments": "[]"}} for n in range(9000)]
    ),
    "long arguments": message(tool_calls=[{"id": "1", "function": {"name": "f", "arguments": '{"a":[' + "[]," * MB}}]),
    "comments": b": x\n" * (4 * MB) + whole("Paris"),
    "blank lines": b"\n" * (8 * MB) + whole("Paris"),
    "events in place of a whole": (event(content="a ") * 10_000) + END,
}
STREAMS = {
    "4,000 pieces of a call": in_pieces(4_000),
    "pieces of a list": in_pieces(4_000, "[[", '{"a":[', ""),
    "a long piece of a call": in_pieces(3, "word " * 40_000),
    "a long piece that closes nothing": in_pieces(3, '{"a":[[[' * 20_000, "", ""),
    "1,000 calls": b"".join(begun(n, "{}") for n in range(1000)) + END,
    "20,000 calls": b"".join(begun(n, "{}") for n in range(20_000)) + END,
    "many calls in one event": event(tool_calls=[call("{}", n, id=str(n)) for n in range(20_000)]) + END,
    "pieces after the end": begun() + EARLY_END + event(tool_calls=[call("a ")]) * 4_000 + END,
    "texts after the end": says("a") + EARLY_END + event(content="a ") * 10_000 + END,
    "texts": event(content="a ") * 10_000 + END,
    "thoughts": b"".join(
        event(reasoning_details=[{"type": "reasoning.text", "index": n, "text": "a"}]) for n in range(5_000)
    )
    + says("a")
    + END,
    "many thoughts in one event": event(reasoning_details=[{"index": n, "id": "a"} for n in range(30_000)]) + END,
    "parts with an index": b"".join(event(content=[{"type": "x", "index": n}]) for n in range(3_000)) + END,
    "speech": event(audio={"data": "A" * 20_000, "transcript": "a"}) * 400 + END,
    "empty lines": says("a") + b"\n" * (2 * MB) + END,
    "comments": says("a") + b": x\n" * (2 * MB) + END,
    "one long event": event(content="word " * (4 * MB)) + END,
    "an event of lists": b"data: [" + b"[]," * (2 * MB) + b"[]]\n\n" + END,
    "an event in many lines": b"data: \n" * (2 * MB) + b"\n" + END,
    "a line of JSON": b'{"object": "chat.completion.chunk", "a": [' + b"[]," * (2 * MB) + b"[]]}\n",
}
ERRORS = {
    "an error of lists": json.dumps({"error": [["a", 1]] * 60_000}).encode(),
    "an error of JSON in texts": json.dumps({"error": {"message": [json.dumps([[]] * 5_000)] * 90}}).encode(),
    "an error of words that begin a list": json.dumps({"detail": ["supported " * 400] * 200}).encode(),
    "an error of backslashes": json.dumps({"detail": ["\\" * 4_000] * 200}).encode(),
    "an error of places": json.dumps({"detail": ["'loc': (" * 500] * 200}).encode(),
    "an error of braces": json.dumps({"error": "{" * MB}).encode(),
    "an error of numbers": json.dumps({"detail": [[n] for n in range(60_000)]}).encode(),
}


def longest(sent, door):
    """Return the steps of the best of up to three tries: a busy machine slows one, an unbounded step slows all."""
    steps = _tried(sent, door)
    for _ in range(2):
        if steps.longest_s < LONGEST_S:
            break
        steps = min(steps, _tried(sent, door), key=lambda one: one.longest_s)
    return steps


def _tried(sent, door):
    llm.reset_health()
    quietly = contextlib.suppress(llm.LLMExecutorError)
    with served_by(lambda connection: connection.sendall(sent)), measured_steps() as steps, quietly:
        door(MODEL, "x")
    return steps


@pytest.mark.parametrize("body", WHOLES.values(), ids=WHOLES)
def test_no_whole_reply_stops_the_loop(body):
    steps = longest(JSON + body, llm.run_llm)
    assert steps.longest_s < bound_s(), steps.longest


@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS)
def test_no_stream_stops_the_loop(body):
    steps = longest(STREAM + body, chunks_of)
    assert steps.longest_s < bound_s(), steps.longest


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS)
def test_no_error_stops_the_loop(body):
    steps = longest(JSON.replace(b"200 OK", b"400 Bad Request") + body, llm.run_llm)
    assert steps.longest_s < bound_s(), steps.longest


@pytest.mark.parametrize("pieces", [500, 4_000])
def test_a_streamed_call_takes_the_time_of_its_pieces(pieces):
    with served_by(lambda connection: connection.sendall(STREAM + in_pieces(pieces))):
        began = time.process_time()
        chunks = chunks_of(MODEL, "x")
        assert time.process_time() - began < 2 + pieces * 0.002
    assert chunks[-1].chunk_position == "last"


def test_a_reply_with_too_many_values_says_so():
    with (
        served_by(lambda connection: connection.sendall(JSON + WHOLES["lists"])),
        pytest.raises(llm.AllRoutesFailedError, match="over 1500000 values"),
    ):
        llm.run_llm(MODEL, "x")


def test_a_stream_with_too_many_values_is_paid_and_not_asked_for_again():
    with (
        served_by(lambda connection: connection.sendall(STREAM + STREAMS["an event of lists"])),
        pytest.raises(llm.AllRoutesFailedError) as caught,
    ):
        chunks_of(MODEL, "x")
    assert {attempt.outcome for attempt in caught.value.attempts} == {"invalid_output"}


def test_the_log_probabilities_of_a_long_answer_are_whole():
    with served_by(lambda connection: connection.sendall(JSON + with_log_probabilities(2_000))):
        reply = llm.run_llm(MODEL, "x")
    assert len(reply.response_metadata["logprobs"]["content"][-1]["top_logprobs"]) == 20


def test_a_large_picture_is_whole():
    with served_by(lambda connection: connection.sendall(JSON + WHOLES["a picture"])):
        reply = llm.run_llm(MODEL, "x")
    assert len(reply.additional_kwargs["images"][0]["image_url"]["url"]) > 24 * MB
