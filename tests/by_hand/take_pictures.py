"""The README's pictures, taken in a real JupyterLab: a column in an outage, and its plots; light and dark.

    python tests/by_hand/take_pictures.py

Needs what the tests marked `browser` need. Writes `notebooks/pictures/lab-light.png` and `lab-dark.png`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from lab import FLAGS, Lab, chromium  # noqa: E402 - found in the folder above only

SCRIPT = (
    "openrouter[1]: 401@300..; openrouter[2]: rate=25/s, 402@600..; "
    "huggingface/nebius: 503@250..; huggingface: rate=40/s"
)
PREPARED = f"""
rehearsal = llm.rehearse({SCRIPT!r}, latency_s=0.4).start()
topics = ("The box was damaged", "Fast delivery", "The price is fine", "Support never answered")
reviews = pd.DataFrame({{"review": [f"{{topics[number % 4]}}, order {{number}}." for number in range(4000)]}})
"""
CELLS = (
    'job = reviews.llm.start("gemma", template="Is this review positive? {review}")\njob',
    "job.report().plot()",
)
SIZE = {"width": 1120, "height": 880}
ROWS_DONE = 1300


def main() -> None:
    """Take both pictures."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        lab = Lab(Path(folder), browser)
        try:
            lab.start({})
            for name, is_dark in (("light", False), ("dark", True)):
                take(lab, ROOT / "notebooks" / "pictures" / f"lab-{name}.png", is_dark=is_dark)
        finally:
            lab.stop()
            browser.close()


def take(lab: Lab, path: Path, *, is_dark: bool) -> None:
    """Run the cells, and take the picture while the job runs."""
    with lab.notebook("reviews", PREPARED, *CELLS) as notebook:
        notebook.take_theme(is_dark=is_dark)
        notebook.run(1)
        notebook.run(2)
        notebook.page.wait_for_function(
            "rows => [...document.querySelectorAll('.jp-OutputArea')].some(area => "
            "Number((area.innerText.match(/([\\d,]+)\\/4,?000 rows/) || ['', '0'])[1].replace(',', '')) > rows)",
            arg=ROWS_DONE,
            timeout=300_000,
        )
        notebook.run(3)
        notebook.page.set_viewport_size(SIZE)
        if (no_news := notebook.page.get_by_role("button", name="No", exact=True)).count():
            no_news.click()
        notebook.page.wait_for_timeout(700)  # the window is drawn at its new size
        notebook.cell(2).evaluate("cell => cell.scrollIntoView({block: 'start'})")
        notebook.page.wait_for_timeout(700)
        notebook.page.screenshot(path=path)


if __name__ == "__main__":
    main()
