"""A user's chat model objects behind a failing key: reached, judged like all others, and never let out."""

import asyncio
import pickle
import traceback
from types import SimpleNamespace

import pandas as pd
import pytest
from backing import DEAD_KEY, OllamaLike, ResponseError, behind_a_key, failing, only, practice_providers
from doors import DOORS, STREAMS
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from rehearsing import fresh, wait_until, words

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.testing import fake_model

CANARY = "plain-canary-key-9999"


@pytest.fixture(autouse=True)
def frozen():
    with fresh(), clock.use(clock.FrozenClock()) as time:
        llm.configure(openrouter_keys=[], huggingface_tokens=[])
        yield time


@pytest.fixture
def serve():
    with practice_providers() as start:
        yield start


class Message(FakeListChatModel):
    """Answers with one message, as it is."""

    message: AIMessage

    async def ainvoke(self, *_, **__):
        return self.message

    async def astream(self, *_, **__):
        yield self.message


def says_once(**fields):
    return Message(responses=[], message=AIMessage(**fields))


class Broken(Exception):  # noqa: N818 - a foreign name
    """What a client raises: with its request, which holds the key, and a status."""

    def __init__(self, status=None, **attributes):
        super().__init__(f"it broke, with {CANARY} in its text")
        self.request = {"Authorization": f"Bearer {CANARY}"}
        if status is not None:
            self.status_code = status
        vars(self).update(attributes)


# --- objects behind a failing key ---------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_the_fallback_reaches_an_object(serve, door):
    serve(DEAD_KEY)
    behind_a_key(chat_model=FakeListChatModel(responses=["from the object"]))
    reply = DOORS[door]("m", "x")
    assert reply.content == "from the object"
    assert words("outcome") == ["auth", "ok"]
    assert words("route") == ["openrouter ..0001", "mine"]
    assert llm.attempts(reply)["outcome"].tolist() == ["auth", "ok"]
    assert llm.attempts()["http_status"].isna().tolist() == [False, True]


@pytest.mark.parametrize("door", DOORS)
def test_the_fallback_reaches_an_object_like_chat_ollama(serve, door):
    serve(DEAD_KEY)
    behind_a_key(chat_model=OllamaLike())
    reply = DOORS[door]("m", "x")
    assert reply.content == "from Ollama"
    assert reply.usage_metadata["output_tokens"] == 4
    *_, last = llm.attempts(reply).itertuples()
    assert (last.route, last.outcome, last.finish_reason) == ("mine", "ok", "stop")
    assert (last.response_model, last.input_tokens, last.output_tokens) == ("gemma3:27b", 3, 4)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        (ResponseError("model 'm' not found", 404), "not_found"),
        (ResponseError("unexpected EOF", 500), "server_error"),
        (ConnectionError("Failed to connect to Ollama. Please check that it is running."), "connection"),
        (None, "empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_goes_wrong_with_one_like_chat_ollama_is_an_outcome(serve, door, raised, outcome):
    serve(DEAD_KEY)
    behind_a_key(chat_model=OllamaLike(error=raised, text=""))
    llm.configure(retries=1)
    with pytest.raises(llm.AllRoutesFailedError, match="mine"):
        DOORS[door]("m", "x")
    assert words("outcome") == ["auth", *[outcome] * (1 if outcome == "not_found" else 2)]


@pytest.mark.parametrize("door", STREAMS)
def test_an_object_streams_piece_by_piece(door):
    only("mine", chat_model=FakeListChatModel(responses=["abc"]))
    chunks = STREAMS[door]("m", "x")
    assert [chunk.content for chunk in chunks if chunk.content] == ["a", "b", "c"]
    assert chunks[-1].response_metadata["llm_run_id"]
    assert [chunk.chunk_position for chunk in chunks if chunk.chunk_position] == ["last"]
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("blank", ["", "   "])
def test_an_empty_answer_of_an_object_is_none(serve, door, blank):
    serve(DEAD_KEY)
    behind_a_key(chat_model=says_once(content=blank))
    llm.configure(retries=1)
    with pytest.raises(llm.AllRoutesFailedError, match="mine"):
        DOORS[door]("m", "x")
    assert words("outcome") == ["auth", "empty", "empty"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ({"content": "", "response_metadata": {"finish_reason": "length"}}, "truncated"),
        ({"content": "", "response_metadata": {"stop_reason": "max_tokens"}}, "truncated"),
        ({"content": "", "response_metadata": {"finish_reason": "SAFETY"}}, "content_filter"),
        ({"content": "", "additional_kwargs": {"refusal": "I will not"}}, "content_filter"),
    ],
)
def test_what_is_no_answer_of_an_object_is_refused(door, message, outcome):
    only("mine", chat_model=says_once(**message))
    with pytest.raises(llm.RequestError) as raised:
        DOORS[door]("m", "x")
    assert raised.value.outcome == outcome


