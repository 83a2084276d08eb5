"""Reads foreign JSON, which has any shape: fields may be missing, and numbers may be text."""

from __future__ import annotations

import asyncio
import gc
import json
import json.scanner
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator

_SMALL: Final = 2**17
"""Characters of a text that is parsed at once, whatever is in it."""
_LONG_TEXT: Final = 2**20
"""Characters of a JSON string that is cut out before the rest is parsed."""
_MOST_CHARACTERS: Final = 4 * 2**20
_MOST_NAMES, _MOST_VALUES = 60_000, 300_000
"""What is parsed at once of a larger text. More would stop all calls: `json`'s scanner in C cannot be interrupted."""
_SLOWLY: Final = 5
"""How many times as much is parsed in a thread, such as the log probabilities of a long answer."""
TOO_LARGE: Final = (
    f"the JSON was not read: it holds over {_MOST_NAMES * _SLOWLY} names, over {_MOST_VALUES * _SLOWLY} values, "
    f"or over {_MOST_CHARACTERS * _SLOWLY // 2**20} MB beside long texts. Ask for less, such as fewer top_logprobs"
)
"""Stands for JSON that is too large to be parsed."""


def number(value: object) -> float | None:
    """Return a number, or the number in a text, if it is finite; None for anything else."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str):  # None: nearly always
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 - foreign JSON has any shape
    """Return the parsed JSON; None for a text that is not JSON, or that is nested too deeply to be read.

    It takes less than 50 ms. A text that would take longer gives `TOO_LARGE`, which is a message.
    """
    try:
        return json.loads(text) if len(text) <= _SMALL else _parse_large(text, json.JSONDecoder, 1)
    except (ValueError, RecursionError, MemoryError):
        return None


async def read_json(text: str | bytes) -> Any:  # noqa: ANN401 - foreign JSON has any shape
    """Return the same as `parse_json`, and parse in a thread what takes longer than that."""
    parsed = parse_json(text)
    return await asyncio.to_thread(_parse_slowly, text) if parsed is TOO_LARGE else parsed


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON object; an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def get_in(value: object, *names: str) -> Any:  # noqa: ANN401 - foreign JSON has any shape
    """Return a field of nested JSON objects; None if one of them is missing or not an object."""
    for name in names:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


class _SlowDecoder(json.JSONDecoder):
    """A decoder in Python, not in C: other threads run while it decodes."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - as `json` declares them
        super().__init__(**options)
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined] # typeshed leaves it out


def _parse_slowly(text: str | bytes) -> Any:  # noqa: ANN401 - as above
    try:
        return _parse_large(text, _SlowDecoder, _SLOWLY)
    except (ValueError, RecursionError, MemoryError):
        return None


def _parse_large(text: str | bytes, decoder: type[json.JSONDecoder], times: int) -> Any:  # noqa: ANN401 - as above
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    rest, long_texts = _cut(text)
    is_long = len(rest) > _MOST_CHARACTERS * times
    if is_long or rest.count(":") > _MOST_NAMES * times or sum(map(rest.count, ",[{")) > _MOST_VALUES * times:
        return TOO_LARGE
    with _uncollected():
        if not long_texts:
            return json.loads(rest, cls=decoder)
        return json.loads(rest, cls=decoder, parse_int=lambda digits: long_texts.get(digits) or int(digits))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Put garbage collection off: many new objects would start it again and again, and JSON has no cycles."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


def _cut(text: str) -> tuple[str, dict[str, str]]:
    """Return JSON with a number in place of each long string without escapes, such as a picture; and these strings.

    To find the next quote takes a tenth of the time in which `json` scans a string.
    """
    rest: list[str] = []
    strings: dict[str, str] = {}
    begin, at, number = 0, _LONG_TEXT, uuid4().int
    while (end := text.find('"', at)) >= 0:
        opening = text.rfind('"', begin, at)
        is_long = opening >= 0 and end - opening > _LONG_TEXT and text.find("\\", opening, end) < 0
        if is_long and _is_outside(text[begin:opening]):
            digits = f"{number}{len(strings)}"
            rest += [text[begin:opening], digits]
            strings[digits] = text[opening + 1 : end]
            begin = end + 1
        at = end + _LONG_TEXT
    return "".join([*rest, text[begin:]]), strings


def _is_outside(before: str) -> bool:
    """Whether what follows JSON that began outside a string is outside of one too."""
    plain = before.replace("\\\\", "")
    return (plain.count('"') - plain.count('\\"')) % 2 == 0
