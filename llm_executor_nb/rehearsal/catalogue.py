"""The catalogue: every fault by its name. A new fault is a new row on one of the shelves.

`CATALOGUE` holds the faults that any request can meet, `SCHEMA_FAULTS` those that only a request for a schema can,
`NEED_FAULTS` those that only a request with a picture, a tool or another need can, `HISTORY_FAULTS` those that only a
request with earlier messages can, `USAGE_FAULTS` those of a stream that shall bring its usage, `FORMS` answers in other
forms than the documented one, `CONDITIONS` what slows, limits, or depends on what is asked or under way. Any other HTTP
error status is a fault as well; `entry_of` knows it.
"""

from __future__ import annotations

from difflib import get_close_matches

from llm_executor_nb.core.outcomes import Finding, Outcome, ScopeLevel
from llm_executor_nb.rehearsal.entry import (
    AS_429,
    TELLS,
    UNTIMED,
    FaultSpec,
    Shelf,
    is_count,
    is_rate,
    is_seconds,
    is_status,
)
from llm_executor_nb.rehearsal.faults_answers import NO_ANSWERS
from llm_executor_nb.rehearsal.faults_broken import BODIES, CONNECTIONS
from llm_executor_nb.rehearsal.faults_forms import FORMS
from llm_executor_nb.rehearsal.faults_money import BILLS
from llm_executor_nb.rehearsal.faults_needs import HISTORY_FAULTS, NEED_FAULTS
from llm_executor_nb.rehearsal.faults_refused import LIMITS, MODELS, REQUESTS
from llm_executor_nb.rehearsal.faults_schema import SCHEMA_FAULTS
from llm_executor_nb.rehearsal.faults_status import STATUSES, status_entry
from llm_executor_nb.rehearsal.faults_streams import FINE_STREAMS, STREAMS
from llm_executor_nb.rehearsal.faults_told import TOLD
from llm_executor_nb.rehearsal.faults_usage import USAGE_FAULTS
from llm_executor_nb.rehearsal.faults_waits import WAITS
from llm_executor_nb.rehearsal.replies import RETRY_AFTER

LATENCY = "latency"
PACE = "pace"
RATE = "rate"
AT_ONCE = "at-once"
CHOKES = "chokes"

CONDITIONS: Shelf = {
    LATENCY: FaultSpec(
        does="seconds added to every reply",
        stage=None,
        finding=Finding(Outcome.OK),
        is_value=is_seconds,
        needs_value=True,
        example="latency=0.2",
    ),
    PACE: FaultSpec(
        does="seconds between the pieces of a reply, such as the words of a stream",
        stage=None,
        finding=Finding(Outcome.OK),
        is_value=is_seconds,
        needs_value=True,
        example="pace=0.01",
    ),
    RATE: FaultSpec(
        does="requests a key may make; a 429 above it",
        stage=None,
        finding=Finding(Outcome.RATE_LIMITED, ScopeLevel.KEY),
        on_huggingface=Finding(Outcome.RATE_LIMITED, ScopeLevel.ROUTE),
        names_wait=True,
        is_value=is_rate,
        needs_value=True,
        example="rate=5/s or rate=20/min",
        options=("burst", TELLS, UNTIMED),
    ),
    AT_ONCE: FaultSpec(
        does="requests a backend takes at once, whatever their keys; a 503 for the rest, without any latency",
        stage=None,
        finding=Finding(Outcome.OVERLOADED),
        is_value=is_count,
        needs_value=True,
        example="at-once=6 or at-once=6 429",
        options=(AS_429, RETRY_AFTER),
    ),
    CHOKES: FaultSpec(
        does="a 500 for requests whose last message contains a word",
        stage=None,
        finding=Finding(Outcome.SERVER_ERROR),
        is_value=bool,
        needs_value=True,
        example="chokes=WORD",
    ),
}
SHELVES: dict[str, Shelf] = {
    "statuses": STATUSES,
    "credit and limits": LIMITS,
    "when to ask again": WAITS,
    "models": MODELS,
    "requests": REQUESTS,
    "other shapes and words": TOLD,
    "no answer": NO_ANSWERS,
    "bills": BILLS,
    "bodies": BODIES,
    "connections": CONNECTIONS,
    "streams": STREAMS,
    "odd streams that are fine": FINE_STREAMS,
}
SCHEMAS = "requests for a schema"
USAGE = "streams that shall bring their usage"
NEEDS = "requests with a need"
HISTORY = "requests with earlier messages"
OTHER_FORMS = "answers in other forms"
CATALOGUE: dict[str, FaultSpec] = {name: entry for shelf in SHELVES.values() for name, entry in shelf.items()}
_BESIDE: dict[str, Shelf] = {
    SCHEMAS: SCHEMA_FAULTS,
    NEEDS: NEED_FAULTS,
    HISTORY: HISTORY_FAULTS,
    USAGE: USAGE_FAULTS,
    OTHER_FORMS: FORMS,
}
_KNOWN = {**CATALOGUE, **SCHEMA_FAULTS, **NEED_FAULTS, **HISTORY_FAULTS, **USAGE_FAULTS, **FORMS, **CONDITIONS}
_NEAR = 4
"""How many near names an error offers at most."""
_SHORT = 3
"""Characters that are a part of too many names to mean one."""


def entry_of(name: str) -> FaultSpec | None:
    """Return the row of a fault or a condition; None: there is none of that name."""
    found = _KNOWN.get(name)
    return status_entry(int(name)) if found is None and is_status(name) else found


def near_names(name: str) -> list[str]:
    """Return the names that may have been meant: those that it is a part of, then those that resemble it."""
    plain = name.lower().replace("_", "-")
    wider = [one for one, entry in _KNOWN.items() if plain in f"{one} {entry.does}".lower().replace("_", "-")]
    near = get_close_matches(name.lower(), _KNOWN, n=_NEAR)
    return list(dict.fromkeys([*(wider if len(plain) > _SHORT else ()), *near]))[:_NEAR]


def listing() -> str:
    """Return all names by theme, a line each; statuses go without saying."""
    examples = ", ".join(entry.example for entry in CONDITIONS.values())
    themes = (
        f"  {theme}: {', '.join(shelf)}" for theme, shelf in {**SHELVES, **_BESIDE}.items() if shelf is not STATUSES
    )
    return "\n".join([f"  conditions: {examples}", *themes])
