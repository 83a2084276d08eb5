"""`{name}` in a prompt cell: filled where a variable of that name exists and is data; all else stays as typed."""

from __future__ import annotations

import re
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.settings.keys import KeyList, KeyText

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 20_000
"""Characters beyond which a variable is not put into a prompt unasked."""
_BRACES = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")
_NO_DATA = (Secret, KeyText, KeyList, type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


def fill(text: str, names: Mapping[str, object]) -> tuple[str, list[str]]:
    """Return a prompt with its variables filled in, and their names.

    `{{name}}` becomes `{name}` where such a variable exists. Nothing is evaluated, and what was filled in is not
    looked at again, so JSON, LaTeX and code stay as they are.

    Args:
        text: the cell as typed.
        names: the user's variables.

    Raises:
        ConfigError: a variable is too long to be meant.
    """
    filled: list[str] = []

    def put(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not is_data(names, name):
            return match[0]
        if match[1]:
            return "{" + name + "}"
        filled.append(name)
        return _text_of(name, names[name])

    return _BRACES.sub(put, text), list(dict.fromkeys(filled))


def is_data(names: Mapping[str, object], name: str) -> bool:
    """Say whether a variable exists and may stand in a prompt: never a key, a module, a function or a class."""
    return name in names and not name.startswith("_") and not isinstance(names[name], _NO_DATA)


def _text_of(name: str, value: object) -> str:
    text = str(value)
    if len(text) > LONGEST:
        raise ConfigError(
            f"{{{name}}} has {len(text):,} characters, which is hardly meant. "
            f"Shorten it first, or write {{{{{name}}}}} where the braces are meant as text.",
        )
    return text
