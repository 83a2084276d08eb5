"""Lists of messages as they were before storage: arrays become lists, and absent fields are left out.

Parquet and `datasets` make an array of a list. They also give every struct the fields of all rows, with None for what
was never there. A message without content is refused and never sent as the word "nan". Bytes are UTF-8 or refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.providers.returned import RETURNED, extras_of

_ARRAYS = (np.ndarray, pd.Series, pd.Index, pd.api.extensions.ExtensionArray)
_PLAIN = (str, int, float, bool, type(None))
"""Python's own scalars, which most values are."""
_FREE = frozenset({"args", "arguments", "input", "reasoning_details", "annotations", "extra_content"})
"""Fields whose form is the user's own, so a None in them may be meant; only a None from storage is left out."""
_ASSISTANT = ("assistant", "ai")
_BESIDE_CONTENT = ("tool_calls", "function_call", "refusal", "audio", "images", *RETURNED)
"""Fields that make an assistant's message complete without a content."""


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
    """Return the text of some bytes.

    Raises:
        ConfigError: they are not UTF-8.
    """
    try:
        return bytes(data).decode()
    except UnicodeDecodeError as error:
        place = f"byte {error.start} of {len(error.object)}"
    raise ConfigError(f"These bytes are not UTF-8 text ({place}). Decode them first: column.str.decode('latin-1').")


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a frame holds
    """Return a value with Python's own lists, dicts and scalars throughout; other objects stay as they are.

    Raises:
        ConfigError: it holds bytes that are not UTF-8.
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
        items = [plain(one) for one in value]
        return tuple(items) if isinstance(value, tuple) else items
    return value


def _scalar(value: np.generic[Any]) -> Any:  # noqa: ANN401 - of any kind
    """Return a scalar as Python's own; a narrow float keeps the digits that it is shown with."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return str(value)
    if isinstance(value, np.floating):
        return float(str(value))  # float(np.float32(0.1)) is 0.10000000149011612
    return plain(value.item())


def tidy(value: Any, *, is_stored: bool, is_free: bool = True) -> Any:  # noqa: ANN401 - whatever a frame holds
    """Return a value in the form of JSON, without the absent fields: those that are None, NaN or NA.

    Args:
        value: a message, or a part of a request.
        is_stored: it comes from storage, which writes None for what was never there. Arrays in it always do.
        is_free: its form is the user's own; a None is left out only where storage has put it.

    Raises:
        ConfigError: it holds bytes that are not UTF-8.
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
    """Return a struct; None where each of its fields was filled in by storage."""
    fields = {name: tidy(one, is_stored=is_stored, is_free=is_free or name in _FREE) for name, one in value.items()}
    if is_free and not is_stored:
        return fields
    present = {name: one for name, one in fields.items() if one is not None}
    return present if present or not fields else None


def tidy_messages(messages: Any, *, is_stored: bool = False) -> list[Any]:  # noqa: ANN401 - a list or an array
    """Return a list of messages in a form that LangChain accepts.

    Args:
        messages: a list, tuple or array of messages: LangChain's, pairs of role and content, OpenAI dicts, texts.
        is_stored: see `tidy`.

    Raises:
        ConfigError: a message, its role, its content or a part of the content is missing; the error names it.
    """
    is_stored = is_stored or is_array(messages)
    return [_message(one, f"Message {at}", is_stored=is_stored) for at, one in enumerate(messages, 1)]


def _message(given: Any, place: str, *, is_stored: bool) -> Any:  # noqa: ANN401 - whatever a user takes for a message
    if is_missing(given):
        raise ConfigError(f"{place} is missing: it is {given!r}.")
    if isinstance(given, Mapping):
        # "lc" marks a message that LangChain serialized: it has a form of its own.
        return dict(given) if "lc" in given else _dict(given, place, is_stored=is_stored)
    if is_array(given) or isinstance(given, list | tuple):
        pair = list(given)
        is_pair = len(pair) == 2 and isinstance(pair[0], str)
        return (str(pair[0]), _content(pair[1], f"{place} ({pair[0]})", is_stored=is_stored)) if is_pair else pair
    return plain(given)


def _dict(given: Mapping[str, Any], place: str, *, is_stored: bool) -> dict[str, Any]:
    """Return a message that is a dict; LangChain reports one without a role better than we could."""
    message = _tidy_struct(given, is_stored=is_stored, is_free=False) or {}
    if "role" in given and "role" not in message:
        raise ConfigError(f"{place} has no role: it is {given['role']!r}.")
    role = message.get("role", message.get("type"))
    if role is None:
        return dict(given)
    if role in _ASSISTANT and "content" not in message and any(message.get(name) for name in _BESIDE_CONTENT):
        message["content"] = None  # OpenAI's form of an answer that is only tool calls
    elif "content" in given:
        message["content"] = _content(given["content"], f"{place} ({role})", is_stored=is_stored)
    return {**message, **extras_of(message.get("tool_calls"))}


def _content(given: Any, place: str, *, is_stored: bool) -> Any:  # noqa: ANN401 - a text, or parts
    content = tidy(given, is_stored=is_stored, is_free=False)
    if content is None:
        raise ConfigError(f"{place} has no content: it is {given!r}.")
    if isinstance(content, list):
        for at, (part, tidied) in enumerate(zip(given, content, strict=True), 1):
            _check_part(part, tidied, f"Part {at} of {place[:1].lower()}{place[1:]}")
    return content


def _check_part(given: Any, tidied: Any, place: str) -> None:  # noqa: ANN401 - a part of a content, before and after
    if tidied is None:
        raise ConfigError(f"{place} is missing: it is {given!r}.")
    kind = tidied.get("type") if isinstance(tidied, dict) else None
    if isinstance(kind, str) and kind in given and kind not in tidied:
        raise ConfigError(f"{place} has no {kind}: it is {given[kind]!r}.")
