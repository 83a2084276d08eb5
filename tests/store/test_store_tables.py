"""The attempt log is the same frame from records, from memory and from a file, on every pandas; and it is exported."""

from __future__ import annotations

import importlib.util
import random
from datetime import timedelta

import pandas as pd
import pytest
from keeping import NOON, answer, attempt, begun, ledger_at

from llm_executor_nb.core.attempt import ATTEMPT_COLUMNS
from llm_executor_nb.core.errors import ConfigError, MissingExtraError
from llm_executor_nb.core.outcomes import Decision, Outcome
from llm_executor_nb.store.ledger import Ledger
from llm_executor_nb.store.records import Limits
from llm_executor_nb.store.tables import attempts_frame

BARE = {
    "job_id": None,
    "row": None,
    "position": None,
    "column": None,
    "key": None,
    "provider": None,
    "response_model": None,
    "http_status": None,
    "error_code": None,
    "message": None,
    "retry_after_s": None,
    "finish_reason": None,
    "input_tokens": None,
    "output_tokens": None,
    "cost_usd": None,
    "upstream": None,
    "service_tier": None,
    "cached_tokens": None,
    "reasoning_tokens": None,
    "generation_id": None,
}
FULL = {
    "row": "('a', 1)",
    "position": 2**40,
    "column": "ü \x00 🙂",
    "key": "HF_TOKEN ..c3d4",
    "provider": "scaleway",
    "http_status": 429,
    "error_code": "rate_limit",
    "message": '"quoted", and\nbroken',
    "retry_after_s": 1.5,
    "outcome": Outcome.RATE_LIMITED,
    "decision": Decision.WAIT,
    "finish_reason": "length",
    "cost_usd": 1e-12,
    "upstream": "DeepInfra",
    "service_tier": "flex",
    "cached_tokens": 0,
    "reasoning_tokens": 2**40,
    "generation_id": "gen-1",
}
DTYPES = {
    **dict.fromkeys(ATTEMPT_COLUMNS, "string"),
    **dict.fromkeys(("position", "attempt", "http_status", "input_tokens", "output_tokens"), "Int64"),
    **dict.fromkeys(("cached_tokens", "reasoning_tokens"), "Int64"),
    **dict.fromkeys(("wait_s", "duration_s", "retry_after_s", "cost_usd"), "Float64"),
    **dict.fromkeys(("outcome", "decision"), "category"),
    "started_utc": "datetime64[us, UTC]",
}


@pytest.fixture
def limits():
    return Limits()


@pytest.fixture(params=["file", "memory"])
def ledger(request, tmp_path, limits):
    with ledger_at(tmp_path / "ledger.sqlite" if request.param == "file" else None, limits) as opened:
        yield opened


