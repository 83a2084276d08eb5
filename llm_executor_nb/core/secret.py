"""A key that does not show itself.

A `Secret` shows its last four characters and nothing else: not in a repr, a format string or a pickle. Every value that
was ever made a `Secret` in this process is hidden in all messages (`foreign_text`).
"""

from __future__ import annotations

import re
from functools import lru_cache, wraps
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import remember_key

if TYPE_CHECKING:
    from collections.abc import Callable

SHOWN = 4
"""How many characters of a key are ever shown."""
_FITS_A_HEADER = re.compile(r"[!-~]+")
_KINDS: dict[str, re.Pattern[str]] = {
    "OpenRouter key": re.compile(r"\bsk-or-[A-Za-z0-9_\-]{16,}"),
    "Hugging Face token": re.compile(r"\bhf_(?:[A-Za-z0-9]{20,}|oauth_[A-Za-z0-9._\-]{20,})"),
    "key of another provider (sk-...)": re.compile(r"\bsk-(?!or-)(?=[A-Za-z_\-]*\d)[A-Za-z0-9_\-]{20,}"),
    "bearer token": re.compile(r"(?i:\bbearer\s+)(?!sk-|hf_)(?=[A-Za-z._\-]*\d)[A-Za-z0-9._\-]{20,}"),
}
"""Patterns of keys left behind in a notebook; stricter than the scrubber, which may hide a word too many."""
_PREFIX = re.compile(r"(?i:bearer\s+)?(?:sk-(?:or-)?(?:v\d-|proj-|ant-)?|hf_(?:oauth_)?)?")
_WORDS = re.compile(
    r"(?<![a-z])(?:canary|demo|dummy|example|fake|mock|not-a|placeholder|practice|redacted|sample|your)(?![a-z])",
    re.IGNORECASE,
)
_REPEATED = re.compile(r"(.{1,8})\1{2,}.{0,7}")
_LEAST_SIGNS = 6
_CHANGES_PER_SIGN = 1 / 16
P = ParamSpec("P")
R = TypeVar("R")


def _without_frames_of(*kinds: type[BaseException]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Raise what a function raises from outside it, so that no frame of the traceback holds a key in its locals."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except kinds as error:  # Python's own TypeError for wrong arguments comes with locals too
                failure = error.with_traceback(None)
                failure.__cause__ = failure.__context__ = None  # they have frames of their own
            del args, kwargs
            try:
                raise failure
            finally:
                del failure  # it holds this frame

        return call

    return decorate


forgetful = _without_frames_of(BaseException)
"""For a function that takes keys. It may also be interrupted."""
door = _without_frames_of(ConfigError, TypeError)
"""For a function that users call: a key in the wrong place is refused like any wrong argument."""


class Secret:
    """One API key or token. `reveal()` is the only way to its value.

    Args:
        value: the key as the user has it; spaces and quotes around it are removed.

    Raises:
        ConfigError: the value cannot be sent in an HTTP header; the message does not show it.
    """

    __slots__ = ("_value",)

    @forgetful
    def __init__(self, value: str) -> None:
        self._value = ""
        self._value = _clean(value)
        remember_key(self._value)

    def reveal(self) -> str:
        """Return the key itself, for the Authorization header and nowhere else."""
        return self._value

    @property
    def ending(self) -> str:
        """The last four characters after two dots, as `..a1b2`; a very short key shows less."""
        return ending(self._value)

    def __repr__(self) -> str:
        return f"Secret({self.ending})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key is never pickled. Read it from the environment where it is needed.")


@lru_cache(maxsize=1024)
def secret_of(value: str) -> Secret:
    """Return the `Secret` of a key. Keys are looked up for every call, so a key that was checked stays checked."""
    return Secret(value)


def ending(value: str) -> str:
    """Return the part of a key that may be shown: `..` and its last four characters, or a third of a short key."""
    return ".." + value[-min(SHOWN, max(1, len(value) // 3)) :]


def kinds_of_keys(text: str) -> dict[str, bool]:
    """Return the kinds of keys in a text, and whether one of that kind can be real; never a key."""
    found = {kind: [is_made_up(key[0]) for key in pattern.finditer(text)] for kind, pattern in _KINDS.items()}
    return {kind: not all(made_up) for kind, made_up in found.items() if made_up}


def is_made_up(key: str) -> bool:
    """Whether a key was obviously never given out: it has a word in it, or its characters are not drawn at random."""
    body = _PREFIX.sub("", key, count=1)
    signs = re.sub(r"[^A-Za-z0-9]", "", body)
    kinds = [(sign.isdigit(), sign.isupper()) for sign in signs]
    # in a key of a provider digits and letters alternate: a readable text has all its digits at its end
    changes = sum(one != other for one, other in pairwise(kinds))
    return (
        bool(_WORDS.search(body) or _REPEATED.fullmatch(signs))
        or len(set(signs)) < _LEAST_SIGNS
        or changes <= max(1, len(signs) * _CHANGES_PER_SIGN)
    )


def _clean(value: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"A key is a text, not {type(value).__name__}.")
    stripped = value.strip().strip("\"'").strip()
    if not stripped:
        raise ConfigError("This key is empty. Paste it again.")
    if not _FITS_A_HEADER.fullmatch(stripped):
        raise ConfigError(
            f"This key ({len(stripped)} characters) contains a space, a line break or a character that is not ASCII, "
            "so it cannot be a key. Copy it again from the provider's page.",
        )
    return stripped
