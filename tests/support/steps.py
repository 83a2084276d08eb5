"""How long the steps of the private event loop take, in CPU time: a busy machine makes none of them longer."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llm_executor_nb.engine.loop import main_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_S = 0.05
_PROBE = b"[" + b",".join([b'{"a": [1, 2]}'] * 50_000) + b"]"


class Steps:
    """Attributes: longest_s: the CPU time of the longest step; longest: what it ran; collecting_s: of the collector."""

    longest_s = 0.0
    longest = ""
    collecting_s = 0.0

    def note(self, took_s: float, handle: object) -> None:
        if took_s > self.longest_s:
            self.longest_s, self.longest = took_s, repr(handle)[:200]


@contextmanager
def measured_steps() -> Iterator[Steps]:
    """Measure every step of the private loop in a with-block."""
    steps, run, loop = Steps(), asyncio.Handle._run, main_loop()._thread.ident

    def timed(handle: asyncio.Handle) -> None:
        if threading.get_ident() != loop:
            return run(handle)
        began, before_s = time.thread_time(), steps.collecting_s
        try:
            return run(handle)
        finally:
            steps.note(time.thread_time() - began - (steps.collecting_s - before_s), handle)

    began: list[float] = []

    def collecting(phase: str, _: object) -> None:
        """Count the time of Python's garbage collector: it grows with all that the process holds."""
        if threading.get_ident() == loop:
            if phase == "start":
                began.append(time.thread_time())
            elif began:
                steps.collecting_s += time.thread_time() - began.pop()

    gc.callbacks.append(collecting)

    asyncio.Handle._run = timed  # type: ignore[method-assign]
    try:
        yield steps
    finally:
        gc.callbacks.remove(collecting)
        asyncio.Handle._run = run  # type: ignore[method-assign]


def bound_s() -> float:
    """Return the bound of one step: 50 ms, or more where this machine is slow just now."""
    return max(LONGEST_S, 3 * min(_parse_s() for _ in range(3)))


def _parse_s() -> float:
    """Return the CPU time in which this machine parses 200,000 values; it is 15 ms where nothing else runs."""
    gc.disable()
    began = time.thread_time()
    try:
        json.loads(_PROBE)
        return time.thread_time() - began
    finally:
        gc.enable()
