"""Pictures of an attempt log. Importing this loads matplotlib, the extra `plots`; so it is done when one is drawn.

Nothing of pyplot is used, so threads and backends do not matter. The ground is white in every theme: the picture is
static, and no colour of text can be read on a white and on a black page alike. Outcomes differ by colour (Okabe and
Ito's, which colour-blind people can tell apart) and by marker or hatch. What is drawn is counted in bins first, so a
million attempts make no larger a picture than a thousand.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.view.html import plain
from llm_executor_nb.view.snapshot import duration

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from numpy.typing import NDArray

    Numbers = NDArray[Any]

_DPI = 100
_WIDTH_IN = 7.0
_SINGLY = 400
"""Attempts up to which each has a marker of its own."""
_BINS = 80
_STEPS = 400
_WIDE = 60.0
"""The greatest time of an attempt over the smallest from which only powers of ten are labelled."""
_MOST_ROUTES = 12
_LEGEND_COLUMNS = 4
_LONGEST_NAME = 34
_INK, _FAINT = "#222222", "#cccccc"
_OTHERS = "other routes"
_LINES = "x+1234"
"""Markers that have no inside."""

_LIMITS, _SERVERS, _LATE, _TEXTS, _KEYS, _REQUESTS, _NEUTRAL = (
    "#E69F00",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#0072B2",
    "#000000",
    "#8c8c8c",
)
STYLES: dict[Outcome, tuple[str, str, str]] = {
    Outcome.OK: ("#009E73", "o", ""),
    Outcome.RATE_LIMITED: (_LIMITS, "s", "//"),
    Outcome.QUOTA: (_LIMITS, "D", "xx"),
    Outcome.CONNECTION: (_SERVERS, "x", "\\\\"),
    Outcome.SERVER_ERROR: (_SERVERS, "^", "||"),
    Outcome.OVERLOADED: (_SERVERS, "v", "--"),
    Outcome.TIMEOUT: (_LATE, "P", ".."),
    Outcome.EMPTY: (_TEXTS, "X", "//"),
    Outcome.MALFORMED: (_TEXTS, "d", "\\\\"),
    Outcome.INVALID_OUTPUT: (_TEXTS, "p", "xx"),
    Outcome.REJECTED: (_TEXTS, "h", "||"),
    Outcome.TRUNCATED: (_TEXTS, "8", "--"),
    Outcome.CONTENT_FILTER: (_TEXTS, "*", ".."),
    Outcome.AUTH: (_KEYS, "<", "//"),
    Outcome.FORBIDDEN: (_KEYS, ">", "\\\\"),
    Outcome.NOT_FOUND: (_KEYS, "1", "xx"),
    Outcome.UNSUPPORTED: (_KEYS, "2", "||"),
    Outcome.BAD_REQUEST: (_REQUESTS, "3", "//"),
    Outcome.CONTEXT_LENGTH: (_REQUESTS, "4", "\\\\"),
    Outcome.CANCELLED: (_NEUTRAL, "+", ".."),
}
"""Outcome -> colour, marker, hatch: a colour for each kind of cause, a marker and a hatch for each outcome of it."""


class AttemptsFigure(Figure):
    """A matplotlib figure that shows itself as a PNG with a text beside it, in any kernel.

    Attributes:
        alt: what is to be seen, in words.
    """

    alt = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ANN401 - IPython's signature
        picture = BytesIO()
        self.savefig(picture, format="png", dpi=_DPI)
        data = {"image/png": picture.getvalue(), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}


class _Log:
    """An attempt log as numbers: when, on which route, with which outcome, how long."""

    def __init__(self, attempts: pd.DataFrame) -> None:
        started = attempts["started_utc"]
        seconds = (started - started.min()).dt.total_seconds().to_numpy(dtype=float, na_value=np.nan)
        took = attempts["duration_s"].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        self.when: Numbers = np.nan_to_num(seconds)
        self.took: Numbers = took
        self.ended: Numbers = self.when + np.nan_to_num(took)
        self.end = float(self.ended.max(initial=0.0)) or 1.0
        self.outcomes, self.outcome = _outcomes(attempts["outcome"].astype("category"))
        self.routes, self.route = _routes(attempts["route"].astype("category"))

    def of(self, outcome: Outcome) -> Numbers:
        """Return which attempts came to an outcome."""
        return np.equal(self.outcome, self.outcomes.index(outcome))

    @property
    def is_ok(self) -> Numbers:
        """Which attempts were answered."""
        return self.of(Outcome.OK) if Outcome.OK in self.outcomes else np.zeros(len(self.when), dtype=bool)

    def counts(self, bins: int = 1) -> Numbers:
        """Return attempts by bin of time, route and outcome."""
        shape = (bins, len(self.routes), len(self.outcomes))
        when = np.minimum((self.when / self.end * bins).astype(np.int64), bins - 1)
        place = np.ravel_multi_index((when, self.route, self.outcome), shape)
        return np.bincount(place, minlength=int(np.prod(shape))).reshape(shape)

    def words(self) -> str:
        """Return what a picture of it shows."""
        if not len(self.when):
            return "No attempts: nothing was asked."
        by_outcome = ", ".join(f"{int(self.of(one).sum())} {one.value}" for one in self.outcomes)
        attempts = f"{len(self.when):,} attempts" if len(self.when) > 1 else "one attempt"
        routes = f"{len(self.routes)} routes" if len(self.routes) > 1 else "one route"
        took = self.took[np.isfinite(self.took)]
        median = f"; half took less than {duration(float(np.median(took)))}" if len(took) else ""
        return (
            f"Attempts over time by route, outcomes by route, seconds of an attempt, and answers so far: "
            f"{attempts} on {routes} in {duration(float(self.ended.max()))} ({by_outcome}){median}."
        )


def attempts_figure(attempts: pd.DataFrame) -> AttemptsFigure:
    """Return four pictures of an attempt log: attempts over time, outcomes by route, latency, answers so far.

    Args:
        attempts: the log, as `attempts()` returns it.
    """
    log = _Log(attempts)
    lanes = max(2, len(log.routes))
    heights = [0.9 + 0.26 * lanes, 0.9 + 0.26 * lanes, 2.4]
    figure = AttemptsFigure(figsize=(_WIDTH_IN, sum(heights) + 0.9), dpi=_DPI, layout="constrained", facecolor="white")
    figure.alt = log.words()
    if not len(log.when):
        figure.set_size_inches(_WIDTH_IN, 1.0)
        figure.text(0.5, 0.5, figure.alt, ha="center", va="center", color=_INK)
        return figure
    grid = figure.add_gridspec(3, 2, height_ratios=heights)
    _draw_time(figure.add_subplot(grid[0, :]), log)
    _draw_outcomes(figure.add_subplot(grid[1, :]), log)
    _draw_latency(figure.add_subplot(grid[2, 0]), log)
    _draw_answers(figure.add_subplot(grid[2, 1]), log)
    figure.legend(
        handles=[_marks(one) for one in log.outcomes],
        labels=[one.value for one in log.outcomes],
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.4)},
        loc="outside upper center",
        ncols=min(_LEGEND_COLUMNS, len(log.outcomes)),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
    )
    return figure


# --- the four pictures --------------------------------------------------------------------------------------------


def _draw_time(axes: Axes, log: _Log) -> None:
    """Draw when each route was asked, and what came of it: a marker each, or how many when there are many."""
    unit, name = _unit(log.end)
    if len(log.when) > _SINGLY:
        _draw_crowd(axes, log, unit)
        _lanes(axes, log, "Attempts over time: the higher, the more")
    else:
        _draw_each(axes, log, unit)
        _lanes(axes, log, "Attempts over time")
    axes.set_xlim(-0.02 * log.end / unit, 1.02 * log.end / unit)
    axes.set_xlabel(f"{name} since the first", color=_INK, fontsize=9)


def _draw_each(axes: Axes, log: _Log, unit: float) -> None:
    for number, outcome in enumerate(log.outcomes):
        is_it = log.outcome == number
        colour, marker, _ = STYLES[outcome]
        shift = 0.5 * ((number + 1) / (len(log.outcomes) + 1) - 0.5)
        axes.scatter(
            log.when[is_it] / unit,
            log.route[is_it] + shift,
            s=26,
            color=colour,
            marker=marker,
            edgecolors=None if marker in _LINES else _INK,
            linewidths=1.2 if marker in _LINES else 0.5,
            alpha=0.85,
        )


def _draw_crowd(axes: Axes, log: _Log, unit: float) -> None:
    """Draw, on each route's line, outcomes upon each other for each moment."""
    counts = log.counts(_BINS)
    edges = np.linspace(0.0, log.end / unit, _BINS + 1)
    heights = 0.8 * counts.cumsum(axis=2) / counts.sum(axis=2).max()
    for lane in range(len(log.routes)):
        below = np.full(_BINS, lane + 0.4)
        for number, outcome in enumerate(log.outcomes):
            above = lane + 0.4 - heights[:, lane, number]
            colour, _, hatch = STYLES[outcome]
            low, high = (np.append(line, line[-1]) for line in (below, above))
            axes.fill_between(
                edges, low, high, step="post", facecolor=colour, hatch=hatch, edgecolor=_INK, linewidth=0.0
            )
            below = above


