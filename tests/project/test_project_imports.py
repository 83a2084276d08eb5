"""Importing the package costs pandas and little more, and is silent."""

import json
import subprocess
import sys

import pytest

LOADED_ON_FIRST_USE = [
    "IPython",
    "aiohttp",
    "anywidget",
    "dask",
    "huggingface_hub",
    "ipywidgets",
    "jsonschema",
    "keyring",
    "langchain_core",
    "langchain_huggingface",
    "langchain_openai",
    "matplotlib",
    "openai",
    "opentelemetry",
    "psutil",
]
IMPORT_AND_TELL = """
import json, sys
import pandas
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
import llm_executor_nb
told = json.dumps({"modules": sorted(sys.modules), "opened": opened})
with open(sys.argv[1], "w") as file:
    file.write(told)
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Return what a fresh Python printed, loaded and opened while it imported the package."""
    told = tmp_path_factory.mktemp("imported") / "told.json"
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", IMPORT_AND_TELL, str(told)],
        capture_output=True,
        text=True,
        check=False,
    )
    return {"printed": done.stdout + done.stderr, **json.loads(told.read_text() if told.exists() else "{}")}


def test_an_import_prints_nothing_and_warns_of_nothing(imported):
    assert imported["printed"] == ""


@pytest.mark.parametrize("module", LOADED_ON_FIRST_USE)
def test_what_is_heavy_loads_on_first_use(imported, module):
    assert module not in imported["modules"]


def test_an_import_opens_nothing_but_code(imported):
    strange = [name for name in imported["opened"] if not name.endswith((".py", ".pyc", ".so", ".pyd", ".dll"))]
    assert strange == []
