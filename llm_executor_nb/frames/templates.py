"""A text with columns in braces, filled as Python's format does it; all other braces stay as they are typed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.frames.cells import text_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_BRACES = re.compile(r"\{\{([^{}]*)\}\}|\{([^{}]*)\}")
_SPEC = r"(?=[^{}]*(?:\.\d+[a-zA-Z%]\}|[<>=^]\d))(?:.?[<>=^])?[-+ ]?z?\#?\d*[,_]?(?:\.\d+)?[a-zA-Z%]?"
"""A format that hardly means anything else: with a precision and a type, or with an alignment and a width."""
_MEANT_AS_COLUMN = re.compile(
    r"(?<![\w\\{}^$])\{(?:([A-Za-z_]\w+)|([A-Za-z_]\w*)(?:![rsa](?::[^{}]*)?|:" + _SPEC + r"))\}(?![{}])"
)
_NESTED = re.compile(r"\{([^{}!:]+)(?:![rsa])?:[^{}\s]*\{")
_CONVERSIONS = {"s": text_of, "r": repr, "a": ascii}
_HINT = "Write {{name}} where the braces are meant as text."


@dataclass(frozen=True, slots=True)
class Field:
    """A column in braces.

    Attributes:
        typed: what stands between the braces.
        name: the column.
        conversion: r, s or a; empty: none.
        spec: the format; empty: none.
    """

    typed: str
    name: str
    conversion: str = ""
    spec: str = ""

    def text(self, value: Any) -> str:  # noqa: ANN401 - what a cell holds
        """Return a value as it stands in the text.

        Raises:
            ConfigError: the format does not fit it.
        """
        try:
            shown = _CONVERSIONS[self.conversion](value) if self.conversion else value
            return format(shown, self.spec) if self.spec else text_of(shown)
        except (ValueError, TypeError, OverflowError) as error:
            words = str(error).rstrip(".")
        raise ConfigError(f"{{{self.typed}}} does not fit {type(value).__name__} values: {words}. {_HINT}")


class Template:
    """A text with columns in braces.

    Args:
        text: the text.
        names: the columns, as text.

    Attributes:
        fields: the columns in braces, in their order.

    Raises:
        ConfigError: it names no column, or something that is meant as one and is not.
    """

    def __init__(self, text: str, names: Collection[str]) -> None:
        self._pieces = list(_pieces(text, names))
        self.fields = [piece for piece in self._pieces if isinstance(piece, Field)]
        _check(text, names, self.fields)

    def fill(self, row: Mapping[str, object]) -> str:
        """Return the text with the values of a row.

        Raises:
            ConfigError: a format does not fit its value.
        """
        return "".join(piece if isinstance(piece, str) else piece.text(row[piece.name]) for piece in self._pieces)


def _pieces(text: str, names: Collection[str]) -> Iterator[str | Field]:
    end = 0
    for match in _BRACES.finditer(text):
        yield text[end : match.start()]
        end = match.end()
        escaped, typed = match.groups()
        if typed is not None:
            yield _field(typed, names) or match[0]
        else:
            is_name = escaped.isidentifier() or _field(escaped, names) is not None
            yield f"{{{escaped}}}" if is_name else match[0]
    yield text[end:]


def _field(typed: str, names: Collection[str]) -> Field | None:
    """Return what stands between braces as a column, with its conversion and its format; None: it names none."""
    if typed in names:
        return Field(typed, typed)
    for match in reversed(list(re.finditer(r"[!:]", typed))):
        if (name := typed[: match.start()]) in names:
            how = re.fullmatch(r"(?:!([rsa]))?(?::(.*))?", typed[match.start() :], re.DOTALL)
            return None if how is None else Field(typed, name, how[1] or "", how[2] or "")
    return None


def _check(text: str, names: Collection[str], fields: Collection[Field]) -> None:
    columns = ", ".join(names)
    unknown = [
        name
        for match in _MEANT_AS_COLUMN.finditer(text)
        if (name := match[1] or match[2]) not in names and _field(match[0][1:-1], names) is None
    ]
    if unknown:
        raise ConfigError(f"The template names {unknown[0]!r}, which is no column. There are: {columns}. {_HINT}")
    for match in _NESTED.finditer(text):
        if match[1] in names:
            raise ConfigError(f"The format of {match[1]!r} has braces in it: write it without, as in {{price:.2f}}.")
    if not fields:
        raise ConfigError(f"The template names no column, so every row would be the same. There are: {columns}.")
