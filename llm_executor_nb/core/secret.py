"""A key that does not show itself, and the scrubber that keeps keys out of every text.

A `Secret` shows its last four characters and nothing else: not in a repr, a format string or a pickle. `scrub` removes
every value that was ever made a `Secret` in this process, and everything that looks like a key. `shorten` also cuts.
"""

from __future__ import annotations

import re
from functools import wraps
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

from llm_executor_nb.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

SHOWN = 4
"""How many characters of a key are ever shown."""
MESSAGE_LENGTH = 300
"""Characters of a provider's message that are kept."""
_READ = 20_000
"""Characters of a message that are scrubbed at all, so that megabytes cost nothing."""
_MARGIN = 5_000
"""Characters at the end of those that are never shown: a key that is cut there is not recognised."""
_HIDDEN = "…hidden…"
_LONG = 8
_LOOKS_LIKE_A_KEY = re.compile(
    r"\bsk-[A-Za-z0-9_\-]{8,}|\bhf_[A-Za-z0-9]{8,}|(?i:\bbearer\s+)[^\s\"',;]+",
)
_FITS_A_HEADER = re.compile(r"[!-~]+")
_KINDS: dict[str, re.Pattern[str]] = {
    "OpenRouter key": re.compile(r"\bsk-or-[A-Za-z0-9_\-]{16,}"),
    "Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{20,}"),
    "key of another provider (sk-...)": re.compile(r"\bsk-(?!or-)(?=[A-Za-z_\-]*\d)[A-Za-z0-9_\-]{20,}"),
    "bearer token": re.compile(r"(?i:\bbearer\s+)(?!sk-|hf_)(?=[A-Za-z._\-]*\d)[A-Za-z0-9._\-]{20,}"),
}
"""Patterns of keys left behind in a notebook; stricter than the scrubber, which may hide a word too many."""
_known: dict[Secret, None] = {}
P = ParamSpec("P")
R = TypeVar("R")


def forgetful(function: Callable[P, R]) -> Callable[P, R]:
    """Raise a function's ConfigError from outside it, so that no frame of the traceback holds a key in its locals."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except ConfigError as error:
            kind, message = type(error), str(error)
        del args, kwargs
        raise kind(message)

    return call


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
        _known[self] = None

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


def ending(value: str) -> str:
    """Return the part of a key that may be shown: `..` and its last four characters, or a third of a short key."""
    return ".." + value[-min(SHOWN, max(1, len(value) // 3)) :]


def scrub(text: str) -> str:
    """Return `text` without the values of all Secrets made so far, and without anything that looks like a key."""
    values = [value for secret in tuple(_known) if (value := secret.reveal()) in text]
    for value in sorted(values, key=len, reverse=True):  # one key may be the beginning of another
        text = text.replace(value, _HIDDEN) if len(value) >= _LONG else _without_word(text, value)
    return _LOOKS_LIKE_A_KEY.sub(_HIDDEN, text)


def kinds_of_keys(text: str) -> list[str]:
    """Return the kinds of keys in a text, in words; never a key."""
    return [kind for kind, pattern in _KINDS.items() if pattern.search(text)]


def shorten(text: str) -> str:
    """Return a foreign message as it may be kept: scrubbed of keys, on one line, at most 300 characters."""
    is_long = len(text) > _READ
    scrubbed = scrub(text[:_READ])[:-_MARGIN] if is_long else scrub(text)
    line = " ".join(scrubbed.split()).encode("utf-8", "replace").decode()
    return line if len(line) <= MESSAGE_LENGTH else line[: MESSAGE_LENGTH - 1] + "…"


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


def _without_word(text: str, value: str) -> str:
    # a short key may be a part of ordinary words
    return re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _HIDDEN, text)
