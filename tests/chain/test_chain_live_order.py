"""Rows that say `fastest`, `cheapest` or one of Hugging Face's own suffixes: who is asked, in which order, and why."""

from __future__ import annotations

import asyncio
import logging

import pytest
from columns import prompts
from looking import providers_here
from rehearsing import MODEL, assert_log_is_what_the_server_saw, fresh, seen_by, wait_for, wait_until

import llm_executor_nb as llm
from llm_executor_nb.chain import live_rows
from llm_executor_nb.chain.compile import compiled
from llm_executor_nb.chain.inspection import route_states
from llm_executor_nb.chain.lookups import prices_of
from llm_executor_nb.chain.session import session
from llm_executor_nb.settings.models import problems_of
from llm_executor_nb.testing import forbid_paid_calls, frozen_clock

LIST = "/hf/v1/models"
PRACTICE = ["practice", "together", "scaleway", "novita"]
"""The practice providers from the fastest to the slowest, which is also the cheapest."""


@pytest.fixture(autouse=True)
def frozen():
    with fresh(), frozen_clock() as time:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["fastest"]
        yield time


@pytest.fixture
def here():
    with providers_here() as server:
        yield server


def offer(name, ms=None, tokens_per_s=None, prices=None, **more):
    priced = {} if prices is None else {"pricing": dict(zip(("input", "output"), prices, strict=True))}
    return (
        {"provider": name, "status": "live", "first_token_latency_ms": ms, "throughput": tokens_per_s} | priced | more
    )


def listing(*offers, model=MODEL):
    return {"object": "list", "data": [{"id": model, "providers": list(offers)}]}


def timed(**throughput):
    return listing(*(offer(name, 100, speed) for name, speed in throughput.items()))


def order(*, is_asking=True):
    routes = compiled(MODEL, session(), is_asking=is_asking).routes()
    return " ".join(route.provider for route in routes if route.backend == "huggingface")


def asked(practice):
    return [provider for backend, _, provider, *_ in seen_by(practice) if backend == "huggingface"]


# --- which figures decide -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "offers", "expected"),
    [
        ("fastest", [offer("a", 100, 50), offer("b", 100, 200), offer("c", 100, 100)], "b c a"),
        ("fastest", [offer("a", 900, 100), offer("b", 200, 100)], "b a"),
        ("fastest", [offer("a", 100, 20), offer("b", 2000, 100)], "b a"),
        ("fastest", [offer("a"), offer("b", 100, 0), offer("c", None, 90), offer("d", 100, 80)], "c b d a"),
        ("fastest", [offer("a"), offer("b")], "a b"),
        ("fastest", [offer("a", 1, 900, status="error"), offer("b", 900, 9)], "b a"),
        ("fastest", [offer("a", 1, 900, status="error"), offer("b", status="staging")], "a b"),
        ("fastest", [offer("a", "soon", {}), offer("b", -5, float(10))], "b a"),
        ("cheapest", [offer("a", prices=(1, 2)), offer("b", prices=(5, 1)), offer("c", prices=(0.1, 3))], "b a c"),
        ("cheapest", [offer("a", prices=(2, 1)), offer("b", prices=(1, 1))], "b a"),
        ("cheapest", [offer("a"), offer("b", prices=(9, 9)), offer("c", is_free=True)], "c b a"),
        ("cheapest", [offer("a", prices=(-1, -1)), offer("b", prices=(9, 9))], "b a"),
    ],
)
def test_the_listed_figures_decide_and_what_is_not_known_comes_last(here, word, offers, expected):
    llm.models.add(MODEL, providers=[word], names={"huggingface": "My/Model"})
    here.replies[LIST] = listing(*offers, model="my/MODEL")
    assert order() == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (["Fastest "], "a b c"),
        (["c", "fastest"], "c a b"),
        (["fastest", "a"], "b c a"),
        (["gone", "cheapest"], "gone c b a"),
        ([":fastest", "fastest", "b"], ":fastest a c b"),
        (["fastest", "cheapest"], "a b c"),
    ],
)
def test_a_word_stands_for_all_providers_that_the_row_does_not_name(here, row, expected):
    here.replies[LIST] = listing(offer("a", 1, 9, (3, 3)), offer("b", 1, 5, (2, 2)), offer("c", 1, 2, (1, 1)))
    llm.models.set_providers(MODEL, row)
    assert order() == expected


