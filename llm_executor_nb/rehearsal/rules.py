"""The rules of a script: whom they meet, what they do, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_executor_nb.rehearsal.requests import ChatRequest

EVERYTHING = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whose requests a rule speaks of.

    Attributes:
        backend: `openrouter` or `huggingface`; None: both.
        key_number: the key's place in the order the keys were given in, from 1; None: any.
        key_ending: what the key ends in, as `..a1b2`; None: any.
        provider: the Hugging Face provider; None: any.
    """

    backend: str | None = None
    key_number: int | None = None
    key_ending: str | None = None
    provider: str | None = None

    def is_met_by(self, asked: ChatRequest) -> bool:
        """Whether the rule speaks of this request."""
        return (
            self.backend in {None, asked.backend}
            and self.key_number in {None, asked.key_number}
            and self.key_ending in {None, asked.key}
            and self.provider in {None, asked.provider}
        )

    def __str__(self) -> str:
        key = self.key_ending or self.key_number
        return (
            (self.backend or EVERYTHING) + (f"[{key}]" if key else "") + (f"/{self.provider}" if self.provider else "")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One fault, and which of its target's requests it meets.

    Attributes:
        fault: a status code, or a name out of the catalogue.
        value: what stands behind the `=`.
        options: the options behind it, by name.
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

    def __str__(self) -> str:
        return "".join(
            (
                "" if self.share is None else f"{_plain(self.share)}%",
                self.fault,
                "" if self.value is None else f"={self.value}",
                "" if self.times is None else f"*{self.times}",
                self._numbers(),
                *(f" {name}={value}" if value else f" {name}" for name, value in self.options),
            ),
        )

    def _numbers(self) -> str:
        if self.last == self.first:
            return f"@{self.first}"
        if self.last is not None:
            return f"@{self.first}..{self.last}"
        return f"@{self.first}.." if self.first > 1 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRule:
    """A target and its effects, in order."""

    target: Target
    effects: tuple[Effect, ...]

    def __str__(self) -> str:
        return f"{self.target}: " + ", ".join(map(str, self.effects))


def _plain(number: float) -> str:
    return str(int(number)) if number.is_integer() else str(number)