def test_an_objects_message_passes_as_it_came():
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    told = {"done_reason": "stop", "model": "gemma3:27b"}
    call = {"name": "look", "args": {"at": 1}, "id": "1", "type": "tool_call"}
    message = AIMessage("", tool_calls=[call], usage_metadata=usage, response_metadata=told, id="mine")
    only("mine", chat_model=Message(responses=[], message=message))
    reply = llm.run_llm("m", "x")
    run_id = reply.response_metadata.pop("llm_run_id")
    assert reply == message
    assert message.response_metadata == told
    (attempt,) = llm.attempts(run_id).itertuples()
    assert (attempt.finish_reason, attempt.response_model) == ("stop", "gemma3:27b")
    assert (attempt.input_tokens, attempt.output_tokens) == (3, 4)
    assert pd.isna(attempt.cost_usd)


ERRORS = [
    (Broken(503), ["overloaded", "overloaded", "overloaded", "overloaded"]),
    (Broken(), ["server_error"] * 4),
    (Broken(429, response=type("R", (), {"headers": {"Retry-After": "9"}})()), ["rate_limited"] * 4),
    (Broken(401), ["auth"]),
    (Broken(404), ["not_found"]),
    (ConnectionRefusedError(CANARY), ["connection"] * 4),
    (TimeoutError(CANARY), ["timeout"] * 4),
    (KeyError(CANARY), ["malformed"] * 4),
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("raised", "outcomes"), ERRORS, ids=[f"{e!r:.9}-{o[0]}" for e, o in ERRORS])
def test_an_objects_errors_are_outcomes_and_never_passed_on(serve, door, raised, outcomes):
    chat_model = failing(raised)
    object.__setattr__(chat_model, "api_key", CANARY)
    serve(DEAD_KEY)
    behind_a_key(chat_model=chat_model)
    with pytest.raises(llm.AllRoutesFailedError) as caught:
        DOORS[door]("m", "x")
    assert words("outcome") == ["auth", *outcomes]
    error = caught.value
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
    assert CANARY not in told + repr(vars(error)) + repr(error.args) + llm.attempts().to_csv()
    assert error.__cause__ is None
    assert error.__context__ is None
    assert type(raised).__name__ not in traceback.format_exception_only(error)[0].partition("(")[0]
    assert pickle.loads(pickle.dumps(error)).attempts == error.attempts  # noqa: S301 - our own bytes


def test_a_retry_after_of_an_object_is_waited_for(frozen):
    headers = {"Retry-After": "9"}
    answers = iter([Broken(429, headers=headers), "yes"])

    def answer(_):
        if isinstance(given := next(answers), Exception):
            raise given
        return given

    only("mine", chat_model=fake_model(answer))
    assert llm.run_llm("m", "x").content == "yes"
    assert frozen.elapsed_s == 9


def test_a_parameter_an_object_does_not_know_is_the_users_to_mend():
    class Strict(FakeListChatModel):
        async def ainvoke(self, _, config=None):  # noqa: ARG002 - LangChain's own signature
            return AIMessage("x")

    only("mine", chat_model=Strict(responses=[]))
    with pytest.raises(llm.RequestError, match="unexpected keyword argument 'seed'"):
        llm.run_llm("m", "x", seed=1)


@pytest.mark.parametrize("door", STREAMS)
def test_a_stream_of_an_object_that_breaks_is_interrupted(door):
    only("mine", chat_model=FakeListChatModel(responses=["abc"], error_on_chunk_number=2))
    with pytest.raises(llm.StreamInterruptedError) as caught:
        STREAMS[door]("m", "x")
    assert caught.value.partial == "ab"
    assert caught.value.__context__ is None


@pytest.mark.parametrize("door", STREAMS)
def test_pieces_that_do_not_go_together_are_malformed(door):
    class Odd(FakeListChatModel):
        async def astream(self, *_, **__):
            yield AIMessageChunk("", additional_kwargs={"x": 1.5})
            yield AIMessageChunk("text", additional_kwargs={"x": "text"})

    only("mine", chat_model=Odd(responses=[]))
    llm.configure(retries=0)
    with pytest.raises(llm.AllRoutesFailedError, match="cannot add this piece"):
        STREAMS[door]("m", "x")
    assert words("outcome") == ["malformed"]


def test_leaving_a_stream_closes_the_objects_own():
    closed = []

    class Long(FakeListChatModel):
        async def astream(self, *_, **__):
            try:
                while True:
                    yield AIMessageChunk("more ")
            finally:
                closed.append("closed")

    only("mine", chat_model=Long(responses=[]))
    stream = llm.stream_llm("m", "x")
    next(stream)
    stream.close()
    wait_until(lambda: closed == ["closed"])
    assert words("outcome") == ["cancelled"]


