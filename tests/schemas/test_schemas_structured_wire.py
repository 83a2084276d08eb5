"""What goes over the wire for a schema: which form, where the words stand, and what a mistake is told with."""

from __future__ import annotations

import json
import logging
import pickle
import threading
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
from doors import DOORS
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from loopback import DONE, STREAM, says, served_by
from pydantic import BaseModel, field_validator
from rehearsing import MODEL, fresh, words
from tenacity import wait_fixed, wait_none

import llm_executor_nb as llm
from llm_executor_nb.schemas.prompting import as_asked
from llm_executor_nb.schemas.schema import make_schema
from llm_executor_nb.testing import fake_model

KEYS, TOKENS = ["sk-or-v1-wire-0001", "sk-or-v1-wire-0002"], ["hf_wiretoken0001"]
SCHEMA = {"colour": str, "number": int}
GOOD, BAD = '{"colour": "red", "number": 7}', '{"colour": "red"}'
PARSED = {"colour": "red", "number": 7}
QUESTION = {"role": "user", "content": "What is red?"}
INSTRUCTION = make_schema(SCHEMA).instruction
MISSING = "number: Field required"
REFUSED = (400, "response_format is not supported")


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        said = self.server.script.pop(0)
        status, answer = said if isinstance(said, tuple) else (200, said)
        choices = [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}]
        told = {"error": {"message": answer, "code": status}} if status != 200 else {"id": "1", "choices": choices}
        sent = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_):
        """Print nothing."""


