"""An attempt says who served it, at which tier, and what was cached or thought; what no reply says is missing."""

from __future__ import annotations

import importlib.util
import json

import pandas as pd
import pytest
from backing import only
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from loopback import DONE, MODEL, served_by
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.testing import frozen_clock

SERVED = ["upstream", "service_tier", "cached_tokens", "reasoning_tokens", "generation_id"]
NOTHING = dict.fromkeys(SERVED)
METADATA = {"endpoints": {"available": [{"provider": "Novita"}, {"provider": "Together", "selected": True}]}}
TWO = {"endpoints": {"available": [{"provider": name, "selected": True} for name in ("Novita", "Together")]}}
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 9,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


def _served(log):
    """Return what the last attempt of a log says of who served it."""
    row = log[SERVED].iloc[-1]
    return {name: None if pd.isna(row[name]) else row[name] for name in SERVED}


def _http(body, kind, *headers, status="200 OK"):
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _whole(said, *headers):
    message = {"role": "assistant", "content": "Hello"}
    body = {"model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": message}], **said}
    return _http(json.dumps(body).encode(), "application/json", *headers)


def _event(said, text="", reason=None):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return b"data: " + json.dumps({"model": "m", "choices": [choice], **said}).encode() + b"\n\n"


def _stream(first, last, *headers):
    events = _event(first, "Hel") + _event({}, "lo") + _event(last, reason="stop") + DONE
    return _http(events, "text/event-stream", *headers)


def _asked(reply, ask=llm.run_llm):
    with served_by(lambda connection: connection.sendall(reply)):
        answer = ask(MODEL, "x")
        return _served(llm.attempts(answer))


def _streamed(model, question):
    chunks = list(llm.stream_llm(model, question))
    return chunks[-1]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, {}),
        ({"provider": "Deep Infra"}, {"upstream": "Deep Infra"}),
        ({"provider": "Nebius", "openrouter_metadata": METADATA}, {"upstream": "Nebius"}),
        ({"provider": None, "openrouter_metadata": METADATA}, {"upstream": "Together"}),
        ({"openrouter_metadata": TWO}, {}),
        ({"openrouter_metadata": {"endpoints": {"available": [{"provider": "Novita"}]}}}, {}),
        ({"provider": "  ", "openrouter_metadata": "off", "service_tier": ""}, {}),
        ({"provider": {"name": "x"}, "openrouter_metadata": {"endpoints": [1]}}, {}),
        ({"service_tier": "flex"}, {"service_tier": "flex"}),
        ({"usage": USAGE}, {"cached_tokens": 4, "reasoning_tokens": 0}),
        ({"usage": {**USAGE, "prompt_tokens_details": None}}, {"reasoning_tokens": 0}),
        ({"id": "gen-1"}, {"generation_id": "gen-1"}),
        ({"id": "chatcmpl-1"}, {}),
    ],
    ids=json.dumps,
)
def test_whole_replies_and_streams_say_it_alike_in_their_first_or_their_last_event(said, told):
    expected = {**NOTHING, **told}
    assert _asked(_whole(said)) == expected
    assert _asked(_stream(said, {}), _streamed) == expected
    assert _asked(_stream({}, said), _streamed) == expected
    # a server may send events where a whole reply was asked for, and the other way round
    assert _asked(_stream({}, said)) == expected
    assert _asked(_whole(said), _streamed) == expected


def test_the_header_with_the_generation_id_counts_before_the_body():
    header = "X-Generation-Id: gen-header"
    assert _asked(_whole({"id": "gen-body"}, header))["generation_id"] == "gen-header"
    assert _asked(_stream({"id": "gen-body"}, {}, header), _streamed)["generation_id"] == "gen-header"