def _mixed(count=50):
    """Return attempts of all outcomes, in the order they were sent."""
    chance = random.Random(1)
    return [
        attempt(
            **(BARE if number % 3 == 0 else FULL if number % 3 == 1 else {}),
            **({} if number % 3 == 1 else {"outcome": chance.choice(list(Outcome))}),
            started_utc=NOON + timedelta(microseconds=number),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    "records", [[], [attempt(**BARE)], [attempt(**FULL)], _mixed()], ids=["0", "bare", "full", "50"]
)
def test_the_columns_and_their_dtypes_do_not_depend_on_what_is_in_the_log(records):
    frame = attempts_frame(records)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    assert tuple(frame.columns) == ATTEMPT_COLUMNS
    assert len(frame) == len(records)


@pytest.mark.parametrize("given", [BARE, FULL])
def test_every_field_reads_as_it_was_recorded(ledger, given):
    recorded = attempt(**given)
    ledger.keep([recorded], None)
    for frame in (ledger.attempts_frame(), attempts_frame([recorded])):
        for name in ATTEMPT_COLUMNS:
            value, told = frame[name].iloc[0], getattr(recorded, name)
            assert pd.isna(value) if told is None else value == told, name


def test_records_and_rows_of_the_ledger_give_the_same_frame(ledger):
    records = _mixed()
    for at in range(0, 50, 5):
        ledger.keep(records[at : at + 5], None)
    pd.testing.assert_frame_equal(ledger.attempts_frame(), attempts_frame(records))


def test_the_frame_of_the_ledger_is_by_time_and_the_frame_of_records_as_given(ledger):
    records = _mixed()
    shuffled = random.Random(2).sample(records, len(records))
    ledger.keep(shuffled, None)
    pd.testing.assert_frame_equal(ledger.attempts_frame(), attempts_frame(records))
    assert attempts_frame(shuffled)["run_id"].tolist() == [record.run_id for record in shuffled]


@pytest.mark.parametrize("limits", [Limits(page_rows=7)], ids=["small pages"])
def test_a_log_of_many_pages_is_read_whole(ledger):
    records = _mixed(70)
    ledger.keep(records, None)
    pd.testing.assert_frame_equal(ledger.attempts_frame(), attempts_frame(records))


def test_jobs_and_runs_choose_what_is_in_the_frame(ledger):
    records = [attempt(job_id=job) for job in ("one", "two", None, "two", "three")]
    ledger.keep(records, None)

    def runs(**chosen):
        return ledger.attempts_frame(**chosen)["run_id"].tolist()

    one, two, by_hand, second, three = (record.run_id for record in records)
    assert runs(job_ids=["two"]) == [two, second]
    assert runs(job_ids=["one", "three", "nobody"]) == [one, three]
    assert runs(job_ids=[]) == runs(job_ids=["nobody"]) == runs(run_ids=[]) == []
    assert runs(run_ids=[by_hand, "nobody"]) == [by_hand]
    assert runs(job_ids=["two"], run_ids=[one, second]) == [second]


def test_what_was_kept_a_moment_ago_is_in_the_frame_once(ledger):
    for number in range(200):
        ledger.keep([attempt()], None)
        if number % 20 == 0:
            assert ledger.attempts_frame()["run_id"].nunique() == len(ledger.attempts_frame()) == number + 1


@pytest.mark.parametrize("limits", [Limits(page_rows=3)], ids=["small pages"])
def test_csv_has_a_row_per_attempt_and_the_answer_beside_the_one_that_brought_it(ledger, tmp_path):
    for number in range(5):
        failed = attempt(run_id=f"r{number}", outcome=Outcome.TIMEOUT, decision=Decision.RETRY)
        accepted = attempt(run_id=f"r{number}", attempt=2)
        ledger.keep([failed, accepted], answer(str(number), f'"{number}",\nof two lines', run_id=f"r{number}"))
    ledger.keep([attempt(run_id="none", outcome=Outcome.AUTH, decision=Decision.STOP)], None)
    target = tmp_path / "out" / "log.csv"
    target.parent.mkdir()
    target.write_text("old")
    assert Ledger(ledger).export(str(target)) == target
    frame = pd.read_csv(target, dtype={"answer": "string"})
    assert tuple(frame.columns) == (*ATTEMPT_COLUMNS, "answer")
    assert frame["run_id"].tolist() == [f"r{number}" for number in range(5) for _ in range(2)] + ["none"]
    assert frame["answer"].dropna().tolist() == [f'"{number}",\nof two lines' for number in range(5)]
    assert set(frame.loc[frame["answer"].notna(), "decision"]) == {"accept"}
    assert [file.name for file in target.parent.iterdir()] == ["log.csv"]


def test_an_empty_ledger_exports_the_names_of_its_columns(ledger, tmp_path):
    assert pd.read_csv(Ledger(ledger).export(tmp_path / "log.csv")).columns.tolist() == [*ATTEMPT_COLUMNS, "answer"]


@pytest.mark.parametrize("limits", [Limits(page_rows=7)], ids=["small pages"])
@pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="pyarrow is optional")
def test_parquet_keeps_the_dtypes(ledger, tmp_path):
    records = [*(attempt(**BARE) for _ in range(8)), *_mixed()]
    ledger.keep(records, answer(run_id=records[-1].run_id))
    frame = pd.read_parquet(Ledger(ledger).export(tmp_path / "log.parquet"))
    expected = attempts_frame(records).astype({"outcome": "string", "decision": "string"})
    for name in ATTEMPT_COLUMNS:
        assert frame[name].tolist() == expected[name].tolist() or frame[name].isna().equals(expected[name].isna())
    assert str(frame["position"].dtype) == "Int64"


@pytest.mark.skipif(bool(importlib.util.find_spec("pyarrow")), reason="pyarrow is installed")
def test_parquet_without_pyarrow_names_the_extra(ledger, tmp_path):
    with pytest.raises(MissingExtraError, match=r"pip install .*\[parquet\]"):
        Ledger(ledger).export(tmp_path / "log.parquet")
    assert not list(tmp_path.glob("log*"))


@pytest.mark.parametrize("name", ["log.xlsx", "log"])
def test_another_suffix_is_refused_before_anything_is_written(ledger, tmp_path, name):
    with pytest.raises(ConfigError, match=r"\.csv or \.parquet"):
        Ledger(ledger).export(tmp_path / name)
    assert not list(tmp_path.glob("log*"))


def test_an_export_that_fails_leaves_what_was_there(ledger, tmp_path, monkeypatch):
    target = tmp_path / "log.csv"
    target.write_text("old")
    ledger.keep([attempt()], None)
    ledger.flush()
    monkeypatch.setattr(pd.DataFrame, "to_csv", _out_of_room)
    with pytest.raises(OSError, match="No space left"):
        Ledger(ledger).export(target)
    assert target.read_text() == "old"
    assert not list(tmp_path.glob("*.part"))


def _out_of_room(*_, **__):
    raise OSError(28, "No space left on device")


def test_attempts_of_jobs_and_by_hand_stand_side_by_side(ledger):
    begun(ledger, "second")
    ledger.keep([attempt(job_id=None, row=None, position=None), attempt(job_id="second")], None)
    assert ledger.attempts_frame()["job_id"].isna().tolist() == [True, False]
