"""Tab in `%%llm` cells and `%llm` lines, through IPython's own completer."""

from __future__ import annotations

import time

import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from shells import extended_shell

import llm_executor_nb as llm


class Model:
    """A class, for --schema."""


@pytest.fixture
def shell():
    with extended_shell(review="x", revenue=1, frame=pd.DataFrame({"a": [1]}), Model=Model, func=len) as made:
        yield made


def offered(shell, text, at=None):
    """Return what the text up to the cursor becomes by each of the completions."""
    at = len(text) if at is None else at
    with provisionalcompleter():
        return [text[: found.start] + found.text for found in shell.Completer.completions(text, at)]


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("%%llm kim", ["%%llm kimi"]),
        ("%%llm google/gemma-3", ["%%llm google/gemma-3-27b-it"]),
        ("%%llm -t 0 kim", ["%%llm -t 0 kimi"]),
        ("\n%%llm kim", ["\n%%llm kimi"]),
        ("%%llm gemma --max", ["%%llm gemma --max-tokens"]),
        ("%%llm gemma --no", ["%%llm gemma --no-stream"]),
        ("%%llm gemma -f j", ["%%llm gemma -f json"]),
        ("%%llm gemma -s @rev", ["%%llm gemma -s @revenue", "%%llm gemma -s @review"]),
        ("%%llm gemma --schema @Mo", ["%%llm gemma --schema @Model"]),
        ("%%llm gemma\nSay {rev", ["%%llm gemma\nSay {revenue}", "%%llm gemma\nSay {review}"]),
        ("%%llm gemma\nSay {fr", ["%%llm gemma\nSay {frame}"]),
        ("%llm he", ["%llm health"]),
        ("%llm use kim", ["%llm use kimi"]),
        ("%llm keys add hugg", ["%llm keys add huggingface"]),
        ("%llm login ", ["%llm login openrouter", "%llm login huggingface"]),
        ("%llm models kim", ["%llm models kimi"]),
        ("%llm models sea", ["%llm models search"]),
        ("%llm rehearse o", ["%llm rehearse off", "%llm rehearse openrouter:"]),
    ],
)
def test_tab_offers_what_may_stand_there(shell, text, becomes):
    assert offered(shell, text) == becomes


def test_the_first_line_is_completed_with_a_body_below(shell):
    assert offered(shell, "%%llm kim\nSay something", len("%%llm kim")) == ["%%llm kimi"]


def test_a_brace_that_the_front_end_closed_is_not_closed_again(shell):
    text = "%%llm gemma\nSay {fr} now"
    assert offered(shell, text, text.index("}")) == ["%%llm gemma\nSay {frame"]


def test_after_the_model_all_options_are_offered(shell):
    assert "%%llm gemma --schema" in offered(shell, "%%llm gemma ")
    models = offered(shell, "%%llm ")
    assert models[0] == "%%llm gemma"
    assert "%%llm google/gemma-3-27b-it" in models


@pytest.mark.parametrize("text", ["%%llm gemma\n{fun", "%%llm gemma\n{Mod", "%%llm gemma\n{exi"])
def test_what_may_not_be_filled_in_is_not_offered(shell, text):
    assert not [found for found in offered(shell, text) if found.endswith("}")]


@pytest.mark.parametrize("text", ["impor", "x = {rev", "%timei", "print('%%llm gem"])
def test_other_code_is_left_to_ipython(shell, text):
    assert not [found for found in offered(shell, text) if "gemma" in found or "}" in found]


@pytest.mark.parametrize(
    "text",
    [
        "%llm keys remove huggingface ",
        "%llm rehearse openrouter: 4",
        "%llm doctor ",
        "%%llm -o ",
        "%llm keys add nope i",
    ],
)
def test_where_nothing_of_ours_may_stand_pythons_words_are_not_offered_either(shell, text):
    assert set(offered(shell, text)) <= {text}


def test_the_keys_of_a_backend_are_offered_by_their_labels(shell):
    with llm.rehearse(openrouter_keys=2, huggingface_tokens=3):
        text = "%llm keys remove openrouter "
        assert offered(shell, text) == [f"{text}key 1", f"{text}key 2"]


def test_a_new_alias_is_offered_at_once(shell):
    llm.models.add("my/model", providers=["a"], alias="kimono")
    try:
        assert offered(shell, "%%llm kim") == ["%%llm kimi", "%%llm kimono"]
    finally:
        llm.models.remove("my/model")


def test_tab_takes_no_time_with_large_variables(shell):
    shell.user_ns["large"] = pd.DataFrame({"a": ["text " * 50] * 20_000})
    shell.user_ns["longer"] = list(range(1_000_000))
    offered(shell, "%%llm gemma\n{la")
    began = time.perf_counter()
    assert offered(shell, "%%llm gemma\n{la") == ["%%llm gemma\n{large}"]
    assert time.perf_counter() - began < 0.1
