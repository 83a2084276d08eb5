"""What can be a schema, what an answer is read as, and the words for what does not fit."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, RootModel, field_validator

import llm_executor_nb as llm
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.schemas.schema import make_schema

KEY = "plain-canary-key-0007"


class Node(BaseModel):
    """A node."""

    title: str
    size: int = Field(3, ge=1, description="how big")
    next: Node | None = None


class Lists(RootModel[list[int]]):
    pass


class Empty(BaseModel):
    pass


PLAIN = make_schema({"name": str, "score": int})
FINE = {"name": "n", "score": 3}
READ = [
    '{"name": "n", "score": 3}',
    '```json\n{"name": "n", "score": 3}\n```',
    '```\n{"name": "n",\n "score": 3}\n```\nI hope this helps.',
    'Sure {of course}, here: {"name": "n", "score": 3} and so on',
    '<think>maybe {"name": "no", "score": 1}?</think>{"name": "n", "score": 3}',
    '[{"name": "n", "score": 3}]',
    '{"name": "n", "score": "3"}',
    '{"name": "n", "score": 3.0, "more": {"deep": [1]}}',
    '{"name": "n", "score": 3}\n{"score": 3, "name": "n"}',
    '{"name": "n", "score": 3}}',
    '{} {"name": "n", "score": 3}',
]


@pytest.mark.parametrize("text", READ)
def test_one_object_is_found_whatever_stands_around_it(text):
    assert PLAIN.parse(text) == FINE


WRONG = {
    "I do not know.": "there is no JSON object in it",
    "": "there is no JSON object in it",
    '"name"': "there is no JSON object in it",
    "{}": "name: Field required; score: Field required",
    '{"name": "n"}': "score: Field required",
    '{"name": "n", "score": "many"}': "score: Input should be a valid integer, unable to parse string as an integer",
    '{"name": null, "score": 3.5}': "name: Input should be a valid string; "
    "score: Input should be a valid integer, got a number with a fractional part",
    '{"name": "n", "score": 3': "it is not valid JSON (Expecting ',' delimiter where the answer ends)",
    '{"outer": {"name": "n", "score": 3}, "cut': "it is not valid JSON (Unterminated string starting at character 37)",
    '{\'outer\': {"name": "n", "score": 3}}': "it is not valid JSON "
    "(Expecting property name enclosed in double quotes at character 1)",
    '{"name": "n", "score": 3} or {"name": "m", "score": 3}': "it holds 2 JSON objects; one is wanted",
    '{"name": "n", "name": "m", "score": 3}': "the name 'name' stands twice in its JSON",
    '{"name": "n", "score": NaN}': "NaN is not a JSON number",
    '{"name": "n", "score": -Infinity}': "-Infinity is not a JSON number",
    '{"name": "n", "score": 1e999}': "a number in its JSON is too large",
    '{"name": "n", "score": ' + "9" * 5000 + "}": "a number in its JSON is too large",
    '{"name": ' * 100_000: "its JSON is nested too deep",
    '{"name": "\\ud800", "score": 3}': "the object: Invalid JSON: unexpected end of hex escape at line 1 column 17",
}


@pytest.mark.parametrize("text", WRONG, ids=[text[:40] for text in WRONG])
def test_what_is_wrong_is_said_in_the_validators_words(text):
    with pytest.raises(ValueError, match=r"\w") as raised:
        PLAIN.parse(text)
    assert str(raised.value) == WRONG[text]
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.parametrize("depth", [50, *range(150, 1100, 25)])
def test_however_deep_an_answer_is_it_is_read_or_refused(depth):
    schema = make_schema({"a": Any})
    try:
        assert schema.parse('{"a":' * depth + "1" + "}" * depth)
    except ValueError as error:
        assert depth > 50
        assert re.search("nested too deep|recursion limit", str(error))  # noqa: PT017 - either way is right


def test_the_words_are_short_and_without_keys():
    Secret(KEY)

    class Loud(BaseModel):
        a: str

        @field_validator("a")
        @classmethod
        def check(cls, value):
            raise ValueError(f"never {value}")

    with pytest.raises(ValueError, match="never") as raised:
        make_schema(Loud).parse(json.dumps({"a": f"{KEY} sk-or-v1-abcdefghijkl " + "x" * 1000}))
    assert KEY not in str(raised.value)
    assert "sk-or" not in str(raised.value)
    assert len(str(raised.value)) <= 300


def test_many_errors_are_counted_after_the_first_four():
    with pytest.raises(ValueError, match=r"and 2 more$"):
        make_schema(list("abcdef")).parse("{}")


NO_SCHEMA = [
    3,
    "name",
    [],
    {},
    [1],
    ["a", " "],
    ["a", "a"],
    {"a": 3},
    {"a": "int"},
    {1: int},
    int,
    Lists,
    Empty,
    {"a": lambda: 1},
    {"a": {"b": 1}},
    {"type": "array", "items": {"type": "string"}},
    {"type": "json_schema", "json_schema": {"schema": {}}},
    {"type": "object", "properties": {"a": {"type": "str"}}},
    {"type": "object", "properties": {"a": 3}},
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}},
    {"type": "object", "properties": {"a": {"type": "string", "minLength": "x"}}},
    {"type": "object", "properties": {"a": {"enum": []}}},
    {"type": "object", "properties": {"a": {"const": {1}}}},
    {"$ref": "#/$defs/Nobody"},
]


@pytest.mark.parametrize("schema", NO_SCHEMA, ids=range(len(NO_SCHEMA)))
def test_what_is_no_schema_is_a_config_error(schema):
    with pytest.raises(llm.ConfigError):
        make_schema(schema)


def test_no_schema_is_none_and_a_schema_stays_itself():
    assert make_schema(None) is None
    assert make_schema(PLAIN) is PLAIN


@pytest.mark.parametrize(
    "schema", [{"type": str, "score": int}, {"properties": {"a": int}}, {"type": str, "properties": {"a": int}}]
)
def test_a_dict_of_types_may_have_fields_called_as_json_schema_calls_its_own(schema):
    assert list(make_schema(schema).fields) == list(schema)


@pytest.mark.parametrize("name", ["my city", "schema", "json", "model_config", "_private", "class", "títle", "a.b"])
def test_a_field_may_have_any_name(name):
    schema = make_schema({name: int})
    assert schema.parse(json.dumps({name: 1})) == {name: 1}
    assert list(schema.fields) == [name]


def test_a_dict_in_a_dict_of_types_is_an_object():
    schema = make_schema({"home": {"street": str, "geo": {"lat": float}}})
    assert schema.parse('{"home": {"street": "s", "geo": {"lat": 1}}}') == {
        "home": {"street": "s", "geo": {"lat": 1.0}}
    }


STRICT = [
    Node,
    ["a"],
    {"a": int, "b": list[str], "c": {"d": float | None}},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
]
LOOSE = [
    {"a": dict[str, int]},
    {"a": Any},
    {"a": list},
    {"type": "object", "properties": {"a": {"type": "string"}}},
    {"type": "object"},
]


@pytest.mark.parametrize(("schema", "is_strict"), [*((one, True) for one in STRICT), *((one, False) for one in LOOSE)])
def test_what_a_provider_can_enforce_is_sent_as_strict_and_no_more(schema, is_strict):
    told = make_schema(schema).response_format
    assert told["type"] == "json_schema"
    assert told["json_schema"]["strict"] is is_strict
    assert json.loads(json.dumps(told)) == told


def test_a_class_that_contains_itself_is_sent_as_an_object_with_a_name_and_what_its_fields_say():
    told = make_schema(Node).response_format["json_schema"]
    assert told["name"] == "Node"
    assert told["schema"]["type"] == "object"
    assert told["schema"]["description"] == "A node."
    assert told["schema"]["required"] == ["title", "size", "next"]
    assert told["schema"]["properties"]["size"] == {"type": "integer", "minimum": 1, "description": "how big"}
    assert list(told["schema"]["properties"]) == ["title", "size", "next"]


def test_a_json_schema_of_the_users_is_sent_as_it_stands():
    schema = {"title": "My Form", "type": "object", "properties": {"title": {"type": "string", "default": "x"}}}
    told = make_schema(schema).response_format["json_schema"]
    assert told == {"name": "My_Form", "strict": False, "schema": schema}


CHECKED = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 1, "exclusiveMaximum": 5},
        "s": {"type": "string", "minLength": 2, "pattern": "^a"},
        "l": {"type": "array", "items": {"type": "number"}, "maxItems": 2},
        "e": {"enum": ["x", 1.5]},
        "o": {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/o"}]},
        "t": {"type": ["string", "null"]},
        "u": {"type": ["integer", "null", "boolean"], "minimum": 3},
        "r": {"required": ["k"], "type": "object"},
        "c": {"const": "k"},
        "d": {"type": "object", "additionalProperties": {"type": "integer"}},
        "self": {"$ref": "#"},
    },
    "$defs": {"o": {"properties": {"z": {"type": "boolean"}}, "required": ["z"]}},
}
FITS = [
    {},
    {"n": 4, "s": "ab", "l": [1, 2.5], "e": 1.5, "o": {"z": True}, "t": None, "c": "k", "d": {"a": 1}, "more": [1]},
    {"o": None, "e": "x", "self": {"n": 1}},
    {"u": None, "r": {"k": None, "more": 1}},
]
FITS_NOT = [
    ({"n": 0}, "n: must be at least 1"),
    ({"n": 5}, "n: must be less than 5"),
    ({"s": "a"}, "s: must have at least 2 characters"),
    ({"s": "bc"}, "s: must match the pattern ^a"),
    ({"l": [1, 2, 3]}, "l: must have at most 2 items"),
    ({"e": "y"}, 'e: must be one of ["x", 1.5]'),
    ({"c": "no"}, 'c: must be "k"'),
    ({"d": {"a": "b"}}, "d.a: must be of type integer"),
    ({"r": {"more": 1}}, "r: 'k' is a required property"),
    ({"t": 3}, "t: must be of type string or null"),
    ({"o": 3}, "o: must fit exactly one of the options that the schema allows"),
    ({"self": {"n": 0}}, "self.n: must be at least 1"),
]


@pytest.mark.parametrize("answer", FITS)
def test_a_json_schema_lets_through_what_fits_it(answer):
    assert make_schema(CHECKED).parse(json.dumps(answer)) == answer


@pytest.mark.parametrize(("answer", "told"), FITS_NOT)
def test_a_json_schema_is_checked(answer, told):
    with pytest.raises(ValueError, match=r"\w") as raised:
        make_schema(CHECKED).parse(json.dumps(answer))
    assert str(raised.value) == told


def test_what_a_json_schema_forbids_besides_is_dropped():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    assert make_schema(schema).parse('{"a": "x", "b": 1}') == {"a": "x"}
    for part in (schema, {"$ref": "#/$defs/part"}, {"allOf": [schema]}, {"anyOf": [{"type": "null"}, schema]}):
        whole = {"type": "object", "properties": {"in": {"type": "array", "items": part}}, "$defs": {"part": schema}}
        assert make_schema(whole).parse('{"in": [{"a": "x", "b": 1}], "more": 1}') == {"in": [{"a": "x"}], "more": 1}


def test_the_digest_is_the_same_for_the_same_shape_and_another_for_another():
    told = [make_schema(one).digest_text for one in ({"a": int, "b": str}, {"b": str, "a": int}, {"a": int, "b": int})]
    assert told[1] != told[2]
    assert make_schema(Node).digest_text == make_schema(Node).digest_text
    assert make_schema({"a": Annotated[int, Field(ge=2)]}).digest_text != make_schema({"a": int}).digest_text