# --- when it changes ------------------------------------------------------------------------------------------------


def test_an_order_stays_for_ten_minutes_and_changes_for_more_than_a_little(here, frozen, caplog):
    caplog.set_level(logging.INFO, logger="llm_executor_nb")
    steps = [
        (0, {"a": 100, "b": 90}, "a b"),
        (599, {"a": 10, "b": 90}, "a b"),
        (2, {"a": 90, "b": 100}, "a b"),
        (601, {"a": 90, "b": 150}, "b a"),
        (601, {"b": 150, "c": 155}, "b c"),
        (601, {"b": 150, "c": 160, "d": 900}, "d b c"),
    ]
    for seconds, figures, expected in steps:
        frozen.advance(seconds)
        here.replies[LIST] = timed(**figures)
        assert order() == order() == expected
    assert here.paths == [LIST] * 5
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert len(told) == 5
    assert told[2] == (
        "my/model: the order by 'fastest' is b (1.81 s), a (2.94 s), by time of an answer of 256 tokens; it was a, b"
    )


def test_a_fresh_list_within_ten_minutes_changes_no_order_and_another_row_does(here, frozen):
    here.replies[LIST] = listing(offer("a", 1, 900, (3, 3)), offer("b", 1, 1, (1, 1)))
    assert order() == "a b"
    here.replies[LIST] = timed(a=1, b=900)
    llm.sync_models(MODEL, fresh=True)
    assert order() == "a b"
    here.replies[LIST] = listing(offer("a", prices=(2, 2.0)), offer("b", prices=(1, 1.0)))
    llm.models.set_providers(MODEL, ["cheapest"])
    frozen.advance(601)
    assert order() == "b a"
    here.replies[LIST] = listing(offer("a", prices=(1, 0.97)), offer("b", prices=(1, 1.0)))
    frozen.advance(601)
    assert order() == "b a"


def test_without_a_list_the_last_order_stays(here, frozen, caplog):
    here.replies[LIST] = timed(a=1, b=9)
    assert order() == "b a"
    for reply in ((503, {}, b"down"), listing(offer("x"), model="someone/else"), timed()):
        here.replies[LIST] = reply
        frozen.advance(3601)
        caplog.clear()
        assert order() == "b a"
        assert "stays b, a: the router" in caplog.text
    here.replies[LIST] = timed(a=9, b=1)
    frozen.advance(3601)
    assert order() == "a b"


def test_a_late_list_is_not_waited_for_while_an_order_is_known(frozen, caplog):
    wait_for(live_order_s=0.05)
    with llm.rehearse("huggingface/practice: pace=0.02@2..", latency_s=0.3, openrouter_keys=0):
        llm.run_llm(MODEL, "x")
        frozen.advance(601)
        assert order() == " ".join(PRACTICE)
        assert "the router's list is late" in caplog.text

        def is_there():
            frozen.advance(61)
            return order().startswith("together")

        wait_until(is_there)


def test_without_any_list_other_routes_are_asked_and_else_an_error_says_why(here, frozen, caplog):
    here.replies[LIST] = (503, {}, b"down")
    assert order() == ""
    assert "the order by 'fastest' is not known: the router sent no list: overloaded down" in caplog.text
    llm.configure(openrouter_keys=[])
    with pytest.raises(llm.ConfigError, match=r"no route: its row says .fastest.*overloaded down") as refused:
        llm.run_llm(MODEL, "x")
    assert "llm.models.set_providers('my/model', [':fastest'])" in str(refused.value)
    here.replies[LIST] = timed(a=1)
    frozen.advance(61)
    assert order() == "a"


