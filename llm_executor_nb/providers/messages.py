"""Lists of messages as they were meant, whatever they went through: arrays are lists, and what is absent is left out.

Parquet and `datasets` make an array of a list and fill every struct with None for the fields that another row has. A
message without content is refused, never sent as the word "nan"; bytes are UTF-8 or refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.providers.returned import KEPT, extras_of

_ARRAYS = (np.ndarray, pd.Series, pd.Index, pd.api.extensions.ExtensionArray)
_PLAIN = (str, int, float, bool, type(None))
"""Python's own scalars, which most values are."""
_FREE = frozenset({"args", "arguments", "input", "reasoning_details", "annotations", "extra_content"})
"""Fields of a form of their own, where a None may be meant; only storage's are left out."""
_ASSISTANT = ("assistant", "ai")
_SAYS = ("tool_calls", "function_call", "refusal", "audio", "images", *KEPT)
"""Fields by which an answer says something without a content."""


def is_array(value: object) -> bool:
    """Whether a value is an array of values: numpy's or pandas'."""
    return isinstance(value, _ARRAYS) and getattr(value, "ndim", 1) > 0


def is_missing(value: object) -> bool:
    """Whether a value is missing: None, NA, NaN or NaT."""
    if type(value) in _PLAIN:
        return value is None or value != value  # noqa: PLR0124 - only NaN differs from itself
    scalar: Any = value
    return bool(pd.api.types.is_scalar(value) and pd.isna(scalar))


def text_in(data: bytes | bytearray | memoryview) -> str:
    """Return the text that bytes hold.

    Raises:
        ConfigError: they are not UTF-8.
    """
    try:
        return bytes(data).decode()
    except UnicodeDecodeError as error:
        words = f"byte {error.start} of {len(error.object)}"
    raise ConfigError(f"These bytes are no text in UTF-8 ({words}). Decode them first: column.str.decode('latin-1').")


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a frame holds
    """Return a value as Python's own lists, dicts and scalars, all of it; other objects as they are.

    Raises:
        ConfigError: it holds bytes that are no text.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    if isinstance(value, bytes | bytearray | memoryview):
        return text_in(value)
    if isinstance(value, np.generic):
        return _scalar(value)
    if isinstance(value, Mapping):
        return {plain(name): plain(one) for name, one in value.items()}
    if is_array(value) or type(value) in (list, tuple):
        found = [plain(one) for one in value]
        return tuple(found) if isinstance(value, tuple) else found
    return value


def _scalar(value: np.generic[Any]) -> Any:  # noqa: ANN401 - of any kind
    """Return a scalar as Python's own; a narrow float with the digits that it is written with."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return str(value)
    if isinstance(value, np.floating):
        return float(str(value))
    return plain(value.item())


def tidy(value: Any, *, is_stored: bool, is_free: bool = True) -> Any:  # noqa: ANN401 - whatever a frame holds
    """Return a value as JSON has it, without the fields that are absent: those that are None, NaN or NA.

    Args:
        value: a message, or a part of a request.
        is_stored: it comes from storage, which writes None for what was never there; so do arrays in it.
        is_free: it has a form of its own; what is absent is left out only where storage has put it.

    Raises:
        ConfigError: it holds bytes that are no text.
    """
    if type(value) is str:
        return value
    if isinstance(value, Mapping):
        return _tidy_struct(value, is_stored=is_stored, is_free=is_free)
    if is_array(value) or isinstance(value, list | tuple):
        is_stored = is_stored or is_array(value)
        return [tidy(one, is_stored=is_stored, is_free=is_free) for one in value]
    return None if is_missing(value) else plain(value)


def _tidy_struct(value: Mapping[Any, Any], *, is_stored: bool, is_free: bool) -> dict[Any, Any] | None:
    """Return a struct, or None where storage has filled all of it."""
    fields = {name: tidy(one, is_stored=is_stored, is_free=is_free or name in _FREE) for name, one in value.items()}
    if is_free and not is_stored:
        return fields
    kept = {name: one for name, one in fields.items() if one is not None}
    return kept if kept or not fields else None


def tidy_messages(messages: Any, *, is_stored: bool = False) -> list[Any]:  # noqa: ANN401 - a list or an array
    """Return a list of messages as LangChain takes it.

    Args:
        messages: a list, tuple or array of messages: LangChain's, pairs of role and content, OpenAI dicts, texts.
        is_stored: see `tidy`.

    Raises:
        ConfigError: a message is missing, or its role, its content or a part of that; says which and what.
    """
    is_stored = is_stored or is_array(messages)
    return [_message(one, f"Message {at}", is_stored=is_stored) for at, one in enumerate(messages, 1)]


def _message(given: Any, place: str, *, is_stored: bool) -> Any:  # noqa: ANN401 - whatever a user takes for a message
    if is_missing(given):
        raise ConfigError(f"{place} is missing: it is {given!r}.")
    if isinstance(given, Mapping):
        return dict(given) if "lc" in given else _dict(given, place, is_stored=is_stored)
    if is_array(given) or isinstance(given, list | tuple):
        pair = list(given)
        is_pair = len(pair) == 2 and isinstance(pair[0], str)
        return (str(pair[0]), _content(pair[1], f"{place} ({pair[0]})", is_stored=is_stored)) if is_pair else pair
    return plain(given)


def _dict(given: Mapping[str, Any], place: str, *, is_stored: bool) -> dict[str, Any]:
    """Return a message that is a dict; one without a role is left to LangChain, which says what is wrong."""
    found = _tidy_struct(given, is_stored=is_stored, is_free=False) or {}
    if "role" in given and "role" not in found:
        raise ConfigError(f"{place} has no role: it is {given['role']!r}.")
    role = found.get("role", found.get("type"))
    if role is None:
        return dict(given)
    if role in _ASSISTANT and "content" not in found and any(found.get(name) for name in _SAYS):
        found["content"] = None
    elif "content" in given:
        found["content"] = _content(given["content"], f"{place} ({role})", is_stored=is_stored)
    return {**found, **extras_of(found.get("tool_calls"))}


def _content(given: Any, place: str, *, is_stored: bool) -> Any:  # noqa: ANN401 - a text, or parts
    """Return a message's content."""
    found = tidy(given, is_stored=is_stored, is_free=False)
    if found is None:
        raise ConfigError(f"{place} has no content: it is {given!r}.")
    if isinstance(found, list):
        for at, (part, tidied) in enumerate(zip(given, found, strict=True), 1):
            _check_part(part, tidied, f"Part {at} of {place[:1].lower()}{place[1:]}")
    return found


def _check_part(given: Any, found: Any, place: str) -> None:  # noqa: ANN401 - a part of a content, before and after
    if found is None:
        raise ConfigError(f"{place} is missing: it is {given!r}.")
    kind = found.get("type") if isinstance(found, dict) else None
    if isinstance(kind, str) and kind in given and kind not in found:
        raise ConfigError(f"{place} has no {kind}: it is {given[kind]!r}.")
