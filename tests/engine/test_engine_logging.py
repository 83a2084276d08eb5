"""The logger `llm_executor_nb`: a line per attempt at DEBUG, one per hold at WARNING, and nothing of what was said."""

import asyncio
import logging

import pytest
from doors import DOORS
from loopback import served_by, whole
from rehearsing import MODEL, fresh, settle, wait_until
from tenacity import wait_none

import llm_executor_nb as llm

CANARY = "canarycanary"
LOGGER = "llm_executor_nb"


@pytest.fixture(autouse=True)
def _settings(caplog):
    caplog.set_level(logging.DEBUG, LOGGER)
    with fresh():
        yield


def _said(caplog, level):
    return [record.getMessage() for record in caplog.records if record.name == LOGGER and record.levelno == level]


def _as_log():
    return [f"{a.route}: {a.outcome}, then {a.decision}" for a in llm.attempts().itertuples()]


def test_the_logger_is_silent_until_somebody_listens():
    assert [type(handler) for handler in logging.getLogger(LOGGER).handlers] == [logging.NullHandler]


@pytest.mark.parametrize("door", DOORS)
def test_every_attempt_is_a_line_at_debug_and_every_hold_one_at_warning(door, caplog):
    with llm.rehearse("openrouter[1]: 401; openrouter[2]: 503*4") as server:
        llm.retry_wait_strategy = wait_none()
        DOORS[door](MODEL, "What?")
        settle(server)
        assert _said(caplog, logging.DEBUG) == _as_log()
        assert len(_as_log()) == len(server.lines) == 6
    first, second = _said(caplog, logging.WARNING)
    assert first.startswith("on hold for 600 s: ")
    assert "(auth)" in first
    assert second.startswith("on hold for 5 s: ")
    assert second.endswith("(overloaded)")


def test_a_cancelled_attempt_is_a_line_too(caplog):
    async def cancelled():
        call = asyncio.ensure_future(llm.arun_llm(MODEL, "What?"))
        await asyncio.to_thread(wait_until, lambda: server.lines)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    with llm.rehearse("*: hang") as server:
        asyncio.run(cancelled())
        wait_until(lambda: len(llm.attempts()))
        assert _said(caplog, logging.DEBUG) == _as_log() == ["openrouter ..0001: cancelled, then stop"]


def test_the_immediate_resend_is_a_line_of_its_own(caplog):
    def play(connection):
        body = whole("hello")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        connection.recv(65536)  # the next request on this connection is never answered

    with served_by(play):
        for _ in range(2):
            llm.run_llm(MODEL, "What?")
        assert _said(caplog, logging.DEBUG) == _as_log()
    assert [line.split()[2] for line in _as_log()] == ["ok,", "connection,", "ok,"]


@pytest.mark.parametrize("door", ["run", "stream"])
def test_no_key_prompt_or_answer_is_logged(door, caplog):
    with llm.rehearse("openrouter: 401*1, 200-error-beside-text, not-json; huggingface/a: 503"):
        llm.OPENROUTER_KEYS = [f"sk-or-v1-{CANARY}-{number}" for number in range(3)]
        llm.HUGGINGFACE_TOKENS = [f"hf_{CANARY}0001"]
        llm.retry_wait_strategy = wait_none()
        DOORS[door](MODEL, f"{CANARY} is quoted back")
        assert len(llm.attempts()) > 8
    assert len(_said(caplog, logging.WARNING)) >= 4
    assert CANARY not in "\n".join([*_said(caplog, logging.DEBUG), *_said(caplog, logging.WARNING)])


def test_a_streak_s_hold_does_not_quote_the_broken_answer_that_made_it(caplog):
    with served_by(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + CANARY.encode())):
        llm.configure(retries=0)
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "What?")
        assert CANARY in llm.attempts()["message"].iloc[0]
    (said,) = _said(caplog, logging.WARNING)
    assert "(malformed)" in said
    assert CANARY not in said
