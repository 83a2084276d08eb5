"""`%llm models`: what it shows of a table of one model, and of ten thousand."""

from __future__ import annotations

import pytest
from shells import extended_shell

import llm_executor_nb as llm


@pytest.fixture
def shell():
    with extended_shell() as made, llm.rehearse():
        yield made


@pytest.fixture
def large(shell):
    for number in range(10_000):
        llm.models.add(f"maker/model-{number}", providers=["a"], alias=f"<i>{number}")
    return shell


def said(shell, command, capsys):
    capsys.readouterr()
    shell.run_line_magic("llm", command)
    return capsys.readouterr().out


def test_a_large_table_is_cut_and_says_how_many_more_there_are_and_how_to_find_them(large, capsys):
    shown = said(large, "models", capsys)
    assert len(shown.splitlines()) == 52
    assert f"… and {len(llm.models) - 50:,} more; llm.models.find" in shown


def test_models_are_found_by_a_part_of_their_name_or_alias(large, capsys):
    assert said(large, "models MODEL-777", capsys).count("maker/model-777") == 11
    assert said(large, "models gemma", capsys).startswith("google/gemma-3-27b-it (gemma): openrouter; then ")
    assert "maker/model-8888 (<i>8888)" in said(large, "models '<i>8888'", capsys)
    shown = said(large, "models maker", capsys)
    assert len(shown.splitlines()) == 51
    assert "… and 9,950 more" in shown
    assert said(large, "models nope", capsys).startswith("No model has nope in its name")


def test_models_that_were_found_are_a_table_of_text_in_a_notebook(large, monkeypatch):
    bundles = []
    monkeypatch.setattr("llm_executor_nb.notebook.commands.show", bundles.append)
    large.run_line_magic("llm", "models 8888")
    (bundle,) = bundles
    assert "<td>&lt;i&gt;8888</td>" in bundle["text/html"]
    assert "<i>" not in bundle["text/html"]


def test_without_a_key_the_keys_say_where_they_are_looked_for_and_what_to_do(shell, capsys):
    llm.OPENROUTER_KEYS, llm.HUGGINGFACE_TOKENS = [], []
    shown = said(shell, "keys", capsys)
    for words in ("no keys\nType one of these:", "with llm.rehearse():", "Looked in:"):
        assert words in shown


def test_the_lists_are_searched_in_a_line_and_the_best_model_is_named_with_the_line_that_adds_it(shell, capsys):
    shown = said(shell, "models search gemma", capsys)
    assert shown.splitlines()[1].startswith("google/gemma-3-27b-it")
    assert max(map(len, shown.splitlines())) <= 80
    assert "llm.models.add('google/gemma-3-27b-it') adds one" in shown
    assert "$0.10" in shown
    assert "featherless" in shown
    assert "google/gemma-2-9b-it ends on 2" in shown
    assert "… and " in said(shell, "models search 'b'", capsys)
    assert said(shell, "models search no-such-model", capsys).startswith("No model of the lists has no-such-model")
    assert "%llm models search nope" in said(shell, "models nope", capsys)


@pytest.mark.parametrize("before", ["", "import asyncio\nawait asyncio.sleep(0)\n"])
def test_a_cell_waits_for_the_lists_when_it_adds_a_model(shell, before):
    shell.run_cell(f"import llm_executor_nb as llm\n{before}llm.models.add('qwen/qwen3-32b')").raise_error()
    assert llm.models.row("qwen/qwen3-32b")
