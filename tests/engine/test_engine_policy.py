"""A refusal of what one request demands holds no other request; and OpenRouter is always asked who answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from doors import DOORS
from refusing import clouds, said
from rehearsing import MODEL, assert_log_is_what_the_server_saw, fresh, words
from tenacity import wait_none

import llm_executor_nb as llm
from llm_executor_nb.rehearsal.catalogue import special_themes
from llm_executor_nb.testing import frozen_clock

GOOD = '{"n": 1}'
HEADER = "X-OpenRouter-Metadata"
STRICT = llm.Policy(zdr=True, only=("a", "together"))
"""Leaves a route on both halves of the chain of `clouds`."""
THREE_DOORS = ("run", "astream", "stream")
FLEX = {"extra_body": {"openrouter": {"service_tier": "flex"}}}
NO_PROVIDER = {"error": {"message": "No allowed providers are available for the selected model.", "code": 404}}
BILLING, TIERS = (
    special_themes()[f"requests {theme}"] for theme in ("that bill an organisation", "for a service tier")
)


@pytest.fixture(autouse=True)
def _settings():
    with fresh():
        llm.configure(ledger=None)
        llm.retry_wait_strategy = wait_none()
        yield


def names(request):
    """Return the names of the headers of a request in lower case."""
    return {name.lower() for name in request}


def test_plain_calls_are_never_held_beside_a_session_policy_that_is_refused():
    """200 rounds in 8 threads: one in four has the policy."""

    def answer(body):
        return (404, NO_PROVIDER) if "provider" in body else (200, said(body, GOOD))

    def round_of(number):
        message = llm.run_llm("my/model", f"question {number}", policy=None if number % 4 == 0 else llm.Policy())
        return number % 4 == 0, llm.attempts(message)[["backend", "outcome"]].to_numpy().tolist()

    with clouds(answer, lambda body: (200, said(body, GOOD))) as (first, _):
        llm.configure(policy=STRICT)
        with ThreadPoolExecutor(8) as pool:
            rounds = list(pool.map(round_of, range(200)))
        assert all(log == [["openrouter", "ok"]] for is_strict, log in rounds if not is_strict)
        assert all(log[-1] == ["huggingface", "ok"] for is_strict, log in rounds if is_strict)
        assert len(first.bodies) <= 150 + 8
        refused = llm.attempts().query("outcome == 'unsupported'")
        assert refused["message"].str.startswith("policy only=('a', 'together'): No allowed providers").all()


@pytest.mark.parametrize(("name", "door"), [*zip(BILLING, THREE_DOORS, strict=True)])
def test_a_refused_organisation_leaves_the_token_usable_without_it(name, door):
    with llm.rehearse(f"huggingface: {name}", openrouter_keys=0) as server:
        with pytest.raises(llm.AllRoutesFailedError, match=r"(?s)bill_to='lab'.*leave bill_to out"):
            DOORS[door](MODEL, "hello", policy=llm.Policy(bill_to="lab"))
        assert len(server.lines) == 1
        for policy in (None, llm.Policy(no_training=True, only=("a", "b"))):
            assert DOORS[door](MODEL, "hello", policy=policy).content
        with pytest.raises(llm.AllRoutesFailedError, match="on hold"):
            DOORS[door](MODEL, "hello", policy=llm.Policy(bill_to="lab", ignore="c"))
        assert [line.bill_to for line in server.lines] == ["lab", None, None]
        assert_log_is_what_the_server_saw(server)


@pytest.mark.parametrize("name", TIERS)
def test_a_full_tier_holds_only_requests_for_a_tier(name):
    llm.retry_wait_strategy = wait_none()
    with llm.rehearse(f"openrouter: {name}", openrouter_keys=1) as server:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["a"]
        for _ in range(2):
            assert llm.run_llm(MODEL, "hello", **FLEX).content
        asked = 1 if name == "no-flex" else 4
        assert [line.backend for line in server.lines] == ["openrouter"] * asked + ["huggingface"] * 2
        assert llm.attempts(llm.run_llm(MODEL, "hello"))["backend"].tolist() == ["openrouter"]


def test_a_full_tier_is_no_evidence_against_the_route_in_a_column():
    frame = pd.DataFrame({"t": [f"row {number}" for number in range(40)]})
    with frozen_clock(), llm.rehearse("openrouter: flex-498", openrouter_keys=1):
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["a"]
        out = frame.llm.run(MODEL, "t", progress=False, **FLEX)
        assert (out["t_llm_status"] == "ok").all()
        assert set(out["t_llm_route"].str.split("/").str[0]) == {"huggingface"}
        assert llm.attempts(llm.run_llm(MODEL, "hello"))["backend"].tolist() == ["openrouter"]


def test_providers_that_are_down_under_a_policy_hold_no_plain_call():
    """A streak by hand, of a 503 that speaks of the request's own routing."""

    def answer(body):
        down = {"error": {"message": "There is no available model provider that meets your routing requirements"}}
        return (503, down) if "provider" in body else (200, said(body, GOOD))

    with clouds(answer, None) as (server, _):
        for _ in range(2):
            with pytest.raises(llm.AllRoutesFailedError, match="policy zdr=True"):
                llm.run_llm("my/model", "hello", policy=llm.Policy(zdr=True))
            assert llm.health()["kind"].tolist() == ["streak"]
            assert llm.attempts(llm.run_llm("my/model", "hello"))["wait_s"].tolist() == [0]
        assert len(server.bodies) == 7


