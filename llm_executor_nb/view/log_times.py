"""When the requests of an attempt log were under way, and when none was.

Times are seconds since the first request of the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_PAUSE_S = 0.9
"""Seconds without a request that count as a pause: the shortest hold takes a second."""


@dataclass(frozen=True, slots=True, eq=False)
class LogTimes:
    """The times of an attempt log.

    Attributes:
        began, ended: of each request, in the order of the log.
        jobs: when each job sent its first request, and when its last one ended; a row each.
    """

    began: NDArray[np.float64]
    ended: NDArray[np.float64]
    jobs: NDArray[np.float64]

    @classmethod
    def of(cls, attempts: pd.DataFrame) -> Self:
        """Return the times of a log, as `attempts()` returns it."""
        began = (attempts["started_utc"] - attempts["started_utc"].min()).dt.total_seconds().fillna(0.0)
        ended = began + attempts["duration_s"].astype("Float64").fillna(0.0).astype(float)
        job = attempts["job_id"].fillna(attempts["run_id"])  # a call by hand is a job of its own
        jobs = pd.DataFrame({"began": began, "ended": ended}).groupby(job.to_numpy(dtype=object))
        return cls(
            began.to_numpy(dtype=float),
            ended.to_numpy(dtype=float),
            jobs.agg({"began": "min", "ended": "max"}).to_numpy(dtype=float),
        )

    @property
    def wall_s(self) -> float:
        """Seconds in which a job was at work; the time between two jobs does not count."""
        gaps = _gaps(self.jobs[:, 0], self.jobs[:, 1])
        whole = self.jobs[:, 1].max(initial=0.0) - self.jobs[:, 0].min(initial=0.0)
        return float(whole - (gaps[:, 1] - gaps[:, 0]).sum())

    def pauses(self) -> list[tuple[float, float]]:
        """Return the spans of a second or more in which a job was at work and no request was under way."""
        return [
            (start, end)
            for start, end in _gaps(self.began, self.ended)
            if end - start >= _LEAST_PAUSE_S and ((self.jobs[:, 0] <= start) & (self.jobs[:, 1] >= end)).any()
        ]


def _gaps(began: NDArray[np.float64], ended: NDArray[np.float64]) -> Any:  # noqa: ANN401 - an array of two columns
    """Return the spans that no interval covers, between the first and the last of them."""
    order = np.argsort(began, kind="stable")
    covered, following = np.maximum.accumulate(ended[order])[:-1], began[order][1:]
    is_gap = following > covered
    return np.column_stack([covered[is_gap], following[is_gap]])