def test_the_list_of_a_search_tells_an_order_where_the_router_tells_none(here, caplog):
    here.replies |= {LIST: timed(a=1, b=9), "/or/models": {"data": [{"id": MODEL}]}, "/or/endpoints/zdr": {"data": []}}
    llm.models.search("model")
    here.replies[LIST] = (503, {}, b"down")
    assert order() == "b a"
    assert "stays b, a: the router sent no list" in caplog.text


def test_without_a_key_the_usual_error_comes_and_nothing_is_looked_up(here):
    llm.configure(openrouter_keys=[], huggingface_tokens=[])
    for is_on_openrouter in (True, False):
        llm.models.add(MODEL, providers=["cheapest"], openrouter=is_on_openrouter)
        with pytest.raises(llm.MissingKeyError, match=r"a token from huggingface\.co"):
            llm.run_llm(MODEL, "x")
    assert here.asked == []


def test_whoever_only_looks_sends_nothing_and_leaves_the_chain_right(here):
    here.replies[LIST] = timed(a=1, b=9)
    with forbid_paid_calls():
        assert order() == ""
    assert [state.route for state in route_states([MODEL])] == ["openrouter ..6789"]
    assert llm.health().empty
    assert here.asked == []
    assert order() == "b a"
    assert order(is_asking=False) == "b a"


# --- in use ---------------------------------------------------------------------------------------------------------


def test_calls_columns_and_streams_go_down_the_live_order_and_own_backends_stay_last():
    llm.add_backend("mine", base_url="http://127.0.0.1:9/v1")
    with llm.rehearse("openrouter: 401; huggingface: 402") as practice:
        llm.models.add(MODEL, providers=["mine", "fastest"])
        assert llm.attempts(llm.run_llm(MODEL, "x"))["route"].iloc[-1] == "mine"
    with llm.rehearse("openrouter: 401; huggingface: pay-as-you-go") as practice:
        llm.models.add(MODEL, providers=["mine", "fastest"])
        llm.run_llm(MODEL, "x")
        assert asked(practice) == PRACTICE
        assert_log_is_what_the_server_saw(practice)
    for row, first in ((["fastest"], "practice"), (["cheapest"], "novita")):
        with llm.rehearse(openrouter_keys=0) as practice:
            llm.MODEL_INFERENCE_PROVIDERS[MODEL] = row
            "".join(chunk.content for chunk in llm.stream_llm(MODEL, "x"))
            prompts(3).llm.run(MODEL, "q", progress=False)
            assert prompts(1).llm.plan(MODEL, "q").routes[0].startswith(f"huggingface/{first} ")
            assert set(asked(practice)) == {first}
            assert [line.path for line in practice.lookups] == ["/huggingface/v1/models"]


def test_async_calls_do_not_wait_in_their_own_loop_for_the_list(monkeypatch):
    monkeypatch.setattr(live_rows, "run_sync", None)

    async def both():
        await llm.arun_llm(MODEL, "x")
        await prompts(2).llm.arun(MODEL, "q", progress=False)

    for _ in range(2):
        with llm.rehearse(openrouter_keys=0) as practice:
            asyncio.run(both())
            assert set(asked(practice)) == {"practice"}
    with llm.rehearse(), pytest.raises(llm.ModelNotSupportedError):
        asyncio.run(llm.arun_llm("my/modell", "x"))


def test_a_script_moves_the_figures_and_holds_outlast_the_new_order(frozen):
    script = "huggingface/practice: pay-as-you-go@1, pace=0.02@2..; huggingface/scaleway: latency=0.001"
    with llm.rehearse(script, openrouter_keys=0) as practice:
        llm.run_llm(MODEL, "x")
        held = llm.health()["scope"].tolist()
        frozen.advance(601)
        llm.run_llm(MODEL, "y")
        assert asked(practice) == ["practice", "together", "together"]
        assert order() == "together scaleway practice novita"
        assert llm.health()["scope"].tolist() == held != []


