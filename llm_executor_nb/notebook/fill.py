"""`{name}` in a prompt: filled where a variable of that name exists and is data; all else stays as typed.

Nothing is evaluated, and what was filled in is not looked at again, so JSON, LaTeX and code stay byte for byte. A key
is never filled in, whether it is a `Secret` or a plain text that is one.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.secret import Secret, scrub
from llm_executor_nb.settings.key_list import KeyList, KeyText

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 20_000
"""Characters beyond which a variable is not put into a prompt unasked."""
_BRACES = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")
_NO_DATA = (KeyText, KeyList, ModuleType, type(os.environ))
_TABLES = (pd.DataFrame, pd.Series, pd.Index, np.ndarray)
_NEAR = 0.8
_BARE_REPR = re.compile(r"<.* at 0x[0-9A-Fa-f]+>", re.DOTALL)
_KEY = (Secret, KeyText, KeyList)


@dataclass(frozen=True, slots=True)
class Filled:
    """A text with its variables filled in.

    Attributes:
        text: what is sent.
        names: the variables that were filled in, each once.
        notes: what was left as typed and looks as if it was meant, in words.
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
        ConfigError: a variable is too long to be meant.
    """
    filled: dict[str, str] = {}
    left: dict[str, None] = {}

    def put(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not is_data(names, name):
            left.setdefault(name)
            return match[0]
        if match[1]:
            return "{" + name + "}"
        filled[name] = filled[name] if name in filled else _short(name, text_of(names[name]) or "")
        return filled[name]

    done = _BRACES.sub(put, text)
    return Filled(done, tuple(filled), tuple(note for name in left if (note := _note(name, names))))


def is_data(names: Mapping[str, object], name: str) -> bool:
    """Say whether a variable exists and may stand in a prompt: never a key, a module, a function or a class."""
    if name not in names or name.startswith("_") or not may_be_data(names[name]):
        return False
    return isinstance(names[name], _TABLES) or text_of(names[name]) is not None


def may_be_data(value: object) -> bool:
    """Say whether a value is data by its kind, without writing it out."""
    if isinstance(value, str) and not isinstance(value, KeyText):
        return not _is_key(value)
    return not (isinstance(value, (Secret, *_NO_DATA)) or callable(value) or hasattr(value, "get_secret_value"))


def text_of(value: object) -> str | None:
    """Return a variable's text as a prompt has it; None: it is no data.

    A frame and an array are written out whole, a reply is its text.
    """
    if not may_be_data(value):
        return None
    if isinstance(value, str):
        return value
    text = _written_out(value)
    return None if _BARE_REPR.fullmatch(text) or scrub(text) != text else text


def _written_out(value: object) -> str:
    if isinstance(getattr(value, "response_metadata", None), dict):
        return str(getattr(value, "text", value))
    if isinstance(value, _TABLES) and value.size > LONGEST:
        return " " * (LONGEST + 1)  # refused for its length, without writing it out
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.to_string()
    return str(value.tolist() if isinstance(value, pd.Index | np.ndarray) else value)


def _is_key(text: str) -> bool:
    """A text without a blank that the scrubber does not leave alone is a key, not prose that speaks of one."""
    return len(text.split()) == 1 and scrub(text) != text


def _short(name: str, text: str) -> str:
    if len(text) > LONGEST:
        raise ConfigError(
            f"{{{name}}} has more than {LONGEST:,} characters, which is hardly meant. Shorten it first, or write "
            f"{{{{{name}}}}} where the braces are meant as text.",
        )
    return text


def _note(name: str, names: Mapping[str, object]) -> str:
    """Return what to say of braces that were left as typed; empty: nothing."""
    if name in names:
        value = names[name]
        is_key = isinstance(value, _KEY) or (isinstance(value, str) and _is_key(value))
        return f"{{{name}}} is a key and stays as typed" if is_key else ""
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=_NEAR)
    meant = next((one for one in near if is_data(names, one)), None)
    return f"{{{name}}} stays as typed; did you mean {{{meant}}}?" if meant else ""
