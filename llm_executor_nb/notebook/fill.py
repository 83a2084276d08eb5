"""`{name}` in a prompt: filled in where a variable of that name exists and is data; all else stays as typed.

Nothing is evaluated, and a text that was filled in is not searched for braces again, so JSON, LaTeX and code stay byte
for byte. A key is never filled in, whether it is a `Secret` or a plain text.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import scrub
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.settings.key_list import KeyList, KeyText

if TYPE_CHECKING:
    from collections.abc import Mapping

    from IPython.core.interactiveshell import InteractiveShell

LONGEST = 20_000
"""Characters of the longest variable that is filled in. A longer one is costly, and rarely intended."""
_BRACES = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")
_KEYS = (Secret, KeyText, KeyList)
_TABLES = (pd.DataFrame, pd.Series, pd.Index, np.ndarray)
_NEAR = 0.8
_BARE_REPR = re.compile(r"<.* at 0x[0-9A-Fa-f]+>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Filled:
    """A text with its variables filled in.

    Attributes:
        text: the text to send.
        names: the variables that were filled in, each once.
        notes: in words, what was left as typed although the user probably meant a variable.
    """

    text: str
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def fill(text: str, names: Mapping[str, object]) -> Filled:
    """Fill in `{name}` where a variable of that name is data; `{{name}}` becomes `{name}` there.

    Args:
        text: the cell as typed.
        names: the user's variables.

    Raises:
        ConfigError: a variable is too long.
    """
    filled: dict[str, str] = {}
    left: dict[str, None] = {}

    def replacement(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not is_data(names, name):
            left.setdefault(name)
            return match[0]
        if match[1]:
            return "{" + name + "}"
        filled[name] = filled[name] if name in filled else _short(name, text_of(names[name]) or "")
        return filled[name]

    # one pass: braces in a text that was filled in are that text's own
    done = _BRACES.sub(replacement, text)
    return Filled(done, tuple(filled), tuple(note for name in left if (note := _note(name, names))))


def variables_of(shell: InteractiveShell | None) -> dict[str, Any]:
    """Return the variables that the user of a shell made; `In`, `Out`, `exit` and `_...` are IPython's."""
    if shell is None:
        return {}
    hidden = shell.user_ns_hidden
    return {
        name: value
        for name, value in shell.user_ns.items()
        if not name.startswith("_") and (name not in hidden or hidden[name] is not value)
    }


def is_data(names: Mapping[str, object], name: str) -> bool:
    """Whether a variable exists and may stand in a prompt: never a key, a module, a function or a class."""
    if name not in names or name.startswith("_") or not may_be_data(names[name]):
        return False
    return isinstance(names[name], _TABLES) or text_of(names[name]) is not None


def may_be_data(value: object) -> bool:
    """Whether a value is of a kind that is data. The value is not written out: Tab asks this of every variable."""
    if isinstance(value, str) and not isinstance(value, KeyText):
        return not _is_key(value)
    if isinstance(value, (*_KEYS, ModuleType, type(os.environ))) or callable(value):
        return False
    return not hasattr(value, "get_secret_value")  # pydantic's secrets


def text_of(value: object) -> str | None:
    """Return a variable's text as a prompt has it; None: it is not data.

    A frame and an array are written out whole. Of a reply it is the text.
    """
    if not may_be_data(value):
        return None
    if isinstance(value, str):
        return value
    text = _written_out(value)
    # `<object at 0x…>` says nothing to a model; a text that the scrubber changes holds a key
    return None if _BARE_REPR.fullmatch(text) or scrub(text) != text else text


def _written_out(value: object) -> str:
    if isinstance(getattr(value, "response_metadata", None), dict):
        return str(getattr(value, "text", value))
    if isinstance(value, _TABLES) and value.size > LONGEST:
        return " " * (LONGEST + 1)  # refused for its length, without the time and memory of writing it out
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.to_string()
    return str(value.tolist() if isinstance(value, pd.Index | np.ndarray) else value)


def _is_key(text: str) -> bool:
    # one word that the scrubber changes is a key; a longer text is prose that mentions one
    return len(text.split()) == 1 and scrub(text) != text


def _short(name: str, text: str) -> str:
    if len(text) > LONGEST:
        raise ConfigError(
            f"{{{name}}} is longer than {LONGEST:,} characters. Shorten it first, or write {{{{{name}}}}} to send the "
            "braces as text.",
        )
    return text


def _note(name: str, names: Mapping[str, object]) -> str:
    """Return a note on braces that were left as typed; empty: there is nothing to say."""
    if name in names:
        value = names[name]
        is_key = isinstance(value, _KEYS) or (isinstance(value, str) and _is_key(value))
        return f"{{{name}}} is a key and stays as typed" if is_key else ""
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=_NEAR)
    meant = next((one for one in near if is_data(names, one)), None)
    return f"{{{name}}} stays as typed; did you mean {{{meant}}}?" if meant else ""
