"""Frames of every shape come back aligned, the input untouched: labels, dtypes, missing cells, names, emptiness."""

from __future__ import annotations

import pandas as pd
import pytest
from columns import LOG_COLUMNS, MODEL, PROVIDERS, run, statuses
from rehearsing import fresh

import llm_executor_nb as llm

IMAGE = [
    {"type": "text", "text": "What is on it?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
]


@pytest.fixture
def server():
    with fresh(), llm.rehearse() as rehearsal:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        yield rehearsal


def mixed() -> pd.DataFrame:
    """A frame with a bit of everything."""
    cells = ["one.", None, "", "two.", "one.", pd.NA, float("nan"), 42, 4.5, True, [{"role": "user", "content": "m."}]]
    frame = pd.DataFrame(
        {
            "q": pd.Series(cells, dtype=object),
            "kind": pd.Categorical(list("aabbccddeef")),
            "llm": range(11),
            "when": pd.date_range("2026-01-01", periods=11, tz="UTC"),
        },
    )
    return frame.set_axis(list("xxyyzzxwwvv"))


def test_a_mixed_frame_comes_back_aligned_and_the_input_is_untouched(server):
    frame = mixed()
    before = frame.copy(deep=True)
    out = run(frame)
    assert frame.equals(before)
    assert out.index.equals(frame.index)
    assert list(out.columns) == [*frame.columns, *(f"q_llm{suffix}" for suffix in LOG_COLUMNS)]
    assert out[list(frame.columns)].equals(frame)
    assert out["q_llm_status"].tolist() == ["ok", *["skipped"] * 2, "ok", "ok", *["skipped"] * 2, *["ok"] * 4]
    for asked, answer in zip(frame["q"], out["q_llm"], strict=True):
        words = "m." if isinstance(asked, list) else str(asked)
        assert pd.isna(answer) or f"'{words}'" in answer
    assert len(server.lines) == 6
    assert out["q_llm_run"].iloc[0] == out["q_llm_run"].iloc[4]


@pytest.mark.parametrize(
    "index",
    [
        pd.MultiIndex.from_tuples([(1, "x"), (1, "x"), (2, "y")], names=["a", "b"]),
        pd.RangeIndex(3, name="row"),
        pd.DatetimeIndex(["2026-01-01"] * 3),
        pd.CategoricalIndex(["a", "b", "a"]),
        pd.Index([None, 1.5, "text"], dtype=object),
    ],
    ids=["multi", "range", "dates", "categories", "objects"],
)
@pytest.mark.usefixtures("server")
def test_any_index_is_kept(index):
    frame = pd.DataFrame({"q": ["a.", "b.", "c."]}, index=index)
    out = run(frame)
    assert out.index.equals(index)
    assert out.index.names == index.names
    assert statuses(out) == {"ok": 3}
    assert set(out.llm.attempts()["row"]) <= {str(label) for label in index.to_list()}


@pytest.mark.parametrize(
    "column",
    [
        pd.Categorical(["a.", "b.", None]),
        pd.array([1, 2, None], dtype="Int64"),
        pd.array(["a.", "b.", None], dtype="string"),
        pd.to_datetime(["2026-01-01", "2026-01-02", None]),
        [1.5, 2.5, float("nan")],
        [("system", "Be short."), {"messages": "hi."}, None],
    ],
    ids=["category", "Int64", "string", "dates", "floats", "tuples and dicts"],
)
@pytest.mark.usefixtures("server")
def test_any_column_is_asked_and_missing_cells_are_skipped(column):
    out = run(pd.DataFrame({"q": column}))
    assert out["q_llm_status"].iloc[2] == "skipped"
    assert out["q_llm_status"].tolist()[:2].count("skipped") == 0


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("rows", [0, 1])
def test_a_frame_of_hardly_any_rows(rows):
    out = run(pd.DataFrame({"q": pd.Series(["a."] * rows, dtype=object)}))
    assert len(out) == rows
    assert [str(dtype) for dtype in out.dtypes[1:]] == ["string", "category", "string", "string", "string", "string"]
    assert run(out.head(0)).shape == (0, 7)
    assert out.llm.report().rows.sum() == rows


def test_cells_with_images_go_as_the_messages_carry_them(server):
    cells = [[{"role": "user", "content": IMAGE}], [{"role": "user", "content": IMAGE}]]
    out = run(pd.DataFrame({"q": pd.Series(cells, dtype=object)}))
    assert statuses(out) == {"ok": 2}
    assert len(server.lines) == 1


@pytest.mark.usefixtures("server")
def test_an_integer_named_column_and_a_column_called_llm():
    frame = pd.DataFrame({0: ["a.", "b."], "llm": ["c.", "d."]})
    assert list(run(frame, 0).columns)[2:4] == ["0_llm", "0_llm_status"]
    assert list(run(frame, "llm").columns)[2:4] == ["llm_llm", "llm_llm_status"]
    with pytest.raises(llm.ConfigError, match="'llm' already"):
        run(frame, template="{0} and more")
    assert statuses(run(frame, template="{0} and more", out="x"), "x") == {"ok": 2}


@pytest.mark.usefixtures("server")
def test_an_answer_with_half_a_surrogate_pair_fits_every_table(tmp_path):
    llm.add_backend("odd", chat_model=_odd())
    llm.models.add("odd/model", providers=["odd"], openrouter=False)
    out = pd.DataFrame({"q": ["a."]}).llm.run("odd/model", "q", progress=False)
    assert out["q_llm"].iloc[0] == "half: \ufffd"
    out.to_csv(tmp_path / "out.csv")


def _odd():
    from llm_executor_nb.testing import fake_model  # noqa: PLC0415 - costs LangChain

    return fake_model(lambda _: "half: \ud83d")


def test_the_result_survives_parquet(server, tmp_path):
    pytest.importorskip("pyarrow")
    out = run(pd.DataFrame({"q": ["a.", "b."]}), schema={"colour": str, "number": int})
    out.to_parquet(tmp_path / "out.parquet")
    back = pd.read_parquet(tmp_path / "out.parquet")
    assert back["q_llm"].tolist() == out["q_llm"].tolist()
    assert back["number"].dtype == "Int64"
    assert len(back.llm.attempts()) == len(server.lines) == 2
    assert statuses(run(back, schema={"colour": str, "number": int})) == {"cached": 2}


def test_a_frame_that_is_changed_while_a_job_runs_does_not_change_the_job():
    frame = pd.DataFrame({"q": [f"question {number}." for number in range(50)]})
    with fresh(), llm.rehearse(latency_s=0.01):
        job = frame.llm.start("gemma", "q", concurrency=2, progress=False)
        frame.loc[:, "q"] = "changed"
        out = job.result()
    assert all(f"'question {number}.'" in answer for number, answer in enumerate(out["q_llm"]))
