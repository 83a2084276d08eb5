"""The one door to functions of the user's: `accept=`, validators of a schema, wait strategies, stop objects, hooks.

Such a function may be slow, hang, ask a model or raise anything, and all runs share one event loop. So it runs in a
daemon thread, within the bounds of its run, and what it raises becomes an error that names it. tenacity's own
strategies only compute a number: they are called in place.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError, DeadlineError
from llm_executor_nb.core.foreign_text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_VALUES: Final = (int, float, bool, str, timedelta, type(None))
"""What tenacity's own strategies are made of, beside each other."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a function may take.

    Attributes:
        timeout_s: seconds, as for an attempt; None: no bound.
        deadline: when its run must be over, on the clock; None: no bound.
    """

    timeout_s: float | None
    deadline: float | None = None

    def shortest(self) -> tuple[float | None, str]:
        """Return the seconds that are left, None for no bound; and the name of the argument that sets the bound."""
        left_s = None if self.deadline is None else max(0.0, self.deadline - clock.current().now())
        if left_s is None or (self.timeout_s is not None and self.timeout_s <= left_s):
            return self.timeout_s, "timeout"
        return left_s, "deadline"


async def call(name: str, function: Callable[..., T], *args: object, bounds: Bounds) -> T:
    """Return what a function of the user's returns.

    Args:
        name: what an error calls it, such as `Your accept= function`.
        function: the function. An awaitable result is refused: nobody would await it.
        args: its arguments.
        bounds: how long it may take. After that its thread is left to itself.

    Raises:
        ConfigError: it raised an exception; the message has its name and its text.
        DeadlineError: it did not return in time.
        SystemExit, KeyboardInterrupt: it raised one of these, which means to end the program.
    """
    outcome = _outcome(function, args) if is_tenacitys(function) else await _in_thread(name, function, args, bounds)
    if outcome.ending is not None:
        raise outcome.ending
    if outcome.raised is not None:
        raise ConfigError(f"{name} raised {outcome.raised}\nFix it and call again.")
    if isawaitable(outcome.result):
        if iscoroutine(outcome.result):
            outcome.result.close()  # Python would warn of a coroutine that was never awaited
        raise ConfigError(f"{name} returned an awaitable. Make it a plain function; it may be slow.")
    result: T = outcome.result
    return result


def is_tenacitys(strategy: object) -> bool:
    """Whether a strategy is tenacity's own in all its parts, so that it runs none of the user's code."""
    if type(strategy) in _VALUES:
        return True
    if isinstance(strategy, list | tuple):
        return all(map(is_tenacitys, strategy))
    is_of_tenacity = type(strategy).__module__.partition(".")[0] == "tenacity"
    return is_of_tenacity and all(map(is_tenacitys, vars(strategy).values()))


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a call: its result, the text of what it raised, or an exception that ends the program."""

    result: Any = None
    raised: str | None = None
    ending: BaseException | None = None


async def _in_thread(name: str, function: Callable[..., Any], args: tuple[object, ...], bounds: Bounds) -> _Outcome:
    seconds, bound = bounds.shortest()
    try:
        async with clock.current().timeout(seconds):  # tells a frozen clock, too, that something is in flight
            return await asyncio.to_thread(_outcome, function, args)
    except TimeoutError:
        late = f"{name} did not return within {seconds:.3g} s, which was all that {bound}= left it."
    raise DeadlineError(f"{late}\nMake it faster, or give a longer {bound}=.")


def _outcome(function: Callable[..., Any], args: tuple[object, ...]) -> _Outcome:
    """Call a function; an exception is read here, because a future does not take each kind (StopIteration)."""
    try:
        return _Outcome(function(*args))
    except (SystemExit, KeyboardInterrupt) as error:
        return _Outcome(ending=error)
    except BaseException as error:  # noqa: BLE001 - a user's function may raise anything
        return _Outcome(raised=_in_words(error))


def _in_words(error: BaseException) -> str:
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - its own `__str__` is the user's too
        text = ""
    return shorten(f"{kind}: {text}" if text else kind)
