"""schema= through the four doors: an object comes out that fits, or an error that says why none did."""

from __future__ import annotations

import json
from enum import Enum
from typing import Literal

import pytest
from asking import rehearsals
from doors import DOORS, STREAMS
from langchain_core.tools import tool
from pydantic import BaseModel, field_validator
from rehearsing import MODEL, PROVIDERS, ROUTES, assert_log_is_what_the_server_saw, settle, words

import llm_executor_nb as llm
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.rehearsal.catalogue import find_fault, special_themes

SCHEMA_FAULTS = special_themes()["requests for a schema"]
QUESTION = "What is 'red' times 7?"
MANY_DOORS = pytest.mark.parametrize("ask", DOORS.values(), ids=DOORS)
BACKENDS = {"openrouter": {}, "huggingface": {"openrouter_keys": 0}}
BOTH = pytest.mark.parametrize("backend", BACKENDS)


class Shade(Enum):
    LIGHT = "light"
    DARK = "dark"


class Maker(BaseModel):
    name: str
    since: int | None = None


class Paint(BaseModel):
    """A paint."""

    colour: str
    number: int
    shade: Shade = Shade.DARK
    makers: list[Maker]


TYPES = {"colour": str, "number": int, "tags": list[str], "kind": Literal["x", "y"], "shade": Shade}
JSON_SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}, "number": {"type": "integer"}, "shade": {"$ref": "#/$defs/Shade"}},
    "required": ["colour"],
    "$defs": {"Shade": {"enum": ["light", "dark"]}},
}
FORMS = {
    "class": (
        Paint,
        Paint(colour="red", number=7, shade=Shade.LIGHT, makers=[Maker(name="red", since=7)]),
    ),
    "types": (TYPES, {"colour": "red", "number": 7, "tags": ["red"], "kind": "x", "shade": Shade.LIGHT}),
    "names": (["colour", "kind"], {"colour": "red", "kind": "red"}),
    "json_schema": (JSON_SCHEMA, {"colour": "red", "number": 7, "shade": "light"}),
}
"""Four ways of writing a schema, and what a practice answer makes of QUESTION."""


@pytest.fixture
def begin():
    with rehearsals() as start:
        yield start


def parsed(message):
    return message.additional_kwargs["parsed"]


@pytest.mark.parametrize("script", ["", "*: refused-response_format"], ids=["native", "in words"])
@pytest.mark.parametrize("form", FORMS)
@BOTH
@MANY_DOORS
def test_each_way_of_writing_a_schema_gives_its_object(form, ask, backend, script, begin):
    schema, wanted = FORMS[form]
    server = begin(script, **BACKENDS[backend])
    message = ask(MODEL, QUESTION, schema=schema)
    assert parsed(message) == wanted
    assert type(parsed(message)) is type(wanted)
    assert json.loads(message.content)
    assert words("outcome") == ["unsupported"] * bool(script) + ["ok"]
    assert words("backend") == [backend] * len(server.lines)
    assert_log_is_what_the_server_saw(server)


FAULTS = {
    "invalid_json*1": ["invalid_output", "ok"],
    "wrong_schema*1": ["invalid_output", "ok"],
    "ignored-response_format": ["invalid_output", "ok"],
    "cut-json*1": ["invalid_output", "ok"],
    "fenced-json": ["ok"],
    "refused-response_format": ["unsupported", "ok"],
    "refused-parameters": ["unsupported", "ok"],
    "refused-schema": ["unsupported", "ok"],
    "refused-response_format-param": ["unsupported", "ok"],
    "refused-response_format-500": ["unsupported", "ok"],
    "response_format-500": ["server_error", "ok"],
    "json_validate_failed": ["invalid_output", "ok"],
    "500*1": ["server_error", "ok"],
    "null-choices*1": ["malformed", "ok"],
    "refused-response_format, wrong_schema*1": ["unsupported", "invalid_output", "ok"],
}
CASES = [
    (fault, backend) for fault in FAULTS for backend in find_fault(fault.partition(",")[0].partition("*")[0]).backends
]


@pytest.mark.parametrize(("fault", "backend"), CASES)
@MANY_DOORS
def test_a_fault_is_asked_away_on_the_same_route_and_nothing_is_held(fault, backend, ask, begin):
    server = begin(f"{backend}: {fault}", **BACKENDS[backend])
    message = ask(MODEL, QUESTION, schema=Paint)
    assert parsed(message) == FORMS["class"][1]
    assert words("outcome") == FAULTS[fault]
    assert words("decision") == ["retry"] * (len(FAULTS[fault]) - 1) + ["accept"]
    assert len(set(words("route"))) == 1
    assert llm.health().empty
    assert llm.attempts(message)["run_id"].nunique() == 1
    assert_log_is_what_the_server_saw(server)


def test_every_fault_of_a_schema_is_tried_here_and_a_name_of_the_fault_language():
    tried = {part.partition("*")[0].strip() for fault in FAULTS for part in fault.split(",")}
    assert set(SCHEMA_FAULTS) <= tried
    assert all(find_fault(name) is entry for name, entry in SCHEMA_FAULTS.items())


