"""The attempt log of calls by hand, in memory: the last 10,000 attempts. Those of jobs are the ledger's."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llm_executor_nb.core.records import Attempt

KEPT = 10_000


class AttemptLog:
    """Keeps attempts in the order they ended. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: deque[Attempt] = deque(maxlen=KEPT)

    def record(self, attempt: Attempt) -> None:
        """Keep one attempt."""
        with self._lock:
            self._attempts.append(attempt)

    def all(self) -> list[Attempt]:
        """Return every attempt, by the time it was sent."""
        with self._lock:
            found = list(self._attempts)
        return sorted(found, key=lambda attempt: attempt.started_utc)

    def of_runs(self, run_ids: Iterable[str]) -> list[Attempt]:
        """Return the attempts of some runs, by the time they were sent."""
        wanted = frozenset(run_ids)
        return [attempt for attempt in self.all() if attempt.run_id in wanted]
