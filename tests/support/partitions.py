"""Processes that run partitions: each is a Python of its own, with the environment that it is given."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

PACKAGE = Path(__file__).parents[2]
SCRIPT = """
import logging, pickle, sys
from llm_executor_nb.frames import partition
logging.basicConfig(level=logging.DEBUG)
while True:
    try:
        name, arguments = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    pickle.dump(getattr(partition, name)(*arguments), sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


class Elsewhere:
    """Another process, in which functions of `frames.partition` are called.

    Args:
        folder: its home and working folder.
        variables: what its environment has besides what a Python needs; keys of this process are not in it.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENROUTER", "HF_", "LLM_"))}
        told = {"PYTHONPATH": os.pathsep.join([str(PACKAGE), *sys.path]), "HOME": str(folder), **variables}
        folder.mkdir(exist_ok=True)
        self.said = folder / "said"
        with self.said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", SCRIPT],
                env={**kept, **told},
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )

    def call(self, name: str, *arguments: object) -> Any:
        """Call a function there and return what it returns."""
        self.begin(name, *arguments)
        return self.result()

    def begin(self, name: str, *arguments: object) -> None:
        """Call a function there and go on."""
        self._process.stdin.write(pickle.dumps((name, arguments)))
        self._process.stdin.flush()

    def result(self) -> Any:
        """Wait for what the function returns."""
        return pickle.load(self._process.stdout)  # noqa: S301 - our own

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.stdin.close()
        if error is not None:
            self._process.kill()
        self._process.wait(timeout=60)
        self._process.stdout.close()
