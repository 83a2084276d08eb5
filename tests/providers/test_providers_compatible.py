"""A user's own backends as wires: what a server is sent, and what a foreign exception tells."""

import asyncio
import pickle
import socket
import ssl

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from rehearsing import wait_until

from llm_executor_nb.core import clock
from llm_executor_nb.core.foreign_text import scrub
from llm_executor_nb.core.records import Fault, FaultKind, Reply
from llm_executor_nb.core.threads import OwnLoop
from llm_executor_nb.providers.events import Silence
from llm_executor_nb.providers.foreign_errors import read_error
from llm_executor_nb.providers.model_object import ChatModelObject
from llm_executor_nb.providers.payload import make_payload
from llm_executor_nb.providers.wires import make_wire
from llm_executor_nb.settings.backends import check_chat_model


class Recorder(FakeListChatModel):
    """Keeps what it was called with."""

    temperature: float | None = None
    seen: list = []  # noqa: RUF012 - pydantic copies the default

    def _call(self, messages, stop=None, run_manager=None, **kwargs):
        self.seen.append({"messages": messages, "stop": stop, "temperature": self.temperature, **kwargs})
        return super()._call(messages, stop, run_manager)


class Raising:
    """A duck: an object that has `ainvoke` and nothing else."""

    def __init__(self, error):
        self.error = error

    async def ainvoke(self, *_, **__):
        raise self.error


class Thing:
    def __init__(self, **attributes):
        vars(self).update(attributes)


def error(name, base=Exception, text="words", **attributes):
    raised = type(name, (base,), {"__module__": "foreign"})(text)
    vars(raised).update(attributes)
    return raised


def asked(model):
    return ChatModelObject(model, OwnLoop())


def answer(model, request="hi", extra=None, timeout_s=None, **params):
    return asyncio.run(asked(model).answer(make_payload(request, params), extra or {}, timeout_s=timeout_s))


def chunks(model, timeout_s=None):
    async def collect():
        pieces = asked(model).stream(make_payload("hi", {}), {}, Silence(timeout_s))
        try:
            return [chunk async for chunk in pieces], pieces.error
        finally:
            pieces.close()

    return asyncio.run(collect())


# --- servers ------------------------------------------------------------------------------------------------------


def test_a_server_is_a_wire_without_headers_of_its_own():
    wire = make_wire("ollama", "http://localhost:11434/v1/")
    assert (wire.name, wire.url) == ("ollama", "http://localhost:11434/v1/chat/completions")
    assert wire.headers == {}


# --- objects: what they are asked ---------------------------------------------------------------------------------


