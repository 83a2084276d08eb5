"""Every kind of evidence leads to its outcome, and whatever the bytes are, to some outcome."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_executor_nb.core.classify import MESSAGE_LENGTH, classify, shorten
from llm_executor_nb.core.outcomes import (
    AVAILABILITY,
    ERROR_TYPE,
    LIMIT_SOURCE,
    RULES,
    STATUS,
    WORDINGS,
    Outcome,
    Reach,
)
from llm_executor_nb.core.records import Fault, FaultKind, Reply, Verdict
from llm_executor_nb.core.secret import Secret

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
OPENROUTER, HUGGINGFACE = "openrouter", "huggingface"


def _classify(status, body, backend=OPENROUTER, **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify(
        Reply(status=status, headers={k.replace("_", "-"): v for k, v in headers.items()}, body=raw),
        backend=backend,
        now_utc=NOW,
    )


def _answer(content="hello", finish_reason="stop", **message):
    return {"choices": [{"finish_reason": finish_reason, "message": {"content": content, **message}}]}


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        _answer(),
        _answer(finish_reason="length"),
        _answer(finish_reason=None),
        _answer(None, "tool_calls", tool_calls=[{"id": "1"}]),
        _answer("", "stop", function_call={"name": "f"}),
        _answer([{"type": "text", "text": "hi"}]),
        {**_answer(), "error": None},
    ],
)
def test_text_or_tool_calls_are_an_answer(body):
    verdict = _classify(200, body)
    assert (verdict.outcome, verdict.body) == (Outcome.OK, body)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (_answer(None), Outcome.EMPTY),
        (_answer(" \n\t"), Outcome.EMPTY),
        (_answer([{"type": "text", "text": " "}]), Outcome.EMPTY),
        (_answer(None, "stop", tool_calls=[]), Outcome.EMPTY),
        (_answer("", "length"), Outcome.TRUNCATED),
        (_answer("half an", "error"), Outcome.SERVER_ERROR),
        (_answer("text", "content_filter"), Outcome.CONTENT_FILTER),
        (_answer(None, "stop", refusal="I cannot"), Outcome.CONTENT_FILTER),
        (_answer({"a": 1}), Outcome.MALFORMED),
        (_answer(7), Outcome.MALFORMED),
        ({"choices": []}, Outcome.MALFORMED),
        ({"choices": "x"}, Outcome.MALFORMED),
        ({"choices": [{"message": "x"}]}, Outcome.MALFORMED),
        ({}, Outcome.MALFORMED),
        ([], Outcome.MALFORMED),
        ("text", Outcome.MALFORMED),
        (b"", Outcome.MALFORMED),
        (b"<html>", Outcome.MALFORMED),
        (b'{"choices": [', Outcome.MALFORMED),
        (b"[" * 100_000, Outcome.MALFORMED),
        (b"9" * 5000, Outcome.MALFORMED),
        (b"\xff\xfe", Outcome.MALFORMED),
        ({"error": {"message": "x"}}, Outcome.SERVER_ERROR),
        ({"error": {"code": 429, "message": "x"}}, Outcome.RATE_LIMITED),
        ({"error": {"code": "429"}}, Outcome.RATE_LIMITED),
        ({**_answer(), "error": {"code": 401}}, Outcome.AUTH),
        ({"error": "overloaded"}, Outcome.SERVER_ERROR),
        ({"choices": [{"error": {"code": 503}, "message": {"content": "x"}}]}, Outcome.OVERLOADED),
    ],
)
def test_a_200_that_is_no_answer_is_an_outcome(body, outcome):
    verdict = _classify(200, body)
    assert (verdict.outcome, verdict.body, verdict.http_status) == (outcome, None, 200)


def test_tokens_cost_model_and_finish_reason_are_read_and_absurd_ones_are_missing():
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "cost": 0.25}
    verdict = _classify(200, {**_answer(finish_reason="length"), "usage": usage, "model": "m"})
    assert (verdict.input_tokens, verdict.output_tokens, verdict.cost_usd) == (3, 4, 0.25)
    assert (verdict.finish_reason, verdict.response_model) == ("length", "m")
    for absurd in ({"prompt_tokens": -1, "cost": -2}, {"prompt_tokens": "many", "cost": True}, "much", [], None):
        verdict = _classify(200, {**_answer(), "usage": absurd, "model": 7})
        facts = (verdict.outcome, verdict.input_tokens, verdict.cost_usd, verdict.response_model)
        assert facts == (Outcome.OK, None, None, None)


# --- the tables ---------------------------------------------------------------------------------------------------


def test_every_outcome_has_a_rule():
    assert set(RULES) == set(Outcome)


@pytest.mark.parametrize("kind", FaultKind)
def test_every_fault_of_the_transport_has_its_outcome(kind):
    verdict = classify(Fault(kind=kind, detail="d", status=None), backend=OPENROUTER, now_utc=NOW)
    expected = {
        FaultKind.TIMEOUT: Outcome.TIMEOUT,
        FaultKind.DEADLINE: Outcome.TIMEOUT,
        FaultKind.MALFORMED: Outcome.MALFORMED,
        FaultKind.TOO_LARGE: Outcome.MALFORMED,
    }.get(kind, Outcome.CONNECTION)
    assert (verdict.outcome, verdict.error_code) == (expected, kind.value)


@pytest.mark.parametrize(("code", "found"), AVAILABILITY.items())
@pytest.mark.parametrize("status", [404, 503])
def test_every_availability_code_outweighs_the_status(code, found, status):
    verdict = _classify(status, {"error": {"code": status, "availability": {"code": code}}})
    assert (verdict.outcome, verdict.error_code) == (found.outcome, code)
    assert found.reach is None or verdict.reach is found.reach


@pytest.mark.parametrize(("source", "found"), LIMIT_SOURCE.items())
@pytest.mark.parametrize("status", [402, 403, 429])
def test_every_limit_source_outweighs_the_status(source, found, status):
    verdict = _classify(status, {"error": {"code": status, "metadata": {"limit_source": source}}})
    assert (verdict.outcome, verdict.reach) == (found.outcome, found.reach)


@pytest.mark.parametrize(("name", "found"), ERROR_TYPE.items())
@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: {"error": {"metadata": {"error_type": name}}},
        lambda name: {"error": {"code": name, "message": "m"}},
        lambda name: {"error": {"type": name}},
        lambda name: {"error": "words", "error_type": name},
    ],
)
def test_every_error_type_is_known_wherever_it_stands(name, found, wrap):
    assert _classify(400, wrap(name), HUGGINGFACE).outcome is found.outcome


@pytest.mark.parametrize(("status", "found"), STATUS.items())
def test_every_status_has_its_outcome_when_nothing_better_is_known(status, found):
    assert _classify(status, b"").outcome is found.outcome


@pytest.mark.parametrize("wording", WORDINGS, ids=lambda wording: wording.words)
def test_every_wording_tells_apart_what_its_statuses_do_not(wording):
    for status in wording.statuses:
        said = f"Sorry, {wording.words.upper()} (really)"
        assert _classify(status or 200, {"error": said}, HUGGINGFACE).outcome is wording.finding.outcome


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, Outcome.BAD_REQUEST),
        (418, Outcome.BAD_REQUEST),
        (500, Outcome.SERVER_ERROR),
        (524, Outcome.SERVER_ERROR),
        (302, Outcome.MALFORMED),
        (101, Outcome.MALFORMED),
    ],
)
def test_other_statuses_are_a_bad_request_a_server_error_or_no_reply_at_all(status, outcome):
    assert _classify(status, b"").outcome is outcome


@pytest.mark.parametrize("name", ["invalid_request_error", "invalid_request"])
@pytest.mark.parametrize("status", [401, 404, 429])
def test_a_generic_type_says_less_than_a_status_with_a_meaning(name, status):
    assert _classify(status, {"error": {"type": name}}).outcome is STATUS[status].outcome


def test_retryable_says_whether_a_vague_refusal_may_pass():
    assert _classify(500, {"error": {"availability": {"retryable": False}}}).outcome is Outcome.UNSUPPORTED
    assert _classify(404, {"error": {"availability": {"retryable": True}}}).outcome is Outcome.OVERLOADED
    assert _classify(401, {"error": {"availability": {"retryable": False}}}).outcome is Outcome.AUTH


def test_a_moderated_prompt_is_a_content_filter_not_a_dead_key():
    assert _classify(403, {"error": {"metadata": {"flagged_input": "x"}}}).outcome is Outcome.CONTENT_FILTER


def test_a_403_page_of_html_speaks_of_the_backend_not_of_the_key():
    verdict = _classify(403, b"<html>blocked</html>", content_type="text/html")
    assert (verdict.outcome, verdict.reach) == (Outcome.FORBIDDEN, Reach.BACKEND)


@pytest.mark.parametrize(("backend", "reach"), [(OPENROUTER, Reach.KEY), (HUGGINGFACE, Reach.ROUTE)])
def test_a_limit_that_names_no_scope_speaks_of_the_key_on_openrouter_and_of_the_route_elsewhere(backend, reach):
    assert _classify(429, b"", backend).reach is reach


def test_a_404_speaks_of_the_provider_on_hugging_face_and_of_the_backend_on_openrouter():
    assert _classify(404, b"", HUGGINGFACE).reach is Reach.PROVIDER
    assert _classify(404, b"", OPENROUTER).reach is Reach.BACKEND


def test_a_402_that_names_the_provider_holds_that_provider_only():
    words = {"error": "Pay-as-you-go is not enabled for provider x"}
    assert (_classify(402, words, HUGGINGFACE).outcome, _classify(402, words, HUGGINGFACE).reach) == (
        Outcome.QUOTA,
        Reach.PROVIDER,
    )
    assert _classify(402, {"error": "no credit"}, HUGGINGFACE).reach is Reach.KEY


# --- times --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "Tue, 24 Nov 2026 12:00:20 GMT"}, 20),
        ({"retry_after": "Tue, 24 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry_after_ms": "250", "retry_after": "1"}, 0.25),
        ({"x_ratelimit_reset": str(int((NOW.timestamp() + 9) * 1000))}, 9),
        ({"x_ratelimit_reset": str(int(NOW.timestamp() + 9))}, 9),
        ({"x_ratelimit_reset": "9", "x_ratelimit_remaining": "0"}, 9),
        ({"x_ratelimit_reset": "9", "x_ratelimit_remaining": "3"}, None),
        ({"ratelimit": '"api";r=0;t=55'}, 55),
        ({"ratelimit": '"api";r=4;t=55'}, None),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "9" * 400}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": str(40 * 86_400)}, None),
        ({"ratelimit": f'"api";r={"9" * 5000};t=5'}, None),
    ],
)
def test_a_time_is_read_in_every_form_and_absurd_ones_are_not_believed(headers, seconds):
    assert _classify(429, b"", **headers).retry_after_s == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"metadata": {"headers": {"Retry-After": 3}}}},
        {"error": {"availability": {"retry_after": 3}}},
        {"error": {"metadata": {"retry_after": "3"}}},
        {"error": "loading", "estimated_time": 3.0},
    ],
)
def test_a_time_in_the_body_is_read_too(body):
    assert _classify(503, body).retry_after_s == 3


# --- messages -----------------------------------------------------------------------------------------------------


def test_a_message_is_one_line_of_300_characters_without_a_key():
    secret = Secret("sk-or-v1-canary-classify")
    verdict = _classify(401, {"error": {"message": f"bad\n key {secret.reveal()} " + "x" * 500}})
    assert len(verdict.message) == MESSAGE_LENGTH
    assert "canary" not in verdict.message
    assert "\n" not in verdict.message


def test_surrogates_become_characters_that_a_database_takes():
    assert shorten("a\ud800b").encode() == b"a?b"


# --- whatever comes -----------------------------------------------------------------------------------------------

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_NAMES = st.sampled_from(
    (
        *("error", "choices", "message", "content", "code", "type", "metadata", "availability", "retryable", "usage"),
        *("finish_reason", "retry_after", "headers", "raw", "model", "cost", "prompt_tokens", "tool_calls", "refusal"),
        *("error_type", "limit_source", "estimated_time", "detail", "text"),
    ),
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.text(max_size=5), inner, max_size=6),
    max_leaves=25,
)
_BODIES = st.binary(max_size=60) | _JSON.map(lambda value: json.dumps(value).encode())
_HEADERS = st.dictionaries(
    st.sampled_from(
        ["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-remaining", "ratelimit", "content-type"],
    ),
    st.text(max_size=30)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.from_regex(r"\A\"x\";r=\d+;t=\d+\Z")
    | st.datetimes().map(lambda date: date.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    max_size=4,
)


@settings(max_examples=400, deadline=None)
@given(st.integers(100, 999), _HEADERS, _BODIES, st.sampled_from([OPENROUTER, HUGGINGFACE, "mine"]))
def test_whatever_comes_is_a_verdict(status, headers, body, backend):
    verdict = classify(Reply(status=status, headers=headers, body=body), backend=backend, now_utc=NOW)
    assert isinstance(verdict, Verdict)
    assert (verdict.outcome is Outcome.OK) == (verdict.body is not None)
    assert verdict.outcome is not Outcome.CANCELLED
    assert verdict.retry_after_s is None or verdict.retry_after_s >= 0
    assert len(verdict.message or "") <= MESSAGE_LENGTH
    (verdict.message or "").encode()


@settings(max_examples=200, deadline=None)
@given(_JSON)
def test_an_answer_with_any_fields_is_a_verdict(message):
    body = {"choices": [{"message": message, "finish_reason": message}], "usage": message, "model": message}
    verdict = _classify(200, body)
    assert isinstance(verdict.outcome, Outcome)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"code": 400, "message": "the request exceeds the size", "type": "exceed_context_size_error"}),
        (400, {"message": "the request exceeds the available context size. try increasing the context size"}),
        (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 and 200"),
    ],
)
def test_local_servers_words_for_a_prompt_that_is_too_long_are_known(status, error):
    reply = Reply(status=status, headers={}, body=json.dumps({"error": error}).encode())
    assert classify(reply, backend="llamacpp", now_utc=NOW).outcome is Outcome.CONTEXT_LENGTH