def test_an_error_names_the_provider_that_it_is_from_and_a_broken_stream_what_it_had_said():
    refusal = {"error": {"code": 400, "message": "no", "metadata": {"provider_name": "Nebius"}}}
    reply = _http(json.dumps(refusal).encode(), "application/json", "X-Generation-Id: gen-2", status="400 Bad Request")
    with served_by(lambda connection: connection.sendall(reply)), pytest.raises(llm.RequestError) as refused:
        llm.run_llm(MODEL, "x")
    assert _served(llm.attempts(refused.value)) == {**NOTHING, "upstream": "Nebius", "generation_id": "gen-2"}
    broken = _http(_event({"provider": "Together", "service_tier": "flex"}, "Hel"), "text/event-stream")
    with served_by(lambda connection: connection.sendall(broken)), pytest.raises(llm.StreamInterruptedError) as cut:
        list(llm.stream_llm(MODEL, "x"))
    assert _served(llm.attempts(cut.value)) == {**NOTHING, "upstream": "Together", "service_tier": "flex"}


def test_on_hugging_face_it_is_the_provider_that_answered_and_no_one_where_none_did():
    with frozen_clock(), llm.rehearse("openrouter: down; huggingface/a: 503"):
        log = llm.attempts(llm.run_llm(MODEL, "x"))
    assert log[["provider", "upstream"]].fillna("").drop_duplicates().to_numpy().tolist() == [
        ["", ""],
        ["a", ""],
        ["b", "b"],
    ]


def test_where_hugging_face_chose_the_provider_nothing_is_guessed():
    with llm.rehearse(openrouter_keys=0):
        for word in (":fastest", "Auto"):
            llm.MODEL_INFERENCE_PROVIDERS[MODEL] = [word]
            assert _served(llm.attempts(llm.run_llm(MODEL, "x")))["upstream"] is None


def test_a_model_object_says_what_its_metadata_says():
    details = {"input_token_details": {"flex_cache_read": 2}, "output_token_details": {"flex_reasoning": 1}}
    usage = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8, **details}
    metadata = {"provider": "Novita", "service_tier": "flex", "id": "gen-3", "finish_reason": "stop"}
    told = {
        "upstream": "Novita",
        "service_tier": "flex",
        "cached_tokens": 2,
        "reasoning_tokens": 1,
        "generation_id": "gen-3",
    }
    full = AIMessage("Hello", response_metadata=metadata, usage_metadata=usage)
    for message, expected in ((full, told), (AIMessage("Hello"), NOTHING)):
        only("mine", chat_model=GenericFakeChatModel(messages=iter([message])))
        assert _served(llm.attempts(llm.run_llm("m", "x"))) == expected


def test_chat_models_columns_and_stored_answers_have_it_too(tmp_path):
    llm.configure(ledger=tmp_path / "ledger.sqlite")
    with llm.rehearse():
        assert _served(llm.attempts(llm.chat_model(MODEL).invoke("x")))["upstream"] == "Practice"
    frame = pd.DataFrame({"q": ["a", "b"]})
    with served_by(lambda connection: connection.sendall(_whole({"provider": "Together", "usage": USAGE}))):
        frame.llm.run(MODEL, "q", progress=False)
        again = frame.llm.run(MODEL, "q", progress=False)
    assert again["q_llm_status"].tolist() == ["cached", "cached"]
    assert again.llm.attempts()[["upstream", "cached_tokens"]].to_numpy().tolist() == [["Together", 4]] * 2
    if importlib.util.find_spec("pyarrow") is None:  # the README's test line does without this extra
        return
    again.llm.attempts().to_parquet(tmp_path / "log.parquet")
    llm.ledger.export(tmp_path / "ledger.parquet")
    for name in ("log", "ledger"):
        read = pd.read_parquet(tmp_path / f"{name}.parquet")
        pd.testing.assert_frame_equal(read[SERVED], again.llm.attempts()[SERVED], check_dtype=False)
        assert read["upstream"].tolist() == ["Together", "Together"]


def test_displays_show_it_where_it_is_known():
    with frozen_clock(), llm.rehearse("openrouter: 503*1"):
        log = llm.attempts(llm.run_llm(MODEL, "x"))
    for shown in (repr(log), log._repr_html_()):
        assert "upstream" in shown
        assert "Practice" in shown
    assert "  upstream  " not in repr(log[log["outcome"] != "ok"])
