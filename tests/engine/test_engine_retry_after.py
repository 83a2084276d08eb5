"""Every form in which a provider says when to ask again: waited for exactly, or left for another route, by hand."""

from __future__ import annotations

import re

import pytest
from doors import DOORS
from hypothesis import given, settings
from hypothesis import strategies as st
from rehearsing import MODEL, assert_log_is_what_the_server_saw, fresh, waits, words

import llm_executor_nb as llm
from llm_executor_nb.core import clock
from llm_executor_nb.core.verdicts.error_body import read_error
from llm_executor_nb.core.verdicts.rate_headers import LONGEST_S, retry_after_s
from llm_executor_nb.rehearsal.catalogue import general_faults

CEILING_S = 30
FORMS = {
    "retry-after=12": 12,
    "retry-after=30": 30,
    "retry-after-float=1.5": 1.5,
    "retry-after-date=7": 7,
    "retry-after-ms=1.25": 1.25,
    "retry-after-503=9": 9,
    "reset-ms=2.5": 2.5,
    "reset-in-body=4": 4,
    "ratelimit-header=11": 11,
    "reset-requests=6.5": 6.5,
    "retry-info=2.5": 2.5,
    "retry-in-words=14": 14,
    "retry-in-words=45": 45,
    "loading": 1,
    "capacity_exhausted retry-after=6": 6,
    "temporarily_unavailable retry-after=8": 8,
    "openrouter_in_flight_budget retry-after=20": 20,
    "503 retry-after=5": 5,
    "retry-after=31": 31,
    "retry-after-float=30.001": 30.001,
    "retry-after-date=3600": 3600,
    "retry-after-ms=86400": 86400,
    "retry-after-503=120": 120,
    "reset-ms=21600": 21600,
    "reset-in-body=45": 45,
    "ratelimit-header=55": 55,
    "openrouter_in_flight_budget retry-after=120": 120,
    "temporarily_unavailable retry-after=90": 90,
}
"""The forms, and the seconds they tell."""
ABSURD = [
    name
    for name, entry in general_faults().items()
    if re.search(r"negative|ten-years|words|nan|garbage|zero|past", name) and not entry.names_wait
]


def _entry(form):
    return general_faults()[re.split("[= ]", form)[0]]


CASES = [
    pytest.param(form, backend, id=f"{form}-{backend}")
    for form in (*FORMS, *ABSURD)
    for backend in _entry(form).backends
]
KEYS = {
    "openrouter": {"openrouter_keys": 2, "huggingface_tokens": 0},
    "huggingface": {"openrouter_keys": 0, "huggingface_tokens": 1},
}
TARGET = {"openrouter": "openrouter[1]", "huggingface": "huggingface/a"}


@pytest.fixture(autouse=True)
def frozen():
    with fresh(), clock.use(clock.FrozenClock()) as time:
        yield time


def _once(form):
    """Write a fault so that it meets one request: the count stands before its options."""
    fault, *options = form.split()
    return " ".join([f"{fault}*1", *options])


@pytest.mark.parametrize(("form", "backend"), CASES)
def test_a_time_within_the_ceiling_is_waited_for_exactly_and_a_longer_one_moves_the_run_on(form, backend, frozen):
    told_s = FORMS.get(form)
    with llm.rehearse(f"{TARGET[backend]}: {_once(form)}", **KEYS[backend]) as server:
        llm.run_llm(MODEL, "x")
        first, second = llm.attempts()["route"]
        assert words("outcome") == [_entry(form).expected(backend).outcome, "ok"]
        assert_log_is_what_the_server_saw(server)
        if told_s is not None and told_s > CEILING_S:
            assert first != second
            assert waits() == [0, 0]
            assert words("decision") == ["fall_back", "accept"]
            assert llm.health()["seconds_left"].tolist() == [told_s]
        else:
            assert first == second
            assert waits() == [0, 3 if told_s is None else told_s]
            assert words("decision") == ["retry" if told_s is None else "wait", "accept"]
            assert llm.health().empty
        assert frozen.elapsed_s == sum(waits())


@pytest.mark.parametrize("door", DOORS)
def test_every_door_waits_as_long_as_it_is_told(door, frozen):
    with llm.rehearse("openrouter[1]: retry-after=17*1"):
        DOORS[door](MODEL, "x")
        assert (waits(), frozen.elapsed_s) == ([0, 17], 17)


def test_with_every_form_absurd_a_run_ends_after_the_strategys_own_waits():
    with llm.rehearse("*: retry-after-negative@1, retry-after-ten-years@2, retry-after-nan@3, reset-garbage") as server:
        llm.configure(openrouter_keys=llm.OPENROUTER_KEYS[:1], huggingface_tokens=[])
        with pytest.raises(llm.AllRoutesFailedError):
            llm.run_llm(MODEL, "x")
        assert waits() == [0, 3, 5, 6]
        assert_log_is_what_the_server_saw(server)


NAMES = ["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-remaining", "ratelimit"]
NAMES += ["x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset", "llm_provider-retry-after"]
TEXTS = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"-?\d{0,30}(\.\d{0,5})?(e\d{1,4})?", fullmatch=True),
    st.from_regex(r"\w{3}, \d\d \w{3} \d{1,6} \d\d:\d\d:\d\d (GMT|[+-]\d{4})", fullmatch=True),
    st.from_regex(r"(try again in |wait )?(\d{1,12}(\.\d{0,9})?(ms|s|m|h|d) ?){1,3}", fullmatch=True),
    st.from_regex(r'"api";r=\d{1,9};t=-?\d{0,400}', fullmatch=True),
)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.lists(st.integers(), max_size=2))


@settings(max_examples=500, deadline=None)
@given(
    headers=st.dictionaries(st.sampled_from(NAMES), TEXTS),
    copied=st.one_of(VALUES, st.dictionaries(st.sampled_from([name.title() for name in NAMES]), VALUES)),
    told=VALUES,
)
def test_whatever_is_told_is_no_time_or_one_from_now_to_a_month(headers, copied, told):
    error = {"metadata": {"headers": copied, "retry_after": told}, "availability": {"retry_after": told}}
    body = {"error": {**error, "message": told}, "estimated_time": told, "retryDelay": told, "resets_at": copied}
    seconds = retry_after_s(headers, read_error(body), clock.current().utc())
    assert seconds is None or 0 < seconds <= LONGEST_S
