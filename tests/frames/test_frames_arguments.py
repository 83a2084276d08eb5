"""What a job is given is checked by name, and is its own from its start on."""

from __future__ import annotations

import copy

import pandas as pd
import pytest
from columns import MODEL, PROVIDERS, prompts, run
from langchain_core.messages import HumanMessage
from rehearsing import fresh, wait_until

import llm_executor_nb as llm
from llm_executor_nb.frames.prompts import Prompts


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        yield


def _cells():
    return [
        [{"role": "user", "content": "one."}],
        {"messages": [{"role": "user", "content": "two."}], "max_tokens": 50},
        ({"role": "user", "content": "three."},),
        [HumanMessage("four.")],
        HumanMessage("five."),
    ]


def _change(cells):
    cells[0][0]["content"] = "changed"
    cells[1]["messages"].append({"role": "user", "content": "changed"})
    cells[1]["max_tokens"] = 1
    cells[2][0]["content"] = "changed"
    cells[3][0].content = "changed"
    cells[4].content = "changed"


def test_a_cell_that_is_changed_after_the_start_changes_nothing_that_is_sent():
    cells = [*([{"role": "user", "content": f"filler {at}."}] for at in range(40)), *_cells()]
    with llm.rehearse("*: latency=0.02") as server:
        job = pd.DataFrame({"q": cells}).llm.start(MODEL, "q", concurrency=1, progress=False)
        wait_until(lambda: server.lines)
        _change(cells[40:])
        answers = job.result()["q_llm"].iloc[40:]
    assert [answer.split("'")[1] for answer in answers] == ["one.", "two.", "three.", "four.", "five."]


def test_prompts_are_the_jobs_own_also_where_a_template_uses_them():
    cells, sets = _cells(), [{1}, {2}, {3}, {4}, {5}]
    frame = pd.DataFrame({"q": cells, "s": sets})
    plain, filled = Prompts(frame, "q", None), Prompts(frame, None, "{q} and {s}")
    before = [copy.deepcopy(one.window(0, 5)) for one in (plain, filled)]
    _change(cells)
    for one in sets:
        one.add("changed")
    assert [one.window(0, 5) for one in (plain, filled)] == before


def test_a_cell_that_cannot_be_copied_is_told_at_its_row():
    frame = pd.DataFrame({"q": [[{"role": "user", "content": (number for number in range(3))}], "a question."]})
    with llm.rehearse():
        assert run(frame)["q_llm_status"].tolist() == ["failed", "ok"]


def test_texts_and_numbers_are_not_copied():
    texts = [f"a text of its own, {number}" for number in range(3)]
    kept = Prompts(pd.DataFrame({"q": pd.Series([*texts, 5, None], dtype=object)}), "q", None).window(0, 5)
    assert all(one is other for one, other in zip(kept, texts, strict=False))
    assert kept[3:] == ["5", None]


def test_equal_cells_that_are_one_object_stay_one():
    messages = [{"role": "user", "content": "the same."}]
    kept = Prompts(pd.DataFrame({"q": [messages] * 3}), "q", None).window(0, 3)
    assert kept[0] is kept[2]
    assert kept[0] is not messages


@pytest.mark.parametrize("out", ["", "  ", 5, ("a", "b"), False])
def test_an_out_that_is_no_name_is_refused_with_what_to_do(out):
    with llm.rehearse() as server:
        for ask in (prompts(1).llm.run, prompts(1)["q"].llm.run):
            where = ("q",) if ask.__self__.__class__.__name__ == "FrameAccessor" else ()
            with pytest.raises(llm.ConfigError, match=r"must be a text.*[Ll]eave it out"):
                ask(MODEL, *where, out=out, progress=False)
            with pytest.raises(llm.ConfigError, match="must be a text"):
                ask(MODEL, *where, out=out, schema={"score": int}, progress=False)
        assert not server.lines


@pytest.mark.parametrize("name", ["taken", "skip_routes", "frame", "options", "order", "temperture"])
def test_a_name_that_run_does_not_have_is_refused(name):
    with llm.rehearse() as server:
        for ask in (prompts(1).llm.run, prompts(1).llm.start, prompts(1).llm.plan, prompts(1).llm.preview):
            with pytest.raises(llm.ConfigError, match=name):
                ask(MODEL, "q", **{name: ["x"]})
        with pytest.raises(llm.ConfigError, match=name):
            prompts(1)["q"].llm.run(MODEL, **{name: ["x"]})
        assert not server.lines


def test_an_arun_refuses_what_run_refuses(arun):
    with llm.rehearse() as server:
        with pytest.raises(llm.ConfigError, match="taken"):
            arun(prompts(1), taken=["x"])
        assert not server.lines


@pytest.fixture
def arun():
    """Give `df.llm.arun` of the column `q`, awaited in a loop of its own."""
    import asyncio  # noqa: PLC0415 - only here

    return lambda frame, **options: asyncio.run(frame.llm.arun(MODEL, "q", progress=False, **options))
