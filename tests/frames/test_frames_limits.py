"""What a plan says before a job begins: limits that cannot carry its rows, and a model that will end."""

from __future__ import annotations

import pytest
from columns import prompts
from looking import providers_here
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.notebook.doctor import examine
from llm_executor_nb.testing import forbid_paid_calls, frozen_clock

FREE = "my/model:free"


@pytest.fixture(autouse=True)
def _fresh():
    with fresh(), frozen_clock():
        llm.models.add(FREE, providers=[])
        llm.models.add("my/other", names={"openrouter": FREE}, providers=["a"])
        yield


@pytest.fixture
def here():
    with providers_here() as server:
        yield server


def planned(rows, model=FREE, **options):
    return prompts(rows).llm.plan(model, "q", **options)


def daily(used, limit, **more):
    told = {"used": used, "limit": limit, "remaining": limit - used}
    return {"data": {"is_free_tier": limit == 50, "free_model_daily_requests": told, **more}}


@pytest.mark.parametrize(
    ("key", "rows", "expected"),
    [
        (daily(12, 50), 20, []),
        (daily(12, 50), 38, ["20 free requests a minute: 38 take at least 1 min"]),
        (
            daily(12, 50),
            60,
            [
                "38 of 50 free requests are left today (UTC): ask 22 of 60 on another day, or add a route",
                "20 free requests a minute: 38 take at least 1 min",
            ],
        ),
        (daily(50, 50), 1, ["0 of 50 free requests are left today (UTC): ask 1 of 1 on another day"]),
        (daily(3, 1000), 200, ["20 free requests a minute: 200 take at least 9 min"]),
        ({"data": {"is_free_tier": True, "limit": None}}, 51, ["perhaps 50 of 50 free", "20 free requests"]),
        ({"data": {"is_free_tier": False, "limit": None}}, 51, ["20 free requests a minute: 51 take at least 2 min"]),
        ((500, {}, b""), 51, ["perhaps 50 of 50 free", "20 free requests"]),
        ((401, {}, b""), 51, []),
    ],
)
def test_a_plan_says_which_limit_of_a_free_model_cannot_carry_its_rows(here, key, rows, expected):
    here.replies["/or/key"] = key
    plan = planned(rows)
    assert len(plan.limits) == len(expected)
    assert all(words.startswith(start) for words, start in zip(plan.limits, expected, strict=True))
    assert all(words in repr(plan) and words in plan._repr_html_() for words in plan.limits)


def test_other_models_have_no_such_limit_and_no_key_is_looked_up(here):
    llm.models.add("free/model:nitro", providers=[])
    assert planned(1500, "free/model:nitro").limits == planned(0).limits == ()
    with forbid_paid_calls():
        assert planned(1500).limits == ()
    assert "/or/key" not in here.paths


def test_the_name_at_openrouter_counts_and_other_routes_go_on(here):
    here.replies["/or/key"] = daily(50, 50)
    assert planned(3, "my/other").limits[0].endswith("3 of 3 go to the next routes")
    assert planned(3, "my/other", policy=llm.Policy(zdr=True)).limits[0].endswith("add a route")


def test_several_keys_have_the_limits_of_all_where_their_accounts_differ():
    with llm.rehearse("openrouter[1]: free-models-per-day", openrouter_keys=2):
        plan = planned(1100)
        assert plan.limits[0].startswith("1,000 of 1,050 free requests are left today (UTC) on 2 keys, if they are of ")
        assert plan.limits[1] == "20 free requests a minute: 1,000 take at least 49 min"
        assert plan.least_usd == plan.most_usd == 0.0
    with llm.rehearse():
        reply = llm.run_llm(FREE, "x")
        assert llm.attempts(reply)["cost_usd"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("2030-01-15", "OpenRouter serves it until 2030-01-15, 14 days from now"),
        ("2030-01-01T23:00:00Z", "OpenRouter serves it until 2030-01-01, today"),
        (1893456000, "OpenRouter serves it until 2030-01-01, today"),
        ("2029-12-30", "OpenRouter's list says that it ended on 2029-12-30"),
        (None, ""),
        ("someday", ""),
    ],
)
def test_a_plan_and_the_doctor_name_a_model_that_will_end(here, end, words):
    here.replies["/or/models"] = {"data": [{"id": FREE, "expiration_date": end}]}
    assert planned(1).ends == planned(1, price=(1, 1)).ends == words
    assert ("ends       " in repr(planned(1))) is bool(words)
    told = [one.words for one in examine(None) if "OpenRouter" in one.words]
    assert told == ([f"{FREE}: {words}", f"my/other: {words}"] if words else [])


def test_a_model_that_openrouter_is_not_asked_for_has_no_end(here):
    here.replies["/or/models"] = {"data": [{"id": FREE, "expiration_date": "2030-01-15"}]}
    llm.models.add(FREE, providers=["a"], openrouter=False)
    assert planned(1).ends == ""
    llm.models.add(FREE, providers=["a"])
    llm.configure(openrouter_keys=[])
    assert planned(1).ends == ""


def test_a_rehearsal_lists_free_models_and_when_they_end():
    with llm.rehearse("openrouter: expires=14"):
        assert planned(1).ends == "OpenRouter serves it until 2030-01-15, 14 days from now"
        llm.run_llm(FREE, "x")
