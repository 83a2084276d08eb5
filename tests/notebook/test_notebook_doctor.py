"""`%llm doctor`: what it finds, that it never shows a key, and that it ends."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import nbformat
import pytest
from key_places import log_in
from nbformat.v4 import new_code_cell, new_notebook, new_output
from rehearsing import fresh
from shells import extended_shell

import llm_executor_nb as llm
from llm_executor_nb.notebook.doctor import examine, report_bundle
from llm_executor_nb.notebook.doctor_network import BAD, FACT, GOOD, CheckResult, all_within, look_at_network
from llm_executor_nb.notebook.leaked_keys import search_history, search_notebooks
from llm_executor_nb.rehearsal.server import RehearsalServer

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
LOGIN = "hf_oauth_eyJhbGciOiJFZERTQSJ9.eyJzY29wZSI6WyJ"
FREE_PROSE = (
    "sk-learn is a task-oriented name, hf_transfer a package, and Bearer {token} an f-string; risk-averse-people"
)


@pytest.fixture
def shell():
    with extended_shell() as made:
        yield made


def write(path, *cells, **metadata):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells), metadata=metadata), path)


def words(findings, part):
    return [finding.words for finding in findings if finding.part == part]


def test_keys_are_found_in_sources_outputs_metadata_and_checkpoints(tmp_path):
    printed = new_output("stream", text=f"the key is {KEY}\n")
    write(tmp_path / "clean.ipynb", new_code_cell(FREE_PROSE))
    write(tmp_path / "sub/typed.ipynb", new_code_cell("1"), new_code_cell(f"key = '{KEY}'"))
    write(tmp_path / "sub/printed.ipynb", new_code_cell("print(key)", outputs=[printed]))
    write(tmp_path / "sub/.ipynb_checkpoints/typed-checkpoint.ipynb", new_code_cell(f"login('{TOKEN}')"))
    write(tmp_path / "widgets.ipynb", widgets={"state": {"a": {"value": LOGIN}}})
    (tmp_path / "broken.ipynb").write_text('{"cells": [' + KEY)
    (tmp_path / "odd.ipynb").write_text(json.dumps([KEY]))
    search = search_notebooks(tmp_path, within_s=10)
    assert search.searched == 7
    assert search.is_whole
    assert {(leak.where, leak.place, leak.kind) for leak in search.leaks} == {
        ("sub/typed.ipynb", "cell 2, source", "OpenRouter key"),
        ("sub/printed.ipynb", "cell 1, output", "OpenRouter key"),
        ("sub/.ipynb_checkpoints/typed-checkpoint.ipynb", "cell 1, source", "Hugging Face token"),
        ("widgets.ipynb", "the notebook's metadata (saved widgets)", "Hugging Face token"),
        ("broken.ipynb", "somewhere in the file", "OpenRouter key"),
        ("odd.ipynb", "somewhere in the file", "OpenRouter key"),
    }


def test_the_report_names_file_cell_kind_and_remedy_and_never_the_key(shell, tmp_path, capsys):
    write(tmp_path / "typed.ipynb", new_code_cell(f"key = '{KEY}'"))
    write(tmp_path / ".ipynb_checkpoints/typed-checkpoint.ipynb", new_code_cell(f"key = '{KEY}'"))
    with llm.rehearse("openrouter[1]: 401"):
        shell.run_line_magic("llm", "doctor")
    shown = capsys.readouterr().out
    assert "typed.ipynb, cell 1, source: OpenRouter key" in shown
    assert "delete this file; it is a copy that JupyterLab made" in shown
    assert "revoke it: openrouter.ai/settings/keys" in shown
    assert KEY[9:] not in shown


def test_folders_of_other_peoples_files_are_left_out(tmp_path):
    for folder in (".venv/lib", "node_modules/x", ".git", "lib/site-packages"):
        write(tmp_path / folder / "a.ipynb", new_code_cell(KEY))
    assert not search_notebooks(tmp_path, within_s=10).searched


def test_a_search_ends_when_its_time_is_up_and_says_so(tmp_path):
    write(tmp_path / "a.ipynb", new_code_cell(KEY))
    search = search_notebooks(tmp_path, within_s=0)
    assert not search.is_whole
    assert not search.searched


def test_a_key_in_ipythons_history_is_found(tmp_path):
    path = tmp_path / "history.sqlite"
    with closing(sqlite3.connect(path)) as history:
        history.execute("CREATE TABLE history (session integer, line integer, source text, source_raw text)")
        history.executemany("INSERT INTO history VALUES (?, ?, '', ?)", [(1, 2, FREE_PROSE), (3, 4, f"k = '{KEY}'")])
        history.commit()
    assert search_history(str(path)) == ["3/4"]
    assert search_history(str(tmp_path / "none.sqlite")) == []
    (tmp_path / "bad.sqlite").write_text("no database " * 100)
    assert search_history(str(tmp_path / "bad.sqlite")) == []


def test_keys_are_looked_up_free_and_a_dead_one_is_named():
    with llm.rehearse("openrouter[1]: 401") as practice:
        findings = examine(None)
        assert not practice.lines or all(line.fault != "paid" for line in practice.lines)
    keys = words(findings, "keys")
    assert any("openrouter key 1 ..0001, from code: not accepted: auth" in one for one in keys)
    assert any("openrouter key 2 ..0002, from code: alive" in one for one in keys)
    assert any("huggingface key 1 ..0001, from code: alive" in one for one in keys)


def test_routes_holds_ledger_network_and_versions_are_told():
    with llm.rehearse("openrouter[1]: 401"):
        llm.run_llm("gemma", "Hello")
        findings = examine(None)
    models = words(findings, "models")
    assert models[0].startswith("google/gemma-3-27b-it: 5 routes: openrouter ..0001, openrouter ..0002")
    assert any(one.startswith("nebius: left Hugging Face") for one in models)
    assert words(findings, "ledger") == ["answers and attempts are kept in memory, until the kernel ends"]
    assert sum("can be reached" in one for one in words(findings, "network")) == 2
    assert llm.__version__ in words(findings, "versions")[0]


def test_without_a_key_it_says_what_to_do():
    with llm.rehearse(openrouter_keys=0, huggingface_tokens=0):
        findings = examine(None)
    (none,) = [finding for finding in findings if finding.part == "keys"]
    assert none.words.startswith("no key. Looked in: ")
    assert "%llm keys add openrouter" in none.next_step


def test_a_host_that_refuses_and_a_name_that_is_nowhere_are_told_apart():
    urls = [("openrouter", "http://127.0.0.1:9/api"), ("huggingface", "https://nowhere.invalid/v1")]
    refused, nowhere = words(look_at_network(urls, within_s=5), "network")[-2:]
    assert refused.startswith("openrouter, 127.0.0.1:9 cannot be reached: ConnectionRefusedError")
    assert nowhere.startswith("huggingface, nowhere.invalid cannot be reached: gaierror")


def test_a_network_that_hangs_is_given_up_in_time(monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: time.sleep(3))
    began = time.monotonic()
    assert (
        "no answer to a connection in time"
        in words(look_at_network([("a", "http://a.b/c")], within_s=0.1), "network")[-1]
    )
    assert time.monotonic() - began < 1


def test_what_fails_is_a_look_that_found_nothing():
    assert all_within([lambda: 1, lambda: 1 / 0], 5) == [1, None]


def test_a_proxy_is_shown_without_its_password_and_a_missing_bundle_is_named(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://anna:s3cret@proxy.corp:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "nowhere.pem")
    network = words(look_at_network([], within_s=1), "network")
    assert "HTTPS_PROXY=http://proxy.corp:3128" in network
    assert "REQUESTS_CA_BUNDLE=nowhere.pem: there is no such file" in network
    assert not any("s3cret" in one for one in network)


def test_a_long_name_in_the_report_is_broken_and_its_lines_are_not_striped():
    html = report_bundle([CheckResult("models", GOOD, "x" * 300)])["text/html"]
    assert f'<td class="long">{"x" * 300}</td>' in html
    assert "table.plain tr { background: none; }" in html


def test_a_network_that_is_down_is_said_once_for_all_keys():
    with llm.rehearse(openrouter_keys=3, huggingface_tokens=2):
        llm.configure(
            openrouter_base_url="http://127.0.0.1:9/api/v1", huggingface_base_url="http://127.0.0.1:9/hugging"
        )
        keys = [finding for finding in examine(None) if finding.part == "keys"]
    (network,) = [finding for finding in keys if "network" in finding.words]
    assert network.words.startswith("5 keys could not be looked up, and that is the network: ")
    assert sum("Cannot connect" in finding.words for finding in keys) == 1
    assert "network below" in network.next_step
    for name in ("openrouter key 3 ..0003, from code", "huggingface key 2 ..0002, from code"):
        assert sum(finding.words == name for finding in keys) == 1


def test_of_a_large_table_the_doctor_names_twenty_models_and_those_first_that_do_not_work():
    with llm.rehearse():
        for number in range(3000):
            llm.MODEL_INFERENCE_PROVIDERS[f"maker/model-{number}"] = ["a"]
        llm.MODEL_INFERENCE_PROVIDERS["maker/broken"] = "scaleway"
        models = [finding for finding in examine(None) if finding.part == "models"]
    assert models[0].words.startswith("maker/broken: ")
    assert models[-1].words == f"and {len(llm.models) - 20 + 3001:,} more models, all with a route"
    assert "%llm models gemma" in models[-1].next_step
    assert len(models) < 30


def test_a_dead_key_is_told_once_and_not_again_for_each_model():
    with llm.rehearse("*: 401"):
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm("gemma", "x")
        models = [one for one in examine(None) if one.part == "models"]
        assert [one.about for one in models if "on hold for auth" in one.words] == [
            "key ..0001 of openrouter",
            "key ..0002 of openrouter",
            "key ..0001 of huggingface",
        ]
        assert models[0].words.endswith("; 5 on hold")
        step = next(one.next_step for one in models if one.about == "nebius")
        eval(step.partition(" takes ")[0], {"llm": llm})  # noqa: S307 - what the doctor says to type
        assert llm.models.row("google/gemma-3-27b-it") == ("featherless-ai", "scaleway")


@pytest.mark.parametrize(
    "key",
    [
        "sk-or-v1-not-a-real-key-0000",
        "sk-or-v1-fake-0001-0002-0003",
        "sk-or-v1-" + "0" * 64,
        "sk-or-v1-" + "x" * 32,
        "sk-or-v1-" + "abc1" * 16,
        "sk-or-v1-my-team-key-number-7",
        "sk-your-key-here-1234567890",
        "sk-proj-example-9f8a7b6c5d4e3f2a1b0c",
        "hf_practicetokennumber0001",
        "hf_" + "a" * 34,
        "Bearer placeholder-token-9f8a7b6c5d4e",
    ],
)
def test_a_key_that_was_obviously_never_given_out_is_told_without_alarm(tmp_path, monkeypatch, key):
    write(tmp_path / "lesson.ipynb", new_code_cell(f"llm.OPENROUTER_KEYS = ['{key}']"))
    monkeypatch.chdir(tmp_path)
    with llm.rehearse():
        leaks = [one for one in examine(None) if one.part == "keys left in notebooks"]
    assert [one.kind for one in leaks] == [GOOD, FACT]
    assert leaks[1].words == "made-up keys, nothing to do: lesson.ipynb"


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        TOKEN,
        "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",
        "sk-ant-api03-Zk2pQ7rT9xW1vB4nM6cD8fG0hJ3kL5sA",
        "hf_qWeRtYuIoPaSdFgHjKlZxCvBnM12345678",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    ],
)
def test_a_key_that_may_be_real_is_a_leak_also_beside_one_that_is_made_up(tmp_path, key):
    write(tmp_path / "typed.ipynb", new_code_cell(f"a = '{key}'\nb = 'sk-or-v1-fake-0001-0002-0003'"))
    search = search_notebooks(tmp_path, within_s=10)
    assert {leak.where for leak in search.leaks} == {"typed.ipynb"}


def test_our_own_notebooks_give_no_red_line(monkeypatch):
    monkeypatch.chdir(Path(llm.__file__).parents[1] / "notebooks")
    with llm.rehearse():
        assert [one.words for one in examine(None) if one.kind == BAD] == []


def test_only_backends_that_are_used_are_spoken_of():
    with llm.rehearse(huggingface_tokens=0):
        report = report_bundle(examine(None))["text/plain"]
    assert "openrouter, 127.0.0.1" in report
    assert "hugging" not in report.replace("langchain-huggingface", "").lower()
    with llm.rehearse(openrouter_keys=0, huggingface_tokens=0):
        findings = examine(None)
        assert sum(one.kind == BAD for one in findings) == 1
        assert not [one for one in words(findings, "network") if "reached" in one]
        llm.add_backend("mine", base_url="http://127.0.0.1:9/v1", allow_http=True)
        assert not [one for one in words(examine(None), "network") if "mine" in one]
        llm.models.add("some/model", providers=["mine"], openrouter=False)
        assert [one for one in words(examine(None), "network") if one.startswith("mine, 127.0.0.1:9 cannot")]


def test_a_key_that_is_not_accepted_is_replaced_where_it_came_from():
    with llm.rehearse("openrouter: 401; huggingface: 401"):
        steps = [one.next_step for one in examine(None) if one.part == "keys" and "not accepted" in one.words]
    assert set(steps) == {"replace it: openrouter.ai/settings/keys", "replace it: huggingface.co/settings/tokens"}


def test_a_login_that_is_not_accepted_is_begun_again(monkeypatch):
    log_in("hf_doctorslogin0001")
    with fresh(), RehearsalServer("huggingface: expired-login") as server:
        monkeypatch.setenv("HF_ROUTER_URL", server.huggingface_url)
        steps = [one.next_step for one in examine(None) if "the Hugging Face login" in one.words]
    assert steps == ["sign in again: llm.login('huggingface')"]


def test_the_report_stands_in_columns_and_keeps_to_the_window(monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    with llm.rehearse("openrouter[1]: 401"):
        report = report_bundle(examine(None))
    lines = report["text/plain"].splitlines()
    keys = lines[lines.index("keys") + 1 : lines.index("models")]
    assert {line.index(word) for line in keys for word in ("alive", "not accepted") if word in line} == {44}
    assert max(map(len, lines)) <= 90
    assert report["text/html"].count('<td style="width: 3em">') == report["text/html"].count("<tr>")
