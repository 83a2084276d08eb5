"""What fails at a backend of the user's own is told with its address, its key or its model, not with a shop's page."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from backing import ResponseError, failing, only, practice_providers
from loopback import Loopback
from rehearsing import fresh, words

import llm_executor_nb as llm
from llm_executor_nb.testing import frozen_clock

PAGES_OF_SHOPS = re.compile(r"openrouter\.ai|huggingface\.co")
TO = b"Location: http://gpu.example:8000/v1/chat/completions?token=sk-canary-of-a-redirect#x\r\n"


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


@pytest.fixture(autouse=True)
def frozen():
    with frozen_clock() as clock:
        yield clock


def replies(status, body, *headers):
    told = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} x".encode(), b"Connection: close", f"Content-Length: {len(told)}".encode(), *headers]
    whole = b"\r\n".join(lines) + b"\r\n\r\n" + told
    return Loopback(lambda connection: connection.sendall(whole))


def advice_of(server, base_url=None, **options):
    """Return what is said when the only route is a server of the user's."""
    only("mine", base_url=base_url or server.url, **options)
    with pytest.raises(llm.AllRoutesFailedError) as raised:
        llm.run_llm("m", "x")
    assert not PAGES_OF_SHOPS.search(str(raised.value))
    return str(raised.value)


def test_a_base_url_without_v1_is_told_with_the_url_that_was_asked():
    with replies(404, b"404 page not found") as server:
        root = server.url.removesuffix("/v1")
        told = advice_of(server, root)
    assert f"Next: {root}/chat/completions was asked, and nothing is there: correct base_url" in told
    assert "most base URLs end in /v1" in told
    assert "load the model" not in told


def test_a_base_url_with_v1_that_finds_nothing_leaves_both_open():
    with replies(404, {"detail": "Not Found"}) as server:
        told = advice_of(server)
    assert "correct base_url; if it is right, load the model there" in told
    assert "names={'mine': '...'}" in told


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": 'model "m" not found, try pulling it first', "type": "api_error"}},
        {"error": {"message": "No models loaded. Please load a model.", "code": "model_not_found"}},
        {"error": {"message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404}},
    ],
    ids=["Ollama", "LM Studio", "vLLM"],
)
def test_a_model_that_a_server_has_not_is_loaded_there_or_named(said):
    with replies(404, said) as server:
        told = advice_of(server)
    assert "mine has no model of this name: load the model there, or say its name there: names={'mine'" in told
    assert "take the provider out" not in told


def test_lm_studios_error_inside_a_200_is_of_the_address_and_asked_once():
    with replies(200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}) as server:
        told = advice_of(server, server.url.removesuffix("/v1"))
    assert "most base URLs end in /v1" in told
    assert words("outcome") == ["not_found"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_wants_a_key_is_added_again_with_one(status):
    with replies(status, {"error": "who are you"}) as server:
        told = advice_of(server)
    assert f"Next: mine wants a key: llm.add_backend('mine', base_url='{server.url}', keys=[key])." in told


def test_a_key_that_a_server_does_not_accept_is_replaced_there():
    with replies(401, {"error": "who are you"}) as server:
        told = advice_of(server, keys=["practice-key-0001"])
        with pytest.raises(llm.AllRoutesFailedError, match=r"left out: mine \.\.0001") as raised:
            llm.run_llm("m", "x")
    step = f"mine does not accept the key: give another, llm.add_backend('mine', base_url='{server.url}', keys=[key])"
    assert step in told
    assert step in str(raised.value), "a route that is left out is told like one that was asked"


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (402, "the credit at mine is used up: top it up there"),
        (429, "mine limits its rate: wait, or raise the limit there; concurrency= slows a column down"),
        (500, "mine has trouble: look at its own log"),
        (503, "mine is overloaded"),
    ],
)
def test_credit_limits_and_trouble_of_a_server_are_mended_there(status, step):
    with replies(status, {"error": "no"}) as server:
        assert step in advice_of(server, keys=["practice-key-0001"])


def test_a_server_that_does_not_run_is_told_with_its_address_and_not_as_the_network():
    with Loopback(lambda _: None) as server:
        url = server.url
    told = advice_of(None, url)
    assert f"the connection to {url}/chat/completions failed: check that mine runs and listens there" in told
    assert "so it is the network" not in told


def test_a_backend_of_the_users_and_a_shop_are_each_told_what_helps():
    with practice_providers() as serve, replies(401, {"error": "no"}) as server:
        serve("openrouter: 401")
        llm.configure(openrouter_keys=["sk-or-v1-backing-0001"])
        llm.add_backend("mine", base_url=server.url)
        llm.MODEL_INFERENCE_PROVIDERS["m"] = ["mine"]
        with pytest.raises(llm.AllRoutesFailedError) as raised:
            llm.run_llm("m", "x")
    steps = [line.strip() for line in str(raised.value).splitlines() if "Next: " in line]
    assert len(steps) == 2
    assert "openrouter.ai/settings/keys" in steps[0]
    assert steps[1].startswith("Next: mine wants a key")


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (ResponseError("model 'gemma3' not found", 404), "load the model there, or make a new object"),
        (ResponseError("unauthorized", 401), "the key that the chat model of mine holds is not accepted"),
        (ConnectionRefusedError("refused"), "could not connect: check that its server runs"),
    ],
)
def test_a_chat_model_object_is_mended_where_it_is_made(error, step):
    only("mine", chat_model=failing(error))
    with pytest.raises(llm.AllRoutesFailedError) as raised:
        llm.run_llm("m", "x")
    assert step in str(raised.value)
    assert not PAGES_OF_SHOPS.search(str(raised.value))


def test_a_job_that_ends_early_says_what_helps_there():
    with replies(401, {"error": "no"}) as server:
        only("mine", base_url=server.url)
        with pytest.warns(llm.LLMExecutorWarning, match="mine wants a key") as told:
            pd.DataFrame({"q": [str(number) for number in range(30)]}).llm.run("m", "q", progress=False)
    assert not PAGES_OF_SHOPS.search(str(told[0].message))


# --- redirects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_redirect_of_a_server_says_where_to_without_what_may_be_secret_and_is_asked_once(status):
    with replies(status, b"", TO.strip()) as server:
        told = advice_of(server)
    assert "it redirects to http://gpu.example:8000/v1/chat/completions" in told
    assert "set base_url to that address, without /chat/completions" in told
    assert "canary" not in told + str(llm.attempts()["message"].tolist())
    assert words("outcome") == ["not_found"]


def test_a_login_page_that_a_server_sends_to_may_pass():
    with replies(302, b"", b"Location: /login?next=%2Fv1") as server:
        told = advice_of(server)
    assert "it redirects to /login)" in told
    assert "if it is a login page, log in" in told
    assert words("outcome") == ["malformed"] * 4


@pytest.mark.parametrize("place", [b"http://[::1", b"", b"http://x:99999/"])
def test_a_redirect_to_no_address_is_a_verdict_like_any(place):
    with replies(307, b"", b"Location: " + place) as server:
        told = advice_of(server)
    assert "HTTP 307" in told
