"""Nobody pays for another's fault: what one request needs, costs or is never holds another one.

Two practice clouds over real HTTP, whose first one refuses a kind of request and takes all others.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from refusing import clouds, said
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.testing import frozen_clock

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
MODEL = "my/model"
ANSWER = '{"n": 1}'


def asks_with(part):
    return [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, part]}]


def refusing(needs, status, words):
    """Return a cloud that refuses the requests for which `needs` holds, and answers all others."""

    def answer(body):
        if needs(body):
            return status, {"error": {"message": words, "code": status}}
        return 200, said(body, ANSWER)

    return answer


def has_part(kind):
    return lambda body: any(
        part["type"] == kind
        for message in body["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
    )


def has(name):
    return lambda body: name in body


KINDS = {
    "a picture": (has_part("image_url"), 404, "No endpoints found that support image input", asks_with(PICTURE), {}),
    "a sound": (has_part("input_audio"), 400, "This model does not support audio input.", asks_with(SOUND), {}),
    "a tool": (has("tools"), 404, "No endpoints found that support tool use.", "hello", {"tools": [TOOL]}),
    "a parameter": (has("seed"), 400, "seed is not supported with this model", "hello", {"seed": 7}),
    "a schema": (has("response_format"), 400, "response_format is not supported", "hello", {"schema": {"n": int}}),
    "a policy": (
        has("provider"),
        404,
        "No endpoints found matching your data policy. Configure: https://openrouter.ai/settings/privacy",
        "hello",
        {"extra_body": {"openrouter": {"provider": {"zdr": True}}}},
    ),
    "a large price": (
        has("max_tokens"),
        402,
        "This request requires more credits, or fewer max_tokens. You requested up to 9000, but can only afford 99.",
        "hello",
        {"max_tokens": 9000},
    ),
    "odd words": (lambda body: body["messages"][-1]["content"] == "odd", 418, "I will not.", "odd", {}),
}


@pytest.fixture(autouse=True)
def _settings():
    with fresh():
        llm.configure(ledger=None)
        yield


@pytest.fixture(params=KINDS, ids=[kind.replace(" ", "-") for kind in KINDS])
def case(request):
    return KINDS[request.param]


def test_plain_calls_are_never_held_beside_one_that_is_refused(case):
    """200 rounds in 8 threads."""
    needs, status, words, request, more = case
    answers = []
    with clouds(refusing(needs, status, words), refusing(lambda _: False, 0, "")) as (first, _):

        def round_of(number):
            if number % 4 == 0:
                answers.append(llm.run_llm(MODEL, request, **more).content)
            else:
                message = llm.run_llm(MODEL, f"plain {number}")
                answers.append(message.content)
                log = llm.attempts(message)
                assert log[["backend", "outcome"]].to_numpy().tolist() == [["openrouter", "ok"]]

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(round_of, range(200)))
        assert len(answers) == 200
        assert len(first.bodies) >= 150


def test_a_row_that_is_refused_takes_no_other_row_along(case):
    needs, status, words, request, more = case
    if more:
        pytest.skip("all rows of a column share their parameters")
    with clouds(refusing(needs, status, words), None):
        cells = [f"plain {row}" for row in range(40)]
        cells[0] = request
        with frozen_clock() as clock:
            out = pd.DataFrame({"p": pd.Series(cells, dtype=object)}).llm.run(MODEL, "p", progress=False)
            assert clock.elapsed_s < 60
        assert out["p_llm_status"].tolist() == ["failed"] + ["ok"] * 39
        assert llm.run_llm(MODEL, "plain, later").content == ANSWER
        assert llm.health().empty or not llm.health()["model"].isna().any()


def test_three_requests_in_a_row_that_a_key_cannot_pay_for_condemn_it():
    needs, status, words, request, more = KINDS["a large price"]
    with clouds(refusing(needs, status, words), refusing(lambda _: False, 0, "")) as (first, _):
        for number in range(5):
            llm.run_llm(MODEL, request, **more)
            assert len(first.bodies) == min(number + 1, 3)
        assert llm.health()["why"].tolist() == ["quota"]


def test_an_answer_between_shows_that_the_key_can_pay():
    needs, status, words, request, more = KINDS["a large price"]
    with clouds(refusing(needs, status, words), refusing(lambda _: False, 0, "")):
        for _ in range(3):
            for _ in range(2):
                llm.run_llm(MODEL, request, **more)
            llm.run_llm(MODEL, "plain")
        assert llm.health().empty


def test_a_key_that_has_answered_another_model_is_not_condemned_for_this_one():
    with clouds(refusing(lambda body: body["model"] == MODEL, 401, "Invalid API key"), None):
        llm.models.add("other/model", providers=[])
        assert llm.run_llm("other/model", "hello").content == ANSWER
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "hello")
        assert llm.run_llm("other/model", "hello").content == ANSWER


def test_what_two_providers_refuse_is_the_request_s_fault_and_none_is_held():
    with clouds(refusing(lambda _: True, 400, "no such thing"), refusing(lambda _: True, 422, "nor here")) as servers:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["a", "b", "c"]
        with pytest.raises(llm.RequestError, match="nor here"):
            llm.run_llm(MODEL, "hello")
        assert [len(server.bodies) for server in servers] == [1, 1]
        assert llm.health().empty


def test_a_row_does_not_fail_while_it_has_time_and_another_s_probe_is_out():
    """Six rows, two keys that say 429 for a second, a deadline of six."""
    with frozen_clock() as clock:

        def limited(body):
            if clock.elapsed_s < 1:
                return 429, {"error": {"message": "Too many requests", "code": 429}}
            return 200, said(body, ANSWER)

        with clouds(limited, None, keys=2):
            frame = pd.DataFrame({"p": [f"row {row}" for row in range(6)]})
            out = frame.llm.run(MODEL, "p", deadline=6, progress=False)
    assert out["p_llm_status"].tolist() == ["ok"] * 6


@pytest.mark.parametrize("retries", [0, 3])
def test_answers_paid_in_vain_are_bounded_in_the_whole_run(retries):
    llm.configure(retries=retries)
    wrong = refusing(lambda _: False, 0, "")
    with clouds(wrong, wrong, keys=3) as (first, second), frozen_clock():
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "hello", accept=lambda _: False)
        sent = [len(first.bodies), len(second.bodies)]
    assert sum(sent) == 1 + retries
    assert max(llm.attempts()["route"].value_counts()) <= 2


def test_a_job_of_which_no_answer_is_of_use_ends_after_twenty_rows():
    with clouds(refusing(lambda _: False, 0, ""), None) as (first, _), frozen_clock():
        frame = pd.DataFrame({"p": [f"row {row}" for row in range(200)]})
        with pytest.warns(llm.LLMExecutorWarning, match="rows in a row failed for the same reason"):
            out = frame.llm.run(MODEL, "p", accept=lambda _: False, concurrency=4, progress=False)
        assert out["p_llm_status"].value_counts()["cancelled"] >= 130
        assert len(first.bodies) <= 2 * 70


def test_a_budget_that_ends_after_the_last_row_says_nothing(recwarn):
    with frozen_clock() as clock:

        def slow(body):
            clock.advance(10)
            return 200, said(body, ANSWER)

        with clouds(slow, None):
            out = pd.DataFrame({"p": ["one"]}).llm.run(MODEL, "p", budget_s=5, progress=False)
    assert out["p_llm_status"].tolist() == ["ok"]
    assert not recwarn.list
