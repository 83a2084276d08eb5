"""What the user gave becomes one body, or an error that says what to give."""

from __future__ import annotations

import json

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.providers.parameters import PARAMETERS, check_extra_body, check_params, merge_extra_body
from llm_executor_nb.providers.payload import make_body, make_payload

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


class Review(BaseModel):
    """What a review says."""

    stars: int


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.mark.parametrize(
    "request_",
    [
        "Hello",
        HumanMessage("Hello"),
        [HumanMessage("Hello")],
        [("user", "Hello")],
        [{"role": "user", "content": "Hello"}],
        ChatPromptTemplate.from_messages([("human", "{text}")]).invoke({"text": "Hello"}),
    ],
)
def test_every_kind_of_request_is_the_same_body(request_):
    assert make_payload(request_, {}) == HELLO


def test_a_conversation_with_tools_goes_out_as_openai_has_it():
    call = {"name": "add", "args": {"a": 1}, "id": "call_1"}
    messages = [HumanMessage("1+1?"), AIMessage("", tool_calls=[call]), ToolMessage("2", tool_call_id="call_1")]
    sent = make_payload(messages, {"tools": [add]})
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool"]
    assert sent["messages"][1]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert sent["tools"][0]["function"]["name"] == "add"


def test_the_system_message_stands_in_front():
    assert make_payload([SystemMessage("b"), HumanMessage("c")], {}, system="a")["messages"] == [
        {"role": "system", "content": "a"},
        {"role": "system", "content": "b"},
        {"role": "user", "content": "c"},
    ]


@pytest.mark.parametrize("request_", ["", "  ", [], None, 7, ("human", "hi"), {"role": "user"}, [{"x": 1}], [7]])
def test_a_request_that_cannot_be_sent_says_what_to_give(request_):
    with pytest.raises(ConfigError, match="Give a text, a list of messages"):
        make_payload(request_, {})


def test_every_known_parameter_reaches_the_body_under_its_own_name():
    given = {
        "temperature": 0.5,
        "max_tokens": 10,
        "top_p": 0.9,
        "seed": 1,
        "stop": ["END"],
        "presence_penalty": 0.1,
        "frequency_penalty": -0.1,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "logprobs": True,
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
        "service_tier": "flex",
        "top_logprobs": 2,
        "n": 1,
    }
    assert given.keys() == set(PARAMETERS)
    assert make_payload("Hello", given) == {**HELLO, **given}


def test_what_is_none_or_langchains_own_is_not_sent():
    own = {"stream": False, "stream_usage": True, "strict": True, "ls_structured_output_format": {}}
    assert make_payload("Hello", {**own, "temperature": None}) == HELLO


def test_numbers_of_numpy_become_numbers_of_json():
    sent = check_params({"temperature": np.float32(0.5), "max_tokens": np.int64(3)})
    assert json.dumps(sent) == '{"temperature": 0.5, "max_tokens": 3}'


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temprature", "Did you mean temperature"),
        ("max_token", "Did you mean max_tokens"),
        ("max_new_tokens", "Did you mean max_tokens"),
        ("xyz", "Call parameters: temperature, .*extra_body"),
    ],
)
def test_an_unknown_parameter_is_refused_with_near_names(name, hint):
    with pytest.raises(ConfigError, match=rf"Unknown argument '{name}'. {hint}"):
        check_params({name: 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "hot"),
        ("temperature", True),
        ("temperature", -1),
        ("temperature", float("nan")),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("top_p", 2),
        ("seed", "a"),
        ("stop", []),
        ("stop", 7),
        ("tools", []),
        ("tools", "add"),
        ("tools", [7]),
        ("tool_choice", 7),
        ("response_format", "json"),
        ("response_format", int),
        ("logprobs", 1),
        ("reasoning_effort", 3),
        ("presence_penalty", float("inf")),
    ],
)
def test_a_value_that_cannot_be_right_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=rf"^{name}=.*Nothing was sent"):
        check_params({name: value})


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("any", "required"),
        (True, "required"),
        ("none", "none"),
        ("add", {"type": "function", "function": {"name": "add"}}),
    ],
)
def test_a_tool_choice_is_what_langchain_makes_of_it(given, sent):
    assert check_params({"tool_choice": given}) == {"tool_choice": sent}


def test_a_pydantic_class_becomes_a_json_schema():
    sent = check_params({"response_format": Review, "tools": [Review]})
    assert sent["response_format"]["json_schema"]["name"] == "Review"
    assert sent["response_format"]["json_schema"]["schema"]["required"] == ["stars"]
    assert sent["tools"][0]["function"]["name"] == "Review"
    json.dumps(sent)


def test_extra_body_goes_to_its_own_backend_only():
    extra = check_extra_body({"openrouter": {"provider": {"sort": "price"}}})
    assert merge_extra_body(HELLO, extra, "openrouter") == {**HELLO, "provider": {"sort": "price"}}
    assert merge_extra_body(HELLO, extra, "huggingface") == HELLO
    assert merge_extra_body(HELLO, None, "huggingface") == HELLO
    sent = json.loads(make_body(HELLO, model="m", backend="openrouter", extra_body=extra))
    assert sent == {"model": "m", **HELLO, "provider": {"sort": "price"}}


@pytest.mark.parametrize("extra", [{"provider": {"sort": "price"}}, {"openrouter": 1}])
def test_extra_body_that_is_not_sorted_by_backend_is_refused(extra):
    with pytest.raises(ConfigError, match=r"sorted by backend.*extra_body=\{'openrouter'"):
        check_extra_body(extra)


def test_extra_body_cannot_set_what_a_run_sets():
    with pytest.raises(ConfigError, match="cannot set stream"):
        check_extra_body({"openrouter": {"stream": True}})


def test_a_body_that_is_no_json_is_refused_and_odd_text_is_sent():
    with pytest.raises(ConfigError, match="cannot be written as JSON"):
        make_body(HELLO, model="m", backend="openrouter", extra_body={"openrouter": {"x": object()}})
    assert json.loads(make_body(make_payload("é \ud800", {}), model="m", backend="b"))["messages"] == [
        {"role": "user", "content": "é ?"},
    ]
