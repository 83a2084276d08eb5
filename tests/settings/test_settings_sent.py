"""The package's module is sent and copied by its name, as any module is, and takes no setting along."""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import cloudpickle
import joblib
import pytest
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.cloudpickle_wrapper import dumps as joblib_dumps
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.rehearsal.server import RehearsalServer

PACKAGE = Path(llm.__file__).parent.parent
CODES, SESSIONS, THEIRS = (f"sk-or-v1-sent-canary-000{n}" for n in (1, 2, 3))
PICKLERS = {"joblib": joblib_dumps, "cloudpickle": cloudpickle.dumps}


@pytest.fixture(autouse=True)
def _keys_of_this_process():
    with fresh():
        llm.OPENROUTER_KEYS = [CODES]
        llm.keys.add("openrouter", SESSIONS)
        yield


@pytest.fixture
def server(monkeypatch):
    """A provider for other processes, which find it and its key in their environment."""
    with RehearsalServer(openrouter_keys=[THEIRS]) as running:
        monkeypatch.setenv("OPENROUTER_BASE_URL", running.openrouter_url)
        monkeypatch.setenv("OPENROUTER_API_KEY", THEIRS)
        yield running


def asking():
    """Return a function as a notebook has it: it cannot be imported, and is sent with what it names."""

    def ask(question):
        return os.getpid(), llm.run_llm("gemma", question).content

    return ask


def assert_no_key_in(sent):
    assert not [key for key in (CODES, SESSIONS) if key.encode() in sent]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_module_is_pickled_by_its_name(protocol):
    sent = pickle.dumps({"llm": llm}, protocol)
    assert pickle.loads(sent)["llm"] is llm  # noqa: S301 - our own bytes
    assert_no_key_in(sent)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
def test_a_copy_of_the_module_is_the_module(again):
    assert again(llm) is llm
    assert again({"llm": llm})["llm"] is llm


def test_a_reloaded_module_is_pickled_by_its_name():
    importlib.reload(importlib.import_module("llm_executor_nb.chain.configuration"))
    assert pickle.loads(pickle.dumps(importlib.reload(llm))) is llm  # noqa: S301 - our own bytes


@pytest.mark.parametrize("pickler", PICKLERS)
def test_a_function_that_names_the_module_works_in_another_process_with_the_settings_of_that_one(pickler, server):
    sent = PICKLERS[pickler](asking())
    assert_no_key_in(sent)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import pickle, sys; print(pickle.load(sys.stdin.buffer)('sent'))"],
        input=sent,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"'sent'" in done.stdout
    assert [line.key for line in server.lines] == [f"..{THEIRS[-4:]}"]


def test_where_the_package_is_sent_by_value_the_module_takes_no_setting_along():
    cloudpickle.register_pickle_by_value(llm)
    try:
        assert_no_key_in(cloudpickle.dumps(asking()))
    finally:
        cloudpickle.unregister_pickle_by_value(llm)


def test_joblib_sends_a_function_that_names_the_module(server):
    get_reusable_executor().shutdown(wait=True)  # one that is there has the environment of its beginning
    try:
        ask = asking()
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(ask)(f"question {n}") for n in range(4))
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert [f"'question {n}'" in answer for n, (_, answer) in enumerate(found)] == [True] * 4
    assert os.getpid() not in {process for process, _ in found}
    assert {line.key for line in server.lines} == {f"..{THEIRS[-4:]}"}


def test_settings_that_are_named_by_themselves_are_never_sent():
    keys, ring = llm.OPENROUTER_KEYS, llm.keys
    for secret in (lambda: keys, lambda: ring):
        with pytest.raises(TypeError):
            cloudpickle.dumps(secret)
