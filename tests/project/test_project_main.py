"""`python -m llm_executor_nb`: the main job, without a key and with one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import suppress

import pandas as pd
import pytest
from loopback import Loopback

import llm_executor_nb as llm
from llm_executor_nb.__main__ import main
from llm_executor_nb.chain.session import own_session
from llm_executor_nb.jobs.growth import LARGEST
from llm_executor_nb.settings.options import Options


def test_without_a_key_it_rehearses_200_rows_and_tells_what_came_of_it():
    done = subprocess.run(
        [sys.executable, "-m", "llm_executor_nb"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "200/200 rows" in done.stderr
    for words in (
        "The first OpenRouter key is dead.",
        "The dead key cost ",
        "The rate limit cost ",
        "The outage cost ",
        "No row was lost: all 200 have an answer.",
        "Only the 200 answers had a price.",
        "would have cost $0.",
        "export OPENROUTER_API_KEY=",
        "[practice answer",
    ):
        assert words in " ".join(done.stdout.split())
    assert max(map(len, (done.stdout + done.stderr).splitlines())) <= 80
    told = " ".join(done.stdout.split())
    dead, outage = (
        re.search(rf"The {what} cost (\d+) requests of (\d+) rows", told) for what in ("dead key", "outage")
    )
    assert int(dead[1]) <= 8, "a job begins with 8 at once"
    assert int(outage[2]) <= LARGEST + 3, "a job has so many rows under way, and holds are 5 s and longer"
    assert int(outage[1]) <= 2 * int(outage[2]), "a kept-alive connection that died is replaced once"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "gemma"],
        ["--column", "a"],
        ["--csv", "a.csv"],
        ["--model", "gemma", "--column", "a"],
        ["--prompt", "x", "--csv", "a.csv"],
        ["--prompt", "x", "--csv", "a.csv", "--column", "a"],
    ],
)
def test_a_call_that_asks_nothing_or_too_much_says_what_to_give(arguments, capsys):
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith('Say what to ask: --prompt "...", or both --csv FILE and --column COLUMN.')


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


def test_an_answer_and_an_error_are_printed_without_commands_to_the_terminal(capsys):
    evil = "fine \x1b]52;c;Y3VybA==\x07\x1b[31m\x9b2K\ud800"
    for status, stream in ((200, "out"), (400, "err")):
        content = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": evil}}]}
        body = json.dumps(content if status == 200 else {"error": {"message": evil}}).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        with own_session(Options(ledger=None)), Loopback(lambda connection: connection.sendall(head + body)) as server:  # noqa: B023 - called within this turn
            llm.configure(openrouter_keys=["sk-or-v1-main-0001"], openrouter_base_url=server.url, huggingface_tokens=[])
            assert main(["--prompt", "What?"]) == (status != 200)
        shown = getattr(capsys.readouterr(), stream)
        assert "fine ?" in shown
        assert not any(char in shown for char in "\x1b\x07\x9b")
        assert "Y3VybA" not in shown


@pytest.mark.parametrize(
    "arguments",
    [["{}"], ["--prompt", "x", "{}"], ["--model", "{}", "--prompt", "x"], ["--csv", "{}", "--column", "a"], ["--{}"]],
)
def test_a_key_among_the_arguments_is_not_printed(arguments, capsys):
    key = "sk-or-v1-0123456789abcdef0123456789abcdef"
    with suppress(SystemExit):
        main([part.format(key) for part in arguments])
    shown = capsys.readouterr()
    assert key not in shown.out + shown.err
    assert "…hidden…" in shown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt", "x"], "No key for google/gemma-3-27b-it"),
        (["--model", "nope", "--prompt", "x"], "Model not supported: nope"),
        (["--csv", "missing.csv", "--column", "a"], "missing.csv"),
    ],
)
def test_a_wrong_call_says_what_to_do_in_one_message(arguments, words, capsys):
    assert main(arguments) == 1
    assert words in capsys.readouterr().err
