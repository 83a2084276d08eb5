"""Free look-ups read what the providers say, believe nothing absurd, and never raise or show a key."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pickle
import random
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from looking import Catalogue

from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.providers import catalog
from llm_executor_nb.providers import key_status as keys
from llm_executor_nb.providers.catalog import ModelList, Offer, Price, cost_usd
from llm_executor_nb.providers.key_status import KeyStatus
from llm_executor_nb.providers.transport import Transport
from llm_executor_nb.rehearsal.server import RehearsalServer

CANARY = "sk-or-v1-canary-catalog-0123456789"
KEY_BODY = {
    "data": {
        "label": "sk-or-v1-au7...890",
        "limit": 100,
        "limit_remaining": 74.5,
        "limit_reset": "monthly",
        "usage": 25.5,
        "is_free_tier": False,
        "expires_at": "2027-12-31T23:59:59Z",
        "free_model_daily_requests": {"used": 3, "limit": 1000, "remaining": 997},
    },
}
WHOAMI = {
    "type": "user",
    "name": "lou",
    "isPro": True,
    "canPay": True,
    "auth": {"type": "access_token", "accessToken": {"displayName": "notebook", "role": "read"}},
}
ROUTER_MODEL = {
    "id": "google/gemma-3-27b-it",
    "providers": [
        {
            "provider": "scaleway",
            "status": "live",
            "context_length": 40000,
            "pricing": {"input": 0.25, "output": 0.5},
            "supports_tools": False,
            "supports_structured_output": True,
            "first_token_latency_ms": 250,
            "throughput": 80.5,
        },
        {"provider": "featherless-ai", "status": "error", "is_free": True},
    ],
    "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
}
OPENROUTER_MODEL = {
    "id": "google/gemma-3-27b-it",
    "hugging_face_id": "google/gemma-3-27b-it",
    "context_length": 131072,
    "architecture": {"input_modalities": ["text", "image", "file"]},
    "expiration_date": "2027-01-31",
    "pricing": {"prompt": "0.00000009", "completion": "0.00000017", "request": "0"},
    "supported_parameters": ["temperature", "tools"],
}


def look_up(server, ask, *args, **bounds):
    """Make one look-up with a transport of its own."""

    async def once():
        transport = Transport(**bounds)
        try:
            return await ask(transport, server.url, *args)
        finally:
            await transport.close()

    return asyncio.run(once())


@pytest.fixture
def server():
    with Catalogue() as running:
        yield running


def key_status(server, reply):
    server.replies["/key"] = reply
    return look_up(server, keys.openrouter_key, Secret(CANARY))


def token_status(server, reply):
    server.replies["/api/whoami-v2"] = reply
    return look_up(server, keys.huggingface_token, Secret(CANARY))


def router_list(server, reply):
    server.replies["/models"] = reply
    return look_up(server, catalog.huggingface_models)


def openrouter_list(server, reply):
    server.replies["/models"] = reply
    return look_up(server, catalog.openrouter_models)


def test_a_key_tells_credit_free_tier_and_expiry(server):
    assert key_status(server, KEY_BODY) == KeyStatus(
        outcome=Outcome.OK,
        is_alive=True,
        credit_usd=74.5,
        is_free_tier=False,
        free_requests=(997, 1000),
        expires=datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC),
    )
    assert server.asked == [("/key", f"Bearer {CANARY}")]


def test_a_key_without_a_limit_has_an_unknown_credit_and_not_none_left(server):
    found = key_status(server, {"data": {"limit": None, "limit_remaining": None, "usage": 1.0, "is_free_tier": False}})
    assert (found.outcome, found.is_alive, found.credit_usd) == (Outcome.OK, True, None)


@pytest.mark.parametrize("left", [0, -0.25])
def test_a_key_that_has_used_up_its_credit_is_alive_and_says_quota(server, left):
    found = key_status(server, {"data": {"limit": 10, "limit_remaining": left}})
    assert (found.outcome, found.is_alive, found.credit_usd) == (Outcome.QUOTA, True, left)
    assert "No credit" in found.message


@pytest.mark.parametrize("word", ["is_management_key", "is_provisioning_key"])
def test_a_key_that_only_manages_others_is_told_apart(server, word):
    found = key_status(server, {"data": {**KEY_BODY["data"], word: True}})
    assert (found.outcome, found.is_alive) == (Outcome.FORBIDDEN, True)
    assert "management key" in found.message


@pytest.mark.parametrize(("used", "outcome"), [(12, Outcome.OK), (50, Outcome.QUOTA)])
def test_a_free_key_tells_what_is_left_of_its_day(server, used, outcome):
    daily = {"used": used, "limit": 50, "remaining": 50 - used}
    found = key_status(server, {"data": {"is_free_tier": True, "free_model_daily_requests": daily}})
    assert (found.outcome, found.message) == (outcome, f"{used} of 50 free requests used today (UTC)")


@pytest.mark.parametrize(
    ("reply", "outcome", "is_alive"),
    [
        ((401, {}, {"error": {"code": 401, "message": "User not found."}}), Outcome.AUTH, False),
        ((429, {"Retry-After": "7"}, {"error": {"code": 429, "message": "slow"}}), Outcome.RATE_LIMITED, None),
        ((500, {}, b"oops"), Outcome.SERVER_ERROR, None),
        ((403, {"Content-Type": "text/html"}, b"<html>blocked</html>"), Outcome.FORBIDDEN, None),
        ((404, {}, {"error": "not here"}), Outcome.NOT_FOUND, None),
        ((302, {"Location": "http://127.0.0.1:9/login"}, b""), Outcome.MALFORMED, None),
        ((200, {}, {"error": {"code": 401, "message": "User not found."}}), Outcome.AUTH, False),
        ((200, {}, b"<html>log in</html>"), Outcome.MALFORMED, None),
        ((200, {}, b""), Outcome.MALFORMED, None),
        ((200, {}, {"data": {}}), Outcome.MALFORMED, None),
    ],
)
def test_a_look_up_that_failed_is_a_result_with_its_reason(server, reply, outcome, is_alive):
    found = key_status(server, reply)
    assert (found.outcome, found.is_alive, found.credit_usd) == (outcome, is_alive, None)
    assert found.message
    assert found.retry_after_s == (7.0 if reply[0] == 429 else None)


def test_nobody_there_is_a_result_too():
    with Catalogue() as gone:
        pass
    found = look_up(SimpleNamespace(url=gone.url), keys.openrouter_key, Secret(CANARY))
    assert (found.outcome, found.is_alive) == (Outcome.CONNECTION, None)


@pytest.mark.parametrize("fault", ["hang", "slow-head"])
def test_a_look_up_ends_in_time_whatever_comes(fault):
    with RehearsalServer(f"openrouter: {fault}") as practice:
        place = SimpleNamespace(url=practice.openrouter_url)
        began = time.monotonic()
        found = look_up(place, keys.openrouter_key, Secret(CANARY), look_up_s=0.2)
        assert found.outcome is Outcome.TIMEOUT
        assert time.monotonic() - began < 5


def test_a_list_without_end_is_given_up(server):
    server.replies["/models"] = {"data": [{"id": "m" * 2000}]}

    async def small():
        transport = Transport(body_cap=1000)
        try:
            return await catalog.huggingface_models(transport, server.url)
        finally:
            await transport.close()

    assert asyncio.run(small()).outcome is Outcome.INVALID_OUTPUT


def test_a_redirect_takes_the_key_nowhere(server):
    with Catalogue({"/key": KEY_BODY}) as elsewhere:
        found = key_status(server, (307, {"Location": f"{elsewhere.url}/key"}, b""))
        assert found.is_alive is None
        assert elsewhere.asked == []


def test_a_token_tells_whose_it_is_and_on_which_plan(server):
    found = token_status(server, WHOAMI)
    assert (found.outcome, found.is_alive, found.is_free_tier) == (Outcome.OK, True, False)
    assert found.message == "account lou, plan pro"
    assert found.credit_usd is None
    assert server.asked == [("/api/whoami-v2", f"Bearer {CANARY}")]


@pytest.mark.parametrize("where", ["token", "auth"])
def test_a_token_that_ends_says_when(server, where):
    auth = {"accessToken": {"role": "write", "expiration": "2027-01-02T03:04:05.000Z"}}
    auth = auth if where == "token" else {"expiresAt": "2027-01-02T03:04:05.000Z"}
    assert token_status(server, {"name": "lou", "auth": auth}).expires == datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fine", "outcome"),
    [
        ({"global": [], "scoped": []}, Outcome.FORBIDDEN),
        ({"global": ["discussion.write"], "scoped": [{"permissions": ["repo.write"]}]}, Outcome.FORBIDDEN),
        ({"global": ["inference.serverless.write"], "scoped": []}, Outcome.OK),
        ({"global": [], "scoped": [{"permissions": ["inference.serverless.write"]}]}, Outcome.OK),
        (None, Outcome.OK),
        ("strange", Outcome.OK),
    ],
)
def test_a_fine_grained_token_that_may_not_call_providers_is_told_apart(server, fine, outcome):
    body = {"name": "lou", "auth": {"accessToken": {"role": "fineGrained", "fineGrained": fine}}}
    found = token_status(server, body)
    assert (found.outcome, found.is_alive) == (outcome, True)


def test_a_server_that_lists_its_models_lets_the_key_in(server):
    server.replies["/models"] = {"object": "list", "data": []}
    assert look_up(server, keys.server_key, Secret(CANARY), "vllm").is_alive is True
    server.replies["/models"] = (401, {}, {"error": {"message": "no"}})
    assert look_up(server, keys.server_key, Secret(CANARY), "vllm").is_alive is False


def test_the_router_lists_providers_with_prices_per_token(server):
    found = router_list(server, {"object": "list", "data": [ROUTER_MODEL]})
    assert found.of("google/gemma-3-27b-it") == (
        Offer(
            provider="scaleway",
            status="live",
            context_length=40000,
            price=Price(0.25 / 1e6, 0.5 / 1e6),
            supports_tools=False,
            supports_structured_output=True,
            input_modalities=("text", "image"),
            is_free=False,
            latency_s=0.25,
            throughput=80.5,
        ),
        Offer(provider="featherless-ai", status="error", input_modalities=("text", "image"), is_free=True),
    )
    assert server.asked == [("/models", None)]


def test_openrouter_lists_one_offer_per_model(server):
    found = openrouter_list(server, {"data": [OPENROUTER_MODEL]})
    assert found.of("google/gemma-3-27b-it") == (
        Offer(
            context_length=131072,
            huggingface_id="google/gemma-3-27b-it",
            price=Price(9e-8, 1.7e-7),
            supports_tools=True,
            supports_structured_output=False,
            input_modalities=("text", "image", "file"),
            is_free=False,
            expires=datetime(2027, 1, 31, tzinfo=UTC),
        ),
    )
    assert server.asked == [("/models", None)]


def test_a_model_is_found_whatever_the_case_of_its_letters(server):
    found = router_list(server, {"data": [{"id": "Google/Gemma-3-27B-it", "providers": []}]})
    assert found.of("google/gemma-3-27b-it") == ()
    assert found.of("google/gemma-3-4b-it") is None


@pytest.mark.parametrize(
    "pricing",
    [
        None,
        {},
        [],
        "cheap",
        {"prompt": "0.1"},
        {"prompt": "-1", "completion": "-1"},
        {"prompt": None, "completion": "0.1"},
        {"prompt": True, "completion": True},
        {"prompt": "NaN", "completion": "Infinity"},
        {"prompt": {"usd": 1}, "completion": 1},
    ],
)
def test_a_price_that_is_not_whole_is_unknown_and_not_free(server, pricing):
    found = openrouter_list(server, {"data": [{"id": "m", "pricing": pricing}]})
    assert found.of("m")[0].price is None


@pytest.mark.parametrize("body", [{"data": []}, {"data": None}, {"data": {"m": 1}}, {}, [], None, {"data": [1, {}]}])
def test_an_empty_list_is_no_list(server, body):
    found = router_list(server, body)
    assert (found.outcome, found.offers) == (Outcome.MALFORMED, {})


def test_a_cost_is_the_tokens_times_the_price_and_a_fee_per_request():
    assert cost_usd(Price(1e-6, 2e-6), 100, 10) == pytest.approx(1.2e-4)
    assert cost_usd(Price(1e-6, 2e-6, 0.005), 100, 10) == pytest.approx(5.12e-3)
    assert cost_usd(Price(0.0, 0.0), 100, 10) == 0.0


@pytest.mark.parametrize(
    ("price", "input_tokens", "output_tokens"), [(None, 1, 1), (Price(1, 1), None, 1), (Price(1, 1), 1, None)]
)
def test_a_cost_of_unknown_parts_is_unknown(price, input_tokens, output_tokens):
    assert cost_usd(price, input_tokens, output_tokens) is None


STRANGE = [None, True, 0, -1, 1e308, 10**400, "", "x", "\ud800", "NaN", [], [[]], {}, {"a": 1}, "2026-99-99", "9" * 400]


def _mutated(value, draw):
    """Return JSON in which one in six values is something else."""
    if draw.random() < 1 / 6:
        return draw.choice(STRANGE)
    if isinstance(value, dict):
        return {name: _mutated(one, draw) for name, one in value.items() if draw.random() > 1 / 12}
    if isinstance(value, list):
        return [_mutated(one, draw) for one in value]
    return value


@pytest.mark.parametrize("seed", range(150))
def test_a_body_of_any_shape_is_a_record_of_known_types(seed):
    draw = random.Random(seed)
    for read, body in [
        (keys.read_openrouter_key, KEY_BODY),
        (keys.read_whoami, WHOAMI),
        (keys.read_server_key, {"data": []}),
    ]:
        for _ in range(10):
            mutated = _mutated(body, draw)
            status = read(mutated) if isinstance(mutated, dict) else None
            _assert_plausible(status)
    for read, body in [(catalog.openrouter_offers, OPENROUTER_MODEL), (catalog.huggingface_offers, ROUTER_MODEL)]:
        for _ in range(10):
            mutated = _mutated(body, draw)
            for offer in read(mutated) if isinstance(mutated, dict) else ():
                _assert_plausible(offer)


def _assert_plausible(record):
    for field in dataclasses.fields(record) if record is not None else ():
        value = getattr(record, field.name)
        if field.name.endswith("_usd") and value is not None:
            assert isinstance(value, float)
        elif field.name.startswith(("is_", "supports_")):
            assert value in (None, True, False)
        elif field.name == "expires":
            assert value is None or value.tzinfo is UTC
        elif field.name == "price" and value is not None:
            assert value.input_usd >= 0 <= value.output_usd
        elif isinstance(value, str):
            value.encode()  # a lone surrogate could not be stored


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_on_the_wire_are_a_result(server, seed):
    draw = random.Random(seed)
    whole = json.dumps(draw.choice([KEY_BODY, WHOAMI, {"data": [ROUTER_MODEL]}])).encode()
    cut = whole[: draw.randrange(len(whole))] + draw.randbytes(draw.randrange(5))
    reply = (draw.choice([200, 200, 201, 301, 404, 500]), {}, cut)
    assert isinstance(key_status(server, reply), KeyStatus)
    assert isinstance(token_status(server, reply), KeyStatus)
    assert isinstance(router_list(server, reply), ModelList)
    assert isinstance(openrouter_list(server, reply), ModelList)


def test_a_key_that_is_echoed_is_scrubbed(server):
    echo = {"error": {"code": 401, "message": f"no such key: {CANARY}"}}
    whoami = {"name": f"lou {CANARY}", "auth": {}}
    for found in (key_status(server, (401, {}, echo)), token_status(server, whoami)):
        assert CANARY not in repr(found)
        assert CANARY.encode() not in pickle.dumps(found)


def test_deep_json_is_malformed_and_no_recursion_error(server):
    assert key_status(server, b"[" * 200_000).outcome is Outcome.MALFORMED
