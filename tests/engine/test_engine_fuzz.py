"""Whatever bytes come back, whole or streamed, what comes of them is an outcome and never another exception."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from contextlib import asynccontextmanager

import pytest
from doors import DOORS, STREAMS
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from loopback import DONE, JSON, MODEL, STREAM, WIRES, says, served_by, whole
from rehearsing import fresh, words

import llm_executor_nb as llm
from llm_executor_nb.chain.request import make_request
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Reply
from llm_executor_nb.core.verdicts.rate_headers import LONGEST_S
from llm_executor_nb.engine.http import HttpSender
from llm_executor_nb.engine.stream import StreamBuffer
from llm_executor_nb.providers.events import Events, Silence
from llm_executor_nb.providers.faults import Watch

FIELDS = (
    "id object model choices index message delta role content refusal reasoning tool_calls function_call function name",
    "arguments type text finish_reason logprobs usage prompt_tokens completion_tokens total_tokens cost error code raw",
    "metadata error_type limit_source headers availability retryable retry_after estimated_time detail annotations",
    "prompt_tokens_details completion_tokens_details cached_tokens parsed provider system_fingerprint",
)
NAMES = [name for line in FIELDS for name in line.split()]
WORDS = [
    "",
    " \n",
    "hello",
    "stop",
    "length",
    "error",
    "content_filter",
    "tool_calls",
    "assistant",
    "tool",
    "429",
    "NaN",
]
WORDS += ["\x00", "\ud800", "rate_limit_exceeded", "model_not_found", "openrouter_credits", "{}", "2030-01-01", "é🥐"]
NUMBERS = [0, -1, 200, 429, 503, 10**30, 10**400, -(10**400), 1e308, -1e308, math.nan, math.inf, -math.inf, 0.5, 2**63]
SCALARS = st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(WORDS), st.text(max_size=8))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=3)), inner)
    ),
    max_leaves=12,
)
CALL = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8, "cost": 0.1}
MESSAGE = {"role": "assistant", "content": "Paris", "refusal": None, "tool_calls": [CALL]}
HEAD = {"id": "gen-1", "object": "chat.completion", "created": 1, "model": "m", "provider": "P", "usage": USAGE}
GOOD = {**HEAD, "choices": [{"index": 0, "finish_reason": "stop", "message": MESSAGE, "logprobs": {"content": []}}]}
CHUNK = {**HEAD, "choices": [{"index": 0, "finish_reason": None, "delta": MESSAGE, "logprobs": None}]}
REFUSAL = {
    "error": {
        "code": 429,
        "message": "no",
        "type": "t",
        "metadata": {"error_type": "x", "limit_source": "y", "headers": {"Retry-After": "1"}, "raw": "z"},
        "availability": {"code": "c", "retryable": True, "retry_after": 1},
    },
    "estimated_time": 1,
    "error_type": "validation",
}
HEADERS = [
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-reset",
    "x-ratelimit-remaining",
    "ratelimit",
    "content-type",
]
HINTS = ["-5", "1e400", "NaN", "soon", "0", "1.5", "Tue, 01 Jan 99999 00:00:00 GMT", "r=0;t=9" + "9" * 500, "1" * 5000]
HINTS += ["Wed, 21 Oct 2015 07:28:00 -9999", "Mon, 00 Foo 0000", "\x00", "text/html", "\xff", "253402300800000"]


def _places(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from _places(child, (*path, name))


def _changed(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if isinstance(new, _Gone) and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _changed(value[path[0]], path[1:], new)
    return copy


class _Gone:
    """Stands for a field that is left out."""


def like(good):
    """Return JSON that resembles something good: in one or two places it is other, or nothing."""
    change = st.tuples(st.sampled_from(list(_places(good))[1:]), st.one_of(VALUES, st.builds(_Gone)))

    def apply(changes):
        changed = good
        for path, new in sorted(changes, key=lambda change: -len(change[0])):
            try:
                changed = _changed(changed, path, new)
            except (KeyError, IndexError, TypeError, ValueError):
                continue
        return changed

    return st.lists(change, min_size=1, max_size=2).map(apply)


def _twice(bodies):
    """Write two objects as one, so that names in it come twice."""
    first, second = (json.dumps(body).encode() for body in bodies)
    return (
        first[:-1] + b"," + second[1:]
        if first[:1] == second[:1] == b"{" and min(len(first), len(second)) > 2
        else first
    )


def _json(values):
    return values.map(lambda value: json.dumps(value).encode())


WHOLES = st.one_of(like(GOOD), like(REFUSAL))
BODIES = st.one_of(_json(WHOLES), _json(VALUES), st.tuples(WHOLES, WHOLES).map(_twice), st.binary(max_size=40))
EVENTS = st.one_of(
    _json(like(CHUNK)),
    _json(st.one_of(st.just(CHUNK), like(REFUSAL), VALUES)),
    st.binary(max_size=20),
    st.just(b"[DONE]"),
).flatmap(
    lambda data: st.sampled_from([b"data: ", b"data:", b"event: error\ndata: ", b": ", b""]).map(lambda f: f + data)
)
TOLD = st.dictionaries(st.sampled_from(HEADERS), st.one_of(st.sampled_from(HINTS), st.text(max_size=12)), max_size=3)
STATUSES = st.one_of(
    st.sampled_from([200, 201, 302, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503, 524, 529]),
    st.integers(100, 999),
)
many = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
few = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", autouse=True)
def _chain():
    with fresh(), llm.rehearse():
        yield


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner.run


class _Wire:
    """What a transport would bring, without one."""

    def __init__(self, reply, pieces=()):
        self._reply = reply
        self._pieces = iter(pieces)

    async def post(self, *_, **__):
        return self._reply

    @asynccontextmanager
    async def stream(self, *_, **__):
        if self._reply is not None:
            yield self._reply
        else:
            silence, watch = Silence(None), Watch(status=200)
            yield Events(self, head=b"", headers={}, body_cap=2**25, silence=silence, watch=watch)

    async def readany(self):
        return next(self._pieces, b"")


async def _exchanged(wire, backend, *, is_stream):
    ask = make_request(MODEL, "x")
    route = next(route for route in ask.chain.routes() if route.backend == backend)
    exchange, handed_on = HttpSender(wire, WIRES), []

    async def on_chunk(chunk):
        handed_on.append(chunk)

    if is_stream:
        return await exchange.streamed(ask, route, timeout_s=None, until=None, buffer=StreamBuffer(on_chunk)), handed_on
    return await exchange.whole(ask, route, timeout_s=None), handed_on


def _assert_is_an_outcome(came, handed_on=()):
    verdict = came.verdict
    assert isinstance(verdict.outcome, Outcome)
    assert (came.message is not None) == (verdict.outcome is Outcome.OK)
    if came.message is not None:
        assert isinstance(came.message, AIMessage)
        assert came.message.text.strip() or came.message.tool_calls or came.message.invalid_tool_calls
    assert verdict.retry_after_s is None or 0 <= verdict.retry_after_s <= LONGEST_S
    for text in (verdict.message, verdict.error_code, verdict.finish_reason, verdict.response_model):
        assert text is None or (len(text) <= 300 and isinstance(text.encode(), bytes))
    for count in (verdict.input_tokens, verdict.output_tokens, verdict.cost_usd):
        assert count is None or (0 <= count < math.inf)
    pickle.dumps((verdict, came.message, list(handed_on)))


backends = pytest.mark.parametrize("backend", ["openrouter", "huggingface"])


@backends
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@many
@given(reply=st.builds(Reply, status=STATUSES, headers=TOLD, body=BODIES))
@example(reply=Reply(status=200, headers={}, body=b"[" * 100_000))
@example(reply=Reply(status=200, headers={}, body=b'{"choices": ' + b'[{"a":' * 50_000))
@example(reply=Reply(status=200, headers={}, body=b'{"usage": {"cost": ' + b"9" * 5000 + b"}}"))
@example(reply=Reply(status=429, headers={}, body=b'{"error": {"code": ' + b"9" * 4000 + b"}}"))
@example(reply=Reply(status=200, headers={}, body=b"\x00" * 1000))
@example(reply=Reply(status=503, headers={}, body=b"x" * 10_000_000))
@example(reply=Reply(status=200, headers={}, body=whole("y" * 10_000_000)))
def test_any_reply_is_an_outcome(loop, backend, is_stream, reply):
    came, handed_on = loop(_exchanged(_Wire(reply), backend, is_stream=is_stream))
    _assert_is_an_outcome(came, handed_on)


@backends
@pytest.mark.parametrize("name", [True, 1, 0.5, ["x"], {"x": 1}, None, "", "look"])
def test_a_call_of_a_tool_with_a_name_or_arguments_of_any_type_is_an_outcome(loop, backend, name):
    for arguments in ("[]", "{}", "{", "", None, True, 3, ["x"], {"x": 1}):
        call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
        choice = {"finish_reason": "tool_calls", "message": {"role": "assistant", "content": "", "tool_calls": [call]}}
        reply = Reply(status=200, headers={}, body=json.dumps({"choices": [choice]}).encode())
        came, handed_on = loop(_exchanged(_Wire(reply), backend, is_stream=False))
        _assert_is_an_outcome(came, handed_on)
        assert came.verdict.outcome is not Outcome.OK or name == "look"


@backends
@many
@given(
    events=st.lists(EVENTS, max_size=5), cut=st.integers(1, 40), end=st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"])
)
@example(events=[b"data: " + b"[" * 100_000], cut=10_000, end=b"\n\n")
@example(events=[b"data: " + b'{"choices":[{"delta":' * 50_000], cut=10_000, end=b"\n\n")
@example(events=[b"data: {}", b"data: \xff", b"event: \xff\ndata: x"], cut=3, end=b"\n\n")
def test_any_stream_is_an_outcome(loop, backend, events, cut, end):
    sent = end.join(events) + end
    wire = _Wire(None, [sent[at : at + cut] for at in range(0, len(sent), cut)])
    came, handed_on = loop(_exchanged(wire, backend, is_stream=True))
    _assert_is_an_outcome(came, handed_on)
    assert not handed_on or any(chunk.text.strip() or chunk.tool_call_chunks for chunk in handed_on)


HEADS = st.one_of(
    st.sampled_from([JSON, STREAM, b"HTTP/1.1 503 X\r\nRetry-After: \xff\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]),
    st.tuples(STATUSES, st.sampled_from(HEADERS), st.binary(max_size=12)).map(
        lambda told: b"HTTP/1.1 %d X\r\n%s: %s\r\n\r\n" % (told[0], told[1].encode(), told[2])
    ),
    st.binary(max_size=30),
)


@pytest.mark.parametrize("door", DOORS)
@few
@given(sent=st.tuples(HEADS, st.one_of(BODIES, EVENTS)).map(b"".join))
@example(sent=JSON + whole("x" * 10_000_000))
@example(sent=STREAM + says("x" * 10_000_000, finish_reason="stop") + DONE)
@example(sent=b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08")
@example(sent=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
@example(sent=b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
@example(sent=b"HTTP/1.1 100 Continue\r\n\r\n" * 50)
@example(sent=b"HTTP/1.1 204 No Content\r\n\r\n")
@example(sent=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000 + b"\r\n")
def test_any_bytes_end_as_an_answer_or_as_one_of_our_errors(door, sent):
    with fresh(), served_by(lambda connection: connection.sendall(sent)):
        llm.configure(retries=0, timeout=0.5)
        try:
            message = DOORS[door](MODEL, "x", deadline=2)
        except llm.LLMExecutorError as raised:
            error, message = pickle.loads(pickle.dumps(raised)), None  # noqa: S301 - our own bytes
        outcomes = words("outcome")
    if message is None:
        assert not isinstance(error, llm.ConfigError)
        assert [attempt.outcome for attempt in error.attempts] == outcomes
    else:
        assert message.text.strip() or message.tool_calls or message.invalid_tool_calls
        assert outcomes[-1] == "ok"


@pytest.mark.parametrize("door", STREAMS)
def test_a_stream_larger_than_the_cap_is_given_up(door):
    def play(connection):
        connection.sendall(STREAM)
        while True:
            connection.sendall(b": " + b"x" * 2**20 + b"\n")

    with fresh(), served_by(play):
        llm.configure(retries=0)
        with pytest.raises(llm.AllRoutesFailedError):
            DOORS[door](MODEL, "x")
        assert words("outcome") == ["invalid_output"]


@pytest.mark.parametrize(
    "usage", [3, "x", [], {"prompt_tokens": []}, {**USAGE, "prompt_tokens_details": {"cached_tokens": {}}}]
)
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("backend", ["openrouter", "huggingface"])
def test_no_answer_is_lost_for_a_usage_that_cannot_be_read(door, backend, usage):
    def play(connection):
        connection.sendall(JSON + json.dumps({**GOOD, "usage": usage}).encode())

    with fresh(), served_by(play) as server:
        if backend == "huggingface":
            llm.configure(openrouter_keys=[], huggingface_tokens=["hf_loopback0001"], huggingface_base_url=server.url)
            llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["a"]
        message = DOORS[door](MODEL, "x")
        assert (message.content, message.usage_metadata) == ("Paris", None)
        assert words("outcome") == ["ok"]
