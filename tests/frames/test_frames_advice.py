"""What a job says to type at its end can be typed as it stands: the rows without an answer are asked again."""

from __future__ import annotations

import asyncio

import pandas as pd
import pytest
from columns import MODEL, PROVIDERS, prompts, statuses
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.frames import job as frames_job

BROKEN = "*: 400@1..2"
"""One of three rows fails: two providers refuse it."""


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        yield


@pytest.fixture
def made(monkeypatch):
    """The jobs of a test, which believes that it runs in cells."""
    jobs = []
    monkeypatch.setattr(frames_job, "has_cells", lambda: True)
    begin = frames_job.Job.__init__

    def kept(self, *args, **options):
        jobs.append(self)
        begin(self, *args, **options)

    monkeypatch.setattr(frames_job.Job, "__init__", kept)
    return jobs


def ask(**options):
    return prompts(3).llm.run(MODEL, "q", progress=False, concurrency=1, **options)


async def _awaited():
    await prompts(3).llm.arun(MODEL, "q", progress=False, concurrency=1)


def _raising():
    with pytest.raises(llm.RequestError):
        ask(on_error="raise")


def _retried():
    ask(temperature=1).llm.retry_failed(progress=False)


DOORS = {
    "run": ask,
    "arun": lambda: asyncio.run(_awaited()),
    "raise": _raising,
    "preview": lambda: prompts(3).llm.preview(MODEL, "q", progress=False, concurrency=1),
    "retried": _retried,
}


@pytest.mark.parametrize("door", DOORS)
def test_in_cells_the_line_that_asks_again_can_be_typed(door, made):
    with llm.rehearse("*: 400@1..4" if door == "retried" else "*: 400@3..4" if door == "raise" else BROKEN):
        DOORS[door]()
        again = made[-1].snapshot().again
        assert again == "llm.last.llm.retry_failed()"
        assert set(statuses(eval(again, {"llm": llm}))) <= {"ok", "cached"}  # noqa: S307 - what the job says to type


def test_of_a_job_that_nobody_waited_for_the_line_names_the_job(made):
    with llm.rehearse(BROKEN, latency_s=0.02):
        job = prompts(3).llm.start(MODEL, "q", progress=False, concurrency=1)
        job._done.wait(5)
        again = job.snapshot().again
        assert again == "job.result().llm.retry_failed()"
        assert statuses(eval(again, {"job": job})) == {"ok": 3}  # noqa: S307 - what the job says to type
    assert made[0] is job


def test_where_the_line_could_not_work_words_say_what_another_run_asks(made):
    with llm.rehearse("*: 401"), pytest.warns(llm.LLMExecutorWarning):
        prompts(3)["q"].llm.run(MODEL, progress=False, concurrency=1)
    assert made[-1].snapshot().again == (
        "run it once more; what is answered is not asked again, until this process or rehearsal ends"
    )
    with llm.rehearse():
        pd.DataFrame({"q": [[1]]}).llm.run(MODEL, "q", progress=False)
    assert made[-1].snapshot().again.startswith("run it once more"), "no row has a run id"


@pytest.mark.parametrize(
    ("reuse", "ledger", "kept"),
    [
        (True, "kept.sqlite", "what is answered is not asked again."),
        (True, None, "what is answered is not asked again, until this process or rehearsal ends."),
        (False, "kept.sqlite", "with reuse=False all rows are asked again."),
    ],
)
def test_what_is_promised_of_another_run_is_what_the_ledger_keeps(reuse, ledger, kept, tmp_path):
    llm.configure(ledger=None if ledger is None else tmp_path / ledger)
    llm.add_backend("mine", base_url="http://127.0.0.1:9/v1")
    llm.models.add(MODEL, providers=["mine"], openrouter=False)
    with pytest.warns(llm.LLMExecutorWarning) as told:
        prompts(1).llm.run(MODEL, "q", progress=False, budget_s=0.05, reuse=reuse)
    assert str(told[-1].message).endswith(f"Run it again to go on: {kept}")
