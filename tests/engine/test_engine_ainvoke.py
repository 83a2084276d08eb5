"""Where LangChain lacks a private name that our transport needs, ChatOpenAI's own client sends, and all else holds.

The names are taken away for real: `getattr` on their class or module does not find them, while LangChain's own code
still reaches them, as it would reach them under the new name of a later version.
"""

from __future__ import annotations

import builtins
import contextlib
import logging
import pickle
import traceback

import pandas as pd
import pytest
from doors import DOORS, STREAMS
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from rehearsing import MODEL, ROUTES, assert_log_is_what_the_server_saw, fresh, settle, wait_until, waits, words

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.chain.stand_in import StandIn
from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.providers import langchain, own_client
from llm_executor_nb.rehearsal.catalogue import CATALOGUE

CANARY = "canarycanary"
GETTERS = (
    langchain.payload_builder,
    langchain.openai_reader,
    langchain.huggingface_reader,
    langchain.openai_chunk_reader,
    langchain.huggingface_chunk_reader,
    langchain.usage_reader,
)
BOTH, OPENROUTER, HUGGINGFACE = {"openrouter", "huggingface"}, {"openrouter"}, {"huggingface"}
NAMES = {
    "_get_request_payload": BOTH,
    "_create_chat_result": OPENROUTER,
    "_convert_chunk_to_generation_chunk": OPENROUTER,
    "ChatHuggingFace._create_chat_result": HUGGINGFACE,
    "_convert_chunk_to_message_chunk": HUGGINGFACE,
    "_create_usage_metadata": HUGGINGFACE,
}
"""Each private name, and the wires that need it."""


class _Renamed:
    """A method that an object still has, as it would have it under a new name, and its class has not."""

    def __init__(self, method):
        self._method = method

    def __get__(self, one, kind):
        if one is None:
            raise AttributeError
        return self._method.__get__(one, kind)


def _hide(monkeypatch, name):
    from langchain_huggingface import ChatHuggingFace  # noqa: PLC0415 - loaded in the test, not at collection
    from langchain_huggingface.chat_models import huggingface  # noqa: PLC0415 - as above
    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - as above
    from langchain_openai.chat_models import base  # noqa: PLC0415 - as above

    owner, _, bare = name.rpartition(".")
    kinds = (ChatHuggingFace,) if owner else (ChatOpenAI, base.BaseChatOpenAI)
    for kind in kinds:
        if bare in vars(kind):
            monkeypatch.setattr(kind, bare, _Renamed(vars(kind)[bare]))
    for module in (base, huggingface):
        if bare in vars(module):  # the module's own code finds it among the builtins
            monkeypatch.setattr(builtins, bare, vars(module)[bare], raising=False)
            monkeypatch.delattr(module, bare)


@pytest.fixture(autouse=True)
def _settings(monkeypatch):
    monkeypatch.setattr(own_client, "_told", set())
    with fresh(), clock.use(clock.FrozenClock()):
        yield
    _forget()


def _forget():
    for getter in GETTERS:
        getter.cache_clear()


@pytest.fixture
def hide(monkeypatch):
    def hide(name="_create_chat_result"):
        _forget()
        _hide(monkeypatch, name)

    yield hide
    monkeypatch.undo()
    _forget()


def _ask(door, *args, **options):
    with pytest.warns(llm.LLMExecutorWarning, match=r"has no .*langchain-core \d.*own client"):
        return DOORS[door](*args, **options)


# --- which wires stand in, and the warning ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_wires_that_need_a_missing_name_fall_back_and_say_so_once(name, hide):
    hide(name)
    with llm.rehearse() as server:
        with pytest.warns(llm.LLMExecutorWarning) as warned:
            exchanges = session().engine()._exchanges
        assert {backend for backend, sends in exchanges.items() if isinstance(sends, StandIn)} == NAMES[name]
        assert [str(one.message).count(name.split(".")[-1]) for one in warned] == [1]
        llm.OPENROUTER_KEYS = [] if NAMES[name] == HUGGINGFACE else ["sk-or-v1-rehearsal-0001"]
        assert "red" in llm.run_llm(MODEL, "What is red?").text  # no second warning, which would be an error here
        assert_log_is_what_the_server_saw(server)


def test_with_all_names_there_our_own_transport_sends():
    with llm.rehearse():
        assert not any(isinstance(sends, StandIn) for sends in session().engine()._exchanges.values())


