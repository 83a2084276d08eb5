"""What users need for their own tests: a frozen clock, the fixture, the switch, the fake model."""

import os
import pickle
import subprocess
import sys
import textwrap
import time

import pandas as pd
import pytest
from doors import DOORS
from rehearsing import MODEL, fresh

import llm_executor_nb as llm
from llm_executor_nb.core.clock import current
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.testing import (
    FrozenClock,
    PaidCallForbiddenError,
    fake_model,
    forbid_paid_calls,
    frozen_clock,
)

KEY = "sk-or-v1-testing-canary-0001"


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.configure(openrouter_keys=[], huggingface_tokens=[])
        yield


# --- the clock ----------------------------------------------------------------------------------------------------


def test_a_frozen_clock_counts_waits_and_waits_for_none():
    with llm.rehearse():
        llm.run_llm(MODEL, "x")  # loads what the first call loads
    began = time.monotonic()
    with llm.rehearse("openrouter: 503*3"), frozen_clock() as clock:
        assert isinstance(clock, FrozenClock)
        llm.run_llm(MODEL, "x")
        assert clock.elapsed_s == 3 + 5 + 6
    assert time.monotonic() - began < 5
    assert not isinstance(current(), FrozenClock)


def test_a_frozen_clock_can_be_moved_on():
    with llm.rehearse("openrouter: 401"), frozen_clock() as clock:
        llm.run_llm(MODEL, "x")
        assert len(llm.health()) == 2
        clock.advance(3600)
        assert llm.health().empty


# --- the switch ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_a_paid_call_raises_before_anything_is_sent(door):
    with RehearsalServer() as server, forbid_paid_calls():
        llm.configure(openrouter_keys=[KEY], openrouter_base_url=server.openrouter_url)
        with pytest.raises(PaidCallForbiddenError, match=server.openrouter_url) as raised:
            DOORS[door](MODEL, "x")
        assert server.lines == ()
    assert "canary" not in str(raised.value)
    assert isinstance(raised.value, llm.LLMExecutorError)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)  # noqa: S301 - our own bytes
    assert llm.attempts().empty


def test_a_job_ends_with_it():
    llm.configure(huggingface_tokens=["hf_testingcanary0001"])
    with forbid_paid_calls(), pytest.raises(PaidCallForbiddenError, match=r"https://router\.huggingface\.co"):
        pd.DataFrame({"q": ["a", "b"]}).llm.run(MODEL, "q", progress=False)


def test_rehearsals_keyless_local_servers_and_fakes_are_free():
    with forbid_paid_calls():
        with llm.rehearse():
            llm.run_llm(MODEL, "x")
        with RehearsalServer() as server:
            llm.add_backend("local", base_url=server.own_url("local"))
            llm.models.add("m", providers=["local"], openrouter=False)
            llm.run_llm("m", "x")
        llm.add_backend("fake", chat_model=fake_model(str.upper))
        llm.models.add("m", providers=["fake"], openrouter=False)
        assert llm.run_llm("m", "x").content == "X"


def test_a_local_server_with_a_key_and_a_foreign_one_without_may_cost_something():
    with RehearsalServer() as server, forbid_paid_calls():
        llm.models.add("m", providers=["proxy"], openrouter=False)
        llm.add_backend("proxy", base_url=server.own_url("proxy"), keys=["practice-key-0001"])
        with pytest.raises(PaidCallForbiddenError):
            llm.run_llm("m", "x")
        llm.add_backend("proxy", base_url="https://gpu.invalid:8000/v1")
        with pytest.raises(PaidCallForbiddenError, match=r"gpu\.invalid"):
            llm.run_llm("m", "x")
        assert server.lines == ()


def test_an_object_that_may_ask_somebody_is_not_free():
    class Client:
        def invoke(self, *_, **__):
            raise AssertionError("it was asked")

    llm.add_backend("client", chat_model=Client())
    llm.models.add("m", providers=["client"], openrouter=False)
    with forbid_paid_calls(), pytest.raises(PaidCallForbiddenError, match="the chat model object Client"):
        llm.run_llm("m", "x")


def test_the_switch_goes_off_again():
    with RehearsalServer() as server:
        llm.configure(openrouter_keys=[KEY], openrouter_base_url=server.openrouter_url)
        with forbid_paid_calls(), forbid_paid_calls():
            pass
        llm.run_llm(MODEL, "x")
        assert len(server.lines) == 1


# --- the fake model -----------------------------------------------------------------------------------------------


def test_a_fake_model_is_a_langchain_chat_model():
    model = fake_model(lambda prompt: f"{prompt}  said twice: {prompt} ")
    assert model.invoke("hi").content == "hi  said twice: hi "
    assert [chunk.content for chunk in model.stream("hi") if chunk.content] == ["hi", "  said", " twice:", " hi "]
    assert model.batch(["a", "b"])[1].content.startswith("b")


@pytest.mark.parametrize("text", ["", " ", "one", "a\n\nb\n", "  lead"])
def test_a_fake_models_stream_is_its_answer(text):
    assert "".join(chunk.content for chunk in fake_model(lambda _: text).stream("x")) == text


# --- in a user's own project --------------------------------------------------------------------------------------

CONFTEST = """
import pytest
from llm_executor_nb.testing import forbid_paid_calls, rehearsal  # noqa: F401

@pytest.fixture(autouse=True)
def _no_money():
    with forbid_paid_calls():
        yield
"""
TESTS = """
import llm_executor_nb as llm
import pytest
from llm_executor_nb.testing import PaidCallForbiddenError, frozen_clock

def test_answers(rehearsal):
    assert "You asked: 'hi'" in llm.run_llm("gemma", "hi").content
    assert len(rehearsal.lines) == 1

def test_each_test_has_its_own(rehearsal):
    assert rehearsal.lines == ()

@pytest.mark.parametrize("rehearsal", ["openrouter: 429*2"], indirect=True)
def test_with_a_script(rehearsal):
    with frozen_clock() as clock:
        llm.run_llm("gemma", "hi")
    assert len(rehearsal.lines) == 3
    assert clock.elapsed_s == 8

@pytest.mark.parametrize("rehearsal", [{"script": "openrouter: 401", "openrouter_keys": 1}], indirect=True)
def test_with_arguments(rehearsal):
    llm.run_llm("gemma", "hi")
    assert [line.status for line in rehearsal.lines][0] == 401
    assert len(rehearsal.openrouter_keys) == 1

def test_money():
    llm.OPENROUTER_KEYS = ["sk-or-v1-mine-0001"]
    with pytest.raises(PaidCallForbiddenError, match="openrouter.ai"):
        llm.run_llm("gemma", "hi")
"""


def test_a_users_project_uses_the_fixture_and_the_switch(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--strict-markers"]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # loading the installed plugins takes seconds
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
    assert "5 passed" in done.stdout, done.stdout + done.stderr


def test_the_module_loads_neither_pytest_nor_langchain(tmp_path):
    program = """
        import sys
        import llm_executor_nb.testing as testing
        assert not {"pytest", "langchain_core", "aiohttp"} & sys.modules.keys()
        try:
            testing.nothing
        except AttributeError as error:
            assert "nothing" in str(error)
        sys.modules["pytest"] = None
        try:
            testing.rehearsal
        except ImportError:
            print("fine")
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr
