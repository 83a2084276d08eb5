"""`python -m llm_executor_nb`: the main job, without a key and with one."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

import llm_executor_nb as llm
from llm_executor_nb.__main__ import main


def test_without_a_key_it_rehearses_200_rows_and_says_how_to_go_on():
    done = subprocess.run(
        [sys.executable, "-m", "llm_executor_nb"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "200/200 rows" in done.stderr
    for words in (
        "Rows: 200 ok",
        "auth",
        "rate_limited",
        "connection",
        "export OPENROUTER_API_KEY=",
        "[practice answer",
    ):
        assert words in done.stdout


def test_a_prompt_is_answered(capsys):
    with llm.rehearse():
        assert main(["--model", "gemma", "--prompt", "What is up?"]) == 0
    assert "'What is up?'" in capsys.readouterr().out


def test_a_csv_column_is_answered_into_a_file_beside_it(tmp_path, capsys):
    path = tmp_path / "reviews.csv"
    pd.DataFrame({"review": ["good", "bad"]}).to_csv(path, index=False)
    with llm.rehearse():
        assert main(["--csv", str(path), "--column", "review"]) == 0
    assert "2 ok" in capsys.readouterr().out
    assert "'good'" in pd.read_csv(tmp_path / "reviews.llm.csv")["review_llm"].iloc[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt", "x"], "No key for google/gemma-3-27b-it"),
        (["--model", "nope", "--prompt", "x"], "Model not supported: nope"),
        (["--csv", "missing.csv", "--column", "a"], "missing.csv"),
        (["--csv", "missing.csv"], "Give both"),
    ],
)
def test_a_wrong_call_says_what_to_do_in_one_message(arguments, words, capsys):
    assert main(arguments) == 1
    assert words in capsys.readouterr().err
