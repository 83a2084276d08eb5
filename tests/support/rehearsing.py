"""What the chain's tests share: a fresh configuration, and the attempt log compared with what the server saw."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

import llm_executor_nb as llm
from llm_executor_nb.chain.compile import _fallback_chain_cache
from llm_executor_nb.chain.session import own_session, session
from llm_executor_nb.core import clock
from llm_executor_nb.settings.options import Options, Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODEL = "my/model"
PROVIDERS = ["a", "b", "c"]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
"""A tool of a request, where none is called."""
ROUTES = [
    "openrouter ..0001",
    "openrouter ..0002",
    "huggingface/a ..0001",
    "huggingface/b ..0001",
    "huggingface/c ..0001",
]
"""The routes of MODEL in the order of the promise, with the keys that a rehearsal has."""

Line = tuple[str, str | None, str | None, str, int | None]


BUSY = Patience(silence_s=60.0)
"""What a test is patient with: on a busy machine a practice server may send no byte for some seconds."""


def wait_for(**seconds: float) -> None:
    """Change how long the session in force waits for lists and places of keys, by the names of `Patience`."""
    current = session()
    current.options = replace(current.options, patience=replace(current.options.patience, **seconds))


@contextmanager
def fresh() -> Iterator[None]:
    """Give a test a session of its own: the shipped settings, no holds, an empty log, a ledger in memory, and MODEL."""
    with own_session(Options(ledger=None, patience=BUSY)):
        _fallback_chain_cache.clear()
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = list(PROVIDERS)
        try:
            yield
        finally:
            assert_nothing_is_in_flight()


def seen_by(server: object) -> list[Line]:
    """Return the server's lines as (backend, key ending, provider, model, status)."""
    return [(line.backend, line.key, line.provider, line.model, line.status) for line in server.lines]


def logged(attempts: pd.DataFrame | None = None) -> list[Line]:
    """Return an attempt log (None: the whole log) in the same words as `seen_by`."""
    frame = llm.attempts() if attempts is None else attempts
    return [
        (a.backend, _or_none(a.key, lambda key: key.split()[-1]), _or_none(a.provider), a.request_model, _status(a))
        for a in frame.itertuples()
    ]


def assert_log_is_what_the_server_saw(server: object, *, in_order: bool = True) -> None:
    """Compare the whole attempt log with the server's lines; parallel runs only as a bag."""
    settle(server)
    if in_order:
        assert logged() == seen_by(server)
    else:
        assert Counter(logged()) == Counter(seen_by(server))


def settle(server: object) -> None:
    """Wait until the server has written down how each request ended."""
    wait_until(lambda: all(line.replied_s is not None for line in server.lines))


def wait_until(is_so: Callable[[], bool], within_s: float = 5.0) -> None:
    """Poll until something is so."""
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.002)


def assert_nothing_is_in_flight() -> None:
    """No request is counted as under way, and no hold as being probed."""
    health = session().health
    wait_until(lambda: health.traffic.is_quiet)
    assert not any(count < 0 for count in health.traffic._in_flight.values())
    assert not any(hold.is_probing for hold in health.holds(clock.current().now()))


def words(name: str) -> list[str]:
    """Return a text column of the attempt log."""
    return llm.attempts()[name].astype(str).tolist()


def waits() -> list[float]:
    """Return the seconds waited before each attempt of the log."""
    return llm.attempts()["wait_s"].tolist()


def _or_none(value: object, change: Callable[[str], str] = str) -> str | None:
    return None if pd.isna(value) else change(value)


def _status(attempt: object) -> int | None:
    return None if pd.isna(attempt.http_status) else int(attempt.http_status)
