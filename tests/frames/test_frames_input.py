"""What a cell holds is asked as it was meant, through Parquet, as bytes, tuples, floats; or its row says why not."""

from __future__ import annotations

import io
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from recording import MODEL, recorded, said
from rehearsing import fresh

import llm_executor_nb as llm
from llm_executor_nb.frames.prompts import Prompts

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Lyon"}'}}
TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "What is the weather?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
]
PICTURE = [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": "https://x.invalid/a"}},
    {"type": "image_url", "image_url": {"url": "https://x.invalid/b", "detail": "low"}},
]
SHOWN = [{"role": "user", "content": PICTURE}, {"role": "user", "content": PICTURE[:1], "name": "Ann"}]


@pytest.fixture(autouse=True)
def bodies():
    with fresh(), recorded(lambda _: said()) as bodies:
        yield bodies


def column(*cells):
    """Return a frame of objects; pandas would make a table of lists of one length."""
    found = np.empty(len(cells), dtype=object)
    for at, cell in enumerate(cells):
        found[at] = cell
    return pd.DataFrame({"q": pd.Series(found, dtype=object)})


def asked(*cells):
    """Return what is asked for cells."""
    return Prompts(column(*cells), "q", None).window(0, len(cells))


def run(frame, **options):
    where = () if "template" in options else ("q",)
    return frame.llm.run(MODEL, *where, progress=False, concurrency=1, **options)


def through_parquet(frame, **options):
    pytest.importorskip("pyarrow")
    kept = io.BytesIO()
    frame.to_parquet(kept)
    return pd.read_parquet(kept, **options)


@pytest.mark.parametrize("talks", [(TALK[:2], TALK, TALK[1:2]), (SHOWN, SHOWN[1:])], ids=["texts", "parts"])
@pytest.mark.parametrize("options", [{}, {"dtype_backend": "pyarrow"}], ids=["arrays", "arrow"])
def test_messages_from_parquet_are_those_that_were_saved_and_their_answers_are_reused(options, talks, bodies):
    frame = column(*talks)
    assert set(run(frame)["q_llm_status"]) == {"ok"}
    sent = [body["messages"] for body in bodies]
    after = through_parquet(frame, **options)
    assert set(run(after)["q_llm_status"]) == {"cached"}
    assert set(run(after, reuse=False)["q_llm_status"]) == {"ok"}
    assert [body["messages"] for body in bodies[len(talks) :]] == sent
    assert set(after["q"].llm.run(MODEL, progress=False)) == {"fine"}
    assert len(bodies) == 2 * len(talks)


TEXTS = st.text("ab\u20ac{'\n", min_size=1, max_size=5).map(lambda text: f"{text}.")
PARTS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
    st.builds(lambda url: {"type": "image_url", "image_url": url}, st.fixed_dictionaries({"url": TEXTS})),
    st.builds(
        lambda url: {"type": "image_url", "image_url": url}, st.fixed_dictionaries({"url": TEXTS, "detail": TEXTS})
    ),
)
CALLS = st.builds(lambda name: {**CALL, "function": {"name": name, "arguments": "{}"}}, TEXTS)
SIGNED = st.builds(lambda sign: {**CALL, "extra_content": {"google": {"thought_signature": sign}}}, TEXTS)
DETAILS = st.fixed_dictionaries({"type": TEXTS}, optional={"text": TEXTS, "data": TEXTS, "index": st.integers(0, 2)})
CALLING = st.fixed_dictionaries(
    {
        "role": st.just("assistant"),
        "content": st.none(),
        "tool_calls": st.lists(CALLS | SIGNED, min_size=1, max_size=2),
    },
    optional={"reasoning_details": st.lists(DETAILS, min_size=1, max_size=3)},
)


def users(content):
    return st.fixed_dictionaries({"role": st.just("user"), "content": content}, optional={"name": TEXTS})


def talks_of(content):
    return st.lists(st.lists(users(content) | CALLING, min_size=1, max_size=3), min_size=1, max_size=3)


