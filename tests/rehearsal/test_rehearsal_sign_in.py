"""The practice sign-ins refuse what the real ones refuse, so that a sign-in can be practised with all its failures."""

import base64
import hashlib
import json
import urllib.error
import urllib.parse
import urllib.request

import pytest
from signing_in import code_at

from llm_executor_nb.core import clock
from llm_executor_nb.rehearsal.server import RehearsalServer

VERIFIER = "v" * 64


@pytest.fixture
def server():
    with RehearsalServer(openrouter_keys=["sk-or-v1-practice-0001"]) as running:
        yield running


def _page(server, method="S256"):
    digest = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    asked = {"code_challenge": digest if method == "S256" else VERIFIER, "code_challenge_method": method}
    return f"{server.root}/openrouter/auth?{urllib.parse.urlencode(asked)}"


def _asked(url, body=None):
    """Return the status and the body of a reply."""
    try:
        with urllib.request.urlopen(url, data=body, timeout=10) as reply:  # noqa: S310 - a practice provider's
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def _traded(server, **asked):
    return _asked(f"{server.openrouter_url}/auth/keys", json.dumps(asked).encode())


@pytest.mark.parametrize("method", ["S256", "plain"])
def test_a_code_is_traded_for_a_key_once(server, method):
    asked = {"code": code_at(_page(server, method)), "code_verifier": VERIFIER, "code_challenge_method": method}
    status, body = _traded(server, **asked)
    assert (status, json.loads(body)["key"]) == (200, "sk-or-v1-practice-0002")
    assert _traded(server, **asked)[0] == 403


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"code_verifier": "w" * 64}, 403),
        ({"code_verifier": None}, 403),
        ({"code": "nocode"}, 403),
        ({"code_challenge_method": "plain"}, 400),
        ({"code_challenge_method": "S512"}, 400),
        ({"code_challenge_method": None}, 400),
    ],
)
def test_what_does_not_belong_to_the_code_is_refused_and_the_code_can_still_be_traded(server, wrong, status):
    asked = {"code": code_at(_page(server)), "code_verifier": VERIFIER, "code_challenge_method": "S256"}
    assert _traded(server, **(asked | wrong))[0] == status
    assert _traded(server, **asked)[0] == 200


def test_a_code_lasts_ten_minutes(server):
    with clock.use(clock.FrozenClock()) as frozen:
        asked = {"code": code_at(_page(server)), "code_verifier": VERIFIER, "code_challenge_method": "S256"}
        frozen.advance(600)
        assert _traded(server, **asked)[0] == 403


def test_the_page_wants_a_challenge_and_the_trade_a_post(server):
    assert _asked(f"{server.root}/openrouter/auth")[0] == 400
    assert _asked(f"{server.openrouter_url}/auth/keys")[0] == 405
    assert _asked(f"{server.openrouter_url}/auth/keys", b"no json")[0] == 400


def test_while_openrouter_is_down_no_code_is_traded():
    with RehearsalServer("openrouter: 503") as server:
        asked = {"code": code_at(_page(server)), "code_verifier": VERIFIER, "code_challenge_method": "S256"}
        assert _traded(server, **asked)[0] == 503


def _token(server, **asked):
    status, body = _asked(f"{server.root}/huggingface/oauth/token", urllib.parse.urlencode(asked).encode())
    return status, json.loads(body)


def test_a_device_is_let_in_by_its_page_and_its_token_is_renewed_once_by_each_refresh_token(server):
    _, body = _asked(f"{server.root}/huggingface/oauth/device", b"client_id=practice")
    device = json.loads(body)
    asked = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": device["device_code"],
        "client_id": "practice",
    }
    assert _token(server, **asked) == (400, {"error": "authorization_pending"})
    assert code_at(device["verification_uri_complete"]) == device["user_code"]
    status, token = _token(server, **asked)
    assert (status, token["access_token"]) == (200, "hf_oauth_practicelogin0001")
    assert _token(server, **asked)[1] == {"error": "expired_token"}
    renew = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"], "client_id": "practice"}
    assert _token(server, **renew)[1]["access_token"] == "hf_oauth_practicelogin0002"
    assert _token(server, **renew) == (400, {"error": "invalid_grant"})
