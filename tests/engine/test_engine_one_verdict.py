"""One verdict for whole replies, streams, lines of JSON and objects: it is passed on what the caller gets."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from loopback import MODEL, WIRES
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.chain.request import make_request
from llm_executor_nb.core.records import Reply
from llm_executor_nb.core.threads import OwnLoop
from llm_executor_nb.engine.http import HttpSender
from llm_executor_nb.engine.model_sender import ModelSender
from llm_executor_nb.engine.stream import StreamBuffer
from llm_executor_nb.providers.events import Events, Silence
from llm_executor_nb.providers.faults import Watch
from llm_executor_nb.providers.model_object import ChatModelObject

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8, "cost": 0.5}
WORDS = st.sampled_from(["Hello", " there", "\n", " ", "", "é🥐", "{}"])
PARTS = st.one_of(
    WORDS,
    st.builds(lambda text: {"type": "text", "text": text}, WORDS),
    st.builds(lambda text: {"type": "output_text", "text": text, "annotations": []}, WORDS),
    st.builds(lambda text: {"type": "thinking", "thinking": text, "text": text}, WORDS),
    st.just({"type": "reasoning", "text": "Hm"}),
    st.just({"type": "refusal", "refusal": "I cannot"}),
    st.just({"type": "text"}),
    st.just({"type": "text", "text": None}),
    st.just(PICTURE),
)
CONTENTS = st.one_of(st.none(), WORDS, st.lists(PARTS, max_size=3))
ARGUMENTS = st.sampled_from(
    [
        '{"a": 1}',
        '{"a": "b c"}',
        "{}",
        "",
        None,
        {"a": [1]},
        {},
        '{"a": "b',
        '{"a": 1',
        '{"a": "b\\',
        "[1]",
        "nope",
        "null",
    ]
)
CALLS = st.lists(st.builds(dict, name=st.sampled_from(["look", "add"]), arguments=ARGUMENTS), max_size=3)
IMAGES = st.lists(
    st.sampled_from([PICTURE, {"image_url": {"url": "https://x/y.png"}}, {"image_url": {"url": ""}}]), max_size=2
)
AUDIO = st.one_of(
    st.none(), st.just({}), st.just({"id": "a1", "data": "UklGRg==", "transcript": "Hello", "expires_at": 9})
)
REASONS = st.sampled_from(
    [
        "stop",
        "tool_calls",
        "length",
        "max_tokens",
        "MAX_TOKENS",
        "content_filter",
        "SAFETY",
        "error",
        "end_turn",
        "STOP",
    ]
)
MESSAGES = st.fixed_dictionaries(
    {"content": CONTENTS, "calls": CALLS, "images": IMAGES, "audio": AUDIO},
    optional={"reasoning": st.just("Let me think"), "refusal": st.sampled_from(["", "I cannot."])},
)
FORMS = st.fixed_dictionaries(
    {
        "index": st.sampled_from(["number", "text", "missing", "null", "all zero"]),
        "has_type": st.booleans(),
        "cuts": st.sampled_from([1, 2, 5]),
        "is_old": st.booleans(),
        "tool_calls_at_once": st.booleans(),
    }
)
DOCUMENTED = {"index": "number", "has_type": True, "cuts": 1, "is_old": False, "tool_calls_at_once": False}
many = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
backends = pytest.mark.parametrize("backend", ["openrouter", "huggingface"])


@pytest.fixture(scope="module", autouse=True)
def _chain():
    with fresh(), llm.rehearse():
        yield


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner.run


class Wire:
    """What a transport would bring: a whole reply, or the pieces of a stream."""

    def __init__(self, came):
        self._came = came
        self._pieces = iter([came])

    async def post(self, *_, **__):
        return Reply(status=200, headers={}, body=self._came)

    @asynccontextmanager
    async def stream(self, *_, **__):
        yield Events(self, head=b"", headers={}, body_cap=2**25, silence=Silence(None), watch=Watch(status=200))

    async def readany(self):
        return next(self._pieces, b"")


async def exchanged(came, backend, *, is_stream, takes_text=False):
    ask = replace(make_request(MODEL, "x"), takes_text=takes_text)
    route = next(route for route in ask.chain.routes() if route.backend == backend)
    exchange, chunks = HttpSender(Wire(came), WIRES), []

    async def on_chunk(chunk):
        chunks.append(chunk)

    if is_stream:
        return await exchange.streamed(ask, route, timeout_s=None, until=None, buffer=StreamBuffer(on_chunk)), chunks
    return await exchange.whole(ask, route, timeout_s=None), chunks


# --- the same message as a whole and as a stream --------------------------------------------------------------------


def message_of(told, form):
    message = {name: value for name, value in told.items() if name != "calls"}
    calls = [{"id": f"call-{n}", "function": call} for n, call in enumerate(told["calls"])]
    if form["is_old"] and len(calls) == 1:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = [{**call, "type": "function"} if form["has_type"] else call for call in calls]
    return message


def deltas_of(message, form):
    yield {"role": "assistant", "content": ""}
    for name in ("reasoning", "refusal"):
        if name in message:
            yield {name: message[name]}
    yield from _content_deltas(message["content"], form)
    calls = [_indexed(call, n, form) for n, call in enumerate(message.get("tool_calls", []))]
    if form["tool_calls_at_once"]:
        yield {"tool_calls": calls}
    else:
        yield from ({"tool_calls": [piece]} for call in calls for piece in _pieces_of(call, form))
    if "function_call" in message:
        yield from ({"function_call": piece} for piece in _function_pieces(message["function_call"], form))
    yield from ({"images": [image]} for image in message["images"])
    yield from _audio_deltas(message["audio"])


def _content_deltas(content, form):
    if isinstance(content, str):
        yield from ({"content": piece} for piece in _cut(content, form))
    elif content:
        yield from ({"content": [part]} for part in content)


def _audio_deltas(audio):
    if audio:
        yield {"audio": {**audio, "data": audio["data"][:4], "transcript": ""}}
        yield {"audio": {"id": audio["id"], "data": audio["data"][4:], "expires_at": 99}}
        yield {"audio": {"transcript": audio["transcript"]}}


def _indexed(call, number, form):
    told = {"number": {"index": number}, "text": {"index": f"call {number}"}, "null": {"index": None}}
    return {**told.get(form["index"], {"index": 0} if form["index"] == "all zero" else {}), **call}


def _pieces_of(call, form):
    first, *rest = _function_pieces(call["function"], form)
    yield {**call, "function": first}
    index = {name: call[name] for name in ("index",) if name in call}
    yield from ({**index, "function": piece} for piece in rest)


def _function_pieces(function, form):
    arguments = function["arguments"]
    if not isinstance(arguments, str):
        yield function
        return
    first, *rest = _cut(arguments, form)
    yield {**function, "arguments": first}
    yield from ({"arguments": piece} for piece in rest)


def _cut(text, form):
    cuts = form["cuts"]
    size = len(text) if text == "null" else max(1, len(text) // cuts)
    return [text[at : at + size] for at in range(0, len(text), size or 1)] or [""]


def body_of(message, reason):
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", **message}}
    return json.dumps({"id": "gen-1", "model": "m", "choices": [choice], "usage": USAGE}).encode()


def chunks_of(message, form, reason):
    choices = [{"delta": delta, "finish_reason": None} for delta in deltas_of(message, form)]
    choices.append({"delta": {}, "finish_reason": reason})
    return [{"id": "gen-1", "model": "m", "choices": [{"index": 0, **choice}]} for choice in choices] + [
        {"id": "gen-1", "model": "m", "choices": [], "usage": USAGE}
    ]


def as_events(chunks):
    return b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


def as_lines(chunks):
    return b"".join(json.dumps(chunk).encode() + b"\n" for chunk in chunks)


def known(found):
    """Return what a caller sees of it."""
    verdict, message = found.verdict, found.message
    facts = (verdict.outcome, verdict.finish_reason, verdict.output_tokens, verdict.cost_usd)
    if message is None:
        return (facts,)
    calls = [(call["name"], call["args"]) for call in message.tool_calls]
    pictures = [{k: v for k, v in one.items() if k != "index"} for one in message.additional_kwargs.get("images", [])]
    parts = [] if isinstance(message.content, str) else message.content
    seen = [part for part in parts if isinstance(part, dict) and part.get("type") == "image_url"]
    audio = message.additional_kwargs.get("audio") or {}
    return (facts, message.text, calls, len(message.invalid_tool_calls), pictures, seen, audio)


def assert_is_something(found):
    if found.message is not None:
        more = found.message.additional_kwargs
        has_parts = any(isinstance(part, dict) and "image_url" in part for part in found.message.content)
        assert (
            found.message.text.strip()
            or any(call["name"] for call in found.message.tool_calls)
            or more.get("images")
            or more.get("audio")
            or has_parts
        )


def calls_with(arguments, content=None):
    """Return a message that makes one call with arguments that are JSON and no object, or no JSON."""
    return {"content": content, "calls": [{"name": "look", "arguments": arguments}], "images": [], "audio": None}


@backends
@many
@given(told=MESSAGES, form=FORMS, reason=REASONS)
@example(told=calls_with("[1]"), form=DOCUMENTED, reason="stop")
@example(told=calls_with('"x"'), form=DOCUMENTED, reason="tool_calls")
@example(told=calls_with("1", content="Hello"), form=DOCUMENTED, reason="stop")
@example(told=calls_with("nope"), form={**DOCUMENTED, "is_old": True}, reason="stop")
def test_a_stream_and_a_whole_reply_of_the_same_message_have_one_verdict(loop, backend, told, form, reason):
    told = {**told, "images": list({json.dumps(one): one for one in told["images"]}.values())}
    message = message_of(told, form)
    chunks = chunks_of(message, form, reason)
    whole, _ = loop(exchanged(body_of(message, reason), backend, is_stream=False))
    streamed, handed_on = loop(exchanged(as_events(chunks), backend, is_stream=True))
    assert_is_something(whole)
    assert known(streamed) == known(whole)
    unasked, _ = loop(exchanged(as_events(chunks), backend, is_stream=False))
    lines, _ = loop(exchanged(as_lines(chunks), backend, is_stream=False))
    assert known(unasked) == known(lines) == known(whole)
    assert unasked.message is None or type(unasked.message) is AIMessage
    if whole.message is not None:
        summed = handed_on[0]
        for chunk in handed_on[1:]:
            summed += chunk
        assert known(streamed)[1:4] == (summed.text, known(whole)[2], known(whole)[3])


# --- rows, which take the text alone ----------------------------------------------------------------------------------


ODD = st.sampled_from(
    [
        {},
        {"name": 5},
        {"id": [7]},
        {"function_call": "look"},
        {"tool_calls": []},
        {"tool_calls": "look"},
        {"refusal": None, "reasoning": None, "annotations": [], "audio": None},
        {"annotations": [{"type": "file"}] * 1001},
        {"reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]},
        {"role": None},
    ]
)


@backends
@settings(many, max_examples=40)
@given(told=MESSAGES, odd=ODD, reason=REASONS)
@example(told={"content": "Hello", "calls": [], "images": [], "audio": None}, odd={"name": 5}, reason="stop")
def test_a_row_has_the_verdict_and_the_text_that_a_call_by_hand_would_have(loop, backend, told, odd, reason):
    body = body_of({**message_of(told, DOCUMENTED), **odd}, reason)
    by_hand, _ = loop(exchanged(body, backend, is_stream=False))
    row, _ = loop(exchanged(body, backend, is_stream=False, takes_text=True))
    assert row.verdict == by_hand.verdict
    assert known(row) == known(by_hand)


@backends
def test_of_a_row_that_is_answered_with_a_text_langchain_reads_nothing(loop, backend):
    body = body_of({"content": "Hello", "refusal": None, "tool_calls": [], "reasoning": None}, "stop")
    row, _ = loop(exchanged(body, backend, is_stream=False, takes_text=True))
    assert row.message == AIMessage("Hello")


class Says:
    """A chat model object that says one message."""

    def __init__(self, message):
        self._message = message

    async def ainvoke(self, *_, **__):
        return self._message


@many
@given(told=MESSAGES, reason=REASONS)
def test_an_object_is_judged_as_a_server_that_says_the_same(loop, told, reason):
    message = message_of(told, {"is_old": False, "has_type": True})
    whole, _ = loop(exchanged(body_of(message, "stop"), "openrouter", is_stream=False))
    if whole.message is None:
        return
    said = whole.message.model_copy(update={"response_metadata": {"finish_reason": reason}})
    ask = make_request(MODEL, "x")
    route = next(iter(ask.chain.routes()))
    found = loop(ModelSender(ChatModelObject(Says(said), OwnLoop())).whole(ask, route, timeout_s=None))
    expected, _ = loop(exchanged(body_of(message, reason), "openrouter", is_stream=False))
    assert found.verdict.outcome is expected.verdict.outcome
