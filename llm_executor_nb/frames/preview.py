"""A few rows bought before all others: prompt, answer, route and price side by side, and an estimate for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import plain
from llm_executor_nb.jobs.growth import FIRST, LARGEST
from llm_executor_nb.view.html import block, cut, line, table
from llm_executor_nb.view.text import dollars, duration

if TYPE_CHECKING:
    from collections.abc import Hashable

    from llm_executor_nb.frames.prompts import Prompts


_LONGEST = 400
"""Characters of a prompt or an answer that the HTML table shows."""


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """A few rows of a job, and an estimate for all of them.

    Attributes:
        frame: one row per previewed row, with its index: prompt, answer, status, error, route, seconds, cost_usd.
        rows: rows of the whole frame that have input.
        in_flight: requests in flight, at first and at most.
    """

    frame: pd.DataFrame
    rows: int
    in_flight: tuple[int, int]

    @property
    def estimate_usd(self) -> float | None:
        """Dollars for all rows, by the mean of these; None: their cost is unknown."""
        costs = self.frame["cost_usd"].dropna()
        return float(costs.mean() * self.rows) if len(costs) else None

    @property
    def estimate_s(self) -> tuple[float, float] | None:
        """Seconds for all rows, with the most and with the first requests in flight; None: none was answered."""
        seconds = self.frame["seconds"].dropna()
        if not len(seconds):
            return None
        each = float(seconds.mean())
        first, most = self.in_flight
        return each * max(1.0, self.rows / most), each * max(1.0, self.rows / first)

    def summary(self) -> str:
        """Return the estimate in one line."""
        price = "at an unknown price" if self.estimate_usd is None else f"for about {dollars(self.estimate_usd)}"
        answered = int(self.frame["answer"].notna().sum())
        if answered and not (self.frame["status"] == "ok").any():  # stored answers took no time and no money
            return f"{answered} of these were stored already; df.llm.plan(...) counts what is left of {self.rows} rows."
        if (seconds := self.estimate_s) is None or not answered:
            return f"All {self.rows} rows {price}; none of these was answered."
        least, most = map(duration, seconds)
        time = least if least == most else f"{least} to {most}"
        return f"All {self.rows} rows {price}, in about {time}. {answered} of these will not be asked again."

    def _repr_html_(self) -> str:
        names = ("row", "prompt", "answer", "status", "route", "seconds", "cost", "error")
        rows = [_row(label, one) for label, one in zip(self.frame.index, self.frame.to_dict("records"), strict=True)]
        filled = [place for place in range(len(names)) if any(row[place] is not None for row in rows)]
        shown = table([names[place] for place in filled], [[row[place] for place in filled] for row in rows])
        return block((shown if rows else "") + line(self.summary()))

    def __repr__(self) -> str:
        return plain(f"{self.frame.to_string(max_colwidth=50)}\n{self.summary()}")


def spread(prompts: Prompts, count: int) -> list[int]:
    """Return a few rows that have input, spread over the frame.

    Raises:
        ConfigError: the count is not a number from 1.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ConfigError(f"n={count!r} must be 1, 2, 3, ...")
    asked = np.flatnonzero(np.frombuffer(prompts.is_asked, dtype=np.uint8))
    if not len(asked):
        return []
    picked = np.linspace(0, len(asked) - 1, num=min(count, len(asked))).round().astype(int)
    return [int(position) for position in asked[picked]]


def make_preview(
    result: pd.DataFrame, out: str, prompts: Prompts, positions: list[int], concurrency: int | None
) -> Preview:
    """Return the preview of a job over some rows.

    Args:
        result: the job's frame.
        out: the answers' column.
        prompts: the rows of the whole frame.
        positions: which rows these are.
        concurrency: requests in flight; None: it begins at 8 and grows, to 256 at most.
    """
    runs = result[f"{out}_run"]
    by_run = session().attempts_of(run_ids=runs.dropna()).groupby("run_id")
    # design 3.1: an unknown cost is missing, never 0; the sum of nothing would be 0 without min_count
    log = by_run.agg(seconds=("duration_s", "sum"), cost_usd=("cost_usd", lambda costs: costs.sum(min_count=1)))
    frame = pd.DataFrame(
        {
            "prompt": [shown for at in positions for shown in map(_shown, prompts.window(at, at + 1))],
            "answer": result[out].array,
            "status": result[f"{out}_status"].array,
            "error": result[f"{out}_error"].array,
            "route": result[f"{out}_route"].array,
            "seconds": log["seconds"].reindex(runs).array,
            "cost_usd": log["cost_usd"].reindex(runs).array,
        },
        index=result.index,
    )
    in_flight = (FIRST, LARGEST) if concurrency is None else (concurrency, concurrency)
    return Preview(frame, prompts.is_asked.count(1), in_flight)


def _shown(request: object) -> str:
    return request if isinstance(request, str) else str(request)


def _row(label: object, one: dict[Hashable, Any]) -> list[object]:
    """Return the cells of a previewed row in the HTML table; None for an empty one."""
    filled = {name: None if pd.isna(value) else value for name, value in one.items()}
    prompt, answer = (cut(str(filled[name]), _LONGEST) if filled[name] else None for name in ("prompt", "answer"))
    cost = None if filled["cost_usd"] is None else dollars(filled["cost_usd"])
    return [str(label), prompt, answer, filled["status"], filled["route"], filled["seconds"], cost, filled["error"]]
