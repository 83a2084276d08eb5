"""Our path gives what LangChain's own `ainvoke` gives for the same bytes, but for the allowed differences."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import tomllib
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.providers import langchain
from llm_executor_nb.providers.payload import make_body, make_payload
from llm_executor_nb.providers.transport import Transport
from llm_executor_nb.providers.wires import make_wire

MODEL = "google/gemma-3-27b-it"
KEY = "hf_fake0001"
PROJECT = Path(__file__).parents[2] / "pyproject.toml"

openrouter, hugging_face = partial(make_wire, "openrouter"), partial(make_wire, "huggingface")


def body_of(message, *, finish="stop", usage=None, **choice):
    return {
        "id": "gen-1",
        "object": "chat.completion",
        "created": 1,
        "model": "google/gemma-3-27b-it-answered",
        "choices": [
            {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice},
        ],
        "usage": usage or {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
BAD_CALL = {"id": "call_2", "type": "function", "function": {"name": "add", "arguments": '{"a": '}}
LOGPROBS = {"content": [{"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}], "refusal": None}
DETAILS = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
    "cost": 0.00012,
}

CASES = {
    "plain text": body_of({"content": "Paris."}),
    "tool calls": body_of({"content": None, "tool_calls": [TOOL_CALL]}, finish="tool_calls"),
    "a broken tool call": body_of({"content": "", "tool_calls": [BAD_CALL]}, finish="tool_calls"),
    "refusal": body_of({"content": "", "refusal": "I cannot."}),
    "logprobs": body_of({"content": "Hi"}, logprobs=LOGPROBS),
    "usage with details and cost": body_of({"content": "Hi"}, usage=DETAILS),
    "reasoning": body_of({"content": "Hi", "reasoning": "Let me see", "reasoning_content": "Let me see"}),
    "length": body_of({"content": "Pa"}, finish="length"),
}


class Loopback:
    """A provider that answers every request with the same bytes and keeps what it was asked."""

    def __init__(self, body):
        is_stream = isinstance(body, bytes)
        self.answer = body if is_stream else json.dumps(body).encode()
        self.kind = "text/event-stream" if is_stream else "application/json"
        self.requests = []

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.root = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _answer(self, request):
        self.requests.append((dict(request.headers), await request.json()))
        return web.Response(body=self.answer, content_type=self.kind)


async def by_our_path(backend, payload, provider=None):
    transport = Transport()
    model = f"{MODEL}:{provider}" if provider else MODEL
    reply = await transport.post(
        backend.url,
        body=make_body(payload, model=model, backend=backend.name),
        secret=Secret(KEY),
        headers=backend.headers,
        timeout_s=5,
    )
    await transport.close()
    return backend.message(json.loads(reply.body), model)


def fields_of(message):
    fields = message.model_dump()
    assert fields.pop("id").startswith(("lc_run--", "run--"))
    return fields


def without(fields, *names):
    return {name: value for name, value in fields.items() if name not in names}


@pytest.fixture(autouse=True)
def keyless(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "LANGSMITH_TRACING"):
        monkeypatch.delenv(name, raising=False)


async def chat_openai(root, use=lambda model: model.ainvoke("Hello")):
    """Use ChatOpenAI once; it keeps its HTTP client by address, closed ones too, and ports come again."""
    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - imported in the test, not at collection
    from langchain_openai.chat_models import _client_utils  # noqa: PLC0415 - as above

    _client_utils._cached_async_httpx_client.cache_clear()
    _client_utils._cached_sync_httpx_client.cache_clear()
    model = ChatOpenAI(model=MODEL, base_url=f"{root}/v1", api_key="fake", max_retries=0)
    try:
        return await use(model)
    finally:
        await model.root_async_client.close()
        model.root_client.close()


@pytest.mark.parametrize("case", CASES)
def test_an_openrouter_answer_is_what_chat_openai_makes_of_it(case):
    async def story():
        async with Loopback(CASES[case]) as server:
            ours = await by_our_path(openrouter(f"{server.root}/v1"), make_payload("Hello", {}))
            theirs = await chat_openai(server.root)
        return ours, theirs

    ours, theirs = map(fields_of, asyncio.run(story()))
    # The three allowed differences: a null refusal, usage raw instead of padded with nulls, "" for no fingerprint.
    if ours["additional_kwargs"].get("refusal") is None:
        theirs["additional_kwargs"].pop("refusal", None)
    our_meta, their_meta = ours.pop("response_metadata"), theirs.pop("response_metadata")
    assert ours == theirs
    assert without(our_meta, "token_usage", "system_fingerprint") == without(
        their_meta,
        "token_usage",
        "system_fingerprint",
    )
    assert our_meta["token_usage"] == CASES[case]["usage"]
    assert our_meta["token_usage"].items() <= _unpadded(their_meta["token_usage"]).items()
    assert our_meta["system_fingerprint"] == ""
    assert their_meta["system_fingerprint"] is None


def _unpadded(usage):
    """Without the nulls that the SDK's classes add."""
    return {
        name: _unpadded(value) if isinstance(value, dict) else value
        for name, value in usage.items()
        if value is not None
    }


