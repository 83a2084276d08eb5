"""Pictures of an attempt log: of any size, for every outcome, without pyplot, with words beside them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from io import BytesIO

import numpy as np
import pandas as pd
import pytest

from llm_executor_nb.core.errors import MissingExtraError
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.frames.report import make_report
from llm_executor_nb.store.tables import attempts_frame

pytest.importorskip("matplotlib", reason="the extra `plots`")

from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

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
            "job_id": pd.array(["job"] * count, dtype="string"),
            "run_id": pd.array([f"job-{number}" for number in range(count)], dtype="string"),
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


# --- what a reader of the pictures needs --------------------------------------------------------------------------


def by_title(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def test_the_ground_is_the_pages_own_and_every_ink_can_be_read_on_white_and_on_black():
    figure = attempts_figure(log(50), "a caption")
    picture = np.asarray(Image.open(BytesIO(drawn(log(50))[0])).convert("RGBA"))
    assert (picture[..., 3] == 0).mean() > 0.5
    texts = figure.findobj(Text)
    inks = {to_rgb(text.get_color()) for text in texts if text.get_text() and text.get_visible()}
    assert all(contrast(ink, ground) > 4 for ink in inks for ground in ((1, 1, 1), to_rgb("#111111")))
    for colour, _ in STYLES.values():
        assert all(contrast(to_rgb(colour), ground) > 1.2 for ground in ((1, 1, 1), to_rgb("#111111")))


def contrast(ink, ground) -> float:
    """Return the contrast of two colours, as WCAG counts it."""
    lights = sorted(_light(colour) for colour in (ink, ground))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _light(colour) -> float:
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_every_axis_has_a_label_and_the_caption_stands_below():
    figure = attempts_figure(log(50), "google/gemma-3-27b-it, 2026-11-24 10:00 UTC")
    titles = by_title(figure)
    assert list(titles) == ["Outcomes by route", "Answers over time"]
    for axes in titles.values():
        assert axes.get_xlabel()
        assert axes.get_ylabel()
    assert figure.get_supxlabel() == "google/gemma-3-27b-it, 2026-11-24 10:00 UTC"


def test_the_picture_of_a_report_says_model_date_time_and_pace():
    attempts = log(50).assign(request_model="own/$model$", provider=None, wait_s=0.0)
    caption = make_report({"ok": 50}, attempts).plot().get_supxlabel()
    assert caption.startswith("own/$model$, 2026-11-24 00:00 UTC, ")
    assert caption.endswith(" rows/s")


def test_routes_stand_in_the_order_they_were_asked():
    attempts = log(50, routes=["z first", "a second"])
    attempts = pd.concat([attempts[attempts["route"] == name] for name in ("z first", "a second")], ignore_index=True)
    names = [label.get_text() for label in by_title(attempts_figure(attempts))["Outcomes by route"].get_yticklabels()]
    assert names == ["z first", "a second"]


def test_times_in_which_nothing_could_be_asked_are_marked():
    early, late = log(50, seconds=10.0), log(50, seconds=10.0)
    late = late.assign(started_utc=late["started_utc"] + pd.Timedelta(seconds=60))
    figure = attempts_figure(pd.concat([early, late], ignore_index=True))
    answers = by_title(figure)["Answers over time"]
    (span,) = answers.patches
    # matplotlib 3.8 draws a polygon where later versions draw a rectangle
    times = span.get_patch_transform().transform_path(span.get_path()).vertices[:, 0]
    assert times.min() < 20
    assert 55 < times.max() < 65
    assert [text.get_text() for text in answers.get_legend().get_texts()].count("all on hold or waiting") == 1
    assert "nothing could be asked" in figure.alt


def test_a_log_without_pauses_has_no_mark():
    answers = by_title(attempts_figure(log(300)))["Answers over time"]
    assert not answers.patches
