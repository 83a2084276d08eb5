"""check_keys: which keys are alive, where each is looked up, and what that means for their holds."""

from __future__ import annotations

import pickle
import threading

import pandas as pd
import pytest
from looking import HF_CANARY, OR_CANARY, providers_here
from rehearsing import MODEL, fresh, wait_until
from tenacity import wait_none

import llm_executor_nb as llm
from llm_executor_nb.chain.lookups import prices_of
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import Scope, Verdict
from llm_executor_nb.testing import forbid_paid_calls, frozen_clock

COLUMNS = [
    "backend",
    "label",
    "key",
    "source",
    "is_alive",
    "credit_usd",
    "is_free_tier",
    "expires",
    "outcome",
    "message",
]


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


@pytest.fixture
def here():
    with providers_here() as server:
        yield server


# --- keys -------------------------------------------------------------------------------------------------------


def test_each_key_is_told_alive_or_dead_without_a_paid_request():
    script = "openrouter[1]: 401; openrouter[2]: 402"
    with llm.rehearse(script, openrouter_keys=3) as practice, forbid_paid_calls():
        keys = llm.check_keys()
        assert keys.columns.tolist() == COLUMNS
        assert keys["is_alive"].tolist() == [False, True, True, True]
        assert keys["outcome"].tolist() == ["auth", "quota", "ok", "ok"]
        assert keys["credit_usd"].tolist() == [pd.NA, 0.0, 7.5, pd.NA]
        assert keys["label"].tolist() == ["key 1", "key 2", "key 3", "key 1"]
        assert practice.lines == ()
        assert llm.attempts().empty


def test_a_frame_without_a_key_has_the_same_columns_and_types():
    with llm.rehearse():
        whole = llm.check_keys()
    llm.configure(openrouter_keys=[], huggingface_tokens=[])
    none = llm.check_keys()
    assert none.empty
    assert none.dtypes.equals(whole.dtypes)


def test_an_end_beyond_the_range_of_nanoseconds_is_shown(here):
    here.replies["/or/key"] = {"data": {"limit": None, "expires_at": "9999-12-31T23:59:59Z"}}
    assert llm.check_keys("openrouter")["expires"][0].year == 9999


def test_one_backend_alone_can_be_asked(here):
    assert llm.check_keys("huggingface")["backend"].tolist() == ["huggingface"]
    assert here.paths == ["/hf/api/whoami-v2"]


def test_an_unknown_backend_is_refused_before_anything_is_sent(here):
    with pytest.raises(llm.ConfigError, match="openrouter, huggingface"):
        llm.check_keys("open router")
    assert here.asked == []


def test_a_finding_is_kept_for_minutes_and_asked_again_when_told_to(here):
    with frozen_clock() as frozen:
        for _ in range(3):
            llm.check_keys()
        assert len(here.asked) == 2
        llm.check_keys(fresh=True)
        assert len(here.asked) == 4
        frozen.advance(301)
        llm.check_keys()
        assert len(here.asked) == 6


def test_a_key_that_changed_is_asked_at_once(here):
    llm.check_keys("openrouter")
    llm.OPENROUTER_KEYS.append(OR_CANARY + "b")
    llm.check_keys("openrouter")
    assert [key for _, key in here.asked] == [f"Bearer {OR_CANARY}", f"Bearer {OR_CANARY}b"]


def test_a_look_up_that_failed_is_asked_again_but_not_one_that_was_limited(here):
    here.replies["/or/key"] = (503, {}, {"error": "down"})
    here.replies["/hf/api/whoami-v2"] = (429, {"RateLimit": '"api";r=0;t=90'}, {"error": "slow down"})
    with frozen_clock() as frozen:
        for _ in range(2):
            assert llm.check_keys()["outcome"].tolist() == ["overloaded", "rate_limited"]
        assert sorted(here.paths[:2]) == ["/hf/api/whoami-v2", "/or/key"]  # asked at once
        assert here.paths[2:] == ["/or/key"]
        frozen.advance(91)
        llm.check_keys("huggingface")
        assert here.paths[3:] == ["/hf/api/whoami-v2"]


