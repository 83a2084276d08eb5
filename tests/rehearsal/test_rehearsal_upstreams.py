"""Practice OpenRouter honours what a request demands of its providers, and says who answered at which tier."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Need, Outcome
from llm_executor_nb.core.records import Reply
from llm_executor_nb.core.verdicts.classify import classify
from llm_executor_nb.rehearsal.catalogue import special_themes
from llm_executor_nb.rehearsal.server import RehearsalServer

MODEL = "google/gemma-3-27b-it"
CHOSEN = [
    (None, "Practice"),
    ({}, "Practice"),
    ({"sort": "price"}, "Practice"),
    ({"zdr": True}, "DeepInfra"),
    ({"data_collection": "deny"}, "DeepInfra"),
    ({"data_collection": "allow", "zdr": False}, "Practice"),
    ({"only": ["together"]}, "Together"),
    ({"only": ["Together", "novita"]}, "Novita"),
    ({"only": ["deepinfra/turbo"]}, "DeepInfra"),
    ({"ignore": ["practice", "DeepInfra"]}, "Novita"),
    ({"zdr": True, "ignore": ["deepinfra"]}, "Together"),
    ({"quantizations": ["fp4", "int8"]}, "DeepInfra"),
    ({"max_price": {"prompt": 0.1, "completion": 0.1}}, "Practice"),
    ({"max_price": {"prompt": 0.3}, "zdr": True, "quantizations": ["bf16"]}, "Together"),
]
"""Preferences, and who answers."""
BARRED = [
    ({"only": ["scaleway"]}, "no-allowed-providers"),
    ({"only": ["together/fp8"]}, "no-allowed-providers"),
    ({"ignore": ["practice", "deepinfra", "novita", "together"]}, "all-providers-ignored"),
    ({"only": ["practice"], "zdr": True}, "no-zero-retention"),
    ({"only": ["practice"], "data_collection": "deny"}, "no-untrained"),
    ({"quantizations": ["int4"]}, "no-quantization"),
    ({"max_price": {"prompt": 0.01}}, "constraint_filtered"),
    ({"max_price": {"completion": "0.01"}}, "constraint_filtered"),
]
"""Preferences that leave nobody, and the fault that the request meets."""
SERVED = special_themes()["who answered, and at what cost"]


def _ask(server, backend="openrouter", *, headers=None, stream=False, path="/chat/completions", **fields):
    """Return status, headers and body of the reply; of a stream, the list of its events."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "What is this?"}], "stream": stream, **fields}
    request = urllib.request.Request(  # noqa: S310 - it is the practice server's address
        getattr(server, f"{backend}_url") + path,
        data=json.dumps(body).encode() if path == "/chat/completions" else None,
        headers={"Content-Type": "application/json", "Authorization": "Bearer sk-or-v1-fake-0001", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as came:  # noqa: S310
            status, sent, raw = came.status, came.headers, came.read()
    except urllib.error.HTTPError as error:
        with error:
            status, sent, raw = error.code, error.headers, error.read()
    if not stream or status != 200:
        return status, sent, json.loads(raw)
    lines = [line.removeprefix("data: ") for line in raw.decode().splitlines() if line.startswith("data: {")]
    return status, sent, [json.loads(line) for line in lines]


def _who_is_selected(body):
    return [one["provider"] for one in body["openrouter_metadata"]["endpoints"]["available"] if one["selected"]]


def test_preferences_choose_who_answers():
    with RehearsalServer() as server:
        for preferences, name in CHOSEN:
            assert _ask(server, provider=preferences)[2]["provider"] == name
        assert [line.upstream for line in server.lines] == [name for _, name in CHOSEN]
        assert [line.preferences for line in server.lines] == [preferences for preferences, _ in CHOSEN]


def test_preferences_that_leave_nobody_are_refused_for_the_policy():
    with RehearsalServer() as server:
        for number, (preferences, fault) in enumerate(BARRED):
            status, _, body = _ask(server, provider=preferences, stream=bool(number % 2))
            reply = Reply(status=status, headers={}, body=json.dumps(body).encode())
            verdict = classify(reply, backend="openrouter", now_utc=clock.current().utc())
            assert (verdict.outcome, verdict.need) == (Outcome.UNSUPPORTED, Need.POLICY)
            assert (server.lines[-1].fault, server.lines[-1].upstream) == (fault, None)


def test_no_other_backend_looks_at_them_and_a_fault_of_the_script_comes_first():
    with RehearsalServer("openrouter: 503") as server:
        assert _ask(server, "huggingface", provider={"only": ["scaleway"]})[0] == 200
        assert _ask(server, provider={"only": ["scaleway"]})[0] == 503


@pytest.mark.parametrize("stream", [False, True])
def test_the_router_says_who_was_considered_if_it_is_asked(stream):
    asking = {"X-OpenRouter-Metadata": "enabled"}
    with RehearsalServer("openrouter: 503@3") as server:
        _, sent, told = _ask(server, headers=asking, stream=stream, provider={"zdr": True})
        _, _, plain = _ask(server, stream=stream)
        refused = _ask(server, headers=asking)[2]
        assert [line.wants_metadata for line in server.lines] == [True, False, True]
    *earlier, last = told if stream else [told]
    assert _who_is_selected(last) == ["DeepInfra"]
    assert sent["X-Generation-Id"] == last["id"]
    assert not any("openrouter_metadata" in event for event in [*earlier, *(plain if stream else [plain])])
    assert _who_is_selected(refused) == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_tier_is_served_named_and_priced(stream):
    with RehearsalServer() as server:
        replies = [_ask(server, stream=stream, service_tier=tier)[2] for tier in (None, "flex", "priority")]
        elsewhere = _ask(server, "huggingface", service_tier="flex")[2]
        assert [line.service_tier for line in server.lines] == [None, "flex", "priority", "flex"]
    last = [reply[-1] if stream else reply for reply in replies]
    assert [one.get("service_tier") for one in last] == [None, "flex", "priority"]
    default, flex, priority = (one["usage"]["cost"] for one in last)
    assert (flex / default, priority / default) == pytest.approx((0.5, 2))
    assert "service_tier" not in elsewhere


def test_the_organisation_to_bill_is_seen_on_every_backend():
    with RehearsalServer("huggingface: bill_to-refused") as server:
        statuses = [
            _ask(server, backend, headers=headers)[0]
            for backend in ("openrouter", "huggingface")
            for headers in ({"X-HF-Bill-To": "lab"}, {})
        ]
        assert [line.bill_to for line in server.lines] == ["lab", None, "lab", None]
    assert statuses == [200, 200, 403, 200]


def test_the_providers_and_the_endpoints_that_keep_nothing_are_listed():
    with RehearsalServer() as server:
        rows = _ask(server, path="/endpoints/zdr")[2]["data"]
        providers = _ask(server, path="/providers")[2]["data"]
    assert {row["provider_name"] for row in rows if row["model_id"] == MODEL} == {"DeepInfra", "Together"}
    assert {row["tag"] for row in rows} == {"deepinfra/fp8", "deepinfra/turbo", "together"}
    assert {row["slug"]: row["name"] for row in providers}["deepinfra"] == "DeepInfra"


@pytest.mark.parametrize("name", SERVED)
def test_an_answer_can_say_who_served_it_in_each_form(name):
    with RehearsalServer(f"*: {name}") as server:
        _, _, events = _ask(server, headers={"X-OpenRouter-Metadata": "enabled"}, stream=True)
        assert server.lines[0].fault == name
    named = [place for place, event in enumerate(events) if "provider" in event]
    expected = {"provider-in-metadata": [], "no-provider": [], "provider-first": [0], "provider-last": [-1]}
    assert named == [place % len(events) for place in expected.get(name, range(len(events)))]
    assert ("openrouter_metadata" in events[-1]) == (name not in ("no-provider", "provider-first", "provider-last"))
