"""Agents that LangChain and LangGraph build complete over a chain whose first key is dead and whose second falters."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel
from rehearsing import MODEL, assert_log_is_what_the_server_saw, fresh, words

import llm_executor_nb as llm
from llm_executor_nb.core import clock

SCRIPT = "openrouter[1]: 401; openrouter[2]: 503*1"
QUESTION = {"messages": [("user", "What is the weather in 'Paris'?")]}
OUTCOMES = ["auth", "overloaded", "ok", "ok"]
"""The dead key and the faltering one, then the tool call and the answer."""

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")  # it is what is tested


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It rains in {city}."


class Report(BaseModel):
    """A weather report."""

    city: str
    degrees: int


@pytest.fixture(autouse=True)
def server():
    """Run a test on such a chain, without waiting."""
    with fresh(), clock.use(clock.FrozenClock()), llm.rehearse(SCRIPT) as server:
        yield server
        assert_log_is_what_the_server_saw(server, in_order=False)


@pytest.fixture(params=[create_agent, create_react_agent], ids=["langchain", "langgraph"])
def agent(request):
    return request.param(llm.chat_model(MODEL, temperature=0), tools=[weather])


def assert_completed(messages):
    """A question, a tool call, its result, an answer."""
    assert [type(message) for message in messages[1:]] == [AIMessage, ToolMessage, AIMessage]
    assert messages[1].tool_calls[0]["args"] == {"city": "Paris"}
    assert messages[2].content == "It rains in Paris."
    assert "practice answer" in messages[3].content
    assert words("outcome") == OUTCOMES
    assert llm.attempts(messages[1])["outcome"].tolist() == OUTCOMES[:3]
    assert llm.attempts(messages[3])["outcome"].tolist() == OUTCOMES[3:]


def test_an_agent_completes(agent):
    assert_completed(agent.invoke(QUESTION)["messages"])


def test_an_agent_completes_in_an_event_loop(agent):
    assert_completed(asyncio.run(agent.ainvoke(QUESTION))["messages"])


def test_an_agent_completes_when_its_tokens_are_streamed(agent):
    *_, (_, last) = pieces = list(agent.stream(QUESTION, stream_mode=["messages", "values"]))
    assert_completed(last["messages"])
    assert_streamed([piece for mode, (piece, *_) in pieces if mode == "messages"], last["messages"])


def test_an_agent_completes_when_its_tokens_are_streamed_in_an_event_loop(agent):
    async def collect():
        return [piece async for piece in agent.astream(QUESTION, stream_mode=["messages", "values"])]

    *_, (_, last) = pieces = asyncio.run(collect())
    assert_completed(last["messages"])
    assert_streamed([piece for mode, (piece, *_) in pieces if mode == "messages"], last["messages"])


def assert_streamed(pieces, messages):
    """Tell whether the answer came in several pieces, once, and under the id of its message."""
    spoken = [piece for piece in pieces if isinstance(piece, AIMessageChunk) and piece.id == messages[3].id]
    assert len(spoken) > 3
    assert "".join(piece.content for piece in spoken) == messages[3].content
    assert not [piece for piece in pieces if type(piece) is AIMessage]


@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy])
def test_an_agent_answers_in_a_schema(strategy):
    agent = create_agent(llm.chat_model(MODEL), tools=[], response_format=strategy(Report))
    found = agent.invoke({"messages": [("user", "'Oslo' has 7 degrees")]})
    assert found["structured_response"] == Report(city="Oslo", degrees=7)
    assert words("outcome") == OUTCOMES[:3]


PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "Say {word}.")])


def test_a_chain_of_prompt_model_and_parser_answers():
    chain = PROMPT | llm.chat_model(MODEL) | StrOutputParser()
    assert "Say hello." in chain.invoke({"word": "hello"})
    assert words("outcome") == OUTCOMES[:3]


def test_a_chain_of_prompt_model_and_parser_streams():
    chain = PROMPT | llm.chat_model(MODEL) | StrOutputParser()
    pieces = list(chain.stream({"word": "hello"}))
    assert len(pieces) > 3
    assert "Say hello." in "".join(pieces)


def test_a_chain_answers_many_at_once_in_their_order():
    chain = PROMPT | llm.chat_model(MODEL) | StrOutputParser()
    questions = [{"word": f"number {number}"} for number in range(8)]
    for answers in (chain.batch(questions), asyncio.run(chain.abatch(questions))):
        assert [f"Say number {number}." in answer for number, answer in enumerate(answers)] == [True] * 8
