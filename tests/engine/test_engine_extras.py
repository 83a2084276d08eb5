"""What we add to a request is ours to leave out: refused, it is asked again without at once, and remembered."""

from __future__ import annotations

import pandas as pd
import pytest
from doors import DOORS
from refusals import SCHEMA, STREAM_OPTIONS, UNRELATED
from refusing import MODEL, NAME, answering, said
from rehearsing import TOOL, assert_log_is_what_the_server_saw, fresh, words
from tenacity import wait_fixed, wait_none

import llm_executor_nb as llm
from llm_executor_nb.core.verdicts.added_parameters import parameters_named_in
from llm_executor_nb.rehearsal.catalogue import find_fault, special_themes
from llm_executor_nb.testing import frozen_clock

USAGE_FAULTS = special_themes()["streams that should include their usage"]
GOOD = '{"n": 1}'
WANTED = {"n": int}
FAILED = (500, {"error": "Internal Server Error"})


@pytest.fixture(autouse=True)
def _quick():
    with fresh():
        llm.retry_wait_strategy = wait_none()
        yield


def refusing(name, refusal):
    """Refuse what has a field, and answer the rest."""
    return lambda body: refusal if name in body else (200, said(body, GOOD))


def sent(server):
    """Return what was added to each request."""
    return [set(body) & {"response_format", "stream_options"} for body in server.bodies]


def streamed(**options):
    return "".join(chunk.content for chunk in llm.stream_llm(MODEL, "how many?", **options))


def column(rows):
    llm.retry_wait_strategy = wait_fixed(3)
    frame = pd.DataFrame({"t": [f"row {number}" for number in range(rows)]})
    return frame.llm.run(MODEL, "t", schema=WANTED, progress=False)


def states(out):
    return {name: count for name, count in out["t_llm_status"].value_counts().to_dict().items() if count}


# --- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", SCHEMA)
def test_a_refused_schema_is_asked_in_words_at_once_and_remembered(form):
    with answering(refusing("response_format", SCHEMA[form])) as server:
        for _ in range(2):
            assert llm.run_llm(MODEL, "how many?", schema=WANTED).additional_kwargs["parsed"] == {"n": 1}
    assert words("outcome") == ["unsupported", "ok", "ok"]
    assert llm.attempts()["wait_s"].tolist() == [0, 0, 0]
    assert sent(server) == [{"response_format"}, set(), set()]
    assert llm.health().empty


@pytest.mark.parametrize("form", STREAM_OPTIONS)
def test_refused_stream_options_are_left_out_at_once_and_remembered(form):
    with answering(refusing("stream_options", STREAM_OPTIONS[form])) as server:
        assert [streamed(), streamed()] == [GOOD, GOOD]
    assert words("outcome") == ["unsupported", "ok", "ok"]
    assert sent(server) == [{"stream_options"}, set(), set()]
    assert llm.attempts()["input_tokens"].isna().all()
    assert llm.health().empty


@pytest.mark.parametrize("form", UNRELATED)
def test_a_refusal_of_something_else_is_not_taken_for_one(form):
    with answering(lambda _: UNRELATED[form]) as server:
        with pytest.raises(llm.LLMExecutorError):
            streamed(schema=WANTED, tools=[TOOL])
        llm.reset_health()
        with pytest.raises(llm.LLMExecutorError):
            streamed(schema=WANTED, tools=[TOOL])
    assert sent(server) == [{"response_format", "stream_options"}] * 2
    assert "unsupported" not in words("outcome")


@pytest.mark.parametrize("door", ["stream", "astream"])
def test_both_are_left_out_one_after_the_other(door):
    def answer(body):
        refused = [name for name in ("stream_options", "response_format") if name in body]
        return (400, {"error": f"unknown: {refused[0]}"}) if refused else (200, said(body, GOOD))

    with answering(answer) as server:
        assert DOORS[door](MODEL, "how many?", schema=WANTED).additional_kwargs["parsed"] == {"n": 1}
    assert sent(server) == [{"response_format", "stream_options"}, {"response_format"}, set()]
    assert words("outcome") == ["unsupported", "unsupported", "ok"]


def test_a_refusal_that_stays_is_what_it_is():
    with answering(lambda _: SCHEMA["DeepSeek"]) as server, pytest.raises(llm.AllRoutesFailedError, match="leave that"):
        llm.run_llm(MODEL, "how many?", schema=WANTED)
    assert sent(server) == [{"response_format"}, set()]


def test_a_response_format_of_the_users_own_is_theirs():
    refused = answering(refusing("response_format", SCHEMA["DeepSeek"]))
    with refused as server, pytest.raises(llm.AllRoutesFailedError, match="leave that out"):
        llm.run_llm(MODEL, "how many?", response_format={"type": "json_object"})
    assert len(server.bodies) == 1


@pytest.mark.parametrize("change", [llm.reset_health, lambda: None])
def test_a_reset_or_a_changed_backend_lets_it_be_sent_again(change):
    for _ in range(2):
        with answering(refusing("stream_options", STREAM_OPTIONS["Azure"])) as server:
            streamed()
            change()
            streamed()
        assert sent(server)[0] == {"stream_options"}
    assert len(server.bodies) == (4 if change is llm.reset_health else 3)