def _draw_outcomes(axes: Axes, log: _Log) -> None:
    """Draw how many attempts of each route came to what."""
    counts = log.counts()[0]
    left = np.zeros(len(log.routes))
    for number, outcome in enumerate(log.outcomes):
        colour, _, hatch = STYLES[outcome]
        axes.barh(
            np.arange(len(log.routes)),
            counts[:, number],
            left=left,
            height=0.62,
            color=colour,
            hatch=hatch,
            edgecolor=_INK,
            linewidth=0.5,
        )
        left += counts[:, number]
    for lane, total in enumerate(left):
        axes.text(total, lane, f" {int(total):,}", va="center", fontsize=8, color=_INK)
    axes.set_xlim(0, left.max() * 1.12)
    _lanes(axes, log, "Outcomes by route")
    axes.set_xlabel("attempts", color=_INK, fontsize=9)
    _whole(axes.xaxis)


def _draw_latency(axes: Axes, log: _Log) -> None:
    """Draw how long attempts took, those that were answered and the others."""
    is_known = np.isfinite(log.took) & (log.took > 0)
    _dress(axes, "Seconds of an attempt")
    if not is_known.any():
        axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center", color=_INK, fontsize=9)
        return
    took = log.took[is_known]
    low, high = took.min() / 1.6, took.max() * 1.6
    edges = np.geomspace(low, high, 31)
    for is_it, colour, hatch, name in (
        (log.is_ok, STYLES[Outcome.OK][0], "", "answered"),
        (~log.is_ok, _SERVERS, "///", "not answered"),
    ):
        if (is_it & is_known).any():
            heights, _ = np.histogram(log.took[is_it & is_known], edges)
            axes.stairs(
                heights, edges, fill=True, facecolor=colour, edgecolor=colour, alpha=0.6, hatch=hatch, label=name
            )
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(top=1.3 * axes.get_ylim()[1])  # room for the legend
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < _WIDE else (1,)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("attempts", color=_INK, fontsize=9)
    _whole(axes.yaxis)
    axes.legend(frameon=False, fontsize=8, labelcolor=_INK)


