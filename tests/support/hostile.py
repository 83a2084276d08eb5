"""Answers and names that try to fetch, to style, to cover the page or to redefine; and servers for a browser's test."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = "<script>document.title = 'taken'</script>"
FENCES = (
    "```mermaid\n{}\n```",
    "```mermaid title\n{}\n```",
    "``` mermaid\n{}\n```",
    "````mermaid\n{}\n````",
    "~~~mermaid\n{}\n~~~",
    "1. a\n   ```mermaid\n   {}\n   ```",
    "- ```mermaid\n  {}\n  ```",
    "- [ ] ```mermaid\n  {}\n  ```",
    "> ```mermaid\n> {}\n> ```",
    "    ```mermaid\n    {}\n    ```",
    "a\n```mermaid\n{}",
    "```\na\n```\n```mermaid\n{}\n```\n~~~",
    "~~~\na\n~~~\n\n```{{mermaid}}\n{}\n```",
)
MATHS = (
    "${}$",
    "$$\n{}\n$$",
    "\\\\({}\\\\)",
    "\\\\[{}\\\\]",
    "\\({}\\)",
    "\\[\n{}\n\\]",
    "\\[`{}\\]`",
    "\\begin{{align}}\n{}\n\\end{{align}}",
    "\\${}\\$",
    "&#36;{}&#36;",
    "&dollar;{}&dollar;",
    "$a$ `b` ${}$ `c",
    "```\n\\begin{{cases}}\n```\n{}\n```\n\\end{{cases}}\n```",
    "$$ a\n```\n$$\n```\n```\n{}\n```",
    "| a |\n|---|\n| ${}$ |",
)
"""Where a formula may stand. The last characters of some belong to code in one renderer and to a formula in another."""


def formulas(url: str) -> list[str]:
    """Return commands that fetch, style, cover the page, or redefine."""
    covering = "position:fixed;top:0;left:0;width:100vw;height:100vh;z-index:99999;background:white"
    return [
        rf"\unicode[a;background:url({url}/unicode)]{{x41}}",
        rf"\\unicode[a;background:url({url}/doubled)]{{x41}}",
        rf"\&#117;nicode[a;background:url({url}/entity)]{{x41}}",
        rf"\mmlToken{{mglyph}}[src=\"{url}/mglyph\"]{{}}",
        rf"\mmlToken{{mtext}}[fontfamily=\"a;background:url({url}/family)\"]{{x}}",
        rf"\style{{background:url({url}/style)}}{{x}}",
        rf"\bbox[background:url({url}/bbox)]{{x}}",
        rf"\unicode[a;{covering}]{{x41}}",
        r"\hspace{-300em}\rule{900em}{900em}",
        r"x\\[-300em]\Huge x",
        "\\!" * 3000 + r"\blacksquare",
        r"\let\le\ge \DeclareMathOperator{\sin}{cos} \def\alpha{TAKEN} x",
        r"\newcommand{\le}{TAKEN}\renewcommand{\sin}{TAKEN}\gdef\cos{TAKEN} x",
        r"\newenvironment{cases}{TAKEN}{TAKEN} x",
        r"\label{taken}\require{html}\class{jp-Notebook}{x}\cssId{taken}{x}\href{javascript:alert(1)}{x}",
    ]


def answers(url: str) -> list[str]:
    """Return the answers, one of each kind in each place."""
    labels = [f"flowchart TD\n  A[\"<img src='{url}/{at}'>\"] --> B" for at in range(len(FENCES))]
    charts = [fence.format(label.replace("\n", "; ")) for fence, label in zip(FENCES, labels, strict=True)]
    tried = formulas(url)
    maths = [math.format(tried[at % len(tried)]) for at, math in enumerate(MATHS * 2)]
    plain = [f"${one}$" for one in tried]
    others = [
        f"![x]({url}/picture)",
        f"<img src='{url}/tag'>",
        f"![x][r]\n\n[r]: {url}/reference",
        f"{SCRIPT}",
        f"```\n\\begin{{cases}}\n```\n\\end{{cases}}\n```\n{SCRIPT}\n```",
        f"$$\n\n```\n$$\n```\n\n```\n{SCRIPT}\n```",
        f"- ```\n{SCRIPT}\n  ```\n{SCRIPT}",
        f"<style>body {{ background: url({url}/body) }}</style><link rel=stylesheet href={url}/link>",
        "$" * 3000,
        "$" + "\\sqrt{" * 300 + "x" + "}" * 300 + "$",
        "$" + "\\left(" * 300 + "x" + "\\right)" * 300 + "$",
        "> " * 2000 + "x",
    ]
    return [*charts, *maths, *plain, *others]


def names(url: str) -> list[str]:
    """Return names of models and providers."""
    return [f"a/${one}$" for one in formulas(url)] + [f"a/<img src='{url}/name'>", f"a/{SCRIPT}", "a/\u202eevil"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def reply(self, kind: str, body: bytes) -> None:
        """Send a reply of 200."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Beacon(_Handler):
    hits: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Count a request of the browser's own."""
        self.hits.append(self.path)
        self.reply("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')


class _Echo(_Handler):
    def do_POST(self) -> None:
        """Answer with the prompt."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": asked["messages"][-1]["content"]}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        self.reply("application/json", json.dumps(reply).encode())


@contextmanager
def beacon() -> Iterator[tuple[str, list[str]]]:
    """Count the requests that a browser makes; yield the address and the paths so far."""
    _Beacon.hits.clear()
    server = _serving(_Beacon)
    try:
        yield f"http://127.0.0.1:{server.server_port}", _Beacon.hits
    finally:
        server.shutdown()
        server.server_close()


def echo() -> str:
    """Serve a provider that answers with the prompt, for as long as the process lives; return its address."""
    return f"http://127.0.0.1:{_serving(_Echo).server_port}/v1"


def _serving(handler: type[_Handler]) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