def test_without_the_payload_builder_the_same_messages_and_parameters_are_sent(hide):
    call = {"name": "paint", "args": {"number": 7}, "id": "call-1"}
    request = [
        HumanMessage("Paint", name="Ann"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("done", tool_call_id="call-1"),
    ]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    params = {"temperature": 0, "max_tokens": 9, "stop": ["x"], "seed": 1}
    with llm.rehearse() as server:
        for asked in ("What?", [HumanMessage([{"type": "text", "text": "See"}, picture])], request[:1]):
            llm.run_llm(MODEL, asked, **params)
        hide("_get_request_payload")
        _ask("run", MODEL, "What?", **params)
        llm.run_llm(MODEL, [HumanMessage([{"type": "text", "text": "See"}, picture])], **params)
        llm.run_llm(MODEL, request[:1], **params)
        llm.run_llm(MODEL, request)
        digests = [line.prompt for line in server.lines]
    assert digests[:3] == digests[3:6]
    assert len(set(digests)) == 4


@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_sent_that_our_own_transport_would_not_send(door, hide, monkeypatch):
    headers = _headers_sent(monkeypatch)
    for variable in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROXY", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(variable, CANARY)
    params = {"max_tokens": 9, "reasoning_effort": "low", "extra_body": {"openrouter": {"transforms": []}}}
    with llm.rehearse() as server:
        DOORS[door](MODEL, "What?", **params)
        hide()
        _ask(door, MODEL, "What?", **params)
        settle(server)
        ours, theirs = server.lines
    assert (ours.prompt, ours.is_stream, ours.model, ours.key) == (
        theirs.prompt,
        theirs.is_stream,
        theirs.model,
        theirs.key,
    )
    (sent,) = headers
    assert sent["authorization"].endswith(theirs.key.removeprefix(".."))
    assert "x-openrouter-title" in sent
    assert [name for name, value in sent.items() if CANARY in value] == []


@pytest.mark.parametrize("options", [{}, {"extra_body": {"openrouter": {"stream_options": None}}}])
def test_the_wish_for_a_streams_usage_is_left_out_here_too(options, hide):
    hide()
    with llm.rehearse("openrouter: refused-stream_options") as server:
        assert "red" in _ask("stream", MODEL, "What is red?", **options).text
        assert llm.attempts()["outcome"].astype(str).tolist() == ["unsupported"] * (not options) + ["ok"]
        assert_log_is_what_the_server_saw(server)


def _headers_sent(monkeypatch):
    """Return the list in which the headers of each request of OpenAI's client will be, as they went out."""
    from openai import DefaultAsyncHttpxClient  # noqa: PLC0415 - loaded in the test, not at collection

    sent, send = [], DefaultAsyncHttpxClient.send

    async def noting(self, request, **options):
        response = await send(self, request, **options)
        sent.append(dict(request.headers))
        return response

    monkeypatch.setattr(DefaultAsyncHttpxClient, "send", noting)
    return sent


# --- what holds all the same --------------------------------------------------------------------------------------

NOT_TOLD = {"bad-gzip", "garbage", "huge-body", "408"}
FAULTS = {
    "openrouter: 401@1, 503@2": ["auth", "overloaded", "ok"],
    "openrouter: empty*2": ["empty", "empty", "ok"],
    "openrouter: 429*1 retry-after=7": ["rate_limited", "ok"],
    "openrouter: 402*2; huggingface/a: 404; huggingface/b: 503*1": ["quota", "quota", "not_found", "overloaded", "ok"],
    "openrouter: 200-error*1, html*1, 200-error-beside-text*1": ["server_error", "malformed", "server_error", "ok"],
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("script", FAULTS)
def test_outcomes_log_and_server_agree_over_faults(script, door, hide):
    with llm.rehearse(script) as server:
        DOORS[door](MODEL, "What is red?")
        by_transport = words("outcome"), words("decision"), waits(), words("http_status")
        assert by_transport[0] == FAULTS[script]
    hide("_get_request_payload")
    with llm.rehearse(script) as server:
        message = _ask(door, MODEL, "What is red?")
        assert (words("outcome"), words("decision"), waits(), words("http_status")) == by_transport
        assert_log_is_what_the_server_saw(server)
    assert "red" in message.text
    assert message.usage_metadata["total_tokens"] > 0
    assert message.response_metadata["finish_reason"] == "stop"
    assert llm.attempts(message)["outcome"].tolist() == FAULTS[script]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # an SDK's, of a body whose text is a number
def test_every_fault_of_a_whole_reply_is_judged_as_our_transport_s(hide):
    """But for two: an SDK tells of a broken encoding and of bytes that are no HTTP as of a broken connection."""
    hide("_get_request_payload")
    expected = {
        name: entry.expected("openrouter").outcome
        for name, entry in CATALOGUE.items()
        if "openrouter" in entry.backends and not entry.is_stream_only and name not in NOT_TOLD
    }
    script = ", ".join(f"{name}@{number}" for number, name in enumerate(expected, start=1))
    with llm.rehearse(f"openrouter: {script}", openrouter_keys=1, huggingface_tokens=0) as server:
        llm.configure(retries=0)
        with pytest.warns(llm.LLMExecutorWarning):
            session().engine()
        for outcome in expected.values():
            llm.reset_health()
            with contextlib.suppress(llm.LLMExecutorError):
                llm.run_llm(MODEL, "What?", timeout=0.1 if outcome is Outcome.TIMEOUT else 20)
        assert_log_is_what_the_server_saw(server)
        assert dict(zip(expected, words("outcome"), strict=True)) == expected
    assert len(expected) > 100


@pytest.mark.parametrize("door", DOORS)
def test_when_all_routes_fail_every_one_was_asked_as_promised(door, hide):
    hide("_get_request_payload")
    with llm.rehearse("*: 503") as server, pytest.raises(llm.AllRoutesFailedError) as raised:
        _ask(door, MODEL, "What?")
    assert [attempt.route for attempt in raised.value.attempts] == [route for route in ROUTES for _ in range(4)]
    assert len(server.lines) == 20


@pytest.mark.parametrize("door", STREAMS)
@pytest.mark.parametrize("fault", ["stream-no-end", "stream-error-midway", "stream-bad-json"])
def test_a_stream_that_breaks_is_no_answer(door, fault, hide):
    hide()
    with llm.rehearse(f"openrouter: {fault}") as server, pytest.raises(llm.StreamInterruptedError) as raised:
        _ask(door, MODEL, "What is red?")
    assert raised.value.partial
    assert [attempt.http_status for attempt in raised.value.attempts] == [line.status for line in server.lines]


def test_tool_calls_come_through_whole_and_streamed(hide):
    hide()
    paint = {"type": "function", "function": {"name": "paint", "parameters": {"type": "object", "properties": {}}}}
    with llm.rehearse():
        for door, ask in (("run", _ask), ("stream", lambda door, *args, **options: DOORS[door](*args, **options))):
            message = ask(door, MODEL, "Paint it red", tools=[paint], tool_choice="required")
            assert [call["name"] for call in message.tool_calls] == ["paint"]


@pytest.mark.parametrize("door", DOORS)
def test_a_route_that_hangs_is_left_in_time(door, hide):
    hide()
    with clock.use(clock.Clock()), llm.rehearse("openrouter: hang@1") as server:
        _ask(door, MODEL, "What?", timeout=0.3)
        assert words("outcome") == ["timeout", "ok"]
        wait_until(lambda: server.lines[0].replied_s is not None)


def test_a_column_goes_the_same_way(hide):
    hide()
    frame = pd.DataFrame({"review": [f"review {number}" for number in range(20)]})
    with llm.rehearse("openrouter: 10%503", seed=2) as server, clock.use(clock.ScaledClock(100)):
        with pytest.warns(llm.LLMExecutorWarning, match="own client"):
            out = frame.llm.run(MODEL, "review", progress=False)
        assert_log_is_what_the_server_saw(server, in_order=False)
    assert (out["review_llm_status"] == "ok").all()


# --- secrets ------------------------------------------------------------------------------------------------------


def _told(error):
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [str(frame.locals) for frame in told.stack if "llm_executor_nb" in frame.filename]
    return [str(error), repr(error), repr(vars(error)), pickle.dumps(error).decode("latin-1"), *ours]


@pytest.mark.parametrize("door", DOORS)
def test_a_canary_key_comes_to_light_nowhere(door, hide, caplog):
    caplog.set_level(logging.DEBUG)
    hide("_get_request_payload")
    said = []
    with llm.rehearse("*: 401@1, reset@2, html@3, 400@4..5, 503@6") as server:
        llm.OPENROUTER_KEYS = [f"sk-or-v1-{CANARY}-000{number}" for number in range(3)]
        llm.HUGGINGFACE_TOKENS = [f"hf_{CANARY}0001"]
        with pytest.raises(llm.RequestError) as raised:
            _ask(door, MODEL, "What?")
        said += [*_told(raised.value), repr(DOORS[door](MODEL, "What?")), llm.attempts().to_csv()]
        assert {line.key for line in server.lines} >= {"..0000", "..0001"}
    said += [caplog.text, repr([vars(record) for record in caplog.records])]
    assert [text for text in said if CANARY in text] == []


def test_no_object_of_langchain_s_or_openai_s_holds_the_key(hide, monkeypatch):
    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - loaded in the test, not at collection

    made, begin = [], ChatOpenAI.ainvoke

    async def ainvoke(self, *args, **kwargs):
        made.append((repr(self), repr(self.model_dump()), repr(vars(self.root_async_client)), repr((args, kwargs))))
        made.append((self.root_async_client.api_key, self.openai_api_key.get_secret_value()))
        return await begin(self, *args, **kwargs)

    monkeypatch.setattr(ChatOpenAI, "ainvoke", ainvoke)
    hide()
    with llm.rehearse() as server:
        llm.OPENROUTER_KEYS = [f"sk-or-v1-{CANARY}-0001"]
        _ask("run", MODEL, "What?")
        assert server.lines[0].status == 200
    assert len(made) == 2
    assert [texts for texts in made if any(CANARY in text for text in texts)] == []
