"""The rules of a script, and the form of a fault: which requests a rule meets, when, and with which reply."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import Finding, Outcome
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response

    Respond = Callable[[ChatRequest, "Effect"], Response]

BOTH = (OPENROUTER, HUGGINGFACE)
ONLY_OPENROUTER = (OPENROUTER,)
RETRY_AFTER = "retry-after"
SOURCE = "source"
REFUSAL_OPTIONS = (RETRY_AFTER, SOURCE)
"""The options of every refusal."""
SHOWS_LIMIT = "headers"
"""The option of a rate whose answers say in their headers what is left of it."""
UNTIMED = "untimed"
"""The option of a rate whose refusals do not say when to come again."""
AS_429 = "429"
"""The option of a server that takes few requests at once: it refuses the rest with 429 in place of 503."""
SPREAD = "~"
"""Stands between the median of a latency and its sigma."""
_STATUS = re.compile(r"[45]\d\d")
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_UNIT_S = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The requests that a rule is about.

    Attributes:
        backend: `openrouter` or `huggingface`; None: both.
        key_number: the key's place in the order the keys were given in, from 1; None: any.
        key_ending: the end of the key, as `..a1b2`; None: any.
        provider: the Hugging Face provider; None: any.
    """

    backend: str | None = None
    key_number: int | None = None
    key_ending: str | None = None
    provider: str | None = None

    def matches(self, request: ChatRequest) -> bool:
        """Whether the rule is about this request."""
        return (
            self.backend in {None, request.backend}
            and self.key_number in {None, request.key_number}
            and self.key_ending in {None, request.key}
            and self.provider in {None, request.provider}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One fault, and which of its target's requests it meets.

    Attributes:
        fault: a status code, or a name of the catalogue.
        value: the text after the `=`.
        options: the options after the fault, by name.
        share: the percentage of requests it meets; None: all.
        times: how often it applies at most; None: no limit.
        first, last: the numbers of the requests it may meet, from 1; last None: no end.
    """

    fault: str
    value: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    share: float | None = None
    times: int | None = None
    first: int = 1
    last: int | None = None

    def option(self, name: str) -> str | None:
        """Return an option's text; None: it was not given."""
        return dict(self.options).get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRule:
    """A target and its effects, in order."""

    target: Target
    effects: tuple[Effect, ...]


def fits_always(_: ChatRequest) -> bool:
    """Whether a fault without a condition makes sense: it always does."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpec:
    """One fault of the catalogue.

    Attributes:
        does: what it does, in one line.
        respond: makes the reply; None: it is a condition, which `runner.py` carries out.
        finding: the outcome that a client should see, and the scope of the hold. Scope None: the route alone, after a
            streak, or nothing.
        on_huggingface: the finding on Hugging Face, where it differs.
        backends: the backends that send it.
        is_stream_only: whether it meets only requests for a stream; others pass it by.
        can_fit: whether it makes sense for the content of a request; if not, the request passes it by.
        names_wait: whether the reply says, believably, when to ask again.
        is_value: whether a text is a valid value after the `=`; None: it takes no value.
        needs_value: whether a value must be given.
        example: how it is written, for error messages.
        options: the names of the options that may follow it.
    """

    does: str
    respond: Respond | None
    finding: Finding
    on_huggingface: Finding | None = None
    backends: tuple[str, ...] = BOTH
    is_stream_only: bool = False
    can_fit: Callable[[ChatRequest], bool] = fits_always
    names_wait: bool = False
    is_value: Callable[[str], bool] | None = None
    needs_value: bool = False
    example: str = ""
    options: tuple[str, ...] = ()

    @property
    def is_answer(self) -> bool:
        """Whether the reply only looks odd, and a client must accept it."""
        return self.finding.outcome is Outcome.OK

    def expected(self, backend: str) -> Finding:
        """Return what a client should make of it, by the rules of design 3.1."""
        return self.on_huggingface or self.finding if backend == HUGGINGFACE else self.finding

    def can_meet(self, request: ChatRequest) -> bool:
        """Whether it makes sense for this request."""
        return (
            request.backend in self.backends
            and (request.is_stream or not self.is_stream_only)
            and self.can_fit(request)
        )


Faults = dict[str, FaultSpec]
"""The faults of one theme, by name."""


def is_status(text: str) -> bool:
    """Whether a text is an HTTP error status."""
    return _STATUS.fullmatch(text) is not None


def is_seconds(text: str) -> bool:
    """Whether a text is a number of seconds."""
    return _NUMBER.fullmatch(text) is not None


def is_latency(text: str) -> bool:
    """Whether a text is a latency: seconds, or a median and a sigma as in `0.2~1`."""
    return all(map(is_seconds, text.split(SPREAD, 1)))


def read_latency(text: str, draw: Callable[[], float]) -> float:
    """Return the seconds of a latency; around a median they are lognormal, and `draw` returns a number from 0 to 1."""
    median, _, sigma = text.partition(SPREAD)
    return float(median) * math.exp(float(sigma) * NormalDist().inv_cdf(draw())) if sigma else float(median)


def is_count(text: str) -> bool:
    """Whether a text is a whole number from 1."""
    return text.isdecimal() and int(text) > 0


def is_rate(text: str) -> bool:
    """Whether a text is a rate, such as `5/s` or `20/min`."""
    count, _, unit = text.partition("/")
    return is_seconds(count) and float(count) > 0 and unit in _UNIT_S


def read_rate(text: str) -> tuple[float, float]:
    """Return how many requests a rate allows, and in how many seconds."""
    count, _, unit = text.partition("/")
    return float(count), _UNIT_S[unit]
