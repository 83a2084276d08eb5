"""What Tab offers in a `%%llm` cell: models, aliases, options and commands, and variables behind `@` and `{`.

Reads what is in memory: no network, and no import of LangChain.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from IPython.core.completer import SimpleCompletion, context_matcher

from llm_executor_nb.notebook.fill import may_be_data
from llm_executor_nb.notebook.variables import variables_of
from llm_executor_nb.settings.config import live

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
_FORMS = ("md", "text", "json")
_MAGIC = re.compile(r"(?:^|\s|=)(%{1,2})llm\s+(.*)$")
_AT = re.compile(r"@(\w*)$")
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
        fragment, words = offers(context.full_text, context.cursor_line, context.text_until_cursor, shell)
        return {
            "completions": [SimpleCompletion(word, type="magic") for word in words],
            "suppress": bool(words),
            "matched_fragment": fragment,
            "ordered": True,
        }

    return matcher


def offers(text: str, row: int, before: str, shell: InteractiveShell) -> tuple[str, list[str]]:
    """Return the word that is being typed, and what it may become.

    Args:
        text: the whole cell.
        row: the line the cursor is in, from 0.
        before: that line up to the cursor.
        shell: whose variables are offered.
    """
    is_prompt = text.lstrip().startswith("%%llm")
    found = _MAGIC.search(before)
    if found is not None and (row == _first_row(text) or found[1] == "%"):
        return _in_line(found[2], shell, is_cell=found[1] == "%%")
    if is_prompt and row > _first_row(text):
        return _in_body(before, shell)
    return "", []


def _in_line(typed: str, shell: InteractiveShell, *, is_cell: bool) -> tuple[str, list[str]]:
    *done, word = re.split(r"\s+", typed)
    last = done[-1] if done else ""
    if not is_cell:
        return word, _begun(word, _after_command(done))
    if word.startswith("@"):
        schema = last == "--schema"
        return word, _begun(word, [f"@{name}" for name in _names(shell, has_classes=schema)])
    if last in ("-f", "--format"):
        return word, _begun(word, _FORMS)
    if word.startswith("-"):
        return word, _begun(word, OPTIONS)
    if not any(part and not part.startswith("-") for part in done):
        return word, _begun(word, [*_models(), *(OPTIONS if not word else ())])
    return word, [] if word else list(OPTIONS)


def _after_command(done: list[str]) -> Iterable[str]:
    match done:
        case []:
            return COMMANDS
        case ["use"]:
            return _models()
        case ["rehearse"]:
            return ["off", "openrouter:", "huggingface:"]
        case ["keys"]:
            return ["add", "remove"]
        case ["keys", "add" | "remove"]:
            return live().keys.code
        case _:
            return []


def _in_body(before: str, shell: InteractiveShell) -> tuple[str, list[str]]:
    for sign, pattern in (("{", _BRACE), ("@", _AT)):
        if found := pattern.search(before):
            word = sign + found[1]
            end = "}" if sign == "{" else ""
            names = [name for name in _names(shell, has_classes=False) if name.startswith(found[1])]
            return word, [f"{sign}{name}{end}" for name in names]
    return "", []


def _names(shell: InteractiveShell, *, has_classes: bool) -> list[str]:
    """Return the user's variables that may stand there: data, or for a schema also classes."""
    names = variables_of(shell)
    return sorted(
        name for name, value in names.items() if (has_classes and isinstance(value, type)) or may_be_data(value)
    )


def _models() -> list[str]:
    models = live().models
    return [*(alias for alias, model in models.aliases.items() if model in models.providers), *models]


def _begun(word: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(word)]


def _first_row(text: str) -> int:
    """Return the row of the magic: blank lines may stand above it."""
    return len(text[: len(text) - len(text.lstrip())].split("\n")) - 1
