"""Every fault of the catalogue on the first route, through all four doors: what it is taken for, and what follows.

What is expected is worked out here from the catalogue's own finding and the rules of the design, not from the chain.
"""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass

import pytest
from doors import DOORS, STREAMS
from rehearsing import MODEL, fresh, logged, seen_by, settle

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.rehearsal.catalogue import general_faults

QUESTION = "What is the capital of France?"
TIMEOUT_S = 0.5
CEILING_S = 30
ENDS_AT_ONCE = {
    Outcome.OK: None,
    Outcome.CONTENT_FILTER: llm.RequestError,
    Outcome.TRUNCATED: llm.RequestError,
}
WAIT_S = {"free-models-per-min": 60.0, "openrouter_free_tier_daily": 86_400.0, "free-models-per-day": 86_400.0}
"""How long the faults that name a wait ask for, at midnight on the frozen clock; the others ask for 1 s."""
MIDWAY = {
    "content_filter-midway",
    "cut",
    "finish_error",
    "finish_error-bare",
    "reset-midway",
    "stream-bad-json",
    "stream-bad-utf8",
    "stream-comments-midway",
    "stream-done-unfinished",
    "stream-error-midway",
    "stream-error-midway-429",
    "stream-error-midway-word",
    "stream-error-text",
    "stream-json-list",
    "stream-no-end",
    "stream-stall",
}
"""Faults that come after some text of a stream."""
FIRST = {"openrouter": ("openrouter", "..0001", None), "huggingface": ("huggingface", "..0001", "a")}
BESIDE = {
    "openrouter": {
        ScopeLevel.REQUEST: ("openrouter", "..0002", None),
        ScopeLevel.ROUTE: ("openrouter", "..0002", None),
        ScopeLevel.MODEL: ("openrouter", "..0002", None),
        ScopeLevel.KEY: ("openrouter", "..0002", None),
        ScopeLevel.PROVIDER: ("huggingface", "..0001", "a"),
        ScopeLevel.BACKEND: ("huggingface", "..0001", "a"),
    },
    "huggingface": {
        ScopeLevel.REQUEST: ("huggingface", "..0001", "b"),
        ScopeLevel.ROUTE: ("huggingface", "..0001", "b"),
        ScopeLevel.PROVIDER: ("huggingface", "..0001", "b"),
        ScopeLevel.MODEL: ("huggingface", "..0002", "a"),
        ScopeLevel.KEY: ("huggingface", "..0002", "a"),
        ScopeLevel.BACKEND: None,
    },
}
"""Who is asked next when what is left out reaches that far."""
HALVES = {"openrouter": {"run", "astream"}, "huggingface": {"arun", "stream"}}
"""The doors of a fault that both backends know: all four together, and each backend has a whole and a stream."""
CASES = [
    pytest.param(name, backend, door, id=f"{name}-{backend}-{door}")
    for name, entry in general_faults().items()
    for backend in entry.backends
    for door in (STREAMS if entry.is_stream_only else DOORS)
    if len(entry.backends) == 1 or door in HALVES[backend]
]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What has to come of a fault on the first route.

    Attributes:
        outcome: of each request that met it.
        waits: seconds before each request, the last one included that `then` answers.
        then: who answers in the end; None: nobody else is asked.
        error: how the run ends; None: with the answer.
        held: how far a hold reaches, its kind and its seconds; None: nothing is held.
        is_waited_for: the hold ends by itself within this run, whose next request is answered.
    """

    outcome: Outcome
    waits: tuple[float, ...] = (0,)
    then: tuple[str, str, str | None] | None = None
    error: type[Exception] | None = None
    held: tuple[ScopeLevel, str, float] | None = None
    is_waited_for: bool = False

    @property
    def failures(self):
        return len(self.waits) - bool(self.then)


def expected_of(name, backend, *, is_stream):
    """Work out what has to follow, from the finding of the catalogue and sections 3.1 to 3.3 of the design."""
    entry = general_faults()[name]
    finding = entry.expected(backend)
    told_s = WAIT_S.get(name, 1.0) if entry.names_wait else None
    if is_stream and name in MIDWAY:
        return Expected(outcome=finding.outcome, error=llm.StreamInterruptedError)
    if finding.outcome in ENDS_AT_ONCE:
        return Expected(outcome=finding.outcome, error=ENDS_AT_ONCE[finding.outcome])
    if told_s is not None and told_s <= CEILING_S:
        told = (finding.reach or ScopeLevel.ROUTE, "told", told_s)
        return Expected(outcome=finding.outcome, waits=(0, told_s), then=FIRST[backend], held=told, is_waited_for=True)
    reach, held, waits = _left(finding, told_s)
    if then := BESIDE[backend][reach]:
        return Expected(outcome=finding.outcome, waits=(*waits, 0), then=then, held=held)
    is_too_long = finding.outcome is Outcome.CONTEXT_LENGTH
    error = llm.RequestError if is_too_long else llm.AllRoutesFailedError
    return Expected(outcome=finding.outcome, waits=waits, error=error, held=held)


def _left(finding, told_s):
    """Return how far the run moves on, what is held, and the waits before the requests that failed."""
    reach = finding.reach or ScopeLevel.ROUTE
    match finding.outcome:
        case Outcome.CONTEXT_LENGTH | Outcome.BAD_REQUEST:
            return ScopeLevel.BACKEND if finding.outcome is Outcome.CONTEXT_LENGTH else ScopeLevel.PROVIDER, None, (0,)
        case Outcome.INVALID_OUTPUT:
            return ScopeLevel.ROUTE, None, (0, 3)
        case _ if finding.outcome is Outcome.TIMEOUT or reach is ScopeLevel.REQUEST:
            return reach, None, (0,)
        case Outcome.QUOTA | Outcome.AUTH | Outcome.FORBIDDEN | Outcome.NOT_FOUND | Outcome.UNSUPPORTED:
            is_lasting = reach in {ScopeLevel.PROVIDER, ScopeLevel.BACKEND}
            return reach, (reach, "condemned", math.inf if is_lasting else told_s or 600), (0,)
        case _ if told_s is not None:
            return reach, (reach, "told", told_s), (0,)
        case _:
            return ScopeLevel.ROUTE, (ScopeLevel.ROUTE, "streak", 5), (0, 3, 5, 6)


@pytest.fixture(autouse=True)
def frozen():
    with fresh(), clock.use(clock.FrozenClock()) as time:
        llm.MODEL_INFERENCE_PROVIDERS[MODEL] = ["a", "b"]
        yield time


@pytest.fixture(scope="module")
def answer():
    """Return the practice answer, the same on every route and through every door.

    LangChain is loaded by then. It is kept from the collector, whose walk over it can take as long as a timeout here.
    """
    with fresh(), llm.rehearse():
        content = llm.run_llm(MODEL, QUESTION).content
    gc.collect()
    gc.freeze()
    yield content
    gc.unfreeze()


@pytest.mark.parametrize(("name", "backend", "door"), CASES)
def test_each_fault_is_taken_for_what_it_is_and_the_right_thing_follows(name, backend, door, frozen, answer):
    expected = expected_of(name, backend, is_stream=door in STREAMS)
    openrouter_keys, tokens, target = {
        "openrouter": (2, 1, "openrouter[1]"),
        "huggingface": (0, 2, "huggingface[1]/a"),
    }[backend]
    script = f"{target}: {name}" + "*1" * expected.is_waited_for
    timeout = TIMEOUT_S if expected.outcome is Outcome.TIMEOUT else None
    held_while_waiting = []
    llm.configure(before_sleep=lambda _: held_while_waiting.append(_held()))
    with llm.rehearse(script, openrouter_keys=openrouter_keys, huggingface_tokens=tokens) as server:
        if expected.error is None:
            message = DOORS[door](MODEL, QUESTION, timeout=timeout)
            assert message.content == answer
            run_id = message.response_metadata["llm_run_id"]
        else:
            with pytest.raises(expected.error) as raised:
                DOORS[door](MODEL, QUESTION, timeout=timeout)
            _assert_error_tells(raised.value, expected, answer)
            run_id = raised.value.attempts[0].run_id
        asked = [FIRST[backend]] * expected.failures + [expected.then] * bool(expected.then)
        assert [line[:3] for line in seen_by(server)] == asked
        assert {line.is_stream for line in server.lines} == {door in STREAMS}
        settle(server)
        log = llm.attempts()
        assert _as_far_as_read(logged(log), expected) == _as_far_as_read(seen_by(server), expected)
        assert log["outcome"].tolist() == [expected.outcome] * expected.failures + ["ok"] * bool(expected.then)
        assert log["decision"].iloc[-1] == ("stop" if expected.error else "accept")
        assert log["wait_s"].tolist() == list(expected.waits)
        assert set(log["run_id"]) == {run_id}
        assert frozen.elapsed_s == sum(expected.waits)
        holds = [] if expected.held is None else [_hold_of(FIRST[backend], expected)]
        if expected.is_waited_for:
            assert (held_while_waiting, _held()) == ([holds], [])
        else:
            assert _held() == holds


def _as_far_as_read(lines, expected):
    """Leave out the statuses where a reply was given up in the midst: on a busy machine none had been read by then."""
    return [line[:4] for line in lines] if expected.outcome is Outcome.TIMEOUT else lines


def _assert_error_tells(error, expected, answer):
    assert [attempt.outcome for attempt in error.attempts] == [expected.outcome] * len(expected.waits)
    assert expected.outcome in str(error)
    if isinstance(error, llm.StreamInterruptedError):
        assert error.partial.strip()
        assert answer.startswith(error.partial)
    else:
        assert error.outcome == expected.outcome


def _held():
    """Return what is held as (backend, key, provider, model, kind, why, seconds left)."""
    held = llm.health().astype(object)
    held = held.where(held.notna(), None)
    names = ["backend", "key", "provider", "model", "kind", "why", "seconds_left"]
    return [tuple(row) for row in held[names].to_numpy()]


def _hold_of(route, expected):
    reach, kind, seconds = expected.held
    backend, key, provider = route
    return (
        backend,
        key if reach in {ScopeLevel.KEY, ScopeLevel.MODEL, ScopeLevel.ROUTE} else None,
        provider if reach in {ScopeLevel.PROVIDER, ScopeLevel.ROUTE} else None,
        None if reach is ScopeLevel.KEY else MODEL,
        kind,
        expected.outcome,
        seconds,
    )


def test_the_cases_are_at_least_90_distinct_faults_on_both_backends_through_all_doors():
    faults = {case.values[0] for case in CASES if not general_faults()[case.values[0]].is_answer}
    assert len(faults) >= 90
    for backend in BESIDE:
        assert {case.values[2] for case in CASES if case.values[1] == backend} == set(DOORS)
