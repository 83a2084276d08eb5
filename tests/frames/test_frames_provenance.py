"""Stored answers are reused only where the policy holds for them; a report says who answered, and whether it held."""

from __future__ import annotations

import asyncio

import pandas as pd
import pytest
from columns import MODEL, prompts, run, statuses
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.chain.promises import broken
from llm_executor_nb.core.policy import NO_POLICY, Policy
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.store.records import Origin

ROUTE = "openrouter ..a1b2"
ZDR, QUIET = Policy(zdr=True), Policy(no_training=True)


@pytest.fixture
def rehearsal():
    with fresh(), llm.rehearse() as server:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["together"]
        yield server


def _policy_words(report):
    return dict(report.lines()).get("policy")


@pytest.mark.parametrize(
    ("policy", "origin", "clauses"),
    [
        (NO_POLICY, Origin("", None, NO_POLICY), []),
        (Policy(max_price=(0, 0), bill_to="lab"), Origin("", None, NO_POLICY), []),
        (ZDR, Origin(ROUTE, "Together", NO_POLICY), []),
        (ZDR, Origin(ROUTE, "Novita", NO_POLICY), ["zdr"]),
        (ZDR, Origin(ROUTE, None, NO_POLICY), ["zdr"]),
        (ZDR, Origin(ROUTE, None, ZDR), []),
        (ZDR, Origin(ROUTE, "Novita", QUIET), ["zdr"]),
        (ZDR, Origin("huggingface/together ..1", "together", NO_POLICY), ["zdr"]),
        (QUIET, Origin(ROUTE, "together", NO_POLICY), []),
        (Policy(zdr=True, no_training=True), Origin(ROUTE, "Novita", ZDR), ["no_training"]),
        (Policy(only=("Together",)), Origin(ROUTE, "together", NO_POLICY), []),
        (Policy(only=("z-ai",)), Origin(ROUTE, "Z.AI", NO_POLICY), []),
        (Policy(only=("together",)), Origin(ROUTE, "Novita", Policy(only=("together",))), ["only"]),
        (Policy(only=("together",)), Origin(ROUTE, None, NO_POLICY), ["only"]),
        (Policy(only=("together", "novita")), Origin(ROUTE, None, Policy(only=("together",))), []),
        (Policy(only=("together",)), Origin("huggingface/together ..1", None, NO_POLICY), []),
        (Policy(only=("mine",)), Origin("mine", None, NO_POLICY), []),
        (Policy(only=("deepinfra/turbo",)), Origin(ROUTE, "DeepInfra", NO_POLICY), ["only"]),
        (Policy(only=("deepinfra/turbo",)), Origin(ROUTE, "DeepInfra", Policy(only=("deepinfra/turbo",))), []),
        (Policy(only=("together",)), Origin("huggingface/fastest ..1", None, NO_POLICY), ["only"]),
        (Policy(ignore=("together",)), Origin("huggingface/auto ..1", None, NO_POLICY), ["ignore"]),
        (Policy(ignore=("together",)), Origin(ROUTE, "Novita", NO_POLICY), []),
        (Policy(ignore=("together",)), Origin(ROUTE, "Together", NO_POLICY), ["ignore"]),
        (Policy(ignore=("together",)), Origin(ROUTE, None, NO_POLICY), ["ignore"]),
        (Policy(ignore=("together",)), Origin(ROUTE, None, Policy(ignore=("novita", "together"))), []),
        (Policy(ignore=("deepinfra/turbo",)), Origin(ROUTE, "DeepInfra", NO_POLICY), ["ignore"]),
        (Policy(quantizations=("fp8", "bf16")), Origin(ROUTE, "Novita", Policy(quantizations=("fp8",))), []),
        (Policy(quantizations=("fp8",)), Origin(ROUTE, "Novita", NO_POLICY), ["quantizations"]),
    ],
    ids=str,
)
def test_a_policy_holds_by_the_one_it_was_bought_under_by_the_reply_or_by_the_list(policy, origin, clauses):
    assert broken(policy, origin, {"together"}) == clauses


def test_an_answer_for_which_the_policy_is_not_known_to_hold_is_bought_again_and_then_reused(rehearsal):
    run(prompts(4))  # by Practice, which keeps and trains
    for policy in (ZDR, Policy(no_training=True, only=("novita",)), Policy(ignore=("practice",), only=("together",))):
        assert prompts(4).llm.plan(MODEL, "q", policy=policy).stored == 0
        assert statuses(run(prompts(4), policy=policy)) == {"ok": 4}
        assert statuses(run(prompts(4), policy=policy)) == {"cached": 4}
    sent = len(rehearsal.lines)
    for policy in (None, Policy(), Policy(max_price=(9, 9)), Policy(bill_to="lab")):
        assert statuses(run(prompts(4), policy=policy)) == {"cached": 4}
    llm.configure(policy=ZDR)
    assert statuses(run(prompts(4))) == {"cached": 4}
    assert len(rehearsal.lines) == sent


