"""What Tab offers in a `%%llm` cell: models, aliases, options and commands, and variables behind `@` and `{`.

Reads what is in memory: no network, and no import of LangChain.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from IPython.core.completer import SimpleCompletion, context_matcher

from llm_executor_nb.chain.session import session
from llm_executor_nb.notebook.fill import may_be_data
from llm_executor_nb.notebook.variables import variables_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from IPython.core.completer import CompletionContext, SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

IDENTIFIER = "llm_executor_nb"
OPTIONS = (
    "--out",
    "--system",
    "--temperature",
    "--max-tokens",
    "--format",
    "--schema",
    "--no-stream",
    "--raw",
    "--timeout",
    "--deadline",
    "--verbose",
    "--dry-run",
)
COMMANDS = ("panel", "keys", "models", "use", "health", "log", "rehearse", "doctor")
_WITH_VALUE = frozenset(
    {"-o", "-s", "-t", "-f", "--out", "--system", "--temperature", "--max-tokens", "--format", "--schema"}
    | {"--timeout", "--deadline"}
)
_FORMS = ("md", "text", "json")
_MAGIC = re.compile(r"(?:^|\s|=)(%{1,2})llm\s+(.*)$")
_LINE = re.compile(r"\s*%{1,2}llm\s.*")
_BRACE = re.compile(r"\{(\w*)$")


def add(shell: InteractiveShell) -> None:
    """Have a shell's Tab ask here; does nothing when it does already."""
    matchers = shell.Completer.custom_matchers
    if not any(_is_ours(matcher) for matcher in matchers):
        matchers.append(_make_matcher(shell))


def remove(shell: InteractiveShell) -> None:
    """Take it out again."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [matcher for matcher in matchers if not _is_ours(matcher)]


def _is_ours(matcher: Any) -> bool:  # noqa: ANN401 - a matcher is any callable
    return getattr(matcher, "matcher_identifier", None) == IDENTIFIER


def _make_matcher(shell: InteractiveShell) -> Any:  # noqa: ANN401 - IPython has no public type for it
    @context_matcher(identifier=IDENTIFIER)
    def matcher(context: CompletionContext) -> SimpleMatcherResult:
        fragment, words = _offers(context, shell)
        if not words and _LINE.fullmatch(context.text_until_cursor):
            words = [fragment]  # a word that becomes itself: for an empty list IPython would offer Python's keywords
        return {
            "completions": [SimpleCompletion(word, type="magic") for word in words],
            "suppress": bool(words),
            "matched_fragment": fragment,
            "ordered": True,
        }

    return matcher


def _offers(context: CompletionContext, shell: InteractiveShell) -> tuple[str, list[str]]:
    """Return the word that is being typed, and what it may become."""
    text, row, before = context.full_text, context.cursor_line, context.text_until_cursor
    is_prompt = text.lstrip().startswith("%%llm")
    found = _MAGIC.search(before)
    if found is not None and (row == _first_row(text) or found[1] == "%"):
        return _in_line(found[2], shell, is_cell=found[1] == "%%")
    if is_prompt and row > _first_row(text):
        return _in_body(before, context.line_with_cursor[len(before) :], shell)
    return "", []


def _in_line(typed: str, shell: InteractiveShell, *, is_cell: bool) -> tuple[str, list[str]]:
    *done, word = re.split(r"\s+", typed)
    return word, _begun(word, _in_cell_line(done, word, shell) if is_cell else _after_command(done))


def _in_cell_line(done: list[str], word: str, shell: InteractiveShell) -> Iterable[str]:
    last = done[-1] if done else ""
    if word.startswith("@"):
        return [f"@{name}" for name in _names(shell, has_classes=last == "--schema")]
    if word.startswith("-"):
        return OPTIONS
    if last in _WITH_VALUE:
        return _FORMS if last in ("-f", "--format") else ()
    return [*(() if _has_model(done) else _models()), *(() if word else OPTIONS)]


def _has_model(done: list[str]) -> bool:
    """Say whether one of the words is no option, nor an option's value."""
    return any(
        word and not word.startswith("-") and before not in _WITH_VALUE for before, word in pairwise(["", *done])
    )


def _after_command(done: list[str]) -> Iterable[str]:
    match done:
        case []:
            return COMMANDS
        case ["use" | "models"]:
            return _models()
        case ["rehearse"]:
            return ["off", "openrouter:", "huggingface:"]
        case ["keys", *rest]:
            return _after_keys(rest)
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


def _in_body(before: str, after: str, shell: InteractiveShell) -> tuple[str, list[str]]:
    """Offer variables behind a brace, and close it where the front end has not."""
    if (found := _BRACE.search(before)) is None:
        return "", []
    end = "" if after.startswith("}") else "}"
    return found[0], [f"{{{name}{end}" for name in _begun(found[1], _names(shell, has_classes=False))]


def _names(shell: InteractiveShell, *, has_classes: bool) -> list[str]:
    """Return the user's variables that may stand there: data, or for a schema also classes."""
    names = variables_of(shell)
    return sorted(
        name for name, value in names.items() if (has_classes and isinstance(value, type)) or may_be_data(value)
    )


def _models() -> list[str]:
    models = session().options.models
    return [*(alias for alias, model in models.aliases.items() if model in models.providers), *models]


def _begun(word: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(word)]


def _first_row(text: str) -> int:
    """Return the row of the magic: blank lines may stand above it."""
    return len(text[: len(text) - len(text.lstrip())].split("\n")) - 1
