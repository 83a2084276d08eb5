"""`{name}` in a cell: filled where it is data, byte for byte everything else."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from pydantic import SecretStr

import llm_executor_nb as llm
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.notebook.fill import fill, not_filled_in

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"


class Thing:
    """An object that says nothing of itself."""


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {1}, "b": ["{", "}"]}',
        r"\frac{a}{b} \begin{x} {x^2} \text{city_}",
        'f"{x + 1} {city!r} {city:>10} {city.upper()} {city[0]}"',
        "{} {{}} {{{}}} { city } {city {city\n}",
        "%s %(city)s $city ${city_x} {0} {1}",
        "a\tb\r\n  c  \n\n",
    ],
)
def test_json_latex_and_code_stay_byte_for_byte(text):
    assert fill(text, {"city": "Lyon", "b_": 1}).text == text


def test_names_that_are_no_data_stay_as_typed():
    names = {
        "fn": len,
        "mod": pytest,
        "cls": Thing,
        "lam": lambda: 1,
        "obj": Thing(),
        "gen": (x for x in "ab"),
        "env": os.environ,
        "_i": "hidden",
        "keys": llm.OPENROUTER_KEYS,
        "secret": Secret(KEY),
        "pydantic_secret": SecretStr(KEY),
        "plain": KEY,
    }
    text = " ".join(f"{{{name}}} {{{{{name}}}}}" for name in names)
    assert fill(text, names).text == text


@given(st.text(), st.text(alphabet="{}[]\"'\\:,abcity \n"))
def test_text_without_a_variable_is_never_changed(free, braces):
    for text in (free, braces):
        assert fill(text, {}).text == text


@given(st.text(max_size=50), st.text(max_size=50))
def test_what_was_filled_in_is_not_looked_at_again(value, other):
    assert fill("<{a}>{b}", {"a": value, "b": other}).text == f"<{value}>{other}" or "sk-" in value + other


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Lyon", "Lyon"),
        (7, "7"),
        (0.5, "0.5"),
        (True, "True"),
        ([1, "a"], "[1, 'a']"),
        ({"a": 1}, "{'a': 1}"),
        (np.arange(2000), str(list(range(2000)))),
        (pd.Index(["a", "b"]), "['a', 'b']"),
        (AIMessage("It is a city.", response_metadata={"llm_run_id": "x"}), "It is a city."),
    ],
)
def test_data_is_written_out(value, text):
    assert fill("{x}", {"x": value}).text == text


def test_a_frame_is_written_out_whole_with_its_long_texts():
    frame = pd.DataFrame({"review": ["word " * 40, "short"] * 20})
    assert fill("{frame}", {"frame": frame}).text.count("word") == 800


@pytest.mark.parametrize("value", ["x" * 20_001, pd.DataFrame({"a": range(30_000)}), np.zeros(30_000)])
def test_what_is_too_long_to_be_meant_is_refused(value):
    with pytest.raises(llm.ConfigError, match="longer than 20,000 characters"):
        fill("{a}", {"a": value})


def test_doubled_braces_are_single_ones_where_the_name_exists():
    assert fill("{{city}} {{town}} {city}", {"city": "Lyon"}).text == "{city} {{town}} Lyon"


def noted(text: str, **names: object) -> str:
    """Return the note on what was left as typed."""
    return "".join(not_filled_in(fill(text, names).left))


def test_it_says_what_was_filled_in_and_what_was_not():
    filled = fill(
        "{city} {city} {review_txt} {key} {undefined}", {"city": "Lyon", "review_text": "x", "key": Secret(KEY)}
    )
    assert filled.names == ("city",)
    assert filled.left == ("{review_txt} (did you mean {review_text}?)", "{key} (a key)", "{undefined}")
    assert noted("Is {undefined} {city}? {undefined}", city="Lyon") == "not filled in: {undefined}"


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("{price:.2f} {price!r} {price + 1}", "{price:.2f} (write {price}), {price!r} (write {price})"),
        ("{ price } and {{ price }}", "{ price } (write {price})"),
        ("{np.pi} {fn} {np}", "{fn} (a function), {np} (a module)"),
        ("report_{year}.txt", "{year}"),
        (" ".join(f"{{v{number}}}" for number in range(1, 9)), "{v1}, {v2}, {v3}, {v4}, {v5} and 3 more"),
    ],
)
def test_what_may_be_meant_as_a_variable_is_noted(text, note):
    assert noted(text, price=1.5, np=np, fn=lambda: 1) == f"not filled in: {note}"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"b": 1}} {} {0} {a: 1}',
        r"\frac{a}{b} \begin{align} x_{i} \sqrt[3]{n} \textbf{word} y^{k}",
        "$x_{i} + y^{k}$",
        "{{undefined}} {{price}}",
        "{other.name} {other:.2f} {price: 3}",
    ],
)
def test_json_latex_and_doubled_braces_get_no_note(text):
    assert noted(text, price=1.5) == ""


def test_prose_that_speaks_of_a_key_is_data():
    text = "My first key was sk-or-v1-oldoldoldold, it is revoked."
    assert fill("{note}", {"note": text}).text == text


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (pd.DataFrame({"city": ["Lyon"], "auth": [KEY]}), " in its column auth"),
        (pd.DataFrame([["Lyon", f"curl -H 'Authorization: Bearer {KEY}'"]], columns=["a", "a"]), " in its column a"),
        (pd.DataFrame({"city": ["Lyon"]}, index=[KEY]), " in its index"),
        (pd.DataFrame({KEY: ["Lyon"]}), " in its column names"),
        (pd.Series(["Lyon", KEY]), ""),
        (pd.Index([KEY]), ""),
        (np.array([KEY, "Lyon"]), ""),
        ([KEY], ""),
        ({"city": "Lyon", "auth": {"openrouter": KEY}}, " in its entry auth"),
        (AIMessage(f"Your key is {KEY}.", response_metadata={"llm_run_id": "x"}), ""),
    ],
)
def test_what_holds_something_like_a_key_is_an_error_that_names_its_place(value, place):
    with pytest.raises(llm.ConfigError) as raised:
        fill("{held}", {"held": value})
    assert f"{{held}} holds something like a key{place}, and" in str(raised.value)
    assert KEY not in str(raised.value)
    assert fill("{{held}}", {"held": value}).text == "{held}"


def test_a_table_without_a_key_is_filled_in_whatever_it_holds():
    for value in (pd.DataFrame(), pd.DataFrame({"a": [None]}), np.array([]), pd.Series([], dtype=object)):
        assert fill("{value}", {"value": value}).text.strip()
