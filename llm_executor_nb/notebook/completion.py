"""What Tab offers in a `%%llm` cell: models, aliases, options and commands, and variables after `@` and `{`.

It reads what is in memory: no network, and no import of LangChain.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from IPython.core.completer import SimpleCompletion, context_matcher

from llm_executor_nb.chain.session import session
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.notebook.commands import Commands
from llm_executor_nb.notebook.fill import may_be_data, variables_of

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser
    from collections.abc import Callable, Iterable, Mapping

    from IPython.core.completer import CompletionContext, SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

IDENTIFIER = "llm_executor_nb"
_MAGIC = re.compile(r"(?:^|\s|=)(%{1,2})llm\s+(.*)$")
_LINE = re.compile(r"\s*%{1,2}llm\s.*")
_BRACE = re.compile(r"\{(\w*)$")


def add(shell: InteractiveShell, parser: ArgumentParser) -> None:
    """Have a shell's Tab ask here; do nothing when it does already.

    Args:
        shell: the shell.
        parser: the parser of a cell's first line, whose options are offered.
    """
    matchers = shell.Completer.custom_matchers
    if not any(_is_ours(matcher) for matcher in matchers):
        matchers.append(_make_matcher(_Completer(shell, parser)))


def remove(shell: InteractiveShell) -> None:
    """Undo `add`."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [matcher for matcher in matchers if not _is_ours(matcher)]


def _is_ours(matcher: Any) -> bool:  # noqa: ANN401 - a matcher is any callable
    return getattr(matcher, "matcher_identifier", None) == IDENTIFIER


def _make_matcher(completer: _Completer) -> Any:  # noqa: ANN401 - IPython has no public type for it
    @context_matcher(identifier=IDENTIFIER)
    def matcher(context: CompletionContext) -> SimpleMatcherResult:
        fragment, words = completer.offers(context)
        if not words and _LINE.fullmatch(context.text_until_cursor):
            words = [fragment]  # a word that becomes itself: for an empty list IPython would offer Python's keywords
        return {
            "completions": [SimpleCompletion(word, type="magic") for word in words],
            "suppress": bool(words),
            "matched_fragment": fragment,
            "ordered": True,
        }

    return matcher


class _Completer:
    """Offers what may be typed in one shell."""

    def __init__(self, shell: InteractiveShell, parser: ArgumentParser) -> None:
        self._shell = shell
        # argparse has no public list of its options
        self._options: dict[str, Action] = parser._option_string_actions  # noqa: SLF001
        self._long = [name for name in self._options if name.startswith("--")]

    def offers(self, context: CompletionContext) -> tuple[str, list[str]]:
        """Return the word that is being typed, and what it may become."""
        text, row, before = context.full_text, context.cursor_line, context.text_until_cursor
        match = _MAGIC.search(before)
        if match is not None and (row == _first_row(text) or match[1] == "%"):
            *done, word = re.split(r"\s+", match[2])
            offered = self._in_cell_line(done, word) if match[1] == "%%" else _after_command(done)
            return word, _begun(word, offered)
        if text.lstrip().startswith("%%llm") and row > _first_row(text):
            return self._in_body(before, context.line_with_cursor[len(before) :])
        return "", []

    def _in_cell_line(self, done: list[str], word: str) -> Iterable[str]:
        last = done[-1] if done else ""
        if word.startswith("@"):
            return [f"@{name}" for name in self._names(has_classes=last == "--schema")]
        if word.startswith("-"):
            return self._long
        if self._takes_value(last):
            return self._options[last].choices or ()
        return [*(() if self._has_model(done) else _models()), *(() if word else self._long)]

    def _in_body(self, before: str, after: str) -> tuple[str, list[str]]:
        """Offer variables after a brace, and close it where the front end has not."""
        if (match := _BRACE.search(before)) is None:
            return "", []
        end = "" if after.startswith("}") else "}"
        return match[0], [f"{{{name}{end}" for name in _begun(match[1], self._names(has_classes=False))]

    def _takes_value(self, word: str) -> bool:
        """Whether a word is an option that is followed by its value."""
        return word in self._options and self._options[word].nargs != 0  # argparse's mark of a switch

    def _has_model(self, done: list[str]) -> bool:
        """Whether one of the words is neither an option nor an option's value."""
        return any(
            word and not word.startswith("-") and not self._takes_value(before)
            for before, word in pairwise(["", *done])
        )

    def _names(self, *, has_classes: bool) -> list[str]:
        """Return the user's variables that are data, or for a schema also classes."""
        return sorted(
            name
            for name, value in variables_of(self._shell).items()
            if (has_classes and isinstance(value, type)) or may_be_data(value)
        )


def _after_command(done: list[str]) -> Iterable[str]:
    match done:
        case []:
            return Commands.BY_NAME
        case ["keys", *rest]:
            return _after_keys(rest)
        case [command]:
            return _ARGUMENTS.get(command, list)()
        case _:
            return []


def _after_keys(done: list[str]) -> Iterable[str]:
    match done:
        case []:
            return ["add", "remove"]
        case ["add" | "remove"]:
            return session().options.keys.code
        case ["remove", backend]:
            return [line.label for line in session().options.keys.lines() if line.backend == backend]
        case _:
            return []


def _models() -> list[str]:
    models = session().options.models
    return [*(alias for alias, model in models.aliases.items() if model in models.providers), *models]


_ARGUMENTS: Final[Mapping[str, Callable[[], list[str]]]] = {
    "models": lambda: ["search", *_models()],
    "use": _models,
    "login": lambda: [OPENROUTER, HUGGINGFACE],
    "rehearse": lambda: ["off", "openrouter:", "huggingface:"],
}
"""What may follow a command."""


def _begun(word: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(word)]


def _first_row(text: str) -> int:
    """Return the row of the magic: empty lines may stand above it."""
    return len(text[: len(text) - len(text.lstrip())].split("\n")) - 1
