"""Pictures of an attempt log: of any size, for every outcome, without pyplot, with words beside them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from llm_executor_nb.core.errors import MissingExtraError
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.frames.report import make_report
from llm_executor_nb.store.tables import attempts_frame

pytest.importorskip("matplotlib", reason="the extra `plots`")

from llm_executor_nb.view.plots import STYLES, attempts_figure

PNG = b"\x89PNG\r\n"
ROUTES = ("openrouter ..0001", "huggingface/scaleway ..0002")


def log(count: int, *, routes=ROUTES, outcomes=("ok", "rate_limited", "timeout"), seconds: float = 60.0):
    """Return a log of some size with the dtypes of `attempts()`."""
    chance = np.random.default_rng(7)
    when = pd.Timestamp("2026-11-24", tz="UTC") + pd.to_timedelta(np.sort(chance.uniform(0, seconds, count)), unit="s")
    made = pd.DataFrame(
        {
            "started_utc": when,
            "duration_s": pd.array(chance.lognormal(-0.5, 0.6, count), dtype="Float64"),
            "outcome": pd.Categorical(chance.choice(list(outcomes), count)),
            "route": pd.array(chance.choice(list(routes), count), dtype="string"),
        }
    )
    return made.astype({"started_utc": attempts_frame(())["started_utc"].dtype})


def drawn(attempts) -> tuple[bytes, str]:
    """Return the picture and the words of a log."""
    data, metadata = attempts_figure(attempts)._repr_mimebundle_()
    assert data["image/png"].startswith(PNG)
    assert metadata["image/png"]["alt"] == data["text/plain"]
    return data["image/png"], data["text/plain"]


def test_no_attempts_are_a_picture_that_says_so():
    assert drawn(attempts_frame(()))[1] == "No attempts: nothing was asked."


def test_one_attempt_is_a_picture():
    assert "one attempt on one route in" in drawn(log(1, outcomes=["ok"]))[1]


def test_an_attempt_of_unknown_length_is_a_picture():
    assert "1 cancelled" in drawn(log(1, outcomes=["cancelled"]).assign(duration_s=pd.array([None], "Float64")))[1]


def test_the_words_have_the_numbers():
    attempts = log(300)
    words = drawn(attempts)[1]
    assert "300 attempts on 2 routes" in words
    for outcome, count in Counter(attempts["outcome"]).items():
        assert f"{count} {outcome}" in words


def test_a_million_attempts_are_binned():
    attempts = log(1_000_000, seconds=7200)
    began = time.perf_counter()
    picture, words = drawn(attempts)
    assert time.perf_counter() - began < 20
    assert len(picture) < 200_000
    assert "1,000,000 attempts" in words


def test_the_answers_over_time_end_at_their_number():
    attempts = log(500)
    [answers] = [axes for axes in attempts_figure(attempts).axes if axes.get_title(loc="left") == "Answers over time"]
    ends = {line.get_label(): line.get_ydata()[-1] for line in answers.lines}
    assert ends == {"attempts": 500, "answers": (attempts["outcome"] == "ok").sum()}


def test_bars_add_up_to_the_attempts_of_each_route():
    attempts = log(500)
    figure = attempts_figure(attempts)
    [bars] = [axes for axes in figure.axes if axes.get_title(loc="left") == "Outcomes by route"]
    widths = Counter()
    for bar in bars.patches:
        widths[round(bar.get_y() + bar.get_height() / 2)] += bar.get_width()
    names = [label.get_text() for label in bars.get_yticklabels()]
    assert {names[lane]: width for lane, width in widths.items()} == attempts["route"].value_counts().to_dict()


def test_every_outcome_and_many_strange_routes_can_be_drawn():
    routes = ["$\\alpha_{x$", "日本語 \x1b[31m", "<script>" * 9, *(f"route {n}" for n in range(30))]
    figure = attempts_figure(log(900, routes=routes, outcomes=[one.value for one in Outcome]))
    assert len(figure.legends[0].get_texts()) == len(Outcome)
    assert "other routes" in [label.get_text() for label in figure.axes[0].get_yticklabels()]
    figure._repr_mimebundle_()


def test_no_two_outcomes_look_alike():
    assert set(STYLES) == set(Outcome)
    assert len(set(STYLES.values())) == len(Outcome)


@pytest.mark.parametrize("count", [0, 1, 300, 900])
def test_nothing_is_cut_off_at_700_pixels(count):
    figure = attempts_figure(log(count))
    figure._repr_mimebundle_()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert width == 7.0
    assert box.x0 >= -0.01
    assert box.y0 >= -0.01
    assert box.x1 <= width + 0.01
    assert box.y1 <= height + 0.01


def test_pyplot_is_not_touched():
    code = (
        "import sys; import llm_executor_nb; from llm_executor_nb.store.tables import attempts_frame;"
        "from llm_executor_nb.frames.report import make_report;"
        "make_report({}, attempts_frame(())).plot()._repr_mimebundle_();"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "llm_executor_nb.view.plots", None)
    with pytest.raises(MissingExtraError, match=r'pip install .*\[plots\]"'):
        make_report({}, attempts_frame(())).plot()