def _draw_answers(axes: Axes, log: _Log) -> None:
    """Draw how many answers there were by when, beside how many attempts had ended."""
    unit, name = _unit(log.end)
    _dress(axes, "Answers so far")
    for ended, colour, style, label in (
        (log.ended, _NEUTRAL, "--", "attempts"),
        (log.ended[log.is_ok], STYLES[Outcome.OK][0], "-", "answers"),
    ):
        when, count = _cumulative(ended, log.end)
        axes.step(when / unit, count, where="post", color=colour, linestyle=style, linewidth=1.8, label=label)
    axes.set_xlim(-0.02 * log.end / unit, 1.02 * log.end / unit)
    axes.set_ylim(bottom=0, top=1.3 * len(log.when))
    axes.set_xlabel(f"{name} since the first", color=_INK, fontsize=9)
    _whole(axes.yaxis)
    axes.legend(frameon=False, fontsize=8, labelcolor=_INK, loc="upper left")


# --- what they are made of --------------------------------------------------------------------------------------------


def _outcomes(outcomes: pd.Series[Any]) -> tuple[list[Outcome], Numbers]:
    """Return the outcomes that there are, in the order of STYLES, and of each attempt its place among them."""
    counts = outcomes.value_counts()
    found = [one for one in STYLES if counts.get(one.value, 0)]
    return found, _places(outcomes, {one.value: place for place, one in enumerate(found)}, 0)


