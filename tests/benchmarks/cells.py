"""How soon a `%%llm` cell shows the first text, and what drawing costs, in a real ipykernel.

Run: PYTHONPATH=. python tests/benchmarks/cells.py
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from loopback import DONE, STREAM, Loopback, says
from shells import Kernel, Ran, kernel

if TYPE_CHECKING:
    import socket

RUNS = 20
PIECES, RATE = 300, 100
PIECE = "word "
_PLAIN = f"""
import time
from IPython.display import display
began = time.process_time()
text, handle = "", display({{"text/plain": ""}}, raw=True, display_id=True)
for _ in range({PIECES}):
    text += {PIECE!r}
    handle.update({{"text/plain": text}}, raw=True)
    time.sleep({1 / RATE})
print(time.process_time() - began)
"""
_OURS = f"""
import time
from llm_executor_nb.view.answer import CellAnswer
began = time.process_time()
text, paint = "", CellAnswer()
paint.begin(lambda: "asking")
for _ in range({PIECES}):
    text += {PIECE!r}
    paint.add({PIECE!r})
    time.sleep({1 / RATE})
paint.end({{"text/plain": text}})
print(time.process_time() - began)
"""
_CPU_BEFORE = "import time; _began = time.process_time()"
_CPU_AFTER = "print(time.process_time() - _began)"


class Server:
    """Streams pieces at a rate, and remembers when it sent the first."""

    def __init__(self) -> None:
        self.first_at = 0.0
        self.is_long = False

    def play(self, connection: socket.socket) -> None:
        """Send one stream."""
        connection.sendall(STREAM)
        self.first_at = time.time()
        for _ in range(PIECES if self.is_long else 3):
            connection.sendall(says(PIECE))
            time.sleep(1 / RATE)
        connection.sendall(says("", finish_reason="stop") + DONE)


def _printed(ran: Ran) -> float:
    return float(ran.of("stream")[0]["text"])


def _first_text_s(running: Kernel, server: Server) -> float:
    """Return seconds from the provider's first byte to the message that shows it."""
    ran = running.run("%%llm bench\nHi")
    shown = next(
        message
        for message in ran.messages
        if message["content"].get("data", {}).get("text/plain", "").startswith(PIECE)
    )
    return float(shown["came_at"]) - server.first_at


def main() -> None:
    """Measure in one kernel, after a warm-up."""
    server = Server()
    with tempfile.TemporaryDirectory() as home, Loopback(server.play) as loopback, kernel(Path(home)) as running:
        running.run(f"llm.configure(openrouter_keys=['sk-or-v1-bench-0001'], openrouter_base_url={loopback.url!r})")
        running.run("llm.models.add('bench')")
        _first_text_s(running, server)
        seconds = sorted(_first_text_s(running, server) for _ in range(RUNS))
        print(
            f"first byte to first text on screen: median {statistics.median(seconds) * 1000:.1f} ms, "
            f"worst of {RUNS} {seconds[-1] * 1000:.1f} ms"
        )
        plain, ours = (statistics.median(_printed(running.run(code)) for _ in range(3)) for code in (_PLAIN, _OURS))
        print(
            f"CPU of drawing {PIECES} pieces at {RATE}/s: {ours:.3f} s, a plain update loop {plain:.3f} s, "
            f"ratio {ours / plain:.2f}"
        )
        server.is_long = True
        running.run(_CPU_BEFORE)
        updates = len(running.run("%%llm bench\nHi").of("update_display_data"))
        whole = _printed(running.run(_CPU_AFTER))
        print(
            f"CPU of the whole cell, HTTP and LangChain included: {whole:.3f} s, ratio {whole / plain:.2f}, "
            f"{updates} updates"
        )


if __name__ == "__main__":
    main()