def test_an_object_is_asked_with_the_same_messages():
    model = Recorder(responses=["yes"])
    call = {"name": "look", "args": {"at": "it"}, "id": "1"}
    request = [
        ("system", "be brief"),
        ("user", "hi"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("seen", tool_call_id="1"),
    ]
    assert answer(model, request).content == "yes"
    (seen,) = model.seen
    assert [message.type for message in seen["messages"]] == ["system", "human", "ai", "tool"]
    assert seen["messages"][2].tool_calls[0]["args"] == {"at": "it"}


def test_parameters_are_fields_where_the_object_has_them_and_arguments_elsewhere():
    model = Recorder(responses=["yes"], temperature=0.9)
    answer(model, temperature=0.1, seed=7, stop=["."], extra={"keep_alive": 5})
    answer(model)
    first, second = model.seen
    assert (first["temperature"], first["seed"], first["stop"], first["keep_alive"]) == (0.1, 7, ["."], 5)
    assert (model.temperature, second["temperature"]) == (0.9, 0.9)


def test_tools_are_bound_by_the_object_itself():
    bound = {}

    class Tooled(Recorder):
        def bind_tools(self, tools, **kwargs):
            bound.update(kwargs, tools=tools)
            return self

    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    answer(Tooled(responses=["x"]), tools=[tool], tool_choice="look")
    assert bound == {"tools": [tool], "tool_choice": "look"}
    answer(Tooled(responses=["x"]), tools=[tool], tool_choice="any")
    assert bound["tool_choice"] == "any"


@pytest.mark.parametrize("model", [FakeListChatModel(responses=["x"]), Raising(None)])
def test_an_object_that_takes_no_tools_does_not_support_the_request(model):
    told = answer(model, tools=[{"type": "function", "function": {"name": "look"}}])
    assert told["error"]["code"] == 405


def test_what_is_noted_on_a_message_is_not_noted_on_the_objects_own():
    kept = AIMessage("always the same")

    class Same:
        def invoke(self, *_, **__):
            return kept

    answer(Same()).response_metadata["note"] = 1
    assert kept.response_metadata == {}


def test_the_callers_own_callbacks_are_not_the_objects():
    seen = []

    class Duck:
        async def ainvoke(self, _, config):
            seen.append(config)
            return AIMessage("x")

    answer(Duck())
    assert seen == [{"callbacks": []}]


def test_a_synchronous_object_is_asked_in_a_thread_and_streams():
    class Sync:
        def invoke(self, *_, **__):
            asyncio.run(asyncio.sleep(0))  # refused where a loop runs
            return AIMessage("whole")

        def stream(self, *_, **__):
            yield AIMessage("one")
            yield AIMessage("two")

    assert answer(Sync()).content == "whole"
    assert [chunk.content for chunk in chunks(Sync())[0]] == ["one", "two"]


def test_an_object_that_cannot_stream_gives_one_chunk():
    class Duck:
        async def ainvoke(self, *_, **__):
            return AIMessage("whole")

    (chunk,), told = chunks(Duck())
    assert (chunk.content, chunk.chunk_position, told) == ("whole", "last", None)


# --- objects: in time, and without an exception -------------------------------------------------------------------


def test_an_object_is_cancelled_when_its_time_is_over():
    ended = []

    class Slow:
        async def ainvoke(self, *_, **__):
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("ended")

        async def astream(self, *_, **__):
            yield AIMessage("one")
            await self.ainvoke()

    told = answer(Slow(), timeout_s=0.02)
    assert (told.kind, told.detail) == (FaultKind.TIMEOUT, "no answer within 0.02 s")
    (chunk,), told = chunks(Slow(), timeout_s=0.02)
    assert (chunk.content, told.kind) == ("one", FaultKind.TIMEOUT)
    wait_until(lambda: ended == ["ended", "ended"], 5)  # on a loop of its own


@pytest.mark.parametrize("raised", [TimeoutError(), TimeoutError("mine"), error("ReadTimeout")])
def test_an_objects_own_timeout_is_one(raised):
    assert answer(Raising(raised)).kind is FaultKind.TIMEOUT


def test_an_object_that_cancels_itself_has_failed_and_cancels_nobody():
    assert isinstance(answer(Raising(asyncio.CancelledError())), dict)


def test_stop_iteration_hangs_nobody():
    class Sync:
        def invoke(self, *_, **__):
            raise StopIteration

    with clock.use(clock.Clock()):
        assert isinstance(answer(Sync(), timeout_s=5), dict)


@pytest.mark.parametrize("result", ["text", None, {"content": "x"}])
def test_what_is_no_message_is_malformed(result):
    class Duck:
        def invoke(self, *_, **__):
            return result

    told = answer(Duck())
    assert (told.kind, type(result).__name__ in told.detail) == (FaultKind.MALFORMED, True)


def test_an_exception_after_some_pieces_ends_the_stream():
    class Breaking:
        async def astream(self, *_, **__):
            yield AIMessage("one")
            raise error("APIStatusError", status_code=503)

    (chunk,), told = chunks(Breaking())
    assert (chunk.content, told.status) == ("one", 503)


# --- foreign exceptions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (error("APIStatusError", status_code=429), 429),
        (error("ClientResponseError", status=503), 503),
        (error("ClientError", code=404), 404),
        (error("HTTPStatusError", response=Thing(status_code=401)), 401),
        (error("HTTPStatusError", response=Thing(status=500)), 500),
        (error("ThrottlingException", response={"ResponseMetadata": {"HTTPStatusCode": 400}}), 400),
    ],
)
def test_the_status_is_found_wherever_a_client_puts_it(raised, status):
    told = read_error(raised)
    assert isinstance(told, Reply)
    assert told.status == status


def test_the_status_may_be_on_what_an_exception_came_from():
    outer = error("AttributeError_", text="'str' object has no attribute 'get'")
    outer.__context__ = error("HfHubHTTPError", response=Thing(status_code=402))
    assert read_error(outer).status == 402
    outer.__suppress_context__ = True
    assert isinstance(read_error(outer), dict)


