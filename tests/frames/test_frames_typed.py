"""A schema's answers as columns: the dtype its type has, whatever is missing."""

from __future__ import annotations

from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel, Field

from llm_executor_nb.frames.typed import typed_columns
from llm_executor_nb.schemas.schema import make_schema

NOON = datetime.fromisoformat("2024-01-02T12:00:05")


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"
    NEVER = "never seen"


class Address(BaseModel):
    street: str
    mood: Mood = Mood.GOOD


class Review(BaseModel):
    name: str
    score: int
    share: float | None = None
    is_fair: bool = True
    mood: Mood = Mood.GOOD
    kind: Literal["a", "b"] | None = None
    when: datetime | None = None
    home: Address | None = None
    homes: list[Address] = Field(default_factory=list)


TYPES = {
    "name": "string",
    "score": "Int64",
    "share": "Float64",
    "is_fair": "boolean",
    "mood": "category",
    "kind": "category",
    "when": "datetime64[us]",
    "home": "object",
    "homes": "object",
}


def columns_of(schema, objects, index=None):
    index = pd.RangeIndex(len(objects)) if index is None else index
    return typed_columns(make_schema(schema), objects, index)


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("has_none", [False, True])
def test_a_column_has_the_dtype_of_its_type_whatever_is_missing(count, has_none):
    answer = Review(name="n", score=3, share=0.5, kind="a", when=NOON, home=Address(street="s"))
    columns = columns_of(Review, [answer] * count + [None] * has_none)
    assert {name: str(column.dtype) for name, column in columns.items()} == TYPES
    assert all(len(column) == count + has_none for column in columns.values())
    assert all(column.isna().tolist() == [False] * count + [True] * has_none for column in columns.values())


def test_a_field_that_is_none_is_missing_and_no_other():
    columns = columns_of(Review, [Review(name="n", score=1), None])
    missing = {name for name, column in columns.items() if column.isna().iloc[0]}
    assert missing == {"share", "kind", "when", "home"}
    assert columns["homes"].iloc[0] == []


def test_the_order_is_the_schemas_and_the_index_the_one_that_is_given():
    index = pd.MultiIndex.from_tuples([("a", 1), ("a", 1)], names=["x", "y"])
    columns = columns_of({"b": int, "a": str}, [{"b": 1, "a": "x"}, None], index)
    assert list(columns) == ["b", "a"]
    assert all(column.index is index or column.index.equals(index) for column in columns.values())
    assert [column.name for column in columns.values()] == ["b", "a"]


def test_a_category_has_all_values_also_those_that_no_answer_has():
    columns = columns_of(Review, [Review(name="n", score=1, kind="b", mood=Mood.BAD)])
    assert columns["mood"].cat.categories.tolist() == ["good", "bad", "never seen"]
    assert columns["mood"].tolist() == ["bad"]
    assert columns["kind"].cat.categories.tolist() == ["a", "b"]


def test_lists_and_nested_objects_are_pythons_own():
    home = Address(street="s", mood=Mood.BAD)
    columns = columns_of(Review, [Review(name="n", score=1, home=home, homes=[home])])
    assert columns["home"].iloc[0] == {"street": "s", "mood": "bad"}
    assert columns["homes"].iloc[0] == [{"street": "s", "mood": "bad"}]
    assert type(columns["homes"].iloc[0][0]) is dict


def test_lists_of_one_length_make_no_table():
    columns = columns_of({"tags": list[str]}, [{"tags": ["a", "b"]}, {"tags": ["c", "d"]}])
    assert columns["tags"].tolist() == [["a", "b"], ["c", "d"]]


def test_names_alone_are_texts():
    columns = columns_of(["name", "my city"], [{"name": "n", "my city": "c"}, None])
    assert [str(column.dtype) for column in columns.values()] == ["string", "string"]
    assert columns["my city"].iloc[0] == "c"


KINDS = [
    (Annotated[int, Field(ge=1)], [1], "Int64"),
    (int | None, [1], "Int64"),
    (int | float, [1, 0.5], "Float64"),
    (int | str, [1, "a"], "object"),
    (Literal[1, 2], [2], "category"),
    (Literal["a"] | Mood, ["a", Mood.BAD], "category"),
    (date, [date(2024, 1, 2), date(9999, 12, 31), date(1, 1, 1)], "datetime64[us]"),
    (dict[str, int], [{"a": 1}], "object"),
    (Any, [1, "a"], "object"),
    (tuple[int, int], [(1, 2)], "object"),
]


@pytest.mark.parametrize(("kind", "values", "dtype"), KINDS, ids=[str(kind) for kind, _, _ in KINDS])
def test_each_type_has_its_dtype_and_keeps_its_values(kind, values, dtype):
    column = columns_of({"x": kind}, [*({"x": value} for value in values), None])["x"]
    assert str(column.dtype) == dtype
    wanted = [
        value.value if isinstance(value, Enum) else list(value) if isinstance(value, tuple) else value
        for value in values
    ]
    told = [value.date() if dtype.startswith("datetime") else value for value in column.iloc[:-1]]
    assert told == wanted
    assert pd.isna(column.iloc[-1])


def test_an_integer_that_no_integer_column_holds_is_kept_as_it_is():
    column = columns_of({"n": int}, [{"n": 10**30}, {"n": 1}, None])["n"]
    assert column.tolist() == [10**30, 1, None]


def test_times_with_an_offset_are_told_in_utc():
    schema = make_schema({"t": datetime})
    told = [schema.parse(f'{{"t": "2024-01-02T03:00:00{offset}"}}') for offset in ("+02:00", "Z")]
    column = typed_columns(schema, [*told, None], pd.RangeIndex(3))["t"]
    assert str(column.dtype) == "datetime64[us, UTC]"
    assert column.dt.hour.tolist()[:2] == [1, 3]


SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 0},
        "s": {"type": ["string", "null"]},
        "e": {"enum": ["x", "y", None]},
        "f": {"$ref": "#/$defs/f"},
        "o": {"type": "object", "properties": {"a": {"type": "string"}}},
    },
    "required": ["n"],
    "$defs": {"f": {"type": "number"}},
}


def test_a_json_schema_has_typed_columns_too_and_what_is_left_out_is_missing():
    schema = make_schema(SCHEMA)
    told = [schema.parse('{"n": 1, "s": "a", "e": "y", "f": 2, "o": {"a": "b"}}'), schema.parse('{"n": 2}')]
    columns = typed_columns(schema, told, pd.Index(["p", "q"]))
    assert [str(column.dtype) for column in columns.values()] == ["Int64", "string", "category", "Float64", "object"]
    assert [column.iloc[0] for column in columns.values()] == [1, "a", "y", 2.0, {"a": "b"}]
    assert [name for name, column in columns.items() if column.isna().iloc[1]] == ["s", "e", "f", "o"]


def test_columns_survive_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    answer = Review(name="n", score=3, share=0.5, kind="a", when=NOON, homes=[Address(street="s")])
    frame = pd.DataFrame(columns_of(Review, [answer, None]))
    frame.to_parquet(tmp_path / "f.parquet")
    back = pd.read_parquet(tmp_path / "f.parquet")
    assert {name: str(dtype) for name, dtype in back.dtypes.items()}["score"] == "Int64"
    assert back["mood"].cat.categories.tolist() == ["good", "bad", "never seen"]
    assert np.asarray(back["homes"].iloc[0]).tolist() == [{"street": "s", "mood": "good"}]
