"""`%%llm` and `%llm` on a real InteractiveShell."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import llm_executor_nb as llm
from llm_executor_nb.notebook.fill import fill


@pytest.fixture
def shell():
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(user_ns={"city": "Lyon"})
    made.run_line_magic("load_ext", "llm_executor_nb")
    yield made
    made.run_line_magic("unload_ext", "llm_executor_nb")
    made.history_manager.end_session()
    InteractiveShell.clear_instance()


@pytest.fixture
def shown(monkeypatch):
    bundles = []
    monkeypatch.setattr("llm_executor_nb.notebook.magics.display", lambda what, **_: bundles.append(what))
    return bundles


def test_a_cell_is_a_prompt_and_its_answer_is_markdown_with_a_text_twin(shell, shown):
    with llm.rehearse():
        shell.run_cell_magic("llm", "gemma", "What is {city}?\n")
    assert shown[0]["text/markdown"] == shown[0]["text/plain"]
    assert "'What is Lyon?'" in shown[0]["text/plain"]


def test_o_keeps_the_message_and_the_options_are_sent(shell, shown):
    with llm.rehearse():
        shell.run_cell_magic("llm", "gemma -o kept -s 'Be short' -t 0 --max-tokens 20 -v", "Hello\n")
        assert shell.user_ns["kept"].content
        assert len(shown) == 2
        assert shown[1]["outcome"].tolist() == ["ok"]


def test_an_error_is_raised_short_and_never_shown_as_an_answer(shell, shown):
    with llm.rehearse("*: 400"), pytest.raises(llm.RequestError) as raised:
        shell.run_cell_magic("llm", "gemma", "Hello\n")
    assert not shown
    assert raised.value._render_traceback_() == [f"RequestError: {raised.value}"]


@pytest.mark.parametrize("line", ["nonsense", ""])
def test_an_unknown_command_says_what_there_is(shell, line):
    with pytest.raises(UsageError, match="models, keys, health, log"):
        shell.run_line_magic("llm", line)


def test_models_keys_health_and_log_are_shown(shell, shown, capsys):
    with llm.rehearse("openrouter[1]: 401"):
        llm.run_llm("gemma", "Hello")
        for command in ("models", "keys", "health", "log"):
            shell.run_line_magic("llm", command)
    printed = capsys.readouterr().out
    assert "google/gemma-3-27b-it (gemma)" in printed
    assert "key 1 ..0001" in printed
    assert [len(frame) for frame in shown] == [1, 2]


def test_unloading_takes_the_magic_away(shell):
    shell.run_line_magic("unload_ext", "llm_executor_nb")
    assert "llm" not in shell.magics_manager.magics["cell"]
    shell.run_line_magic("load_ext", "llm_executor_nb")


def test_braces_that_name_no_data_stay_byte_for_byte():
    names = {"city": "Lyon", "f": len, "mod": pytest, "key": llm.OPENROUTER_KEYS, "_i": "hidden"}
    text = '{"a": {1}} \\frac{a}{b} {f} {mod} {key} {_i} {city!r} {{city}} {unknown} f"{x + 1}"'
    assert fill(text, names)[0] == text.replace("{{city}}", "{city}")


def test_what_was_filled_in_is_not_looked_at_again():
    assert fill("{a}", {"a": "{b}", "b": "no"}) == ("{b}", ["a"])


def test_a_variable_too_long_to_be_meant_is_refused():
    with pytest.raises(llm.ConfigError, match="characters"):
        fill("{a}", {"a": "x" * 20_001})