@pytest.mark.parametrize("name", SCHEMA_FAULTS)
def test_a_request_without_a_schema_passes_these_faults_by(name, begin):
    server = begin(f"*: {name}")
    assert llm.run_llm(MODEL, QUESTION).content.startswith("[practice answer")
    settle(server)
    assert [line.fault for line in server.lines] == [None]


@pytest.mark.parametrize("fault", ["wrong_schema", "invalid_json"])
@MANY_DOORS
def test_when_no_route_gets_it_right_the_error_has_every_request(fault, ask, begin):
    server = begin(f"*: {fault}")
    with pytest.raises(llm.AllRoutesFailedError, match="did not fit the schema") as raised:
        ask(MODEL, QUESTION, schema=Paint)
    assert [attempt.outcome for attempt in raised.value.attempts] == [Outcome.INVALID_OUTPUT] * 4
    assert raised.value.outcome == "invalid_output"
    assert [attempt.route for attempt in raised.value.attempts] == [route for route in ROUTES[:2] for _ in range(2)]
    assert words("decision") == ["retry", "fall_back", "retry", "stop"]
    assert len(server.lines) == 4
    assert llm.health().empty
    assert_log_is_what_the_server_saw(server)


def test_the_log_has_the_validators_words(begin):
    begin("*: wrong_schema*1")
    llm.run_llm(MODEL, QUESTION, schema={"colour": str, "number": int})
    assert words("message")[0] == "colour: Input should be a valid string; number: Input should be a valid integer"


def test_invalid_output_waits_as_any_retry_does(begin):
    begin("*: wrong_schema*1")
    llm.retry_wait_strategy = lambda _: 0.01
    llm.run_llm(MODEL, QUESTION, schema=Paint)
    assert llm.attempts()["wait_s"].tolist() == [0, pytest.approx(0.01, abs=0.2)]
    assert llm.attempts()["wait_s"].iloc[1] >= 0.01


