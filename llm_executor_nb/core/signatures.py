"""A signature that several functions share is written once, on the function that they all hand their arguments to."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def takes(source: Callable[P, object]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Give a function the parameters of another one; it keeps what it returns.

    Type checkers, Tab, Shift-Tab and `inspect.signature` then show them. The function itself is returned, not a
    wrapper, so a coroutine function stays one and a call costs nothing more.

    Args:
        source: the function with the parameters.
    """

    def take(function: Callable[..., R]) -> Callable[P, R]:
        returns = inspect.signature(function).return_annotation
        shown = inspect.signature(source).replace(return_annotation=returns)
        function.__signature__ = shown  # type: ignore[attr-defined] # where `inspect.signature` looks first
        return function

    return take
