"""A rehearsal tells of keys and models what its providers would say, in the bodies that they say it in."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from rehearsing import MODEL, fresh, seen_by
from tenacity import wait_none

import llm_executor_nb as llm
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.settings.shipped_models import SHIPPED

GEMMA = "google/gemma-3-27b-it"
KEY, TOKEN = "sk-or-v1-practice-0001", "hf_practicetoken0001"
UNSEEN = "sk-or-v1-canary-never-seen-0042"


@pytest.fixture
def served():
    """Start a server with a script; return it."""
    servers = []

    def begin(script="", **options):
        servers.append(RehearsalServer(script, openrouter_keys=[KEY], huggingface_tokens=[TOKEN], **options).start())
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()


def get(url, key=None):
    """Return the status and the JSON of a GET."""
    parts = urlsplit(url)
    with closing(HTTPConnection(parts.netloc, timeout=5)) as connection:
        connection.request("GET", parts.path, headers={"Authorization": f"Bearer {key}"} if key else {})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())


def key_of(server, key=KEY):
    return get(f"{server.openrouter_url}/key", key)


def whoami(server, key=TOKEN):
    return get(server.huggingface_url.removesuffix("/v1") + "/api/whoami-v2", key)


def test_a_key_has_the_body_that_openrouter_documents(served):
    status, body = key_of(served())
    assert status == 200
    assert body["data"].keys() >= {
        "label",
        "limit",
        "limit_remaining",
        "limit_reset",
        "usage",
        "is_free_tier",
        "expires_at",
        "free_model_daily_requests",
    }
    assert body["data"]["limit_remaining"] > 0


def test_a_token_has_the_body_that_the_hub_documents(served):
    status, body = whoami(served())
    assert status == 200
    assert body["auth"]["accessToken"]["fineGrained"]["scoped"][0]["permissions"] == ["inference.serverless.write"]


@pytest.mark.parametrize("look_up", [key_of, whoami])
def test_without_a_key_nothing_is_told(served, look_up):
    status, body = look_up(served(), None)
    assert status == 401
    assert body["error"]


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("openrouter: 401", 401),
        ("openrouter[1]: 401", 401),
        ("openrouter[2]: 401", 200),
        ("openrouter: 403", 403),
        ("openrouter: 429 retry-after=3", 429),
        ("openrouter: 503", 503),
        ("*: 500", 500),
        ("openrouter: latency=0.01, 401", 401),
        ("openrouter: 429*1", 429),
        ("openrouter: 401@2", 200),
        ("huggingface: 401", 200),
        ("openrouter: content_policy_violation", 200),
        ("openrouter: no_endpoints", 200),
        ("openrouter: upstream_provider_shared_pool", 200),
        ("openrouter: openrouter_in_flight_budget", 200),
        ("openrouter: empty", 200),
        ("openrouter: rate=1/min", 200),
        ("openrouter: temporarily_unavailable", 200),
    ],
)
def test_a_key_is_told_what_its_next_request_would_be_told_of_the_key(served, script, status):
    assert key_of(served(script))[0] == status


@pytest.mark.parametrize(
    ("script", "left", "is_free"),
    [
        ("openrouter: 402", 0.0, False),
        ("openrouter: openrouter_key_limit", 0.0, False),
        ("openrouter: key-limit-exceeded", 0.0, False),
        ("openrouter: free-models-per-day", None, True),
    ],
)
def test_a_key_without_credit_is_alive_and_has_none(served, script, left, is_free):
    status, body = key_of(served(script))
    assert (status, body["data"]["limit_remaining"], body["data"]["is_free_tier"]) == (200, left, is_free)


@pytest.mark.parametrize(
    ("script", "status", "can_pay", "permissions"),
    [
        ("huggingface: 402", 200, False, ["inference.serverless.write"]),
        ("huggingface: 403", 200, True, []),
        ("huggingface: pay-as-you-go", 200, True, ["inference.serverless.write"]),
        ("huggingface/scaleway: 401", 200, True, ["inference.serverless.write"]),
        ("huggingface: 401", 401, None, None),
        ("huggingface: 429", 429, None, None),
    ],
)
def test_a_token_is_told_what_the_hub_knows(served, script, status, can_pay, permissions):
    told, body = whoami(served(script))
    assert told == status
    if status == 200:
        assert body["canPay"] is can_pay
        assert body["auth"]["accessToken"]["fineGrained"]["scoped"][0]["permissions"] == permissions


def test_a_look_up_uses_up_nothing_of_the_script():
    with fresh(), llm.rehearse("openrouter: 401*1", openrouter_keys=1) as practice:
        llm.retry_wait_strategy = wait_none()
        for _ in range(3):
            assert llm.check_keys("openrouter", fresh=True)["outcome"].tolist() == ["auth"]
        llm.run_llm(MODEL, "x")
        assert [status for *_, status in seen_by(practice)] == [401, 200]
        assert llm.check_keys("openrouter", fresh=True)["outcome"].tolist() == ["ok"]


def test_look_ups_have_lines_of_their_own(served):
    server = served()
    key_of(server)
    get(f"{server.huggingface_url}/models")
    assert server.lines == ()
    assert [(line.backend, line.key, line.path, line.status) for line in server.lookups] == [
        ("openrouter", "..0001", "/openrouter/api/v1/key", 200),
        ("huggingface", None, "/huggingface/v1/models", 200),
    ]
    server.clear()
    assert server.lookups == ()


def test_a_key_leaves_nothing_but_its_end(served):
    server = served()
    _, body = key_of(server, UNSEEN)
    assert UNSEEN not in json.dumps(body) + repr(server.lookups) + repr(server)
    assert body["data"]["label"].endswith("0042")


def providers_of(server, model=GEMMA):
    _, body = get(f"{server.huggingface_url}/models")
    listed = next(row for row in body["data"] if row["id"] == model)
    return {one["provider"]: one["status"] for one in listed["providers"]}


def test_the_router_lists_who_serves_the_shipped_model(served):
    assert providers_of(served()) == {"featherless-ai": "live", "scaleway": "live", "practice": "live"}


def test_a_provider_that_refuses_the_model_is_not_listed_and_one_that_is_down_is_in_error(served):
    server = served("huggingface/scaleway: 503; huggingface/featherless-ai: model_not_supported")
    assert providers_of(server) == {"scaleway": "error", "practice": "live"}


@pytest.mark.parametrize("backend", ["openrouter", "huggingface"])
def test_a_list_needs_no_key_and_goes_down_with_its_backend(served, backend):
    for script, status in [("", 200), (f"{backend}: 401", 200), (f"{backend}: 502", 502)]:
        server = served(script)
        assert get(getattr(server, f"{backend}_url") + "/models")[0] == status


def test_a_rehearsal_lists_the_users_own_models_as_the_backends_call_them():
    with fresh():
        llm.models.add("mine", providers=["a"], names={"huggingface": "org/Mine", "openrouter": "org/mine"})
        llm.models.add("ours", providers=["b"], openrouter=False)
        llm.MODEL_INFERENCE_PROVIDERS["broken"] = "no list"
        with llm.rehearse() as practice:
            _, router = get(f"{practice._server.huggingface_url}/models")
            _, openrouter = get(f"{practice._server.openrouter_url}/models")
        shipped = [row.id_at_huggingface for row in SHIPPED]
        mine = [*shipped, MODEL, "org/Mine", "ours"]
        assert [row["id"] for row in router["data"]][: len(mine)] == mine
        mine = [*(row.model for row in SHIPPED), MODEL, "org/mine"]
        assert [row["id"] for row in openrouter["data"]][: len(mine)] == mine
        assert (len(openrouter["data"]), len(router["data"])) == (600, 150)
        assert {len({row["id"].casefold() for row in listed["data"]}) for listed in (openrouter, router)} == {600, 150}


def models_of(server, backend="openrouter"):
    return get(getattr(server, f"{backend}_url") + "/models")[1]["data"]


def test_faults_of_lists_change_a_list_and_no_request_and_keep_the_place_of_others(served):
    usual = models_of(served())
    for backend in ("openrouter", "huggingface"):
        server = served("*: list-large")
        assert 20_000_000 < len(json.dumps(models_of(server, backend))) < 22_000_000
        unpriced = models_of(served("*: list-unpriced"), backend)
        assert {repr(row.get("pricing")) for row in unpriced} >= {"None"}
    odd = models_of(served("openrouter: list-odd"))
    assert len(odd) > len(usual)
    assert not all(isinstance(row, dict) for row in odd)
    server = served("openrouter: list-drift, 401")
    first, second = models_of(server), models_of(server)
    assert len(first) == len(second) == len(usual) * 0.9
    assert first != second
    assert key_of(server)[0] == 401
    assert len(models_of(served("openrouter: list-drift, 503"))) == len(usual) * 0.9