@pytest.mark.parametrize(
    "told",
    [
        None,
        3,
        [[[[[["response_format"]]]]]],
        {"error": {"a": "[" * 5000}},
        {"error": "{" * 5000},
        {"loc": [None, 1.5]},
        {"a": float("nan")},
    ],
)
def test_whatever_an_error_is_it_is_read(told):
    assert isinstance(parameters_named_in(told), frozenset)


def test_an_error_as_deep_as_json_goes_is_read():
    deep = "response_format"
    for _ in range(900):
        deep = {"error": deep}
    assert parameters_named_in(deep) == frozenset()


# --- failures without a word ------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [FAILED, (502, "<html>"), (200, {"choices": []}), (200, said({}, ""))])
def test_a_column_whose_schema_fails_without_a_word_is_answered_in_words(failure):
    with frozen_clock() as clock, answering(refusing("response_format", failure)) as server:
        out = column(200)
        seconds = clock.elapsed_s
    assert states(out) == {"ok": 200}
    assert sum(map(bool, sent(server))) <= 16
    assert seconds < 5
    assert llm.health().empty


def test_a_column_gets_all_its_rows_where_a_schema_is_a_503():
    with frozen_clock(), answering(refusing("response_format", (503, {"error": "Service Unavailable"}))) as server:
        out = column(200)
    assert states(out) == {"ok": 200}
    assert sum(map(bool, sent(server))) <= 48


def test_a_busy_server_is_asked_natively_all_along():
    replies = [None, *[(503, {"error": "Service Unavailable"})] * 3, None]
    with answering(lambda body: replies.pop(0) or (200, said(body, GOOD))) as server:
        for _ in range(2):
            llm.run_llm(MODEL, "how many?", schema=WANTED)
    assert sent(server) == [{"response_format"}] * 5


def test_rows_in_flight_may_each_be_refused_once():
    with frozen_clock(), answering(refusing("response_format", SCHEMA["llama-cpp-python"])) as server:
        out = column(200)
    assert states(out) == {"ok": 200}
    assert sum(map(bool, sent(server))) <= 16
    assert set(words("outcome")) <= {"unsupported", "ok"}


def test_a_failure_that_comes_and_goes_leaves_a_column_asking_natively():
    seen = []

    def answer(body):
        seen.append(body)
        return FAILED if len(seen) <= 3 or len(seen) % 40 == 0 else (200, said(body, GOOD))

    with frozen_clock(), answering(answer) as server:
        out = column(100)
    assert states(out) == {"ok": 100}
    assert sum(map(bool, sent(server))) > 90


def test_an_outage_is_not_laid_to_the_format():
    with frozen_clock() as clock, answering(lambda _: FAILED) as server:
        server.answer = lambda body: FAILED if clock.elapsed_s < 4 else (200, said(body, GOOD))
        out = column(60)
    assert states(out) == {"ok": 60}
    assert words("outcome").count("server_error") <= 48
    assert sum(map(bool, sent(server))) > 40


def test_by_hand_the_usage_is_given_up_after_two_failures_and_remembered_if_that_helps():
    with answering(refusing("stream_options", FAILED)) as server:
        assert [streamed(), streamed()] == [GOOD, GOOD]
    assert sent(server) == [{"stream_options"}] * 2 + [set()] * 2


def test_where_a_usage_once_came_a_failure_is_no_reason_to_give_it_up():
    replies = [None, *[FAILED] * 2, None, None]
    with answering(lambda body: replies.pop(0) or (200, said(body, GOOD))) as server:
        assert [streamed(), streamed(), streamed()] == [GOOD] * 3
    assert sent(server) == [{"stream_options"}] * 5


# --- by the user's wish -----------------------------------------------------------------------------------------


def test_none_in_extra_body_leaves_stream_options_out():
    with answering(lambda body: (200, said(body, GOOD))) as server:
        assert streamed(extra_body={NAME: {"stream_options": None, "top_k": None, "min_p": 0.1}}) == GOOD
        assert llm.attempts()["output_tokens"].isna().all()
        assert streamed() == GOOD
    assert sent(server) == [set(), {"stream_options"}]
    assert "top_k" not in server.bodies[0]
    assert server.bodies[0]["min_p"] == 0.1
    assert llm.attempts()["output_tokens"].tolist()[1] == 2


@pytest.mark.parametrize("value", [{"include_usage": False}, False])
def test_anything_else_for_stream_options_is_refused(value):
    refused = pytest.raises(llm.ConfigError, match="'stream_options': None asks for no usage")
    with answering(lambda body: (200, said(body, GOOD))) as server, refused:
        streamed(extra_body={NAME: {"stream_options": value}})
    assert not server.bodies


# --- rehearsed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["openrouter", "huggingface"])
@pytest.mark.parametrize("name", USAGE_FAULTS)
def test_the_fault_has_a_name_and_the_log_has_what_the_server_saw(name, backend):
    assert find_fault(name) is USAGE_FAULTS[name]
    with llm.rehearse(f"{backend}: {name}", openrouter_keys=int(backend == "openrouter")) as server:
        llm.MODEL_INFERENCE_PROVIDERS["my/model"] = ["a"]
        for _ in range(2):
            assert list(llm.stream_llm("my/model", "hello"))
        llm.run_llm("my/model", "hello")
        assert words("outcome") == ["unsupported", "ok", "ok", "ok"]
        assert_log_is_what_the_server_saw(server)