def test_a_job_keeps_its_order_to_its_end(frozen):
    with llm.rehearse("huggingface/practice: pace=0.02@2..", openrouter_keys=0) as practice:
        out = prompts(4).llm.run(
            MODEL, "q", concurrency=1, progress=False, accept=lambda _: frozen.advance(250) is None
        )
        assert set(out["q_llm_status"]) == {"ok"}
        assert set(asked(practice)) == {"practice"}
        assert len(practice.lookups) == 1
        llm.run_llm(MODEL, "x")
        assert asked(practice)[-1] == "together"


def test_prices_and_policies_count_every_provider_that_the_word_stands_for(here):
    here.replies[LIST] = listing(offer("together", prices=(1, 2)), offer("novita", prices=(3, 4)), offer("groq"))
    llm.models.add(MODEL, providers=["cheapest"], openrouter=False)
    assert {name: price and round(price.output_usd * 1e6) for (_, name), price in prices_of(MODEL).items()} == {
        "together": 2,
        "novita": 4,
        "groq": None,
    }
    plan = prompts(1).llm.plan(MODEL, "q", policy=llm.Policy(max_price=(2, 3)))
    assert [route.split()[0] for route in plan.routes] == ["huggingface/together"]
    plan = prompts(1).llm.plan(MODEL, "q", policy=llm.Policy(only=("novita",)))
    assert [route.split()[0] for route in plan.routes] == ["huggingface/novita"]
    assert len(plan.left_out) == 2


def test_the_table_knows_a_word_and_a_suffix_and_marks_neither_as_stale(here):
    llm.models.set_providers(MODEL, ["gone", "fastest", ":cheapest"])
    here.replies[LIST] = listing(offer("a"), offer("b", status="error"))
    frame = llm.sync_models(MODEL, apply=True)
    assert dict(zip(frame["provider"], frame["found"], strict=True)) == {
        "gone": "stale",
        "fastest": "listed",
        ":cheapest": "listed",
        "a": "listed",
        "b": "listed",
    }
    assert llm.MODEL_INFERENCE_PROVIDERS[MODEL] == ["fastest", ":cheapest"]
    here.replies[LIST] = listing(offer("a"), model="someone/else")
    assert set(llm.sync_models(MODEL, apply=True, fresh=True)["found"]) == {"unknown"}
    assert llm.MODEL_INFERENCE_PROVIDERS[MODEL] == ["fastest", ":cheapest"]
    here.replies[LIST] = listing(offer("a"))
    llm.models.set_providers(MODEL, [":fastest"])
    llm.sync_models(MODEL, apply=True, fresh=True)
    assert llm.MODEL_INFERENCE_PROVIDERS[MODEL] == [":fastest", "a"]
    assert problems_of(llm.models, MODEL) == {}


def test_a_sync_leaves_a_row_that_it_would_empty(here):
    llm.models.set_providers(MODEL, ["gone"])
    here.replies[LIST] = listing(offer("a", status="staging"))
    llm.sync_models(MODEL, apply=True)
    assert llm.MODEL_INFERENCE_PROVIDERS[MODEL] == ["gone"]


@pytest.mark.parametrize("suffix", [":fastest", ":cheapest", ":Preferred"])
def test_hugging_faces_own_suffix_is_one_route_that_is_sent_as_it_is(suffix):
    with llm.rehearse(openrouter_keys=0) as practice:
        llm.models.add(MODEL, providers=[suffix, "novita"], names={"huggingface": "My/Model"})
        log = llm.attempts(llm.run_llm(MODEL, "x"))
        assert practice.lines[0].model == "My/Model" + suffix.lower()
        assert log["route"].tolist() == [f"huggingface/{suffix.lower()} ..0001"]
        assert log["upstream"].isna().all()
        assert practice.lookups == ()
        kept = llm.Policy(only=("novita",))
        assert llm.attempts(llm.run_llm(MODEL, "x", policy=kept))["provider"].tolist() == ["novita"]
