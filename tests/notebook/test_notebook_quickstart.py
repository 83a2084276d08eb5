"""The notebooks in the repository, executed in a real kernel as a reader would."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CANARY = "sk-or-v1-canary-in-the-environment-0042"
SHOWN = {
    "01_quickstart": ("[practice answer", "Name one dish that Lyon is known for", "auth", "quota", "skipped", "wait"),
    "02_keys_and_models": ("forbidden", "error at the router", "missing", "listed"),
    "03_a_column_at_work": ("cached", "skipped", "category", "its budget of"),
    "04_rehearse_an_outage": ("content_filter", "The stream broke", "Next:", "Paid calls are forbidden"),
    "05_what_happened": ("rate_limited, ", "attempts on 4 routes", "run_id"),
    "06_past_one_machine": ("600 distinct", "600 ok", "overloaded", "600 cached"),
}
"""Words that the outputs must have: what the notebook is about."""
WATCH = """
from llm_executor_nb.rehearsal.runner import ScriptRunner
made = ScriptRunner.__init__
runners = []
def noted(self, *arguments, **options):
    made(self, *arguments, **options)
    runners.append(self)
ScriptRunner.__init__ = noted
"""
UNMET = """
for runner in runners:
    for number, rule in enumerate(runner._script.rules):
        for place, effect in enumerate(rule.effects):
            if not runner._applied[number, place]:
                print(effect.fault, "of", runner._script)
"""
ONLY_LOOKED_UP = ["403 of ", "down of "]
"""Faults of the second notebook that its free look-ups see; they use up no fault."""


def execute(path: Path, folder: Path) -> Any:
    """Run a notebook, between two cells that watch its rehearsals, in a kernel whose working folder is `folder`."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [new_code_cell(WATCH), *notebook.cells, new_code_cell(UNMET)]
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def texts(cells: Any) -> str:
    """Return all text outputs of some cells."""
    return "\n".join(
        output.get("text", "")
        + "".join(output.get("data", {}).get(kind, "") for kind in ("text/plain", "text/markdown"))
        for cell in cells
        for output in cell.get("outputs", ())
    )


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_without_a_key_meets_the_faults_it_names_and_leaves_no_file(path, tmp_path, monkeypatch):
    if "distributed" in path.read_text(encoding="utf-8"):
        pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(NOTEBOOKS.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OPENROUTER_API_KEY", CANARY)
    (folder := tmp_path / "work").mkdir()
    notebook = execute(path, folder)
    nbformat.validate(notebook)
    assert CANARY not in nbformat.writes(notebook)
    assert not [o for c in notebook.cells for o in c.get("outputs", ()) if o.output_type == "error"]
    shown = texts(notebook.cells)
    assert [words for words in SHOWN[path.stem] if words not in shown] == []
    unmet = texts(notebook.cells[-1:]).splitlines()
    assert [fault for fault in unmet if not fault.startswith(tuple(ONLY_LOOKED_UP))] == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_saved_with_the_outputs_of_its_cells_in_their_order(path):
    saved = nbformat.read(path, as_version=4)
    counts = [cell.execution_count for cell in saved.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert [words for words in SHOWN[path.stem] if words not in texts(saved.cells)] == []
    assert "/tmp" not in nbformat.writes(saved)  # noqa: S108 - a folder of the machine that saved it


def test_the_quickstart_shows_a_stream_as_it_comes():
    shown = texts(nbformat.read(NOTEBOOKS / "01_quickstart.ipynb", as_version=4).cells)
    times = re.findall(r"^(\d+\.\d\d) s  '", shown, re.MULTILINE)
    assert len(set(times)) > 6


def test_the_prices_that_are_compared_differ():
    shown = texts(nbformat.read(NOTEBOOKS / "02_keys_and_models.ipynb", as_version=4).cells)
    (prices,) = re.findall(r"^provider\n((?:.+\n)+)Name: usd", shown, re.MULTILINE)
    usd = [line.split()[-1] for line in prices.splitlines()]
    assert len(set(usd)) == len(usd) > 2
