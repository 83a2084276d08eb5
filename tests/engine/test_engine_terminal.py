"""What a provider says reaches no terminal as a command: not by an error, a log line, a cell of errors or a table."""

from __future__ import annotations

import json
import logging
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from doors import DOORS
from loopback import Loopback
from rehearsing import MODEL, fresh

import llm_executor_nb as llm
from llm_executor_nb.core import clock

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

KEY = "CANARY/own+key=0123456789abcdefghijklmnop"
EVIL = f"no \x1b]52;c;Y3VybCBldmlsfHNo\x07\x1b[2K\rAll keys are fine. \x9b31m\u202e {KEY[:20]}\n{KEY[20:]}"


@pytest.fixture(autouse=True)
def _settings():
    with fresh(), clock.use(clock.FrozenClock()):
        llm.OPENROUTER_KEYS = [KEY]
        llm.HUGGINGFACE_TOKENS = []
        llm.configure(retries=0)
        yield


def _answer(**more: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "fine"}}
    return {"id": "1", "model": "m", "object": "chat.completion", "created": 1, "choices": [{**choice, **more}]}


REPLIES: dict[str, tuple[str, Any]] = {
    "a refused request": ("400 X", {"error": {"message": EVIL}}),
    "a dead key": ("401 X", {"error": {"message": EVIL, "code": EVIL, "type": EVIL}}),
    "another server's words": ("502 X", {"error": {"message": "Provider returned error", "metadata": {"raw": EVIL}}}),
    "a rate limit": ("429 X", {"error": {"message": EVIL}}),
    "a page": ("503 X", f"<html><title>{EVIL}</title></html>"),
    "no JSON": ("200 OK", EVIL),
    "an error with a 200": ("200 OK", {"error": EVIL}),
    "another place": ("302 X", EVIL),
    "a refusal": ("200 OK", _answer(message={"role": "assistant", "content": None, "refusal": EVIL})),
    "an end": ("200 OK", _answer(finish_reason=EVIL, message={"role": "assistant", "content": ""})),
    "a tool call": (
        "200 OK",
        _answer(
            message={"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": EVIL, "arguments": EVIL}}]}
        ),
    ),
}


def _play(status: str, content: Any) -> Callable[[socket.socket], None]:
    body = (content if isinstance(content, str) else json.dumps(content)).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nLocation: http://x/\x9b31m\x7f\r\n"
    reply = f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode("latin-1") + body
    return lambda connection: connection.sendall(reply)


def _error_of(door: Callable[..., object]) -> list[str]:
    try:
        door(MODEL, "What?")
    except llm.LLMExecutorError as error:
        return [str(error), "".join(error._render_traceback_() or []), "".join(traceback.format_exception(error))]
    return []


def _is_harmless(text: str) -> bool:
    return not any(char in text for char in "\x1b\x07\x7f\x9b\r\u202e") and "Y3VybCBldmlsfHNo" not in text


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize("door", ["run", "stream"])
def test_a_provider_commands_no_terminal(reply, door, caplog):
    caplog.set_level(logging.DEBUG)
    with Loopback(_play(*reply)) as server:
        llm.configure(openrouter_base_url=server.url)
        told = _error_of(DOORS[door])
        llm.reset_health()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            frame = pd.DataFrame({"q": ["What?"]}).llm.run(MODEL, "q", progress=False)
    told += [str(one.message) for one in warned]
    told += [caplog.text, *frame["q_llm_error"].fillna(""), repr(llm.health())]
    log = llm.attempts()
    told += [str(value) for column in log for value in log[column]]
    assert len(told) > 30
    assert [text for text in told if not _is_harmless(text)] == []
    assert [text for text in told if KEY[20:] in text or KEY[:20] in text] == []


def test_an_answer_is_data_and_stays_as_it_is():
    with Loopback(_play("200 OK", _answer(message={"role": "assistant", "content": EVIL}))) as server:
        llm.configure(openrouter_base_url=server.url)
        assert llm.run_llm(MODEL, "What?").content == EVIL
        assert pd.DataFrame({"q": ["What?"]}).llm.run(MODEL, "q", progress=False)["q_llm"].tolist() == [EVIL]
