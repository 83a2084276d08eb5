"""What is stored is not asked again: over reruns, edited rows, drawn answers, parameters, failures and predicates."""

from __future__ import annotations

import pandas as pd
import pytest
from columns import MODEL, PROVIDERS, assert_own_answers, prompts, run, statuses
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.rehearsal.server import RehearsalServer
from llm_executor_nb.testing import frozen_clock


@pytest.fixture
def server():
    with fresh(), llm.rehearse() as rehearsal:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        yield rehearsal


def asked(server, call):
    """Return how many requests a call sent."""
    before = len(server.lines)
    call()
    return len(server.lines) - before


def test_the_same_line_twice_sends_nothing_and_leaves_one_set_of_columns(server):
    once = run(prompts(20))
    assert asked(server, lambda: run(once)) == 0
    twice = run(once)
    assert list(twice.columns) == list(once.columns)
    assert statuses(twice) == {"cached": 20}
    assert (twice["q_llm"] == once["q_llm"]).all()
    assert (twice["q_llm_run"] == once["q_llm_run"]).all()
    assert (twice["q_llm_attempts"] == "").all()


def test_one_changed_row_is_one_request(server):
    frame = prompts(20)
    run(frame)
    frame.loc[7, "q"] = "another question."
    assert asked(server, lambda: run(frame)) == 1
    out = run(frame)
    assert_own_answers(out)


@pytest.mark.parametrize(
    "change",
    [{"max_tokens": 50}, {"system": "Be short."}, {"temperature": 0}, {"schema": ["colour"]}, {"reuse": False}],
)
def test_a_changed_parameter_asks_all_rows(server, change):
    run(prompts(10))
    assert asked(server, lambda: run(prompts(10), **change)) == 10


@pytest.mark.parametrize("change", [{"concurrency": 1}, {"timeout": 5}, {"deadline": 50}, {"out": "other"}])
def test_bounds_names_and_order_ask_nothing(server, change):
    run(prompts(10))
    assert asked(server, lambda: run(prompts(10).iloc[::-1], **change)) == 0


def test_reordered_keys_ask_nothing(server):
    run(prompts(10))
    llm.OPENROUTER_KEYS[:] = list(reversed(llm.OPENROUTER_KEYS))
    assert asked(server, lambda: run(prompts(10))) == 0


def test_drawn_answers_are_separate_and_the_kth_copy_takes_the_kth_stored_one(server):
    frame = pd.concat([pd.DataFrame({"q": ["same."] * 10}), prompts(90)], ignore_index=True)
    assert asked(server, lambda: run(frame, temperature=0.7)) == 100
    first = run(frame, temperature=0.7)
    assert statuses(first) == {"cached": 100}
    assert first["q_llm_run"].nunique() == 100
    more = pd.concat([frame, prompts(10, start=500)], ignore_index=True)
    assert asked(server, lambda: run(more, temperature=0.7)) == 10
    copies = pd.concat([frame, pd.DataFrame({"q": ["same."] * 2})], ignore_index=True)
    assert asked(server, lambda: run(copies, temperature=0.7)) == 2


def test_a_text_and_the_same_as_a_message_list_are_one_request(server):
    cells = ["hello.", [{"role": "user", "content": "hello."}], {"messages": [("user", "hello.")]}]
    out = run(pd.DataFrame({"q": pd.Series(cells, dtype=object)}))
    assert len(server.lines) == 1
    assert len(set(out["q_llm_run"])) == 1


@pytest.mark.parametrize("fault", ["400@2..3", "content_filter@2", "truncated@2"])
def test_failures_are_never_reused(fault):
    with fresh(), llm.rehearse(f"*: {fault}") as server:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        assert statuses(run(prompts(5), concurrency=1)) == {"ok": 4, "failed": 1}
        assert asked(server, lambda: run(prompts(5))) == 1


def test_an_answer_older_than_max_age_is_asked_again():
    with fresh(), llm.rehearse() as server, frozen_clock() as frozen:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        run(prompts(3))
        frozen.advance(3600)
        assert asked(server, lambda: run(prompts(3), max_age="2h")) == 0
        assert asked(server, lambda: run(prompts(3), max_age="30min")) == 3
        frozen.advance(8 * 86400)
        assert asked(server, lambda: run(prompts(3), max_age=None)) == 0
        assert asked(server, lambda: run(prompts(3))) == 3


@pytest.mark.parametrize("age", ["soon", -1, True, "-1D"])
def test_a_max_age_that_is_none_says_what_to_write(age):
    with llm.rehearse(), pytest.raises(llm.ConfigError, match="max_age"):
        prompts(1).llm.run("gemma", "q", max_age=age)


def test_a_stored_answer_that_accept_refuses_is_asked_again(server):
    run(prompts(4))
    with clock.use(clock.FrozenClock()):
        assert asked(server, lambda: run(prompts(4), accept=lambda message: "question 2" in message.content)) >= 3
    assert asked(server, lambda: run(prompts(4), accept=lambda message: "question" in message.content)) == 0


def test_a_schema_is_read_again_from_the_stored_answer(server):
    once = run(prompts(4), schema={"colour": str, "number": int})
    assert asked(server, lambda: run(prompts(4), schema={"colour": str, "number": int})) == 0
    twice = run(prompts(4), schema={"colour": str, "number": int})
    assert twice["number"].dtype == "Int64"
    assert (twice["number"] == once["number"]).all()


@pytest.mark.usefixtures("server")
def test_one_line_says_what_was_reused_and_what_it_saved(capsys):
    prompts(5).llm.run(MODEL, "q")
    capsys.readouterr()
    prompts(5).llm.run(MODEL, "q")
    assert "5 cached (saved $" in capsys.readouterr().err


def test_by_hand_is_always_asked(server):
    run(pd.DataFrame({"q": ["hello."]}))
    assert asked(server, lambda: llm.run_llm(MODEL, "hello.")) == 1
    assert asked(server, lambda: llm.run_llm(MODEL, "hello.")) == 1


def test_a_rehearsal_stores_nothing_for_later():
    with fresh():
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        for _ in range(2):
            with llm.rehearse() as server:
                assert asked(server, lambda: run(prompts(3))) == 3
    assert not llm.ledger.path.exists()


def test_two_jobs_at_once_ask_each_request_once(server):
    jobs = [prompts(60).llm.start(MODEL, "q", progress=False, concurrency=4) for _ in range(3)]
    outs = [job.result() for job in jobs]
    assert len(server.lines) == 60
    for out in outs:
        assert set(statuses(out)) <= {"ok", "cached"}
        assert_own_answers(out)


def test_the_ledger_on_disk_answers_in_another_session(tmp_path):
    with fresh(), RehearsalServer() as server:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = []
        llm.configure(openrouter_keys=["sk-or-v1-practice-0001"], openrouter_base_url=server.openrouter_url)
        llm.configure(ledger=tmp_path / "kept.sqlite")
        once = run(prompts(6))
        llm.configure(ledger=tmp_path / "kept.sqlite")
        assert asked(server, lambda: run(prompts(6))) == 0
        assert len(once.llm.attempts()) == 6
        assert (tmp_path / "kept.sqlite").stat().st_mode & 0o777 == 0o600
        llm.configure(ledger=None)
        assert asked(server, lambda: run(prompts(6))) == 6
