"""The catalogue: every fault by its name.

A new fault is a row of `faults.toml`, or of a `faults_*.py` if it needs code. Any other HTTP error status is a fault as
well; `find_fault` knows it.
"""

from __future__ import annotations

from functools import cache

from llm_executor_nb.core.near_names import near_names
from llm_executor_nb.core.outcomes import Finding, Outcome, ScopeLevel
from llm_executor_nb.rehearsal.faults import read_faults, status_fault
from llm_executor_nb.rehearsal.faults_answers import BILLS, FORMS, NO_ANSWERS, SCHEMA_ANSWERS, SERVED
from llm_executor_nb.rehearsal.faults_broken import BODIES, CONNECTIONS
from llm_executor_nb.rehearsal.faults_lists import LISTS
from llm_executor_nb.rehearsal.faults_streams import FINE_STREAMS, STREAMS
from llm_executor_nb.rehearsal.rules import (
    AS_429,
    ONLY_OPENROUTER,
    RETRY_AFTER,
    SHOWS_LIMIT,
    UNTIMED,
    Faults,
    FaultSpec,
    is_count,
    is_latency,
    is_rate,
    is_seconds,
    is_status,
)

LATENCY = "latency"
PACE = "pace"
RATE = "rate"
AT_ONCE = "at-once"
KNEE = "knee"
CHOKES = "chokes"
EXPIRES = "expires"

CONDITIONS: Faults = {
    LATENCY: FaultSpec(
        does="seconds added to every reply; around a median they are lognormal, `~` stands before the sigma",
        respond=None,
        finding=Finding(Outcome.OK),
        is_value=is_latency,
        needs_value=True,
        example="latency=0.2 or latency=0.2~1",
    ),
    PACE: FaultSpec(
        does="seconds between the pieces of a reply, such as the words of a stream",
        respond=None,
        finding=Finding(Outcome.OK),
        is_value=is_seconds,
        needs_value=True,
        example="pace=0.01",
    ),
    RATE: FaultSpec(
        does="requests a key may make; a 429 above it",
        respond=None,
        finding=Finding(Outcome.RATE_LIMITED, ScopeLevel.KEY),
        on_huggingface=Finding(Outcome.RATE_LIMITED, ScopeLevel.ROUTE),
        names_wait=True,
        is_value=is_rate,
        needs_value=True,
        example="rate=5/s or rate=20/min",
        options=("burst", SHOWS_LIMIT, UNTIMED),
    ),
    AT_ONCE: FaultSpec(
        does="requests a backend takes at once, whatever their keys; a 503 for the rest, without any latency",
        respond=None,
        finding=Finding(Outcome.OVERLOADED),
        is_value=is_count,
        needs_value=True,
        example="at-once=6 or at-once=6 429",
        options=(AS_429, RETRY_AFTER),
    ),
    KNEE: FaultSpec(
        does="requests in a backend beyond which its latency grows in proportion to their number",
        respond=None,
        finding=Finding(Outcome.OK),
        is_value=is_count,
        needs_value=True,
        example="knee=32, latency=0.2",
    ),
    CHOKES: FaultSpec(
        does="a 500 for requests whose last message contains a word",
        respond=None,
        finding=Finding(Outcome.SERVER_ERROR),
        is_value=bool,
        needs_value=True,
        example="chokes=WORD",
    ),
    EXPIRES: FaultSpec(
        does="days until the models end, by the list of OpenRouter",
        respond=None,
        finding=Finding(Outcome.OK),
        backends=ONLY_OPENROUTER,
        is_value=is_count,
        needs_value=True,
        example="expires=14",
    ),
}
"""What slows or limits requests, depends on their text, or stands in a list; `runner.py` carries it out."""
_MAX_NEAR_NAMES = 4
"""How many near names an error offers at most."""
_SHORT = 3
"""Characters that are a part of too many names to mean one."""


@cache
def general_themes() -> dict[str, Faults]:
    """Return the faults that any request can meet, by theme."""
    rows = read_faults()
    return {
        "statuses": rows["statuses"],
        "credit and limits": rows["limits"],
        "when to ask again": rows["waits"],
        "models": rows["models"],
        "requests": rows["requests"],
        "other shapes and words": rows["wordings"],
        "no answer": NO_ANSWERS,
        "bills": BILLS,
        "bodies": {**rows["bodies"], **BODIES},
        "connections": CONNECTIONS,
        "streams": STREAMS,
        "odd streams that are fine": FINE_STREAMS,
    }


@cache
def special_themes() -> dict[str, Faults]:
    """Return the faults that only some requests or look-ups can meet, by theme; others pass them by."""
    rows = read_faults()
    return {
        "requests for a schema": {**SCHEMA_ANSWERS, **rows["schemas"]},
        "requests with a need": rows["needs"],
        "requests that bill an organisation": rows["billing"],
        "requests for a service tier": rows["tiers"],
        "who answered, and at what cost": SERVED,
        "requests with earlier messages": rows["history"],
        "streams that should include their usage": rows["usage"],
        "answers in other forms": FORMS,
        "look-ups of a list of models": LISTS,
    }


@cache
def general_faults() -> Faults:
    """Return the faults that any request can meet, by name."""
    return {name: fault for faults in general_themes().values() for name, fault in faults.items()}


@cache
def known_faults() -> Faults:
    """Return every fault and condition that has a name."""
    special = {name: fault for faults in special_themes().values() for name, fault in faults.items()}
    return {**general_faults(), **special, **CONDITIONS}


def find_fault(name: str) -> FaultSpec | None:
    """Return a fault or a condition; None: the name is unknown."""
    fault = known_faults().get(name)
    return status_fault(int(name)) if fault is None and is_status(name) else fault


def faults_like(name: str) -> list[str]:
    """Return the names that may have been meant: those that contain it, then those that resemble it."""
    plain = name.lower().replace("_", "-")
    known = {} if name.isdecimal() else known_faults()  # a status is like any other one
    wider = [one for one, fault in known.items() if plain in f"{one} {fault.does}".lower().replace("_", "-")]
    near = near_names(name, known)
    return list(dict.fromkeys([*(wider if len(plain) > _SHORT else ()), *near]))[:_MAX_NEAR_NAMES]


def listing() -> str:
    """Return all names by theme, a line each, without the statuses."""
    examples = ", ".join(condition.example for condition in CONDITIONS.values())
    themes = {**general_themes(), **special_themes()}
    lines = (f"  {theme}: {', '.join(faults)}" for theme, faults in themes.items() if theme != "statuses")
    return "\n".join([f"  conditions: {examples}", *lines])
