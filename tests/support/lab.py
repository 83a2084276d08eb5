"""A real JupyterLab in a real Chromium: one server and one browser for all tests that need them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

PACKAGE = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
WIDTHS = (1280, 700)
"""Of the page, in pixels."""
SETUP = "import pandas as pd\nimport llm_executor_nb as llm\n%load_ext llm_executor_nb"
PATIENCE_MS = 60_000
FIND_FAULTS = """root => {
  const numbers = color => (color.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const scale = color => color.startsWith('color(') ? 255 : 1;
  const channels = color => numbers(color).map((v, i) => i < 3 ? v * scale(color) : v);
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const over = (top, below, a = top[3] ?? 1) => top.slice(0, 3).map((v, i) => v * a + below[i] * (1 - a));
  const ground = node => {
    const layers = [];
    for (let one = node; one; one = one.parentElement) layers.push(channels(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const found = [];
  for (const node of [root, ...root.querySelectorAll('*')]) {
    const own = [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.offsetParent || node.closest('[disabled]')) continue;
    const below = ground(node), text = over(channels(getComputedStyle(node).color), below);
    const [a, b] = [light(text), light(below)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const words = node.textContent.trim().slice(0, 40);
    if (contrast < 4.5) found.push(`${words}: contrast ${contrast.toFixed(2)}`);
    const box = node.getBoundingClientRect(), page = document.documentElement.clientWidth;
    if (box.right > page + 1) found.push(`${words}: ${Math.round(box.right - page)} px beyond the page`);
  }
  return found;
}"""
"""Run in the page: the WCAG contrast of each text against what it stands on, and what reaches beyond the page."""
WIDGET_STATE = {"saveState": True}


def chromium() -> str | None:
    """Return Debian's Chromium; None: it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Lab:
    """A JupyterLab server over a folder of its own, with a home of its own, and a browser."""

    def __init__(self, folder: Path, browser: Browser) -> None:
        self.folder, self._browser = folder, browser
        self.work = folder / "work"
        self.work.mkdir()
        self._port = _free_port()
        self._opened = 0
        self._server: subprocess.Popen[bytes] | None = None

    def start(self, environment: dict[str, str]) -> None:
        """Start the server and wait until it answers."""
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={self._port}"]
        options = [
            "--ServerApp.token=",
            "--ServerApp.password=",
            "--ServerApp.disable_check_xsrf=True",
            f"--ServerApp.root_dir={self.work}",
        ]
        home = {
            "HOME": str(self.folder),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(self.folder / "jupyter"),
            "PYTHONPATH": str(PACKAGE),
        }
        settings = self.folder / "jupyter" / "lab" / "user-settings" / "@jupyter-widgets" / "jupyterlab-manager"
        settings.mkdir(parents=True)
        (settings / "plugin.jupyterlab-settings").write_text(json.dumps(WIDGET_STATE), encoding="utf-8")
        with (self.folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen(
                [*command, *options], stdout=log, stderr=log, cwd=self.work, env={**os.environ, **home, **environment}
            )
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/api", timeout=2).close()  # noqa: S310 - our own server
                return
            time.sleep(0.1)
        raise TimeoutError((self.folder / "server.log").read_text(encoding="utf-8")[-2000:])

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}"

    def stop(self) -> None:
        """End the server and its kernels."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(20)

    def _end_kernels(self) -> None:
        for kernel in json.loads(self._ask("GET", "kernels")):
            self._ask("DELETE", f"kernels/{kernel['id']}")

    def _ask(self, method: str, what: str) -> bytes:
        asked = urllib.request.Request(f"{self.url}/api/{what}", method=method)  # noqa: S310 - our own server
        with urllib.request.urlopen(asked, timeout=20) as reply:  # noqa: S310 - our own server
            return reply.read()

    @contextlib.contextmanager
    def notebook(self, name: str, *cells: str) -> Iterator[Notebook]:
        """Open a notebook with these cells, and the package imported in its kernel."""
        self._opened += 1
        path = self.work / f"{name}-{self._opened}.ipynb"
        kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        made = new_notebook(cells=[new_code_cell(cell) for cell in (SETUP, *cells)], metadata=kernel)
        nbformat.write(made, path)
        page = self._browser.new_page(viewport={"width": WIDTHS[0], "height": 1200})
        page.set_default_timeout(PATIENCE_MS)
        accept = page.locator(".jp-Dialog .jp-mod-accept")
        page.add_locator_handler(page.locator(".jp-Dialog"), accept.click)
        try:
            page.goto(f"{self.url}/doc/tree/{path.name}?reset")
            opened = Notebook(page, path)
            opened.wait_for_kernel()
            opened.take_theme(is_dark=False)
            opened.run(0)
            assert not opened.text(0).strip(), opened.text(0)
            yield opened
        finally:
            page.close()
            self._end_kernels()


class Notebook:
    """One open notebook; cells are counted from 0, the imports."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page, self.path = page, path

    def cell(self, number: int) -> Locator:
        """Return a cell."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def output(self, number: int) -> Locator:
        """Return what stands below a cell."""
        return self.cell(number).locator(".jp-OutputArea").first

    def text(self, number: int) -> str:
        """Return the text below a cell."""
        return self.output(number).inner_text()

    def wait_for_text(self, number: int, words: str, within_s: float = 20) -> str:
        """Wait until some words stand below a cell; return all that stands there."""
        end = time.monotonic() + within_s
        while words not in (text := self.text(number)):
            assert time.monotonic() < end, f"{words!r} is not in {text!r}"
            self.page.wait_for_timeout(20)
        return text

    def begin(self, number: int) -> None:
        """Run a cell; return when it has begun."""
        prompt = self.cell(number).locator(".jp-InputPrompt")
        before = prompt.inner_text()
        for _ in range(3):  # Lab may not have its key bindings yet
            self.cell(number).locator(".jp-InputArea-editor").click()
            self.page.keyboard.press("Control+Enter")
            end = time.monotonic() + 5
            while time.monotonic() < end:
                if prompt.inner_text() != before:
                    return
                self.page.wait_for_timeout(20)
        raise TimeoutError(f"cell {number} did not begin to run")

    def run(self, number: int) -> None:
        """Run a cell to its end."""
        for _ in range(3):  # Lab drops what is sent to a kernel that is not quite there yet
            self.begin(number)
            self.wait_until_idle()
            prompt = self.cell(number).locator(".jp-InputPrompt").inner_text()
            if any(map(str.isdigit, prompt)):
                return
        raise TimeoutError(f"cell {number} was not run: {prompt!r}, {self.text(number)!r}")

    def type_into(self, number: int, code: str) -> None:
        """Put other code into a cell."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(code)

    def press_stop(self) -> None:
        """Press ■ in the toolbar."""
        self.page.locator(
            "jp-button[data-command='notebook:interrupt-kernel'], button[title^='Interrupt']"
        ).first.click()

    def wait_for_kernel(self) -> None:
        """Wait until the kernel is there."""
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        self.page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")

    def wait_until_idle(self) -> None:
        """Wait until no cell runs or waits, and the kernel says so."""
        end = time.monotonic() + PATIENCE_MS / 1000
        while any("*" in prompt for prompt in self.page.locator(".jp-InputPrompt").all_inner_texts()):
            assert time.monotonic() < end, "a cell did not come to its end"
            self.page.wait_for_timeout(20)
        self.page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")

    def save(self) -> dict[str, Any]:
        """Save it; return what is in the file."""
        before = self.path.stat().st_mtime_ns
        self.page.keyboard.press("Control+s")
        end = time.monotonic() + 20
        while time.monotonic() < end:
            self.page.wait_for_timeout(100)
            with contextlib.suppress(ValueError):  # a large file is empty while it is written
                if self.path.stat().st_mtime_ns != before:
                    return json.loads(self.path.read_text(encoding="utf-8"))
        raise TimeoutError(f"{self.path.name} was not saved")

    def looks(self, widths: tuple[int, ...] = WIDTHS) -> Iterator[str]:
        """Take each theme and each width in turn; yield what it is."""
        for is_dark in (False, True):
            self.take_theme(is_dark=is_dark)
            for width in widths:
                self.page.set_viewport_size({"width": width, "height": 1200})
                self.page.wait_for_timeout(300)
                yield f"{width}-{'dark' if is_dark else 'light'}"

    def shoot(self, name: str) -> None:
        """Keep a picture of the page where the environment variable `LAB_PICTURES` says, if it says so."""
        if folder := os.environ.get("LAB_PICTURES"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")

    def faults(self, part: Locator) -> list[str]:
        """Return what cannot be read in a part of the page: text cut off, or with a contrast below 4.5."""
        return list(part.evaluate(FIND_FAULTS))

    def take_theme(self, *, is_dark: bool) -> None:
        """Take the dark theme or the light one."""
        told = "body[data-jp-theme-light='false']" if is_dark else "body[data-jp-theme-light='true']"
        if self.page.locator(told).count():
            return
        self.page.get_by_role("menuitem", name="Settings").first.click()
        self.page.get_by_text("Theme", exact=True).first.hover()
        self.page.get_by_text("JupyterLab Dark" if is_dark else "JupyterLab Light", exact=True).first.click()
        self.page.wait_for_selector(told, state="attached")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
