"""The report of a job: rows by status, attempts by route and outcome, waits, fallbacks, tokens, dollars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.core.errors import MissingExtraError
from llm_executor_nb.jobs.results import FINAL_STATUSES, Status
from llm_executor_nb.view.html import block, pairs, table
from llm_executor_nb.view.text import dollars, duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The report of a job, or of several.

    Attributes:
        rows: status -> number of rows, for all five final statuses; `pending` too, while there are such rows.
        attempts: the attempts, one row each, as `attempts()` returns them.
        saved_usd: what the reused answers had cost; None: unknown, or there were none.
    """

    rows: pd.Series[int]
    attempts: pd.DataFrame
    saved_usd: float | None = None

    @property
    def by_route(self) -> pd.DataFrame:
        """Attempts by route and outcome, with their number, median seconds, and dollars (missing: unknown)."""
        grouped = self.attempts.groupby(["route", "outcome"], observed=True)
        # design 3.1: an unknown cost is missing, never 0; the sum of nothing would be 0 without min_count
        counted = grouped.agg(
            attempts=("attempt", "size"),
            seconds=("duration_s", "median"),
            cost_usd=("cost_usd", lambda costs: costs.sum(min_count=1)),
        )
        return counted.reset_index()

    @property
    def waited_s(self) -> float:
        """Seconds that its runs waited before retries and for holds, added up over all rows."""
        return float(self.attempts["wait_s"].fillna(0).sum())

    @property
    def fallbacks(self) -> int:
        """Runs that were answered by a later route than their first."""
        routes = self.attempts.groupby("run_id")["route"].nunique()
        answered = self.attempts.loc[self.attempts["outcome"] == "ok", "run_id"]
        return int((routes.reindex(answered.unique()) > 1).sum())

    @property
    def truncations(self) -> int:
        """Answers that were cut at max_tokens, with or without text before the cut."""
        is_cut = (self.attempts["finish_reason"] == "length") | (self.attempts["outcome"] == "truncated")
        return int(is_cut.fillna(value=False).sum())

    @property
    def input_tokens(self) -> int:
        """Tokens sent, as far as replies report them."""
        return int(self.attempts["input_tokens"].fillna(0).sum())

    @property
    def output_tokens(self) -> int:
        """Tokens received, as far as replies report them."""
        return int(self.attempts["output_tokens"].fillna(0).sum())

    @property
    def cost_usd(self) -> float | None:
        """Dollars of all attempts whose cost is known; None: none is."""
        known = self.attempts["cost_usd"].dropna()
        return float(known.sum()) if len(known) else None

    def lines(self) -> list[tuple[str, str]]:
        """Return the report as pairs of a name and a text."""
        unknown = int(self.attempts.loc[self.attempts["outcome"] == "ok", "cost_usd"].isna().sum())
        spent = dollars(self.cost_usd) + (f", and {unknown} answers of unknown cost" if unknown else "")
        lines = [
            ("rows", ", ".join(f"{count} {status}" for status, count in self.rows.items() if count) or "none"),
            ("attempts", f"{len(self.attempts)}, {self.fallbacks} runs via fallback"),
            ("waits", duration(self.waited_s) + (", all rows added up" if self.waited_s else "")),
            ("truncated", str(self.truncations)),
            ("tokens", f"{self.input_tokens} in, {self.output_tokens} out"),
            ("cost", spent if len(self.attempts) else "nothing was asked"),
        ]
        return lines + ([("saved", f"{dollars(self.saved_usd)} by stored answers")] if self.saved_usd else [])

    def plot(self) -> Figure:
        """Return two pictures of the attempts: outcomes by route, and answers over time.

        Needs matplotlib, `pip install "llm_executor_nb[plots]"`. The figure shows itself at the end of a cell, as a PNG
        with a text beside it; `.savefig(path)` writes it. pyplot is not touched.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        try:
            from llm_executor_nb.view.plots import attempts_figure  # noqa: PLC0415 - loads matplotlib
        except ModuleNotFoundError as error:
            raise MissingExtraError('Pictures need matplotlib: pip install "llm_executor_nb[plots]".') from error
        return attempts_figure(self.attempts)

    def _repr_html_(self) -> str:
        rows = [
            (one.route, str(one.outcome), int(str(one.attempts)), _or_none(one.seconds), _cost(one.cost_usd))
            for one in self.by_route.itertuples()
        ]
        names = ("route", "outcome", "attempts", "seconds (median)", "cost")
        return block(pairs(self.lines()) + (table(names, rows) if rows else ""))

    def __repr__(self) -> str:
        head = "\n".join(f"{name:<10} {text}" for name, text in self.lines())
        return f"{head}\n\n{self.by_route.to_string(index=False)}" if len(self.attempts) else head


def make_report(rows: Mapping[Status, int], attempts: pd.DataFrame, *, saved_usd: float | None = None) -> Report:
    """Return the report of rows by status and of the attempts behind them."""
    statuses = [*FINAL_STATUSES, *([Status.PENDING] if rows.get(Status.PENDING) else [])]
    counts = pd.Series({status.value: rows.get(status, 0) for status in statuses}, name="rows", dtype="int64")
    return Report(counts, attempts, saved_usd or None)


def _or_none(value: Any) -> float | None:  # noqa: ANN401 - a cell of a frame
    """Return a number from a frame; None: it is missing."""
    return None if pd.isna(value) else float(value)


def _cost(value: Any) -> str:  # noqa: ANN401 - a cell of a frame
    return "" if pd.isna(value) else dollars(float(value))