def _is_readable(frame):
    """Whether pandas can read its own column. Before 3 it loads structs wrongly in which a field is always null."""
    try:
        return bool(list(frame["q"]))
    except IndexError:  # pyarrow's is one
        return False


@settings(max_examples=60, deadline=None)
@given(talks_of(TEXTS) | talks_of(st.lists(PARTS, min_size=1, max_size=3)))
def test_any_messages_are_the_same_request_after_storage_has_filled_their_structs(talks):
    frame = column(*talks)
    for options in ({}, {"dtype_backend": "pyarrow"}):
        after = through_parquet(frame, **options)
        assume(_is_readable(after))
        assert Prompts(after, "q", None).window(0, len(talks)) == Prompts(frame, "q", None).window(0, len(talks))


@pytest.mark.parametrize(
    "cell",
    [
        np.array([["system", "Be short."], ["user", "hi"]], dtype=object),
        [("system", "Be short."), ("user", "hi")],
        (("system", "Be short."), {"role": "user", "content": "hi"}),
        pd.Series([{"role": "system", "content": "Be short."}, {"role": "user", "content": np.str_("hi")}]),
        [{"role": "system", "content": b"Be short."}, {"role": "user", "content": "hi", "name": math.nan}],
        {"messages": np.array([("system", "Be short."), ("user", "hi")])},
    ],
    ids=["an array of pairs", "pairs", "a tuple of both", "a series", "bytes and NaN", "a dict"],
)
def test_messages_are_messages_whatever_holds_them(cell, bodies):
    assert run(column(cell))["q_llm_status"].tolist() == ["ok"]
    assert bodies[0]["messages"] == [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}]


@pytest.mark.parametrize("cell", [("user", "hi"), ["user", "hi"], np.array(["human", "hi"])])
def test_a_role_and_a_text_are_one_message(cell, bodies):
    run(column(cell))
    assert bodies[0]["messages"] == [{"role": "user", "content": "hi"}]


