"""A dataclass and a TypedDict are schemas like a pydantic class; and every keyword of a JSON Schema is checked."""

from __future__ import annotations

import json
import typing
from dataclasses import dataclass, field
from datetime import date  # noqa: TC003 - read as the fields' types
from enum import Enum
from typing import Annotated, Any, NotRequired, Required

import pandas as pd
import pytest
import typing_extensions
from doors import DOORS
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass
from rehearsing import MODEL, fresh

import llm_executor_nb as llm
from llm_executor_nb.schemas.schema import make_schema

QUESTION = "Mix 'light blue' for room 13."


class Tone(Enum):
    DARK = "dark"
    PALE = "pale"


@dataclass
class Room:
    number: int
    name: str = "hall"


@dataclass
class Paint:
    """A paint."""

    colour: str
    share: Annotated[float, Field(gt=0)]
    tone: Tone
    day: date
    room: Room
    tags: list[str] = field(default_factory=list)
    size: int | None = None


@checked_dataclass
class Checked:
    count: Annotated[int, Field(ge=3)]


class Old(typing.TypedDict):
    """A mix."""

    colour: str
    count: int
    tags: NotRequired[list[str]]


class New(typing_extensions.TypedDict):
    colour: str
    count: int
    tags: NotRequired[list[str]]


class Partial(typing.TypedDict, total=False):
    colour: Required[str]
    count: int


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


@pytest.mark.parametrize("door", DOORS)
def test_a_dataclass_gives_its_object_through_every_door(door):
    with llm.rehearse("*: wrong_schema*1"):
        found = DOORS[door](MODEL, QUESTION, schema=Paint).additional_kwargs["parsed"]
    assert isinstance(found, Paint)
    assert isinstance(found.room, Room)
    assert (found.colour, found.share, found.tone, found.room.number) == ("light blue", 13.0, Tone.DARK, 13)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("schema", [Old, New])
def test_a_typed_dict_gives_a_dict_through_every_door(schema, door):
    with llm.rehearse("*: refused-response_format"):
        found = DOORS[door](MODEL, QUESTION, schema=schema).additional_kwargs["parsed"]
    assert found == {"colour": "light blue", "count": 13, "tags": ["light blue"]}


@pytest.mark.parametrize(
    ("schema", "text", "told"),
    [
        (Paint, '{"colour": "x"}', "share: Field required; tone: Field required; day: Field required; and 1 more"),
        (Checked, '{"count": 2}', "count: Input should be greater than or equal to 3"),
        (Old, '{"colour": "x"}', "count: Field required"),
        (New, '{"colour": "x", "count": "y"}', "count: Input should be a valid integer"),
        (Partial, '{"count": 3}', "colour: Field required"),
    ],
)
def test_what_does_not_fit_a_class_is_said_in_the_validators_words(schema, text, told):
    with pytest.raises(ValueError, match=r"\w") as raised:
        make_schema(schema).parse(text)
    assert told.split("; ")[0] in str(raised.value)


@pytest.mark.parametrize("schema", [Old, New])
def test_a_key_that_may_be_missing_may_be_and_what_is_not_named_is_dropped(schema):
    assert make_schema(schema).parse('{"colour": "x", "count": 1, "more": 2}') == {"colour": "x", "count": 1}
    assert make_schema(Partial).parse('{"colour": "x"}') == {"colour": "x"}


@pytest.mark.parametrize("schema", [Paint, Old, New, Checked])
def test_a_class_is_told_by_its_name_and_strictly(schema):
    told = make_schema(schema).response_format["json_schema"]
    assert (told["name"], told["strict"]) == (schema.__name__, True)
    assert told["schema"]["required"] == list(make_schema(schema).fields)
    if schema is Old:
        assert told["schema"]["description"] == "A mix."


def test_a_column_has_the_dtypes_of_a_dataclass_and_plain_values():
    with llm.rehearse():
        out = pd.DataFrame({"q": [QUESTION, None]}).llm.run(MODEL, "q", schema=Paint, progress=False)
    assert out.dtypes.astype(str)[["colour", "share", "tone", "size"]].tolist() == [
        "string", "Float64", "category", "Int64",
    ]  # fmt: skip
    assert out["room"].tolist()[0] == {"number": 13, "name": "light blue"}
    assert out["tags"].tolist()[0] == ["light blue"]


def test_a_column_has_the_dtypes_of_a_typed_dict():
    with llm.rehearse():
        out = pd.DataFrame({"q": [QUESTION]}).llm.run(MODEL, "q", schema=Old, progress=False)
    assert out.dtypes.astype(str)[["colour", "count", "tags"]].tolist() == ["string", "Int64", "object"]


def unread():
    @dataclass
    class Unread:
        a: Nowhere  # noqa: F821 - on purpose

    return Unread


