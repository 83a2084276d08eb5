"""What a reply asks to get back goes back with its message: through agents, own dicts, streams, pickles and JSON."""

from __future__ import annotations

import json
import pickle
from functools import reduce
from operator import add

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, messages_from_dict, messages_to_dict
from langchain_core.tools import tool
from recording import MODEL, recorded, said, streamed
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.providers.langchain import Ending
from llm_executor_nb.providers.wires import make_wire

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Lyon"}'}}
SIGNATURE = {"extra_content": {"google": {"thought_signature": "c2lnbmF0dXJl"}}}
DETAILS = [
    {"type": "reasoning.text", "text": "Let me see.", "signature": None, "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.encrypted", "data": "c2ln", "id": "rs_1", "format": "openai-responses-v1", "index": 1},
]
NOTES = [{"type": "file", "file": {"hash": "abc", "name": "a.pdf", "content": [{"type": "text", "text": "A"}]}}]
ASKS = {
    "details": {"reasoning_details": DETAILS, "reasoning": "Let me see.", "tool_calls": [CALL]},
    "details without a call": {"content": "Hi", "reasoning_details": DETAILS},
    "a signed call": {"tool_calls": [{**CALL, **SIGNATURE}]},
    "two calls, the second signed": {"tool_calls": [CALL, {**CALL, "id": "c2", **SIGNATURE}]},
    "a signed text": {"content": "Hi", **SIGNATURE},
    "notes": {"content": "Hi", "annotations": NOTES},
    "thoughts beside a call": {"reasoning_content": "Hm.", "tool_calls": [CALL]},
    "thoughts by another name": {"reasoning": "Hm.", "tool_calls": [CALL]},
}
GONE = {"details": ("reasoning",)}
"""What is not asked back: thoughts in plain words, where there are details."""
QUESTION = HumanMessage("weather in Lyon?")
BACKENDS = ["openrouter", "own"]


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It rains in {city}."


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


def expected(case):
    return {name: value for name, value in ASKS[case].items() if name not in ("content", *GONE.get(case, ()))}


def assert_is_back(body, case):
    sent = next(one for one in body["messages"] if one["role"] == "assistant")
    assert {name: sent[name] for name in expected(case)} == expected(case)
    assert not sent.keys() - {"role", "content"} - expected(case).keys()


def result_of(step):
    return [ToolMessage("sunny", tool_call_id=call["id"] or "x") for call in step.tool_calls]


def as_it_came(message):
    return message


def pickled(message):
    return pickle.loads(pickle.dumps(message))  # noqa: S301 - our own


def as_json(message):
    return messages_from_dict(json.loads(json.dumps(messages_to_dict([message]))))[0]


@pytest.mark.parametrize("keep", [as_it_came, pickled, as_json])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ASKS)
def test_it_goes_back_with_the_message_of_a_chat_model(case, backend, keep):
    with recorded(lambda _: said(**{"text": ASKS[case].get("content"), **_rest(case)}), backend) as bodies:
        model = llm.chat_model(MODEL).bind_tools([weather])
        step = keep(model.invoke([QUESTION]))
        model.invoke([QUESTION, step, *result_of(step)])
    assert_is_back(bodies[1], case)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_signature_of_a_call_without_an_id_goes_back_with_the_id_it_was_given(backend):
    unnamed = {**CALL, "id": "", **SIGNATURE}
    with recorded(lambda _: said(text=None, tool_calls=[unnamed]), backend) as bodies:
        model = llm.chat_model(MODEL).bind_tools([weather])
        step = model.invoke([QUESTION])
        model.invoke([QUESTION, step, *result_of(step)])
    (sent,) = bodies[1]["messages"][1]["tool_calls"]
    assert sent == {**unnamed, "id": step.tool_calls[0]["id"]}
    assert sent["id"]


def _rest(case):
    return {name: value for name, value in ASKS[case].items() if name != "content"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ASKS)
def test_it_goes_back_from_the_users_own_dicts(case, backend):
    message = {"role": "assistant", "content": None, **ASKS[case]}
    with recorded(lambda _: said(), backend) as bodies:
        llm.run_llm(MODEL, [{"role": "user", "content": "hi"}, message, {"role": "user", "content": "and?"}])
    sent = bodies[0]["messages"][1]
    assert {name: value for name, value in sent.items() if name != "content"} == {
        name: value for name, value in message.items() if name != "content"
    }


