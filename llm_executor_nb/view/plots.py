"""Two pictures of an attempt log: outcomes by route, and answers over time.

Importing this loads matplotlib, the extra `plots`, so it is done when a picture is drawn. pyplot is not used, so
threads and backends do not matter. The ground is transparent, and every ink can be read on a white and on a black page,
so a picture follows the theme of the page it is on, also in a saved file. Outcomes differ by colour, in Okabe and Ito's
palette for colour-blind readers, and by hatch. Attempts are counted before drawing, so a million make no larger a
picture than a thousand.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from llm_executor_nb.core.foreign_text import plain
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.view.log_times import LogTimes
from llm_executor_nb.view.text import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_DPI = 100
_WIDTH_IN = 7.0
_STEPS = 400
_MOST_ROUTES = 12
_LONGEST_NAME, _LONGEST_CAPTION = 34, 90
_INK = "#7a7a7a"
"""Its contrast is 4.3 on white and 4.4 on JupyterLab's black: no other ink can be read better on both."""
_FAINT = (0.5, 0.5, 0.5, 0.3)
_ON_HOLD: dict[str, Any] = {"color": "#E69F00", "alpha": 0.25, "linewidth": 0, "label": "all on hold or waiting"}
_NARROWEST = 0.004
"""Of the width; a pause that is shorter would not be seen."""
_OTHER_ROUTES = "other routes"

_OUTCOMES_BY_COLOUR = {
    "#009E73": [Outcome.OK],
    "#E69F00": [Outcome.RATE_LIMITED, Outcome.QUOTA],
    "#D55E00": [Outcome.SERVER_ERROR, Outcome.OVERLOADED, Outcome.CONNECTION],
    "#56B4E9": [Outcome.TIMEOUT],
    "#CC79A7": [Outcome.EMPTY, Outcome.MALFORMED, Outcome.INVALID_OUTPUT, Outcome.TRUNCATED, Outcome.CONTENT_FILTER],
    "#0072B2": [Outcome.AUTH, Outcome.FORBIDDEN, Outcome.NOT_FOUND, Outcome.UNSUPPORTED],
    "#F0E442": [Outcome.BAD_REQUEST, Outcome.CONTEXT_LENGTH],
    "#8c8c8c": [Outcome.CANCELLED, Outcome.REJECTED],
}
"""A colour for each kind of cause: limits, servers, time, texts, keys and models, requests, and the user."""
_HATCHES = ("", "//", "xx", "..", "||", "--")
STYLES = {
    outcome: (colour, hatch)
    for colour, outcomes in _OUTCOMES_BY_COLOUR.items()
    for outcome, hatch in zip(outcomes, _HATCHES, strict=False)
}
"""Outcome -> colour, hatch. Colours alone would not tell 20 outcomes apart, least of all to a colour-blind reader."""


class AttemptsFigure(Figure):
    """A matplotlib figure that shows itself as a PNG with a text beside it, in any kernel.

    Attributes:
        alt: what the picture shows, in words.
    """

    alt = ""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ANN401 - IPython's signature
        picture = BytesIO()
        self.savefig(picture, format="png", dpi=_DPI)
        data = {"image/png": picture.getvalue(), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}


def attempts_figure(attempts: pd.DataFrame, caption: str = "") -> AttemptsFigure:
    """Return the two pictures of an attempt log.

    Args:
        attempts: the log, as `attempts()` returns it.
        caption: a line below them.
    """
    if attempts.empty:
        return _empty_figure()
    counts, times = _counts(attempts), LogTimes.of(attempts)
    lanes_in = 0.9 + 0.26 * max(2, len(counts))
    figure = AttemptsFigure(figsize=(_WIDTH_IN, lanes_in + 3.3), dpi=_DPI, layout="constrained", facecolor="none")
    figure.alt = _words(counts, times)
    outcomes, answers = figure.subplots(2, 1, height_ratios=[lanes_in, 2.4])
    _draw_outcomes(outcomes, counts)
    _draw_answers(answers, times, (attempts["outcome"] == Outcome.OK.value).to_numpy())
    handles, labels = outcomes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9, labelcolor=_INK, handleheight=1
    )
    figure.supxlabel(_drawable(caption, _LONGEST_CAPTION), fontsize=9, color=_INK, parse_math=False)
    return figure


def _empty_figure() -> AttemptsFigure:
    figure = AttemptsFigure(figsize=(_WIDTH_IN, 1.0), dpi=_DPI, facecolor="none")
    figure.alt = "No attempts: nothing was asked."
    figure.text(0.5, 0.5, figure.alt, ha="center", va="center", color=_INK)
    return figure


