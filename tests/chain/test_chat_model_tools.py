"""Tools and schemas are the same on both backends, by every method that LangChain has."""

from __future__ import annotations

from typing import TypedDict

import pytest
from asking import NO_KEY, QUESTION, REPORT, Report, ainvoked, astreamed, invoked, paint, rehearsals, streamed
from langchain_core.messages import AIMessage
from pydantic import BaseModel
from rehearsing import MODEL, words

import llm_executor_nb as llm


@pytest.fixture
def start():
    with rehearsals() as begin:
        yield begin


class Colours(BaseModel):
    """Two texts."""

    red: str
    blue: str


class ReportDict(TypedDict):
    """A report."""

    colour: str
    number: int


BACKENDS = pytest.mark.parametrize("script", ["", NO_KEY], ids=["openrouter", "huggingface"])


@BACKENDS
@pytest.mark.parametrize("ask", [invoked, ainvoked, streamed, astreamed])
def test_tools_are_called_alike_on_both_backends(start, script, ask):
    start(script)
    message = ask(llm.chat_model(MODEL).bind_tools([paint], parallel_tool_calls=False), QUESTION)
    (call,) = message.tool_calls
    assert (call["name"], call["args"]) == ("paint", {"colour": "red", "number": 7})
    assert message.response_metadata["finish_reason"] == "tool_calls"
    assert words("backend")[-1] == ("huggingface" if script else "openrouter")


SCHEMAS = {"class": Report, "typed": ReportDict, "json": Report.model_json_schema()}


@BACKENDS
@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
@pytest.mark.parametrize("ask", [invoked, ainvoked, streamed, astreamed])
def test_an_answer_comes_in_a_schema(start, script, schema, method, ask):
    start(script)
    model = llm.chat_model(MODEL)
    found = ask(model.with_structured_output(SCHEMAS[schema], method=method, include_raw=True), QUESTION)
    assert isinstance(found["raw"], AIMessage)
    assert found["parsing_error"] is None
    assert found["parsed"] == (REPORT if schema == "class" else REPORT.model_dump())
    assert llm.attempts(found["raw"])["outcome"].iloc[-1] == "ok"
    plain = model.with_structured_output(SCHEMAS[schema], method=method)
    *_, last = [plain.invoke(QUESTION)] if ask in (invoked, ainvoked) else plain.stream(QUESTION)
    assert last == found["parsed"]


@BACKENDS
@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("schema", [Colours, Colours.model_json_schema()], ids=["class", "json"])
@pytest.mark.parametrize("ask", [invoked, ainvoked])
def test_an_answer_comes_as_json(start, script, include_raw, schema, ask):
    start(script)
    model = llm.chat_model(MODEL).with_structured_output(schema, method="json_mode", include_raw=include_raw)
    found = ask(model, "A JSON with the keys 'red' and 'blue'")
    found = found["parsed"] if include_raw else found
    told = found.model_dump() if schema is Colours else found
    assert told.keys() == {"red", "blue"}


def test_what_does_not_fit_the_schema_is_reported_beside_the_raw_message(start):
    start()
    model = llm.chat_model(MODEL).with_structured_output(Report, method="json_mode", include_raw=True)
    found = model.invoke("anything")
    assert found["parsed"] is None
    assert found["parsing_error"] is not None
    assert llm.attempts(found["raw"])["outcome"].tolist() == ["ok"]
