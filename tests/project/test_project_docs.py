"""The documentation site, built as CI builds it: a warning of Sphinx, or a cell that raises, ends the build."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import llm_executor_nb as llm
from llm_executor_nb import testing
from llm_executor_nb.rehearsal.catalogue import known_faults

pytestmark = [pytest.mark.docs, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
LOADED = {("script", "src"), ("img", "src"), ("source", "srcset"), ("iframe", "src"), ("link", "href")}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site; return its folder."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        ["bash", str(ROOT / ".docs" / "build"), str(folder)],  # noqa: S607 - the build is a bash script
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def page(site, name):
    return (site / f"{name}.html").read_text(encoding="utf-8")


class Parts(HTMLParser):
    """Collects what a page loads, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if (tag, name) in LOADED:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)


def parts(path):
    found = Parts()
    found.feed(path.read_text(encoding="utf-8"))
    return found


def test_every_notebook_and_every_page_is_in_it_with_its_outputs(site):
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert "cell_output" in page(site, f"notebooks/{notebook.stem}")
    for name in ("index", "CONTRIBUTING", "CHANGELOG", *(path.stem for path in (ROOT / ".docs").glob("*.md"))):
        assert f"href={'#' if name == 'index' else f'{name}.html'}" in page(site, "index").replace('"', "")


def test_every_public_name_has_its_entry(site):
    shown = set(re.findall(r'id="llm_executor_nb\.([\w.]+)"', page(site, "api")))
    assert {*llm.__all__, *(f"testing.{name}" for name in testing.__all__)} <= shown


def test_every_fault_of_the_catalogue_is_listed(site):
    listed = set(re.findall(r"<code[^>]*>(?:<span[^>]*>)?([\w.-]+)", page(site, "failures")))
    assert set(known_faults()) <= listed


def test_the_sql_examples_have_results_and_the_tables_their_comments(site):
    shown = page(site, "ledger")
    assert "THE BOX WAS DAMAGED" in shown
    assert "CREATE TABLE answer" in re.sub(r"<[^>]+>", "", shown)
    assert "answers were erased" in shown


def test_a_code_example_in_a_docstring_is_shown_as_code(site):
    assert re.search(r"<pre>.*?add_backend.*?</pre>", page(site, "api"), re.DOTALL)


def test_no_page_loads_anything_from_another_machine(site):
    loaded = [(path.name, name) for path in site.rglob("*.html") for name in parts(path).loaded]
    assert loaded
    assert [(place, name) for place, name in loaded if "//" in name] == []


def test_every_link_and_picture_inside_the_site_is_there(site):
    missing = []
    for path in site.rglob("*.html"):
        found = parts(path)
        for name in (*found.loaded, *found.links):
            target = re.sub(r"[?#].*", "", name)
            if target and ":" not in target and not (path.parent / target).exists():
                missing.append((path.name, name))
    assert missing == []