def test_threads_that_ask_at_once_share_one_look_up():
    with llm.rehearse(latency_s=0.3, openrouter_keys=1, huggingface_tokens=0) as practice:
        threads = [threading.Thread(target=llm.check_keys) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(practice.lookups) == 1


def test_a_server_of_ones_own_is_asked_for_its_models(here):
    llm.add_backend("vllm", base_url=f"{here.url}/own/v1", keys=[HF_CANARY + "own"])
    here.replies["/own/v1/models"] = {"object": "list", "data": []}
    assert llm.check_keys("vllm")["is_alive"].tolist() == [True]
    assert here.asked == [("/own/v1/models", f"Bearer {HF_CANARY}own")]


def test_nothing_of_a_key_but_its_end_is_in_the_frame_a_log_or_a_memory(here, caplog):
    caplog.set_level(0)
    here.replies["/or/key"] = (401, {}, {"error": {"code": 401, "message": f"no such key {OR_CANARY}"}})
    here.replies["/hf/api/whoami-v2"] = {"name": HF_CANARY, "auth": {"accessToken": {"displayName": HF_CANARY}}}
    keys = llm.check_keys()
    shown = keys.to_csv() + keys.to_html() + repr(pickle.dumps(keys)) + caplog.text + repr(vars(session().lookups))
    assert OR_CANARY not in shown
    assert HF_CANARY not in shown
    assert keys["key"].tolist() == ["..6789", "..6789"]


# --- where a token goes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("router", "hub_variable", "expected"),
    [
        (None, None, "https://huggingface.co"),
        (None, "https://hub.example/", "https://hub.example"),
        ("https://router.huggingface.co/v1", None, "https://huggingface.co"),
        ("https://proxy.example/hf/v1", None, "https://proxy.example/hf"),
        ("https://proxy.example/hf/v1", "https://hub.example", "https://proxy.example/hf"),
        ("http://127.0.0.1:4000", None, "http://127.0.0.1:4000"),
    ],
)
@pytest.mark.parametrize("given", ["code", "environment"])
def test_a_token_is_looked_up_where_the_router_was_moved_to_and_nowhere_else(
    monkeypatch, router, hub_variable, expected, given
):
    if hub_variable:
        monkeypatch.setenv("HF_ENDPOINT", hub_variable)
    if router and given == "environment":
        monkeypatch.setenv("HF_ROUTER_URL", router)
    elif router:
        llm.configure(huggingface_base_url=router)
    assert session().options.hub_url == expected


def test_in_a_rehearsal_no_look_up_leaves_it(here):
    with llm.rehearse() as practice:
        llm.check_keys()
        llm.sync_models()
        prices_of("gemma")
        assert len(practice.lookups) == 5
    assert here.asked == []


@pytest.mark.usefixtures("here")
def test_what_a_rehearsal_found_ends_with_it():
    before = session().lookups
    for _ in range(2):
        with llm.rehearse("openrouter: 401", openrouter_keys=1):
            assert llm.check_keys("openrouter")["outcome"].tolist() == ["auth"]
        with llm.rehearse(openrouter_keys=1):
            assert llm.check_keys("openrouter")["outcome"].tolist() == ["ok"]
            assert session().lookups is not before
    assert session().lookups is before
    assert llm.check_keys("openrouter")["credit_usd"].tolist() == [7.5]


# --- holds ------------------------------------------------------------------------------------------------------


def held():
    return llm.health()["why"].tolist()


@pytest.fixture
def refused():
    """Start a rehearsal in which the only key was refused once, and is fine again."""

    def begin(fault):
        practice = llm.rehearse(f"openrouter: {fault}*1", openrouter_keys=1, huggingface_tokens=1)
        started.append(practice.start())
        llm.retry_wait_strategy = wait_none()
        llm.run_llm(MODEL, "x")

    started = []
    yield begin
    for practice in started:
        practice.stop()


@pytest.mark.parametrize("fault", ["401", "402", "403"])
def test_a_key_that_is_found_fine_is_no_longer_on_hold(refused, fault):
    refused(fault)
    assert len(held()) == 1
    llm.check_keys()
    assert held() == []
    assert llm.run_llm(MODEL, "y")
    assert llm.attempts()["route"].iloc[-1] == "openrouter ..0001"


def test_a_hold_whose_end_the_provider_named_stays(refused):
    refused("openrouter_free_tier_daily")
    llm.check_keys()
    assert held() == ["quota"]


def test_a_finding_from_before_the_hold_lifts_nothing():
    with llm.rehearse("openrouter: 401@1", openrouter_keys=1):
        assert llm.check_keys("openrouter")["outcome"].tolist() == ["auth"]
    with llm.rehearse("openrouter: 401@2", openrouter_keys=1):
        assert llm.check_keys("openrouter")["outcome"].tolist() == ["ok"]
        llm.run_llm(MODEL, "x")
        llm.run_llm(MODEL, "y")
        assert llm.check_keys("openrouter")["outcome"].tolist() == ["ok"]
        assert held() == ["auth"]
        llm.check_keys("openrouter", fresh=True)
        assert held() == []


def test_a_hold_set_while_the_look_up_was_under_way_stays():
    with llm.rehearse(latency_s=0.3, openrouter_keys=1, huggingface_tokens=0) as practice:
        key = session().options.keys.of("openrouter")[0]
        asking = threading.Thread(target=llm.check_keys)
        asking.start()
        wait_until(lambda: session().lookups._under_way)
        scope = Scope(ScopeLevel.KEY, "openrouter", key.secret)
        session().health.condemn(scope, Verdict(outcome=Outcome.AUTH), clock.current().now())
        asking.join()
        assert len(practice.lookups) == 1
        assert held() == ["auth"]


def test_a_key_that_is_still_dead_stays_on_hold():
    with llm.rehearse("openrouter: 401", openrouter_keys=1):
        llm.run_llm(MODEL, "x")
        llm.check_keys()
        assert held() == ["auth"]


def test_a_dead_key_is_not_put_on_hold_by_looking():
    with llm.rehearse("openrouter: 401; huggingface: 401"):
        assert not llm.check_keys()["is_alive"].any()
        assert held() == []
