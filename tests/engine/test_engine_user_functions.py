"""Users' functions run behind one door: in a daemon thread, within the bounds, and whatever they raise is named."""

from __future__ import annotations

import asyncio
import pickle
import threading
from types import SimpleNamespace

import pydantic
import pytest
from backing import only
from doors import DOORS
from langchain_core.messages import AIMessage
from loopback import started
from rehearsing import MODEL, assert_log_is_what_the_server_saw, assert_nothing_is_in_flight, fresh, words
from tenacity import stop_after_attempt, stop_after_delay, wait_exception, wait_exponential, wait_fixed, wait_random

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.core.user_functions import Bounds, is_tenacitys
from llm_executor_nb.engine.loop import main_loop
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.settings.options import Options

SOON_S = 0.2
LONG_S = 30


@pytest.fixture(autouse=True)
def _fresh():
    with fresh(), clock.use(clock.FrozenClock()):
        yield


class OddError(BaseException):
    """What is no Exception."""


class MuteError(Exception):
    """An exception that cannot say what it is."""

    def __str__(self):
        raise RuntimeError("mute")


RAISED = [
    StopIteration(),
    StopAsyncIteration(),
    GeneratorExit(),
    asyncio.CancelledError(),
    KeyError("boom"),
    MuteError(),
]
RAISED += [OddError("odd"), MemoryError(), TimeoutError("mine")]


def by_schema(function):
    """Return the arguments of a call whose schema has a validator that calls a function."""

    class Checked(pydantic.BaseModel):
        colour: str

        @pydantic.field_validator("colour")
        @classmethod
        def check(cls, value):
            function(value)
            return value

    return {"schema": Checked}


FUNCTIONS = {"accept": lambda function: {"accept": function}, "schema": by_schema}
"""How a call is given a function that looks at its answer."""
SETTINGS = ["before_sleep", "retry_wait_strategy", "retries"]


def raising(error):
    """Return a function that raises."""

    def function(_):
        raise error

    return function


def hanging(release):
    """Return a function that hangs until it is released."""
    return lambda _: release.wait(LONG_S)


@pytest.fixture
def release():
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def _hasty(monkeypatch):
    """Leave a function little time of whatever bound there is; the request before it keeps all of it."""
    shortest = Bounds.shortest
    monkeypatch.setattr(Bounds, "shortest", lambda self: (0.05, shortest(self)[1]))


# --- what they raise ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("given", FUNCTIONS)
@pytest.mark.parametrize("door", DOORS)
def test_whatever_a_function_raises_is_named_and_ends_its_run(door, given, error):
    with llm.rehearse() as server, pytest.raises(llm.ConfigError, match=f"raised {type(error).__name__}") as raised:
        DOORS[door](MODEL, "x", **FUNCTIONS[given](raising(error)))
    assert len(server.lines) == len(raised.value.attempts) == 1
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)  # noqa: S301 - our own bytes
    assert_nothing_is_in_flight()


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("setting", SETTINGS)
def test_whatever_a_setting_raises_is_named_and_ends_its_run(setting, error):
    with llm.rehearse("*: 503*1") as server:
        llm.configure(**{setting: raising(error)})
        with pytest.raises(llm.ConfigError, match=f"Your {setting} raised {type(error).__name__}"):
            llm.run_llm(MODEL, "x")
        assert_log_is_what_the_server_saw(server)
        assert_nothing_is_in_flight()


def test_a_predicate_whose_result_is_neither_true_nor_false_is_told_so():
    class Unsure:
        def __bool__(self):
            raise ValueError("neither true nor false")

    with llm.rehearse(), pytest.raises(llm.ConfigError, match="raised ValueError: neither true nor false"):
        llm.run_llm(MODEL, "x", accept=lambda _: Unsure())


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_returns_an_awaitable_is_told_to_be_a_plain_function(setting):
    async def later(_):
        return 0

    with llm.rehearse("*: 503*1"):
        llm.configure(**{setting: later})
        with pytest.raises(llm.ConfigError, match=f"Your {setting} returned an awaitable"):
            llm.run_llm(MODEL, "x")


@pytest.mark.parametrize("error", [llm.ConfigError("no key"), llm.RequestError("too long")], ids=repr)
def test_a_validator_that_asks_a_model_in_vain_does_not_blame_the_answer(error):
    with llm.rehearse() as server, pytest.raises(llm.ConfigError, match=f"raised {type(error).__name__}: {error}"):
        llm.run_llm(MODEL, "x", **by_schema(raising(error)))
    assert len(server.lines) == 1