def _counts(attempts: pd.DataFrame) -> pd.DataFrame:
    """Return attempts by route, in the order first asked, and outcome, in that of STYLES; rare routes are one row."""
    counts = pd.crosstab(attempts["route"].astype(str), attempts["outcome"].astype(str))
    counts = counts.loc[attempts["route"].astype(str).unique(), [one.value for one in STYLES if one.value in counts]]
    if len(counts) <= _MOST_ROUTES:
        return counts
    # more lanes than this cannot be read; the most frequent routes are the ones to look at
    is_rare = counts.sum(axis=1).rank(ascending=False, method="first") >= _MOST_ROUTES
    return pd.concat([counts[~is_rare], counts[is_rare].sum().to_frame(_OTHER_ROUTES).T])


def _words(counts: pd.DataFrame, times: LogTimes) -> str:
    """Return in words what the pictures show."""
    count = int(counts.to_numpy().sum())
    attempts = f"{count:,} attempts" if count > 1 else "one attempt"
    routes = f"{len(counts)} routes" if len(counts) > 1 else "one route"
    by_outcome = ", ".join(f"{number} {outcome}" for outcome, number in counts.sum().items())
    paused_s = sum(end - start for start, end in times.pauses())
    pauses = f" For {duration(paused_s)} nothing could be asked." if paused_s else ""
    said = f"{attempts} on {routes} in {duration(times.wall_s)} ({by_outcome})"
    return f"Outcomes by route, and answers over time: {said}.{pauses}"


def _draw_outcomes(axes: Axes, counts: pd.DataFrame) -> None:
    """Draw a bar for each route, the first at the top, made of what its attempts came to."""
    lanes, left = np.arange(len(counts)), np.zeros(len(counts))
    for outcome, numbers in counts.items():
        colour, hatch = STYLES[Outcome(str(outcome))]
        look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": _INK, "linewidth": 0.5}
        axes.barh(lanes, numbers, left=left, height=0.62, label=str(outcome), **look)
        left += numbers.to_numpy()
    for lane, total in enumerate(left):
        axes.text(total, lane, f" {int(total):,}", va="center", fontsize=8, color=_INK)
    _dress(axes, "Outcomes by route", "attempts", "route")
    axes.set_yticks(lanes, [_drawable(str(name)) for name in counts.index], parse_math=False)
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.set_xlim(0, left.max() * 1.12)  # room for the numbers
    _count_in_whole_numbers(axes.xaxis)


def _draw_answers(axes: Axes, times: LogTimes, is_ok: Any) -> None:  # noqa: ANN401 - an array
    """Draw how many answers there were by when, beside how many attempts had ended, and when nothing was asked."""
    seconds = times.ended
    end_s = float(seconds.max()) or 1.0
    unit_s, unit = (1, "seconds") if end_s < 180 else (60, "minutes") if end_s < 3 * 3600 else (3600, "hours")
    for ended, colour, style, label in (
        (seconds, STYLES[Outcome.CANCELLED][0], "--", "attempts"),
        (seconds[is_ok], STYLES[Outcome.OK][0], "-", "answers"),
    ):
        counts, edges = np.histogram(ended, _STEPS, range=(0.0, end_s))
        axes.step(edges[1:] / unit_s, counts.cumsum(), where="post", color=colour, linestyle=style, label=label)
    pauses = [(start, end) for start, end in times.pauses() if end - start >= _NARROWEST * end_s]
    for place, (start, end) in enumerate(pauses):
        look = _ON_HOLD if not place else {**_ON_HOLD, "label": None}  # one entry in the legend
        axes.axvspan(start / unit_s, end / unit_s, **look)
    _dress(axes, "Answers over time", f"{unit} since the first attempt", "attempts, answers")
    axes.set_xlim(-0.02 * end_s / unit_s, 1.02 * end_s / unit_s)
    axes.set_ylim(0, 1.1 * len(seconds))
    _count_in_whole_numbers(axes.yaxis)
    # beside the title: on a marked time it could not be read
    axes.legend(
        frameon=False,
        fontsize=7.5,
        handlelength=1.6,
        columnspacing=1.0,
        labelcolor=_INK,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=3,
        borderaxespad=0,
    )


def _count_in_whole_numbers(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _dress(axes: Axes, title: str, below: str, beside: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.set_xlabel(below, color=_INK, fontsize=9)
    axes.set_ylabel(beside, color=_INK, fontsize=9)
    axes.set_facecolor("none")
    axes.tick_params(colors=_INK, labelsize=8.5)
    axes.grid(axis="x", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)


def _drawable(name: str, longest: int = _LONGEST_NAME) -> str:
    """Return a name short, on one line, in signs that every font has: others are drawn with a warning."""
    name = plain(name).replace("\n", " ").encode("ascii", "replace").decode()
    half = longest // 2
    return name if len(name) <= longest else f"{name[:half]}...{name[-half + 3 :]}"
