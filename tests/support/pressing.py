"""What the panel's tests share: a panel whose buttons are pressed, and all that it would send to a browser."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rehearsing import fresh, wait_until

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.notebook.panel import widget

if TYPE_CHECKING:
    from collections.abc import Iterator


class Watched(widget.Panel):
    """A panel that keeps what it would send to the browser, and notes who assigned what is shown."""

    def __init__(self, **options: Any) -> None:
        self.replies: list[dict[str, Any]] = []
        self.assigned_by: set[str] = set()
        super().__init__(**options)
        self.observe(lambda _: self.assigned_by.add(threading.current_thread().name))

    def send(self, content: Any, buffers: Any = None) -> None:  # noqa: ARG002 - ipywidgets' own signature
        """Keep what would be sent."""
        self.replies.append(content)


@contextmanager
def without_keys() -> Iterator[None]:
    """Give a test a session without keys, and a clock that stands still."""
    with fresh(), clock.use(clock.FrozenClock()):
        llm.keys.refresh()
        llm.OPENROUTER_KEYS, llm.HUGGINGFACE_TOKENS = [], []
        yield


@contextmanager
def a_panel(**options: Any) -> Iterator[Watched]:
    """Make a panel, and close it at the end."""
    one = Watched(**options)
    yield one
    one.close()
    wait_until(lambda: not workers())


def workers() -> list[threading.Thread]:
    """Return the threads of all panels."""
    return [thread for thread in threading.enumerate() if thread.name == "llm_executor_nb panel"]


def tell(board: Watched, tab: str, what: str, /, **told: Any) -> dict[str, Any]:
    """Press a button, as the browser's message has it, and return the answer."""
    number = f"n{len(board.replies)}"
    board._handle_custom_msg({"id": number, "tab": tab, "do": what, **told}, [])
    wait_until(lambda: any(reply["id"] == number for reply in board.replies))
    return next(reply for reply in board.replies if reply["id"] == number)


def keys_of(board: Watched) -> list[tuple[str, str, str]]:
    """Return what the tab Keys shows of each key."""
    return [(row["shown"], row["source"], row["state"]) for row in board.key_rows]


def state_of(board: Watched) -> str:
    """Return all that the browser, and so a saved notebook, may hold of the panel."""
    return json.dumps([board.get_state(), board.replies, board._repr_mimebundle_()[0]])
