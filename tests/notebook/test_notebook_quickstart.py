"""The notebooks in the repository, executed in a real kernel as a reader would."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CANARY = "sk-or-v1-canary-in-the-environment-0042"


def execute(path: Path, folder: Path) -> Any:
    """Run a notebook in a kernel whose working folder is `folder`; return it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def texts(notebook: Any) -> str:
    """Return all text outputs of a notebook."""
    return "\n".join(
        output.get("text", "")
        + "".join(output.get("data", {}).get(kind, "") for kind in ("text/plain", "text/markdown"))
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    )


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom_without_a_key(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(NOTEBOOKS.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OPENROUTER_API_KEY", CANARY)
    notebook = execute(path, tmp_path)
    nbformat.validate(notebook)
    assert CANARY not in nbformat.writes(notebook)
    assert not [o for c in notebook.cells for o in c.get("outputs", ()) if o.output_type == "error"]


def test_the_quickstart_shows_practice_answers_and_the_attempt_log(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parent))
    shown = texts(execute(NOTEBOOKS / "01_quickstart.ipynb", tmp_path))
    for words in ("[practice answer", "fall_back", "Name one dish that Lyon is known for", "skipped", "auth"):
        assert words in shown