# --- streams ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks_of", STREAMS.values(), ids=STREAMS)
def test_a_stream_hands_nothing_on_before_the_answer_is_valid(chunks_of, begin):
    begin("openrouter[1]: wrong_schema")
    chunks = chunks_of(MODEL, QUESTION, schema=Paint)
    text = "".join(chunk.content for chunk in chunks)
    assert Paint.model_validate_json(text) == FORMS["class"][1]
    assert len([chunk for chunk in chunks if chunk.content]) > 1
    assert ["parsed" in chunk.additional_kwargs for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert words("outcome") == ["invalid_output"] * 2 + ["ok"]
    assert words("route") == [ROUTES[0], *ROUTES[:2]]


@pytest.mark.parametrize("chunks_of", STREAMS.values(), ids=STREAMS)
def test_a_stream_that_breaks_off_is_no_interruption_because_nothing_was_shown(chunks_of, begin):
    server = begin("openrouter: cut*1")
    chunks = chunks_of(MODEL, QUESTION, schema=Paint)
    assert parsed(chunks[-1]) == FORMS["class"][1]
    assert words("outcome") == ["connection", "ok"]
    assert_log_is_what_the_server_saw(server)


# --- who declined -----------------------------------------------------------------------------------------------

DECLINES = {
    "refused-response_format": "unsupported",
    "refused-response_format-500": "unsupported",
    "refused-schema": "unsupported",
    "response_format-500": "server_error",
    "json_validate_failed": "invalid_output",
    "ignored-response_format": "invalid_output",
}


@pytest.mark.parametrize("fault", DECLINES)
def test_who_declined_is_asked_in_words_from_then_on_on_every_key(fault, begin):
    server = begin(f"openrouter: {fault}; openrouter[1]: 401@3")
    for _ in range(3):
        llm.run_llm(MODEL, QUESTION, schema=Paint)
    assert words("outcome") == [DECLINES[fault], "ok", "auth", "ok", "ok"]
    assert [key[-4:] for key in words("key")] == ["0001", "0001", "0001", "0002", "0002"]
    assert_log_is_what_the_server_saw(server)


@pytest.mark.parametrize("fault", DECLINES)
def test_a_reset_or_a_new_row_or_another_schema_lets_it_be_asked_natively_again(fault, begin):
    server = begin(f"openrouter: {fault}")

    def requests(schema=Paint):
        server.clear()
        llm.run_llm(MODEL, QUESTION, schema=schema)
        return len(server.lines)

    assert [requests(), requests()] == [2, 1]
    llm.reset_health()
    assert [requests(), requests()] == [2, 1]
    assert [requests(["colour"]), requests(["colour"])] == [2, 1]
    llm.MODEL_INFERENCE_PROVIDERS[MODEL] = PROVIDERS[:2]
    assert [requests(), requests()] == [2, 1]


def test_what_one_provider_declines_is_still_asked_natively_of_the_next(begin):
    begin("huggingface/a: refused-response_format, 404", openrouter_keys=0)
    llm.run_llm(MODEL, QUESTION, schema=Paint)
    assert words("outcome") == ["unsupported", "not_found", "ok"]
    assert words("provider") == ["a", "a", "b"]


@pytest.mark.parametrize("fault", ["400", "422"])
def test_a_refusal_that_does_not_name_the_format_is_answered_by_the_next_provider_as_ever(fault, begin):
    server = begin(f"openrouter: {fault}")
    assert parsed(llm.run_llm(MODEL, QUESTION, schema=Paint)) == FORMS["class"][1]
    assert words("route") == [ROUTES[0], ROUTES[2]]
    assert words("outcome") == ["bad_request", "ok"]
    assert_log_is_what_the_server_saw(server)


@pytest.mark.parametrize("fault", ["400", "422"])
def test_a_refusal_by_two_providers_that_does_not_name_the_format_ends_the_run_as_ever(fault, begin):
    server = begin(f"*: {fault}")
    with pytest.raises(llm.RequestError):
        llm.run_llm(MODEL, QUESTION, schema=Paint)
    assert words("route") == [ROUTES[0], ROUTES[2]]
    assert_log_is_what_the_server_saw(server)


# --- cut off ----------------------------------------------------------------------------------------------------


@MANY_DOORS
def test_json_that_the_users_max_tokens_cut_off_is_refused_at_once(ask, begin):
    server = begin("*: cut-json")
    with pytest.raises(llm.RequestError, match="raise max_tokens") as raised:
        ask(MODEL, QUESTION, schema=Paint, max_tokens=5)
    assert raised.value.outcome == "truncated"
    assert len(server.lines) == 1
    assert words("finish_reason") == ["length"]


@MANY_DOORS
def test_json_that_a_providers_own_limit_cut_off_is_another_routes_chance(ask, begin):
    begin("openrouter[1]: cut-json")
    assert parsed(ask(MODEL, QUESTION, schema=Paint)) == FORMS["class"][1]
    assert words("outcome") == ["invalid_output"] * 2 + ["ok"]
    assert words("route") == [ROUTES[0], *ROUTES[:2]]
    assert words("message")[0].startswith("it was cut off because it is too long")


# --- beside others ----------------------------------------------------------------------------------------------


@MANY_DOORS
def test_accept_sees_the_parsed_object_and_may_say_no(ask, begin):
    begin()
    seen = []

    def accept(message):
        seen.append(parsed(message))
        return len(seen) > 1

    message = ask(MODEL, QUESTION, schema=Paint, accept=accept)
    assert seen == [FORMS["class"][1]] * 2
    assert parsed(message) == seen[-1]
    assert words("outcome") == ["rejected", "ok"]


def test_accept_is_not_asked_about_what_does_not_fit(begin):
    begin("*: wrong_schema*1")
    seen = []
    llm.run_llm(MODEL, QUESTION, schema=Paint, accept=lambda message: seen.append(message) or True)
    assert len(seen) == 1


@tool
def mix(colour: str) -> str:
    """Mix."""
    return colour


@MANY_DOORS
def test_a_call_of_a_tool_passes_and_the_answer_after_it_is_parsed(ask, begin):
    begin()
    first = ask(MODEL, QUESTION, schema=Paint, tools=[mix])
    assert [call["name"] for call in first.tool_calls] == ["mix"]
    assert "parsed" not in first.additional_kwargs
    call_id = first.tool_calls[0]["id"]
    told = [("user", QUESTION), first, {"role": "tool", "content": "red", "tool_call_id": call_id}]
    assert parsed(ask(MODEL, told, schema=Paint, tools=[mix])) == FORMS["class"][1]
    assert words("outcome") == ["ok", "ok"]


class Strict(BaseModel):
    colour: str

    @field_validator("colour")
    @classmethod
    def check(cls, value):
        raise KeyError(value)


@MANY_DOORS
def test_a_validator_that_breaks_is_the_users_and_ends_the_run(ask, begin):
    server = begin()
    with pytest.raises(llm.ConfigError, match="validator of your schema= raised KeyError"):
        ask(MODEL, QUESTION, schema=Strict)
    assert len(server.lines) == 1
    assert words("decision") == ["stop"]
    assert_log_is_what_the_server_saw(server)


CLASHES = [
    {"response_format": {"type": "json_object"}},
    {"extra_body": {"openrouter": {"response_format": {"type": "json_object"}}}},
]


@pytest.mark.parametrize("options", CLASHES)
@MANY_DOORS
def test_a_response_format_beside_a_schema_is_refused_before_anything_is_sent(options, ask, begin):
    server = begin()
    with pytest.raises(llm.ConfigError, match="leave out response_format"):
        ask(MODEL, QUESTION, schema=Paint, **options)
    with pytest.raises(llm.ConfigError, match="leave out response_format"):
        ask(MODEL, {"messages": [("user", QUESTION)], "response_format": {"type": "json_object"}}, schema=Paint)
    assert not server.lines


@MANY_DOORS
def test_what_is_no_schema_is_refused_with_what_to_write(ask, begin):
    server = begin()
    with pytest.raises(llm.ConfigError, match="a pydantic class, a dataclass or a TypedDict; a dict of types"):
        ask(MODEL, QUESTION, schema=int)
    assert not server.lines
