"""Faults by what is under way or was said: servers that take few at once, that choke, that want reasoning back."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from columns import MODEL, PROVIDERS, assert_own_answers, prompts, run, statuses
from rehearsing import assert_log_is_what_the_server_saw, fresh, settle

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Reply
from llm_executor_nb.core.verdicts.classify import classify
from llm_executor_nb.rehearsal.catalogue import find_fault
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.testing import frozen_clock

KEYS = ["sk-or-v1-fake-0001", "sk-or-v1-fake-0002"]
BACKENDS = ["openrouter", "huggingface"]
ONLY_ROUTE = {"openrouter_keys": 1, "huggingface_tokens": 0}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
DETAILS = [{"type": "reasoning.encrypted", "data": "c2lnbmF0dXJl", "index": 0}]
BUSY = "server busy, please try again.  maximum pending requests exceeded"
UNSIGNED = (
    "Gemini models require OpenRouter reasoning details to be preserved in each request. Function call is missing a "
    "thought_signature."
)


def _said(*texts):
    return [{"role": "user", "content": text} for text in texts]


def _ask(url, *conversations, wait_s=30.0, **more):
    """Ask all at once, with two keys in turn; return a Reply each, or None where it did not come in time."""

    async def post(session, number, messages):
        headers = {"Authorization": f"Bearer {KEYS[number % 2]}"}
        body = {"model": MODEL, "messages": messages, **more}
        try:
            async with session.post(f"{url}/chat/completions", json=body, headers=headers) as reply:
                told = {name.lower(): value for name, value in reply.headers.items()}
                return Reply(status=reply.status, headers=told, body=await reply.read())
        except TimeoutError:
            return None

    async def gather():
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(wait_s)) as session:
            return await asyncio.gather(*(post(session, *told) for told in enumerate(conversations)))

    return asyncio.run(gather())


def _url(server, backend):
    return getattr(server, f"{backend}_url")


def _words(reply):
    error = json.loads(reply.body)["error"]
    return error if isinstance(error, str) else error["message"]


def _outcome(reply, backend):
    return classify(reply, backend=backend, now_utc=clock.current().utc()).outcome


# --- at-once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("options", "status", "outcome"), [("", 503, Outcome.OVERLOADED), (" 429", 429, Outcome.RATE_LIMITED)]
)
def test_a_server_takes_so_many_at_once_whatever_the_key_and_refuses_the_rest(options, status, outcome, backend):
    with RehearsalServer(f"{backend}: at-once=6{options}, latency=0.5") as server:
        replies = _ask(_url(server, backend), *[_said(f"Row {n}") for n in range(20)])
        lines = server.lines
        again = _ask(_url(server, backend), *[_said("Again")] * 6)
    refused = [reply for reply in replies if reply.status == status]
    assert [reply.status for reply in replies].count(200) == 6
    assert len(refused) == 14
    assert {(_words(reply), _outcome(reply, backend)) for reply in refused} == {(BUSY, outcome)}
    assert not any("retry-after" in reply.headers for reply in refused)
    assert [(line.status, line.fault) for line in lines].count((status, "at-once")) == 14
    assert len({line.key for line in lines if line.status == 200}) == 2
    assert [reply.status for reply in again] == [200] * 6


def test_a_refusal_does_not_wait_for_the_latency():
    with RehearsalServer("*: latency=60, at-once=2") as server:
        replies = _ask(server.openrouter_url, *[_said("Hello?")] * 5, wait_s=2)
    assert sorted(reply.status if reply else 0 for reply in replies) == [0, 0, 503, 503, 503]


def test_a_client_that_leaves_frees_its_place():
    with RehearsalServer("*: at-once=1, latency=60*1") as server:
        assert _ask(server.openrouter_url, _said("Hello?"), wait_s=0.1) == [None]
        settle(server)
        [then] = _ask(server.openrouter_url, _said("Hello?"))
        assert [line.fault for line in server.lines] == ["client left", None]
    assert then.status == 200


def test_a_stream_keeps_its_place_until_it_ends():
    with RehearsalServer("*: at-once=1, pace=0.02") as server:
        first = _ask(server.openrouter_url, *[_said("Hello?")] * 3, stream=True)
        then = _ask(server.openrouter_url, _said("Hello?"), stream=True)
    assert sorted(reply.status for reply in first) == [200, 503, 503]
    assert then[0].status == 200


def test_each_backend_counts_its_own_requests():
    async def both(server):
        asked = (asyncio.to_thread(_ask, _url(server, backend), *[_said("Hello?")] * 4) for backend in BACKENDS)
        return await asyncio.gather(*asked)

    with RehearsalServer("*: at-once=2, latency=0.5") as server:
        for replies in asyncio.run(both(server)):
            assert sorted(reply.status for reply in replies) == [200, 200, 503, 503]


def test_a_refusal_can_say_when_to_come_again():
    with RehearsalServer("*: at-once=1 429 retry-after=1, latency=0.2") as server:
        replies = _ask(server.openrouter_url, *[_said("Hello?")] * 3)
    assert sorted((reply.status, reply.headers.get("retry-after")) for reply in replies if reply.status != 200) == [
        (429, "1"),
        (429, "1"),
    ]


@pytest.mark.parametrize("options", ["", " 429"])
def test_a_column_loses_no_row_at_a_server_that_takes_six_at_once(options):
    with fresh(), llm.rehearse(f"openrouter: at-once=6{options}, latency=0.05", **ONLY_ROUTE) as server:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = PROVIDERS
        with frozen_clock():
            out = run(prompts(60))
            assert_log_is_what_the_server_saw(server, in_order=False)
        assert {line.fault for line in server.lines} == {None, "at-once"}
    assert statuses(out) == {"ok": 60}
    assert_own_answers(out)


# --- chokes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_a_word_in_the_last_message_makes_a_server_choke(backend):
    parts = [{"role": "user", "content": [{"type": "text", "text": "a <BAD> part"}]}]
    tool = [*_said("Hello?"), {"role": "tool", "tool_call_id": "c1", "content": "a <BAD> result"}]
    with RehearsalServer("*: chokes=<BAD>") as server:
        choked = _ask(_url(server, backend), _said("one <BAD>."), _said("fine", "<BAD>"), parts, tool)
        fine = _ask(_url(server, backend), _said("one BAD."), _said("<BAD>", "fine"), [])
        faults = [line.fault for line in server.lines]
    assert {(reply.status, _words(reply), _outcome(reply, backend)) for reply in choked} == {
        (500, "Internal Server Error", Outcome.SERVER_ERROR)
    }
    assert [reply.status for reply in fine] == [200] * 3
    assert faults == ["chokes"] * 4 + [None] * 3


@pytest.mark.parametrize("keys", [ONLY_ROUTE, {}], ids=["one-route", "all-routes"])
def test_rows_that_a_server_chokes_on_fail_alone_and_with_their_own_words(keys):
    frame = prompts(60)
    bad = frame.index % 10 == 3
    frame.loc[bad, "q"] += " BAD"
    with fresh(), llm.rehearse("*: chokes=BAD, latency=0.01", **keys) as server:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = PROVIDERS
        with frozen_clock():
            out = run(frame)
            assert_log_is_what_the_server_saw(server, in_order=False)
    assert statuses(out) == {"ok": 54, "failed": 6}
    assert (out.loc[bad, "q_llm_status"] == "failed").all()
    assert out.loc[bad, "q_llm_error"].str.contains("Internal Server Error").all()
    assert not out.loc[bad, "q_llm_error"].str.contains("on hold").any()
    assert_own_answers(out)


# --- wants-reasoning ----------------------------------------------------------------------------------------------


def _called(**more):
    answer = {"role": "assistant", "content": None, "tool_calls": [CALL], **more}
    return [*_said("Weather?"), answer, {"role": "tool", "tool_call_id": "c1", "content": "sunny"}]


def test_a_tool_call_that_comes_back_without_its_reasoning_is_refused():
    known = find_fault("wants-reasoning").finding.outcome
    refused = [_called(), _called(reasoning_details=[]), [*_called(), *_called(reasoning_details=DETAILS)]]
    fine = [_called(reasoning_details=DETAILS), _said("Hello?"), [{"role": "assistant", "content": "Hi"}, *_said("?")]]
    with RehearsalServer("*: wants-reasoning") as server:
        told = _ask(server.openrouter_url, *refused)
        answered = _ask(server.openrouter_url, *fine)
        elsewhere = _ask(server.huggingface_url, _called())
    for reply in told:
        assert (reply.status, _outcome(reply, "openrouter")) == (400, known)
        assert json.loads(reply.body)["error"]["metadata"]["raw"] == UNSIGNED
    assert [reply.status for reply in (*answered, *elsewhere)] == [200] * 4


def test_what_is_refused_without_its_reasoning_is_said_in_the_providers_words():
    with fresh(), frozen_clock(), llm.rehearse("*: wants-reasoning", **ONLY_ROUTE) as server:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = PROVIDERS
        with pytest.raises(llm.RequestError, match="missing a thought_signature"):
            llm.run_llm(MODEL, _called())
        assert llm.run_llm(MODEL, _called(reasoning_details=DETAILS)).content
        assert_log_is_what_the_server_saw(server)
