"""sync_models and prices_of: the table against the router's list, and what each route costs."""

from __future__ import annotations

import asyncio

import pandas as pd
import pytest
from looking import providers_here
from rehearsing import MODEL, fresh

import llm_executor_nb as llm
from llm_executor_nb.chain.lookups import aprices_of, prices_of
from llm_executor_nb.providers.catalog import Price
from llm_executor_nb.settings.models import problems_of
from llm_executor_nb.testing import forbid_paid_calls, frozen_clock

GEMMA = "google/gemma-3-27b-it"


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


@pytest.fixture
def here():
    with providers_here() as server:
        yield server


def listing(*providers, model=MODEL):
    told = [one if isinstance(one, dict) else {"provider": one, "status": "live"} for one in providers]
    return {"object": "list", "data": [{"id": model, "providers": told}]}


def found_by(frame):
    return dict(zip(frame["provider"], frame["found"], strict=True))


def test_the_table_is_compared_with_what_the_router_offers(here):
    priced = {
        "provider": "a",
        "status": "live",
        "context_length": 8192,
        "pricing": {"input": 0.5, "output": 1},
        "supports_tools": True,
    }
    here.replies["/hf/v1/models"] = listing(priced, {"provider": "b", "status": "error"}, "d")
    frame = llm.sync_models(MODEL)
    assert found_by(frame) == {"a": "listed", "b": "listed", "c": "stale", "d": "missing"}
    first = frame.iloc[0]
    assert (first["status"], first["context_length"], first["supports_tools"]) == ("live", 8192, True)
    assert first[["input_usd_per_million", "output_usd_per_million"]].tolist() == pytest.approx([0.5, 1.0])
    assert first["supports_structured_output"] is pd.NA
    assert frame["message"].tolist()[1] == "error at the router"


def test_the_table_is_marked_and_its_rows_are_left_alone(here):
    here.replies["/hf/v1/models"] = listing("a", "b")
    llm.sync_models()
    assert llm.MODEL_INFERENCE_PROVIDERS[MODEL] == ["a", "b", "c"]
    assert "c (not offered by the router on" in repr(llm.models)
    assert list(problems_of(llm.models, MODEL)) == ["c"]
    here.replies["/hf/v1/models"] = listing("a", "b", "c")
    llm.sync_models(fresh=True)
    assert problems_of(llm.models, MODEL) == {}


def test_a_sync_that_applies_drops_what_is_stale_and_appends_what_is_live(here):
    here.replies["/hf/v1/models"] = listing("c", "a", {"provider": "staged", "status": "staging"}, "d")
    llm.sync_models(MODEL, apply=True)
    assert llm.MODEL_INFERENCE_PROVIDERS[MODEL] == ["a", "c", "d"]


def test_backends_of_ones_own_stay_in_the_row_and_out_of_the_frame(here):
    llm.add_backend("ollama", base_url="http://127.0.0.1:9/v1")
    llm.models.add(MODEL, providers=["ollama", "a", "b"], names={"ollama": "small"})
    here.replies["/hf/v1/models"] = listing("a")
    frame = llm.sync_models(MODEL, apply=True)
    assert found_by(frame) == {"a": "listed", "b": "stale"}
    assert llm.MODEL_INFERENCE_PROVIDERS[MODEL] == ["ollama", "a"]
    assert llm.models.names[MODEL] == {"ollama": "small"}


def test_a_model_that_is_not_listed_keeps_its_row(here):
    here.replies["/hf/v1/models"] = listing("a", model="someone/else")
    frame = llm.sync_models(MODEL, apply=True)
    assert set(frame["found"]) == {"stale"}
    assert set(frame["message"]) == {"the router does not list this model"}
    assert llm.MODEL_INFERENCE_PROVIDERS[MODEL] == ["a", "b", "c"]


@pytest.mark.parametrize("reply", [(503, {}, b"down"), (200, {}, {"data": []}), (200, {}, b"<html>")])
def test_without_a_list_nothing_is_known_and_nothing_changed(here, reply):
    here.replies["/hf/v1/models"] = reply
    frame = llm.sync_models(MODEL, apply=True)
    assert set(frame["found"]) == {"unknown"}
    assert frame["message"].str.startswith("the router sent no list").all()
    assert llm.MODEL_INFERENCE_PROVIDERS[MODEL] == ["a", "b", "c"]
    assert problems_of(llm.models, MODEL) == {}


def test_a_model_is_looked_for_under_its_name_at_the_router(here):
    llm.models.add(MODEL, providers=["a"], names={"huggingface": "org/My-Model"})
    here.replies["/hf/v1/models"] = listing("a", model="org/My-Model")
    assert found_by(llm.sync_models(MODEL)) == {"a": "listed"}


