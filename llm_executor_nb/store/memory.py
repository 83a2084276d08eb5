"""The attempt log of calls by hand, in memory: the last 10,000 attempts. Those of jobs are in the ledger."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llm_executor_nb.core.attempt import Attempt

_LENGTH = 10_000

_lock = threading.Lock()
"""One lock for all logs, so that a forked child can be given another: the parent's may stay locked there for ever."""


class AttemptLog:
    """Attempts in the order they ended. Safe from any thread."""

    def __init__(self) -> None:
        self._attempts: deque[Attempt] = deque(maxlen=_LENGTH)

    def record(self, attempt: Attempt) -> None:
        """Add one attempt."""
        with _lock:
            self._attempts.append(attempt)

    def all(self) -> list[Attempt]:
        """Return every attempt, by the time it was sent."""
        with _lock:
            attempts = list(self._attempts)
        return sorted(attempts, key=lambda attempt: attempt.started_utc)

    def of_runs(self, run_ids: Iterable[str]) -> list[Attempt]:
        """Return the attempts of some runs, by the time they were sent."""
        wanted = frozenset(run_ids)
        return [attempt for attempt in self.all() if attempt.run_id in wanted]


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - the thread that held it is not in the child
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
