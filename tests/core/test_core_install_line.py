"""The pip line in a message installs from where the package in use came from, and never sends a clone to the index."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import llm_executor_nb as llm
from llm_executor_nb.core import install_line as lines

ROOT = Path(llm.__file__).parents[1]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs the package, by its records, with what pip notes of where it came from."""
    records = tmp_path / "site-packages" / "llm_executor_nb-9.dist-info"
    records.mkdir(parents=True)
    (records / "METADATA").write_text("Metadata-Version: 2.1\nName: llm_executor_nb\nVersion: 9\n")
    monkeypatch.syspath_prepend(records.parent)

    def note(direct_url):
        if direct_url:
            (records / "direct_url.json").write_text(json.dumps(direct_url))
        return records.parent

    return note


def test_in_a_clone_the_lines_name_its_folder():
    assert lines.install_line("plots") == f'pip install -e "{ROOT}[plots]"'
    assert lines.upgrade_line() == f'git -C "{ROOT}" pull && pip install --upgrade -e "{ROOT}"'


@pytest.mark.parametrize(
    ("direct_url", "source"),
    [
        (None, "llm_executor_nb[plots]"),
        ({"url": "https://a.example/w.whl", "archive_info": {}}, "llm_executor_nb[plots] @ https://a.example/w.whl"),
        (
            {
                "url": "https://a.example/nb.git",
                "vcs_info": {"vcs": "git", "commit_id": "a1", "requested_revision": "v1"},
            },
            "llm_executor_nb[plots] @ git+https://a.example/nb.git@v1",
        ),
        (
            {"url": "https://a.example/nb.git", "vcs_info": {"vcs": "git", "commit_id": "a1"}},
            "llm_executor_nb[plots] @ git+https://a.example/nb.git",
        ),
        ({"url": ROOT.as_uri(), "dir_info": {}}, f"llm_executor_nb[plots] @ {ROOT.as_uri()}"),
        ({"url": "file:///gone/from/here", "dir_info": {}}, "llm_executor_nb[plots]"),
    ],
    ids=["index", "wheel", "git with a tag", "git", "folder", "a folder that is gone"],
)
def test_an_installed_package_is_taken_from_where_it_came_from(installed, direct_url, source):
    above = installed(direct_url)
    assert lines.install_line("plots", above=above) == f'pip install "{source}"'
    assert lines.upgrade_line(above=above) == f'pip install --upgrade "{source.replace("[plots]", "")}"'


def test_a_copy_in_somebody_elses_project_is_not_their_clone(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "theirs"\n')
    assert str(tmp_path) not in lines.install_line("plots", above=tmp_path)
