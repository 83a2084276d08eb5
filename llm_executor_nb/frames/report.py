"""The report of a job: rows by status, attempts by route and outcome, answers by upstream, times, tokens, dollars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.core.errors import MissingExtraError
from llm_executor_nb.core.install_line import install_line
from llm_executor_nb.core.outcomes import Decision, Outcome
from llm_executor_nb.frames.hedges import Hedges, hedges_in
from llm_executor_nb.jobs.results import FINAL_STATUSES, Status
from llm_executor_nb.view.html import block, pairs, table, text_table
from llm_executor_nb.view.log_times import LogTimes
from llm_executor_nb.view.text import dollars, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.figure import Figure

_LATER = "by a later route"
_COLUMNS = ("route", "outcome", "attempts", _LATER, "seconds (median)", "cost")
_UPSTREAM_COLUMNS = ("upstream", "answers", "seconds (median)", "tokens in", "tokens out", "cost")
_SUMS = ("input_tokens", "output_tokens", "cost_usd")
_MOST_MODELS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The report of a job, or of several.

    Attributes:
        rows: status -> number of rows, for all five final statuses; `pending` too, while there are such rows.
        attempts: the attempts, one row each, as `attempts()` returns them.
        asked: the rows whose attempts these are, without those that were stored before.
        saved_usd: what the reused answers had cost; None: unknown, or there were none.
        policy: whether the policy held for every answer, in words; "": no policy was set.
    """

    rows: pd.Series[int]
    attempts: pd.DataFrame
    asked: int
    saved_usd: float | None = None
    policy: str = ""

    @property
    def by_route(self) -> pd.DataFrame:
        """Attempts by route and outcome, routes in the order they were first asked.

        Columns route, outcome, attempts, later (of these, answers of runs that had asked another route before),
        seconds (median), cost_usd (missing: unknown).
        """
        order = {route: place for place, route in enumerate(self.attempts["route"].unique())}
        grouped = self.attempts.assign(later=self._is_later).groupby(["route", "outcome"], observed=True)
        # design 3.1: an unknown cost is missing, never 0; the sum of nothing would be 0 without min_count
        counted = grouped.agg(
            attempts=("attempt", "size"),
            later=("later", "sum"),
            seconds=("duration_s", "median"),
            cost_usd=("cost_usd", lambda costs: costs.sum(min_count=1)),
        )
        return counted.reset_index().sort_values(
            "route", key=lambda routes: routes.map(order), kind="stable", ignore_index=True
        )

    @property
    def by_upstream(self) -> pd.DataFrame:
        """Answers by who served them, those with the most answers first.

        Columns upstream (missing: the reply does not say), answers, seconds (median), input_tokens, output_tokens,
        cost_usd (each missing: unknown).
        """
        counted = self._answers.groupby("upstream", dropna=False).agg(
            answers=("attempt", "size"),
            seconds=("duration_s", "median"),
            **{name: (name, lambda values: values.sum(min_count=1)) for name in _SUMS},
        )
        return counted.reset_index().sort_values("answers", ascending=False, kind="stable", ignore_index=True)

    @property
    def wall_s(self) -> float:
        """Seconds in which its jobs were at work; the time between two jobs does not count."""
        return LogTimes.of(self.attempts).wall_s

    @property
    def waited_s(self) -> float:
        """Seconds that its runs waited before retries and for holds, added up over all rows."""
        return float(self.attempts["wait_s"].fillna(0).sum())

    @property
    def fallbacks(self) -> int:
        """Answers that came by a later route than their run's first; the column `later` of `by_route` adds up to it."""
        return int(self._is_later.sum())

    @property
    def hedges(self) -> Hedges:
        """The twins of requests that took long: how many, what they saved, and what they cost."""
        return hedges_in(self.attempts)

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
        answers, unknown = len(self._answers), int(self._answers["cost_usd"].isna().sum())
        spent = "unknown" if self.cost_usd is None else dollars(self.cost_usd)
        spent += f", and {unknown:,} answers of unknown cost" if unknown and self.cost_usd is not None else ""
        return [
            ("rows", ", ".join(f"{count:,} {status}" for status, count in self.rows.items() if count) or "none"),
            *self._log_lines(),
            ("attempts", f"{len(self.attempts):,}"),
            ("answers", f"{answers:,}" + (f", {self.fallbacks:,} of them {_LATER}" if self.fallbacks else "")),
            *([("hedges", str(self.hedges))] if self.hedges.twins else []),
            ("waits", duration(self.waited_s) + (", all rows added up" if self.waited_s else "")),
            *self._pauses(),
            ("truncated", f"{self.truncations:,}"),
            ("tokens", f"{self.input_tokens:,} in, {self.output_tokens:,} out"),
            ("cost", spent if len(self.attempts) else "nothing was asked"),
            *([("saved", f"{dollars(self.saved_usd)} by stored answers")] if self.saved_usd else []),
            *([("policy", self.policy)] if self.policy else []),
        ]

    @property
    def _answers(self) -> pd.DataFrame:
        """The attempts that were answered."""
        return self.attempts[self.attempts["outcome"] == Outcome.OK.value]

    @property
    def _is_later(self) -> pd.Series[bool]:
        """Whether each attempt is the answer of a run that had asked another route before."""
        asked = self.attempts["route"].where(self.attempts["decision"] != Decision.HEDGE.value)  # a twin is no fallback
        routes = asked.groupby(self.attempts["run_id"]).transform("nunique")
        return (self.attempts["outcome"] == Outcome.OK.value) & (routes > 1)

    def _log_lines(self) -> list[tuple[str, str]]:
        """Return who was asked, when, and for how long; nothing where nobody was."""
        if self.attempts.empty:
            return []
        asked = self.attempts[["request_model", "provider"]].drop_duplicates().fillna("").to_numpy(dtype=str)
        # Hugging Face is asked for `model:provider`
        models = list(dict.fromkeys(model.removesuffix(f":{provider}") for model, provider in asked))
        more = f" and {len(models) - _MOST_MODELS} more" if len(models) > _MOST_MODELS else ""
        rate = f", {self.asked / self.wall_s:,.1f} rows/s" if self.wall_s else ""
        return [
            ("model", ", ".join(models[:_MOST_MODELS]) + more),
            ("date", _dates(self.attempts["started_utc"].min(), self.attempts["started_utc"].max())),
            ("time", duration(self.wall_s) + rate),
        ]

    def _pauses(self) -> list[tuple[str, str]]:
        if self.attempts.empty or not (pauses := LogTimes.of(self.attempts).pauses()):
            return []
        paused_s = sum(end - start for start, end in pauses)
        return [("pauses", f"{duration(paused_s)} in which nothing could be asked: all on hold, or waiting")]

    def plot(self) -> Figure:
        """Return two pictures of the attempts: outcomes by route, and answers over time.

        Needs matplotlib, the extra `plots`. The figure shows itself at the end of a cell, as a PNG
        with a text beside it; `.savefig(path)` writes it. pyplot is not touched.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        try:
            from llm_executor_nb.view.plots import attempts_figure  # noqa: PLC0415 - loads matplotlib
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"Pictures need matplotlib. Type: {install_line('plots')}") from error
        return attempts_figure(self.attempts, ", ".join(text for _, text in self._log_lines()))

    def _repr_html_(self) -> str:
        return block(pairs(self.lines()) + "".join(table(names, rows) for names, rows in self._tables()))

    def __repr__(self) -> str:
        head = "\n".join(f"{name:<10} {text}" for name, text in self.lines())
        return "\n\n".join([head, *(text_table(names, rows) for names, rows in self._tables())])

    def _tables(self) -> Iterator[tuple[Sequence[str], list[tuple[object, ...]]]]:
        """Yield the names and the rows of each table that is shown."""
        if rows := self._rows():
            yield _COLUMNS, rows
        if self._answers["upstream"].notna().any():
            yield _UPSTREAM_COLUMNS, self._upstream_rows()

    def _upstream_rows(self) -> list[tuple[object, ...]]:
        frame = self.by_upstream.astype(object)
        whole = frame.where(frame.notna(), None).itertuples()
        return [
            (
                *(one.upstream or "unknown", _count(one.answers), _or_none(one.seconds)),
                *(_count(one.input_tokens), _count(one.output_tokens), _cost(one.cost_usd)),
            )
            for one in whole
        ]

    def _rows(self) -> list[tuple[object, ...]]:
        """Return the rows of the table, a route and an outcome each."""
        return [
            (
                one.route,
                one.outcome,
                _count(one.attempts),
                _count(one.later or None),
                _or_none(one.seconds),
                _cost(one.cost_usd),
            )
            for one in self.by_route.itertuples()
        ]


def make_report(
    rows: Mapping[Status, int],
    attempts: pd.DataFrame,
    *,
    asked: int | None = None,
    saved_usd: float | None = None,
    policy: str = "",
) -> Report:
    """Return the report of rows and of the attempts behind them.

    Args:
        rows: the number of rows by status.
        attempts: the attempts, by time.
        asked: the rows that these attempts were made for; None: those that ended as ok or failed.
        saved_usd: what the reused answers had cost.
        policy: whether the policy held for every answer, in words.
    """
    statuses = [*FINAL_STATUSES, *([Status.PENDING] if rows.get(Status.PENDING) else [])]
    counts = pd.Series({status.value: rows.get(status, 0) for status in statuses}, name="rows", dtype="int64")
    ended = int(counts["ok"] + counts["failed"])
    return Report(counts, attempts, ended if asked is None else asked, saved_usd or None, policy)


def _dates(first: pd.Timestamp, last: pd.Timestamp) -> str:
    """Return the minutes in which the first and the last request were sent."""
    begin, end = f"{first:%Y-%m-%d %H:%M}", f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f"{begin} UTC" if begin.endswith(end) else f"{begin} to {end} UTC"


def _count(value: object) -> str | None:
    return None if value is None else f"{int(str(value)):,}"


def _or_none(value: Any) -> float | None:  # noqa: ANN401 - a cell of a frame
    """Return a number from a frame; None: it is missing."""
    return None if pd.isna(value) else float(value)


def _cost(value: Any) -> str:  # noqa: ANN401 - a cell of a frame
    return "" if pd.isna(value) else dollars(float(value))