@contextmanager
def _says(*script, keys=KEYS):
    """Let both backends be one server that says this, one reply after the other; gives the bodies it was sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.script, server.bodies, server.daemon_threads = list(script), [], True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        llm.configure(
            openrouter_keys=keys, huggingface_tokens=TOKENS, openrouter_base_url=url, huggingface_base_url=url
        )
        try:
            yield server.bodies
        finally:
            server.shutdown()
            thread.join(5)


@pytest.fixture(autouse=True)
def _quick():
    with fresh():
        llm.retry_wait_strategy = wait_none()
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["a", "b"]
        yield


def _form(body):
    return "native" if "response_format" in body else "words"


def _mistake(answer=BAD, told=MISSING):
    return [
        {"role": "assistant", "content": answer},
        {"role": "user", "content": f"That answer does not fit: {told}.\n"
         "Answer again, with one JSON object that fits and nothing else."},
    ]  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
def test_natively_the_messages_stay_as_they_are(door):
    with _says(GOOD) as bodies:
        assert DOORS[door](MODEL, "What is red?", schema=SCHEMA).additional_kwargs["parsed"] == PARSED
    assert bodies[0]["messages"] == [QUESTION]
    assert bodies[0]["response_format"] == make_schema(SCHEMA).response_format
    assert set(bodies[0]) - {"stream", "stream_options"} == {"model", "messages", "response_format"}


def test_in_words_the_instruction_ends_the_last_message_of_the_user():
    with _says(REFUSED, GOOD) as bodies:
        llm.run_llm(MODEL, "What is red?", schema=SCHEMA, system="Be brief.", temperature=0)
    assert [_form(body) for body in bodies] == ["native", "words"]
    system, last = bodies[1]["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert last == {"role": "user", "content": f"What is red?\n\n{INSTRUCTION}"}
    assert bodies[1]["temperature"] == 0


def test_in_words_an_image_keeps_its_part_and_an_answer_its_place():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [{"type": "text", "text": "What is this?"}, image]
    with _says(REFUSED, GOOD, GOOD) as bodies:
        llm.run_llm(MODEL, [HumanMessage(parts)], schema=SCHEMA)
        llm.run_llm(MODEL, [HumanMessage("a"), AIMessage("b")], schema=SCHEMA)
    assert bodies[1]["messages"][0]["content"] == [*parts, {"type": "text", "text": INSTRUCTION}]
    assert [one["content"] for one in bodies[2]["messages"]] == ["a", "b", INSTRUCTION]


def test_a_mistake_is_told_with_the_validators_words_and_only_the_last_one():
    with _says(BAD, '{"number": 1}', GOOD) as bodies:
        llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
    first, second, third = (body["messages"] for body in bodies)
    assert first == [QUESTION]
    answer, correction = second[1:]
    assert answer == {"role": "assistant", "content": BAD}
    assert correction == {"role": "user", "content": f"{_mistake()[1]['content']}\n\n{INSTRUCTION}"}
    assert [one["role"] for one in third] == ["user", "assistant", "user"]
    assert "colour: Field required" in third[2]["content"]
    assert {_form(body) for body in bodies} == {"native"}


def test_in_words_a_mistake_is_not_told_the_schema_twice():
    with _says(REFUSED, BAD, GOOD) as bodies:
        llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
    assert bodies[2]["messages"] == [*bodies[1]["messages"], *_mistake()]


def test_another_key_of_the_same_provider_is_told_and_another_provider_starts_afresh():
    with _says(BAD, BAD, (401, "no"), BAD, GOOD) as bodies:
        llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
    told = [len(body["messages"]) > 1 for body in bodies]
    assert words("route") == [*["openrouter ..0001"] * 2, "openrouter ..0002", *["huggingface/a ..0001"] * 2]
    assert told == [False, True, True, False, True]


def test_a_row_of_a_job_takes_its_mistake_along_to_the_key_that_is_free():
    llm.retry_wait_strategy = wait_fixed(60)
    with _says(BAD, GOOD) as bodies:
        out = pd.DataFrame({"q": ["What is red?"]}).llm.run(MODEL, "q", schema=SCHEMA, progress=False)
    assert words("route") == ["openrouter ..0001", "openrouter ..0002"]
    assert [len(body["messages"]) for body in bodies] == [1, 3]
    assert out[["colour", "number", "q_llm_attempts"]].to_numpy().tolist() == [["red", 7, "invalid_output, ok"]]


def test_prose_shows_that_the_format_is_ignored_and_the_retry_is_in_words():
    with _says("It is red.", GOOD, GOOD) as bodies:
        llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
        llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
    assert [_form(body) for body in bodies] == ["native", "words", "words"]


@pytest.mark.parametrize("failure", [(500, "Internal error"), None, "", (502, "<html>")])
def test_a_failure_without_a_reason_that_vanishes_in_words_is_remembered(failure):
    with _says(failure, GOOD, GOOD) as bodies:
        llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
        llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
    assert [_form(body) for body in bodies] == ["native", "words", "words"]


def test_a_failure_that_stays_in_words_or_came_after_a_native_answer_is_not_laid_to_the_format():
    with _says(*[(500, "Internal error")] * 2, GOOD, GOOD, (500, "Internal error"), GOOD, GOOD) as bodies:
        for _ in range(4):
            llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
    assert [_form(body) for body in bodies] == ["native", "words", "words", *["native"] * 4]


def test_where_natively_was_answered_before_the_format_is_left_out_after_two_failures_and_in_that_run_only():
    with _says(GOOD, *[(500, "Internal error")] * 2, GOOD, GOOD) as bodies:
        for _ in range(3):
            llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
    assert [_form(body) for body in bodies] == ["native", "native", "native", "words", "native"]


NAMED = [
    (400, "Invalid schema for response_format 'answer': 'additionalProperties' is required"),
    (400, "This response_format type is unavailable now"),
    (404, "No endpoints found that can handle the requested parameters."),
    (400, "structured_outputs not supported in your workspace"),
    (422, "Failed to deserialize the JSON body: response_format: missing field `value`"),
    (400, "json_schema is not supported by provider a"),
]


@pytest.mark.parametrize("refusal", NAMED, ids=[told for _, told in NAMED])
def test_a_refusal_that_names_the_format_is_asked_in_words_at_once(refusal):
    with _says(refusal, GOOD) as bodies:
        llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
    assert [_form(body) for body in bodies] == ["native", "words"]
    assert words("outcome") == ["unsupported", "ok"]
    assert llm.attempts()["wait_s"].tolist() == [0, 0]
    assert llm.health().empty


def test_what_a_stream_said_before_it_refused_the_format_is_in_no_answer():
    refusal = {"error": {"code": 400, "message": "response_format is not supported"}}
    streams = [
        STREAM + says("Let me see. ") + b"data: " + json.dumps(refusal).encode() + b"\n\n",
        STREAM + says(GOOD) + says("", finish_reason="stop") + DONE,
    ]
    with served_by(lambda connection: connection.sendall(streams.pop(0))):
        chunks = list(llm.stream_llm(MODEL, "What is red?", schema=SCHEMA))
    assert "".join(chunk.content for chunk in chunks) == GOOD
    assert words("outcome") == ["unsupported", "ok"]


def test_a_refusal_in_words_too_is_what_it_is_and_the_next_route_answers():
    with _says(REFUSED, REFUSED, GOOD) as bodies:
        llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
    assert [_form(body) for body in bodies] == ["native", "words", "words"]
    assert words("route") == [*["openrouter ..0001"] * 2, "openrouter ..0002"]
    assert words("outcome") == ["unsupported", "unsupported", "ok"]
    assert llm.health().empty


def test_a_long_wrong_answer_is_cut_before_it_is_sent_back():
    with _says("{" + "x" * 10_000, GOOD) as bodies:
        llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
    assert len(bodies[1]["messages"][1]["content"]) == 4001


@pytest.mark.parametrize("script", [[GOOD], [REFUSED, GOOD], [BAD, GOOD], [REFUSED, BAD, BAD, GOOD]])
def test_a_practice_provider_reads_a_request_as_it_was_meant(script):
    with _says(*script) as bodies:
        llm.run_llm(MODEL, "What is red?", schema=SCHEMA)
    messages, schema = as_asked(bodies[-1]["messages"])
    assert messages == [QUESTION]
    assert schema == (None if "response_format" in bodies[-1] else make_schema(SCHEMA).json_schema)


# --- a model object of the user's -------------------------------------------------------------------------------


def _only(chat_model):
    llm.add_backend("mine", chat_model=chat_model)
    llm.models.add("m", providers=["mine"], openrouter=False)


@pytest.mark.parametrize("door", DOORS)
def test_an_object_is_asked_in_words_and_told_of_its_mistake(door):
    asked = []

    def answer(text):
        asked.append(text)
        return BAD if len(asked) == 1 else GOOD

    _only(fake_model(answer))
    assert DOORS[door]("m", "What is red?", schema=SCHEMA).additional_kwargs["parsed"] == PARSED
    assert asked == [f"What is red?\n\n{INSTRUCTION}", _mistake()[1]["content"]]


def test_an_object_that_keeps_its_message_does_not_get_the_parsed_one():
    kept = AIMessage(GOOD)

    class Keeping(FakeListChatModel):
        async def ainvoke(self, *_, **__):
            return kept

    _only(Keeping(responses=[]))
    assert llm.run_llm("m", "What is red?", schema=SCHEMA).additional_kwargs["parsed"] == PARSED
    assert kept.additional_kwargs == {}


# --- secrets ----------------------------------------------------------------------------------------------------

CANARY = "plain-canary-key-4242"


class Quoting(BaseModel):
    colour: str

    @field_validator("colour")
    @classmethod
    def check(cls, value):
        if value != "red":
            raise ValueError(f"{value} is no colour")
        return value


@pytest.mark.parametrize("door", DOORS)
def test_a_key_that_an_answer_repeats_is_in_no_word_about_it(door, caplog):
    caplog.set_level(logging.DEBUG)
    with _says(*[json.dumps({"colour": CANARY})] * 12, keys=[CANARY]) as bodies:
        with pytest.raises(llm.AllRoutesFailedError) as raised:
            DOORS[door](MODEL, "What is red?", schema=Quoting)
        sent = json.dumps(bodies)
    shown = "".join(traceback.TracebackException.from_exception(raised.value, capture_locals=True).format())
    told = [shown, repr(raised.value.attempts), llm.attempts().to_csv(), caplog.text, sent]
    assert ["…hidden… is no colour" in text for text in told[:3]] == [True] * 3
    assert [CANARY in text for text in told] == [False] * 5
    assert CANARY.encode() not in pickle.dumps(raised.value)


def test_what_a_broken_validator_says_is_scrubbed_too():
    class Broken(BaseModel):
        colour: str

        @field_validator("colour")
        @classmethod
        def check(cls, value):
            raise KeyError(value)

    with _says(json.dumps({"colour": CANARY}), keys=[CANARY]), pytest.raises(llm.ConfigError) as raised:
        llm.run_llm(MODEL, "What is red?", schema=Broken)
    shown = "".join(traceback.TracebackException.from_exception(raised.value).format())
    assert CANARY not in shown + llm.attempts().to_csv()
