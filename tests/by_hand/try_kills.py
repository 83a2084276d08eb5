"""Kill a column of 2,000 rows a hundred times at random moments, and check what is promised of that; takes minutes.

    PYTHONPATH=tests/support python tests/by_hand/try_kills.py [KILLS]

Prints what was lost per kill, against what may be: the requests in flight and the answers of the last 0.1 s.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from killing import FAULTS, Nursery, Place, kill_many

from llm_executor_nb.rehearsal.server import RehearsalServer

ROWS, CONCURRENCY = 2_000, 16


def main(kills: int) -> None:
    """Kill, check and print."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RehearsalServer(FAULTS, latency_s=0.25) as server,
        Nursery(Path(folder)) as nursery,
    ):
        place = Place(server, Path(folder))
        found = kill_many(nursery, place, kills=kills, rows=ROWS, concurrency=CONCURRENCY, longest_s=0.6, seed=1)
    found.check(ROWS)
    print(f"{kills} kills, {ROWS} rows, {CONCURRENCY} in flight, {found.requests} requests; last run {found.final}")
    print(f"lost per kill: {statistics.mean(found.lost):.1f} on average, {max(found.lost)} at most; ", end="")
    over = sum(lost > usual for lost, usual in zip(found.lost, found.usual, strict=True))
    print(f"{over} kills lost more than is in flight and 0.1 s; committed and asked again: {found.again}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 100)
