"""What this machine lacks is not the provider's fault: one clear error, no hold, no other route, no record."""

from __future__ import annotations

import errno

import aiohttp
import pytest
from doors import DOORS
from loopback import JSON, MODEL, served_by, started, whole
from rehearsing import fresh

import llm_executor_nb as llm

CAUSES = {
    "EMFILE": "may open no more files",
    "ENFILE": "may open no more files",
    "EADDRNOTAVAIL": "no port left",
    "ENOMEM": "no memory left",
    "ENOBUFS": "no memory left",
}


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


def answers(connection):
    connection.sendall(JSON + whole("Paris"))


def lacks(error):
    async def connect(*_args, **_options):
        raise error

    return connect


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize("name", CAUSES)
def test_a_local_cause_is_one_error_and_holds_nothing(name, door, monkeypatch):
    with served_by(answers):
        llm.configure(huggingface_tokens=["hf_localcauses0001"])
        with monkeypatch.context() as patch:
            patch.setattr(aiohttp.TCPConnector, "connect", lacks(OSError(getattr(errno, name), "said the system")))
            with pytest.raises(llm.ConfigError, match=CAUSES[name]) as caught:
                door(MODEL, "x")
        assert caught.value.__cause__ is None
        assert not isinstance(caught.value.__context__, aiohttp.ClientError)
        assert llm.attempts().empty
        assert llm.health().query("status != 'free'").empty if "status" in llm.health() else True
        assert door(MODEL, "x").content == "Paris"


def test_a_job_ends_at_once_and_keeps_what_it_has(monkeypatch):
    import pandas as pd

    with served_by(answers):
        monkeypatch.setattr(aiohttp.TCPConnector, "connect", lacks(MemoryError()))
        with pytest.raises(llm.ConfigError, match="no memory left") as caught:
            pd.DataFrame({"q": [f"row {n}" for n in range(200)]}).llm.run(MODEL, "q", progress=False, concurrency=1)
    assert set(caught.value.result["llm_status"]) <= {"failed", "cancelled"}
    assert (caught.value.result["llm_status"] == "failed").sum() < 20


BURST = """
import asyncio
async def many():
    return await asyncio.gather(*(llm.arun_llm("my/model", f"x {n}") for n in range(150)))
print({reply.content for reply in asyncio.run(many())}, len(llm.attempts()), set(llm.attempts().outcome))
"""
FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))\n"


def test_calls_by_hand_wait_for_what_the_process_may_open():
    pytest.importorskip("resource")
    with served_by(answers) as server:
        told, errors = started(BURST, server.url, before=FEW_FILES).communicate(timeout=60)
    assert told.strip() == "{'Paris'} 150 {'ok'}", errors
