"""How long a log took, and when nothing could be asked, whatever jobs it is made of."""

from __future__ import annotations

import pandas as pd
import pytest

from llm_executor_nb.store.tables import attempts_frame
from llm_executor_nb.view.log_times import LogTimes

BEGAN = pd.Timestamp("2026-11-24 10:00", tz="UTC")


def times(*requests: tuple[str | None, float, float]) -> LogTimes:
    """Return the times of requests: job (None: by hand), second of the start, seconds."""
    jobs, starts, lengths = zip(*requests, strict=True)
    log = pd.DataFrame(
        {
            "job_id": pd.array(jobs, dtype="string"),
            "run_id": pd.array([f"run {start}" for start in starts], dtype="string"),
            "started_utc": BEGAN + pd.to_timedelta(list(starts), unit="s"),
            "duration_s": pd.array(lengths, dtype="Float64"),
        }
    )
    return LogTimes.of(log)


@pytest.mark.parametrize(
    ("requests", "wall_s", "pauses"),
    [
        ([("a", 0, 2)], 2, []),
        ([("a", 0, 2), ("a", 1, 5), ("a", 2, 1)], 6, []),
        ([("a", 0, 2), ("a", 2.5, 2)], 4.5, []),
        ([("a", 0, 2), ("a", 12, 1), ("a", 43, 1)], 44, [(2, 12), (13, 43)]),
        ([("a", 0, 1), ("b", 3600, 1)], 2, []),
        ([("a", 0, 1), ("b", 5, 1), ("a", 10, 1)], 11, [(1, 5), (6, 10)]),
        ([(None, 0, 1), (None, 9, 1)], 2, []),
        ([("a", 10, 1), ("a", 0, 1)], 11, [(1, 10)]),
        ([("a", 0, None), ("a", 5, 1)], 6, [(0, 5)]),
    ],
)
def test_the_time_of_work_and_the_pauses_in_it(requests, wall_s, pauses):
    found = times(*requests)
    assert found.wall_s == pytest.approx(wall_s)
    assert found.pauses() == [pytest.approx(pause) for pause in pauses]


def test_a_log_without_attempts_took_no_time():
    assert LogTimes.of(attempts_frame(())).wall_s == 0
    assert LogTimes.of(attempts_frame(())).pauses() == []
