"""The errors, by who must act. Each ends with the next step, can be pickled, and holds no key.

LLMExecutorError
├── ConfigError(ValueError)            yours: nothing was sent
│   ├── ModelNotSupportedError         the model is not in the table
│   ├── MachineError                   this machine cannot open a connection
│   ├── MissingKeyError                no key was found, and where it was looked for
│   └── MissingExtraError(ImportError) a pip extra is not installed
├── RequestError(ValueError)           yours: a provider refused this request on its merits
├── AllRoutesFailedError               theirs: every route was tried or is held
├── DeadlineError(TimeoutError)        a bound you set
├── BudgetError                        a bound you set
├── PaidCallForbiddenError             a test's switch: this call may have cost something; nothing was sent
└── StreamInterruptedError             a stream broke after text was handed on
JobInterrupted(KeyboardInterrupt, CancelledError)   you stopped a call; what is done is kept
LLMExecutorWarning(UserWarning)

An error must not hold a provider's exception, a response or a request: they carry keys in their headers.
"""

from __future__ import annotations

import os
import sys
import warnings
from asyncio import CancelledError
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llm_executor_nb.core.attempt import Attempt

_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
_collecting: ContextVar[list[str] | None] = ContextVar("collecting", default=None)


def _rebuild(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class _Plain:
    """Pickles an error with all its attributes, and shows it in IPython without a traceback."""

    if TYPE_CHECKING:
        args: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))

    def _render_traceback_(self, *_: object) -> list[str]:
        """Return the lines that IPython shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class LLMExecutorError(_Plain, Exception):
    """The base of all errors of this package.

    Attributes:
        attempts: the requests that had been made when it was raised, oldest first; empty when none was.
        result: the frame with what was done, where a job ended with this error; else None.
    """

    def __init__(self, message: str = "", *, attempts: tuple[Attempt, ...] = ()) -> None:
        # here, for every message: an argument in the wrong place may be a key
        super().__init__(clean(message))
        self.attempts = attempts
        self.result: Any = None


class ConfigError(LLMExecutorError, ValueError):
    """A setting, argument or input is wrong; nothing was sent."""


class ModelNotSupportedError(ConfigError):
    """The model has no row in the provider table; nothing was sent."""


class MissingKeyError(ConfigError):
    """No key was found for any route of the model; nothing was sent."""


class MachineError(ConfigError):
    """This machine cannot open a connection: too many open files, no certificates, ...; nothing was sent."""


class MissingExtraError(ConfigError, ImportError):
    """An optional library is missing; the message names the pip extra."""


class RequestError(LLMExecutorError, ValueError):
    """A provider refused this request on its merits, so no other route is asked.

    Attributes:
        outcome: why, in the words of the attempt log, such as `context_length`.
    """

    def __init__(self, message: str = "", *, outcome: str = "", attempts: tuple[Attempt, ...] = ()) -> None:
        super().__init__(message, attempts=attempts)
        self.outcome = outcome


class AllRoutesFailedError(LLMExecutorError):
    """Every route was tried and failed, or is held; `.attempts` has each request that was made.

    Attributes:
        outcome: the last cause, of an attempt or of the hold that kept the run from one.
        words: the provider's words with it, scrubbed.
    """

    def __init__(
        self,
        message: str = "",
        *,
        outcome: str = "",
        words: str = "",
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        super().__init__(message, attempts=attempts)
        self.outcome = outcome
        self.words = words


class DeadlineError(LLMExecutorError, TimeoutError):
    """The deadline of a run passed before an answer came, or a function of yours took too long.

    Attributes:
        outcome: why an answer that came was not accepted, in the words of the attempt log; "": none came.
    """

    def __init__(self, message: str = "", *, outcome: str = "", attempts: tuple[Attempt, ...] = ()) -> None:
        super().__init__(message, attempts=attempts)
        self.outcome = outcome


class BudgetError(LLMExecutorError):
    """A budget was used up before the work was done; what was bought is kept."""


class PaidCallForbiddenError(LLMExecutorError):
    """A request that may cost something was about to go out while `testing.forbid_paid_calls()` was on."""


class StreamInterruptedError(LLMExecutorError):
    """A stream broke after some of its text was handed on, so no other route could take over.

    Attributes:
        partial: the text that was handed on.
    """

    def __init__(self, message: str = "", *, partial: str = "", attempts: tuple[Attempt, ...] = ()) -> None:
        super().__init__(message, attempts=attempts)
        self.partial = partial


class JobInterrupted(_Plain, KeyboardInterrupt, CancelledError):  # noqa: N818 - nothing failed: somebody wanted it
    """A call was stopped by hand, with ■ or Ctrl-C; what was done is safe.

    It is a CancelledError too. An interrupt of an awaited call is a cancellation, and asyncio lets a bare
    KeyboardInterrupt of a task end the event loop, which is the kernel's.

    Attributes:
        result: what had come, which is also `llm.last`: a frame or Series, or a message; None: nothing had.
    """

    def __init__(
        self,
        message: str = "Stopped before anything had come. Run it again to ask.",
        *,
        result: Any = None,  # noqa: ANN401 - a frame or a message, and core knows neither
    ) -> None:
        super().__init__(clean(message))
        self.result = result


class LLMExecutorWarning(UserWarning):
    """Something is wrong, and the work goes on."""


def to_type(heading: str, steps: Iterable[tuple[str, str]]) -> str:
    """Return the lines of a message that say what to type, each with what it does."""
    lines = tuple(steps)
    width = max(len(typed) for typed, _ in lines)
    return "\n".join([heading, *(f"  {typed:<{width}}   {effect}" for typed, effect in lines)])


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect what is warned of within, for a caller that shows it itself: below a button there is no cell."""
    words: list[str] = []
    token = _collecting.set(words)
    try:
        yield words
    finally:
        _collecting.reset(token)


def warn(message: str) -> None:
    """Warn, pointing at the innermost line outside this package: no line in here is to blame."""
    if (words := _collecting.get()) is not None:
        words.append(clean(message))
        return
    level, frame = 1, sys._getframe()  # noqa: SLF001 - how the library itself counts; 3.12 has skip_file_prefixes
    while (caller := frame.f_back) is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, caller
    warnings.warn(clean(message), LLMExecutorWarning, stacklevel=level)
