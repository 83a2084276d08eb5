"""`{name}` in a prompt: filled in where a variable of that name exists and is data; all else stays as typed.

Nothing is evaluated, and a text that was filled in is not searched for braces again, so JSON, LaTeX and code stay byte
for byte. A key is never filled in: a variable that is one stays as typed, and one that holds one is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import scrub
from llm_executor_nb.core.near_names import near_names
from llm_executor_nb.core.secret import Secret
from llm_executor_nb.settings.key_list import KeyList, KeyText
from llm_executor_nb.view.html import cut

if TYPE_CHECKING:
    from collections.abc import Iterable

    from IPython.core.interactiveshell import InteractiveShell

LONGEST = 20_000
"""Characters of the longest variable that is filled in. A longer one is costly, and rarely intended."""
_BRACES = re.compile(
    r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}|\{ *([A-Za-z_]\w*)(?: *|[.\[!(][^{}\n]*|:[^\s{}][^{}\n]*)\}"
)
"""`{{name}}`, `{name}`, and what an f-string would take: `{ name }`, `{name:.2f}`, `{name.upper()}`."""
_BEFORE_TEX = re.compile(r"(?:\\[A-Za-z]+\*?(?:\[[^\[\]\n]*\])?(?:\{[^{}\n]*\})*|[_^])\Z")
_SIGNS_OF_TEX = ("\\", "$")
_LONGEST_COMMAND = 100
_MOST_LEFT, _LONGEST_SHOWN = 5, 60
"""What the note on braces that were left as typed lists: how many of them, and characters of each."""
_KEYS = (Secret, KeyText, KeyList)
_TABLES = (pd.DataFrame, pd.Series, pd.Index, np.ndarray)
_BARE_REPR = re.compile(r"<.* at 0x[0-9A-Fa-f]+>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Filled:
    """A text with its variables filled in.

    Attributes:
        text: the text to send.
        names: the variables that were filled in, each once.
        left: what was left as typed and may be meant as a variable, each once, with the reason where it is known.
    """

    text: str
    names: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def fill(text: str, names: Mapping[str, object]) -> Filled:
    """Fill in `{name}` where a variable of that name is data; `{{name}}` becomes `{name}` there.

    Args:
        text: the cell as typed.
        names: the user's variables.

    Raises:
        ConfigError: a variable is too long, or holds something like a key.
    """
    filled: dict[str, str] = {}
    left: dict[str, str] = {}

    def replacement(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not name or not is_data(names, name):
            left[match[0]] = left.get(match[0]) or _left(match, names)
            return match[0]
        if match[1]:
            return "{" + name + "}"
        if name not in filled:
            filled[name] = _checked(name, names[name])
        return filled[name]

    # one pass: braces in a text that was filled in are that text's own
    done = _BRACES.sub(replacement, text)
    return Filled(done, tuple(filled), tuple(filter(None, left.values())))


def not_filled_in(left: Iterable[str]) -> tuple[str, ...]:
    """Return the note on what was left as typed, or no note."""
    each = list(dict.fromkeys(left))
    more = f" and {len(each) - _MOST_LEFT} more" if len(each) > _MOST_LEFT else ""
    return (f"not filled in: {', '.join(each[:_MOST_LEFT])}{more}",) if each else ()


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
    if name not in names or name.startswith("_") or not may_be_data(value := names[name]):
        return False
    # `<object at 0x…>` says nothing to a model
    return isinstance(value, (str, *_TABLES)) or _BARE_REPR.fullmatch(_written_out(value)) is None


def may_be_data(value: object) -> bool:
    """Whether a value is of a kind that is data. The value is not written out: Tab asks this of every variable."""
    if isinstance(value, str) and not isinstance(value, KeyText):
        return not _is_key(value)
    if isinstance(value, (*_KEYS, ModuleType, type(os.environ))) or callable(value):
        return False
    return not hasattr(value, "get_secret_value")  # pydantic's secrets


def _written_out(value: object) -> str:
    """Return a variable's text as a prompt has it. A frame and an array are written out whole; of a reply, its text."""
    if isinstance(value, str):
        return value
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


def _checked(name: str, value: object) -> str:
    """Return a variable's text, if it can be sent.

    Raises:
        ConfigError: it is too long, or holds something like a key.
    """
    text = _written_out(value)
    as_typed = f"or write {{{{{name}}}}} to send the braces as text."
    if len(text) > LONGEST:
        raise ConfigError(f"{{{name}}} is longer than {LONGEST:,} characters. Shorten it first, {as_typed}")
    if not isinstance(value, str) and _holds_key(text):
        raise ConfigError(
            f"{{{name}}} holds something like a key{_place_of_key(value)}, and a key is never sent in a prompt. "
            f"Take it out first, {as_typed}",
        )
    return text


def _holds_key(value: object) -> bool:
    text = _written_out(value)
    return scrub(text) != text


def _place_of_key(value: object) -> str:
    """Return in words where a variable holds a key; empty: it has no parts, or the key is in none of them."""
    parts: Iterable[tuple[str, object]] = ()
    if isinstance(value, pd.DataFrame):
        parts = ((f"column {label}", value.iloc[:, place]) for place, label in enumerate(value.columns))
        parts = chain([("index", value.index), ("column names", value.columns)], parts)
    elif isinstance(value, Mapping):
        parts = ((f"entry {label}", (label, part)) for label, part in value.items())
    place = next((place for place, part in parts if _holds_key(part)), "")
    return f" in its {scrub(place)}" if place else ""


def _left(match: re.Match[str], names: Mapping[str, object]) -> str:
    """Return braces that were left as typed, with the reason where it is known; empty: no variable can be meant."""
    name = match[1] or match[2] or match[3]
    value = names.get(name)
    if match[1] or _is_of_tex(match) or (match[3] and not is_data(names, name)):
        return ""
    if match[3]:
        return f"{cut(scrub(match[0]), _LONGEST_SHOWN)} (write {{{name}}})"
    if isinstance(value, _KEYS) or (isinstance(value, str) and _is_key(value)):
        return f"{match[0]} (a key)"
    if name in names:
        return f"{match[0]} (a {type(value).__name__})"
    meant = next((one for one in near_names(name, names) if is_data(names, one)), None)
    return f"{match[0]} (did you mean {{{meant}}}?)" if meant else match[0]


def _is_of_tex(match: re.Match[str]) -> bool:
    """Whether braces belong to a command, an index or a power of LaTeX."""
    text, start = match.string, match.start()
    is_tex = any(sign in text for sign in _SIGNS_OF_TEX)
    return is_tex and _BEFORE_TEX.search(text, max(0, start - _LONGEST_COMMAND), start) is not None
