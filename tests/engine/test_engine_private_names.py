"""Where LangChain lacks a private name that we use, every door says so before anything is sent.

The names are taken away for real: `getattr` on their class or module does not find them, while LangChain's own code
still reaches them, as it would reach them under the new name of a later version.
"""

from __future__ import annotations

import builtins

import pandas as pd
import pytest
from doors import DOORS
from rehearsing import MODEL, fresh

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.core.install_line import upgrade_line
from llm_executor_nb.providers import langchain

GETTERS = (
    langchain.payload_builder,
    langchain.openai_reader,
    langchain.huggingface_reader,
    langchain.openai_chunk_reader,
    langchain.huggingface_chunk_reader,
    langchain.usage_reader,
)
NAMES = (
    "_get_request_payload",
    "_create_chat_result",
    "_convert_chunk_to_generation_chunk",
    "ChatHuggingFace._create_chat_result",
    "_convert_chunk_to_message_chunk",
    "_create_usage_metadata",
)


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
def _settings():
    with fresh(), clock.use(clock.FrozenClock()):
        yield


def _forget():
    for getter in GETTERS:
        getter.cache_clear()


@pytest.fixture
def hide(monkeypatch):
    def hide(name):
        _forget()
        _hide(monkeypatch, name)

    yield hide
    monkeypatch.undo()
    _forget()


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_name_stops_every_door_before_anything_is_sent(name, hide):
    hide(name)
    with llm.rehearse() as server:
        for ask in DOORS.values():
            with pytest.raises(llm.ConfigError, match=rf"has no .*{name}.*langchain-core \d.*Nothing was sent"):
                ask(MODEL, "What is red?")
        with pytest.raises(llm.ConfigError, match=name):
            llm.chat_model(MODEL).invoke("What is red?")
        with pytest.raises(llm.ConfigError, match=name):
            pd.DataFrame({"review": ["What is red?"]}).llm.run(MODEL, "review", progress=False)
        assert not server.lines


def test_the_error_says_what_to_run_and_goes_when_the_name_is_back(hide, monkeypatch):
    hide("_create_usage_metadata")
    with llm.rehearse():
        with pytest.raises(llm.ConfigError) as raised:
            llm.run_llm(MODEL, "What is red?")
        needs = " ".join(f'"{requirement}"' for requirement in langchain.REQUIREMENTS)
        assert f"{upgrade_line()} {needs}" in str(raised.value)
        monkeypatch.undo()
        assert "red" in llm.run_llm(MODEL, "What is red?").text
