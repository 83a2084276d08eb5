"""The same bytes are the same events, however they were cut on the way."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_executor_nb.providers.sse import Event, Parser


def events_of(*pieces, ends=True):
    """Return the events, and whether the bytes were no UTF-8."""
    parser, found = Parser(), []
    try:
        for piece in pieces:
            found += parser.feed(piece)
        if ends:
            found += parser.end()
    except UnicodeDecodeError:
        found.append("no UTF-8")
    return found


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"data:a\n\ndata:  b\n\n", ["a", " b"]),
        (b"data: {\ndata: }\n\n", ["{\n}"]),
        (b": OPENROUTER PROCESSING\n\ndata: a\n: inside\n\n:\n\n", ["a"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"id: 7\nretry: 10\nfoo: bar\ndata: a\nnonsense\n\n", ["a"]),
        (b"data\n\ndata:\n\ndata: \n\n\n\n", []),
        (b"data: a\n\ndata: b", ["a", "b"]),
        (b"data: a\n\ndata: b\r\n", ["a", "b"]),
        ("data: caf\u00e9 \u2028 \U0001f600 \x85\n\n".encode(), ["caf\u00e9 \u2028 \U0001f600 \x85"]),
        (b"", []),
    ],
)
def test_events_are_read_as_the_standard_has_it(stream, events):
    assert [event.data for event in events_of(stream)] == events


def test_an_event_that_the_stream_has_not_closed_is_not_yet_one():
    assert events_of(b"data: a\n\ndata: b\n", ends=False) == [Event("a")]


def test_an_error_event_can_be_seen_with_data_and_without():
    stream = b'event: error\ndata: {"message": "no"}\n\nevent: error\n\nevent: ping\n\ndata: a\n\n'
    assert events_of(stream) == [Event('{"message": "no"}', "error"), Event("", "error"), Event("a")]


def test_bytes_that_are_no_utf8_end_it_after_the_events_before_them():
    assert events_of(b"data: a\n\n: \xff\n\ndata: b\xff\n\ndata: c\n\n") == [Event("a"), "no UTF-8"]


LINES = st.sampled_from(
    [
        b"data: a",
        b"data:",
        b"data: caf\xc3\xa9",
        b"data: [DONE]",
        b"data: \xff",
        b"event: error",
        b": comment",
        b"\xef\xbb\xbfdata: b",
        b"id: 1",
        b"",
    ],
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=12).map(lambda lines: b"".join(a + b for a, b in lines))


@given(STREAMS | st.binary(max_size=60), st.lists(st.integers(0, 80), max_size=12))
@example(b"data: a\r\n\r\ndata: b\n\n", [8])
@example(b"data: a\r\n\r\ndata: b\n\n", [8, 8, 9, 10])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
@example(b"data: a\n\ndata: \xff\n\n", [9])
def test_the_events_do_not_depend_on_how_the_bytes_were_cut(stream, cuts):
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    whole = events_of(stream)
    assert events_of(*pieces) == whole
    assert events_of(*(bytes([byte]) for byte in stream)) == whole


def test_an_endless_line_costs_no_more_than_its_bytes():
    parser, piece = Parser(), b"x" * 64
    began = time.process_time()
    for _ in range(100_000):
        assert list(parser.feed(piece)) == []
    assert time.process_time() - began < 2