def test_a_stream_that_breaks_before_its_first_text_falls_back():
    class Breaking(FakeListChatModel):
        async def astream(self, *_, **__):
            yield AIMessageChunk("")
            raise Broken(503)

    only("first", chat_model=Breaking(responses=[]))
    llm.add_backend("second", chat_model=fake_model(str.upper))
    llm.models.add("m", providers=["first", "second"], openrouter=False)
    llm.configure(retries=0)
    assert "".join(chunk.content for chunk in llm.stream_llm("m", "x")) == "X"
    assert words("outcome") == ["overloaded", "ok"]


def test_an_object_that_hangs_is_timed_out_and_the_next_one_asked():
    class Hanging(FakeListChatModel):
        async def ainvoke(self, *_, **__):
            await asyncio.sleep(60)

        async def astream(self, *_, **__):
            yield AIMessageChunk("  ")
            await asyncio.sleep(60)

    only("first", chat_model=Hanging(responses=[]))
    llm.add_backend("second", chat_model=fake_model(str.upper))
    llm.models.add("m", providers=["first", "second"], openrouter=False)
    for door in DOORS.values():
        llm.reset_health()
        assert door("m", "x", timeout=0.03).content == "X"
    assert set(words("outcome")) == {"timeout", "ok"}


def test_a_column_over_an_object_logs_its_failures_by_row():
    def answer(prompt):
        if prompt == "bad":
            raise Broken(422)
        return prompt.upper()

    only("mine", chat_model=fake_model(answer))
    out = pd.DataFrame({"q": ["a", "bad", "c"]}).llm.run("m", "q", progress=False)
    assert out["q_llm"].tolist()[::2] == ["A", "C"]
    assert out["q_llm_status"].tolist() == ["ok", "failed", "ok"]
    assert out["q_llm_error"][1].startswith("bad_request: Broken")


# --- what no chat model should do ---------------------------------------------------------------------------------


class Odd(BaseException):
    """What a library may raise to get past every `except Exception`."""


def raising(kind, error):
    """Return an object that raises: asked on the loop, in a thread, or by LangChain's own base class."""

    def end(*_, **__):
        raise error

    async def end_on_the_loop(*_, **__):
        raise error

    objects = {"loop": SimpleNamespace(ainvoke=end_on_the_loop), "thread": SimpleNamespace(invoke=end)}
    return objects.get(kind) or failing(error)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", ["loop", "thread", "langchain"])
@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(3), Odd("odd")], ids=repr)
def test_an_object_that_would_end_its_caller_ends_one_attempt(error, kind, door):
    llm.add_backend("mine", chat_model=raising(kind, error))
    llm.add_backend("second", chat_model=fake_model(str.upper))
    llm.models.add("m", providers=["mine", "second"], openrouter=False)
    assert DOORS[door]("m", "x").content == "X"
    assert words("outcome") == ["server_error"] * 4 + ["ok"]
    told = f"the chat model ended the call by itself, with {type(error).__name__}"
    assert set(words("message")[:4]) == {f"{told}: {error}" if str(error) else told}


@pytest.mark.parametrize("door", DOORS)
def test_a_generator_exit_in_a_thread_ends_nobody(door):
    only("mine", chat_model=raising("thread", GeneratorExit()))
    with pytest.raises(llm.AllRoutesFailedError, match="the chat model raised GeneratorExit"):
        DOORS[door]("m", "x")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("returned", "wording"),
    [
        (HumanMessage("x"), "the chat model returned HumanMessage, not an AIMessage"),
        ("text", "the chat model returned str, not an AIMessage; give a chat model, not a plain LLM"),
        (7, "the chat model returned int, not an AIMessage"),
    ],
)
def test_an_object_that_returns_no_message_of_a_model_is_told_what_it_returned(returned, wording, door):
    only("mine", chat_model=SimpleNamespace(invoke=lambda *_, **__: returned))
    with pytest.raises(llm.AllRoutesFailedError) as raised:
        DOORS[door]("m", "x")
    assert wording in str(raised.value)
    assert "its message says why" in str(raised.value)


def test_a_keyboard_interrupt_is_nobodys_outcome():
    only("mine", chat_model=raising("loop", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        llm.run_llm("m", "x")


def test_an_exception_without_words_is_told_by_its_name_alone():
    only("mine", chat_model=failing(ValueError()))
    with pytest.raises(llm.AllRoutesFailedError, match=r"\(malformed: ValueError\)"):
        llm.run_llm("m", "x")