def test_texts_in_an_array_are_what_they_are_in_a_list(bodies):
    run(column(["red", "blue"], np.array(["red", "blue"], dtype=object)))
    assert [[message["content"] for message in body["messages"]] for body in bodies] == [["red", "blue"]]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ([{"role": "user", "content": None}], r"Message 1 \(user\) has no content: it is None"),
        (np.array([TALK[0], {"role": "user", "content": math.nan}]), r"Message 2 \(user\) has no content: it is nan"),
        ([("system", "a"), ("user", pd.NA)], r"Message 2 \(user\) has no content: it is <NA>"),
        (("user", None), r"Message 1 \(user\) has no content"),
        ([TALK[0], None], "Message 2 is missing: it is None"),
        ([{"role": None, "content": "x"}], "Message 1 has no role: it is None"),
        ([{"role": "user", "content": [{"type": "text", "text": math.nan}]}], "Part 1 of message 1 .user. has no text"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": None}}]}], "has no image_url"),
        ([{"role": "assistant", "content": None, "tool_calls": None}], r"Message 1 \(assistant\) has no content"),
        ({"messages": None, "temperature": 0}, "no messages: they are None"),
        (b"caf\xe9", "not UTF-8 text"),
        ([{"role": "user", "content": b"caf\xe9"}], "not UTF-8 text"),
        (("systen", "Be short."), "'systen' is not a role. Roles: system"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told_at_its_row_and_never_sent(cell, words, bodies):
    frame = column("first.", cell).set_axis(["one", "two"])
    out = run(frame)
    assert out["q_llm_status"].tolist() == ["ok", "failed"]
    assert pd.Series(out["q_llm_error"].iloc[1]).str.contains(f"Row two: .*{words}").all()
    assert len(bodies) == 1


@pytest.mark.parametrize(
    "request_", [[{"role": "user", "content": None}], np.array([("user", math.nan)], dtype=object)]
)
def test_by_hand_a_message_without_content_is_refused_too(request_, bodies):
    with pytest.raises(llm.ConfigError, match=r"Message 1 .*has no content"):
        llm.run_llm(MODEL, request_)
    assert not bodies


def test_by_hand_a_cell_of_a_parquet_file_is_asked_as_it_is(bodies):
    cell = through_parquet(column(TALK))["q"].iloc[0]
    assert llm.run_llm(MODEL, cell).content == "fine"
    llm.run_llm(MODEL, TALK)
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (np.float32(0.1), "0.1"),
        (np.float16(0.1), "0.1"),
        (np.float64(0.1), "0.1"),
        (np.int8(3), "3"),
        (np.bool_(True), "True"),  # noqa: FBT003 - a cell
        (Decimal("1.10"), "1.10"),
        (pd.Timestamp("2026-01-02"), "2026-01-02 00:00:00"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (pd.Interval(0, 1), "(0, 1]"),
        ({"b", "a", "c"}, "{'a', 'b', 'c'}"),
        (frozenset({2, 1}), "{1, 2}"),
        (set(), "set()"),
        ("caf\xe9".encode(), "caf\xe9"),
        (bytearray(b"x"), "x"),
        (np.array("zero"), "zero"),
        (np.array(0.1, dtype="f4"), "0.1"),
    ],
)
def test_a_scalar_is_the_text_it_was_written_as(cell, text):
    assert asked(cell) == [text]


@pytest.mark.parametrize("dtype", ["float32", "float16", "Float32", "category", "Sparse[float32]", "float[pyarrow]"])
def test_a_narrow_float_is_printed_as_written_in_every_dtype(dtype):
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    values = pd.Series(np.array([0.1, 2.5], dtype="float32"))
    frame = values.astype(dtype).to_frame("q")
    assert Prompts(frame, "q", None).window(0, 2) == ["0.1", "2.5"]
    assert Prompts(frame, None, "{q} {q!r}").window(0, 2) == ["0.1 0.1", "2.5 2.5"]


@given(st.floats(width=32, allow_nan=False))
def test_any_narrow_float_is_the_number_that_was_written(value):
    text = asked(np.float32(value))[0]
    assert np.float32(text) == np.float32(value)
    assert _digits(text) <= _digits(str(float(value)))


def _digits(number):
    """Return how many digits say what a number is, without the zeros that say how large it is."""
    return len(number.partition("e")[0].replace(".", "").strip("-0"))


@given(st.binary(max_size=8))
def test_bytes_are_text_or_refused_in_cells_and_in_templates(data):
    plain = asked(data)[0]
    filled = Prompts(column(data), None, "{q}").window(0, 1)[0]
    try:
        text = data.decode()
    except UnicodeDecodeError:
        assert isinstance(plain, llm.ConfigError)
        assert str(plain) == str(filled)
    else:
        assert plain == filled == (text if text.strip() else None)


@pytest.mark.parametrize("cell", [b"", b" ", None, pd.NA, np.array(None, dtype=object), np.array(math.nan)])
def test_missing_input_is_skipped_in_whatever_form(cell, bodies):
    assert run(column(cell))["q_llm_status"].tolist() == ["skipped"]
    assert not bodies


def test_what_storage_has_filled_beside_the_messages_is_not_sent(bodies):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": ["a"]}}}
    cells = [{"messages": TALK[:1], "temperature": 0.5, "stop": ["END"]}, {"messages": TALK[:1], "tools": [tool]}]
    run(through_parquet(column(*cells)))
    asked = [{name: value for name, value in body.items() if name not in ("model", "messages")} for body in bodies]
    assert asked == [{"temperature": 0.5, "stop": ["END"]}, {"tools": [tool]}]


def test_nulls_of_what_goes_back_are_sent_as_the_user_wrote_them_and_cost_nothing_after_storage(bodies):
    details = [{"type": "reasoning.encrypted", "data": "x", "id": None}]
    frame = column([{"role": "assistant", "content": "a", "reasoning_details": details}, TALK[1]])
    run(frame)
    assert bodies[0]["messages"][0]["reasoning_details"] == details
    assert run(through_parquet(frame))["q_llm_status"].tolist() == ["cached"]
