"""What the README shows runs as it stands, what it names is there, and what it says of keys is what the code does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import reduce
from pathlib import Path

import pandas as pd
import pytest
from backing import practice_providers
from rehearsing import fresh
from shells import extended_shell

import llm_executor_nb as llm
from llm_executor_nb.notebook.commands import Commands

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"(?<![\w.`\"'])llm\.([a-z_]+(?:\.[a-z_]+)*)", README.replace("`", " "))))
KEY = "sk-or-v1-readme-canary-0001"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
TEN_LINES, WITH_KEYS, UNDER_POLICY, PAST_ONE_MACHINE = (block for language, block in BLOCKS if language == "python")
CELLS = [block for language, block in BLOCKS if language == "ipython"]
INSTALL, NOTEBOOK, KEYS, TESTS = (block for language, block in BLOCKS if language == "sh")
SHOWN, SHOWN_UNDER_POLICY = (block for language, block in BLOCKS if not language)
AT_THIS_MACHINE = {
    # pip takes what is installed here: it reaches no other machine
    "PIP_NO_INDEX": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # to pip, "0" says no to the isolation
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


@pytest.fixture
def clone(tmp_path):
    """Return a copy of what a clone has, as a working folder."""
    place = tmp_path / "clone"
    kept = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("llm_executor_nb", "notebooks"):
        shutil.copytree(ROOT / name, place / name, ignore=kept)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    return place


def bash(block, folder, **environment):
    """Run a block as a reader pastes it; return what it printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],  # noqa: S607 - the reader's own
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def end_group(running):
    """End a process and those it started, unless it has ended by itself."""
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGTERM)


@pytest.mark.parametrize(("block", "shown"), [(TEN_LINES, SHOWN), (UNDER_POLICY, SHOWN_UNDER_POLICY)])
def test_a_block_that_rehearses_prints_what_stands_below_it(block, shown, capsys):
    exec(block, {})  # noqa: S102 - the README's own code
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == shown.splitlines()


def test_the_block_with_keys_runs_as_one_piece(capsys):
    with llm.rehearse():
        exec(WITH_KEYS, {})  # noqa: S102 - the README's own code
    shown = capsys.readouterr().out
    assert shown.count("[practice answer") == 2
    assert "openrouter ..0001" in shown


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.set_index:DeprecationWarning")  # of Dask's writer
def test_the_block_with_a_dask_frame_writes_the_answers(tmp_path):
    pytest.importorskip("dask.dataframe")
    (tmp_path / "questions").mkdir()
    for part in ("a", "b"):
        pd.DataFrame({"question": [f"question {part}."]}).to_parquet(tmp_path / "questions" / f"{part}.parquet")
    with llm.rehearse():
        exec(PAST_ONE_MACHINE, {})  # noqa: S102 - the README's own code
    assert list(pd.read_parquet(tmp_path / "answers")["question_llm_status"]) == ["ok", "ok"]


def test_the_cells_run_one_after_the_other():
    with extended_shell() as shell, llm.rehearse():
        for cell in CELLS:
            shell.run_cell(cell).raise_error()
        assert "the box was damaged" in shell.user_ns["answer"].content


def test_the_keys_that_the_block_exports_are_found(tmp_path):
    show = f"\n{sys.executable} -c 'import llm_executor_nb as llm; print(llm.keys)'"
    shown = bash(KEYS + show, tmp_path, PYTHONPATH=str(ROOT))
    assert "OPENROUTER_API_KEY" in shown
    assert "HF_TOKEN" in shown


@pytest.mark.docs
@pytest.mark.timeout(600)
def test_the_two_commands_install_it_and_run_the_main_job(clone):
    python = Path(sys.executable).parent
    installed = [path for path in sys.path if path.endswith("site-packages")]
    shown = bash(
        INSTALL,
        clone,
        **AT_THIS_MACHINE,
        PIP_NO_DEPS="1",
        PATH=f"{python}{os.pathsep}{os.environ['PATH']}",
        PYTHONPATH=os.pathsep.join(installed),
    )
    assert "No row was lost: all 200 have an answer." in shown
    assert [*(clone / ".venv").glob("lib/*/site-packages/llm_executor_nb")]


@pytest.mark.docs
@pytest.mark.timeout(600)
def test_one_line_opens_the_quickstart_in_jupyterlab(clone, tmp_path):
    (clone / ".venv").symlink_to(sys.prefix)  # Jupyter is installed here; pip only says what it would install
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >"{opened}.part" && mv "{opened}.part" "{opened}"\n')
    browser.chmod(0o700)
    config = tmp_path / "jupyter"
    config.mkdir()
    (config / "jupyter_server_config.py").write_text("c.ServerApp.allow_root = True\n")
    environment = {**AT_THIS_MACHINE, "PIP_DRY_RUN": "1", "BROWSER": f"{browser} %s", "JUPYTER_CONFIG_DIR": str(config)}
    log = tmp_path / "log"
    with ExitStack() as ended:
        running = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", NOTEBOOK],  # noqa: S607 - the reader's own
            cwd=clone,
            env={**os.environ, **environment},
            stdout=ended.enter_context(log.open("wb")),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ended.callback(running.wait, 30)
        ended.callback(end_group, running)
        end = time.monotonic() + 300
        while not opened.exists():
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        page = Path(opened.read_text().strip().removeprefix("file://"))
        assert "01_quickstart.ipynb" in page.read_text()


def test_one_line_alone_runs_the_tests():
    """CI runs that line in a fresh clone."""
    assert [line for line in README.splitlines() if "-m pytest" in line] == TESTS.splitlines()


def test_the_files_and_pictures_that_it_links_to_are_there():
    links = re.findall(r"\]\(([^)#]+)\)|(?:src|srcset)=\"([^\"]+)\"", README)
    named = [link or picture for link, picture in links if "://" not in link]
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_llm_in_it_is_there(name):
    assert reduce(getattr, name.split("."), llm) is not None


def test_every_command_in_it_is_one_and_the_ways_to_look_are_named():
    told = set(re.findall(r"(?<!%)%llm (\w+)", README))
    assert "doctor" in told
    assert told <= set(Commands.BY_NAME)
    assert {"panel", "keys.save", "keys.forget_saved", "keys.remove"} <= set(NAMES)


def test_a_key_is_written_down_only_on_request_and_only_for_its_owner(tmp_path):
    def holding():
        files = [path for place in (tmp_path, Path.home()) for path in place.rglob("*") if path.is_file()]
        return [path for path in files if KEY in path.read_text("latin-1")]

    with fresh(), practice_providers() as serve:
        serve()
        llm.keys.add("openrouter", KEY, label="mine")
        llm.MODEL_INFERENCE_PROVIDERS["m"] = []
        out = pd.DataFrame({"q": ["x"]}).llm.run("m", "q", progress=False)
        assert out["q_llm_route"].tolist() == ["openrouter ..0001"]
        assert holding() == []
        place = Path(llm.keys.save("openrouter", "mine", to="file"))
        assert holding() == [place]
        if sys.platform != "win32":
            assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert llm.keys.forget_saved("openrouter", "mine")
        assert holding() == []