# --- how long they take -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("bound", ["timeout", "deadline"])
@pytest.mark.parametrize("given", FUNCTIONS)
@pytest.mark.parametrize("door", DOORS)
def test_a_function_that_hangs_is_left_at_the_bound(door, given, bound, release):
    with llm.rehearse() as server:
        with pytest.raises(llm.DeadlineError, match=f"all that {bound}= left it") as raised:
            DOORS[door](MODEL, "x", **FUNCTIONS[given](hanging(release)), **{bound: LONG_S})
        assert len(server.lines) == len(raised.value.attempts) == 1
        assert raised.value.outcome == words("outcome")[0]
        assert_nothing_is_in_flight()
        assert llm.run_llm(MODEL, "y").content


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_hangs_is_left_at_the_bound(setting, release):
    with llm.rehearse("*: 503*1") as server:
        llm.configure(**{setting: hanging(release)})
        with pytest.raises(llm.DeadlineError, match=f"Your {setting} did not return"):
            llm.run_llm(MODEL, "x", timeout=LONG_S)
        assert_log_is_what_the_server_saw(server)


def test_no_function_runs_on_the_loop_of_all_calls():
    seen = {}

    def seen_by(name):
        return lambda *_: seen.setdefault(name, main_loop().is_current) or 0

    with llm.rehearse("*: 503*1"):
        llm.configure(**{setting: seen_by(setting) for setting in SETTINGS})
        llm.run_llm(MODEL, "x", **by_schema(seen_by("schema")))
        llm.run_llm(MODEL, "x", accept=lambda _: seen_by("accept")() is not None)
    only("mine", chat_model=SimpleNamespace(invoke=lambda *_, **__: AIMessage(f"x{seen_by('object')()}")))
    llm.run_llm("m", "x")
    assert seen == dict.fromkeys([*SETTINGS, "schema", "accept", "object"], False)


def test_what_an_answer_cost_is_recorded_when_its_run_is_left_while_a_function_looks_at_it(release):
    begun = threading.Event()

    async def leave():
        task = asyncio.ensure_future(llm.arun_llm(MODEL, "x", accept=lambda _: begun.set() or release.wait(LONG_S)))
        await asyncio.to_thread(begun.wait, LONG_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with llm.rehearse():
        asyncio.run(leave())
        (attempt,) = llm.attempts().itertuples()
    assert attempt.outcome == "cancelled"
    assert attempt.output_tokens > 0


# --- chat model objects -------------------------------------------------------------------------------------------


def blocking(release):
    """Return objects that block the thread they are called in: by their kind."""

    async def block(*_, **__):
        release.wait(LONG_S)

    async def block_in_a_stream(*_, **__):
        release.wait(LONG_S)
        yield AIMessage("never")

    return {
        "await": SimpleNamespace(ainvoke=block, astream=block_in_a_stream),
        "thread": SimpleNamespace(invoke=lambda *_, **__: release.wait(LONG_S)),
    }


@pytest.mark.parametrize("kind", ["await", "thread"])
@pytest.mark.parametrize("door", DOORS)
def test_an_object_that_blocks_its_thread_is_left_at_the_timeout_and_blocks_no_other_call(door, kind, release):
    llm.configure(retries=0)
    only("mine", chat_model=blocking(release)[kind])
    only("other", "n", chat_model=SimpleNamespace(invoke=lambda *_, **__: AIMessage("x")))
    with pytest.raises(llm.AllRoutesFailedError):
        DOORS[door]("m", "x", timeout=SOON_S)
    assert words("outcome") == ["timeout"]
    assert DOORS[door]("n", "x", timeout=LONG_S).content == "x"


# --- whose a strategy is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "is_ours"),
    [
        (Options().retry_wait_strategy, True),
        (wait_exponential(max=3) + wait_random(0, 1), True),
        (stop_after_attempt(3) | stop_after_delay(3), True),
        (wait_fixed(1) + (lambda _: 1), False),
        (wait_exception(lambda _: 1), False),
        (type("Mine", (wait_fixed,), {"__call__": lambda *_: 1})(1), False),
        (lambda _: 1, False),
    ],
)
def test_only_strategies_that_are_tenacitys_in_all_their_parts_are_called_in_place(strategy, is_ours):
    assert is_tenacitys(strategy) is is_ours


# --- the end of the process ---------------------------------------------------------------------------------------


def test_the_process_ends_in_silence_while_users_functions_hang():
    body = """
import threading, time, pydantic
from types import SimpleNamespace
started = [threading.Event() for _ in range(4)]
def hang(number):
    started[number].set()
    time.sleep(99)
class Slow(pydantic.BaseModel):
    colour: str
    @pydantic.field_validator("colour")
    def check(cls, value):
        hang(1)
async def block(*_, **__):
    hang(3)
llm.add_backend("sync", chat_model=SimpleNamespace(invoke=lambda *_, **__: hang(2)))
llm.add_backend("async", chat_model=SimpleNamespace(ainvoke=block))
for name in ("sync", "async"):
    llm.models.add(name, providers=[name], openrouter=False)
CALLS = [
    lambda: llm.run_llm("my/model", "x", accept=lambda _: hang(0)),
    lambda: llm.run_llm("my/model", "x", schema=Slow),
    lambda: llm.run_llm("sync", "x"),
    lambda: llm.run_llm("async", "x"),
]
for call in CALLS:
    threading.Thread(target=call, daemon=True).start()
for event in started:
    assert event.wait(60)
"""
    with RehearsalServer() as server, started(body, server.openrouter_url, "-X", "dev", "-W", "error") as process:
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
