"""A warning points at the line of the user's that it is about, whichever door was taken."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from columns import MODEL, prompts
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.rehearsal.server import RehearsalServer

OPTIONS = {"progress": False}


@pytest.fixture
def damaged(tmp_path):
    """Configure a ledger that is damaged, which is told when it is opened."""
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is not a database, " * 1_000)
    with fresh(), RehearsalServer() as server:
        llm.configure(openrouter_keys=["sk-or-v1-practice-0001"], huggingface_tokens=[])
        llm.configure(openrouter_base_url=server.openrouter_url, ledger=path)
        yield
        llm.configure(ledger=None)


async def _awaited():
    return await prompts(1).llm.arun("gemma", "q", **OPTIONS)


DOORS = {
    "run": lambda: prompts(1).llm.run("gemma", "q", **OPTIONS),
    "start": lambda: prompts(1).llm.start("gemma", "q", **OPTIONS).result(),
    "series": lambda: prompts(1)["q"].llm.run("gemma", **OPTIONS),
    "plan": lambda: prompts(1).llm.plan("gemma", "q"),
    "preview": lambda: prompts(1).llm.preview("gemma", "q", **OPTIONS),
    "arun": lambda: asyncio.run(_awaited()),
}


@pytest.mark.usefixtures("damaged")
@pytest.mark.parametrize("door", DOORS)
def test_what_the_ledger_says_points_at_the_line_that_needed_it(door):
    with pytest.warns(llm.LLMExecutorWarning, match="is damaged") as told:
        DOORS[door]()
    assert [one.filename for one in told] == [__file__]
    lines, first = inspect.getsourcelines(_awaited if door == "arun" else DOORS[door])
    assert told[0].lineno in range(first, first + len(lines))


WAITING = {
    "run": lambda frame, **more: frame.llm.run(MODEL, "q", **more),
    "start": lambda frame, **more: frame.llm.start(MODEL, "q", **more).result(),
    "series": lambda frame, **more: frame["q"].llm.run(MODEL, **more),
}


@pytest.mark.parametrize("door", WAITING)
def test_why_a_job_ended_early_points_at_the_line_that_waited_for_it(door):
    options = {"budget_usd": 1e-9, "price": (1.0, 1.0), "concurrency": 1, **OPTIONS}
    with fresh(), llm.rehearse(), pytest.warns(llm.LLMExecutorWarning, match="is used up") as told:
        WAITING[door](prompts(5), **options)
    assert [one.filename for one in told] == [__file__]
    assert told[0].lineno == inspect.getsourcelines(WAITING[door])[1]
