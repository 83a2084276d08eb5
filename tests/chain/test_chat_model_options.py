"""The options of a chat model and of its calls: each is used, or refused before anything is sent."""

from __future__ import annotations

import time

import pytest
from asking import QUESTION, WAYS, rehearsals
from rehearsing import MODEL, words

import llm_executor_nb as llm

CANARY = "canary-7f3a9c"


@pytest.fixture
def start():
    with rehearsals() as begin:
        yield begin


@pytest.mark.parametrize(
    ("options", "words_of_it"),
    [
        ({"temprature": 0}, "Did you mean temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"timeout": 0}, "timeout"),
        ({"deadline": -1}, "deadline"),
        ({"max_retries": -1}, "retries"),
        ({"max_retries": max}, "configure"),
        ({"n": 2}, "only one answer"),
        ({"base_url": "http://x"}, "configure"),
        ({"organization": "me"}, "Leave it out"),
        ({"http_client": object()}, "Leave it out"),
        ({"use_responses_api": True}, "Leave it out"),
        ({"output_version": "responses/v1"}, "output_version"),
        ({"rate_limiter": 3}, "rate_limiter"),
        ({"model_kwargs": {"topp": 1}}, "top_p"),
    ],
)
def test_an_option_that_is_unknown_or_cannot_be_right_is_refused(options, words_of_it):
    with pytest.raises(llm.ConfigError, match=words_of_it):
        llm.chat_model("gemma", **options)


@pytest.mark.parametrize("name", ["api_key", "openai_api_key", "openrouter_api_key"])
def test_a_key_is_refused_and_not_repeated(start, name):
    start()
    for refused in (
        lambda: llm.chat_model(MODEL, **{name: CANARY}),
        lambda: llm.chat_model(MODEL, model_kwargs={name: CANARY}),
        lambda: llm.chat_model(MODEL).invoke(QUESTION, **{name: CANARY}),
    ):
        with pytest.raises(llm.ConfigError, match="keys") as caught:
            refused()
        assert CANARY not in repr(caught.value)


@WAYS
@pytest.mark.parametrize("options", [{"temprature": 1}, {"extra_headers": {"a": "b"}}, {"timeout": -1}, {"n": 2}])
def test_a_call_with_an_option_that_is_unknown_or_wrong_sends_nothing(start, ask, options):
    server = start()
    with pytest.raises(llm.ConfigError):
        ask(llm.chat_model(MODEL), QUESTION, **options)
    assert not server.lines


@WAYS
def test_what_langchain_binds_for_itself_is_swallowed(start, ask):
    start()
    bound = {"strict": True, "ls_structured_output_format": {}, "stream_usage": True, "tools": [], "stop": []}
    assert ask(llm.chat_model(MODEL), QUESTION, **bound).content == llm.run_llm(MODEL, QUESTION).content


def test_call_parameters_that_langchain_has_no_field_for_are_taken_too(start):
    start()
    model = llm.chat_model(MODEL, response_format={"type": "json_object"}, stop="x", seed=3)
    same = {"response_format": {"type": "json_object"}, "stop": ["x"], "seed": 3}
    assert model.invoke(QUESTION).content == llm.run_llm(MODEL, QUESTION, **same).content
    assert (
        model.invoke(QUESTION, seed=None, response_format=None).content
        == llm.run_llm(MODEL, QUESTION, stop="x").content
    )


@pytest.mark.parametrize("retries", [0, 2])
def test_max_retries_counts_the_retries_of_one_route(start, retries):
    server = start("*: 503", openrouter_keys=1, huggingface_tokens=0)
    with pytest.raises(llm.AllRoutesFailedError):
        llm.chat_model(MODEL, max_retries=retries).invoke(QUESTION)
    assert len(server.lines) == retries + 1
    llm.reset_health()
    server.clear()
    with pytest.raises(llm.AllRoutesFailedError):
        llm.chat_model(MODEL).invoke(QUESTION, max_retries=retries)
    assert len(server.lines) == retries + 1


def test_timeout_bounds_one_attempt(start):
    start("openrouter[1]: hang")
    began = time.monotonic()
    llm.chat_model(MODEL, timeout=0.1).invoke(QUESTION)
    assert words("outcome") == ["timeout", "ok"]
    assert time.monotonic() - began < 2


def test_deadline_bounds_one_run(start):
    start("*: hang")
    with pytest.raises(llm.DeadlineError):
        llm.chat_model(MODEL, deadline=0.1).invoke(QUESTION)


def test_extra_body_is_sorted_by_backend(start):
    server = start()
    llm.chat_model(MODEL, extra_body={"openrouter": {"transforms": []}}).invoke(QUESTION)
    with pytest.raises(llm.ConfigError, match="sorted by backend"):
        llm.chat_model(MODEL).invoke(QUESTION, extra_body={"transforms": []})
    assert len(server.lines) == 1
