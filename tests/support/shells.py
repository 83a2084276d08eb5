"""What the notebook's tests share: a real InteractiveShell, and a real kernel whose messages are kept."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.manager import AsyncKernelManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_client.asynchronous import AsyncKernelClient

PACKAGE = Path(__file__).parents[2]
SETUP = "import llm_executor_nb as llm\n%load_ext llm_executor_nb"


@contextmanager
def extended_shell(**names: Any) -> Iterator[InteractiveShell]:
    """Make a shell with some variables and the extension loaded."""
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(user_ns=dict(names))
    made.run_line_magic("load_ext", "llm_executor_nb")
    try:
        yield made
    finally:
        made.run_line_magic("unload_ext", "llm_executor_nb")
        made.history_manager.end_session()
        InteractiveShell.clear_instance()


@dataclass
class Ran:
    """What one cell of a kernel did.

    Attributes:
        messages: what it published, in order; `came_at` is when it was here.
        reply: what the kernel said at the end.
        took_s: seconds from the request, or from ■, to the reply.
    """

    messages: list[dict[str, Any]] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)
    took_s: float = 0.0

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the contents of the messages of some kinds."""
        return [message["content"] for message in self.messages if message["msg_type"] in kinds]

    def times(self, kind: str) -> list[float]:
        """Return when the messages of a kind were published, in seconds."""
        return [message["header"]["date"].timestamp() for message in self.messages if message["msg_type"] == kind]

    @property
    def shown(self) -> list[dict[str, str]]:
        """The bundles that stand below the cell at the end."""
        by_id: dict[object, dict[str, str]] = {}
        for number, message in enumerate(self.of("display_data", "update_display_data")):
            by_id[message.get("transient", {}).get("display_id", number)] = message["data"]
        return list(by_id.values())

    @property
    def text(self) -> str:
        """The text twins below the cell, and what was printed."""
        printed = [content["text"] for content in self.of("stream")]
        return "\n".join([*printed, *(bundle.get("text/plain", "") for bundle in self.shown)])


class Kernel:
    """A real ipykernel, with the extension loaded in it, spoken to on an event loop that is closed at the end."""

    def __init__(self, runner: asyncio.Runner, manager: AsyncKernelManager, client: AsyncKernelClient) -> None:
        self._runner = runner
        self._manager = manager
        self._client = client

    def run(
        self, code: str, *, stop_after_s: float | None = None, person: Callable[[Ran], str | None] = lambda _: None
    ) -> Ran:
        """Execute a cell to its end; press ■ some seconds after it has begun.

        Args:
            code: the cell.
            stop_after_s: seconds until ■ is pressed; None: it is not.
            person: looks at what the cell has shown so far, and returns what is typed when it asks; None: nothing yet.
        """
        return self._runner.run(self._run(code, stop_after_s, person))

    def complete(self, code: str, at: int | None = None) -> dict[str, Any]:
        """Return what Tab offers."""
        return self._runner.run(self._client.complete(code, at, reply=True, timeout=30))["content"]

    async def _run(self, code: str, stop_after_s: float | None, person: Callable[[Ran], str | None]) -> Ran:
        ran, pressed, has_begun = Ran(), [time.monotonic()], asyncio.Event()

        async def press() -> None:
            await has_begun.wait()
            await asyncio.sleep(stop_after_s or 0)
            pressed.append(time.monotonic())
            await self._manager.interrupt_kernel()

        pressing = None if stop_after_s is None else asyncio.ensure_future(press())

        def take(message: dict[str, Any]) -> None:
            ran.messages.append({**message, "came_at": time.time()})
            if message["msg_type"] == "execute_input":
                has_begun.set()

        asks = asyncio.Event()
        looking = asyncio.ensure_future(self._type_in(ran, person, asks))
        reply = await self._client.execute_interactive(
            code, timeout=60, output_hook=take, stdin_hook=lambda _: asks.set()
        )
        looking.cancel()
        ran.reply, ran.took_s = reply["content"], time.monotonic() - pressed[-1]
        if pressing is not None:
            await pressing
        return ran

    async def _type_in(self, ran: Ran, person: Callable[[Ran], str | None], asks: asyncio.Event) -> None:
        while (typed := person(ran)) is None:  # noqa: ASYNC110 - no event marks what a cell shows
            await asyncio.sleep(0.02)
        await asks.wait()
        self._client.input(typed)


def assert_one_line(ran: Ran) -> str:
    """Check that a cell that was stopped ends in one line, and return it."""
    assert ran.reply["ename"] == "JobInterrupted", ran.reply
    assert ran.reply["traceback"] == [f"JobInterrupted: {ran.reply['evalue']}"]
    assert "\n" not in ran.reply["evalue"]
    return ran.reply["evalue"]


@contextmanager
def kernel(home: Path) -> Iterator[Kernel]:
    """Start a kernel with a home of its own, load the extension, and end it."""
    mine = {"HOME": str(home), "IPYTHONDIR": str(home / "ipython"), "HF_HOME": str(home / "huggingface")}
    path = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))
    manager = AsyncKernelManager(kernel_name="python3")
    with asyncio.Runner() as runner:
        runner.run(manager.start_kernel(env={**os.environ, **mine, "PYTHONPATH": path}, cwd=str(home)))
        client = manager.client()
        client.start_channels()
        try:
            runner.run(client.wait_for_ready(timeout=60))
            running = Kernel(runner, manager, client)
            assert running.run(SETUP).reply["status"] == "ok"
            yield running
        finally:
            client.stop_channels()
            runner.run(manager.shutdown_kernel(now=True))


@pytest.fixture(scope="module")
def a_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for a module's tests."""
    with kernel(tmp_path_factory.mktemp("kernel")) as running:
        yield running