async def chat_hugging_face(root, monkeypatch, use=lambda model: model.ainvoke("Hello")):
    from huggingface_hub import constants  # noqa: PLC0415 - imported in the test, not at collection
    from langchain_huggingface import ChatHuggingFace, HuggingFaceEndpoint  # noqa: PLC0415 - as above

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # the hub's own client tells of its harness
    endpoint = HuggingFaceEndpoint(model=f"{root}/v1", provider="auto", huggingfacehub_api_token=KEY)
    try:
        return await use(ChatHuggingFace(llm=endpoint))
    finally:
        if hasattr(endpoint.async_client, "close"):
            await endpoint.async_client.close()


@pytest.mark.parametrize("case", CASES)
def test_a_hugging_face_answer_is_what_chat_hugging_face_makes_of_it_completed(case, monkeypatch):
    async def story():
        async with Loopback(CASES[case]) as server:
            ours = await by_our_path(hugging_face(f"{server.root}/v1"), make_payload("Hello", {}))
            theirs = await chat_hugging_face(server.root, monkeypatch)
        return ours, theirs

    ours, theirs = map(fields_of, asyncio.run(story()))
    body = CASES[case]
    our_meta, their_meta = ours.pop("response_metadata"), theirs.pop("response_metadata")
    our_usage, their_usage = ours.pop("usage_metadata"), theirs.pop("usage_metadata")
    assert ours["additional_kwargs"].pop("refusal", None) == body["choices"][0]["message"].get("refusal")
    assert _plain(ours) == _plain(theirs)
    assert without(our_usage, "input_token_details", "output_token_details") == their_usage
    assert (our_meta["system_fingerprint"], their_meta["system_fingerprint"]) == ("", None)
    allowed = ("model_name", "token_usage", "id", "model_provider", "logprobs", "system_fingerprint")
    assert without(our_meta, *allowed) == without(their_meta, *allowed)
    assert our_meta.get("logprobs") == body["choices"][0].get("logprobs")
    assert our_meta["token_usage"] == body["usage"]
    assert (our_meta["model_name"], our_meta["id"]) == (body["model"], "gen-1")
    assert our_meta["model_provider"] == "huggingface"


