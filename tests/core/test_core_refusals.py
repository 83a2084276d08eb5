"""What a server says when it refuses is taken for what it is, and blamed on no more than it speaks of.

`error_bodies.jsonl` has, one a line, replies as providers, gateways and servers send them (from their documents, and
quoted in public issue threads; read on 2026-11-29), and what each is: outcome, reach (null: nothing is held for it),
need, and the seconds after which to ask again.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llm_executor_nb.core.outcomes import RULES, Outcome, ScopeLevel
from llm_executor_nb.core.records import FaultKind, Reply
from llm_executor_nb.core.verdicts.classify import classify
from llm_executor_nb.core.verdicts.codes import AVAILABILITY, DECISIVE, LIMIT_SOURCE, STATUS, VAGUE
from llm_executor_nb.core.verdicts.error_body import read_error, tells_error

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
OPENROUTER, HUGGINGFACE = "openrouter", "huggingface"
BODIES = [json.loads(line) for line in Path(__file__).with_name("error_bodies.jsonl").read_text("utf-8").splitlines()]


def _classify(status, body, backend=OPENROUTER, **headers):
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(Reply(status=status, headers=told, body=raw), backend=backend, now_utc=NOW)


def _holds(outcome):
    return RULES[outcome].condemns is not None or outcome is Outcome.RATE_LIMITED


@pytest.mark.parametrize("case", BODIES, ids=lambda case: case["label"])
def test_a_reply_is_taken_for_what_it_is(case):
    body = case["body"]
    raw = (body if isinstance(body, str) else json.dumps(body)).encode()
    reply = Reply(status=case["status"], headers=case["headers"], body=raw)
    verdict = classify(reply, backend=case["backend"], now_utc=NOW)
    found = (verdict.outcome, verdict.reach if _holds(verdict.outcome) else None, verdict.need)
    assert found == (case["outcome"], case["reach"], case["need"])
    wait_s = case["retry_after_s"]
    assert verdict.retry_after_s == (None if wait_s is None else pytest.approx(wait_s))


def test_there_are_over_a_hundred_bodies_each_with_a_label_of_its_own():
    assert len({case["label"] for case in BODIES}) == len(BODIES) > 100


# --- codes, types and statuses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "found"), AVAILABILITY.items())
@pytest.mark.parametrize("status", [404, 503])
def test_every_availability_code_outweighs_the_status(code, found, status):
    verdict = _classify(status, {"error": {"code": status, "availability": {"code": code}}})
    assert (verdict.outcome, verdict.error_code, verdict.need) == (found.outcome, code, found.need)
    assert found.reach is None or verdict.reach is found.reach


@pytest.mark.parametrize(("source", "found"), LIMIT_SOURCE.items())
@pytest.mark.parametrize("status", [402, 403, 429])
def test_every_limit_source_outweighs_the_status(source, found, status):
    verdict = _classify(status, {"error": {"code": status, "metadata": {"limit_source": source}}})
    assert (verdict.outcome, verdict.reach) == (found.outcome, found.reach)


WRAPS = [
    lambda name: {"error": {"metadata": {"error_type": name}}},
    lambda name: {"error": {"code": name, "message": "m"}},
    lambda name: {"error": {"type": name}},
    lambda name: {"error": "words", "error_type": name},
    lambda name: [{"error": {"status": name.upper()}}],
    lambda name: {"detail": {"error": {"code": "".join(part.title() for part in name.split("_"))}}},
    lambda name: {"message": json.dumps({"error": {"details": [{"reason": name}]}})},
    lambda name: f'data: {{"error": {{"code": "{name}"}}}}',
]
"""Where a code may stand, and in what spelling."""


@pytest.mark.parametrize(("name", "found"), DECISIVE.items())
@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("status", [400, 403, 429, 500])
def test_a_code_with_one_meaning_is_known_wherever_it_stands_and_outweighs_the_status(name, found, wrap, status):
    assert _classify(status, wrap(name), HUGGINGFACE).outcome is found.outcome


@pytest.mark.parametrize(("name", "found"), VAGUE.items())
@pytest.mark.parametrize("wrap", WRAPS)
def test_a_vague_type_counts_where_the_status_says_nothing(name, found, wrap):
    assert _classify(400, wrap(name), HUGGINGFACE).outcome is found.outcome


@pytest.mark.parametrize("name", VAGUE)
@pytest.mark.parametrize("status", [401, 402, 403, 404, 429])
def test_a_status_with_a_meaning_says_more_than_a_vague_type(name, status):
    assert _classify(status, {"error": {"message": "no", "type": name}}).outcome is STATUS[status].outcome


@pytest.mark.parametrize("name", VAGUE)
def test_a_vague_type_hides_no_words(name):
    for words, outcome in {
        "the prompt is too long: 9000, model maximum context length: 8191": Outcome.CONTEXT_LENGTH,
        "Your credit balance is too low": Outcome.QUOTA,
        "your input was flagged": Outcome.CONTENT_FILTER,
    }.items():
        assert _classify(400, {"error": {"message": words, "type": name}}).outcome is outcome


@pytest.mark.parametrize(("status", "found"), STATUS.items())
def test_every_status_has_its_outcome_when_nothing_better_is_known(status, found):
    assert _classify(status, b"").outcome is found.outcome


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


def test_a_500_of_a_gateway_is_what_the_status_in_it_says():
    assert _classify(500, {"error": {"message": "no", "code": 429}}).outcome is Outcome.RATE_LIMITED
    assert _classify(400, {"error": {"message": "no", "status": 404}}).outcome is Outcome.NOT_FOUND
    assert _classify(403, {"error": {"message": "no", "code": 429}}).outcome is Outcome.FORBIDDEN


def test_retryable_says_whether_a_vague_refusal_may_pass():
    assert _classify(500, {"error": {"availability": {"retryable": False}}}).outcome is Outcome.UNSUPPORTED
    assert _classify(404, {"error": {"availability": {"retryable": True}}}).outcome is Outcome.OVERLOADED
    assert _classify(401, {"error": {"availability": {"retryable": False}}}).outcome is Outcome.AUTH


def test_a_moderated_prompt_is_a_content_filter_not_a_dead_key():
    assert _classify(403, {"error": {"metadata": {"flagged_input": "x"}}}).outcome is Outcome.CONTENT_FILTER


# --- how far it reaches -------------------------------------------------------------------------------------------


def test_a_403_page_of_html_speaks_of_the_route_not_of_the_key():
    verdict = _classify(403, b"<html>blocked</html>", content_type="text/html")
    assert (verdict.outcome, verdict.reach) == (Outcome.FORBIDDEN, ScopeLevel.ROUTE)


@pytest.mark.parametrize(("backend", "reach"), [(OPENROUTER, ScopeLevel.KEY), (HUGGINGFACE, ScopeLevel.ROUTE)])
def test_a_limit_that_names_no_scope_speaks_of_the_key_on_openrouter_and_of_the_route_elsewhere(backend, reach):
    assert _classify(429, b"", backend).reach is reach


def test_a_404_speaks_of_the_provider_on_hugging_face_and_of_the_backend_on_openrouter():
    assert _classify(404, b"", HUGGINGFACE).reach is ScopeLevel.PROVIDER
    assert _classify(404, b"", OPENROUTER).reach is ScopeLevel.BACKEND


@pytest.mark.parametrize("status", [401, 402, 403, 429])
def test_what_a_gateway_relays_speaks_of_the_model_at_most(status):
    relayed = {"error": {"message": "litellm.APIError: OpenAIException - no", "code": str(status)}}
    assert _classify(status, relayed, "mine").reach in {ScopeLevel.MODEL, ScopeLevel.ROUTE}
    behind = {"error": {"message": "Provider returned error", "code": status, "metadata": {"raw": "no"}}}
    assert _classify(status, behind, OPENROUTER).reach in {ScopeLevel.MODEL, ScopeLevel.ROUTE}


# --- what is read -------------------------------------------------------------------------------------------------

SAYING_NO = "Your credit balance is too low"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": SAYING_NO}},
        {"error": SAYING_NO},
        {"detail": SAYING_NO},
        {"detail": [{"loc": ["body"], "msg": SAYING_NO}]},
        {"detail": {"error": {"message": SAYING_NO}}},
        {"errors": [{"message": SAYING_NO}]},
        {"errors": [SAYING_NO]},
        {"message": SAYING_NO},
        {"message": {"detail": SAYING_NO}},
        {"title": SAYING_NO},
        {"error_description": SAYING_NO},
        [{"error": {"message": SAYING_NO}}],
        SAYING_NO,
        json.dumps(SAYING_NO),
        json.dumps(json.dumps({"error": {"message": SAYING_NO}})),
        {"error": json.dumps({"error": {"message": SAYING_NO}})},
        {"error": {"innererror": {"message": SAYING_NO}}},
        {"error": {"metadata": {"raw": json.dumps([{"error": {"message": SAYING_NO}}])}}},
        {"error": {"cause": json.dumps({"error": {"message": SAYING_NO}}), "code": 400}},
        f"<html><head><title>{SAYING_NO}</title></head><body></body></html>",
        f"<s:Envelope><s:Body><s:Fault><faultstring>{SAYING_NO}</faultstring></s:Fault></s:Body></s:Envelope>",
        f"<Error><Code>X</Code><Message>{SAYING_NO}</Message></Error>",
        'data: {"error": {"message": "' + SAYING_NO + '"}}\n\ndata: [DONE]\n\n',
    ],
)
def test_the_words_are_found_in_whatever_shape_they_come(body):
    verdict = _classify(400, body, "mine")
    assert verdict.outcome is Outcome.QUOTA
    assert SAYING_NO in verdict.message


def test_the_message_is_the_most_telling_text():
    raw = json.dumps({"error": {"message": "The model `x` is out for lunch today", "type": "api_error"}})
    behind = {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}}
    assert _classify(400, behind).message == "Provider returned error: The model `x` is out for lunch today"
    assert _classify(404, {"title": "Not Found", "detail": "Function 'x': Not found for account 'abc'"}).message == (
        "Function 'x': Not found for account 'abc'"
    )


def test_what_an_error_repeats_of_the_request_is_no_evidence():
    echo = {
        "error": {"message": "bad message"},
        "input": SAYING_NO,
        "request": {"prompt": SAYING_NO},
        "body": SAYING_NO,
    }
    assert _classify(400, echo).outcome is Outcome.BAD_REQUEST


def test_an_error_is_read_in_bounded_time_and_length():
    deep: object = "x"
    for _ in range(500):
        deep = {"error": [deep, deep]}
    wide = {"errors": [{"message": f"m{i}" * 100, "code": f"c{i}"} for i in range(10_000)]}
    for body in (deep, wide):
        told = read_error(body)
        assert sum(map(len, told.texts)) <= 2000
        assert len(told.codes) < 200


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no"}},
        {"choices": [{"error": {"code": 503}, "message": {"content": "x"}}]},
        {"object": "error", "message": "no", "code": 402},
        {"success": False, "errors": [{"message": "no"}]},
        {"detail": "no"},
        {"code": 500, "message": "no", "data": None},
        {"base_resp": {"status_code": 1008, "status_msg": "no"}, "choices": None},
        {"error_code": 17, "error_msg": "no"},
        {"type": "error", "message": "no"},
    ],
)
def test_an_error_in_a_200_is_known(body):
    assert tells_error(body)
    assert _classify(200, body).outcome not in {Outcome.OK, Outcome.MALFORMED}


@pytest.mark.parametrize(
    "body",
    [
        {
            "choices": [{"message": {"content": "no error"}}],
            "error": None,
            "detail": "x",
            "base_resp": {"status_code": 0},
        },
        {"choices": [{"message": {"content": "x"}}], "object": "chat.completion", "success": True, "message": "ok"},
        {"choices": []},
        {},
        {"message": {"role": "assistant", "content": "x"}},
        {"base_resp": {"status_code": 0, "status_msg": "success"}},
    ],
)
def test_what_tells_no_error_is_none(body):
    assert not tells_error(body)


@pytest.mark.parametrize("kind", FaultKind)
def test_no_code_of_a_server_is_taken_for_a_fault_of_the_transport(kind):
    assert _classify(500, {"error": {"message": "no", "type": kind.value}}).error_code is None