def _of_together(code, raw, **beside):
    said = {"code": code, "message": "Provider returned error", "metadata": {"provider_name": "Together", "raw": raw}}
    return code, {"error": {**said, **beside}}


@pytest.mark.parametrize(
    "refusal",
    [
        _of_together(502, "down"),
        _of_together(503, "overloaded"),
        _of_together(429, "m is temporarily rate-limited upstream"),
        _of_together(404, "The model m does not exist"),
        _of_together(401, "invalid api key"),
        _of_together(403, "m is not available in your region"),
        (404, {"error": {"code": 404, "message": "Gone", "availability": {"code": "model_unavailable_upstream"}}}),
        (
            429,
            {"error": {"code": 429, "message": "Busy", "metadata": {"limit_source": "upstream_provider_shared_pool"}}},
        ),
    ],
    ids=lambda refusal: f"{refusal[0]}",
)
def test_what_ails_a_provider_that_a_policy_chose_holds_no_plain_call(refusal):
    with clouds(lambda body: refusal if "provider" in body else (200, said(body, GOOD)), None):
        with pytest.raises(llm.LLMExecutorError):
            llm.run_llm("my/model", "hello", policy=llm.Policy(only="together"))
        assert llm.health()["scope"].str.contains("policy:").all()
        assert llm.attempts(llm.run_llm("my/model", "hello"))[["outcome", "wait_s"]].to_numpy().tolist() == [["ok", 0]]


def test_a_file_that_the_model_may_not_read_itself_holds_no_request():
    def answer(body):
        refused = {"error": {"code": 404, "message": "No endpoints found that support file input"}}
        return (404, refused) if "plugins" in body else (200, said(body, GOOD))

    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjc="}}
    file = [{"role": "user", "content": [part]}]
    with clouds(answer, None):
        with pytest.raises(llm.LLMExecutorError, match="support file input"):
            llm.run_llm("my/model", file, policy=llm.Policy(zdr=True))
        assert llm.health().empty
        assert llm.run_llm("my/model", file).content == GOOD
        assert llm.run_llm("my/model", "hello", policy=llm.Policy(zdr=True)).content == GOOD


# --- who answered ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_every_request_to_openrouter_asks_who_answered_and_no_other_does(door):
    with llm.rehearse("openrouter: 503*3, rate=1/min", openrouter_keys=1) as server:
        for _ in range(3):
            assert DOORS[door](MODEL, "hello").content
        asked = {(line.backend, line.wants_metadata) for line in server.lines}
        assert asked == {("openrouter", True), ("huggingface", False)}


REFUSED = [
    (400, {"error": {"message": "Unknown header: X-OpenRouter-Metadata", "code": 400}}),
    (403, {"error": "The header x-openrouter-metadata is not allowed here."}),
    (431, "Unexpected header X-OpenRouter-Metadata"),
]


def answering_without(refusal):
    """Return an answer that refuses requests with the header, and the function that makes it of a server."""
    seen = []

    def answer(body):
        return refusal if HEADER.lower() in names(seen[0].heads[-1]) else (200, said(body, GOOD))

    return seen, answer


@pytest.mark.parametrize(("refusal", "door"), [*zip(REFUSED, THREE_DOORS, strict=True)])
def test_a_refused_header_is_left_out_at_once_and_remembered(refusal, door):
    seen, answer = answering_without(refusal)
    with clouds(answer, None) as (server, _):
        seen.append(server)
        for _ in range(2):
            assert DOORS[door]("my/model", "hello").content == GOOD
        assert [HEADER.lower() in names(head) for head in server.heads] == [True, False, False]
    assert words("outcome") == ["unsupported", "ok", "ok"]
    assert llm.health().empty


def test_a_failure_that_vanishes_without_the_header_is_laid_to_it():
    seen, answer = answering_without((500, {"error": "Internal Server Error"}))
    with clouds(answer, None) as (server, _):
        seen.append(server)
        for _ in range(2):
            assert llm.run_llm("my/model", "hello").content == GOOD
        assert [HEADER.lower() in names(head) for head in server.heads] == [True, True, True, False, False]
    assert llm.health().empty


def test_where_the_header_was_taken_a_failure_is_no_reason_to_leave_it_out():
    with llm.rehearse("openrouter: 500@2..4", openrouter_keys=1) as server:
        for _ in range(3):
            assert llm.run_llm(MODEL, "hello").content
        assert [line.wants_metadata for line in server.lines] == [True] * 6


def test_an_error_about_a_schema_is_still_that_beside_the_routers_metadata():
    with llm.rehearse("openrouter: refused-response_format", openrouter_keys=1) as server:
        llm.run_llm(MODEL, "how many?", schema={"n": int})
        assert [line.wants_metadata for line in server.lines] == [True, True]