def _routes(routes: pd.Series[Any]) -> tuple[list[str], Numbers]:
    """Return the routes by name, and of each attempt its place among them; the rarest as one."""
    counts = routes.value_counts()
    often = counts[counts > 0].index.astype(str)
    found = sorted(often if len(often) <= _MOST_ROUTES else often[: _MOST_ROUTES - 1])
    places = _places(routes, {name: place for place, name in enumerate(found)}, len(found))
    return [*found, _OTHERS] if (places == len(found)).any() else found, places


def _places(values: pd.Series[Any], places: dict[str, int], other: int) -> Numbers:
    table = np.array([*(places.get(str(value), other) for value in values.cat.categories), other], dtype=np.int64)
    return np.take(table, values.cat.codes.to_numpy())  # the code of what is missing is -1, the last


def _cumulative(ended: Numbers, end: float) -> tuple[Numbers, Numbers]:
    """Return how many had ended by when, in few steps."""
    if len(ended) <= _STEPS:
        when = np.sort(ended)
        return np.concatenate([[0.0], when, [end]]), np.concatenate([[0], np.arange(1, len(when) + 1), [len(when)]])
    counts, edges = np.histogram(ended, _STEPS, range=(0.0, end))
    return edges, np.concatenate([[0], counts.cumsum()])


def _unit(seconds: float) -> tuple[float, str]:
    """Return the unit that suits a length of time: its seconds, and its name."""
    return (1.0, "seconds") if seconds < 180 else (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")


def _marks(outcome: Outcome) -> tuple[Patch, Line2D]:
    """Return what stands for an outcome in the legend: how its bar looks, and its marker."""
    colour, marker, hatch = STYLES[outcome]
    edge = colour if marker in _LINES else _INK
    return (
        Patch(facecolor=colour, hatch=hatch, edgecolor=_INK, linewidth=0.5),
        Line2D([], [], linestyle="", marker=marker, color=colour, markeredgecolor=edge, markeredgewidth=0.6),
    )


def _lanes(axes: Axes, log: _Log, title: str) -> None:
    """Give each route a line of its own, the first at the top."""
    _dress(axes, title)
    names = [_drawable(name) for name in log.routes]
    axes.set_yticks(np.arange(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _whole(axis: Axis) -> None:
    """Let an axis count: whole numbers, written out."""
    axis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.set_facecolor("white")
    axes.tick_params(colors=_INK, labelsize=8.5)
    axes.grid(axis="x", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)


def _drawable(name: str) -> str:
    """Return a route's name as the font has it: short, on one line, without signs it lacks."""
    name = plain(name).replace("\n", " ")
    name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 2]}…{name[-_LONGEST_NAME // 2 + 1 :]}"
    known = font_manager.get_font(font_manager.findfont(font_manager.FontProperties())).get_charmap()
    return "".join(sign if ord(sign) in known else "?" for sign in name)
