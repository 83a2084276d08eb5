"""The options of `df.llm.run`, shown by all methods that take them.

The options are written once, at `check_arguments`. The methods take `**options`, and a decorator gives them the
signature that Tab, Shift-Tab, mypy and `inspect.signature` show.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast

from llm_executor_nb.core.secret import door
from llm_executor_nb.frames.start import check_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

P = ParamSpec("P")
R = TypeVar("R")
_R_co = TypeVar("_R_co", covariant=True)


class FrameMethod(Protocol[P, _R_co]):
    """A method of `df.llm`."""

    def __call__(self, model: str, column: Hashable | None = None, *args: P.args, **options: P.kwargs) -> _R_co:
        """Take a model, a column and the options."""


class SeriesMethod(Protocol[P, _R_co]):
    """A method of `s.llm`."""

    def __call__(self, model: str, *args: P.args, **options: P.kwargs) -> _R_co:
        """Take a model and the options."""


class RetryMethod(Protocol[P, _R_co]):
    """A method that knows its model from an earlier job."""

    def __call__(self, model: str | None = None, *args: P.args, **options: P.kwargs) -> _R_co:
        """Take the options that differ from before."""


class RunOptions(Generic[P]):
    """The options of a job, for the signatures of methods.

    Args:
        written_at: the function that takes a frame, a model, a column and the options.
    """

    def __init__(self, written_at: Callable[Concatenate[Any, str, Hashable | None, P], object]) -> None:
        parameters = inspect.signature(written_at).parameters.values()
        self._options = [one for one in parameters if one.kind in (one.KEYWORD_ONLY, one.VAR_KEYWORD)]

    def of_frame(self, method: Callable[..., R]) -> FrameMethod[P, R]:
        """Let a method show the options after a model and a column."""
        return cast("FrameMethod[P, R]", self._shown_by(method))

    def of_series(self, method: Callable[..., R]) -> SeriesMethod[P, R]:
        """Let a method show the options after a model; a Series has no columns for a template."""
        return cast("SeriesMethod[P, R]", self._shown_by(method, but="template"))

    def of_retry(self, method: Callable[..., R]) -> RetryMethod[P, R]:
        """Let a method show the options after a model that may be left out."""
        return cast("RetryMethod[P, R]", self._shown_by(method))

    def _shown_by(self, method: Callable[..., R], *, but: str = "") -> Callable[..., R]:
        signature = inspect.signature(method)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        hidden = {but, *(one.name for one in own)}
        parameters = [*own, *(one for one in self._options if one.name not in hidden)]
        # a wrapper would not refuse a wrong call of a coroutine function before it is awaited
        is_async = inspect.iscoroutinefunction(method)
        shown: Callable[..., R] = method if is_async else door(method)
        shown.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # inspect reads it
        return shown


RUN_OPTIONS = RunOptions(check_arguments)
