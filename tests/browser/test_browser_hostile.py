"""Hostile answers and names in a real JupyterLab: nothing is fetched, covered, redefined or run, now or later."""

from __future__ import annotations

import json
import re
from pathlib import Path

import hostile
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
AT_ONCE = 20
"""Answers of a cell: an answer makes two outputs, and JupyterLab shows fifty."""
OWN = "$a \\le b, \\sin \\alpha, \\begin{cases} x \\end{cases}$"
OWN_CELL = f"from IPython.display import Markdown\ndisplay(Markdown({OWN!r}))"
MAKE = f"""
import json, sys
sys.path.insert(0, {str(Path(hostile.__file__).parent)!r})
import hostile
llm.configure(openrouter_keys=["sk-or-v1-hostile-0001"], huggingface_tokens=[], openrouter_base_url=hostile.echo())
told = json.load(open("hostile.json"))
for name in told["names"]:
    llm.models.add(name, providers=[name.replace(":", "")])  # with a colon it is refused: it cannot be a provider's
def show(start):
    for answer in told["answers"][start:start + {AT_ONCE}]:
        get_ipython().run_cell_magic("llm", "gemma --no-stream", answer)
"""
TABLES = """
display(llm.models)
for name in told["names"]:
    get_ipython().run_line_magic("llm", f"models {name}")
df = pd.DataFrame({"q": told["answers"][:60]})
out = df.llm.run("gemma", "q", progress=False)
"""
FRAMES = """
if pd.__version__ >= "3":  # JupyterLab 4 typesets the frames of an older one, as the README says
    display(out[["q_llm"]], llm.attempts())
display(df.llm.preview("gemma", "q", n=60, progress=False), out.llm.report())
get_ipython().run_cell_magic("llm", f"'{told['names'][0]}' -n", "x")
"""
FIND_FIXED = """() => [...document.querySelectorAll('.jp-OutputArea-output *')]
  .filter(node => ['fixed', 'sticky'].includes(getComputedStyle(node).position)).map(node => node.outerHTML)"""
FIND_STRAY = """() => {
  const stray = [];
  for (let x = 5; x < innerWidth; x += 60) for (let y = 5; y < innerHeight; y += 60) {
    const node = document.elementFromPoint(x, y), area = node && node.closest('.jp-Cell-outputWrapper');
    if (!area) continue;
    const box = area.getBoundingClientRect();
    if (x < box.left || x > box.right || y < box.top || y > box.bottom) stray.push(node.outerHTML.slice(0, 200));
  }
  return stray;
}"""
"""Run in the page: what stands where no output does."""
READ_OWN = (
    """cell => [...cell.querySelectorAll('mjx-container')].map(node => node.querySelector('mjx-math').innerHTML)"""
)


def look_for_harm(notebook, count: int) -> None:
    """Fail if something of an output stands outside its cell's outputs, or something was run."""
    for number in range(2, count + 1):
        for part in (notebook.cell(number), notebook.output(number).locator(".jp-OutputArea-output").last):
            part.scroll_into_view_if_needed()
            assert notebook.page.evaluate(FIND_STRAY) == []
    assert notebook.page.evaluate(FIND_FIXED) == []
    assert "taken" not in notebook.page.title()


def own_formulas(notebook, *cells: int) -> list[list[str]]:
    """Return the formulas of some cells as they are drawn."""
    for cell in cells:
        notebook.output(cell).locator("mjx-container").first.wait_for(state="attached")
    return [notebook.output(cell).evaluate(READ_OWN) for cell in cells]


def test_hostile_answers_and_names_do_nothing_in_the_page_nor_in_the_file_nor_in_its_export(lab):
    with hostile.beacon() as (url, hits):
        told = {"answers": hostile.answers(url), "names": hostile.names(url)}
        assert len(told["answers"]) + len(told["names"]) > 80
        (lab.work / "hostile.json").write_text(json.dumps(told), encoding="utf-8")
        shows = [f"show({start})" for start in range(0, len(told["answers"]), AT_ONCE)]
        cells = [MAKE, OWN_CELL, *shows, TABLES, FRAMES, OWN_CELL]
        last = len(cells)
        with lab.notebook("hostile", *cells) as notebook:
            for number in range(1, last + 1):
                notebook.run(number)
                assert "Error" not in notebook.text(number), notebook.text(number)[-500:]
            before, after = own_formulas(notebook, 2, last)
            assert before == after
            assert before
            look_for_harm(notebook, last)
            assert hits == []
            notebook.save()
            notebook.page.reload()
            notebook.wait_for_kernel()
            look_for_harm(notebook, last)
            assert own_formulas(notebook, 2, last) == [before, before]
            assert hits == []
            exported = export(notebook.path)
            notebook.page.goto(f"{lab.url}/files/{exported.name}", wait_until="domcontentloaded")
            assert "taken" not in notebook.page.title()
            assert hits == []


def export(path: Path) -> Path:
    """Export a notebook as HTML, in which no diagram is drawn and no command of a formula is ours to fear."""
    from bs4 import BeautifulSoup  # noqa: PLC0415 - comes with nbconvert
    from nbconvert import HTMLExporter  # noqa: PLC0415 - comes with JupyterLab

    html, _ = HTMLExporter(exclude_input=True).from_filename(str(path))
    outputs = BeautifulSoup(html, "html.parser").main
    assert not outputs.select(".mermaid, script, img[src^=http]")
    for part in outputs.select("pre, code, .tex2jax_ignore"):
        part.decompose()
    assert not re.search(
        r"\\(unicode|mmlToken|style|bbox|def|let|newcommand|Declare\w+|hspace|rule|label)", str(outputs)
    )
    (exported := path.with_suffix(".html")).write_text(html, encoding="utf-8")
    return exported
