"""`timeout` and `deadline` hold through every door, whatever a server does: never early, and hardly late."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest
from doors import DOORS, STREAMS
from loopback import DONE, JSON, MODEL, STREAM, says, served_by, whole
from rehearsing import fresh, words

import llm_executor_nb as llm

BOUND_S = 0.2
LATE_S = 0.5
PAUSE_S = 0.02


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        llm.configure(retries=0)
        yield


@pytest.fixture(autouse=True, scope="module")
def _warm():
    with fresh(), llm.rehearse():
        for door in DOORS.values():
            door("gemma", "warm up")


@contextmanager
def _takes(bound_s):
    began = time.monotonic()
    yield
    took_s = time.monotonic() - began
    assert bound_s <= took_s + 0.001
    assert took_s < bound_s + max(LATE_S, bound_s / 10)


def _sends(first, again=b""):
    """Send something, and then something else over and over, or nothing until the client has left."""

    def play(connection):
        connection.sendall(first)
        while again:
            time.sleep(PAUSE_S)
            connection.sendall(again)
        connection.recv(1)

    return play


SILENT = {
    "no reply": _sends(b""),
    "a head that drips": _sends(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"."),
    "nothing behind the head": _sends(JSON),
    "nothing behind the head of a stream": _sends(STREAM),
    "half a body": _sends(JSON + whole("half an answer")[:60]),
    "a body that drips": _sends(JSON + b'{"id": "', b"x"),
    "blanks for ever": _sends(JSON, b" \n"),
    "blanks for ever in a stream": _sends(STREAM, b"\n"),
    "comments for ever": _sends(STREAM, b": OPENROUTER PROCESSING\n\n"),
    "a refusal that drips": _sends(b"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\n\r\n", b" "),
}
MIDWAY = {
    "silence": _sends(STREAM + says("Yes, ")),
    "comments for ever": _sends(STREAM + says("Yes, "), b": OPENROUTER PROCESSING\n\n"),
    "chunks without text for ever": _sends(STREAM + says("Yes, "), says("")),
    "an event that drips": _sends(STREAM + says("Yes, ") + b'data: {"id": "', b"x"),
}
every_door = pytest.mark.parametrize("door", DOORS)
each_stream = pytest.mark.parametrize("door", STREAMS)


@every_door
@pytest.mark.parametrize("case", SILENT)
def test_timeout_bounds_an_attempt_without_a_text(case, door):
    with served_by(SILENT[case]), pytest.raises(llm.AllRoutesFailedError) as raised, _takes(BOUND_S):
        DOORS[door](MODEL, "x", timeout=BOUND_S)
    [attempt] = raised.value.attempts
    assert attempt.outcome == "timeout"
    assert attempt.duration_s == pytest.approx(BOUND_S, abs=LATE_S)


@every_door
@pytest.mark.parametrize("case", SILENT)
def test_the_deadline_bounds_a_run_without_a_text(case, door):
    with served_by(SILENT[case]), pytest.raises(llm.DeadlineError) as raised, _takes(BOUND_S):
        DOORS[door](MODEL, "x", deadline=BOUND_S)
    assert [attempt.outcome for attempt in raised.value.attempts] == ["timeout"]
    assert llm.health().empty


@each_stream
@pytest.mark.parametrize("bound", ["timeout", "deadline"])
@pytest.mark.parametrize("case", MIDWAY)
def test_both_bound_the_silence_in_the_midst_of_a_stream(case, bound, door):
    with served_by(MIDWAY[case]), pytest.raises(llm.StreamInterruptedError) as raised, _takes(BOUND_S):
        DOORS[door](MODEL, "x", **{bound: BOUND_S})
    assert raised.value.partial == "Yes, "
    assert [attempt.outcome for attempt in raised.value.attempts] == ["timeout"]


@contextmanager
def _full():
    """Listen, with a queue of connections that is full, so that one more gets no reply to its first packet."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting.enter_context(client := socket.socket())
            client.setblocking(False)  # noqa: FBT003 - the argument has no name
            client.connect_ex(listener.getsockname())
        llm.configure(
            openrouter_keys=["sk-or-v1-loopback-0001"],
            huggingface_tokens=[],
            openrouter_base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1",
        )
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = []
        yield


@pytest.mark.skipif(sys.platform != "linux", reason="what a full queue does differs from system to system")
@every_door
@pytest.mark.parametrize("bound", ["timeout", "deadline"])
def test_both_bound_a_connection_that_does_not_come_about(bound, door):
    error = {"timeout": llm.AllRoutesFailedError, "deadline": llm.DeadlineError}[bound]
    with _full(), pytest.raises(error) as raised, _takes(BOUND_S):
        DOORS[door](MODEL, "x", **{bound: BOUND_S})
    assert [attempt.outcome for attempt in raised.value.attempts] == ["timeout"]


@every_door
def test_the_deadline_bounds_all_attempts_together(door):
    with llm.rehearse("*: hang") as server, pytest.raises(llm.DeadlineError) as raised, _takes(0.5):
        DOORS[door]("gemma", "x", timeout=0.2, deadline=0.5)
    assert [attempt.outcome for attempt in raised.value.attempts] == ["timeout"] * 3
    assert len(server.lines) == 3


@every_door
def test_a_wait_that_would_outlast_the_deadline_is_not_begun(door):
    llm.configure(retries=3)
    began = time.monotonic()
    with llm.rehearse("*: 503"), pytest.raises(llm.DeadlineError) as raised:
        DOORS[door]("gemma", "x", deadline=2)
    assert time.monotonic() - began < 1
    assert [attempt.outcome for attempt in raised.value.attempts] == ["overloaded"] * 5


@every_door
def test_what_comes_within_the_timeout_is_not_cut(door):
    def play(connection):
        for piece in (JSON, whole("Yes")[:30], whole("Yes")[30:]):
            connection.sendall(piece)
            time.sleep(BOUND_S / 4)

    with served_by(play):
        assert DOORS[door](MODEL, "x", timeout=BOUND_S * 2).content == "Yes"
        assert words("outcome") == ["ok"]


@each_stream
def test_a_stream_that_goes_on_talking_is_not_cut_by_the_timeout(door):
    def play(connection):
        connection.sendall(STREAM)
        for _ in range(8):
            connection.sendall(says("a"))
            time.sleep(BOUND_S / 4)
        connection.sendall(says("", finish_reason="stop") + DONE)

    with served_by(play):
        assert DOORS[door](MODEL, "x", timeout=BOUND_S).content == "a" * 8


@each_stream
def test_thoughts_end_a_silence_although_they_are_no_text(door):
    def play(connection):
        connection.sendall(STREAM)
        for _ in range(8):
            connection.sendall(says("", delta={"role": "assistant", "content": "", "reasoning": "hm"}))
            time.sleep(BOUND_S / 4)
        connection.sendall(says("Yes", finish_reason="stop") + DONE)

    with served_by(play):
        assert DOORS[door](MODEL, "x", timeout=BOUND_S).content == "Yes"
