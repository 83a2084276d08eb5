"""Practice answers fit the schemas that people write: tuples, steps, lengths, patterns, forms of texts, sets."""

from __future__ import annotations

import json
from datetime import date, datetime  # noqa: TC003 - pydantic reads the fields' types
from decimal import Decimal  # noqa: TC003 - as above
from enum import Enum
from ipaddress import IPv4Address  # noqa: TC003 - as above
from typing import Annotated, Any
from uuid import UUID  # noqa: TC003 - as above

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, conset
from rehearsing import MODEL, fresh, words

import llm_executor_nb as llm
from llm_executor_nb.rehearsal.examples import _value

QUESTION = "Mix 'light blue' for room 13, please."
PATTERNS = [
    r"^\d{5}$",
    r"\w+@\w+\.com",
    r"^[^@\s]+@[^@\s]+$",
    r"^https?://[^/]+/.*$",
    r"^\+?[1-9]\d{1,14}$",
    r"^[a-z0-9_-]{3,16}$",
]


class Shade(Enum):
    LIGHT = "light"
    DARK = "dark"
    DULL = "dull"


class Paint(BaseModel):
    place: tuple[int, str]
    codes: Annotated[tuple[Annotated[str, Field(pattern=r"^\d{5}$")], float], Field()]
    dozen: Annotated[int, Field(multiple_of=12, gt=12)]
    share: Annotated[float, Field(gt=0, lt=1)]
    price: Annotated[float, Field(multiple_of=0.05, ge=0.5)]
    name: Annotated[str, Field(min_length=40, max_length=45)]
    short: Annotated[str, Field(max_length=3)]
    letters: Annotated[str, Field(pattern=r"^[A-Z]+$", min_length=5)]
    day: date
    at: datetime
    mail: Annotated[str, Field(json_schema_extra={"format": "email"})]
    key: UUID
    host: IPv4Address
    cost: Decimal
    shades: conset(Shade, min_length=2)  # type: ignore[valid-type] # made at run time
    numbers: conset(int, min_length=3)  # type: ignore[valid-type] # as above


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


@pytest.mark.parametrize("way", ["", "*: refused-response_format"], ids=["natively", "in words"])
def test_a_class_with_every_kind_of_bound_is_answered_at_once(way):
    with llm.rehearse(way):
        found = llm.run_llm(MODEL, QUESTION, schema=Paint).additional_kwargs["parsed"]
        assert words("outcome")[-1] == "ok"
        assert "invalid_output" not in words("outcome")
    assert found.place == (13, "light blue")
    assert (found.dozen, found.letters, found.short) == (24, "AAAAA", "lig")
    assert "@" in found.mail


@pytest.mark.parametrize(
    "part",
    [
        {"type": "integer", "multipleOf": 7, "minimum": 20, "maximum": 30},
        {"type": "integer", "exclusiveMinimum": 13},
        {"type": "integer", "exclusiveMaximum": 13},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
        {"type": "number", "multipleOf": 0.1, "maximum": 0.95},
        {"type": "array", "prefixItems": [{"type": "integer"}, {"const": "x"}], "items": False, "minItems": 2},
        {"type": "array", "prefixItems": [{"type": "boolean"}], "items": {"type": "string"}, "minItems": 3},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "minItems": 4},
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 2},
        {"type": "array", "items": {"type": "string"}, "maxItems": 0},
        {"type": "string", "minLength": 70, "maxLength": 80},
        {"type": "string", "pattern": "^[a-c]+$", "minLength": 6, "maxLength": 8},
        *({"type": "string", "pattern": pattern} for pattern in PATTERNS),
        *({"type": "string", "format": form} for form in ("date", "date-time", "email", "uuid", "ipv4", "hostname")),
    ],
    ids=str,
)
def test_a_value_fits_its_part_of_a_schema(part):
    checker = jsonschema.Draft202012Validator(part, format_checker=jsonschema.FormatChecker())
    checker.validate(_value(part, QUESTION, {}, 0))


@given(st.integers(-50, 50), st.integers(0, 40), st.integers(1, 9), st.integers(-99, 99))
def test_a_whole_number_keeps_its_bounds_wherever_they_lie(low, width, step, asked):
    high = low + width + step  # so that a multiple lies between
    part = {"type": "integer", "minimum": low, "maximum": high, "multipleOf": step}
    value = _value(part, f"give {asked}", {}, 0)
    assert low <= value <= high
    assert value % step == 0


@given(st.text(r"ab\d[]{}()*+?^$|.2-,", max_size=12), st.integers(0, 5))
def test_any_pattern_gets_a_text_of_the_length(pattern, least):
    text = _value({"type": "string", "pattern": pattern, "minLength": least}, QUESTION, {}, 0)
    assert isinstance(text, str)
    assert len(text) >= least


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[A-Z]{2}-\d{4}$",
        r"^(red|green)$",
        r"^#[0-9a-fA-F]{6}$",
        r"^(?=.*x)abc$",
        "[",
        "[2||]",
        "a{99999999}",
        "((a{99}){99}){99}",
    ],
)
def test_a_pattern_that_no_plain_text_matches_gets_an_answer_that_does_not_fit(pattern):
    value = json.dumps(_value({"type": "string", "pattern": pattern}, QUESTION, {}, 0))
    assert value == '"light blue"'


def test_the_same_question_gets_the_same_answer():
    def ask() -> Any:
        with llm.rehearse():
            return llm.run_llm(MODEL, QUESTION, schema=Paint).content

    assert ask() == ask()
