"""One row of the catalogue of faults, and how the values behind a fault's name are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_executor_nb.core.outcomes import Finding, Outcome
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect

    Stage = Callable[[ChatRequest, Effect], Response]

BOTH = (OPENROUTER, HUGGINGFACE)
ONLY_OPENROUTER = (OPENROUTER,)
ONLY_HUGGINGFACE = (HUGGINGFACE,)
TELLS = "headers"
"""The option of a rate that tells, with every answer, what is left of it."""
UNTIMED = "untimed"
"""The option of a rate whose refusals do not say when to come again."""
AS_429 = "429"
"""The option of a server that takes few requests at once: it refuses the rest with 429 in place of 503."""
_STATUS = re.compile(r"[45]\d\d")
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_UNIT_S = {"s": 1.0, "min": 60.0, "h": 3600.0}


def _always(_: ChatRequest) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpec:
    """One fault.

    Attributes:
        does: what it does, in one line.
        stage: makes the reply; None: it is a condition, and `runner.py` knows what to do with it.
        finding: what it ought to be taken for, and how far what is then held reaches (None: the route alone, by its
            streak, or nothing).
        on_huggingface: the same where it is another on Hugging Face; None: it is not.
        backends: on which backends it makes sense.
        is_stream_only: it meets requests that stream; others pass it by.
        can_fit: tells whether it makes sense for what a request asks; where not, the request passes it by.
        names_wait: it says, believably, when to ask again.
        is_value: tells whether a text may stand behind the `=`; None: nothing may.
        needs_value: something must.
        example: how it is written, for error messages.
        options: the names that may follow it.
    """

    does: str
    stage: Stage | None
    finding: Finding
    on_huggingface: Finding | None = None
    backends: tuple[str, ...] = BOTH
    is_stream_only: bool = False
    can_fit: Callable[[ChatRequest], bool] = _always
    names_wait: bool = False
    is_value: Callable[[str], bool] | None = None
    needs_value: bool = False
    example: str = ""
    options: tuple[str, ...] = ()

    @property
    def is_answer(self) -> bool:
        """It only looks odd: a client must take it as the answer it is."""
        return self.finding.outcome is Outcome.OK

    def expected(self, backend: str) -> Finding:
        """Return what a client ought to take it for, by the rules of the design."""
        return self.on_huggingface or self.finding if backend == HUGGINGFACE else self.finding

    def can_meet(self, asked: ChatRequest) -> bool:
        """Whether it makes sense for this request."""
        return asked.backend in self.backends and (asked.is_stream or not self.is_stream_only) and self.can_fit(asked)


Shelf = dict[str, FaultSpec]
"""The faults of one theme, by name."""


def is_status(text: str) -> bool:
    """Whether a text is an HTTP error status."""
    return _STATUS.fullmatch(text) is not None


def is_seconds(text: str) -> bool:
    """Whether a text is a number of seconds."""
    return _NUMBER.fullmatch(text) is not None


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