def test_what_the_catalogue_lists_is_reused_although_it_was_bought_without_a_policy(rehearsal):
    run(prompts(2), policy=Policy(only=("together",)))
    assert statuses(run(prompts(2), policy=ZDR)) == {"cached": 2}
    assert statuses(asyncio.run(prompts(2).llm.arun(MODEL, "q", policy=ZDR, progress=False))) == {"cached": 2}
    assert len([line for line in rehearsal.lookups if line.path.endswith("/endpoints/zdr")]) == 1


def test_without_the_list_nothing_is_reused_that_it_would_have_to_prove():
    with fresh(), llm.rehearse("openrouter: 503@2..3") as server:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = []
        run(prompts(1), policy=Policy(only=("together",)))
        assert prompts(1).llm.plan(MODEL, "q", policy=ZDR).stored == 0
        assert [line.status for line in server.lookups if "zdr" in line.path] == [503]


@pytest.mark.usefixtures("rehearsal")
def test_a_report_sums_up_by_upstream():
    out = run(prompts(3), policy=Policy(only=("together",)))
    out = run(pd.concat([out, prompts(2, start=3)], ignore_index=True))
    table = out.llm.report().by_upstream
    assert table[["upstream", "answers"]].to_numpy().tolist() == [["Together", 3], ["Practice", 2]]
    assert (table[["output_tokens", "cost_usd"]] > 0).all(axis=None)
    for shown in (repr(out.llm.report()), out.llm.report()._repr_html_()):
        assert "upstream" in shown
        assert "Together" in shown


@pytest.mark.usefixtures("rehearsal")
def test_a_report_of_a_frame_from_parquet_knows_the_policy(tmp_path):
    pytest.importorskip("pyarrow")
    run(prompts(4), policy=ZDR).to_parquet(tmp_path / "out.parquet")
    report = pd.read_parquet(tmp_path / "out.parquet").llm.report()
    assert _policy_words(report) == "all 4 answers came from providers that keep nothing"


@pytest.mark.usefixtures("rehearsal")
def test_a_report_says_whether_the_policy_held_for_every_answer():
    free = run(prompts(3, index=["a", "b", "c"]))
    assert _policy_words(free.llm.report()) is None
    strict = run(prompts(4), policy=ZDR)
    held = "all 4 answers came from providers that keep nothing"
    assert _policy_words(strict.llm.report()) == held
    mixed = pd.concat([free, strict])
    words = _policy_words(mixed.llm.report())
    assert words == ("3 of 7 answers did not come from providers that keep nothing, or that is not known: rows a, b, c")
    llm.configure(policy=QUIET)
    assert "do not train on prompts" in _policy_words(free.llm.report())
    llm.configure(policy=None)
    assert _policy_words(run(strict).llm.report()) == held  # the stored answers were bought under it


@pytest.mark.usefixtures("rehearsal")
def test_jobs_and_series_say_it_too_also_where_all_answers_were_stored():
    run(prompts(3), policy=Policy(only=("together",)))
    job = prompts(3).llm.start(MODEL, "q", policy=QUIET, progress=False)
    out = job.result()
    assert statuses(out) == {"cached": 3}
    for report in (job.report(), out.llm.report()):
        assert "all 3 answers came from providers that do not train on prompts" in _policy_words(report)
    answers = prompts(3, start=3)["q"].llm.run(MODEL, policy=ZDR, progress=False)
    assert _policy_words(answers.llm.report()) == "all 3 answers came from providers that keep nothing"
    priced = Policy(max_price=(9.0, 9.0))
    assert _policy_words(run(prompts(1, start=9), policy=priced).llm.report()) == (
        "the only answer was bought under Policy(max_price=(9.0, 9.0))"
    )


def test_a_reply_that_contradicts_the_policy_is_told():
    with fresh(), RehearsalServer(openrouter_keys=["sk-or-v1-provenance-0001"]) as server:
        llm.configure(openrouter_keys=["sk-or-v1-provenance-0001"], openrouter_base_url=server.openrouter_url)
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = []
        strict = run(prompts(1), policy=Policy(only=("together",)))
        loose = run(prompts(1, start=1), policy=Policy(ignore=("novita",)))
        assert "are named in only=" in _policy_words(strict.llm.report())
        strict.attrs["llm_policies"] = {"q_llm": '{"only": ["novita"]}'}
        assert "1 of 1 answers did not come from providers that are named in only=" in _policy_words(
            strict.llm.report()
        )
        assert "are not named in ignore=" in _policy_words(loose.llm.report())
