"""What the README names is there, and what it says of keys is what the code does."""

from __future__ import annotations

import re
import stat
import sys
from functools import reduce
from pathlib import Path

import pandas as pd
import pytest
from backing import practice_providers
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.notebook.commands import Commands

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"(?<![\w.`\"'])llm\.([a-z_]+(?:\.[a-z_]+)*)", README.replace("`", " "))))
KEY = "sk-or-v1-readme-canary-0001"


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
        files = [path for path in tmp_path.parent.rglob("*") if path.is_file()]
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