PIECES = {
    "details": [
        {"reasoning": "Let ", "reasoning_details": [{**DETAILS[0], "text": "Let "}]},
        {"reasoning": "me see.", "reasoning_details": [{**DETAILS[0], "text": "me see."}]},
        {"reasoning_details": [{**DETAILS[1], "data": "c2"}]},
        {"reasoning_details": [{**DETAILS[1], "data": "ln"}]},
        {"tool_calls": [{**CALL, "index": 0}]},
    ],
    "a signed call": [
        {"tool_calls": [{"index": 0, **CALL, "function": {"name": "weather", "arguments": ""}, **SIGNATURE}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": CALL["function"]["arguments"]}}]},
    ],
    "two calls, the second signed": [
        {"tool_calls": [{"index": 0, **CALL}]},
        {"tool_calls": [{"index": 1, **CALL, "id": "c2"}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": ""}, **SIGNATURE}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": ""}, **SIGNATURE}]},
    ],
    "a signed text": [{"content": "Hi"}, {"content": "", **SIGNATURE}],
    "notes": [{"content": "Hi"}, {"annotations": NOTES}, {"content": "", "annotations": NOTES}],
    "thoughts beside a call": [
        {"reasoning_content": "H"},
        {"reasoning_content": "m"},
        {"tool_calls": [{"index": 0, **CALL}]},
        {"reasoning_content": "."},
    ],
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", PIECES)
def test_it_goes_back_from_a_stream_that_brought_it_in_pieces(case, backend):
    reason = "tool_calls" if "tool_calls" in ASKS[case] else "stop"
    answers = iter([streamed(*PIECES[case], reason=reason), said()])
    with recorded(lambda _: next(answers), backend) as bodies:
        whole = reduce(add, llm.stream_llm(MODEL, [QUESTION], tools=[weather]))
        llm.run_llm(MODEL, [QUESTION, pickled(whole), *result_of(whole)])
    assert_is_back(bodies[1], case)


def test_it_goes_back_from_the_stream_of_a_chat_model():
    answers = iter([streamed(*PIECES["details"], reason="tool_calls"), said()])
    with recorded(lambda _: next(answers)) as bodies:
        model = llm.chat_model(MODEL).bind_tools([weather])
        whole = reduce(add, model.stream([QUESTION]))
        model.invoke([QUESTION, whole, *result_of(whole)])
    assert_is_back(bodies[1], "details")


@pytest.mark.parametrize("case", ["details", "a signed call", "thoughts beside a call"])
def test_it_goes_back_in_whatever_form_a_chat_model_gives_its_content(case):
    with recorded(lambda _: said(**{"text": "Hi", **_rest(case)})) as bodies:
        model = llm.chat_model(MODEL, output_version="v1").bind_tools([weather])
        step = model.invoke([QUESTION])
        model.invoke([QUESTION, step, *result_of(step)])
    assert_is_back(bodies[1], case)


def test_hugging_face_is_not_sent_fields_that_its_providers_refuse():
    case = {"reasoning_details": DETAILS, "annotations": NOTES, "tool_calls": [{**CALL, **SIGNATURE}], **SIGNATURE}
    with recorded(lambda _: said(text=None, **case), "huggingface") as bodies:
        step = llm.run_llm(MODEL, "hi", tools=[weather])
        llm.run_llm(MODEL, [QUESTION, step, *result_of(step)])
    assert bodies[1]["messages"][1] == {"role": "assistant", "content": None, "tool_calls": [CALL]}


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Hi"},
        {"content": "Hi", "reasoning": "Hm.", "reasoning_content": "Hm."},
        {"content": "Hi", "reasoning_details": [], "annotations": [], "extra_content": {}, "foreign": 1},
        {"content": None, "tool_calls": [{**CALL, "index": 0, "foreign": 1}]},
        {"content": "Hi", "reasoning_details": "none", "annotations": {"a": 1}, "extra_content": "x"},
    ],
)
def test_a_message_that_asks_nothing_back_is_read_and_sent_as_before(message):
    with recorded(lambda _: said(**{"text": message["content"], **message})) as bodies:
        step = llm.run_llm(MODEL, "hi", tools=[weather])
        llm.run_llm(MODEL, [QUESTION, step])
    assert not step.additional_kwargs
    assert bodies[1]["messages"][1].keys() <= {"role", "content", "tool_calls"}
    assert bodies[1]["messages"][1].get("tool_calls") in (None, [CALL])


def test_what_langchains_other_models_put_there_is_not_sent():
    kept = {"reasoning": {"summary": []}, "foreign": 1, "parsed": {"a": 1}}
    with recorded(lambda _: said()) as bodies:
        llm.run_llm(MODEL, [QUESTION, AIMessage("Hi", additional_kwargs=kept)])
    assert bodies[0]["messages"][1] == {"role": "assistant", "content": "Hi"}


WORDS = st.text("ab c", min_size=1, max_size=8)
BLOCKS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("reasoning.text"), "text": WORDS}, optional={"signature": WORDS}),
        st.fixed_dictionaries({"type": st.just("reasoning.summary"), "summary": WORDS}),
        st.fixed_dictionaries({"type": st.just("reasoning.encrypted"), "data": st.just("c2lnbmF0dXJl")}),
    ),
    min_size=1,
    max_size=4,
)


@given(BLOCKS, st.data())
def test_however_a_stream_cuts_its_details_their_sum_is_the_whole(blocks, data):
    whole = [{**block, "index": at, "format": "any-v1"} for at, block in enumerate(blocks)]
    read, ending, chunks = make_wire("openrouter", "https://router.invalid").chunk_reader("m"), Ending(), []
    for piece in (one for block in whole for one in _cut(block, data)):
        delta = {"reasoning_details": [piece], "content": "x"}
        chunks.append(ending.take(read({"choices": [{"index": 0, "delta": delta}]})))
    total = reduce(add, [*chunks, ending.last()])
    assert total.additional_kwargs == {"reasoning_details": whole}


def _cut(block, data):
    """Cut the words of a block; what seals it comes with the last piece."""
    name = next(name for name in ("text", "summary", "data") if name in block)
    if name == "data":
        return [block]
    at = data.draw(st.integers(0, len(block[name])))
    first = {key: value for key, value in block.items() if key != "signature"}
    return [{**first, name: block[name][:at]}, {**block, name: block[name][at:]}]
