"""Canary keys through every fault of the catalogue: found in no error, log, record, pickle or temporary file."""

from __future__ import annotations

import logging
import pickle
import tempfile
import traceback
from pathlib import Path

import pytest
from doors import DOORS
from rehearsing import MODEL, fresh

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.rehearsal.catalogue import general_faults

CANARY = "canarycanary"
KEY, TOKEN = f"sk-or-v1-{CANARY}-0001", f"hf_{CANARY}0001"


@pytest.fixture(autouse=True)
def _settings():
    with fresh():
        yield


def _told(error: BaseException) -> str:
    """Return all that Python tells of an error: texts, attributes, and chained tracebacks with our locals."""
    chained = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = []
    link = chained
    while link is not None:
        ours += [str(frame.locals) for frame in link.stack if "llm_executor_nb" in frame.filename]
        link = link.__cause__ or link.__context__
    return "\n".join([str(error), repr(error), repr(vars(error)), *ours])


@pytest.mark.parametrize("door", ["run", "stream"])
@pytest.mark.parametrize("backend", ["openrouter", "huggingface"])
def test_no_fault_brings_a_key_to_light(door, backend, caplog):
    caplog.set_level(logging.DEBUG)
    before = {path: path.stat().st_mtime for path in Path(tempfile.gettempdir()).glob("*") if path.is_file()}
    said: list[str] = []
    for name, entry in general_faults().items():
        if backend not in entry.backends or name == "huge-body" or (entry.is_stream_only and door != "stream"):
            continue
        is_bounded = entry.expected(backend).outcome is Outcome.TIMEOUT and name != "408"
        with llm.rehearse(f"{backend}: {name}"), clock.use(clock.FrozenClock()):
            llm.OPENROUTER_KEYS = [KEY] if backend == "openrouter" else []
            llm.HUGGINGFACE_TOKENS = [TOKEN] if backend == "huggingface" else []
            llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["one"]
            llm.configure(retries=0)
            try:
                said.append(repr(DOORS[door](MODEL, "What?", timeout=0.1 if is_bounded else 20)))
            except llm.LLMExecutorError as error:
                said += [_told(error), pickle.dumps(error).decode("latin-1")]
            said += [llm.attempts().to_csv(), llm.health().to_csv(), repr(llm.keys)]
    after = [path for path in Path(tempfile.gettempdir()).glob("*") if path.is_file()]
    said += [path.read_bytes().decode("latin-1") for path in after if before.get(path) != path.stat().st_mtime]
    assert len(said) > 300
    assert [text for text in (*said, caplog.text) if CANARY in text] == []
