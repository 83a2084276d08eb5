"""The chain behaves as LangChain's own models do: callbacks, cache, limits, tokens; and it tells no key."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle

import pytest
from asking import OTHER, QUESTION, WAYS, Report, astreamed, paint, rehearsals, streamed
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumpd, dumps
from langchain_core.messages import HumanMessage
from langchain_core.rate_limiters import BaseRateLimiter
from rehearsing import MODEL, words

import llm_executor_nb as llm

CANARY = "canary-7f3a9c"


@pytest.fixture
def start():
    with rehearsals() as begin:
        yield begin


class Listener(BaseCallbackHandler):
    """Writes down what it is told."""

    def __init__(self):
        self.told, self.tokens, self.tags, self.metadata = [], [], [], {}
        self.response = self.error = self.run_id = None

    def on_chat_model_start(self, serialized, messages, *, tags=None, metadata=None, **kwargs):
        self.told.append("start")
        self.run_id = kwargs["run_id"]
        self.tags, self.metadata, self.params = tags, metadata, kwargs.get("invocation_params")
        assert CANARY not in json.dumps([serialized, kwargs, messages], default=repr)

    def on_llm_new_token(self, token, **_):
        self.tokens.append(token)

    def on_llm_end(self, response, **_):
        self.told.append("end")
        self.response = response

    def on_llm_error(self, error, **_):
        self.told.append("error")
        self.error = error


@WAYS
def test_callbacks_are_told_once_with_tags_and_metadata(start, ask):
    start("openrouter[1]: 401")
    listener = Listener()
    model = llm.chat_model(MODEL, tags=["ours"], metadata={"made": 1})
    message = ask(model, QUESTION, config={"callbacks": [listener], "tags": ["yours"], "metadata": {"called": 2}})
    assert listener.told == ["start", "end"]
    assert message.id.startswith(f"lc_run--{listener.run_id}")  # by it LangGraph knows pieces and message to be one
    assert {"ours", "yours"} <= set(listener.tags)
    assert listener.metadata.items() >= {"made": 1, "called": 2, "ls_provider": "llm_executor_nb"}.items()
    assert listener.metadata["ls_model_name"] == MODEL
    assert listener.response.generations[0][0].message.content == message.content
    if ask in (streamed, astreamed):
        assert "".join(listener.tokens) == message.content
        assert len([token for token in listener.tokens if token]) > 3
    else:
        assert listener.response.llm_output["token_usage"]["total_tokens"] == message.usage_metadata["total_tokens"]


@pytest.mark.parametrize("script", ["", "openrouter: 401"], ids=["openrouter", "huggingface"])
@pytest.mark.parametrize("is_awaited", [False, True], ids=["generate", "agenerate"])
def test_the_counts_of_several_prompts_are_added_up_without_the_cost(start, script, is_awaited):
    start(script)
    model, prompts = llm.chat_model(MODEL), [[HumanMessage("one")], [HumanMessage("two")], [HumanMessage("three")]]
    found = asyncio.run(model.agenerate(prompts)) if is_awaited else model.generate(prompts)
    messages = [generations[0].message for generations in found.generations]
    usage = found.llm_output["token_usage"]
    assert usage["total_tokens"] == sum(message.usage_metadata["total_tokens"] for message in messages)
    assert "cost" not in usage
    if not script:
        assert all(message.response_metadata["token_usage"]["cost"] > 0 for message in messages)


@WAYS
def test_callbacks_are_told_of_our_error(start, ask):
    start("*: 401")
    listener = Listener()
    with pytest.raises(llm.AllRoutesFailedError):
        ask(llm.chat_model(MODEL, callbacks=[listener]), QUESTION)
    assert listener.told == ["start", "error"]
    assert isinstance(listener.error, llm.AllRoutesFailedError)


@WAYS
def test_the_usage_is_added_up_over_calls(start, ask):
    start()
    counter = UsageMetadataCallbackHandler()
    config = {"callbacks": [counter]}
    messages = [ask(llm.chat_model(MODEL), question, config=config) for question in (QUESTION, "And blue?")]
    total = sum(message.usage_metadata["total_tokens"] for message in messages)
    assert counter.usage_metadata[MODEL]["total_tokens"] == total


def test_a_configured_and_bound_chain_keeps_both(start):
    start()
    listener = Listener()
    model = llm.chat_model(MODEL).bind(seed=3).with_config(tags=["mine"], callbacks=[listener])
    assert model.invoke(QUESTION).content == llm.run_llm(MODEL, QUESTION, seed=3).content
    assert "mine" in listener.tags


@pytest.mark.parametrize("is_global", [False, True])
def test_a_cached_answer_is_not_bought_again(start, is_global):
    server, cache = start(), InMemoryCache()
    options = {} if is_global else {"cache": cache}
    if is_global:
        set_llm_cache(cache)
    try:
        first, second = (llm.chat_model(MODEL, **options).invoke(QUESTION) for _ in range(2))
        assert first.content == second.content
        assert len(server.lines) == 1
        llm.chat_model(MODEL, temperature=0.5, **options).invoke(QUESTION)
        llm.chat_model(MODEL, extra_body={"openrouter": {"transforms": []}}, **options).invoke(QUESTION)
        llm.chat_model(OTHER, **options).invoke(QUESTION)
        llm.chat_model(MODEL, **options).bind_tools([paint]).invoke(QUESTION)
        assert len(server.lines) == 5
        llm.chat_model(MODEL, timeout=30, max_retries=1, **options).invoke(QUESTION)
        assert len(server.lines) == 5
    finally:
        set_llm_cache(None)


def test_an_alias_that_means_another_model_now_is_asked_anew(start):
    server = start()
    model = llm.chat_model("gemma", cache=InMemoryCache())
    model.invoke(QUESTION)
    llm.models.aliases["gemma"] = OTHER
    model.invoke(QUESTION)
    assert [line.model for line in server.lines] == ["google/gemma-3-27b-it", OTHER]


class Counting(BaseRateLimiter):
    """Lets everything through and counts it."""

    def __init__(self):
        self.count = 0

    def acquire(self, *, blocking=True):
        self.count += 1
        return blocking

    async def aacquire(self, *, blocking=True):
        return self.acquire(blocking=blocking)


@WAYS
def test_a_rate_limiter_counts_runs_and_not_attempts(start, ask):
    start("openrouter[1]: 401; openrouter[2]: 503*2")
    limiter = Counting()
    ask(llm.chat_model(MODEL, rate_limiter=limiter), QUESTION)
    assert limiter.count == 1
    assert len(words("outcome")) == 4


def test_no_copy_or_picture_of_it_holds_a_key(start, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_PROXY", "OPENAI_API_BASE", "OPENAI_ORG_ID", "LANGSMITH_GATEWAY_API_KEY"):
        monkeypatch.setenv(name, f"http://{CANARY}")
    start()
    llm.OPENROUTER_KEYS[:] = [f"sk-or-v1-{CANARY}"]
    model = llm.chat_model(MODEL, temperature=0)
    bound = model.bind_tools([paint])
    for one in (
        model,
        bound,
        model.with_structured_output(Report),
        HumanMessage("x") and model.with_config(tags=["t"]),
    ):
        pictures = [
            repr(one),
            str(one),
            dumps(one),
            json.dumps(dumpd(one)),
            str(pickle.dumps(one)),
            str(copy.copy(one)),
        ]
        assert CANARY not in "".join(pictures)
    assert CANARY not in str([model.model_dump(), model.__dict__, model._identifying_params, model._get_ls_params()])
    assert not model.is_lc_serializable()


def test_a_pickled_and_a_copied_chain_asks_the_same(start):
    start()
    model = llm.chat_model(MODEL, temperature=0.5, max_retries=1)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), model.model_copy()):  # noqa: S301 - our own
        assert other == model
        assert other.invoke(QUESTION).content == model.invoke(QUESTION).content


def test_tokens_are_estimated_without_looking_anything_up():
    model = llm.chat_model("gemma")
    assert model.get_num_tokens("x" * 40) == 10
    assert model.get_num_tokens("") == 0
    alone = model.get_num_tokens_from_messages([HumanMessage("x" * 40)])
    assert 10 <= alone <= 20
    assert model.get_num_tokens_from_messages([HumanMessage("x" * 40)], tools=[paint]) > alone
    with pytest.raises(llm.ConfigError, match="custom_get_token_ids"):
        model.get_token_ids("x")


def test_tokens_are_counted_by_the_users_own_tokenizer():
    model = llm.chat_model("gemma", custom_get_token_ids=lambda text: [1] * len(text.split()))
    assert model.get_num_tokens("one two three") == 3
    assert model.get_token_ids("one two") == [1, 1]
    assert model.get_num_tokens_from_messages([HumanMessage("one two"), HumanMessage("three")]) == 3
