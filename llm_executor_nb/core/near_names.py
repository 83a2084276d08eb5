"""What is said of a misspelled name: the names that may have been meant, and which function takes an argument.

The public functions note their arguments here, so that each can say where an argument of another one belongs.
"""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from llm_executor_nb.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

P = ParamSpec("P")
R = TypeVar("R")

_LIKENESS = 0.75
"""Of a misspelled name and the one that was meant; 1.0: they are equal."""
_SHORTEST = 4
"""Characters from which a part of a name stands for it, as `temp` does for `temperature`, or `schema`."""
_MOST = 3
_MOST_LISTED = 20
_NOT_OF_THE_USER = ("self", "frame")
_takers: dict[str, list[str]] = {}
"""Argument -> the functions that take it, as a user writes them."""


def near_names(name: str, known: Iterable[str], *, likeness: float = _LIKENESS) -> list[str]:
    """Return the known names that may have been meant: alike, beginning alike, or one a word of the other."""
    typed, names = name.lower(), {one.lower(): one for one in known}
    alike = get_close_matches(typed, names, n=_MOST, cutoff=likeness)
    long = [one for one in names if min(len(one), len(typed)) >= _SHORTEST]
    begun = [one for one in long if one.startswith(typed) or typed.startswith(one)]
    parts = [one for one in long if one in typed.split("_") or typed in one.split("_")]
    return [names[one] for one in dict.fromkeys([*alike, *begun, *parts])][:_MOST]


def did_you_mean(near: Iterable[str]) -> str:
    """Return ` Did you mean a or b?`, to be put behind a sentence; empty: there is no near name."""
    names = " or ".join(near)
    return f" Did you mean {names}?" if names else ""


def listed(names: Iterable[str]) -> str:
    """Return names for a message, the first of very many."""
    every = list(names)
    more = f" and {len(every) - _MOST_LISTED:,} more" if len(every) > _MOST_LISTED else ""
    return ", ".join(every[:_MOST_LISTED]) + more


def joined_by_and(names: Iterable[str]) -> str:
    """Return names, one at least, as a text: `a`, `a and b`, `a, b and c`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def note_arguments(taker: str, names: Iterable[str]) -> None:
    """Note that a function, named as a user writes it, takes some arguments."""
    for name in names:
        takers = _takers.setdefault(name, [])
        takers += [] if taker in takers else [taker]


def arguments_of(taker: str) -> list[str]:
    """Return the noted arguments of a function."""
    return [name for name, takers in _takers.items() if taker in takers]


def noted_as(taker: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Note the arguments of a function, and let it refuse an unknown one with near names.

    A function with `**params` is returned as it is: it checks their names itself, with `unknown_argument`.

    Args:
        taker: the function as a user writes it.
    """

    def note(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters
        kinds = {name: one.kind for name, one in parameters.items() if name not in _NOT_OF_THE_USER}
        own = [name for name, kind in kinds.items() if kind is not inspect.Parameter.VAR_KEYWORD]
        note_arguments(taker, own)
        if len(own) < len(kinds):
            return function

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if unknown := kwargs.keys() - parameters.keys():
                raise ConfigError(unknown_argument(min(unknown), own, otherwise=f"{taker} takes {', '.join(own)}."))
            return function(*args, **kwargs)

        return call

    return note


def unknown_argument(name: str, own: Collection[str], *, otherwise: str) -> str:
    """Return what is said of an argument that a function does not take.

    Args:
        name: the argument, as the user wrote it.
        own: the arguments that the function takes.
        otherwise: what is said when the name is like none of ours.
    """
    near = [] if name in own else near_names(name, own)
    if not near and name in _takers:
        return f"{name} is not taken here: it is an argument of {joined_by_and(_takers[name])}."
    near = near or [f"{one} (of {joined_by_and(_takers[one])})" for one in near_names(name, _takers)]
    return f"Unknown argument {name!r}.{did_you_mean(near) or f' {otherwise}'}"
