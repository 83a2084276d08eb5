"""A partition runs in whatever process it lies: in the client's, or in another one, which is given no key."""

import os
import pickle
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from columns import prompts
from partitions import Elsewhere
from rehearsing import fresh, logged, seen_by, settle
from tenacity import wait_fixed

import llm_executor_nb as llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.frames.partition import Place, make_partition_plan, run_partition, survey_partition
from llm_executor_nb.jobs.whole import WholeJob
from llm_executor_nb.rehearsal.server import RehearsalServer

CANARY = "sk-or-v1-canarypartition0001"
OTHER = "sk-or-v1-canarypartition0002"


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


@pytest.fixture
def server(monkeypatch):
    with RehearsalServer() as running:
        monkeypatch.setenv("OPENROUTER_BASE_URL", running.openrouter_url)
        monkeypatch.setenv("OPENROUTER_API_KEY", CANARY)
        yield running


def _plan(frame, *, is_local=False, column="q", model="gemma", **options):
    plan, checked, ledger = make_partition_plan(
        frame.iloc[:0], model, column, {"progress": False, **options}, is_local=is_local
    )
    whole = WholeJob(plan.job_id, checked, ledger, rows=len(frame), asked=len(frame), at_once=2)
    whole.enter()
    return plan, whole


def _statuses(frame):
    return Counter(frame["q_llm_status"])


def _assert_no_key_in(*things):
    for thing in things:
        data = thing if isinstance(thing, bytes) else str(thing).encode()
        assert b"canarypartition" not in data


def test_partitions_at_home_and_elsewhere_share_one_ledger_and_buy_each_request_once(server, tmp_path):
    frame = prompts(30)
    plan, whole = _plan(frame)
    pickled = pickle.dumps(plan)
    with Elsewhere(tmp_path / "worker", OPENROUTER_API_KEY=OTHER) as worker:
        there, log = worker.call("run_partition", frame[:20], pickle.loads(pickled), Place())  # noqa: S301 - our own
        said = worker.said.read_bytes()
    here, own_log = run_partition(frame[10:], plan, Place(offset=10))
    whole.end("done")
    settle(server)
    assert (_statuses(there)["ok"], _statuses(here)["cached"], _statuses(here)["ok"]) == (20, 10, 10)
    assert there.index.equals(frame[:20].index)
    assert there["q_llm"].tolist()[10:] == here["q_llm"].tolist()[:10]
    assert (len(log), len(own_log)) == (20, 10)  # each attempt is in the log of the partition that made it
    assert Counter(logged(llm.attempts())) == Counter(seen_by(server))
    assert {key for _, key, *_ in seen_by(server)} == {"..0001", "..0002"}  # each process has the key of its own
    assert sorted(log["position"]) == list(range(20))
    _assert_no_key_in(pickled, repr(plan), repr(vars(type(plan))), said, there.to_csv(), log.to_csv())
    assert b"canary" not in session().ledger_of_parts().path.read_bytes()


def test_a_rehearsal_reaches_other_processes_with_its_practice_keys(tmp_path):
    frame = prompts(8)
    with llm.rehearse("openrouter: 401") as practice, Elsewhere(tmp_path / "worker") as worker:
        plan, whole = _plan(frame)
        there, _ = worker.call("run_partition", frame, plan, Place())
        whole.end("done")
        settle(practice)
        assert _statuses(there)["ok"] == 8
        assert Counter(logged()) == Counter(seen_by(practice))
        path = session().ledger_of_parts().path
        assert path.exists()
        assert session().ledger.path is None
    assert len(llm.attempts(there)) == len(practice.lines)  # as of any rehearsal that has ended


def test_functions_classes_and_waits_of_the_user_travel_and_ask_with_the_settings_of_the_job(tmp_path):
    words = []

    def is_good(message):  # a function of a notebook, with a call of its own
        import llm_executor_nb as there  # noqa: PLC0415 - in another process

        words.append(message.content)
        return "practice" in there.run_llm("gemma", "Is this good?").content

    llm.retry_wait_strategy = wait_fixed(0.01)
    with llm.rehearse("openrouter: 503*2") as practice, Elsewhere(tmp_path / "worker") as worker:
        plan, _ = _plan(prompts(3), accept=is_good, schema={"good": bool, "why": str})
        there, _ = worker.call("run_partition", prompts(3), plan, Place())
        assert _statuses(there)["ok"] == 3
        assert (there["good"].dtype, there["why"].dtype) == ("boolean", "string")
        assert [*there.columns] == [*plan.meta.columns]
        assert there.dtypes.equals(plan.meta.dtypes)
        assert len(practice.lines) == 3 + 2 + 3
    assert words == []  # it ran over there


def test_equal_draws_keep_their_numbers_however_the_frame_is_divided(server):
    llm.configure(ledger="ledger.sqlite")
    frame = pd.DataFrame({"q": ["same", "other", "same", "same", "other", "same"]})
    answers = []
    for cuts in ([2, 4], [1, 2, 3, 5], []):
        plan, whole = _plan(frame, temperature=0.7)
        parts = np.split(np.arange(len(frame)), cuts)
        seen, results = Counter(), []
        for rows in parts:
            part = frame.iloc[rows]
            results.append(run_partition(part, plan, Place(offset=rows[0], copies_before=dict(seen)))[0])
            seen.update(survey_partition(part, plan, has_requests=False).copies)
        whole.end("done")
        answers.append(pd.concat(results)["q_llm_run"].tolist())
    assert len(server.lines) == len(frame)
    assert answers[0] == answers[1] == answers[2]
    assert len(set(answers[0])) == len(frame)


