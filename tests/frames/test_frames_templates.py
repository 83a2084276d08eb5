"""A template is filled as Python's format fills it; braces that name no column stay as they are typed."""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from columns import MODEL, run
from hypothesis import given
from hypothesis import strategies as st
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.frames.prompts import Prompts


def filled(template, **columns):
    """Return the prompts of a template; a column that is a list holds objects."""
    cells = {name: pd.Series(one, dtype=object) if isinstance(one, list) else one for name, one in columns.items()}
    frame = pd.DataFrame(cells)
    return Prompts(frame, None, template).window(0, len(frame))


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("{x:.2f}", 3.14159, "3.14"),
        ("{x:.2f}", np.float32(3.14159), "3.14"),
        ("{x:>8.1f}|", Decimal("2.55"), "     2.6|"),
        ("{x:,}", np.int64(1234567), "1,234,567"),
        ("{x:05d}", 42, "00042"),
        ("{x:#x}", 255, "0xff"),
        ("{x:.1%}", 0.256, "25.6%"),
        ("{x!r}", "pen", "'pen'"),
        ("{x!a}", "\u00e9", "'\\xe9'"),
        ("{x!s:>6}", 1.5, "   1.5"),
        ("{x!r}", np.float32(0.1), "0.1"),
        ("{x:^7}", "pen", "  pen  "),
        ("{x:%d.%m.%Y %H:%M}", pd.Timestamp("2026-05-06 10:11"), "06.05.2026 10:11"),
        ("{x:%A}", date(2026, 5, 6), "Wednesday"),
        ("{x!r}", ["a", 1], "['a', 1]"),
        ("{x}", np.array(["a", "b"]), "['a', 'b']"),
        ("{x}", [np.float32(0.1), np.int64(2)], "[0.1, 2]"),
        ("{x}", {"a": np.array([1.5])}, "{'a': [1.5]}"),
        ("{x:}", 3, "3"),
        ("{x!r:}", "a", "'a'"),
    ],
)
def test_a_column_in_braces_is_formatted_as_python_does_it(template, value, text):
    cells = np.empty(1, dtype=object)
    cells[0] = value
    assert filled(template, x=pd.Series(cells)) == [text]


SPECS = st.one_of(
    st.from_regex(r"\A[<>^=]?[+ -]?[0-9]{0,2}[,_]?(\.[0-9])?[dfgeEGnx%]?\Z").filter(lambda spec: "\n" not in spec),
    st.text("abcdfgs<>^=+-0123456789.,_% #", max_size=6),
)


@given(SPECS, st.integers() | st.floats(allow_nan=False) | st.text("ab ", min_size=1).filter(str.strip))
def test_a_format_gives_what_python_gives_or_refuses_the_row(spec, value):
    cells = pd.Series([value], dtype=object)
    try:
        expected = format(value, spec)
    except ValueError:
        expected = None
    found = filled(f"{{x:{spec}}}", x=cells)[0]
    assert isinstance(found, llm.ConfigError) if expected is None else found == expected


@pytest.mark.parametrize(
    "typed",
    [
        '{"a": 1}',
        '{"x": "{nested}", "y": [{}]}',
        "{ x }",
        "{x.real}",
        "{x[0]}",
        "{x!q}",
        "{}",
        "{0}",
        "{y: 1}",
        "{y:1}",
        "{score: 0.5}",
        "{city:Paris}",
        "{http://x.invalid}",
        "{a|b}",
        "{{1}}",
        r"\frac{a}{b}",
        "${HOME}",
    ],
)
def test_braces_that_name_no_column_stay_as_they_are_typed(typed):
    assert filled(f"{{x}} {typed}".replace("{nested}", "{n }"), x=["v"]) == [f"v {typed}".replace("{nested}", "{n }")]


def test_doubled_braces_are_text_also_with_a_format():
    assert filled("{x} {{x}} {{x:.2f}} {{x!r}} {{ x }}", x=[1]) == ["1 {x} {x:.2f} {x!r} {{ x }}"]


def test_a_column_whose_name_has_a_colon_is_found_before_its_beginning_is():
    assert filled("{a} {a:b} {a:b:>3}|{a!b}", **{"a": [1], "a:b": [2], "a!b": [3]}) == ["1 2   2|3"]


@pytest.mark.parametrize("template", ["{x} {prise:.2f}", "{x} {nome!r}", "{x} {nome!s:>10}", "{x} {wide:>10}"])
def test_a_format_of_a_column_that_is_not_there_is_refused(template):
    with pytest.raises(llm.ConfigError, match=r"is not a column. There are: x"):
        filled(template, x=[1])


def test_a_format_within_a_format_is_refused():
    with pytest.raises(llm.ConfigError, match="The format of 'x' contains braces"):
        filled("{x:{w}}", x=[1], w=[2])


@pytest.mark.parametrize(
    ("template", "column"),
    [
        ("{x:.2f}", pd.Series(["pen", "ink"], dtype="string")),
        ("{x:d}", pd.Series([1.5, 2.5])),
        ("{x:.2q}", pd.Series([None, 2], dtype="Int64")),
        ("{x:,}", pd.Series(["a"], dtype="string")),
    ],
)
def test_a_format_that_does_not_fit_its_column_is_refused_before_anything_is_sent(template, column):
    with fresh(), llm.rehearse() as server:
        with pytest.raises(llm.ConfigError, match=r"does not fit \w+ values"):
            run(pd.DataFrame({"x": column}), template=template)
        assert not server.lines


def test_in_a_column_of_objects_a_format_that_does_not_fit_fails_its_row_alone():
    cells = pd.Series([1.5, "much", None, 2], dtype=object, index=list("abcd"))
    with fresh(), llm.rehearse() as server:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = []
        out = run(cells.to_frame("x"), template="Is {x:.1f} much?")
        assert out["llm_status"].tolist() == ["ok", "failed", "skipped", "ok"]
        assert "Row b: {x:.1f} does not fit str values" in out["llm_error"].iloc[1]
        assert len(server.lines) == 2


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA, pd.NaT, " ", b""])
def test_a_row_that_misses_a_column_with_a_format_is_skipped(missing):
    assert filled("{x:.1f}", x=[missing, 2.0]) == [None, "2.0"]
