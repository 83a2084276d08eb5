"""The chain as a LangChain model over a user's own backends, behind a key that fails: a server, and model objects."""

from __future__ import annotations

import asyncio

import pytest
from asking import QUESTION, REPORT, WAYS, Report, ainvoked, astreamed, invoked, paint, streamed
from backing import DEAD_KEY, OllamaLike, behind_a_key, practice_providers
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langgraph.prebuilt import create_react_agent
from rehearsing import fresh, seen_by, settle, words

import llm_executor_nb as llm
from llm_executor_nb.core import clock

FOUR_WAYS = pytest.mark.parametrize("ask", [invoked, ainvoked, streamed, astreamed])

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")  # it is what is tested


@pytest.fixture(autouse=True)
def practice():
    """Let every OpenRouter key be dead."""
    with fresh(), clock.use(clock.FrozenClock()), practice_providers() as start:
        llm.configure(huggingface_tokens=[])
        yield start(DEAD_KEY)


def backend(practice, kind, **fields):
    """Put a backend behind the dead key: a server like Ollama's, or an object like ChatOllama."""
    if kind == "server":
        behind_a_key(base_url=practice.own_url("mine"))
    else:
        behind_a_key(chat_model=OllamaLike(**fields))
    return llm.chat_model("m")


KINDS = pytest.mark.parametrize("kind", ["server", "object"])


@WAYS
@KINDS
def test_the_fallback_reaches_it_whichever_way_the_model_is_asked(practice, kind, ask):
    message = ask(backend(practice, kind), QUESTION)
    assert message.content == ("from Ollama" if kind == "object" else llm.run_llm("m", QUESTION).content)
    assert message.usage_metadata["output_tokens"] > 0
    attempts = llm.attempts(message)
    assert attempts["outcome"].tolist() == ["auth", "ok"]
    assert attempts["route"].tolist() == ["openrouter ..0001", "mine"]
    settle(practice)
    assert seen_by(practice)[0] == ("openrouter", "..0001", None, "m", 401)


@WAYS
def test_a_fake_list_is_reached_too(ask):
    behind_a_key(chat_model=FakeListChatModel(responses=["from a list"]))
    assert ask(llm.chat_model("m"), QUESTION).content == "from a list"
    assert words("outcome") == ["auth", "ok"]


@KINDS
@pytest.mark.parametrize("ask", [invoked, streamed])
def test_its_empty_answers_and_errors_are_outcomes(practice, kind, ask):
    model = backend(practice, kind, text="")
    if kind == "server":
        llm.add_backend("mine", base_url=practice.own_url("mine").replace("/own/", "/nothing/"))
    llm.configure(retries=0)
    with pytest.raises(llm.AllRoutesFailedError, match="mine"):
        ask(model, QUESTION)
    assert words("outcome") == ["auth", "empty" if kind == "object" else "not_found"]


@KINDS
@FOUR_WAYS
def test_tools_are_called(practice, kind, ask):
    model = backend(practice, kind, arguments=REPORT.model_dump())
    message = ask(model.bind_tools([paint]), QUESTION)
    (call,) = message.tool_calls
    assert (call["name"], call["args"]) == ("paint", {"colour": "red", "number": 7})
    assert words("outcome") == ["auth", "ok"]


@KINDS
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
@FOUR_WAYS
def test_an_answer_comes_in_a_schema(practice, kind, method, ask):
    model = backend(practice, kind, arguments=REPORT.model_dump(), text=REPORT.model_dump_json())
    found = ask(model.with_structured_output(Report, method=method, include_raw=True), QUESTION)
    assert found["parsed"] == REPORT
    assert llm.attempts(found["raw"])["route"].tolist()[-1] == "mine"


@FOUR_WAYS
def test_an_object_that_takes_no_tools_is_said_to_take_none(ask):
    behind_a_key(chat_model=FakeListChatModel(responses=["text"]))
    with pytest.raises(llm.AllRoutesFailedError, match="mine"):
        ask(llm.chat_model("m").bind_tools([paint]), QUESTION)
    assert words("outcome") == ["auth", "unsupported"]


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It rains in {city}."


@KINDS
@pytest.mark.parametrize("create", [create_agent, create_react_agent], ids=["langchain", "langgraph"])
@pytest.mark.parametrize("is_in_loop", [False, True])
def test_an_agent_completes(practice, kind, create, is_in_loop):
    model = backend(practice, kind, arguments={"city": "Paris"})
    agent = create(model, tools=[weather])
    question = {"messages": [("user", "What is the weather in 'Paris'?")]}
    messages = (asyncio.run(agent.ainvoke(question)) if is_in_loop else agent.invoke(question))["messages"]
    assert [type(message) for message in messages[1:]] == [AIMessage, ToolMessage, AIMessage]
    assert messages[2].content == "It rains in Paris."
    assert messages[3].content
    assert words("outcome") == ["auth", "ok", "ok"]  # the dead key is asked once


@KINDS
def test_a_chain_of_prompt_model_and_parser_streams(practice, kind):
    chain = ChatPromptTemplate.from_template("Say {word}.") | backend(practice, kind) | StrOutputParser()
    assert len(list(chain.stream({"word": "hello"}))) > 3
