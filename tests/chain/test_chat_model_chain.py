"""It is the chain: the same requests, errors and attempts as run_llm's, whichever way a LangChain model is asked."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from asking import NO_KEY, OTHER, QUESTION, WAYS, invoked, rehearsals, streamed
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import ConfigurableField, RunnableLambda
from rehearsing import MODEL, logged, seen_by, settle, wait_until, words

import llm_executor_nb as llm


@pytest.fixture
def start():
    with rehearsals() as begin:
        yield begin


@WAYS
def test_it_asks_what_run_llm_asks_and_its_attempts_can_be_looked_up(start, ask):
    server = start("openrouter[1]: 401; openrouter[2]: 503*1")
    message = ask(llm.chat_model(MODEL, temperature=0.5, max_tokens=20), QUESTION)
    settle(server)
    assert logged(llm.attempts(message)) == seen_by(server)
    assert words("outcome") == ["auth", "overloaded", "ok"]
    same = llm.run_llm(MODEL, QUESTION, temperature=0.5, max_tokens=20)
    assert message.content == same.content  # a practice answer tells the digest of messages and parameters
    assert message.usage_metadata == same.usage_metadata
    assert message.response_metadata["finish_reason"] == "stop"


@WAYS
def test_nothing_is_sent_that_was_not_set(start, ask):
    start()
    assert ask(llm.chat_model(MODEL), QUESTION).content == llm.run_llm(MODEL, QUESTION).content


@WAYS
def test_a_refused_request_is_our_error(start, ask):
    start("*: 400")
    with pytest.raises(llm.RequestError):
        ask(llm.chat_model(MODEL), QUESTION)


@WAYS
def test_when_all_routes_fail_it_is_our_error_with_every_attempt(start, ask):
    server = start("*: 401")
    with pytest.raises(llm.AllRoutesFailedError) as caught:
        ask(llm.chat_model(MODEL), QUESTION)
    assert len(caught.value.attempts) == len(server.lines)


@WAYS
def test_a_call_may_name_another_model(start, ask):
    server = start(NO_KEY)
    ask(llm.chat_model(MODEL), QUESTION, model=OTHER)
    assert server.lines[-1].model == f"{OTHER}:b"
    with pytest.raises(llm.ModelNotSupportedError, match="Model not supported: nowhere"):
        ask(llm.chat_model(MODEL), QUESTION, model="nowhere")


def test_a_stream_that_broke_after_its_first_text_is_our_error_with_that_text(start):
    start("*: stream-error-midway")
    with pytest.raises(llm.StreamInterruptedError) as caught:
        streamed(llm.chat_model(MODEL), QUESTION)
    assert caught.value.partial


@pytest.mark.parametrize("is_in_loop", [False, True])
def test_leaving_a_stream_closes_its_connection_at_once(start, is_in_loop):
    server = start("*: pace=0.05")
    model = llm.chat_model(MODEL)

    async def leave():
        async for _ in model.astream(QUESTION):
            break
        await asyncio.sleep(0.05)

    if is_in_loop:
        asyncio.run(leave())
    else:
        for _ in model.stream(QUESTION):
            break
    wait_until(lambda: server.lines[-1].fault == "client left")


def test_an_unknown_model_is_refused_when_the_chain_is_made():
    with pytest.raises(llm.ModelNotSupportedError, match="Model not supported: nowhere"):
        llm.chat_model("nowhere")


def test_configurable_fields_change_a_call_and_it_streams_still(start):
    server = start()
    model = llm.chat_model(MODEL).configurable_fields(
        temperature=ConfigurableField(id="heat"), model_name=ConfigurableField(id="model")
    )
    config = {"configurable": {"heat": 0.5, "model": OTHER}}
    assert model.invoke(QUESTION, config).content == llm.run_llm(OTHER, QUESTION, temperature=0.5).content
    assert len(list(model.stream(QUESTION, config))) > 3
    assert [line.model for line in server.lines] == [OTHER] * 3


@pytest.mark.parametrize(("options", "is_stream"), [({"streaming": True}, True), ({"disable_streaming": True}, False)])
def test_streaming_can_be_switched_on_for_calls_and_off_for_streams(start, options, is_stream):
    server = start()
    model = llm.chat_model(MODEL, **options)
    assert model.invoke(QUESTION).content == streamed(model, QUESTION).content
    assert [line.is_stream for line in server.lines] == [is_stream, is_stream]


@pytest.mark.parametrize("ask", [invoked, streamed])
def test_content_blocks_come_when_they_are_asked_for(start, ask):
    start()
    message = ask(llm.chat_model(MODEL, output_version="v1"), QUESTION)
    assert [block["type"] for block in message.content] == ["text"]
    assert message.content[0]["text"] == llm.run_llm(MODEL, QUESTION).content


def test_with_fallbacks_and_with_retry_take_our_errors(start):
    start("*: 401")
    model = llm.chat_model(MODEL)
    answered = model.with_fallbacks([llm.chat_model(MODEL).bind(seed=1), RunnableLambda(answer_by_heart)])
    assert answered.invoke(QUESTION) == "by heart"
    with pytest.raises(llm.AllRoutesFailedError):
        model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke(QUESTION)


def answer_by_heart(_):
    return "by heart"


def test_it_is_a_langchain_model_and_loads_langchain_only_when_made():
    assert isinstance(llm.chat_model("gemma"), BaseChatModel)
    code = "import sys, llm_executor_nb as llm; llm.chat_model; assert 'langchain_core' not in sys.modules"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
