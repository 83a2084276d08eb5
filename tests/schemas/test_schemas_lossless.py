"""A list of names takes any scalar as text, a dict of types what converts without loss; neither asks again for it."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter
from recording import MODEL, recorded, said
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.schemas.schema import make_schema


class Named(BaseModel):
    """A class says itself what it takes."""

    name: str


def parsed(schema, **answer):
    return make_schema(schema).parse(json.dumps(answer))


def refused(schema, **answer):
    with pytest.raises(ValueError, match=r"Input should be|must be of type"):
        parsed(schema, **answer)


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (3.5, "3.5"), (-0.25, "-0.25"), (True, "true"), (False, "false"), ("three", "three"), ("", "")],
)
def test_a_name_takes_any_scalar_as_text_and_null_as_missing(value, text):
    assert parsed(["a", "b"], a=value, b=None) == {"a": text, "b": None}


@pytest.mark.parametrize("value", [[], ["a"], {}, {"a": 1}])
def test_a_name_takes_no_list_and_no_object(value):
    refused(["a"], a=value)


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        (int, "31", 31),
        (int, " 31 ", 31),
        (int, "3.0", 3),
        (int, "1e2", 100),
        (int, 3.0, 3),
        (int, 1e20, 10**20),
        (str, 31, "31"),
        (str, 2.5, "2.5"),
        (str, True, "true"),
        (float, 1, 1.0),
        (float, "2.5", 2.5),
        (bool, "true", True),
        (bool, 0, False),
        (list[str], ["a", 1, False], ["a", "1", "false"]),
        (list[int], ["1", 2.0], [1, 2]),
        (dict[str, str], {"k": 1}, {"k": "1"}),
        (str | None, 3, "3"),
        (int | None, None, None),
        (int | None, "4.0", 4),
        (int | str, 3, 3),
        (int | str, "3", "3"),
        ({"in": str, "n": int}, {"in": 1, "n": "2"}, {"in": "1", "n": 2}),
        (Any, 3, 3),
    ],
)
def test_a_type_takes_what_converts_without_loss(kind, value, found):
    took = parsed({"a": kind}, a=value)["a"]
    assert took == found
    assert type(took) is type(found)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 3.7),
        (int, "3.7"),
        (int, "3 apples"),
        (int, "1e999999999"),
        (int, "Infinity"),
        (int, None),
        (str, None),
        (str, ["a"]),
        (float, "nan"),
        (float, "1e999"),
        (bool, 2),
        (bool, "perhaps"),
        (list[str], "a"),
        (list[int], [1.5]),
    ],
)
def test_a_type_refuses_what_would_lose_something(kind, value):
    refused({"a": kind}, a=value)


@given(st.integers())
def test_any_whole_number_is_itself_in_every_way_of_writing_it(number):
    for written in (number, str(number), f"{number}.0", f"{number}.000"):
        assert parsed({"a": int}, a=written)["a"] == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_whole_only_when_it_was(number):
    schema = make_schema({"a": int})
    for written in (number, str(number)):
        try:
            assert float(schema.parse(json.dumps({"a": written}))["a"]) == number
        except ValueError:
            assert number != int(number) or abs(number) >= 1e300


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_any_scalar_is_in_its_text(value):
    assert json.loads(parsed(["a"], a=value)["a"]) == value


@pytest.mark.parametrize("kind", [str, int, float, bool, list[str], str | None, dict[str, int]])
def test_what_a_provider_is_told_is_not_changed_by_what_is_taken(kind):
    told = make_schema({"a": kind}).json_schema["properties"]["a"]
    assert told == {name: one for name, one in TypeAdapter(kind).json_schema().items() if name != "title"}
    assert make_schema(["a"]).json_schema["properties"]["a"] == {"type": "string"}
    assert make_schema(["a"]).digest_text == make_schema({"a": str}).digest_text


def test_a_class_and_a_json_schema_say_themselves_what_they_take():
    refused(Named, name=3)
    refused({"type": "object", "properties": {"name": {"type": "string"}}}, name=3)


def test_a_model_that_answers_numbers_is_asked_once_a_row():
    answer = json.dumps({"name": 7, "rate": 3.5, "is_new": True, "note": None})
    frame = pd.DataFrame({"q": ["one.", "two."]})
    with fresh(), recorded(lambda _: said(answer)) as bodies:
        out = frame.llm.run(MODEL, "q", schema=["name", "rate", "is_new", "note"], progress=False)
        assert len(bodies) == 2
        again = frame.llm.run(MODEL, "q", schema=["name", "rate", "is_new", "note"], progress=False)
    assert out.loc[0, ["name", "rate", "is_new"]].tolist() == ["7", "3.5", "true"]
    assert out["note"].isna().all()
    assert str(out["note"].dtype) == "string"
    assert again["q_llm_status"].tolist() == ["cached"] * 2
    assert again["name"].tolist() == ["7", "7"]
    assert llm.attempts() is not None