@pytest.mark.parametrize("shape", [{"Retry-After": "7"}, Thing(items=lambda: [("Retry-After", 7)])])
def test_headers_come_in_lower_case(shape):
    assert read_error(error("E", response=Thing(status_code=429, headers=shape))).headers == {"retry-after": "7"}


def test_the_body_is_the_providers_own():
    body = {"error": {"message": "no such model", "code": "model_not_found"}}
    for told in (
        read_error(error("E", status_code=404, body=body)),
        read_error(error("E", status_code=404, response=Thing(text='{"error": {"message": "no such model"}}'))),
        read_error(error("E", status_code=404, response=Thing(content=b'{"error": {"message": "no such model"}}'))),
    ):
        assert b"no such model" in told.body
        assert b"words" not in told.body
    assert b"words" in read_error(error("E", status_code=404)).body
    assert read_error(ValueError(body)) == body


def test_a_property_that_raises_tells_nothing():
    class Unread:
        status_code = 500

        @property
        def text(self):
            raise RuntimeError("not read")

        headers = property(text.fget)

    assert read_error(error("E", response=Unread())).status == 500


class Mute(Exception):  # noqa: N818 - a foreign name
    def __str__(self):
        raise RuntimeError


def test_an_exception_that_cannot_be_printed_is_one_too():
    assert isinstance(read_error(Mute()), dict)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (TimeoutError(), FaultKind.TIMEOUT),
        (ConnectionRefusedError(), FaultKind.REFUSED),
        (ConnectionResetError(), FaultKind.CLOSED),
        (socket.gaierror(), FaultKind.DNS),
        (ssl.SSLError(), FaultKind.TLS),
        (OSError("disk"), FaultKind.CONNECT),
        (error("APITimeoutError", type("APIConnectionError", (Exception,), {})), FaultKind.TIMEOUT),
        (error("APIConnectionError"), FaultKind.CONNECT),
        (error("RemoteProtocolError"), FaultKind.CONNECT),
        (error("JSONDecodeError", ValueError), FaultKind.MALFORMED),
        (TypeError("Received response with null value for 'choices'"), FaultKind.MALFORMED),
        (IndexError(), FaultKind.MALFORMED),
    ],
)
def test_faults_are_told_by_class(raised, kind):
    told = read_error(raised)
    assert isinstance(told, Fault)
    assert told.kind is kind


@pytest.mark.parametrize(
    ("raised", "meaning"),
    [
        (error("RateLimitError"), 429),
        (error("ResourceExhausted"), 429),
        (error("AuthenticationError"), 401),
        (error("PermissionDeniedError"), 403),
        (error("NotFoundError"), 404),
        (error("ServiceUnavailableError"), 503),
        (error("BadRequestError"), 400),
        (error("InternalServerError"), 500),
        (error("ContextOverflowError"), "context_length_exceeded"),
        (error("ContentPolicyViolationError"), "content_filter"),
        (error("Mine", type("RateLimitError", (Exception,), {"__module__": "foreign"})), 429),
        (NotImplementedError(), 405),
        (TypeError("chat() got an unexpected keyword argument 'seed'"), 400),
        (RuntimeError("whatever"), 500),
    ],
)
def test_without_a_status_names_of_classes_tell(raised, meaning):
    told = read_error(raised)["error"]
    assert meaning in (told.get("code"), told.get("type"))
    assert told["class"] == type(raised).__name__


# --- keys of objects ----------------------------------------------------------------------------------------------


def test_the_keys_of_an_object_are_scrubbed_from_then_on():
    class Hidden:
        def get_secret_value(self):
            return "plainkey-canary-0001"

    inner = FakeListChatModel(responses=["x"])
    thing = Thing(
        api_key=Hidden(),
        invoke=print,
        deeper=[{"hub_token": "plainkey-canary-0002"}],
        max_tokens=5,
        tokenizer_name="google/gemma-3-27b-it",
        bound=inner,
    )
    check_chat_model(thing)
    assert scrub("google/gemma-3-27b-it") == "google/gemma-3-27b-it"
    assert "canary" not in scrub("a plainkey-canary-0001 and plainkey-canary-0002")


def test_what_an_exception_tells_holds_no_exception():
    raised = error("E", status_code=500, request=Thing(headers={"Authorization": "Bearer x"}))
    assert pickle.loads(pickle.dumps(read_error(raised))) == read_error(raised)  # noqa: S301 - our own bytes