@dataclass
class Nothing:
    pass


class Empty(typing.TypedDict):
    pass


@pytest.mark.parametrize(
    ("schema", "wording"),
    [
        (list[Room], "is not a schema. Write a pydantic class, a dataclass or a TypedDict"),
        (list[Old], "is not a schema"),
        (Room(3), "is not a schema"),
        (Nothing, "The class Nothing has no fields"),
        (Empty, "The class Empty has no fields"),
        (unread(), "The types of Unread cannot be read: name 'Nowhere' is not defined"),
    ],
    ids=["list", "list of dicts", "an object", "no field", "no key", "unread"],
)
def test_what_is_like_a_class_and_no_schema_is_told_what_to_write(schema, wording):
    with pytest.raises(llm.ConfigError, match=wording.replace(".", r"\.")):
        make_schema(schema)


NOT_CHECKED: dict[str, tuple[dict[str, Any], Any]] = {
    "format": ({"type": "string", "format": "date"}, "no date"),
    "contentEncoding": ({"type": "string", "contentEncoding": "base64"}, "?"),
}
CHECKED: dict[str, tuple[dict[str, Any], Any]] = {
    "uniqueItems": ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, [1, 1]),
    "contains": ({"type": "array", "contains": {"const": 3}}, [1]),
    "prefixItems": ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, ["a", "b"]),
    "minProperties": ({"type": "object", "minProperties": 2}, {}),
    "maxProperties": ({"type": "object", "maxProperties": 0}, {"a": 1}),
    "patternProperties": ({"type": "object", "patternProperties": {"^a": {"type": "integer"}}}, {"a": "x"}),
    "propertyNames": ({"type": "object", "propertyNames": {"maxLength": 1}}, {"long": 1}),
    "dependentRequired": ({"type": "object", "dependentRequired": {"a": ["b"]}}, {"a": 1}),
    "dependentSchemas": ({"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}}, {"a": 1}),
    "unevaluatedProperties": ({"type": "object", "unevaluatedProperties": False}, {"a": 1}),
    "not": ({"not": {"type": "integer"}}, 3),
    "if": ({"type": "integer", "if": {"minimum": 3}, "then": {"maximum": 4}}, 9),
    "allOf": ({"allOf": [{"type": "integer"}, {"minimum": 3}]}, "x"),
    "anyOf": ({"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"]}]}, {}),
    "oneOf": ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 3),
    "$ref": ({"$ref": "#/$defs/n", "minimum": 3}, 1),
    "enum": ({"enum": [1, 2], "minimum": 2}, 1),
    "const": ({"const": 1, "minimum": 2}, 1),
    "type": ({"minimum": 2}, 1),
    "text for a number": ({"type": "integer"}, "3"),
    "false": ({"properties": {"b": False}}, {"b": 1}),
}


def whole_of(part):
    return {"type": "object", "properties": {"a": part}, "required": ["a"], "$defs": {"n": {"type": "integer"}}}


@pytest.mark.parametrize("keyword", NOT_CHECKED)
def test_what_only_describes_is_sent_and_not_checked(keyword):
    part, value = NOT_CHECKED[keyword]
    schema = make_schema(whole_of(part))
    assert schema.parse(json.dumps({"a": value})) == {"a": value}
    assert json.loads(json.dumps(schema.json_schema)) == whole_of(part)


@pytest.mark.parametrize("keyword", CHECKED)
def test_every_keyword_is_sent_and_checked_and_the_place_is_named(keyword):
    part, value = CHECKED[keyword]
    schema = make_schema(whole_of(part))
    with pytest.raises(ValueError, match=r"^a\b.*: "):
        schema.parse(json.dumps({"a": value}))
    assert json.loads(json.dumps(schema.json_schema)) == whole_of(part)


def test_options_beside_the_properties_of_the_whole_are_checked():
    whole = {"type": "object", "properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    assert make_schema(whole).parse('{"b": 1}') == {"b": 1}
    with pytest.raises(ValueError, match="the object: fits none of the options"):
        make_schema(whole).parse("{}")
    inner = {"properties": {"n": {"type": "integer"}}, "anyOf": [{"required": ["n"]}]}
    schema = make_schema({"type": "object", "properties": {"inner": inner}})
    with pytest.raises(ValueError, match=r"inner: 'n' is a required property"):
        schema.parse('{"inner": {}}')
    with pytest.raises(ValueError, match=r"inner\.n: must be of type integer"):
        schema.parse('{"inner": {"n": "x"}}')


def test_a_reference_to_another_document_is_refused_and_never_fetched():
    for reference in ("https://example.com/schema.json", "other.json#/a", "#/$defs/missing"):
        with pytest.raises(llm.ConfigError, match="which it does not contain"):
            make_schema(whole_of({"$ref": reference}))
