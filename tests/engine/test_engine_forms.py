"""Answers in other forms than the documented one arrive through every door, asked for once and paid for once."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from doors import DOORS, STREAMS, chunks_of
from langchain_core.messages import AIMessage
from loopback import DONE, JSON, MODEL, STREAM, Loopback, says, served_by
from rehearsing import assert_log_is_what_the_server_saw, fresh, words

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.rehearsal.faults_answers import FORMS

QUESTION = "What is the weather in Sydney?"
CASES = [
    pytest.param(name, door, id=f"{name}-{door}")
    for name, entry in FORMS.items()
    for door in (STREAMS if entry.is_stream_only else DOORS)
]
CUT = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return city


@pytest.fixture(autouse=True)
def frozen():
    with fresh(), clock.use(clock.FrozenClock()) as time:
        yield time


@pytest.mark.parametrize("keys", [(1, 0), (0, 1)], ids=["openrouter", "huggingface"])
@pytest.mark.parametrize(("name", "door"), CASES)
def test_each_form_is_taken_for_what_it_is(name, door, keys):
    options = {"tools": [weather]} if name.startswith("tool-call") else {}
    outcome = FORMS[name].finding.outcome
    llm.configure(retries=0)
    llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["a"]
    with llm.rehearse(f"*: {name}", openrouter_keys=keys[0], huggingface_tokens=keys[1]) as server:
        if outcome is Outcome.OK:
            assert_is_whole(name, DOORS[door](MODEL, QUESTION, **options))
        else:
            with pytest.raises(llm.LLMExecutorError) as raised:
                DOORS[door](MODEL, QUESTION, **options)
            assert str(outcome) in str(raised.value)
            assert isinstance(raised.value, llm.StreamInterruptedError) == (door in STREAMS)
        assert words("outcome") == [outcome]
        assert_log_is_what_the_server_saw(server)


def assert_is_whole(name, message):
    assert isinstance(message, AIMessage)
    if name == "images-only":
        assert "base64" in message.additional_kwargs["images"][0]["image_url"]["url"]
    elif name == "audio-only":
        assert message.additional_kwargs["audio"]["data"] == "UklGRiQAAABXQVZF"
    elif name.startswith("tool-call"):
        [call] = message.tool_calls
        assert (call["name"], list(call["args"])) == ("weather", ["city"])
        assert call["id"]
    else:
        assert message.text.endswith("(No model was asked: this is a rehearsal.)")


@pytest.mark.parametrize(("name", "shown"), [("images-only", "images"), ("audio-only", "audio"), ("ndjson", None)])
def test_a_column_has_in_its_cell_what_was_paid_for(name, shown):
    with llm.rehearse(f"*: {name}"):
        out = pd.DataFrame({"q": ["a", "b"]}).llm.run(MODEL, "q", progress=False)
    assert out["q_llm_status"].tolist() == ["ok", "ok"]
    assert out.llm.attempts()["outcome"].tolist() == ["ok", "ok"]
    assert all(cell.strip() for cell in out["q_llm"])
    if shown:
        assert list(json.loads(out["q_llm"][0])) == [shown]


@pytest.mark.parametrize("name", ["tool-call-unindexed", "tool-call-old"])
def test_a_chat_model_hands_the_call_on(name):
    with llm.rehearse(f"*: {name}"):
        model = llm.chat_model(MODEL).bind_tools([weather])
        summed = None
        for chunk in model.stream(QUESTION):
            summed = chunk if summed is None else summed + chunk
        for message in (model.invoke(QUESTION), summed):
            assert [call["name"] for call in message.tool_calls] == ["weather"]


def test_done_without_a_finish_reason_and_a_broken_connection_is_an_interruption():
    def play(connection):
        connection.sendall(CUT + chunked(says("Half")) + chunked(DONE))

    llm.configure(retries=0)
    with served_by(play), pytest.raises(llm.StreamInterruptedError) as raised:
        chunks_of(MODEL, QUESTION)
    assert (raised.value.partial, words("outcome")) == ("Half", ["connection"])


@pytest.mark.parametrize("after", [b"", b"e\r\ndata: [DONE]\n\n\r\n"], ids=["no done", "done"])
@pytest.mark.parametrize("door", DOORS)
def test_a_finish_reason_and_a_broken_connection_is_an_answer(door, after):
    def play(connection):
        connection.sendall(CUT + chunked(says("Whole")) + chunked(says("", finish_reason="stop")) + after)

    llm.configure(retries=0)
    with served_by(play):
        assert DOORS[door](MODEL, QUESTION).text == "Whole"
    assert words("outcome") == ["ok"]


def chunked(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize("head", [JSON, STREAM, JSON.replace(b"application/json", b"text/plain")])
@pytest.mark.parametrize("before", [b"", b" \n\n  ", b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n"])
@pytest.mark.parametrize("form", ["whole", "events", "lines"])
@pytest.mark.parametrize("door", DOORS)
def test_a_body_is_read_by_its_bytes_behind_any_keep_alive(door, form, before, head):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes\n{}"}}
    whole = json.dumps({"id": "g", "choices": [choice]}).encode()
    events = says("Yes\n") + says("{}", finish_reason="stop")
    lines = events.replace(b"data: ", b"").replace(b"\n\n", b"\n")
    body = {"whole": whole, "events": events + DONE, "lines": lines}[form]
    with served_by(lambda connection: connection.sendall(head + before + body)):
        assert DOORS[door](MODEL, QUESTION).text == "Yes\n{}"
    assert words("outcome") == ["ok"]


@pytest.mark.parametrize("door", DOORS)
def test_reasoning_alone_is_empty_and_the_words_say_what_to_change(door):
    llm.configure(retries=0)
    with llm.rehearse("*: only-reasoning", openrouter_keys=1, huggingface_tokens=0):
        with pytest.raises(llm.AllRoutesFailedError, match="reasoning effort"):
            DOORS[door](MODEL, QUESTION)
        assert words("outcome") == ["empty"]


@pytest.mark.parametrize("door", STREAMS)
def test_nothing_is_shown_before_a_picture_and_it_is_something_shown(door):
    picture = {"image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    pictured = says("").replace(b'"content": ""', b'"images": [' + json.dumps(picture).encode() + b"]")
    came = [STREAM + says("") + pictured, STREAM + says("") + says("", finish_reason="stop") + DONE]
    llm.configure(retries=0)
    with served_by(lambda connection: connection.sendall(came[0])), pytest.raises(llm.StreamInterruptedError):
        STREAMS[door](MODEL, QUESTION)
    with served_by(lambda connection: connection.sendall(came[1])), pytest.raises(llm.AllRoutesFailedError):
        STREAMS[door](MODEL, QUESTION)
    assert words("outcome") == ["malformed", "empty"]


def test_an_own_server_that_sends_one_event_with_a_whole_message_answers():
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "All at once"}}
    event = b"data: " + json.dumps({"id": "g", "choices": [choice]}).encode() + b"\n\n"
    with Loopback(lambda connection: connection.sendall(STREAM + event + DONE)) as server:
        llm.add_backend("own", base_url=server.url)
        llm.models.add("m", providers=["own"], openrouter=False)
        for ask in DOORS.values():
            assert ask("m", QUESTION).text == "All at once"