def _plain(value):
    """The hub's own dict classes as plain dicts, without the nulls they add."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def test_usage_details_and_cost_are_the_same_on_both_backends():
    body = CASES["usage with details and cost"]
    by_openrouter, by_huggingface = (
        wire("https://router.invalid").message(body, MODEL) for wire in (openrouter, hugging_face)
    )
    assert by_openrouter.usage_metadata == by_huggingface.usage_metadata
    assert by_huggingface.usage_metadata["input_token_details"] == {"cache_read": 4}
    assert by_huggingface.usage_metadata["output_token_details"] == {"reasoning": 3}
    assert by_huggingface.response_metadata["token_usage"]["cost"] == 0.00012


def test_a_refusal_is_kept_on_both_backends():
    for wire in (openrouter("https://router.invalid"), hugging_face("https://router.invalid")):
        assert wire.message(CASES["refusal"], MODEL).additional_kwargs["refusal"] == "I cannot."


def test_the_same_request_goes_to_both_backends_with_nothing_that_was_not_set():
    async def story():
        async with Loopback(CASES["plain text"]) as server:
            payload = make_payload("Hello", {"temperature": 0, "max_tokens": 9, "seed": None}, system="Be short.")
            await by_our_path(openrouter(f"{server.root}/v1/"), payload)
            await by_our_path(hugging_face(f"{server.root}/v1"), payload, "scaleway")
        return server.requests

    (to_openrouter, first), (_, second) = asyncio.run(story())
    assert first == {
        "model": MODEL,
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}],
        "temperature": 0,
        "max_tokens": 9,
    }
    assert second == {**first, "model": f"{MODEL}:scaleway"}
    assert to_openrouter["X-OpenRouter-Title"] == "llm_executor_nb"
    assert "HTTP-Referer" not in to_openrouter
    assert to_openrouter["Authorization"] == f"Bearer {KEY}"


def test_translators_open_no_connection_and_take_nothing_from_the_environment(monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a translator went out")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROXY", "HF_TOKEN", "LANGSMITH_API_KEY"):
        monkeypatch.setenv(name, "sk-or-v1-fake-0001")
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:1")
    monkeypatch.setenv("LC_OUTPUT_VERSION", "responses/v1")
    for made in (langchain.payload_builder, langchain.openai_reader, langchain.huggingface_reader):
        made.cache_clear()
    assert make_payload("Hello", {}) == {"messages": [{"role": "user", "content": "Hello"}]}
    for wire in (openrouter("https://router.invalid"), hugging_face("https://router.invalid")):
        assert wire.message(CASES["plain text"], MODEL).content == "Paris."
    for translate in (langchain.payload_builder(), langchain.openai_reader(), langchain.huggingface_reader(MODEL)):
        assert "fake-0001" not in repr(translate.__self__.__dict__)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wire", [openrouter("https://router.invalid"), hugging_face("https://router.invalid")], ids=lambda wire: wire.name
)
def test_what_servers_leave_out_does_not_break_an_answer(wire):
    body = {"choices": [{"message": {"content": "Hi", "tool_calls": None}}], "usage": None}
    message = wire.message(body, MODEL)
    assert (message.type, message.content, message.usage_metadata) == ("ai", "Hi", None)
    assert message.response_metadata["finish_reason"] is None
    with pytest.raises(ValueError, match="LangChain cannot read this answer"):
        wire.message({"choices": [{"message": None}]}, MODEL)


@pytest.mark.parametrize(
    "wire", [openrouter("https://router.invalid"), hugging_face("https://router.invalid")], ids=lambda wire: wire.name
)
def test_an_answer_is_read_without_changing_the_body(wire):
    body = CASES["usage with details and cost"]
    before = json.dumps(body)
    first, second = wire.message(body, MODEL), wire.message(body, MODEL)
    assert json.dumps(body) == before
    assert first.id != second.id


def test_the_private_names_of_langchain_are_there_with_the_signatures_we_use():
    from langchain_huggingface import ChatHuggingFace  # noqa: PLC0415 - imported in the test, not at collection
    from langchain_huggingface.chat_models import huggingface  # noqa: PLC0415 - as above
    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - as above
    from langchain_openai.chat_models import base  # noqa: PLC0415 - as above

    build = inspect.signature(base.BaseChatOpenAI._get_request_payload)
    build.bind("self", [], stop=None, temperature=0)
    inspect.signature(ChatOpenAI._create_chat_result).bind("self", {})
    inspect.signature(ChatHuggingFace._create_chat_result).bind("self", {})
    inspect.signature(base._create_usage_metadata).bind({})
    inspect.signature(base.BaseChatOpenAI._convert_chunk_to_generation_chunk).bind("self", {}, type, {})
    inspect.signature(huggingface._convert_chunk_to_message_chunk).bind({}, type)
    assert "validate_environment" in base.BaseChatOpenAI.__pydantic_decorators__.model_validators


def test_a_missing_private_name_is_said_with_the_installed_versions():
    class Newer:
        pass

    with pytest.raises(ConfigError, match=r"has no .*Newer\._gone \(langchain-core \d.*langchain-openai \d"):
        langchain.require(Newer, "_gone")


def test_the_pip_line_names_the_versions_that_the_project_declares():
    declared = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    assert list(langchain.REQUIREMENTS) == [one for one in declared if one.startswith("langchain")]