def test_models_are_named_by_name_or_alias_each_once(here):
    here.replies["/hf/v1/models"] = {"data": [*listing("a")["data"], *listing("b", model=GEMMA)["data"]]}
    assert set(llm.sync_models(["gemma", GEMMA])["model"]) == {GEMMA}
    llm.MODEL_INFERENCE_PROVIDERS = {name: llm.MODEL_INFERENCE_PROVIDERS[name] for name in (GEMMA, MODEL)}
    assert set(llm.sync_models()["model"]) == {GEMMA, MODEL}
    assert here.paths == ["/hf/v1/models"]
    with pytest.raises(llm.ModelNotSupportedError):
        llm.sync_models("gemini")


def test_a_kept_list_that_does_not_know_a_model_is_asked_for_again_once(here):
    here.replies["/hf/v1/models"] = listing("a")
    llm.sync_models(MODEL)
    here.replies["/hf/v1/models"] = {"data": [*listing("a")["data"], *listing("b", model="my/new")["data"]]}
    llm.models.add("my/new", providers=["b"])
    assert found_by(llm.sync_models("my/new")) == {"b": "listed"}
    for _ in range(3):
        assert set(llm.sync_models("gemma")["found"]) == {"stale"}
    assert len(here.asked) == 3


def test_a_model_that_is_added_in_a_rehearsal_has_prices_there():
    with llm.rehearse():
        prices_of("gemma")
        llm.models.add("my/new", providers=["b"])
        assert None not in prices_of("my/new").values()


def test_the_provider_that_left_is_stale_in_a_rehearsal_too():
    with llm.rehearse():
        assert found_by(llm.sync_models("gemma")) == {
            "nebius": "stale",
            "featherless-ai": "listed",
            "scaleway": "listed",
            "practice": "missing",
        }


# --- prices -----------------------------------------------------------------------------------------------------


def test_each_route_has_its_price_or_none(here):
    here.replies["/or/models"] = {"data": [{"id": MODEL, "pricing": {"prompt": "1e-7", "completion": "2e-7"}}]}
    here.replies["/hf/v1/models"] = listing({"provider": "a", "pricing": {"input": 0.5, "output": 1}}, "b")
    assert prices_of(MODEL) == {
        ("openrouter", None): Price(1e-7, 2e-7),
        ("huggingface", "a"): Price(5e-7, 1e-6),
        ("huggingface", "b"): None,
        ("huggingface", "c"): None,
    }


def test_many_rows_need_one_look_up_an_hour(here):
    with frozen_clock() as frozen:
        here.replies["/or/models"] = {"data": [{"id": MODEL}, {"id": GEMMA}]}
        here.replies["/hf/v1/models"] = {"data": [*listing("a")["data"], *listing("b", model=GEMMA)["data"]]}

        async def many():
            return await asyncio.gather(*(aprices_of(MODEL) for _ in range(50)))

        asyncio.run(many())
        frozen.advance(3500)
        prices_of("gemma")
        assert sorted(here.paths) == ["/hf/v1/models", "/or/models"]
        frozen.advance(101)
        prices_of(MODEL)
        assert len(here.paths) == 4


def test_a_dead_catalogue_is_asked_once_a_minute_and_its_prices_are_unknown(here):
    with frozen_clock() as frozen:
        for _ in range(5):
            assert set(prices_of(MODEL).values()) == {None}
        assert len(here.asked) == 2
        frozen.advance(61)
        prices_of(MODEL)
        assert len(here.asked) == 4


def test_a_backend_that_is_not_asked_for_the_model_is_not_asked_for_its_price(here):
    llm.models.add(MODEL, providers=["a"], openrouter=False)
    prices_of(MODEL)
    assert here.paths == ["/hf/v1/models"]
    llm.configure(huggingface_tokens=[])
    assert prices_of(MODEL) == {}


def test_where_paid_calls_are_forbidden_no_price_is_asked_for_outside(here):
    with forbid_paid_calls():
        assert set(prices_of(MODEL).values()) == {None}
        assert here.asked == []
        with llm.rehearse():
            assert prices_of(MODEL)["openrouter", None] is not None


def test_a_rehearsals_prices_are_what_its_answers_cost():
    with llm.rehearse():
        reply = llm.run_llm(MODEL, "x")
        price, attempt = prices_of(MODEL)["openrouter", None], llm.attempts(reply).iloc[0]
        tokens = attempt["input_tokens"] + attempt["output_tokens"]
        assert price.input_usd * tokens == pytest.approx(attempt["cost_usd"])


def test_whoever_gives_up_leaves_the_look_up_to_the_others():
    with llm.rehearse(latency_s=0.3, huggingface_tokens=0) as practice:

        async def some():
            hasty = asyncio.ensure_future(asyncio.wait_for(aprices_of(MODEL), 0.05))
            patient = asyncio.ensure_future(aprices_of(MODEL))
            with pytest.raises(TimeoutError):
                await hasty
            return await patient

        assert asyncio.run(some())["openrouter", None] is not None
        assert len(practice.lookups) == 1
