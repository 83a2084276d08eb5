"""Every kind of evidence leads to its outcome, and whatever the bytes are, to some outcome."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_executor_nb.core.foreign_text import MESSAGE_LENGTH, shorten
from llm_executor_nb.core.outcomes import RULES, Outcome
from llm_executor_nb.core.records import Fault, FaultKind, Reply, Verdict
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.core.verdicts.classify import classify
from llm_executor_nb.core.verdicts.rate_headers import LONGEST_S

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
        ({"error": "overloaded"}, Outcome.OVERLOADED),
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
        FaultKind.TOO_LARGE: Outcome.INVALID_OUTPUT,
    }.get(kind, Outcome.CONNECTION)
    assert (verdict.outcome, verdict.error_code) == (expected, kind.value)


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
        *("error_type", "limit_source", "estimated_time", "detail", "text", "errors", "details", "reason", "status"),
        *("retryDelay", "reset_at", "excluded_by", "object", "success", "base_resp", "failed_generation"),
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
        (
            *(
                "retry-after",
                "retry-after-ms",
                "x-ratelimit-reset",
                "x-ratelimit-remaining",
                "ratelimit",
                "content-type",
            ),
            *("x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset", "llm_provider-retry-after"),
        )
    ),
    st.text(max_size=30)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.from_regex(r"\A\"x\";r=\d+;t=\d+\Z")
    | st.from_regex(r"\A(\d{1,12}(\.\d+)?(ms|s|m|h|d) ?){1,3}\Z")
    | st.datetimes().map(str)
    | st.datetimes().map(lambda date: date.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(st.integers(100, 999), _HEADERS, _BODIES, st.sampled_from([OPENROUTER, HUGGINGFACE, "mine"]))
def test_whatever_comes_is_a_verdict(status, headers, body, backend):
    verdict = classify(Reply(status=status, headers=headers, body=body), backend=backend, now_utc=NOW)
    assert isinstance(verdict, Verdict)
    assert (verdict.outcome is Outcome.OK) == (verdict.body is not None)
    assert verdict.outcome is not Outcome.CANCELLED
    assert verdict.retry_after_s is None or 0 < verdict.retry_after_s <= LONGEST_S
    assert len(verdict.message or "") <= MESSAGE_LENGTH
    (verdict.message or "").encode()


@settings(max_examples=100, deadline=None)
@given(_JSON)
def test_an_answer_with_any_fields_is_a_verdict(message):
    body = {"choices": [{"message": message, "finish_reason": message}], "usage": message, "model": message}
    verdict = _classify(200, body)
    assert isinstance(verdict.outcome, Outcome)