# --- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_process_without_the_key_fails_its_rows_and_ends_the_whole_job_with_the_variable(server, tmp_path):
    frame = prompts(3)
    plan, whole = _plan(frame)
    with Elsewhere(tmp_path / "worker") as worker:
        there, log = worker.call("run_partition", frame, plan, Place())
    whole.look()
    assert (_statuses(there)["failed"], len(log), len(server.lines)) == (3, 0, 0)
    assert "OPENROUTER_API_KEY" in there["q_llm_error"].iloc[0]
    assert isinstance(whole.error, llm.ConfigError)
    assert "OPENROUTER_API_KEY" in str(whole.error)
    assert there.dtypes.equals(plan.meta.dtypes)
    _assert_no_key_in(there.to_csv(), whole.error)


def test_a_partition_that_does_not_fit_fails_its_rows_without_an_exception(server):
    frame = prompts(3)
    plan, whole = _plan(frame, is_local=True)
    there, log = run_partition(frame.rename(columns={"q": "other"}).assign(again=1), plan)
    whole.look()
    assert (_statuses(there)["failed"], len(log), len(server.lines)) == (3, 0, 0)
    assert "no column 'q'" in there["q_llm_error"].iloc[0]
    assert "no column 'q'" in str(whole.error)


@pytest.mark.usefixtures("server")
def test_an_error_in_one_process_that_raises_ends_the_others(tmp_path):
    plan, whole = _plan(prompts(2), on_error="raise", accept=lambda _: 1 / 0)
    with Elsewhere(tmp_path / "worker", OPENROUTER_API_KEY=OTHER) as worker:
        there, _ = worker.call("run_partition", prompts(2), plan, Place())
    whole.look()
    assert "division by zero" in str(whole.error)
    assert set(there["q_llm_status"]) <= {"failed", "cancelled"}


# --- secrets: nothing of a plan may hold a key ----------------------------------------------------------------------


def _holder(key):
    return lambda message: key in message.content


@pytest.mark.parametrize(
    "options",
    [
        {"accept": _holder(CANARY)},
        {"system": f"The key is {CANARY}."},
        {"template": "{q} " + CANARY},
        {"extra_body": {"openrouter": {"transforms": [CANARY]}}},
        {"schema": {"type": "object", "title": CANARY, "properties": {"a": {"type": "string"}}}},
        {"accept": _holder(CANARY.encode().hex())},
    ],
    ids=["closure", "system", "template", "extra_body", "schema", "hexadecimal"],
)
def test_a_key_in_an_argument_is_refused_before_anything_is_sent(options, server):
    with pytest.raises(llm.ConfigError, match=r"holds a key.*Nothing was sent") as raised:
        _plan(prompts(2), column=None if "template" in options else "q", **options)
    _assert_no_key_in(raised.value, repr(raised.value))
    assert not server.lines


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("name", ["before_sleep", "retry_wait_strategy", "retries"])
def test_a_key_in_a_function_of_the_settings_is_refused_with_its_name(name):
    llm.configure(**{name: lambda _: CANARY and 0})
    with pytest.raises(llm.ConfigError, match=f"{name}= holds a key") as raised:
        _plan(prompts(2))
    _assert_no_key_in(raised.value)


@pytest.mark.usefixtures("server")
def test_a_list_of_keys_in_a_closure_is_refused():
    keys = llm.OPENROUTER_KEYS
    keys.append(CANARY)
    with pytest.raises(llm.ConfigError, match="accept= cannot be taken to other processes") as raised:
        _plan(prompts(2), accept=lambda message: keys[0] in message.content)
    _assert_no_key_in(raised.value)


@pytest.mark.usefixtures("server")
def test_a_key_that_is_only_in_code_works_at_home_and_is_refused_elsewhere(monkeypatch):
    monkeypatch.delenv("OPENROUTER_API_KEY")
    llm.OPENROUTER_KEYS = [CANARY]
    frame = prompts(2)
    plan, _ = _plan(frame, is_local=True)
    assert _statuses(run_partition(frame, plan)[0])["ok"] == 2
    _assert_no_key_in(pickle.dumps(plan))
    with pytest.raises(llm.ConfigError, match="OPENROUTER_API_KEY") as raised:
        _plan(frame)
    _assert_no_key_in(raised.value)


def test_a_password_in_a_url_and_a_chat_model_object_are_refused(server, monkeypatch):
    class Model:
        api_key = CANARY

        def invoke(self, _):
            return None

    llm.add_backend("object", chat_model=Model())
    llm.models.add("mine", providers=["object"], openrouter=False)
    with pytest.raises(llm.ConfigError, match="chat model object") as raised:
        _plan(prompts(2), model="mine")
    _assert_no_key_in(raised.value)
    monkeypatch.setenv("OPENROUTER_BASE_URL", server.openrouter_url.replace("http://", f"http://user:{OTHER}@"))
    with pytest.raises(llm.ConfigError, match="password") as raised:
        _plan(prompts(2))
    _assert_no_key_in(raised.value)


def test_the_environment_of_this_test_has_no_real_key():
    assert not [name for name in os.environ if name.startswith(("OPENROUTER", "HF_TOKEN"))]
